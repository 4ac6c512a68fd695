"""A cluster's root is replaced under pods that talk, and another watcher takes the lead meanwhile; pods are revoked."""

from __future__ import annotations

import json
import re
import time

import pytest
import talk

pytestmark = [pytest.mark.cluster, pytest.mark.root]

PAIR = ("hither", "thither")


@pytest.fixture
def pair(cluster, product, namespace):
    """Two enrolled pods that talk to each other."""
    cluster.apply(
        "".join(talk.service(pod) + talk.pod(pod, f"--peer={peer}") for pod, peer in (PAIR, PAIR[::-1])), namespace
    )
    for pod in PAIR:
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
    product.enrol(*PAIR, namespace=namespace)
    for pod in PAIR:
        talk.answered(cluster, pod, namespace)
    yield namespace
    cluster.kubectl("delete", "pod,service", "--all", "-n", namespace, "--grace-period=1")


def status(product):
    return json.loads(product.run("ca", "rotate", "--status", "--output", "json").stdout)


def identity(product, pod, namespace):
    done = product.run("identity", pod, "-n", namespace, "--output", "json", check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def proves(product, pod, namespace, root):
    found = identity(product, pod, namespace)
    return found is not None and (found["issuer"], found["roots"]) == (root, [root])


def rotated(cluster, product, *arguments):
    """Begin, have the watcher that leads replaced in the middle, and wait for the end; the new root."""
    begun = product.run("ca", "rotate", *arguments).stdout
    new = re.search(r"new root  (\w{64})", begun)[1]
    # On a busy machine this one may be over before it is seen.
    cluster.eventually(
        "another step", lambda: (status(product)["rotation"] or {}).get("stage") != "introduce", timeout=90
    )
    cluster.kubectl("delete", "pod", product.leader(), "-n", "kube-gateway", "--wait=false")
    cluster.eventually("the end of the rotation", lambda: status(product)["rotation"] is None, timeout=120)
    return new


def test_a_root_is_replaced_and_no_connection_is_lost(cluster, product, pair, measured):
    before = status(product)["root"]
    try:
        with talk.undisturbed(cluster, *PAIR, namespace=pair):
            began = time.monotonic()
            new = rotated(cluster, product)
            took = time.monotonic() - began
            for pod in PAIR:
                cluster.eventually(
                    f"{pod} is of the new root", lambda pod=pod: proves(product, pod, pair, new), timeout=40
                )
        assert new != before
        assert set(cluster.get("secret", "watcher", "kube-gateway")["data"]) == {"ca-cert", "ca-key"}
    finally:
        # To a root that was made elsewhere: the one of before.
        with talk.undisturbed(cluster, *PAIR, namespace=pair):
            back = rotated(cluster, product, "--directory", str(product.directory))
    assert back == before
    measured(f"root replaced after {took:.0f} s, while another watcher took the lead")


def test_a_revoked_pod_is_refused_and_can_be_taken_back(cluster, product, pair):
    pod, other = PAIR
    assert product.run("revoke", "--list").stdout == "no pod is revoked\n"
    assert f"{pair}/{pod}" in product.run("revoke", pod, "-n", pair).stdout
    try:

        def cut_off():
            counted = [talk.statistics(cluster, name, pair) for name in PAIR]
            return all("reset" in str(one["last_error"]).lower() for one in counted)

        cluster.eventually("both are reset", cut_off, timeout=20)
    finally:
        assert product.run("unrevoke", pod, "-n", pair).stdout == "no pod is revoked\n"
    for name in (pod, other):
        talk.answered(cluster, name, pair, timeout=40)
