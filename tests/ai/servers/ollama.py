"""A real Ollama with models of ours: `tiny:1b` and `gemma2:2b`, which say what is in `voices`.

What it really does: its own API and OpenAI's chat completions, completions, embeddings and models; streams, token counts,
stop reasons, tool calls (its parser finds the call in what the model says) and errors. It takes images of clients that
send them to `/v1`, and does not look at them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ai.servers.process import Place, ServerProcess, here
from ai.servers.tiny_model import write_model
from ai.servers.voices import GEMMA, TINY

PORT = 11434
SMALL, LARGE = "tiny:1b", "gemma2:2b"
MODELS = {SMALL: TINY, LARGE: GEMMA}

_BINARY = Path(__file__).resolve().parents[3] / ".cache" / "ollama" / "bin" / "ollama"
# The last character of the last message ends the prompt: it decides what the model says. Two threads are slower than one.
_TEMPLATE = (
    "{{ if .Tools }}tools: {{ .Tools }}\n{{ end }}"
    "{{ range $number, $message := .Messages }}{{ if $number }}\n{{ end }}"
    "{{ $message.Role }}: {{ $message.Content }}{{ range $message.ToolCalls }}{{ .Function }}{{ end }}{{ end }}"
)
_PARAMETERS = "PARAMETER temperature 0\nPARAMETER num_thread 1\nPARAMETER num_predict 2000\n"
_LOGGED = re.compile(r"^\[GIN\].*\| (\d{3}) \|.*\| (\w+) +\"([^\"]*)\"$", re.MULTILINE)


class Ollama:
    """One Ollama on all addresses, with models and home in `directory`."""

    def __init__(self, directory: Path, *, place: Place = here) -> None:
        assert _BINARY.exists(), f"there is no {_BINARY}: tests/ai/servers/build_ollama.sh"
        self._directory = directory
        self._process = ServerProcess(place, directory / "ollama.log")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "OLLAMA_HOST": f"[::]:{PORT}",
            "OLLAMA_MODELS": str(directory / "models"),
            "OLLAMA_KEEP_ALIVE": "-1",
            "OLLAMA_MAX_LOADED_MODELS": "2",
            "OLLAMA_NUM_PARALLEL": "4",
        }

    def start(self) -> None:
        """Start it, make both models and load them, so that no test waits for that."""
        self._process.start(
            [str(_BINARY), "serve"], environment=self._environment, ready=lambda: bool(self._ask("version")), within=30
        )
        for name, voice in MODELS.items():
            model = self._directory / f"{voice.name}.gguf"
            write_model(voice, model)
            description = self._directory / f"{voice.name}.modelfile"
            description.write_text(f'FROM {model}\nTEMPLATE """{_TEMPLATE}"""\n{_PARAMETERS}')
            self._process.run(
                "env",
                f"HOME={self._directory}",
                f"OLLAMA_HOST=127.0.0.1:{PORT}",
                str(_BINARY),
                "create",
                name,
                "-f",
                str(description),
            )
            assert self._ask("generate", f'{{"model": "{name}"}}'), self._process.log.read_text(errors="replace")[
                -4000:
            ]

    def stop(self) -> None:
        """End it and the processes that run its models."""
        self._process.stop()

    def requests(self, path: str) -> list[int]:
        """The status of each request for a path that has been answered, in order."""
        log = self._process.log.read_text(errors="replace")
        return [int(status) for status, _, asked in _LOGGED.findall(log) if asked == path]

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def _ask(self, what: str, body: str | None = None) -> str:
        post = ["-d", body] if body else []
        return self._process.run("curl", "-sf", *post, f"http://127.0.0.1:{PORT}/api/{what}", check=False)
