"""Certificates that live for seconds, and roots that are replaced one after the other, while connections come and stand."""

from __future__ import annotations

import time

import pytest

from enrolment.test_enrolment import Knocker, two_pods
from hostile.length import amount
from kube_gateway.identity.authority import load_authority
from local.test_local_rotation import old_connection, wait_rotated

pytestmark = pytest.mark.root


def whole(process):
    """How many lines a connection that stood all the time has had echoed."""
    words, errors = process.communicate(timeout=60)
    assert words.startswith("whole "), (words, errors)
    return int(words.split()[1])


def test_roots_are_replaced_under_load_and_no_connection_breaks(short_lived, figures):
    pods = short_lived
    two_pods(pods)
    pods.annotate("left", encrypt="true")
    pods.annotate("right", encrypt="true")
    rotations = amount(full=6, short=2)
    roots = {load_authority(pods.instance.authority).fingerprint}
    standing = [old_connection(pods, *ends, 7.0 * rotations) for ends in (("left", "right"), ("right", "left"))]
    try:
        with Knocker(pods, "left", "right", "one") as one, Knocker(pods, "right", "left", "two") as two:
            slowest = 0.0
            for _ in range(rotations):
                began = time.monotonic()
                pods.client.rotate("begin")
                wait_rotated(pods)
                slowest = max(slowest, time.monotonic() - began)
                roots.add(load_authority(pods.instance.authority).fingerprint)
                time.sleep(3.0)
        echoed = sum(map(whole, standing))
    finally:
        for process in standing:
            process.kill()
    assert one.errors == two.errors == []
    assert len(roots) == rotations + 1
    left = load_authority(pods.instance.authority).fingerprint
    for name in ("left", "right"):
        # Certificates of seconds: there is none to be told of while the next one is on its way to the worker.
        deadline = time.monotonic() + 10
        while (said := pods.report(name).identity) is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert said.roots == (left,)
    renewals = sum(pods.log(name).count("valid for") for name in ("left", "right"))
    # Of each gateway the first, one of each new root, and one in each five seconds; those may be the same.
    assert renewals >= 3 * rotations
    figures(
        "A root is replaced while pods talk, and no connection breaks",
        rotations=rotations,
        slowest_seconds=round(slowest, 1),
        new_connections=one.good + two.good,
        standing_connections=len(standing),
        lines_echoed=echoed,
        broken=0,
        certificates=renewals,
    )
