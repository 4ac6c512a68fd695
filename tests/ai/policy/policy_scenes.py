"""A policy, and requests to it: the real engine, the real counters, and no network.

A play-book says what is asked (`>>`) and what becomes of it (`<<`), line by line, below the policy (in YAML):

>> chat BODY                      a chat completion; also `ollama`, `anthropic`, `responses`, `gemini MODEL`, `embed`
>> METHOD TARGET [BODY]           any request
>> ends OUTCOME                   the answer to the last one ends; OUTCOME is JSON of what the filter has seen
<< same                           it goes on with the client's own bytes
<< BODY                           it goes on with exactly these bytes
<< target TARGET                  it goes to another target
<< STATUS TEXT                    it is refused, and TEXT is in what the client gets
<< rules NAME=COUNT...            these rules have acted (at the end of a call, or at its refusal)
<< shadow NAME=COUNT...           these would have
<< start NAME=VALUE...            keywords for the filter of the answer
<< headers NAME=VALUE...          headers that are set; without a value: removed
"""

from __future__ import annotations

import json
import re

from kube_gateway.ai.decide.decision import Decision
from kube_gateway.ai.decide.request import RecordedRequest
from kube_gateway.ai.engine import Engine
from kube_gateway.ai.meters.budgets import Ledger
from kube_gateway.ai.meters.call import Call
from kube_gateway.ai.policy.read import read_policy

TARGETS = {
    "chat": "/v1/chat/completions",
    "ollama": "/api/chat",
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
    "embed": "/v1/embeddings",
}
HASH_KEY = bytes(range(32))


class Meters:
    """Keeps what has ended."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def ended(self, call: Call) -> None:
        self.calls.append(call)


class Scene:
    """One policy at work."""

    def __init__(self, text: str = "", *, model: str = "", clock: float = 1_000_000_000.0, **options) -> None:
        self.meters = Meters()
        self.now = clock
        self.ledger = Ledger(clock=lambda: self.now)
        self.engine = Engine(
            read_policy(text),
            model=model,
            revision=3,
            name="0123456789ab",
            hash_key=HASH_KEY,
            meters=self.meters,
            budgets=self.ledger,
            **options,
        )

    def request(self, method: str, target: str, body: bytes | str | dict = b"", **more) -> RecordedRequest:
        path = target.partition("?")[0]
        found = [
            index
            for index, (wanted, pattern) in enumerate(self.engine.endpoints)
            if wanted == method and re.search(f"(?i:{pattern})/?$", path)
        ]
        assert found, f"{method} {target} is no LLM call"
        raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        return RecordedRequest(
            endpoint=found[0], method=method, target=target, body=raw, connection=7, destination="10.0.0.9:80", **more
        )

    def decide(self, method: str, target: str, body: bytes | str | dict = b"", **more) -> Decision:
        return self.engine.decide(self.request(method, target, body, **more))

    def chat(self, body: bytes | str | dict, **more) -> Decision:
        return self.decide("POST", TARGETS["chat"], body, **more)

    def sent(self, method: str, target: str, body: bytes | str | dict) -> dict:
        """What goes on, as JSON; the client's own where nothing was changed."""
        request = self.request(method, target, body)
        decision = self.engine.decide(request)
        assert decision.reply is None, decision.reply
        return json.loads(request.body if decision.body is None else decision.body)

    @property
    def call(self) -> Call:
        return self.meters.calls[-1]


def end(decision: Decision, outcome: dict | None = None, **facts) -> None:
    """The answer has ended, all well."""
    raw = b"" if outcome is None else json.dumps(outcome).encode()
    decision.ended(raw, {"status": 200, "seconds": 0.5, "response_bytes": 10, **facts})


def play(text: str) -> None:
    """Run a play-book."""
    head, _, lines = f"\n{text}".partition("\n>>")
    scene = Scene(head)
    decision: Decision | None = None
    body = b""
    for line in (f">>{lines}").splitlines():
        direction, _, said = line.strip().partition(" ")
        if direction == ">>" and said.startswith("ends"):
            end(decision, json.loads(said.removeprefix("ends").strip() or "{}"))
        elif direction == ">>" and said.startswith("time "):
            scene.now += float(said.removeprefix("time "))
        elif direction == ">>":
            method, target, body = _asked(said)
            decision = scene.decide(method, target, body)
        elif direction == "<<":
            _check(scene, decision, said, line)
        else:
            assert not line.strip(), line


def _asked(said: str) -> tuple[str, str, bytes]:
    first, _, rest = said.partition(" ")
    if first == "gemini":
        model, _, body = rest.partition(" ")
        return "POST", f"/v1beta/models/{model}:generateContent", body.encode()
    if first in TARGETS:
        return "POST", TARGETS[first], rest.encode()
    target, _, body = rest.partition(" ")
    return first, target, body.encode()


def _check(scene: Scene, decision: Decision, said: str, line: str) -> None:
    first, _, rest = said.partition(" ")
    if first in {"rules", "shadow"}:
        call = scene.call
        found = call.matches if first == "rules" else call.shadow_matches
        assert {name: str(count) for name, count in found.items()} == _pairs(rest), (line, found)
    elif first.isdigit():
        assert decision.reply is not None, line
        assert (str(decision.reply.status), rest in decision.reply.body.decode()) == (first, True), decision.reply
    else:
        assert decision.reply is None, (line, decision.reply)
        if first == "same":
            assert decision.body is None, (line, decision.body)
        elif first == "target":
            assert decision.target == rest, line
        elif first == "start":
            shown = {name: str(value) for name, value in decision.response.start.items() if name != "hash_key"}
            assert shown == _pairs(rest), line
        elif first == "headers":
            assert {name: value or "" for name, value in decision.set_headers} == _pairs(rest), line
        else:
            assert decision.body is not None, line
            assert decision.body.decode() == said, (line, decision.body)


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in text.split())
