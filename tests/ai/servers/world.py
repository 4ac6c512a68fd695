"""Pods: `models` with all the servers, `client` and `governed` with programs that use them. Only the last has a gateway."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from ai.clients.application import Application
from ai.servers import litellm_proxy, ollama
from ai.servers.litellm_proxy import LiteLLMProxy
from ai.servers.ollama import Ollama
from ai.servers.process import Place
from ai.servers.scripted import control
from ai.servers.scripted.control import ScriptedUpstream
from kube_gateway.local.launch import in_pod
from pods import Pods

LIBRARIES = (
    "openai_chat",
    "openai_completions",
    "openai_responses",
    "anthropic_messages",
    "gemini",
    "ollama_chat",
    "curl",
)


GOVERNED = "governed"


class World:
    """The pods of one instance of the local mode, which is up. Files are in `directory`."""

    def __init__(self, pods: Pods, directory: Path) -> None:
        self.pods = pods
        self._directory = directory
        for name in ("models", "client", GOVERNED):
            pods.run(name, "sleep", "infinity")
        (directory / "scripted").mkdir()
        self.ollama = Ollama(directory, place=self.place("models"))
        self.litellm = LiteLLMProxy(directory, place=self.place("models"))
        self.scripted = ScriptedUpstream(directory / "scripted", place=self.place("models"))
        self._servers = (self.ollama, self.scripted, self.litellm)
        self._applications: dict[tuple[str, str], Application] = {}

    def place(self, pod: str) -> Place:
        """Runs commands as the pod's application."""

        def place(command: Sequence[str]) -> list[str]:
            return in_pod(self.pods.instance, pod, command)

        return place

    def start(self) -> None:
        """Start all servers; the slowest takes ten seconds."""
        for server in self._servers:
            server.start()

    def stop(self) -> None:
        """End everything that was started."""
        for application in self._applications.values():
            application.stop()
        for server in self._servers:
            server.stop()

    def application(self, library: str, *, pod: str = "client") -> Application:
        """The program in a pod that uses a library."""
        if (pod, library) not in self._applications:
            directory = self._directory / pod
            directory.mkdir(exist_ok=True)
            self._applications[pod, library] = Application(library, directory, place=self.place(pod))
        return self._applications[pod, library]

    def govern(self, **settings: str) -> None:
        """Put the calls of the pod `governed` under control, with further annotations."""
        self.pods.annotate(GOVERNED, ai="true", **settings)

    @contextmanager
    def policy(self, policy: dict | str):
        """A policy for the pod `governed` while the block runs; none afterwards."""
        self._configure(policy if isinstance(policy, str) else json.dumps(policy))
        try:
            yield
        finally:
            self._configure(None)

    def requests(self) -> int:
        """How many calls for text have reached Ollama, directly or by LiteLLM, which makes one of one."""
        paths = ("/api/chat", "/v1/chat/completions", "/v1/completions")
        return sum(len(self.ollama.requests(path)) for path in paths)

    def _configure(self, text: str | None) -> None:
        self.pods.client.configure(GOVERNED, text)
        self.pods.client.wait_settled(GOVERNED, timeout=20)

    def url(self, port: int) -> str:
        """A server of the pod `models`, as the client reaches it."""
        return f"http://{self.pods.address('models')}:{port}"

    def real(self, library: str) -> tuple[str, str]:
        """URL and key of the real server that speaks what the library speaks: Ollama if it can, otherwise LiteLLM."""
        if library in {"openai_responses", "anthropic_messages", "gemini"}:
            version = "/v1beta" if library == "gemini" else ""
            return self.url(litellm_proxy.PORT) + version, litellm_proxy.KEY
        return self.url(ollama.PORT), "none"

    @property
    def scripted_url(self) -> str:
        """The scripted upstream, as the client reaches it."""
        return self.url(control.PORT)
