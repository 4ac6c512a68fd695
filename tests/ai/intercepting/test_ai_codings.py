"""A body that servers could read in another way than the gateway, by its codings, is shown to the policy as unreadable."""

from __future__ import annotations

import gzip
import zlib

import pytest
from intercepting_rig import Decision, Engine, Reply, post

pytestmark = pytest.mark.root
GZIP = gzip.compress(b'{"a":1}')
ZSTD = bytes.fromhex("28b52ffd20073900007b2261223a317d")


def refused(rig, request: bytes):
    engine = Engine(lambda _: Decision(reply=Reply()))
    rig.core.set_policy(engine)
    return engine, *rig.pair(request)


# Read as deflate, this is a block with a bit of text, and then one that is stored.
POLYGLOT = '\n{"paéÀā ~\u07c0":"","model":"m","messages":[{"role":"user","content":"secret"}]}'.encode().ljust(
    14 + 0x2081
)


@pytest.mark.parametrize("content_type", ["text/plain", "application/json"])
def test_a_body_that_can_be_read_in_two_ways_is_not_read_in_either(rig, content_type):
    """As it is sent it is JSON, and something else where its coding is undone: most servers do not do that."""
    engine, client, server = refused(rig, post(POLYGLOT, "Content-Encoding: deflate", content_type=content_type))
    assert client.until(b"\r\n").startswith(b"HTTP/1.1 403 ")
    server.nothing()
    (seen,) = engine.requests
    assert (seen.body, seen.encoded) == (b"?", True)


# Some servers look at the first line alone, and some read JSON as it comes and never see what is wrong behind it.
NOT_UNDONE = {
    "an unknown coding on another line": (ZSTD, ["zstd", "x"]),
    "an unknown coding in a list": (ZSTD, ["zstd, x"]),
    "another coding on another line": (ZSTD, ["zstd", "gzip"]),
    "too many codings": (ZSTD, ["zstd", "identity, br", "gzip, br"]),
    "a trailer that is wrong": (GZIP[:-8] + bytes(8), ["gzip"]),
    "bytes behind the end": (ZSTD + b"x", ["zstd"]),
    "a window of 16 MiB": (ZSTD[:4] + b"\x00\x70" + ZSTD[6:], ["zstd"]),
    "what comes of both is no JSON": (zlib.compress(gzip.compress(b"text")), ["gzip", "deflate"]),
}


@pytest.mark.parametrize("content_type", ["text/plain", "application/json"])
@pytest.mark.parametrize("case", NOT_UNDONE)
def test_a_body_whose_coding_cannot_be_undone_is_shown_to_the_policy(rig, case, content_type):
    body, codings = NOT_UNDONE[case]
    lines = [f"Content-Encoding: {coding}" for coding in codings]
    engine, client, server = refused(rig, post(body, *lines, content_type=content_type))
    assert client.until(b"\r\n").startswith(b"HTTP/1.1 403 ")
    server.nothing()
    (seen,) = engine.requests
    assert seen.encoded
    assert not seen.body.startswith(b"{")


@pytest.mark.parametrize(("codings", "seen"), [("deflate, x", b"?"), ("utf-8", POLYGLOT)])
def test_json_that_names_a_coding_that_cannot_be_undone(rig, codings, seen):
    """A server may undo the one that it knows. Where nobody knows any, it is JSON with a slip in its head."""
    engine, client, _ = refused(rig, post(POLYGLOT, f"Content-Encoding: {codings}"))
    assert client.until(b"\r\n").startswith(b"HTTP/1.1 403 ")
    assert engine.requests[0].body == seen


def test_a_form_whose_one_coding_is_undone_is_no_call(rig):
    request = post(gzip.compress(b"a=1"), "Content-Encoding: gzip", content_type="application/x-www-form-urlencoded")
    engine, _, server = refused(rig, request)
    assert server.exactly(len(request)) == request
    assert engine.requests == []
