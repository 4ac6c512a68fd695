"""The story of `make demo-ai`: a program asks a model all the time while its calls come under control, step by step.

It is told with the product's own means (local mode, annotations, a policy's file), on a real Ollama. Two applications run
through all of it and are never restarted: the chat page's server, asked as a browser would, and a Python program with
OpenAI's library. Each step says what both were answered and fails the demo if that is not what the step promises.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ai.servers.ollama import LARGE, PORT, SMALL, Ollama
from kube_gateway.errors import KubeGatewayError, LocalModeError
from kube_gateway.local.client import LocalClient
from kube_gateway.local.launch import in_pod
from kube_gateway.local.lifecycle import down, up
from kube_gateway.local.preflight import check_machine
from kube_gateway.model.ports import ANNOTATION_PREFIX

QUESTION = "Which model are you?"
PAGE, PROGRAM = "aipod", "aipod-py"
MASKED, BANNED = "***", "banana"
REFUSAL = "kube-gateway says no"

_HERE = Path(__file__).resolve().parent
_PAGE_PORT = 8080
_WITHIN = 30.0
_CERTIFICATE_LIFE = 3600.0


class Said(NamedTuple):
    """What an application was told: the text, and how many pieces it came in (0 where nobody counts)."""

    text: str
    pieces: int


class Step(NamedTuple):
    """What was done, what was said after it, by pod, and what the page's gateway noted of its last call."""

    name: str
    commands: tuple[str, ...]
    said: dict[str, Said]
    noted: dict[str, Any]


class Story:
    """One run, on an instance of its own. `end` may be called at any time."""

    def __init__(self, instance: str, directory: Path) -> None:
        self._local = LocalClient(instance)
        self._directory = directory
        self._ollama: Ollama | None = None
        self.made = False

    def begin(self) -> dict[str, int]:
        """Start Ollama and both applications; returns the applications' process ids by pod."""
        check_machine()
        if self._local.instance.directory.exists():
            name = self._local.instance.name
            raise LocalModeError(
                f"the instance {name!r} is up already, and the demo begins from nothing",
                hint=f"kube-gateway local --instance {name} down",
            )
        self.made = True
        up(self._local.instance, certificate_life=_CERTIFICATE_LIFE)
        self._local.run("ollama", ["sleep", "infinity"], directory=Path("/"))
        self._ollama = Ollama(self._directory, place=lambda command: self._in("ollama", command))
        self._ollama.start()
        url = f"http://{self._local.pod('ollama').addresses[0]}:{PORT}"
        page = [sys.executable, str(_HERE / "chat" / "server.py"), "--ollama", url, "--port", str(_PAGE_PORT)]
        program = [sys.executable, str(_HERE / "client.py"), "--url", f"{url}/v1", "--model", SMALL]
        self._local.run(PAGE, page, directory=Path("/"))
        self._local.run(PROGRAM, [*program, "--question", QUESTION, "--seconds", "0.5"], directory=Path("/"))
        self._wait(f"{PROGRAM} does not answer", lambda: bool(self._last_words()))
        self._pids = self._processes()
        return self._pids

    def steps(self) -> Iterator[Step]:
        """Do and tell each step. Raises `KubeGatewayError` when one does not show what it must."""
        steps: tuple[tuple[str, Callable[[], tuple[str, ...]], Callable[[str], bool]], ...] = (
            ("before", self._nothing, lambda text: "small model" in text and BANNED in text),
            ("enrolled", self._enrol, lambda text: "small model" in text and BANNED in text),
            ("model", self._other_model, lambda text: "larger model" in text and BANNED in text),
            ("masked", self._mask, lambda text: "larger model" in text and MASKED in text and BANNED not in text),
            ("blocked", self._block, lambda text: text == REFUSAL),
            ("left", self._leave, lambda text: "small model" in text and BANNED in text),
        )
        for name, act, holds in steps:
            commands = act()
            said = {PAGE: self._ask_page(), PROGRAM: self._heard()}
            yield Step(name, commands, said, self._noted())
            for pod, what in said.items():
                if not holds(what.text):
                    raise KubeGatewayError(f"step {name}: {pod} was told {what.text!r}", hint="run it with --keep")
            if self._processes() != self._pids:
                raise KubeGatewayError(f"step {name}: a program was started anew")

    def end(self) -> None:
        """Remove everything that this run has made."""
        if self._ollama is not None:
            self._ollama.stop()
        if self.made:
            down(self._local.instance)

    def _nothing(self) -> tuple[str, ...]:
        return ()

    def _enrol(self) -> tuple[str, ...]:
        return self._annotate({"ai": "true"})

    def _other_model(self) -> tuple[str, ...]:
        return self._annotate({"ai-model": LARGE})

    def _mask(self) -> tuple[str, ...]:
        return self._configure(_HERE / "policies" / "banned-word.json")

    def _block(self) -> tuple[str, ...]:
        return self._configure(_HERE / "policies" / "block.json")

    def _leave(self) -> tuple[str, ...]:
        for pod in (PAGE, PROGRAM):
            self._local.annotate(pod, {}, remove=[ANNOTATION_PREFIX + "ai", ANNOTATION_PREFIX + "ai-model"])
            self._local.wait_settled(pod, timeout=_WITHIN)
        return tuple(f"annotate {pod} ai- ai-model-" for pod in (PAGE, PROGRAM))

    def _annotate(self, annotations: dict[str, str]) -> tuple[str, ...]:
        for pod in (PAGE, PROGRAM):
            self._local.annotate(pod, {ANNOTATION_PREFIX + key: value for key, value in annotations.items()})
            self._local.wait_settled(pod, timeout=_WITHIN)
        words = " ".join(f"{key}={value}" for key, value in annotations.items())
        return tuple(f"annotate {pod} {words}" for pod in (PAGE, PROGRAM))

    def _configure(self, file: Path) -> tuple[str, ...]:
        for pod in (PAGE, PROGRAM):
            self._local.configure(pod, file.read_text())
            self._local.wait_settled(pod, timeout=_WITHIN)
        return tuple(f"config {pod} demo/ai/policies/{file.name}" for pod in (PAGE, PROGRAM))

    def _ask_page(self) -> Said:
        """Ask as the page's script does."""
        question = json.dumps({"model": SMALL, "messages": [{"role": "user", "content": QUESTION}]})
        ask = ["curl", "-sS", "-f", "-d", question, f"http://127.0.0.1:{_PAGE_PORT}/chat"]
        done = subprocess.run(self._in(PAGE, ask), capture_output=True, text=True, timeout=_WITHIN, check=False)
        if done.returncode != 0:
            raise KubeGatewayError(f"the chat page does not answer: {done.stderr.strip()}")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        pieces = [line.get("text") or line.get("refused") or "" for line in lines]
        return Said("".join(pieces), sum(map(bool, pieces)))

    def _heard(self) -> Said:
        """The program's first whole answer to a question that it asks from now on."""
        asked = self._program_log().count(f"> {QUESTION}\n")
        self._wait(f"{PROGRAM} asks no more", lambda: self._program_log().count(f"> {QUESTION}\n") >= asked + 2)
        return Said(self._program_log().split(f"> {QUESTION}\n")[asked + 1].split("\n  [")[0].strip(), 0)

    def _last_words(self) -> str:
        return self._program_log().partition("\n  [")[1]

    def _program_log(self) -> str:
        return self._local.instance.log_of(PROGRAM, "app").read_text(errors="replace")

    def _noted(self) -> dict[str, Any]:
        """The last call in the audit log of the page's gateway, which has a line for each when it has ended."""
        log = self._local.instance.log_of(PAGE, "kube-gateway")
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        calls = [json.loads(line) for line in lines if line.startswith('{"kind":"llm_call"')]
        return calls[-1] if calls else {}

    def _processes(self) -> dict[str, int]:
        return {pod: self._local.pod(pod).pids[0] for pod in (PAGE, PROGRAM)}

    def _in(self, pod: str, command: Sequence[str]) -> list[str]:
        return in_pod(self._local.instance, pod, command)

    def _wait(self, otherwise: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _WITHIN
        while not condition():
            if time.monotonic() > deadline:
                raise LocalModeError(f"{otherwise} after {_WITHIN:g} s:\n{self._program_log()[-2000:]}")
            time.sleep(0.05)
