"""What was decided on one request, as the native core takes it, and what follows when the answer has ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from kube_gateway.ai.decide.answers import Answer
from kube_gateway.ai.decide.calls import Told, call_of
from kube_gateway.ai.decide.exchange import Exchange, Refused
from kube_gateway.ai.decide.refusing import message_of, reply_to
from kube_gateway.ai.dialect import Outcome, Reason, Reply
from kube_gateway.ai.hook_threads import HookFailed
from kube_gateway.ai.hooks import Hook
from kube_gateway.ai.policy.compile import Snapshot
from kube_gateway.ai.policy.rules import RuleBase, ToolsRule

_log = logging.getLogger("ai")
FAILED = Reply(
    status=500,
    headers=(("content-type", "application/json"), ("x-should-retry", "false")),
    body=b'{"error":{"message":"kube-gateway cannot check this call","type":"server_error","param":null,"code":null}}',
)


class Decision:
    """Read by the native core: either `reply` is there, or the request goes on with what the others say.

    `body` is None for the client's own bytes, `response` for an answer that nobody looks at.
    """

    __slots__ = (
        "_exchange",
        "_hooks",
        "_over",
        "_snapshot",
        "_told",
        "body",
        "reply",
        "response",
        "set_headers",
        "target",
    )

    def __init__(self, exchange: Exchange, snapshot: Snapshot, told: Told, *, hooks: tuple[Hook, ...] = ()) -> None:
        self.reply: Reply | None = None
        self.body: bytes | None = None
        self.target: str | None = None
        self.set_headers: list[tuple[str, str | None]] = []
        self.response: Answer | None = None
        self._exchange = exchange
        self._snapshot = snapshot
        self._told = told
        self._hooks = hooks
        self._over = False

    def ended(self, outcome: bytes, facts: Mapping[str, Any]) -> None:
        """Settle and tell; `outcome` is the filter's, empty without one. Raises nothing."""
        if self._over:
            return
        self._over = True
        try:
            self._ended(_decoded(outcome), facts)
        except Exception as error:
            tell_failure(self._exchange, "its end", error)
        finally:
            self._exchange.release()

    def refused(self, rule: RuleBase | None, reason: Reason, facts: Mapping[str, Any]) -> None:
        """Tell that the request was refused. What the native core says afterwards is not needed any more."""
        self._over = True
        call = call_of(self._exchange, self._told, outcome=Outcome(), facts=facts, blocked=reason, rule=rule)
        self._told.meters.ended(call)

    def refuse(self, outcome: bytes) -> Reply:
        """Return what the client gets in the place of an answer in one piece that was denied. Raises nothing."""
        try:
            rule, reason = self._denied(_decoded(outcome))
            return reply_to(self._exchange, Refused(rule, reason), self._snapshot.policy)
        except Exception as error:
            tell_failure(self._exchange, "refusing its answer", error)
            return FAILED

    def unreadable(self, why: str) -> Reply:
        """Return what the client gets in the place of an answer that has to be looked at and cannot. Raises nothing."""
        try:
            refused = Refused(None, "unreadable_answer", message=why)
            return reply_to(self._exchange, refused, self._snapshot.policy)
        except Exception as error:
            tell_failure(self._exchange, "refusing its answer", error)
            return FAILED

    def ending(self, outcome: bytes) -> bytes:
        """Return what ends a stream that was denied, or cut at its limit. Raises nothing."""
        try:
            seen = _decoded(outcome)
            asked = self._exchange.asked()
            if seen.denied is None:
                return self._exchange.dialect.ending(asked, outcome=seen, reason="length", message="")
            rule, reason = self._denied(seen)
            message = message_of(rule, reason, self._snapshot.policy)
            return self._exchange.dialect.ending(asked, outcome=seen, reason=reason, message=message)
        except Exception as error:
            tell_failure(self._exchange, "ending its answer", error)
            return b""

    def _denied(self, outcome: Outcome) -> tuple[RuleBase | None, Reason]:
        rule = self._snapshot.rules.get(outcome.denied or "") or self._exchange.denied_by
        if rule is None or self._exchange.denied_by is not None:
            return rule, "policy_failed"
        return rule, "tool_denied" if isinstance(rule, ToolsRule) else "blocked"

    def _ended(self, outcome: Outcome, facts: Mapping[str, Any]) -> None:
        exchange = self._exchange
        for counts in (outcome.matches, outcome.shadow_matches):
            for name, count in counts.items():
                if name in self._snapshot.rules:
                    exchange.fired(self._snapshot.rules[name], count)
        blocked: Reason | None = None
        rule: RuleBase | None = None
        if outcome.denied is not None:
            rule, blocked = self._denied(outcome)
            if rule is not None and rule.name not in outcome.matches:
                exchange.fired(rule)
        call = call_of(exchange, self._told, outcome=outcome, facts=facts, blocked=blocked, rule=rule)
        self._told.meters.ended(call)
        self._log(outcome, rule)
        for hook in self._hooks:
            try:
                hook.on_end(call)
            except HookFailed as error:
                _log.warning("connection %d: hook of rule %s failed: %s", call.connection, hook.rule.name, error)

    def _log(self, outcome: Outcome, rule: RuleBase | None) -> None:
        connection = self._exchange.request.connection
        if rule is not None:
            _log.info("connection %d: answer ended by rule %s", connection, rule.name)
        elif outcome.cut:
            _log.info("connection %d: answer cut at %s tokens", connection, self._exchange.most_output)
        elif outcome.matches:
            told = ", ".join(f"{count} by rule {name}" for name, count in outcome.matches.items())
            _log.info("connection %d: changed in the answer: %s", connection, told)
        elif self._snapshot.policy.debug.responses:
            _log.info("connection %d: answer of %d events, nothing changed", connection, outcome.events)


def _decoded(outcome: bytes) -> Outcome:
    return msgspec.json.decode(outcome, type=Outcome) if outcome else Outcome()


def tell_failure(exchange: Exchange, what: str, error: Exception) -> None:
    """Log that our own code failed, and where; nothing of the call."""
    # Not the error's words: they may quote what went through.
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else "?"
    _log.error("connection %d: %s failed: %s in %s", exchange.request.connection, what, type(error).__name__, place)
