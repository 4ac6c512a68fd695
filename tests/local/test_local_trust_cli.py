"""`ca rotate`, `revoke`, `unrevoke` and `identity` as a person types them, for a local mode."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from enrolment.test_enrolment import two_pods
from kube_gateway.identity.authority import load_authority
from local.test_local_rotation import stopped, wait_rotated

pytestmark = pytest.mark.root


@pytest.fixture
def say(module_instance):
    """Runs `kube-gateway WORDS --instance ...` and returns exit code, stdout, stderr."""

    def run(*words):
        line = [sys.executable, "-m", "kube_gateway", *words, "--instance", module_instance.instance.name]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd="/")
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def pods(module_instance):
    two_pods(module_instance)
    module_instance.annotate("left", encrypt="true")
    return module_instance


def test_a_rotation_is_begun_looked_at_undone_and_done(pods, say):
    old = load_authority(pods.instance.authority).fingerprint
    assert say("ca", "rotate", "--status") == (0, f"root      {old}\nrotation  none is under way\n", "")
    go_on = stopped(pods, "left")
    try:
        code, out, _ = say("ca", "rotate")
        assert code == 0
        new = re.search(r"new root  (\w{64})", out)[1]
        assert out.startswith(
            f"step      1 of 3, introduce: both roots are trusted, the old one signs\nold root  {old}\n"
        )
        code, out, err = say("ca", "rotate")
        assert (code, out) == (1, "")
        assert err == (
            "error: a rotation is under way already, in the step introduce\n"
            "hint: kube-gateway ca rotate --status shows whom it waits for, --abort undoes it\n"
        )
        pods.client.pods()
        code, out, _ = say("ca", "rotate", "--status")
        assert "waits for\n  default/left: it does not trust both roots yet\n" in out
        told = json.loads(say("ca", "rotate", "--status", "--output", "json")[1])
        assert (told["rotation"]["new"], told["waiting"][0]["name"]) == (new, "default/left")
        assert say("ca", "rotate", "--abort")[1] == f"root      {old}\nrotation  none is under way\n"
        assert say("ca", "rotate", "--abort")[0] == 1
    finally:
        go_on()
    assert say("ca", "rotate")[0] == 0
    wait_rotated(pods)
    assert load_authority(pods.instance.authority).fingerprint not in (old, new)


def test_an_identity_is_shown_in_full(pods, say):
    code, out, err = say("identity", "left")
    assert (code, err) == (0, "")
    root = load_authority(pods.instance.authority).fingerprint
    wanted = [
        r"spiffe id   spiffe://cluster\.local/ns/default/sa/default",
        rf"addresses   {', '.join(pods.pod('left').addresses)}",
        rf"pod uid     {pods.pod('left').uid}",
        r"serial      [0-9a-f]{30,40}",
        rf"root        {root}",
        r"not before  \d{4}-\d\d-\d\dT[0-9:]{8}Z \(.* ago\)",
        r"not after   \d{4}-\d\d-\d\dT[0-9:]{8}Z \(in .*\)",
        r"renewal     \d{4}-\d\d-\d\dT[0-9:]{8}Z \(in .*\)",
        rf"trusts      {root}",
    ]
    lines = out.splitlines()
    assert len(lines) == len(wanted)
    for line, pattern in zip(lines, wanted, strict=True):
        assert re.fullmatch(pattern, line), line
    told = json.loads(say("identity", "left", "--output", "json")[1])
    assert (told["issuer"], told["roots"]) == (root, [root])


def test_a_pod_without_a_gateway_proves_nothing(pods, say):
    code, out, err = say("identity", "right")
    assert (code, out) == (1, "")
    assert err.startswith("error: the gateway of right is none, and proves nothing\nhint: kube-gateway local ")
    assert say("identity", "nobody")[0] == 1


def test_pods_are_revoked_listed_and_taken_back(pods, say):
    assert say("revoke", "--list") == (0, "no pod is revoked\n", "")
    code, out, _ = say("revoke", "right")
    assert code == 0
    assert re.fullmatch(rf"POD +UID +REVOKED\ndefault/right +{pods.pod('right').uid} +\S+ ago\n", out), out
    assert say("revoke", "--list")[1].count("\n") == 2
    assert say("unrevoke", "--uid", pods.pod("right").uid) == (0, "no pod is revoked\n", "")
    code, _, err = say("unrevoke", "right")
    assert code == 1
    assert err.endswith("is revoked\nhint: kube-gateway revoke --list\n")


@pytest.mark.parametrize(
    "words", [("revoke",), ("revoke", "a", "--uid", "u"), ("revoke", "a", "--list"), ("unrevoke",)]
)
def test_one_pod_at_a_time(say, words):
    code, out, err = say(*words)
    assert (code, out) == (2, "")
    assert "at a time" in err
