"""Connections that were there before their gateways, on a real cluster: listed, ended, and then all is encrypted."""

from __future__ import annotations

import json

import pytest
import talk

pytestmark = [pytest.mark.cluster, pytest.mark.root]

OLD_PORT = 9000


@pytest.fixture
def pair(cluster, product, namespace):
    """Pods `a` and `b`, talking to each other through their Services; deleted in the end."""
    text = talk.service("a") + talk.service("b") + talk.pod("a", "--peer=b") + talk.pod("b", "--peer=a")
    cluster.apply(text, namespace)
    for pod in ("a", "b"):
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
        talk.answered(cluster, pod, namespace)
    yield namespace
    cluster.kubectl("delete", "pod,service", "--all", "-n", namespace, "--grace-period=1")


def test_what_was_there_before_is_listed_ended_and_encrypted(cluster, product, pair):
    product.enrol("a", "b", namespace=pair)

    def planned(pod):
        told = product.run("flush", pod, "-n", pair, "--dry-run", "--output", "json", check=False)
        return json.loads(told.stdout) if told.returncode == 0 else None

    def old_ones():
        connections = (planned("a") or {"connections": []})["connections"]
        old = [each for each in connections if OLD_PORT in (each["local_port"], each["remote_port"])]
        return old if all(each["fate"] == "ends" for each in old) else []

    found = cluster.eventually("the old connections are listed", old_ones, timeout=40)
    for connection in found:
        assert connection["older"]
        assert connection["container"] == "app"
        assert connection["cause"] == "comes-back-encrypted"
        assert connection["peer"] in {f"{pair}/b", f"service {pair}/b"}
    assert planned("a")["standing"]["percent"] < 100
    assert planned("a")["netflush"] == "never"
    shown = product.run("flush", "a", "-n", pair, "--dry-run").stdout
    assert "made anew it is encrypted" in shown
    assert "netflush is not set" in shown

    before = talk.reconnects(cluster, "a", namespace=pair)
    product.annotate("a", pair, netflush="true")
    product.annotate("b", pair, netflush="true")

    def all_is_encrypted():
        plan = planned("a")
        return plan is not None and plan["standing"]["percent"] == 100

    cluster.eventually("all is encrypted", all_is_encrypted, timeout=60)
    # The program prints what it counts once a second, and the watcher publishes what is in the table every ten.
    talk.made_anew(cluster, before, namespace=pair)
    cluster.eventually("status says so", lambda: "(100%)" in product.run("status", "-n", pair).stdout)
