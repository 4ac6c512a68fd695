"""What a client gets instead of an answer: an error that its library raises once, or a sentence as if of the model."""

from __future__ import annotations

import logging
import math

from kube_gateway.ai.decide.exchange import Exchange, Refused
from kube_gateway.ai.dialect import Reason, Reply
from kube_gateway.ai.policy.rules import OnBlock, RuleBase
from kube_gateway.ai.policy.schema import Policy

STATUS: dict[Reason, int] = {
    "blocked": 403,
    "model_denied": 403,
    "endpoint_denied": 403,
    "tool_denied": 403,
    "too_large": 413,
    "not_understood": 400,
    "budget_exhausted": 429,
    "rate_limited": 429,
    "policy_failed": 500,
    "unreadable_answer": 502,
}
_WORDS: dict[Reason, str] = {
    "blocked": "the text is not allowed",
    "model_denied": "the model is not allowed",
    "endpoint_denied": "this kind of call is not allowed",
    "tool_denied": "a tool is not allowed",
    "too_large": "the request is too large",
    "not_understood": "the request is no JSON, so it cannot be checked",
    "budget_exhausted": "the budget is used up",
    "rate_limited": "there were too many calls",
    "policy_failed": "the call cannot be checked, so it is not made",
    "unreadable_answer": "the answer cannot be checked",
}
_log = logging.getLogger("ai")


def reply_to(exchange: Exchange, refused: Refused, policy: Policy) -> Reply:
    """Return what the client gets, as the rule or the policy wants it."""
    on_block = on_block_of(refused.rule, policy)
    text = message_of(refused.rule, refused.reason, policy, said=refused.message)
    asked = exchange.asked()
    answered = STATUS[refused.reason] == 403 or (refused.rule is not None and refused.rule.on_block is not None)
    if on_block.form == "answer" and answered and exchange.endpoint.operation in {"chat", "text_completion"}:
        return exchange.dialect.answer(asked, text=text)
    retry_after = math.ceil(refused.retry_after) if refused.reason == "rate_limited" and refused.retry_after else None
    return exchange.dialect.error(
        asked, status=STATUS[refused.reason], reason=refused.reason, message=text, retry_after=retry_after
    )


def on_block_of(rule: RuleBase | None, policy: Policy) -> OnBlock:
    """Return how this rule refuses."""
    return policy.on_block if rule is None or rule.on_block is None else rule.on_block


def message_of(rule: RuleBase | None, reason: Reason, policy: Policy, *, said: str | None = None) -> str:
    """Return the text of a refusal. `said` is more exact than the usual words, and less so than a rule's own."""
    own = rule.on_block.message if rule is not None and rule.on_block is not None else None
    template = own if own is not None else None if said is not None else policy.on_block.message
    name = rule.name if rule is not None else ""
    if template is not None:
        return template.replace("{rule}", name)
    if said is not None:
        return f"kube-gateway says no: {said}"
    return f"kube-gateway says no: {_WORDS[reason]}{f' (rule {name})' if name else ''}"


def tell(exchange: Exchange, refused: Refused) -> None:
    """Log that a request was refused, without anything of its content."""
    rule = f" by rule {refused.rule.name}" if refused.rule is not None else ""
    request = exchange.request
    _log.info(
        "connection %d: %s %s refused%s: %s", request.connection, request.method, exchange.path, rule, refused.reason
    )
