"""A root that others have the key of is replaced. Whoever came in with a certificate of it opens nothing any more."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from attacks.test_hostile_peers import ATTACKER, PATIENCE, PORT, STATUS_LENGTH, certificate, open_frame
from datapath import scripts
from kube_gateway.identity.authority import load_authority
from kube_gateway.local.launch import in_namespace

pytestmark = pytest.mark.root


@pytest.mark.parametrize("replaced", [False, True])
def test_a_session_accepted_under_a_root_that_was_replaced_opens_no_stream(instance, tmp_path, replaced):
    instance.run("victim", sys.executable, "-u", "-c", scripts.server(PORT))
    instance.run("thief", "sleep", "3600")
    instance.annotate("victim", encrypt="true")
    victim, own = instance.address("victim"), instance.address("thief")
    order = {
        "to": victim,
        "send": [open_frame(victim, PORT, own).hex()],
        "waits": True,
        "expect": STATUS_LENGTH,
        "hold": PATIENCE,
        **certificate(load_authority(instance.instance.authority), addresses=[own], life=10 * 86400),
    }
    line = in_namespace(instance.instance.pod_namespace("thief"), [sys.executable, "-u", ATTACKER])
    thief = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        thief.stdin.write(json.dumps(order) + "\n")
        thief.stdin.flush()
        assert thief.stdout.readline() == "accepted\n"
        if replaced:
            before = instance.log("victim").count("is in use")
            instance.replace_authority(tmp_path)
            deadline = time.monotonic() + 20
            while instance.log("victim").count("is in use") == before:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        answer = json.loads(thief.communicate("go on\n", timeout=20)[0])
    finally:
        thief.kill()
        thief.communicate()
    # STATUS, and that it is well.
    opened = bytes.fromhex(answer["received"])[:5] == bytes([2, 0, 0, 1, 0])
    assert opened is not replaced
    if replaced:
        assert (answer["received"], answer["error"]) == ("", "closed")
        instance.wait_log("victim", "its certificate is accepted no more")
