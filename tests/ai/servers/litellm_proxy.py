"""A LiteLLM proxy in front of Ollama: the dialects that Ollama does not speak, spoken by a product that many have.

What it really does: OpenAI's responses, Anthropic's messages and Gemini's generateContent, each with streams, translated
from what the models say. It knows its models by the names that Ollama has. Its `mock_response` would need no Ollama, but
does not work for streams of responses and messages (1.108: an error, and an answer that is no stream).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from ai.servers import ollama
from ai.servers.process import Place, ServerProcess, here

PORT = 4000
# It refuses to start without one, and one that looks weak. It lets nobody into anything.
KEY = "sk-9d2f61c07b3e48a5a1f06c7d5e2b8394"

_PROGRAM = Path(__file__).resolve().parents[3] / ".cache" / "litellm" / "bin" / "litellm"
_LOGGED = re.compile(r"\"(\w+) (\S+) HTTP/[\d.]+\" (\d{3})")


class LiteLLMProxy:
    """One proxy on all IPv4 addresses, whose Ollama is on the same machine or in the same pod."""

    def __init__(self, directory: Path, *, place: Place = here) -> None:
        self._configuration = directory / "litellm.json"
        self._process = ServerProcess(place, directory / "litellm.log")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "LITELLM_MASTER_KEY": KEY,
            # It would fetch prices of models from GitHub, and read a .env file.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
            "DISABLE_ADMIN_UI": "True",
        }

    def start(self) -> None:
        """Start it, which takes it some ten seconds."""
        self._configuration.write_text(
            json.dumps(configuration(f"http://127.0.0.1:{ollama.PORT}/v1", list(ollama.MODELS)))
        )
        self._process.start(
            command(self._configuration, port=PORT), environment=self._environment, ready=self._answers, within=120
        )

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def requests(self, path: str) -> list[int]:
        """The status of each request for a path that has been answered, in order."""
        log = self._process.log.read_text(errors="replace")
        return [int(status) for _, asked, status in _LOGGED.findall(log) if asked.partition("?")[0] == path]

    def _answers(self) -> bool:
        return bool(self._process.run("curl", "-sf", f"http://127.0.0.1:{PORT}/health/liveliness", check=False))


def command(configuration: Path, *, port: int) -> list[str]:
    """The command line of a proxy."""
    assert _PROGRAM.exists(), f"there is no {_PROGRAM}: make litellm"
    return [str(_PROGRAM), "--config", str(configuration), "--host", "0.0.0.0", "--port", str(port)]


def configuration(upstream: str, models: list[str]) -> dict[str, object]:
    """A configuration (JSON is YAML) for models that a server of OpenAI's API at `upstream` has.

    As `lm_studio` it asks for chat completions whatever its own client speaks. No retries, no pauses after errors: what
    a client does and gets is to be seen, not what the proxy makes of it.
    """
    return {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {"model": f"lm_studio/{name}", "api_base": upstream, "api_key": "none"},
            }
            for name in models
        ],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        "router_settings": {"disable_cooldowns": True, "num_retries": 0},
    }
