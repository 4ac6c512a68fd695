"""One round of all rows for one candidate, as it was measured; what a proxy adds is worked out afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.ai.candidates import AT_ONCE, HELD, SHORT, SLOW, Candidate
from bench.ai.policies import ENDINGS
from bench.measure import proportional_memory
from bench.rig import Rig

EVENTS = 200
"""Events with text of one stream, but for a few at its end."""

PAUSE_MICROSECONDS = 1000
"""Between events of slow streams."""

BODIES = {"1 KB": 1_000, "100 KB": 100_000, "10 MB": 10_000_000}
_STREAMS_AT_ONCE = 16
_CONNECTIONS = 16


class Row(NamedTuple):
    """`added`: the figure is what is above that of no proxy. `limit`: at most that, for the gateway."""

    key: str
    title: str
    unit: str
    added: bool = True
    limit: float | None = None


ROWS = (
    *(Row(f"{name} p50", f"request of {name}, p50", "us", limit=1000 if name == "1 KB" else None) for name in BODIES),
    *(Row(f"{name} p99", f"request of {name}, p99", "us") for name in BODIES),
    Row("first p50", "first token of a stream, p50", "us", limit=2000),
    Row("first p99", "first token of a stream, p99", "us"),
    Row("held p50", "first token that is a word without an end, p50", "us"),
    Row("event", f"an event of a stream that comes at once ({EVENTS} events)", "us", limit=50),
    Row("event CPU", f"CPU for an event, {_STREAMS_AT_ONCE} slow streams at once", "us", added=False, limit=50),
    Row("per core", f"requests of 1 KB, {_CONNECTIONS} connections, for a second of CPU", "per s", added=False),
    Row("per second", f"requests of 1 KB, {_CONNECTIONS} connections", "per s", added=False),
    Row("memory", "memory of the proxy after the run (PSS)", "MB", added=False),
)


def measure(rig: Rig, candidate: Candidate, seconds: float) -> dict[str, float]:
    """Return a figure for each row, in its unit; without processes of a proxy, none for what they use."""
    _check_ending(rig, candidate)
    figures: dict[str, float] = {}
    for name, size in BODIES.items():
        result = _ask(rig, candidate, seconds, bytes=size)
        figures |= {f"{name} p50": result["p50_us"], f"{name} p99": result["p99_us"]}
    short = _ask(rig, candidate, seconds, stream=SHORT)
    figures |= {"first p50": short["first_p50_us"], "first p99": short["first_p99_us"]}
    figures["held p50"] = _ask(rig, candidate, seconds, stream=HELD)["first_p50_us"]
    figures["event"] = _ask(rig, candidate, seconds, stream=AT_ONCE)["p50_us"] / EVENTS
    before = _cpu_seconds(candidate.processes)
    many = _ask(rig, candidate, seconds, connections=_CONNECTIONS)
    figures["per second"] = many["per_second"]
    if not candidate.processes:
        return figures
    figures["per core"] = many["requests"] / (_cpu_seconds(candidate.processes) - before)
    before = _cpu_seconds(candidate.processes)
    slow = _ask(rig, candidate, seconds, stream=SLOW, connections=_STREAMS_AT_ONCE)
    figures["event CPU"] = (_cpu_seconds(candidate.processes) - before) / slow["events"] * 1e6
    figures["memory"] = sum(map(proportional_memory, candidate.processes)) / 1e6
    return figures


def _ask(
    rig: Rig,
    candidate: Candidate,
    seconds: float,
    *,
    bytes: int = 1_000,  # noqa: A002 - the word of the load generator
    stream: str = "",
    connections: int = 1,
) -> dict[str, Any]:
    """`stream` is the model whose stream is asked for."""
    options = {"connections": connections, "seconds": f"{seconds:g}", "bytes": bytes, "key": candidate.key}
    options |= {"stream": "yes", "model": stream} if stream else {"stream": "no", "model": AT_ONCE}
    return rig.load(
        "llm-ask", candidate.to, *(word for key, value in options.items() for word in (f"--{key}", str(value)))
    )


def _check_ending(rig: Rig, candidate: Candidate) -> None:
    question = {"model": AT_ONCE, "messages": [{"role": "user", "content": "What?"}], "stream": True}
    headers = ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {candidate.key}"]
    command = ["curl", "-sSfN", *headers, "-d", json.dumps(question), f"http://{candidate.to}/v1/chat/completions"]
    events = [json.loads(line[6:]) for line in rig.run("client", command).splitlines() if line.startswith("data: {")]
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
    if not text.endswith(ENDINGS[candidate.name]):
        raise RuntimeError(f"{candidate.name}: a stream ends with {text[-60:]!r}, not {ENDINGS[candidate.name]!r}")


def _cpu_seconds(processes: Sequence[int]) -> float:
    """What these processes have used, in the kernel too. Source: proc(5), utime and stime."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")
