"""`python -m ai.servers.scripted DIRECTORY PORT`: answer as DIRECTORY/script.json says, append to DIRECTORY/seen.jsonl.

It stands in for the services of OpenAI, Anthropic and Google, which cannot be had offline, and for what neither Ollama nor
LiteLLM does on demand: tool calls in every dialect, reasoning, several choices, slow streams, connections that die in the
middle. It knows when its client went away.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from aiohttp import web

from ai.servers.scripted.dialects import (
    anthropic_messages,
    gemini,
    ollama_chat,
    openai_chat,
    openai_completions,
    openai_responses,
)
from ai.servers.scripted.script import Asked, Script, Seen

_PATHS = (
    (re.compile(r"/chat/completions$"), openai_chat),
    (re.compile(r"/completions$"), openai_completions),
    (re.compile(r"/responses$"), openai_responses),
    (re.compile(r"/v1/messages$"), anthropic_messages),
    (re.compile(r"/models/(?P<model>[^/]+):(?P<verb>generateContent|streamGenerateContent)$"), gemini),
    (re.compile(r"/api/chat$"), ollama_chat),
)
_MOST = 1 << 30


class Upstream:
    """The server. One script at a time, for all requests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer and note, whatever the end."""
        began = time.monotonic()
        body = await request.read()
        progress = {"end": "client gone", "events": 0}
        try:
            return await self._answer(request, body, progress)
        finally:
            self._note(request, body, seconds=time.monotonic() - began, **progress)

    async def _answer(self, request: web.Request, body: bytes, progress: dict) -> web.StreamResponse:
        script = msgspec.json.decode((self._directory / "script.json").read_bytes(), type=Script)
        found = next(((match, dialect) for path, dialect in _PATHS if (match := path.search(request.path))), None)
        if found is None:
            progress["end"] = "answered"
            return web.json_response({"path": request.path})
        match, dialect = found
        await asyncio.sleep(script.before)
        if script.status != 200:
            progress["end"] = "answered"
            return web.json_response(dialect.error(script.status, script.error), status=script.status)
        asked, streamed = _asked(match, msgspec.json.decode(body), script)
        if not streamed:
            progress["end"] = "answered"
            return web.json_response(dialect.whole(script, asked))
        pieces, kind = _stream(dialect, request)
        return await _send(request, pieces(script, asked), kind, script, progress)

    def _note(self, request: web.Request, body: bytes, **rest: object) -> None:
        headers = tuple((key.decode("latin-1"), value.decode("latin-1")) for key, value in request.raw_headers)
        seen = Seen(
            method=request.method, target=request.raw_path, headers=headers, body=body.decode(errors="replace"), **rest
        )
        with (self._directory / "seen.jsonl").open("ab") as log:
            log.write(msgspec.json.encode(seen) + b"\n")


def _asked(match: re.Match[str], body: dict, script: Script) -> tuple[Asked, bool]:
    named = match.groupdict()
    if "verb" in named:
        streamed = named["verb"] == "streamGenerateContent"
        choices = body.get("generationConfig", {}).get("candidateCount", 1)
    else:
        streamed = body.get("stream", match[0] == "/api/chat")
        choices = body.get("n") or 1
    usage = bool((body.get("stream_options") or {}).get("include_usage"))
    model = named.get("model") or body["model"]
    return Asked(model=model, choices=script.choices or choices, usage=usage), streamed


def _stream(dialect: object, request: web.Request) -> tuple[Callable[[Script, Asked], Iterator[bytes]], str]:
    if dialect is gemini and request.query.get("alt") != "sse":
        return gemini.array, "application/json"
    return dialect.events, "application/x-ndjson" if dialect is ollama_chat else "text/event-stream"


async def _send(
    request: web.Request, events: Iterator[bytes], kind: str, script: Script, progress: dict
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-cache"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    for event in events:
        if progress["events"] == script.dies_after:
            progress["end"] = "died"
            request.transport.abort()
            return response
        await response.write(event)
        progress["events"] += 1
        await asyncio.sleep(script.between)
    progress["end"] = "answered"
    return response


def main() -> None:
    """Run until SIGTERM."""
    directory, port = Path(sys.argv[1]), int(sys.argv[2])
    application = web.Application(client_max_size=_MOST)
    application.router.add_route("*", "/{path:.*}", Upstream(directory).answer)
    # A handler is cancelled when its client goes away; otherwise only the next write would tell.
    web.run_app(application, port=port, handler_cancellation=True, print=None, access_log=None)


if __name__ == "__main__":
    main()
