"""Text that is the source of a JSON document: patterns see what escapes stand for, and what is not masked keeps them."""

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from masking_cases import RULES_AND_TEXT, compiled, pieces_of
from masking_reference import Of, Rule, Sequence, walk

from kube_gateway._native import Patterns
from kube_gateway.ai.detect import DETECTORS
from properties import cases

SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
ESCAPE = re.compile(
    r'\\(?:["\\/bfnrt]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4})', re.ASCII
)
BEGUN = re.compile(
    r"\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?)?)?\Z",
    re.ASCII,
)


def by_number(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


@st.composite
def sources(draw, text: str) -> str:
    """A text as it may be written in a string of JSON, with half surrogate pairs and stray backslashes here and there."""
    pieces = []
    for character in text + draw(st.sampled_from(["", '"', "\\", "/\n"])):
        number = by_number(character)
        pieces.append(
            draw(st.sampled_from([SHORT.get(character, character), number, "\\u".join(number.upper().split("\\U"))]))
        )
    for stray in draw(st.lists(st.sampled_from(["\\ud83d", "\\uDE00", "\\x", "\\", "\\u12"]), max_size=2)):
        pieces.insert(draw(st.integers(0, len(pieces))), stray)
    return "".join(pieces)


RULES_AND_SOURCE = RULES_AND_TEXT.flatmap(lambda case: st.tuples(st.just(case[0]), sources(case[1][:16])))


def units(source: str, *, ended: bool) -> list[tuple[str, str]]:
    """Pairs of what is written and the character that it stands for; what is begun and not complete is left out."""
    found = []
    while source:
        if not ended and BEGUN.match(source):
            break
        escape = ESCAPE.match(source)
        written = escape[0] if escape else source[0]
        character = json.loads(f'"{written}"') if escape else written
        found.append((written, "\ufffd" if "\ud800" <= character <= "\udfff" else character))
        source = source[len(written) :]
    return found


@cases(1500)
@given(st.data(), RULES_AND_SOURCE)
def test_escapes_are_seen_through_and_kept_where_nothing_is_masked(data, rules_and_source):
    """All of it in one string of the document."""
    rules, source = rules_and_source
    masker = compiled(rules).masker(escaped=True, hash_key=b"key")
    assert masker.feed('"') == '"'
    out = fed = ""
    for piece in data.draw(st.one_of(st.just(list(source)), pieces_of(source))):
        out += masker.feed(piece)
        fed += piece
        written = units(fed, ended=False)
        expected = walk("".join(character for _, character in written), rules, ended=False, key=b"key")
        done = "".join(raw for raw, _ in written[: expected.held_from])
        assert out == expected.text([raw for raw, _ in written])
        assert masker.denied == expected.denied
        assert expected.denied or masker.held == len(fed) - len(done)
    out += masker.finish()
    written = units(fed, ended=True)
    expected = walk("".join(character for _, character in written), rules, ended=True, key=b"key")
    assert (out, masker.matches, masker.denied) == (
        expected.text([raw for raw, _ in written]),
        expected.matches,
        expected.denied,
    )


@cases(500)
@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_document_stays_a_document_whatever_the_replacement(replacement):
    rule = Rule("x", Sequence((Of("a"), Of("\n"))), replacement=replacement.replace("{hash}", ""))
    source = json.dumps({"k": "1a\n2"})
    masked, _, _ = compiled([rule]).mask(source, escaped=True)
    assert json.loads(masked) == {"k": f"1{rule.replacement}2"}


@pytest.mark.parametrize(
    "written", [r"\u0062anned", r"b\u0061nned", r"banne\u0064", r"\u0062\u0061\u006e\u006E\u0065\u0064"]
)
def test_a_banned_word_cannot_hide_in_escapes(written):
    patterns = Patterns(b'[{"id": "word", "literal": "banned"}]')
    assert patterns.mask(f'{{"q":"{written}\\n"}}', escaped=True) == ('{"q":"***\\n"}', {"word": 1}, None)
    assert patterns.mask(f'{{"q":"{written}\\n"}}')[1] == {}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-200, 200)
    | st.sampled_from([1.5e7, 81.5, -0.0])
    | st.text('ab18 "\\é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab1"', max_size=3), inner, max_size=3),
    max_leaves=8,
)
ACROSS = (r"a.*b", r"1[^b]*8", "[0-9]+", '"[^"]*"', r'b": *"?[a1 ]', "[\\[\\]{}:,]", "true|ul", r"\s+", "a", ".*")


@cases(1500)
@given(st.data(), VALUES, st.lists(st.sampled_from(ACROSS), min_size=1, max_size=3, unique=True))
def test_whatever_matches_a_document_stays_a_document_of_the_same_structure(data, value, regexes):
    source = json.dumps(value, indent=data.draw(st.sampled_from([None, 1])), ensure_ascii=data.draw(st.booleans()))
    rules = [{"id": regex, "regex": regex, "replacement": '<"\\>'} for regex in regexes]
    patterns = Patterns(json.dumps(rules).encode())
    whole, counts, _ = patterns.mask(source, escaped=True)
    masker = patterns.masker(escaped=True)
    assert "".join([masker.feed(piece) for piece in data.draw(pieces_of(source))]) + masker.finish() == whole
    assert kinds(pairs(whole), replaced=bool(counts)) == kinds(pairs(source), replaced=bool(counts))
    if not counts:
        assert whole == source


def pairs(source: str) -> object:
    return json.loads(source, object_pairs_hook=tuple)


def kinds(value: object, *, replaced: bool) -> object:
    """What a value is made of; a number or a word may have become a string."""
    if isinstance(value, list):
        return [kinds(each, replaced=replaced) for each in value]
    if isinstance(value, tuple):
        return tuple(kinds(each, replaced=replaced) for _, each in value)
    return "scalar" if replaced else value


SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("source", "masked"),
    [
        ('{"card": 4111111111111111}', '{"card": "[card]"}'),
        ('[4111111111111111,"4111111111111111"]', '["[card]","[card]"]'),
        (f'{{"aws_secret_access_key": "{SECRET}"}}', '{"aws_secret_access_key": "[aws_key]"}'),
        (f'{{"cmd":"export AWS_SECRET_ACCESS_KEY={SECRET}"}}', '{"cmd":"export [aws_key]"}'),
        (f'{{"file":"\\"secret_access_key\\": \\"{SECRET}\\""}}', '{"file":"\\"[aws_key]\\""}'),
    ],
)
def test_what_detectors_find_leaves_a_document(source, masked):
    patterns = Patterns(json.dumps([msgspec.to_builtins(each.pattern()) for each in DETECTORS.values()]).encode())
    assert patterns.mask(source, escaped=True)[0] == masked
    assert json.loads(masked)
