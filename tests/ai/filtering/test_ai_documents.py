"""A body that is changed keeps every byte that no edit names, and says otherwise what it said."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import HALVES, written

from kube_gateway._native import Document, Finder, quote
from properties import cases

NUMBERS = st.sampled_from(["0", "-0", "1e400", "1.0", "123456789012345678901234567890", "-1.5E-7"])
NAMES = st.sampled_from(["a", "b", "text", "a.b", "", "é"])
STRINGS = st.text(alphabet=st.sampled_from('ab"\\/\né😀\ud83d\x00'), max_size=6)
SPACES = st.sampled_from(["", " ", "\n\t", "\r\n"])


@st.composite
def documents(draw: st.DrawFn, depth: int = 4) -> str:
    """Write any document: with duplicates, any white space and any escapes."""
    space = draw(SPACES)
    kinds = ["string", "number", "word"] + (["array", "object", "object"] if depth else [])
    match draw(st.sampled_from(kinds)):
        case "string":
            return draw(written(draw(STRINGS))) + space
        case "number":
            return draw(NUMBERS) + space
        case "word":
            return draw(st.sampled_from(["true", "false", "null"])) + space
        case "array":
            return f"[{space}{f',{space}'.join(draw(st.lists(documents(depth=depth - 1), max_size=3)))}]{space}"
    members = [
        f"{draw(written(draw(NAMES)))}{space}:{space}{draw(documents(depth=depth - 1))}"
        for _ in range(draw(st.integers(0, 4)))
    ]
    return f"{{{space}{f',{space}'.join(members)}}}{space}"


class Pairs(list):
    """An object with its duplicates; no array."""


def read(body: bytes) -> object:
    """Read JSON with nothing lost: pairs for objects, digits for numbers, half surrogates for what they are."""
    return json.loads(
        body, object_pairs_hook=Pairs, parse_float=lambda raw: ("#", raw), parse_int=lambda raw: ("#", raw)
    )


def finder(*wanted: dict[str, object]) -> Finder:
    return Finder(json.dumps(wanted).encode())


# Everything that has a name, or is an element of an array that has one, to three levels.
PATHS = [
    "".join(path)
    for first in ("a", "b", "text")
    for path in ([first], [first, "[]"], [first, ".a"], [first, "[].text"], [first, ".b", "[]"], [first, "[]", "[]"])
]
ANY = finder(*({"name": path, "path": path, "any": True} for path in PATHS))


def at_path(value: object, path: str) -> list[object]:
    """All values at a path."""
    found = [value]
    for name in path.replace("[]", ".[]").split("."):
        if name == "[]":
            found = [each for one in found if isinstance(one, list) and not isinstance(one, Pairs) for each in one]
        else:
            found = [each for one in found if isinstance(one, Pairs) for key, each in one if key == name]
    return found


@cases(1500)
@given(documents())
def test_what_is_found_is_what_is_there(body):
    raw = body.encode()
    document = ANY.scan(raw)
    assert document.apply() is raw
    value = read(raw)
    for path in PATHS:
        hits = [hit for hit in document.hits if hit.name == path]
        assert [read(raw[hit.start : hit.end]) for hit in hits] == at_path(value, path)
    for hit in document.hits:
        if hit.kind == "string":
            assert hit.text == HALVES.sub("\ufffd", json.loads(raw[hit.start : hit.end]))
        else:
            assert hit.text.encode() == raw[hit.start : hit.end]


MARK = "\ue000new\ue000"


@cases(1500)
@given(st.data(), documents())
def test_texts_are_replaced_and_every_other_byte_stays(data, body):
    raw = body.encode()
    document = ANY.scan(raw)
    # Of nested values the outer one is changed: so only strings here.
    strings = [index for index, hit in enumerate(document.hits) if hit.kind == "string"]
    chosen = data.draw(st.lists(st.sampled_from(strings), unique=True)) if strings else []
    expected, at = b"", 0
    for index in sorted(chosen):
        hit = document.hits[index]
        document.replace_text(index, f'{MARK}"\n{MARK}')
        if hit.start < at:
            continue
        expected += raw[at : hit.start] + quote(f'{MARK}"\n{MARK}')
        at = hit.end
    changed = document.apply()
    assert changed == expected + raw[at:]
    assert document.apply() == changed


@cases(800)
@given(STRINGS, STRINGS, STRINGS, st.data())
def test_what_both_texts_begin_and_end_with_stays_as_it_was_written(before, after, middle, data):
    raw_before, raw_middle, raw_after = (data.draw(written(text)) for text in (before, middle, after))
    if HALVES.match(middle[-1:] + after[:1]) or HALVES.match(before[-1:] + middle[:1]) or HALVES.search(before[-1:]):
        return  # halves at the seams make other characters
    raw = f'{{"a":{raw_before[:-1]}{raw_middle[1:-1]}{raw_after[1:]}}}'.encode()
    document = ANY.scan(raw)
    new = f"{document.hits[0].text[: len(HALVES.sub('.', before))]}{MARK}" + HALVES.sub("\ufffd", after)
    document.replace_text(0, new)
    changed = document.apply().decode()
    assert json.loads(changed)["a"].replace("\ud83d", "\ufffd") == new
    assert changed.startswith(f'{{"a":{raw_before[:-1]}')
    assert changed.endswith(f"{raw_after[1:]}}}")


@cases(1500)
@given(st.data(), st.lists(st.tuples(NAMES, st.integers(0, 9)), max_size=6), st.booleans())
def test_members_and_elements_are_removed_with_their_commas_and_added(data, members, is_array):
    space = data.draw(SPACES)
    before, after = f'{{"first": 1e400,{space}"a":{space}', f'{space}, "last" :[1.0]}}'
    inner, begins = "[" if is_array else "{", []
    for index, (name, number) in enumerate(members):
        comma = "," if index else ""
        key = "" if is_array else f"{quote(name).decode()}{space}:"
        inner += f"{comma}{space}{key}{space}"
        begins.append(len((before + inner).encode()))
        inner += f"{number}{data.draw(SPACES)}"
    raw = f"{before}{inner}{space}{']' if is_array else '}'}{after}".encode()
    paths = ["a[]"] if is_array else [f"a.{name}" for name in ("a", "b", "text", "é")]
    document = finder(*({"name": path, "path": path, "any": True} for path in paths)).scan(raw)
    chosen = data.draw(st.sets(st.sampled_from(range(len(document.hits))))) if document.hits else set()
    for index in chosen:
        document.remove(index)
    added = 0 if is_array else data.draw(st.integers(0, 2))
    for number in range(added):
        document.insert("a", f"new{number}", b"[true]")
    changed = document.apply()
    gone = {document.hits[index].start for index in chosen}
    left = [(name, ("#", str(number))) for (name, number), at in zip(members, begins, strict=True) if at not in gone]
    said = dict(read(changed))  # type: ignore[call-overload]
    expected = (
        [value for _, value in left] if is_array else left + [(f"new{number}", [True]) for number in range(added)]
    )
    assert said["a"] == expected
    assert changed.startswith(before.encode()) and changed.endswith(after.encode())
    assert changed is raw or gone or added


def accepts(body: bytes) -> bool:
    def no(word: str) -> None:
        raise ValueError(word)

    try:
        json.loads(body.decode(), parse_constant=no)
    except (ValueError, RecursionError):
        return False
    return True


@cases(2500)
@given(
    st.one_of(
        st.binary(max_size=20),
        st.tuples(documents(), st.integers(0, 200), st.sampled_from(list(b'"\\{}[],:0e-.ntf \x01\xff'))).map(
            lambda given: (raw := given[0].encode())[: given[1]] + bytes([given[2]]) + raw[given[1] + given[2] % 2 :]
        ),
        st.lists(st.sampled_from([b"{", b"}", b"[", b"]", b",", b":", b'"a"', b"1", b"-", b"."])).map(b"".join),
    )
)
def test_what_is_json_is_decided_as_the_standard_library_does_when_it_is_strict(body):
    try:
        ANY.scan(body)
    except ValueError as error:
        assert str(error).startswith("not JSON: ") and " at byte " in str(error)
        assert not accepts(body)
    else:
        assert accepts(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON: the end instead of a value at byte 0"),
        (b"\xef\xbb\xbf{}", "not JSON: no value at byte 0"),
        (b'{"a":1} {', "not JSON: something after the document at byte 8"),
        (b"[" * 513 + b"]" * 513, "not JSON: nested too deeply at byte 512"),
        (b"[" * 1_000_000, "not JSON: nested too deeply at byte 512"),
        (b'{"a":"\xff"}', "not JSON: bytes that are not UTF-8 at byte 6"),
        (b'{"a":NaN}', "not JSON: no value at byte 5"),
    ],
)
def test_what_is_no_json_is_refused_with_the_place(body, message):
    with pytest.raises(ValueError) as caught:
        ANY.scan(body)
    assert str(caught.value) == message


def test_nested_as_deep_as_allowed():
    raw = b'{"a":' + b"[" * 511 + b"]" * 511 + b"}"
    assert ANY.scan(raw).apply() is raw


def hits(wanted: dict[str, object], body: bytes, *, ignore_case: bool = False) -> list[str]:
    document = Finder(json.dumps([{"name": "x", **wanted}]).encode(), ignore_case=ignore_case).scan(body)
    return [hit.text for hit in document.hits]


def test_conditions_mean_the_same_element():
    body = (
        b'{"m":[{"r":"user","c":"1"},{"c":"2","r":"syst\\u0065m"},{"c":"3"},{"r":null,"c":"4"},'
        b'{"r":"user","r":"x","c":[{"t":"5"},{"t":"6","k":7}]}]}'
    )
    role = {"path": "m[].r", "any_of": ["user"]}
    assert hits({"path": "m[].c", "when": [role]}, body) == ["1"]
    assert hits({"path": "m[].c[].t", "when": [role]}, body) == ["5", "6"]
    assert hits({"path": "m[].c", "when": [{**role, "negated": True}]}, body) == ["2", "3", "4"]
    assert hits({"path": "m[].c", "when": [{**role, "or_absent": True}]}, body) == ["1", "3"]
    assert hits({"path": "m[].c", "when": [{"path": "m[].r", "any_of": ["system"]}]}, body) == ["2"]
    assert hits({"path": "m[].c", "when": [{"path": "m[].r"}]}, body) == ["1", "2"]
    assert hits({"path": "m[].c[].t", "when": [{"path": "m[].c[].k", "any_of": ["7"]}]}, body) == ["6"]


def test_deep_lanes_have_every_string_and_number_and_scalars_have_all_but_containers():
    body = b'{"a":{"x":["1",2,{"y":"3"}],"z":null},"n":[1e400,true,null,"s",{}],"a":"4"}'
    assert hits({"path": "a", "deep": True}, body) == ["1", "2", "3", "4"]
    assert hits({"path": "n[]", "scalar": True}, body) == ["1e400", "true", "null", "s"]
    assert hits({"path": "n[]", "any": True}, body) == ["1e400", "true", "null", "s", "{}"]
    assert hits({"path": "n[]"}, body) == ["s"]


def test_names_are_read_through_their_escapes_and_in_any_case_where_servers_do_so():
    body = b'{"\\u006dodel":"a","MODEL":"b","model":"c"}'
    assert hits({"path": "model"}, body) == ["a", "c"]
    assert hits({"path": "model"}, body, ignore_case=True) == ["a", "b", "c"]


def test_token_ids_in_two_dimensions_are_found():
    assert hits({"path": "prompt[][]", "scalar": True}, b'{"prompt":[[1,2],[3]]}') == ["1", "2", "3"]


def test_of_nested_changes_the_outer_one_holds_and_of_repeated_ones_the_last():
    document = finder({"name": "o", "path": "a", "any": True}, {"name": "i", "path": "a.b"}).scan(
        b'{"a":{"b":"c"},"d":1}'
    )
    document.replace_text(1, "gone")
    document.replace_raw(0, b"[]")
    assert document.apply() == b'{"a":[],"d":1}'
    document.remove(0)
    assert document.apply() == b'{"d":1}'
    document.replace_raw(0, b"0")
    assert document.apply() == b'{"a":0,"d":1}'


def test_what_cannot_be_changed_is_refused():
    document: Document = finder({"name": "top", "path": "", "any": True}).scan(b" [1]")
    with pytest.raises(ValueError, match="the document itself cannot be removed"):
        document.remove(0)
    with pytest.raises(ValueError, match='no object at "a"'):
        document.insert("a", "b", b"1")
    with pytest.raises(IndexError, match="no hit 7"):
        document.remove(7)
    with pytest.raises(ValueError, match="empty name"):
        finder({"name": "x", "path": "a..b"})


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"user","content":"' + b"iVBORw0KGgo" * 1_000_000 + b'"}]}',
        json.dumps({"messages": [{"role": "user", "content": "word é\n" * 1000}] * 900}).encode(),
        json.dumps({"messages": [], "input": [[0.5, 1, {"a": "b"}]] * 400_000}).encode(),
    ],
    ids=["an image", "many messages", "many numbers"],
)
def test_ten_megabytes_are_read_and_changed_in_a_fraction_of_a_second(body):
    assert len(body) > 8_000_000
    wanted = finder(
        {"name": "u", "path": "messages[].content", "when": [{"path": "messages[].role", "any_of": ["user"]}]},
        {"name": "m", "path": "messages", "any": True},
    )
    started = time.perf_counter()
    document = wanted.scan(body)
    document.insert("", "model", b'"m"')
    changed = document.apply()
    assert time.perf_counter() - started < 1  # about 40 ms on a quiet machine
    assert changed == body[:-1] + b',"model":"m"}'


def test_many_members_of_one_name_do_not_cost_their_square():
    body = b'{"messages":[{' + b",".join([b'"content":"a"'] * 200_000) + b',"role":"user"}]}'
    wanted = {"path": "messages[].content", "when": [{"path": "messages[].role", "any_of": ["user"]}]}
    started = time.perf_counter()
    assert len(hits(wanted, body)) == 200_000
    assert time.perf_counter() - started < 5
