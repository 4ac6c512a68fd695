"""What is found of the API server, and of the certificate authority."""

from __future__ import annotations

import base64
import datetime

import pytest
from facts import DENIED, NOW, changed, result, told

from kube_gateway.checks.authority import AUTHORITY, AuthorityFacts
from kube_gateway.checks.clock import SelfReview
from kube_gateway.checks.kubernetes_api import KUBERNETES_API, ApiFacts, Version
from kube_gateway.identity.authority import create_authority
from kube_gateway.kube.client import Metadata
from kube_gateway.kube.refusals import KubernetesError, Unreachable
from kube_gateway.watcher.authority_secret import SecretObject

API = ApiFacts(
    server="https://10.0.0.1:6443",
    version=Version(major="1", minor="33+", git_version="v1.33.2-eks"),
    review=SelfReview(metadata=Metadata(creation_timestamp="2027-01-15T08:00:00Z")),
    before=NOW,
    after=NOW + 0.1,
)


def api(description, **changes):
    return result(KUBERNETES_API, description, changed(API, **changes))


def test_a_server_that_is_well():
    assert told(api("can create")) == ("ok", "")
    assert told(api("can query")) == ("ok", "https://10.0.0.1:6443")
    assert told(api("the server is")) == ("ok", "v1.33.2-eks")
    assert told(api("the clock")) == ("ok", "")


def test_no_client_and_no_answer_are_told_with_their_hints():
    assert api("can create", client_problem=KubernetesError("no cluster", hint="name one")).hint == "name one"
    silent = api("can query", problem=Unreachable("no answer in time"))
    assert (silent.status, silent.message, silent.hint) == (
        "failed",
        "no answer in time",
        "see that `kubectl cluster-info` works",
    )


@pytest.mark.parametrize(
    ("major", "minor", "status"), [("1", "32", "failed"), ("1", "34", "ok"), ("2", "0", "ok"), ("", "", "failed")]
)
def test_the_version(major, minor, status):
    assert api("the server is", version=Version(major=major, minor=minor)).status == status


def test_a_version_that_may_not_be_asked_is_a_warning_that_names_the_rule():
    found = api("the server is", version=DENIED)
    assert told(found) == ("warning", "not known: you may not list things")
    assert '{"verbs":["list"]}' in found.hint


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (5.9, ""),  # whole seconds: up to one may be missing
        (8.0, "the clock here is 7 s ahead of the server's"),
        (-4.0, ""),
        (-60.0, "the clock here is 60 s behind the server's"),
    ],
)
def test_clocks(offset, message):
    found = api("the clock", before=NOW + offset, after=NOW + offset)
    assert told(found) == ("warning" if message else "ok", message)


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    made = create_authority(tmp_path_factory.mktemp("ca"))
    encoded = {"ca-cert": made.certificate_pem, "ca-key": made.key_pem}
    return SecretObject(data={name: base64.b64encode(text.encode()).decode() for name, text in encoded.items()})


def authority(description, secret, *, in_days=1):
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=in_days)
    facts = AuthorityFacts(namespace="kube-gateway", secret=secret, now=now)
    return result(AUTHORITY, description, facts)


def test_an_authority_that_is_well(secret):
    assert told(authority("the Secret", secret)) == ("ok", "")
    assert authority("they are", secret).message.startswith("cluster.local, sha256 ")
    assert authority("the root", secret).message.startswith("until 20")


def test_no_secret_and_one_that_lacks_a_key(secret):
    missing = authority("the Secret", None)
    assert told(missing) == ("failed", "there is no Secret watcher in the namespace kube-gateway")
    assert missing.hint == "kube-gateway ca create && kube-gateway ca load"
    half = SecretObject(data={"ca-cert": secret.data["ca-cert"]})
    assert told(authority("the Secret", half)) == ("failed", "it has no ca-key")
    assert authority("the Secret", DENIED).status == "warning"


def test_what_is_no_authority(secret):
    wrong = SecretObject(data={**secret.data, "ca-key": base64.b64encode(b"x").decode()})
    assert told(authority("they are", wrong)) == ("failed", "ca-key holds no readable private key")
    assert told(authority("they are", SecretObject(data={**secret.data, "ca-key": "?"}))) == (
        "failed",
        "ca-cert or ca-key is not base64",
    )


def test_an_authority_that_ends_soon_or_has_ended(secret):
    soon = authority("the root", secret, in_days=3650 - 59)
    assert soon.status == "warning"
    assert soon.message.startswith(("it is valid for 58 days more", "it is valid for 59 days more"))
    assert authority("they are", secret, in_days=3651).status == "failed"
