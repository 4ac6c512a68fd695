"""Rules about the texts of a request.

All rules of a lane look at a text in one pass, as they do in answers: where several match at the same place, the longest
match counts, and then the rule that is written first. So a rule never sees what another has put there.
"""

from __future__ import annotations

from kube_gateway.ai.decide.exchange import Exchange, Prompt, Refused
from kube_gateway.ai.policy.compile import Snapshot
from kube_gateway.ai.policy.rules import RuleBase
from kube_gateway.ai.policy.selection import Selection


def decide_prompts(exchange: Exchange, snapshot: Snapshot, selection: Selection, *, hash_key: bytes) -> None:
    """Replace and mask what the rules say. Raises `Refused` at the first text that one denies."""
    if not selection.prompt:
        return
    changed: dict[str, int] = {}
    before: Prompt | None = None
    for prompt in exchange.prompts:
        # A message of two roles is a text of two lanes: what one has made of it the other goes on with.
        if before is not None and before.changed and before.start == prompt.start:
            prompt.change(before.text)
        before = prompt
        matchers = selection.prompt.get(prompt.lane.name)
        if matchers is None:
            continue
        if matchers.shadow is not None:
            _, counts, _ = matchers.shadow.mask(prompt.text, escaped=prompt.lane.escaped, hash_key=hash_key)
            _count(exchange, snapshot, counts)
        if matchers.enforced is not None:
            text, counts, denied = matchers.enforced.mask(prompt.text, escaped=prompt.lane.escaped, hash_key=hash_key)
            if denied is not None:
                _count(exchange, snapshot, counts)
                raise Refused(snapshot.rules[denied], "blocked")
            _apply(exchange, snapshot, prompt, text, counts, changed)
    exchange.remarks += [f"{count} changed in the prompt (rule {name})" for name, count in changed.items()]


def _apply(
    exchange: Exchange, snapshot: Snapshot, prompt: Prompt, text: str, counts: dict[str, int], changed: dict[str, int]
) -> None:
    _count(exchange, snapshot, counts)
    if prompt.lane.immutable:
        return
    prompt.change(text)
    for name, count in counts.items():
        changed[name] = changed.get(name, 0) + count


def _count(exchange: Exchange, snapshot: Snapshot, counts: dict[str, int]) -> None:
    for name, count in counts.items():
        rule: RuleBase = snapshot.rules[name]
        exchange.fired(rule, count)
