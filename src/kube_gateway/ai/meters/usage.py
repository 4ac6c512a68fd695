"""How many tokens a call has used: the server's word where there is one, else an estimate that says so.

A stream that was cut off never tells its usage, or only the number that it began with, and some servers never do. Such a
call is not free: what it used is estimated from the characters that went through, so that budgets hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kube_gateway.ai.dialect import Outcome, Totals
from kube_gateway.ai.meters.call import Usage

CHARACTERS_PER_TOKEN = 4
"""Of English prose, with the tokenizers of today. Other languages and code have more tokens than that."""

_MADE_BY_THE_MODEL = ("output", "reasoning", "refusal", "tool_arguments")


def estimated_tokens(characters: int) -> int:
    """Tokens that a text of so many characters may have; 0 only for none."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def usage_of(
    outcome: Outcome,
    *,
    totals: Callable[[Mapping[str, int]], Totals],
    prompt_characters: int = 0,
    broken_off: bool = False,
) -> Usage:
    """Return what a call has used. `totals` is the dialect's, as servers differ in what they count into what.

    `prompt_characters` are those of the request, for a server that does not say what they came to. `broken_off`: the
    answer did not come to its end, where servers tell what it came to.
    """
    said = {kind: max(count, 0) for kind, count in outcome.usage.items()}
    sums = totals(said)
    # Of an answer that was only thought, some tell the thoughts alone.
    has_input, has_output = "input" in said, "output" in said or sums.output > 0
    written = sum(outcome.characters.get(lane, 0) for lane in _MADE_BY_THE_MODEL)
    given = sums.input if has_input else estimated_tokens(prompt_characters)
    output = sums.output if has_output else estimated_tokens(written)
    # Some tell a number at the beginning, and the true one at the end only.
    more = max(estimated_tokens(written) - output, 0) if broken_off else 0
    return Usage(
        input=given,
        output=output + more,
        cached_input=said.get("cached_input", 0),
        cache_creation_input=said.get("cache_creation_input", 0),
        reasoning=said.get("reasoning", 0),
        estimated=(not has_input and given > 0) or (not has_output and output > 0) or more > 0,
    )
