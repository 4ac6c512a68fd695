"""What the gateway is told at its start: complete or refused by name, and secrets do not stay in the environment."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest

from kube_gateway import _native
from kube_gateway.control import messages
from kube_gateway.control.whereabouts import Whereabouts
from kube_gateway.errors import EnvironmentProblem
from kube_gateway.gateway.environment import read_environment
from kube_gateway.identity.authority import create_authority
from kube_gateway.identity.issuer import RootIssuer
from kube_gateway.model.pod import Pod
from kube_gateway.model.settings import Settings

SETTINGS = messages.Configure(revision=3, addresses=("10.0.0.2",), settings=Settings(wanted=True))


def given(**changes: str | None) -> dict[str, str]:
    """A sound environment with changes; None leaves a variable out."""
    values = {"CONTROL": "unix:/run/control", "POD": "default/web", "UID": "u-1", "GENERATION": "2", **changes}
    return {f"KUBE_GATEWAY_{name}": value for name, value in values.items() if value is not None}


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """What the Secret of a pod holds, by variable."""
    authority = create_authority(tmp_path_factory.mktemp("authority"), trust_domain="example.org")
    key, request = _native.create_key_and_request()
    pod = Pod(name="web", uid="u-1", addresses=("10.0.0.2",))
    issued = RootIssuer(authority).sign(request, pod=pod, life=datetime.timedelta(hours=1))
    return {"KEY": key, "CERTIFICATE": issued.chain, "TRUST_BUNDLE": "the roots"}


def test_the_least_that_is_needed():
    read = read_environment(given())
    assert (read.pod, read.uid, read.generation) == ("default/web", "u-1", 2)
    assert read.control == Whereabouts(path="/run/control")
    assert (read.watcher, read.cgroup, read.settings, read.identity) == ("", None, None, None)


def test_all_that_can_be_told(secret):
    environment = given(
        CONTROL="tls:watcher.kube-gateway.svc:18444",
        WATCHER="spiffe://example.org/ns/kube-gateway/sa/watcher",
        CGROUP="/sys/fs/cgroup/pod",
        SETTINGS=messages.encode(SETTINGS).decode(),
        **secret,
    )
    read = read_environment(environment)
    assert read.control == Whereabouts(host="watcher.kube-gateway.svc", port=18444)
    assert read.watcher == "spiffe://example.org/ns/kube-gateway/sa/watcher"
    assert read.cgroup == Path("/sys/fs/cgroup/pod")
    assert read.settings == SETTINGS
    assert read.identity is not None
    assert read.identity.key == secret["KEY"]
    assert read.identity.chain == secret["CERTIFICATE"]
    assert read.identity.trust_bundle == "the roots"
    assert read.identity.trust_domain == "example.org"
    assert read.identity.expires == pytest.approx(time.time() + 3600, abs=60)


def test_the_secret_does_not_stay_in_the_environment(secret):
    environment = given(**secret)
    read_environment(environment)
    assert environment == given()


def test_what_belongs_to_a_key_is_taken_out_without_one_too():
    environment = given(CERTIFICATE="a chain", TRUST_BUNDLE="the roots")
    assert read_environment(environment).identity is None
    assert environment == given()


@pytest.mark.parametrize("name", ["CONTROL", "POD", "UID", "GENERATION"])
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_missing_is_named(name, value):
    with pytest.raises(EnvironmentProblem) as raised:
        read_environment(given(**{name: value}))
    assert raised.value.message == f"KUBE_GATEWAY_{name} is not set"
    assert "started by its watcher" in raised.value.hint


@pytest.mark.parametrize("value", ["0", "-1", "one", "1.5"])
def test_a_generation_is_a_number_from_1_on(value):
    with pytest.raises(EnvironmentProblem, match=f"KUBE_GATEWAY_GENERATION is '{value}'"):
        read_environment(given(GENERATION=value))


def test_a_place_that_is_none_is_told_with_the_variable():
    with pytest.raises(EnvironmentProblem) as raised:
        read_environment(given(CONTROL="http://watcher"))
    assert raised.value.message == "KUBE_GATEWAY_CONTROL: 'http://watcher' is no place of a watcher"
    assert "unix:/absolute/path" in raised.value.hint


@pytest.mark.parametrize("text", ["", "{}", '{"type":"Configure"}', '{"type":"Later","addresses":[]}'])
def test_settings_that_are_not_understood_are_refused(text):
    with pytest.raises(EnvironmentProblem) as raised:
        read_environment(given(SETTINGS=text))
    assert raised.value.message.startswith("KUBE_GATEWAY_SETTINGS: ")
    assert raised.value.hint == "is the image older than the watcher?"


def test_settings_are_no_other_message():
    text = messages.encode(messages.Leave(grace=1.0)).decode()
    with pytest.raises(EnvironmentProblem, match="KUBE_GATEWAY_SETTINGS is a Leave"):
        read_environment(given(SETTINGS=text))


@pytest.mark.parametrize("chain", ["", "no certificate"])
def test_a_key_without_a_certificate_is_refused_and_taken_out_all_the_same(chain, secret):
    environment = given(**secret | {"CERTIFICATE": chain})
    with pytest.raises(EnvironmentProblem) as raised:
        read_environment(environment)
    assert raised.value.message.startswith("KUBE_GATEWAY_CERTIFICATE: unreadable certificate")
    assert "Secret" in raised.value.hint
    assert environment == given()
