"""For every way to cut a text: what comes out is what masking the whole gives, and no more is held back than must be."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from masking_cases import RULES_AND_TEXT, compiled, pieces_of
from masking_reference import Either, Of, Rule, Sequence, Times, walk

from properties import cases

KEY = b"key"


@cases(1500)
@given(RULES_AND_TEXT)
def test_character_by_character_the_output_is_that_of_the_whole_and_what_is_held_is_exact(rules_and_text):
    rules, text = rules_and_text
    patterns = compiled(rules)
    masker = patterns.masker(hash_key=KEY)
    out = ""
    for end in range(1, len(text) + 1):
        out += masker.feed(text[end - 1])
        expected = walk(text[:end], rules, ended=False, key=KEY)
        assert out == expected.text(text)
        assert masker.held == end - expected.held_from or expected.denied
        assert masker.denied == expected.denied
    out += masker.finish()
    expected = walk(text, rules, ended=True, key=KEY)
    assert (out, masker.matches, masker.denied) == (expected.text(text), expected.matches, expected.denied)
    assert masker.held == 0
    assert patterns.mask(text, hash_key=KEY) == (out, expected.matches, expected.denied)


@cases(1500)
@given(st.data(), RULES_AND_TEXT)
def test_however_a_text_is_cut_the_output_is_that_of_the_whole(data, rules_and_text):
    rules, text = rules_and_text
    patterns = compiled(rules)
    masker = patterns.masker(hash_key=KEY)
    pieces = data.draw(pieces_of(text))
    out = "".join(masker.feed(piece) for piece in pieces) + masker.finish()
    assert (out, masker.matches, masker.denied) == patterns.mask(text, hash_key=KEY)


DIGITS = Of("0123456789")
NUMBERS = [
    Rule("card", Sequence((DIGITS, Times(Sequence((Times(Of(" -"), 0, 1), DIGITS)), 1, 5))), check="luhn", words=True),
    Rule("short", Sequence((DIGITS, DIGITS, Of("x"))), replacement=""),
    Rule("long", Times(Either((DIGITS, Of("x"))), 7, 7)),
]


@cases(1000)
@given(st.data(), st.text(st.sampled_from("0123456789x -"), max_size=30))
def test_a_wrong_check_digit_leaves_the_match_to_shorter_ones_and_other_patterns(data, text):
    rules = data.draw(st.permutations(NUMBERS))
    if data.draw(st.booleans()):
        rules[0] = dataclasses.replace(rules[0], check="iban", words=False)
    masker = compiled(rules).masker()
    out = ""
    for end in range(1, len(text) + 1):
        out += masker.feed(text[end - 1])
        expected = walk(text[:end], rules, ended=False)
        assert (out, masker.held) == (expected.text(text), end - expected.held_from)
    expected = walk(text, rules, ended=True)
    assert (out + masker.finish(), masker.matches) == (expected.text(text), expected.matches)
