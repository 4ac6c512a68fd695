"""What is measured: no proxy, the gateway under three policies, and a LiteLLM proxy.

LiteLLM is dialled on loopback in the client's pod, so both proxies are one hop beside the client; it is spared the capture
of connections that kube-gateway does. It has one worker process, as it starts by itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.ai.policies import POLICIES
from bench.rig import Rig

PORT = 9200
"""Of the model server in the pod `server`."""

MODELS = AT_ONCE, SLOW, SHORT, HELD = "bench", "bench-slow", "bench-short", "bench-held"
"""How its streams come: as fast as they can, with a pause after each event, and two that are short; see the server."""

LITELLM = Path(__file__).resolve().parents[2] / ".cache" / "litellm" / "bin" / "litellm"

_LITELLM_PORT = 4000
# It refuses to start without one, and one that looks weak. It lets nobody into anything.
_KEY = "sk-9d2f61c07b3e48a5a1f06c7d5e2b8394"
_START_WITHIN = 60.0


class Candidate(NamedTuple):
    """`to` is what the load dials; `processes` are those of the proxy."""

    name: str
    to: str
    key: str
    processes: Sequence[int]


@contextmanager
def direct(rig: Rig) -> Iterator[Candidate]:
    """No proxy."""
    yield _to_server(rig, "direct", [])


@contextmanager
def gateway(rig: Rig, policy: str) -> Iterator[Candidate]:
    """The gateway beside the client, with a policy by name."""
    rig.local.annotate("client", {"kube-gateway.io/ai": "true"})
    rig.local.configure("client", json.dumps(POLICIES[policy]))
    rig.local.wait_settled("client", timeout=30)
    try:
        yield _to_server(rig, policy, rig.gateway_processes("client"))
        _check_controlled(rig)
    finally:
        rig.local.annotate("client", {}, remove=["kube-gateway.io/ai"])
        rig.local.wait_settled("client", timeout=30)


@contextmanager
def litellm(rig: Rig, directory: Path) -> Iterator[Candidate]:
    """A LiteLLM proxy in the client's pod."""
    configuration, log = directory / "litellm.json", directory / "litellm.log"
    configuration.write_text(json.dumps(_configuration(f"http://{rig.address('server')}:{PORT}/v1")))
    command = ["env", *_environment(), str(LITELLM), "--config", str(configuration)]
    process = rig.start("client", [*command, "--host", "0.0.0.0", "--port", str(_LITELLM_PORT)], log)
    try:
        _wait(rig, process, log)
        yield Candidate("litellm", f"127.0.0.1:{_LITELLM_PORT}", _KEY, [process.pid])
    finally:
        process.terminate()
        process.wait()


def _to_server(rig: Rig, name: str, processes: Sequence[int]) -> Candidate:
    return Candidate(name, f"{rig.address('server')}:{PORT}", "none", processes)


def _check_controlled(rig: Rig) -> None:
    """A figure for kube-gateway counts only if it has looked into the calls."""
    time.sleep(1.5)
    report = rig.local.gateway_report("client")
    calls = sum(model.calls for model in report.ai.models) if report and report.ai else 0
    if not calls:
        raise RuntimeError("the gateway has seen no LLM call")


def _configuration(upstream: str) -> dict[str, object]:
    where = {"api_base": upstream, "api_key": "none"}
    return {
        "model_list": [{"model_name": name, "litellm_params": {"model": f"openai/{name}", **where}} for name in MODELS],
        "litellm_settings": {"telemetry": False},
    }


def _environment() -> list[str]:
    """What makes it quick and keeps it from fetching prices of models."""
    own = {"LITELLM_MASTER_KEY": _KEY, "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}
    own |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": os.environ["PATH"]}
    return ["-i", *(f"{key}={value}" for key, value in own.items())]


def _wait(rig: Rig, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_WITHIN
    while True:
        try:
            rig.run("client", ["curl", "-sf", f"http://127.0.0.1:{_LITELLM_PORT}/health/liveliness"])
        except RuntimeError as error:
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"LiteLLM does not start: {log.read_text(errors='replace')[-2000:]}") from error
            time.sleep(0.3)
        else:
            return
