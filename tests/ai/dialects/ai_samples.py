"""Reads the recorded exchanges in `tests/ai/samples`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

_CUT = re.compile(rb", \.\.\. \d+ more")

SAMPLES = Path(__file__).parents[1] / "samples"


@dataclass(frozen=True)
class Exchange:
    name: str
    method: str
    target: str
    request: bytes
    status: int
    content_type: str
    chunks: tuple[bytes, ...]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def asked(self) -> dict:
        return json.loads(self.request)

    def answered(self) -> dict:
        return json.loads(self.body)

    def events(self) -> list[bytes]:
        """The frames of a stream, each with what ends it."""
        end = b"\n" if "ndjson" in self.content_type else b"\n\n"
        return [frame + end for frame in self.body.split(end) if frame]

    def documents(self) -> list[dict]:
        if "ndjson" in self.content_type:
            return [json.loads(event) for event in self.events()]
        if "event-stream" in self.content_type:
            lines = [line for line in self.body.split(b"\n") if line.startswith(b"data: {")]
            return [json.loads(line.removeprefix(b"data: ")) for line in lines]
        return [self.answered()]


def names(*, of_litellm: bool = False) -> list[str]:
    """Names of exchanges with Ollama, or with LiteLLM."""
    found = sorted(path.stem for path in SAMPLES.glob("*.txt"))
    return [name for name in found if name.startswith("litellm-") is of_litellm]


def exchange(name: str) -> Exchange:
    recorded = (SAMPLES / f"{name}.txt").read_bytes()
    asked, answered = recorded.removeprefix(b">>> request\n").split(b"<<< response\n")
    asked_head, _, request = asked.partition(b"\n\n")
    head, _, body = answered.partition(b"\n\n")
    method, target, _ = asked_head.split(b"\n")[0].decode().split(" ")
    headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\n")[1:])
    chunked = headers.get("transfer-encoding") == "chunked"
    return Exchange(
        name=name,
        method=method,
        target=target,
        request=request.removesuffix(b"\n"),
        status=int(head.split(b" ")[1]),
        content_type=headers["content-type"],
        chunks=tuple(map(_without_cuts, _chunks(body) if chunked else [body.removesuffix(b"\n")])),
    )


def _chunks(body: bytes):
    while True:
        size, _, body = body.partition(b"\n")
        if not (length := int(size, 16)):
            return
        chunk = body[:length]
        if _CUT.search(chunk):
            chunk = body[: body.index(b"\n\n") + 1]
        yield chunk
        body = body[len(chunk) :].removeprefix(b"\n")


def _without_cuts(chunk: bytes) -> bytes:
    return _CUT.sub(b"", chunk)
