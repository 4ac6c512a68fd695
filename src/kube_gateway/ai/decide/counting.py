"""Budgets and rates: a call takes the most that it can use from each, or from none."""

from __future__ import annotations

from kube_gateway.ai.budget import Budgets, Exhausted, Limit, Tokens
from kube_gateway.ai.decide.exchange import Exchange, Refused
from kube_gateway.ai.dialect import Reason
from kube_gateway.ai.meters.usage import estimated_tokens
from kube_gateway.ai.policy.naming import counted_name
from kube_gateway.ai.policy.quantities import seconds_of
from kube_gateway.ai.policy.rules import BudgetRule, CountingRule
from kube_gateway.ai.policy.selection import Selection


def decide_budgets(exchange: Exchange, selection: Selection, budgets: Budgets, *, limit: int | None) -> int | None:
    """Reserve, and return the limit of tokens for one answer: `limit`, or what there is left for it.

    Raises `Refused`, with nothing reserved, where a rule in force has nothing left.
    """
    for rule in selection.counting:
        limit = _reserve(exchange, rule, budgets, limit=limit)
    return limit


def _reserve(exchange: Exchange, rule: CountingRule, budgets: Budgets, *, limit: int | None) -> int | None:
    # What makes a text and takes no limit (compaction) reserves as much as a call without one.
    answers = bool(exchange.endpoint.request.lanes) and exchange.endpoint.operation in {"chat", "text_completion"}
    wanted = (rule.reserve if limit is None else limit) * exchange.answers if answers else 0
    estimate = Tokens(input=estimated_tokens(exchange.prompt_characters), output=wanted)
    model = counted_name(exchange.model, exchange.endpoint.naming)
    share = budgets.reserve(limit_of(rule), model=model, estimate=estimate)
    if not isinstance(share, Exhausted) and share.output is not None and share.output < exchange.answers:
        # Not a token for each answer.
        share.release()
        share = Exhausted(what="tokens", allowed=rule.tokens or 0, retry_after=seconds_of(rule.window))
    if isinstance(share, Exhausted):
        exchange.fired(rule)
        if rule.mode == "shadow":
            return limit
        exchange.release()
        reason: Reason = "budget_exhausted" if isinstance(rule, BudgetRule) else "rate_limited"
        raise Refused(rule, reason, message=_said(rule, share), retry_after=share.retry_after)
    exchange.reservations.append(share)
    if rule.mode == "shadow" or share.output is None:
        return limit
    exchange.held = True
    granted = share.output // exchange.answers
    if limit is not None and granted >= limit:
        return limit
    if exchange.endpoint.request.limits and (granted * exchange.answers < wanted or limit is None):
        exchange.remarks.append(f"limit of tokens {granted} (rule {rule.name})")
    # Less than was asked for: the end has to come there, whether or not the server keeps to it.
    exchange.cut = exchange.cut or share.output < wanted
    return granted


def limit_of(rule: CountingRule) -> Limit:
    """Return what a rule allows, as its counter takes it."""
    budget = isinstance(rule, BudgetRule)
    return Limit(
        rule=rule.name,
        kind="budget" if budget else "rate",
        window=round(seconds_of(rule.window)),
        tokens=rule.tokens,
        requests=None if isinstance(rule, BudgetRule) else rule.requests,
        counts=rule.counts,
        per=rule.per,
    )


def _said(rule: CountingRule, share: Exhausted) -> str:
    kind = "budget" if isinstance(rule, BudgetRule) else "rate"
    return (
        f"the {kind} {rule.name} of {share.allowed} {share.what} in {rule.window} is used up; "
        f"there may be room in {max(round(share.retry_after), 1)} s"
    )
