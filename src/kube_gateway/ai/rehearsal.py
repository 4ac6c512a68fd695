"""What a policy would do to recorded requests: the real engine, with nobody behind it."""

from __future__ import annotations

import difflib
import json
from typing import Literal

import msgspec

from kube_gateway import _native
from kube_gateway.ai.decide.decision import Decision
from kube_gateway.ai.decide.request import RecordedRequest
from kube_gateway.ai.dialect import Outcome, Reply
from kube_gateway.ai.engine import Engine
from kube_gateway.ai.meters.budgets import Ledger
from kube_gateway.ai.meters.call import Call
from kube_gateway.ai.policy.schema import Policy
from kube_gateway.ai.recorded import Recorded, RecordedAnswer, body_bytes

_MOST_LINES = 60


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request.

    `result`: `no LLM call` passes untouched and unseen. `rules` and `shadow` are hits by rule. `request` and `answer` are
    differences, line by line. `refused` is the status and what the client is told.
    """

    where: str
    method: str
    path: str
    result: Literal["pass", "changed", "blocked", "no LLM call"]
    endpoint: str = ""
    model: str = ""
    sent_model: str = ""
    rules: dict[str, int] = {}
    shadow: dict[str, int] = {}
    request: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()
    status: int = 0
    refused: str = ""
    expected: bool = True


class Rehearsal:
    """A policy on trial. Budgets count from one request to the next, as they would in a pod."""

    def __init__(self, policy: Policy, *, model: str = "") -> None:
        self._calls: list[Call] = []
        # That streams are asked for their usage would be told of each of them, and is no rule's doing.
        policy = msgspec.structs.replace(policy, ask_usage=False)
        self._engine = Engine(
            policy, model=model, revision=0, name="test", hash_key=bytes(32), meters=self, budgets=Ledger()
        )
        self._endpoints = _native.Endpoints(self._engine)

    def ended(self, call: Call) -> None:
        """Take the account of a call, as the engine's meters."""
        self._calls.append(call)

    def run(self, recorded: Recorded) -> Rehearsed:
        """Return what would become of a request."""
        seen = Rehearsed(where=recorded.where, method=recorded.method, path=_path(recorded), result="no LLM call")
        try:
            index = self._endpoints.find(recorded.method, recorded.path)
        except ValueError as error:
            # No rule is asked: the data path itself refuses such a request.
            blocked = msgspec.structs.replace(seen, result="blocked", status=400, refused=str(error))
            return _judged(blocked, recorded)
        if index is None:
            return _judged(seen, recorded)
        body = body_bytes(recorded.body)
        request = RecordedRequest(
            endpoint=index,
            method=recorded.method,
            target=recorded.path,
            headers=tuple(recorded.headers.items()),
            body=body,
        )
        too_large = len(body) > self._engine.body_limit
        if too_large:
            return self._refused(recorded, self._engine.too_large(request))
        decision = self._engine.decide(request)
        if decision.reply is not None:
            return self._refused(recorded, decision.reply)
        return self._passed(recorded, decision, body)

    def _refused(self, recorded: Recorded, reply: Reply) -> Rehearsed:
        return self._told(recorded, reply=reply)

    def _passed(self, recorded: Recorded, decision: Decision, body: bytes) -> Rehearsed:
        request = [*_difference(recorded.path, decision.target or recorded.path)]
        if decision.body is not None:
            request += _difference(_pretty(body), _pretty(decision.body))
        answer: list[str] = []
        reply: Reply | None = None
        outcome = b""
        if recorded.response is not None and decision.response is not None:
            answer, reply, outcome = _answered(recorded.response, decision)
        elif recorded.response is None:
            # Nothing was used, so nothing is to be settled by estimates.
            outcome = msgspec.json.encode(Outcome())
        decision.ended(outcome, {"status": 200, "seconds": 0.0})
        return self._told(recorded, reply=reply, request=request, answer=answer)

    def _told(
        self,
        recorded: Recorded,
        *,
        reply: Reply | None,
        request: list[str] | None = None,
        answer: list[str] | None = None,
    ) -> Rehearsed:
        call = self._calls.pop()
        changed = bool(request or answer)
        rehearsed = Rehearsed(
            where=recorded.where,
            method=recorded.method,
            path=_path(recorded),
            result="blocked" if call.blocked else "changed" if changed else "pass",
            endpoint=f"{call.dialect}/{call.endpoint}",
            model=call.requested_model,
            sent_model=call.model,
            rules=call.matches,
            shadow=call.shadow_matches,
            request=tuple(request or ()),
            answer=tuple(answer or ()),
            status=reply.status if reply is not None else 0,
            refused=reply.body.decode("utf-8", "replace").strip() if reply is not None else "",
        )
        return _judged(rehearsed, recorded)


def _judged(rehearsed: Rehearsed, recorded: Recorded) -> Rehearsed:
    result = "pass" if rehearsed.result == "no LLM call" else rehearsed.result
    return msgspec.structs.replace(rehearsed, expected=recorded.expect in {None, result})


def _answered(recorded: RecordedAnswer, decision: Decision) -> tuple[list[str], Reply | None, bytes]:
    answer = decision.response
    if answer is None:
        return [], None, b""
    given = next((value for name, value in recorded.headers.items() if name.lower() == "content-type"), None)
    body = body_bytes(recorded.body)
    kind = _kind(body) if given is None else given.partition(";")[0].strip().lower()
    framing = answer.framing_of.get(kind) or answer.framing_of.get("*")
    if framing is None:
        return [], None, b""
    stream = answer.plan.start(framing=framing, **answer.start)
    out = stream.feed(body)
    out += b"" if stream.ended else stream.finish()
    outcome = stream.outcome()
    reply = None
    if stream.ended and framing == "whole":
        reply = decision.refuse(outcome)
    elif stream.ended:
        out += decision.ending(outcome)
    return _difference(_pretty(body), _pretty(reply.body if reply is not None else out)), reply, outcome


def _kind(body: bytes) -> str:
    """Guess the content type of an answer that was recorded without its headers."""
    start = body.lstrip()[:64]
    if start.startswith((b"data:", b"event:", b"id:", b":")):
        return "text/event-stream"
    lines = body.strip().splitlines()
    return (
        "application/x-ndjson"
        if len(lines) > 1 and all(line.startswith(b"{") for line in lines)
        else "application/json"
    )


def _path(recorded: Recorded) -> str:
    return recorded.path.partition("?")[0]


def _pretty(body: bytes) -> str:
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
    # Half of a character has no form in UTF-8: it is shown as it was written.
    return text.encode("utf-8", "backslashreplace").decode()


def _difference(before: str, after: str) -> list[str]:
    """Return what differs, line by line; nothing if nothing does."""
    if before == after:
        return []
    lines = [
        line.rstrip("\n")
        for line in difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
        if not line.startswith(("---", "+++", "@@"))
    ]
    return lines if len(lines) <= _MOST_LINES else [*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES} lines more"]
