"""Annotations are understood exactly, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.errors import InvalidAnnotation
from kube_gateway.model.settings import Settings, settings_from_annotations


def settings(**annotations: str) -> Settings:
    return settings_from_annotations({f"kube-gateway.io/{k.replace('_', '-')}": v for k, v in annotations.items()})


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, Settings()),
        ({"encrypt": "true"}, Settings(wanted=True, encryption="permissive")),
        ({"encrypt": "strict"}, Settings(wanted=True, encryption="strict")),
        ({"encrypt": "false"}, Settings(wanted=True, encryption="off")),
        ({"encrypt": " true "}, Settings(wanted=True, encryption="permissive")),
        ({"encrypt": "true", "enabled": "false"}, Settings(wanted=False, encryption="permissive")),
        ({"netflush": "true"}, Settings(flush="all")),
        ({"netflush": "idle"}, Settings(flush="idle")),
        ({"endpoint": "true"}, Settings(accept_only=True)),
        ({"debug": "true"}, Settings(debug=True)),
        ({"exclude_ports": "22, 80,"}, Settings(exclude_ports=(22, 80))),
        ({"exclude_cidrs": "10.0.0.0/8,fd00::/8"}, Settings(exclude_cidrs=("10.0.0.0/8", "fd00::/8"))),
        ({"podcidr": "10.1.0.0/16"}, Settings(capture_cidrs=("10.1.0.0/16",))),
        ({"ai": "false"}, Settings()),
    ],
)
def test_an_annotation_means_a_setting(annotations, expected):
    assert settings(**annotations) == expected


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"encrypt": "yes"}, "kube-gateway.io/encrypt has the value 'yes'"),
        ({"encrypt": "True"}, "'True'"),
        ({"encrypt": ""}, "''"),
        ({"encrpyt": "true"}, "unknown annotation kube-gateway.io/encrpyt"),
        ({"exclude_ports": "http"}, "'http' is not a port"),
        ({"exclude_ports": "0"}, "'0' is not a port"),
        ({"exclude_ports": "65536"}, "'65536' is not a port"),
        ({"exclude_ports": "٢٢"}, "is not a port"),
        ({"exclude_cidrs": "10.0.0.1/8"}, "host bits"),
        ({"podcidr": "everything"}, "kube-gateway.io/podcidr"),
        ({"ai": "true"}, "kube-gateway.io/ai is not supported by this version"),
    ],
)
def test_what_is_not_understood_is_refused(annotations, words):
    with pytest.raises(InvalidAnnotation) as refused:
        settings(**annotations)
    assert words in refused.value.message
    assert refused.value.hint


def test_annotations_of_others_are_ignored():
    assert settings_from_annotations({"example.com/encrypt": "nonsense", "encrypt": "true"}) == Settings()


def test_only_a_wanted_gateway_with_encryption_on_encrypts():
    assert settings(encrypt="true").encrypting
    assert not settings(encrypt="false").encrypting
    assert not settings(encrypt="true", enabled="false").encrypting


_KEYS = ("encrypt", "netflush", "podcidr", "exclude-ports", "exclude-cidrs", "endpoint", "enabled", "debug", "ai", "x")


@given(st.dictionaries(st.sampled_from([f"kube-gateway.io/{key}" for key in _KEYS]), st.text(max_size=20)))
def test_any_text_is_settings_or_a_refusal(annotations):
    try:
        assert isinstance(settings_from_annotations(annotations), Settings)
    except InvalidAnnotation as refused:
        assert refused.message
