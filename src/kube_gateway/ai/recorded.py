"""Recorded requests, to try a policy on: JSON lines, or one raw HTTP request a file.

A line is an object with `method` (POST), `path`, `headers` (an object), `body` (text, or JSON as it is) and, if wanted,
`response` (an object with `headers` and `body`, or the body alone) and `expect` (`pass`, `changed` or `blocked`). A raw
request is what goes over the wire: request line, headers, an empty line, the body. Bodies are as the application wrote
them: codings and chunks, which a gateway undoes, are not undone here, and are an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from kube_gateway.errors import UsageError

Expected = Literal["pass", "changed", "blocked"]
_REQUEST_LINE = re.compile(rb"([A-Za-z]+) (\S+) HTTP/1\.[01]\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_CHUNK = re.compile(r"[0-9A-Fa-f]{1,16}[ \t]*(;[^\r\n]*)?\r?\n")
_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1f\udc80-\udcff]")
"""In what was read with surrogateescape: control characters, and bytes that are no UTF-8."""

_BLANK = re.compile(rb"\n\r?\n")
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
        yield _plain(_raw(data, first, where=str(path)))
        return
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            yield _plain(_line(line, where=f"{path}:{number}"))


def _line(line: bytes, *, where: str) -> Recorded:
    try:
        value = msgspec.json.decode(line)
        if isinstance(value, dict) and "response" in value and not _is_answer(value["response"]):
            value["response"] = {"body": value["response"]}
        return msgspec.convert({**value, "where": where} if isinstance(value, dict) else value, Recorded)
    except UnicodeDecodeError:
        said = "the line is no text in UTF-8"
    except RecursionError:
        said = "the line is nested too deeply to be read; a body may also be given as text"
    except msgspec.MsgspecError as error:
        said = str(error).replace("`", "")
    raise UsageError(
        f"{where}: {said}",
        hint='a line is {"path": "/v1/chat/completions", "body": {...}}, a file one HTTP request otherwise',
    )


def _is_answer(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, dict) and "body" in value and value.keys() <= {"body", "headers", "status"}


def _raw(data: bytes, first: re.Match[bytes], *, where: str) -> Recorded:
    # From the end of the first line on: there may be no headers.
    blank = _BLANK.search(data, first.end() - 1)
    head, body = (data[first.end() : blank.start()], data[blank.end() :]) if blank else (data[first.end() :], b"")
    pairs = (line.partition(":") for line in head.decode("latin-1").splitlines())
    headers = {name.strip(): value.strip() for name, _, value in pairs if name.strip()}
    # What an editor adds at the end of a file is not the client's.
    length = next((value for name, value in headers.items() if name.lower() == "content-length"), "")
    if length and not _LENGTH.fullmatch(length):
        raise UsageError(f"{where}: the Content-Length {length[:20]!r} is no length")
    body = body[: int(length)] if length else body.rstrip(b"\r\n")
    text = body.decode("utf-8", "surrogateescape")
    return Recorded(
        method=first[1].decode(), path=first[2].decode("latin-1"), headers=headers, body=text or None, where=where
    )


def _plain(recorded: Recorded) -> Recorded:
    """Raise `UsageError` for what a gateway would have to undo first: what came of it would be another request's fate."""
    answer = recorded.response
    parts = [("request", recorded.headers, recorded.body)]
    parts += [("answer", answer.headers, answer.body)] if answer is not None else []
    for what, headers, body in parts:
        start = body[:1024] if isinstance(body, str) else ""
        for name, value in headers.items():
            # A recorder may have undone them, and left the header.
            chunked = name.lower() == "transfer-encoding" and _CHUNK.match(start)
            coded = name.lower() == "content-encoding" and _NO_TEXT.search(start)
            if chunked or coded:
                raise UsageError(
                    f"{recorded.where}: the body of the {what} is as it went over the wire ({name}: {value})",
                    hint="record it as it was written: codings and chunks are undone by a gateway, and not here",
                )
    return recorded


def body_bytes(body: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return a recorded body as it goes over the wire: text as it is, other JSON compactly."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode("utf-8", "surrogateescape")
    return msgspec.json.encode(body)
