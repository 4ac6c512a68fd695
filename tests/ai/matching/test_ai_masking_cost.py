"""What masking costs at its worst: text that somebody chose, streams that never end, policies that are large."""

import random
import resource
import time

import msgspec
import pytest

from kube_gateway._native import Patterns
from kube_gateway.ai.detect import DETECTORS
from kube_gateway.ai.pattern import Pattern

WORDS = ["".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz", k=4 + seed % 9)) for seed in range(1000)]


def compiled(*patterns: Pattern) -> Patterns:
    return Patterns(msgspec.json.encode(patterns))


def everything() -> Patterns:
    words = [Pattern(id="word", literal=word, words=True, ignore_case=True) for word in WORDS]
    return compiled(*words, *(detector.pattern() for detector in DETECTORS.values()))


EVERYTHING = everything()
HOSTILE = [
    "a",
    "a.",
    "a@",
    "a@a.",
    "1",
    "4 ",
    "4111 ",
    "+1",
    "GB82 ",
    "eyJ",
    "eyJa.",
    "sk-",
    "AKIA",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\n",
    "ya29.",
    "https://hooks.slack.com/services/",
    WORDS[11][:-1],
    WORDS[11][:-1] + " ",
    " ",
    "é",
    "😀",
    "\\u0061",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_text_that_nearly_matches_everywhere_takes_a_time_that_grows_with_its_length(piece):
    text = piece * ((10_000_000 if piece == "a" else 2_000_000) // len(piece))
    for escaped in [False, True]:
        started = time.process_time()
        EVERYTHING.mask(text, escaped=escaped)
        # Ten times what is measured of the worst; a search that is quadratic takes hours.
        assert time.process_time() - started < 3


def test_a_user_s_pattern_with_a_slow_start_is_warned_of_and_does_not_become_quadratic():
    patterns = compiled(Pattern(id="slow", regex=r"\w+@corp\.example"), Pattern(id="any", regex=r"[a-z ]*!{3}"))
    assert ['"slow"' in warning for warning in patterns.warnings] == [True, False]
    assert "without a bound" in patterns.warnings[1]
    masker = patterns.masker()
    started = time.process_time()
    for _ in range(20_000):
        masker.feed("a" * 50)
    assert time.process_time() - started < 10
    assert masker.held == 65536


def test_a_thousand_words_and_all_detectors_compile_fast_and_small():
    started = time.process_time()
    patterns = everything()
    assert time.process_time() - started < 1
    assert patterns.memory < 4_000_000


def test_memory_does_not_grow_with_streams():
    def streams(count: int) -> None:
        for number in range(count):
            masker = EVERYTHING.masker(escaped=number % 2 == 0, hash_key=b"key")
            masker.feed(f"mail bob{number}@example.com or 4111 1111 1111 1111, ")
            if number % 50 == 0:
                masker.feed("eyJ" + "a" * 70_000)
            masker.finish()

    streams(2000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    streams(20_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4_000  # KiB


def test_memory_does_not_grow_within_a_stream():
    masker = EVERYTHING.masker()
    piece = "token eyJ" + "a" * 20_000 + " and bob@example.com, 4111 1111 1111 1111; "
    for _ in range(200):
        masker.feed(piece)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(4000):
        masker.feed(piece)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_000  # KiB
    assert masker.matches["email"] == masker.matches["card"] == 4200
