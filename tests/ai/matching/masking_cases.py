"""Patterns and texts that meet often: a small alphabet, so that much matches, nearly matches and overlaps."""

import json

from hypothesis import strategies as st
from masking_reference import Either, Of, Rule, Sequence, Times, Tree, can_be_something

from kube_gateway._native import Patterns

ALPHABET = "ab18 -é😀"
CHARACTERS = st.sampled_from(ALPHABET)
ONE_OF = st.sets(CHARACTERS, min_size=1, max_size=3).map(lambda found: Of("".join(sorted(found))))
BOUNDS = st.tuples(st.integers(0, 3), st.integers(0, 3) | st.none()).map(
    lambda bounds: (bounds[0], None if bounds[1] is None else bounds[0] + bounds[1])
)
TREES = st.recursive(
    ONE_OF,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda parts: Sequence(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda branches: Either(tuple(branches))),
        st.tuples(inner, BOUNDS).map(lambda chosen: Times(chosen[0], *chosen[1])),
    ),
    max_leaves=6,
).filter(can_be_something)
RULES = st.lists(
    st.tuples(TREES, st.booleans(), st.sampled_from([None, None, "luhn"]), st.integers(0, 19)),
    min_size=1,
    max_size=4,
).map(
    lambda chosen: [
        Rule(
            id=str(number),
            tree=tree,
            words=words,
            check=check,
            action="deny" if action == 0 else "mask",
            replacement=f"<{number}>" if action < 15 else "#{hash}",
        )
        for number, (tree, words, check, action) in enumerate(chosen)
    ]
)


@st.composite
def texts(draw, rules: list[Rule]) -> str:
    """Text made of what the patterns match, of beginnings of that, and of anything."""
    pieces = []
    for _ in range(draw(st.integers(1, 6))):
        sample = sampled(draw, draw(st.sampled_from(rules)).tree)
        cut = draw(st.integers(0, len(sample)) | st.just(len(sample)))
        pieces += [sample[:cut], draw(st.text(CHARACTERS, max_size=3))]
    return "".join(pieces)[:30]


def sampled(draw, tree: Tree) -> str:
    match tree:
        case Of(characters):
            return draw(st.sampled_from(characters))
        case Sequence(parts):
            return "".join(sampled(draw, part) for part in parts)
        case Either(branches):
            return sampled(draw, draw(st.sampled_from(branches)))
        case Times(inner, least, most):
            times = draw(st.integers(least, least + 2 if most is None else most))
            return "".join(sampled(draw, inner) for _ in range(times))


RULES_AND_TEXT = RULES.flatmap(lambda rules: st.tuples(st.just(rules), texts(rules)))


def compiled(rules: list[Rule]) -> Patterns:
    return Patterns(json.dumps([rule.described() for rule in rules]).encode())


def pieces_of(text: str) -> st.SearchStrategy[list[str]]:
    """All ways to cut a text, empty pieces among them."""
    cuts = st.lists(st.integers(0, len(text)), max_size=8).map(sorted)
    return cuts.map(lambda places: [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)])
