"""The watcher, the API server, or both are killed: what is encrypted stays so, and what was missed is caught up with."""

from __future__ import annotations

import time

import pytest
import talk
from product import CONDITION, NAMESPACE, PREFIX, serving

pytestmark = [pytest.mark.cluster, pytest.mark.root]

PAIR = ("left", "right")


@pytest.fixture
def pair(cluster, product, namespace):
    """Two pods that talk to each other, not enrolled; deleted in the end."""
    text = "".join(talk.service(pod) + talk.pod(pod, f"--peer={peer}") for pod, peer in (PAIR, PAIR[::-1]))
    cluster.apply(text, namespace)
    for pod in PAIR:
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
        # After an outage of the API server kube-proxy and the name server, too, look again after up to a minute.
        talk.answered(cluster, pod, namespace, timeout=90)
    yield namespace
    cluster.kubectl("delete", "pod,service", "--all", "-n", namespace, "--grace-period=1")


def kill_watchers(cluster, product):
    """As a crash would; new pods take their places, as containers that crash often are started with growing pauses."""
    pods = product.watchers()
    # The last ones may not have started yet.
    talk.kill(
        *(cluster.eventually(f"{pod} runs", lambda pod=pod: cluster.pod_pid(pod, namespace=NAMESPACE)) for pod in pods)
    )
    cluster.kubectl("delete", "pod", *pods, "-n", NAMESPACE, "--grace-period=0", "--force", "--wait=false")


def without_watchers(cluster):
    """Remove the watchers, and wait until none is left that could still act."""
    cluster.kubectl("scale", "deployment/kube-gateway-watcher", "-n", NAMESPACE, "--replicas=0")
    cluster.eventually("no watcher", lambda: not cluster.kubectl("get", "pods", "-n", NAMESPACE, "-o", "name").strip())


# Seven times watchers are killed and others start, which may take 90 s each on a busy machine.
@pytest.mark.timeout(600)
def test_the_watchers_are_killed_between_every_two_steps(cluster, product, pair, tmp_path):
    before = talk.reconnects(cluster, *PAIR, namespace=pair)
    with talk.undisturbed(cluster, *PAIR, namespace=pair):
        steps = [
            ("left", {"encrypt": "true"}),
            ("right", {"encrypt": "true"}),
            ("left", {"netflush": "true"}),
            ("right", {"netflush": "true"}),
            ("left", {"encrypt": "strict"}),
        ]
        for pod, annotations in steps:
            kill_watchers(cluster, product)
            product.annotate(pod, pair, **annotations)
            product.serving()
            cluster.wait(f"pod/{pod}", CONDITION, namespace=pair)
        cluster.eventually("strict", lambda: "no others" in product.condition("left", pair)["message"])
        # The condition is about connections that begin; the old ones end once a watcher knows both gateways again.
        talk.made_anew(cluster, before, namespace=pair)
        with talk.captured(cluster, "left", pair, tmp_path / "wire.pcap") as evidence:
            talk.answered(cluster, "left", pair)
        assert not evidence[0].sightings
    programs = {pod: talk.statistics(cluster, pod, pair)["pid"] for pod in PAIR}
    # The strict one first: it would rightly refuse a peer that has left. Without a watcher that could say that it has left,
    # its peer waits for it for up to 8 s, and these applications give up after 5.
    for pod in PAIR:
        kill_watchers(cluster, product)
        product.annotate(pod, pair, enabled="false")
        product.serving()
        cluster.eventually(f"{pod} has left", lambda pod=pod: not serving(cluster.get("pod", pod, pair)))
    for pod in PAIR:
        assert talk.answered(cluster, pod, pair, timeout=40)["pid"] == programs[pod]


def test_the_other_watcher_takes_over(cluster, product, pair, measured):
    product.enrol(*PAIR, namespace=pair)
    leader = product.leader()
    pid = cluster.pod_pid(leader, namespace=NAMESPACE)
    # It does not come back by itself: the whole node of it has died, so to say.
    with talk.stopped(pid):
        began = time.monotonic()
        # Its Lease is good for 12 seconds, looked at every 2; the machine may be busy.
        cluster.eventually("another leads", lambda: product.leader() not in ("", leader), timeout=40)
        took = time.monotonic() - began
        measured(f"another watcher leads after {took:.1f} s")
        product.annotate("left", pair, encrypt="strict")
        # The gateway gives a line up after 15 s of silence. It may meet the one that hangs again, each time for 5 s.
        cluster.eventually("it acts", lambda: "no others" in product.condition("left", pair)["message"], timeout=80)
    talk.answered(cluster, "left", pair)
    product.serving()


def test_the_api_server_is_away_for_half_a_minute(cluster, product, pair, tmp_path, measured):
    product.enrol("left", namespace=pair)
    right = cluster.pod_pid("right", "app", pair)
    with talk.undisturbed(cluster, *PAIR, namespace=pair):
        with cluster.without_api():
            time.sleep(30)
            assert right
        began = time.monotonic()
        product.annotate("right", pair, encrypt="true")
        # The kubelet waits for up to a minute, and some, before it looks again.
        cluster.wait("pod/right", CONDITION, namespace=pair, timeout=150)
        measured(f"annotated once the API server is back, encrypting {time.monotonic() - began:.1f} s later")
    with talk.captured(cluster, "left", pair, tmp_path / "wire.pcap") as evidence:
        talk.answered(cluster, "left", pair)
    assert 18443 in {port.port for port in evidence[0].ports if port.payload_bytes}


def test_gateways_live_on_without_watchers(cluster, product, pair, tmp_path):
    before = talk.reconnects(cluster, *PAIR, namespace=pair)
    product.enrol(*PAIR, namespace=pair, netflush="true")
    # To end connections in clear is the watcher's to say.
    talk.made_anew(cluster, before, namespace=pair)
    talk.answered(cluster, "left", pair)
    try:
        without_watchers(cluster)
        with talk.undisturbed(cluster, *PAIR, namespace=pair):
            with talk.captured(cluster, "left", pair, tmp_path / "wire.pcap") as evidence:
                time.sleep(5)
            assert not evidence[0].sightings
            assert 18443 in {port.port for port in evidence[0].ports if port.payload_bytes}
    finally:
        cluster.kubectl("scale", "deployment/kube-gateway-watcher", "-n", NAMESPACE, "--replicas=2")
        product.serving()
    # What was asked for meanwhile is done by the watcher that comes.
    product.annotate("left", pair, encrypt="strict")
    cluster.eventually("it acts", lambda: "no others" in product.condition("left", pair)["message"], timeout=40)


# It looks on for 130 s, and installs the watcher twice.
@pytest.mark.timeout(600)
def test_certificates_of_a_minute_are_renewed_under_traffic(cluster, product, pair, measured):
    product.install("--certificate-life=1m")
    try:
        product.enrol(*PAIR, namespace=pair)
        with talk.undisturbed(cluster, *PAIR, namespace=pair):
            before = talk.statistics(cluster, "left", pair)["requests_ok"]
            time.sleep(130)
            more = talk.statistics(cluster, "left", pair)["requests_ok"] - before
        log = cluster.logs("left", serving(cluster.get("pod", "left", pair))[0], namespace=pair)
        renewals = log.count("certificate for spiffe://")
        measured(f"{renewals} certificates in 130 s, {more} requests, none failed")
        assert renewals >= 4
        assert "expired" not in log
    finally:
        product.install()


def test_removed_annotations_are_seen_after_all(cluster, product, pair):
    """Deletes and changes that no watcher saw are found by comparing."""
    product.enrol(*PAIR, namespace=pair, netflush="true")
    try:
        without_watchers(cluster)
        cluster.kubectl("annotate", "pod", "left", "-n", pair, f"{PREFIX}encrypt-")
        cluster.kubectl("delete", "pod", "right", "-n", pair, "--grace-period=1")
    finally:
        cluster.kubectl("scale", "deployment/kube-gateway-watcher", "-n", NAMESPACE, "--replicas=2")
        product.serving()
    cluster.eventually("it has left", lambda: not serving(cluster.get("pod", "left", pair)))
    cluster.apply(talk.pod("right", "--peer=left"), pair)
    cluster.wait("pod/right", "Ready", namespace=pair)
    talk.answered(cluster, "left", pair)


def test_what_a_killed_strict_gateway_left_goes_with_the_annotation(cluster, product, pair):
    """Its hooks refuse the pod's connections, and only a gateway in the pod can remove them."""
    product.enrol("left", namespace=pair, encrypt="strict")
    (name,) = cluster.eventually("it runs", lambda: serving(cluster.get("pod", "left", pair)))
    try:
        without_watchers(cluster)
        talk.kill(cluster.pod_pid("left", name, pair))
        cluster.kubectl("annotate", "pod", "left", "-n", pair, f"{PREFIX}encrypt-")
        failed = talk.statistics(cluster, "left", pair)["requests_failed"]
        cluster.eventually(
            "refused", lambda: talk.statistics(cluster, "left", pair)["requests_failed"] > failed + 4, timeout=20
        )
    finally:
        cluster.kubectl("scale", "deployment/kube-gateway-watcher", "-n", NAMESPACE, "--replicas=2")
        product.serving()
    cluster.eventually("it has left", lambda: product.condition("left", pair)["reason"] == "NotEnrolled")
    talk.answered(cluster, "left", pair)
