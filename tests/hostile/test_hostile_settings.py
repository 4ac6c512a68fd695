"""Text of users with rights in a namespace: annotations and policies."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile.inputs import broken, corpus, near, values
from hostile.length import amount
from kube_gateway.ai.dialects import endpoints
from kube_gateway.ai.policy.compile import Snapshot
from kube_gateway.ai.policy.read import read_policy
from kube_gateway.errors import InvalidAnnotation, UsageError
from kube_gateway.model.ports import ANNOTATION_PREFIX
from kube_gateway.model.settings import _PARSERS, Settings, settings_from_annotations
from properties import cases

ANNOTATIONS = "Whatever is in an annotation is a setting or an error that names the annotation"
POLICIES = "Whatever is in a policy for LLM calls is read, or an error for its author, within two seconds"
WITHIN = 2.0

_KEYS = st.sampled_from([*_PARSERS, *_PARSERS, *_PARSERS, "ktls", "", "encrypt ", "Encrypt", "podcidr/x", "x" * 300])
_WORDS = ["true", "strict", "false", "idle", "block", "10.0.0.0/8", "80,443", "0.0.0.0/0", "::/0", "gemma2:2b", "9090"]


def setting(annotations: dict[str, str]) -> Settings | None:
    """None for an error, whose message then names an annotation of ours."""
    try:
        settings = settings_from_annotations(annotations)
    except InvalidAnnotation as error:
        assert ANNOTATION_PREFIX in error.message
        return None
    assert all(1 <= port <= 65535 for port in (*settings.exclude_ports, *settings.flush_exclude_ports))
    return settings


def test_hostile_annotations_are_settings_or_errors(figures):
    seeds = {name: text.decode() for name, text in corpus("annotations").items()}
    tried = [setting({ANNOTATION_PREFIX + key: text}) for text in seeds.values() for key in _PARSERS]
    texts = st.sampled_from(_WORDS) | st.text(max_size=40) | st.lists(st.sampled_from(_WORDS), max_size=4).map(",".join)

    @cases(amount(full=20_000, short=1000))
    @given(st.dictionaries(_KEYS, texts, max_size=4))
    def every_annotation(annotations):
        tried.append(setting({ANNOTATION_PREFIX + key: text for key, text in annotations.items()}))

    every_annotation()
    refused = tried.count(None)
    assert 0 < refused < len(tried)
    figures(ANNOTATIONS, annotations=len(tried), refused=refused)


_LARGEST = 256 * 1024
"""Bytes that all annotations of an object may have."""


def test_oversized_annotations_are_refused_in_a_sentence(figures):
    """What is wrong is told in a log, an event and the pod's condition, and looked at again with each change of the pod."""
    texts = [
        piece * (_LARGEST // len(piece)) for piece in ("x", "1", ",", "10.0.0.0/8,", "80,", "9" * 50 + ",", "true\n")
    ]
    for key in _PARSERS:
        for text in texts:
            began = time.process_time()
            with pytest.raises(InvalidAnnotation) as refused:
                settings_from_annotations({f"{ANNOTATION_PREFIX}ai": "true", ANNOTATION_PREFIX + key: text})
            assert time.process_time() - began < 0.2
            assert len(refused.value.message) <= 500
    figures(ANNOTATIONS, oversized_ones=len(_PARSERS) * len(texts))


def test_what_is_mistyped_in_encrypt_never_leaves_a_pod_in_clear(figures):
    """An error keeps what was in force; the setting that was meant is not silently another one."""
    tried = 0

    @cases(amount(full=20_000, short=500))
    @given(st.sampled_from(["true", "strict"]).flatmap(lambda word: broken(word.encode())))
    def every_typing_mistake(text):
        nonlocal tried
        tried += 1
        found = setting({f"{ANNOTATION_PREFIX}encrypt": text.decode(errors="replace")})
        assert found is None or found.encryption in {"permissive", "strict"} or text.strip() == b"false"

    every_typing_mistake()
    figures(ANNOTATIONS, typing_mistakes=tried)


_RULES = st.sampled_from(["model", "words", "detect", "limit", "tools", "size", "rate", "budget", "regex", "hook", "x"])
_RIGHT = {
    "version": 1,
    "rules": [
        {"name": "w", "kind": "words", "lanes": ["answer"], "words": ["banana"]},
        {"name": "d", "kind": "detect", "detectors": ["personal"], "lanes": ["prompt", "answer"]},
        {"name": "b", "kind": "budget", "tokens": 1000, "window": "1d"},
        {"name": "m", "kind": "model", "match": "*", "to": "gemma2:2b"},
    ],
}
_POLICIES = st.fixed_dictionaries(
    {"version": st.just(1) | values},
    optional={
        "mode": st.sampled_from(["shadow", "enforce"]) | values,
        "rules": st.lists(
            st.fixed_dictionaries(
                {"name": st.text(max_size=8) | values, "kind": _RULES | values},
                optional={
                    key: values | st.sampled_from([["prompt"], ["answer"], ["("], ["a{9999}"], "1d", 10])
                    for key in ("lanes", "words", "patterns", "detectors", "tokens", "window", "match", "to", "tools")
                },
            ),
            max_size=4,
        )
        | values,
    },
)


def policy(text: str) -> tuple[bool, float]:
    """Whether it was read and can be used, and how many seconds that took."""
    began = time.monotonic()
    try:
        Snapshot(read_policy(text), model="", served=endpoints())
    except UsageError as error:
        assert error.message
        return False, time.monotonic() - began
    return True, time.monotonic() - began


def test_hostile_policies_are_read_or_refused(figures):
    tried = {name: policy(text.decode()) for name, text in corpus("policies").items()}
    slowest = max(seconds for _, seconds in tried.values())
    assert slowest < WITHIN, {name: seconds for name, (_, seconds) in tried.items()}
    outcomes = [read for read, _ in tried.values()]

    @cases(amount(full=10_000, short=300))
    @given(_POLICIES | near(_RIGHT))
    def every_policy(value):
        outcomes.append(policy(json.dumps(value))[0])

    every_policy()
    assert {True, False} == set(outcomes)
    figures(POLICIES, policies=len(outcomes), refused=outcomes.count(False), slowest_seconds=slowest)
