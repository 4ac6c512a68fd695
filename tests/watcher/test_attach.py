"""What is written to put a gateway into a pod, compared in full with files: a change there is one for every user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.control import messages
from kube_gateway.gateway.environment import PREFIX, read_environment
from kube_gateway.model.pod import Pod
from kube_gateway.model.settings import Settings
from kube_gateway.watcher import attach
from watcher.api import DNS

GOLDEN = Path(__file__).parent / "golden"
POD = Pod(name="web", uid="uid-1", namespace="shop", service_account="web", addresses=("10.0.0.2", "fd00::2"))
SETTINGS = Settings(wanted=True, encryption="strict", exclude_ports=(22,))


def a_start(**options):
    values = {
        "generation": 1,
        "settings": messages.Configure(revision=0, addresses=POD.addresses, settings=SETTINGS),
        "control": "tls:10.96.0.9:18444",
        "watcher": "spiffe://cluster.local/ns/kube-gateway/sa/kube-gateway-watcher",
        "image": "registry/kube-gateway:1",
        "pull_policy": "IfNotPresent",
        "privileged": False,
    }
    return attach.Start(**{**values, **options})


WRITTEN = {
    "secret": lambda: attach.secret(POD, chain="CHAIN\n", key="KEY\n", trust_bundle="ROOTS\n"),
    "container": lambda: attach.ephemeral_container(POD, a_start()),
    "container-privileged": lambda: attach.ephemeral_container(
        POD, a_start(generation=12, privileged=True, target="app", pull_policy="Always")
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written(name):
    assert json.dumps(WRITTEN[name](), indent=2) + "\n" == (GOLDEN / f"{name}.json").read_text()


def test_the_gateway_understands_what_it_is_told(monkeypatch):
    container = attach.ephemeral_container(POD, a_start(generation=3))
    values = {one["name"]: one.get("value", "") for one in container["env"]}
    secret = attach.secret(POD, chain="C", key="K", trust_bundle="T")["data"]
    for one in container["env"]:
        if "valueFrom" in one:
            reference = one["valueFrom"]["secretKeyRef"]
            assert reference["name"] == "kube-gateway-web"
            assert reference["key"] in secret
            assert not one.get("value")
    told = read_environment({name: value for name, value in values.items() if value})
    assert (told.pod, told.uid, told.generation) == ("shop/web", "uid-1", 3)
    assert told.settings.settings == SETTINGS
    assert told.settings.addresses == POD.addresses
    assert str(told.control) == "tls:10.96.0.9:18444"
    assert told.watcher.endswith("/sa/kube-gateway-watcher")
    assert {name for name in values if not values[name]} == {
        f"{PREFIX}{key}" for key in ("KEY", "CERTIFICATE", "TRUST_BUNDLE")
    }


def test_the_key_is_nowhere_but_in_the_secret():
    secret = attach.secret(POD, chain="chain", key="the key", trust_bundle="roots")
    assert list(secret["data"]) == ["certificate", "key", "trust-bundle"]
    assert "the key" not in json.dumps(attach.ephemeral_container(POD, a_start()))


LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
POD_NAMES = st.lists(LABELS, min_size=1, max_size=20).map(".".join).filter(lambda name: len(name) <= 253)


@given(POD_NAMES)
def test_the_name_of_a_secret_is_one(pod):
    name = attach.secret_name(pod)
    assert DNS.fullmatch(name)
    assert len(name) <= 253


@given(st.lists(POD_NAMES, unique=True, min_size=2, max_size=5), st.text("abc-.", min_size=220, max_size=240))
def test_two_pods_have_two_secrets(pods, long):
    pods += [f"a{long}{end}" for end in ("a", "b", "ab", ".a")]
    assert len({attach.secret_name(pod) for pod in pods}) == len(pods)


def test_a_long_name_is_cut_and_marked():
    name = attach.secret_name("a" * 253)
    assert len(name) == 253
    assert name.startswith("kube-gateway-aaa")
    assert name[-11] == "-"
    cut_at_a_dot = attach.secret_name("a" * 229 + "." + "b" * 23)
    assert ".-" not in cut_at_a_dot
    assert DNS.fullmatch(cut_at_a_dot)
