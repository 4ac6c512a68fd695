"""What a call has to pass before anything is looked at in detail: its kind and its size."""

from __future__ import annotations

from kube_gateway.ai.decide.exchange import Exchange, Refused
from kube_gateway.ai.policy.compile import Snapshot
from kube_gateway.ai.policy.naming import is_about
from kube_gateway.ai.policy.quantities import size_of
from kube_gateway.ai.policy.rules import SizeRule


def decide_endpoint(exchange: Exchange, snapshot: Snapshot, *, index: int) -> None:
    """Raise `Refused` for a kind of call that is denied: of the rules in force, the first that names it decides."""
    counted = False
    for rule in snapshot.endpoint_rules(index):
        if rule.when.models and not is_about(rule.when.models, exchange.model, exchange.endpoint.naming):
            continue
        if rule.mode == "enforce":
            if rule.action == "allow":
                return
            exchange.fired(rule)
            raise Refused(rule, "endpoint_denied")
        if not counted and rule.action == "deny":
            exchange.fired(rule)
        counted = True


def decide_size(exchange: Exchange, rules: tuple[SizeRule, ...]) -> None:
    """Raise `Refused` for a body that is too large, or has too many messages."""
    for rule in rules:
        bytes_, messages = len(exchange.request.body), len(exchange.found("message"))
        if rule.max_bytes is not None and bytes_ > size_of(rule.max_bytes):
            said = f"the request has {bytes_} bytes, and rule {rule.name} allows {size_of(rule.max_bytes)}"
        elif rule.max_messages is not None and messages > rule.max_messages:
            said = f"the request has {messages} messages, and rule {rule.name} allows {rule.max_messages}"
        else:
            continue
        exchange.fired(rule)
        if rule.mode == "enforce":
            raise Refused(rule, "too_large", message=said)
