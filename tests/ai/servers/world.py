"""Two pods: `models` with all the servers, and `client` with programs that use them."""

from __future__ import annotations

from collections.abc import Sequence
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


class World:
    """The pods of one instance of the local mode, which is up. Files are in `directory`."""

    def __init__(self, pods: Pods, directory: Path) -> None:
        self.pods = pods
        self._directory = directory
        for name in ("models", "client"):
            pods.run(name, "sleep", "infinity")
        (directory / "scripted").mkdir()
        self.ollama = Ollama(directory, place=self.place("models"))
        self.litellm = LiteLLMProxy(directory, place=self.place("models"))
        self.scripted = ScriptedUpstream(directory / "scripted", place=self.place("models"))
        self._servers = (self.ollama, self.scripted, self.litellm)
        self._applications: dict[str, Application] = {}

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

    def application(self, library: str) -> Application:
        """The program in the pod `client` that uses a library."""
        if library not in self._applications:
            self._applications[library] = Application(library, self._directory, place=self.place("client"))
        return self._applications[library]

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
