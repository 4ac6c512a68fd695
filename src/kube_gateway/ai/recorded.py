"""Recorded requests, to try a policy on: JSON lines, or one raw HTTP request a file.

A line is an object with `method` (POST), `path`, `headers` (an object), `body` (text, or JSON as it is) and, if wanted,
`response` (an object with `headers` and `body`, or the body alone) and `expect` (`pass`, `changed` or `blocked`). A raw
request is what goes over the wire: request line, headers, an empty line, the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from kube_gateway.errors import UsageError

Expected = Literal["pass", "changed", "blocked"]
_REQUEST_LINE = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]\r?\n")
_MOST_BYTES = 256 * 1024 * 1024


class RecordedAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the server said."""

    body: Any
    headers: dict[str, str] = {}
    status: int = 200


class Recorded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request, and perhaps its answer. `where` says where it is written."""

    path: str
    method: str = "POST"
    headers: dict[str, str] = {}
    body: Any = None
    response: RecordedAnswer | None = None
    expect: Expected | None = None
    where: str = ""


def read_recorded(path: Path) -> Iterator[Recorded]:
    """Yield the requests of a file. Raises `UsageError` that names the line."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} has more than {_MOST_BYTES} bytes", hint="try a part of it")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    first = _REQUEST_LINE.match(data)
    if first is not None:
        yield _raw(data, first, where=str(path))
        return
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            yield _line(line, where=f"{path}:{number}")


def _line(line: bytes, *, where: str) -> Recorded:
    try:
        value = msgspec.json.decode(line)
        if isinstance(value, dict) and "response" in value and not _is_answer(value["response"]):
            value["response"] = {"body": value["response"]}
        return msgspec.convert({**value, "where": where} if isinstance(value, dict) else value, Recorded)
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"{where}: {str(error).replace('`', '')}",
            hint='a line is {"path": "/v1/chat/completions", "body": {...}}, a file one HTTP request otherwise',
        ) from None


def _is_answer(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, dict) and "body" in value and value.keys() <= {"body", "headers", "status"}


def _raw(data: bytes, first: re.Match[bytes], *, where: str) -> Recorded:
    head, _, body = data[first.end() :].partition(b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n")
    pairs = (line.partition(":") for line in head.decode("latin-1").splitlines())
    headers = {name.strip(): value.strip() for name, _, value in pairs if name.strip()}
    # What an editor adds at the end of a file is not the client's.
    length = next((value for name, value in headers.items() if name.lower() == "content-length"), "")
    body = body[: int(length)] if length.isascii() and length.isdigit() else body.rstrip(b"\r\n")
    text = body.decode("utf-8", "surrogateescape")
    return Recorded(
        method=first[1].decode(), path=first[2].decode("latin-1"), headers=headers, body=text or None, where=where
    )


def body_bytes(body: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return a recorded body as it goes over the wire: text as it is, other JSON compactly."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode("utf-8", "surrogateescape")
    return msgspec.json.encode(body)
