"""Annotations are understood exactly, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.errors import InvalidAnnotation
from kube_gateway.model.settings import Settings, at_least_strict, settings_from_annotations


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
        ({"exclude_ports": "22," * 200}, Settings(exclude_ports=(22,) * 200)),
        ({"exclude_cidrs": "10.0.0.0/8,fd00::/8"}, Settings(exclude_cidrs=("10.0.0.0/8", "fd00::/8"))),
        ({"podcidr": "10.1.0.0/16"}, Settings(capture_cidrs=("10.1.0.0/16",))),
        ({"ai": "false"}, Settings()),
        ({"ai": "true"}, Settings(wanted=True, encryption="none", ai=True)),
        ({"ai": "true", "encrypt": "strict"}, Settings(wanted=True, encryption="strict", ai=True)),
        ({"ai": "true", "encrypt": "false"}, Settings(wanted=True, encryption="off", ai=True)),
        ({"ai": "false", "encrypt": "true"}, Settings(wanted=True, encryption="permissive")),
        ({"ai": "true", "enabled": "false"}, Settings(encryption="none", ai=True)),
        (
            {"ai": "true", "ai_model": "gemma2:2b", "ai_config": "rules.of-all", "metrics_port": "9464"},
            Settings(
                wanted=True,
                encryption="none",
                ai=True,
                ai_model="gemma2:2b",
                ai_config="rules.of-all",
                metrics_port=9464,
            ),
        ),
        (
            {"encrypt": "strict", "metrics_port": "9464"},
            Settings(wanted=True, encryption="strict", metrics_port=9464),
        ),
        ({"ai": "false", "ai_model": "gemma2:2b"}, Settings(ai_model="gemma2:2b")),
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
        ({"exclude_ports": ",".join(map(str, range(1, 202)))}, "exclude-ports has more than 200 entries"),
        ({"exclude_ports": "65536"}, "'65536' is not a port"),
        ({"exclude_ports": "٢٢"}, "is not a port"),
        ({"exclude_cidrs": "10.0.0.1/8"}, "host bits"),
        ({"podcidr": "everything"}, "kube-gateway.io/podcidr"),
        ({"ktls": "true"}, "kube-gateway.io/ktls is not supported by this version"),
        ({"ai": "yes"}, "kube-gateway.io/ai has the value 'yes'"),
        ({"ai_model": "gemma2:2b"}, "kube-gateway.io/ai-model means nothing without kube-gateway.io/ai"),
        ({"ai_config": "rules"}, "kube-gateway.io/ai-config means nothing without kube-gateway.io/ai"),
        (
            {"metrics_port": "9464"},
            "kube-gateway.io/metrics-port means nothing without kube-gateway.io/encrypt or kube-gateway.io/ai",
        ),
        ({"ai": "true", "ai_model": ""}, "'' cannot be a model's name"),
        ({"ai": "true", "ai_model": "a b"}, "'a b' cannot be a model's name"),
        ({"ai": "true", "ai_model": "a\x00"}, "cannot be a model's name"),
        ({"ai": "true", "ai_model": "a" * 257}, "cannot be a model's name"),
        ({"ai": "true", "ai_config": "../other"}, "'../other' cannot be the name of a ConfigMap"),
        ({"ai": "true", "ai_config": "A"}, "'A' cannot be the name of a ConfigMap"),
        ({"ai": "true", "metrics_port": "18000"}, "metrics-port has the value '18000'"),
        ({"ai": "true", "metrics_port": "9464,9465"}, "metrics-port has the value '9464,9465'"),
        ({"ai": "true", "metrics_port": ""}, "metrics-port has the value ''"),
        ({"ai": "true", "endpoint": "true"}, "kube-gateway.io/endpoint=true lets the pod's own connections go direct"),
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


@pytest.mark.parametrize(
    ("annotations", "tunnel"),
    [
        ({"encrypt": "true"}, "tls"),
        ({"encrypt": "strict"}, "tls"),
        ({"encrypt": "false"}, "plain"),
        ({"ai": "true"}, None),
    ],
)
def test_a_gateway_for_llm_calls_alone_has_no_tunnel(annotations, tunnel):
    assert settings(**annotations).tunnel == tunnel
    assert settings(**annotations).encrypting == (tunnel == "tls")


FLOOR = [("true", "strict"), (" true ", "strict"), ("strict", "strict"), ("false", "off")]


@pytest.mark.parametrize(("asked", "encryption"), FLOOR)
def test_where_all_is_to_be_strict_what_encrypts_is(asked, encryption):
    annotations = {"kube-gateway.io/encrypt": asked, "kube-gateway.io/udp": "block", "other/key": "kept"}
    changed = at_least_strict(annotations)
    assert settings_from_annotations(changed) == Settings(wanted=True, encryption=encryption, udp="block")
    assert changed["other/key"] == "kept"


@pytest.mark.parametrize("annotations", [{}, {"kube-gateway.io/ai": "true"}, {"kube-gateway.io/encrypt": "ture"}])
def test_what_asks_for_no_encryption_or_is_not_understood_stays_as_it_was(annotations):
    assert at_least_strict(annotations) == annotations


@given(st.dictionaries(st.sampled_from(["kube-gateway.io/encrypt", "kube-gateway.io/ai", "a"]), st.text()))
def test_the_floor_never_makes_a_pod_less_strict(annotations):
    def strictness(given):
        try:
            return ["none", "off", "permissive", "strict"].index(settings_from_annotations(given).encryption)
        except InvalidAnnotation:
            return -1

    assert strictness(at_least_strict(annotations)) >= strictness(annotations)
