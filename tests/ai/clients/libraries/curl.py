"""curl, and a program that reads what it prints: chat completions, written by hand."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time

from ai.clients.collected import Collected, Left
from ai.clients.exchange import Answer, Failure, Question
from ai.clients.libraries.openai_chat import arguments

_ENDED_EARLY = 18  # curl's exit code for an answer that is not whole


def ask(question: Question) -> Answer:
    began = time.monotonic()
    command = [
        "curl",
        "-sS",
        "-N",
        "--max-time",
        "60",
        "-w",
        "\n%{http_code}",
        *_headers(question),
        "-d",
        _body(question),
    ]
    command.append(f"{question.url}/v1/chat/completions")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    collected = Collected(question.leave_after)
    lines: list[bytes] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith(b"data: {"):
                _event(collected, json.loads(line[6:]))
    except Left:
        process.kill()
        process.communicate()
        return collected.answer()
    _, complaint = process.communicate()
    return _ended(collected, question, lines, complaint.decode(), process.returncode, time.monotonic() - began)


async def ask_async(question: Question) -> Answer:
    return await asyncio.to_thread(ask, question)


def _headers(question: Question) -> list[str]:
    return ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {question.key}"]


def _body(question: Question) -> str:
    return json.dumps(arguments(question), ensure_ascii=False)


def _event(collected: Collected, event: dict) -> None:
    if "error" in event:
        return
    collected.model = event["model"]
    for choice in event["choices"]:
        collected.finish = choice["finish_reason"] or collected.finish
        for call in choice["delta"].get("tool_calls", ()):
            function = call["function"]
            collected.call(call["index"], name=function.get("name"), arguments=function.get("arguments"))
        collected.piece(choice["delta"].get("content"), choice=choice["index"])


def _ended(
    collected: Collected, question: Question, lines: list[bytes], complaint: str, code: int, seconds: float
) -> Answer:
    status = int(lines[-1]) if lines and lines[-1].strip().isdigit() else None
    body = b"".join(lines[:-1])
    if code or status != 200:
        kind = "EndedEarly" if code == _ENDED_EARLY else "CurlFailed" if code else "HTTPStatus"
        return Answer(failure=Failure(classes=(kind,), status=status, text=complaint + body.decode()), seconds=seconds)
    if question.stream:
        assert body.rstrip().endswith(b"data: [DONE]"), body[-200:]
        return collected.answer()
    completion = json.loads(body)
    collected.model = completion["model"]
    for choice in completion["choices"]:
        collected.finish = choice["finish_reason"]
        for call in choice["message"].get("tool_calls") or ():
            collected.call(call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"])
        collected.piece(choice["message"]["content"], choice=choice["index"])
    collected.tokens(completion["usage"]["prompt_tokens"], completion["usage"]["completion_tokens"])
    return collected.answer()
