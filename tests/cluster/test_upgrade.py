"""A gateway of another image takes over from one that runs, and nobody notices."""

from __future__ import annotations

import time

import pytest
import talk
from product import IMAGE, gateways, serving

pytestmark = [pytest.mark.cluster, pytest.mark.root]

PAIR = ("old", "new")
NEWER = "ghcr.io/kube-gateway/kube-gateway:newer"
NOT_THERE = "ghcr.io/kube-gateway/kube-gateway:not-there"


@pytest.fixture
def pair(cluster, product, namespace):
    """Two enrolled pods that talk to each other, all of it encrypted; deleted in the end."""
    cluster.tag_image(IMAGE, NEWER)
    text = "".join(talk.service(pod) + talk.pod(pod, f"--peer={peer}") for pod, peer in (PAIR, PAIR[::-1]))
    cluster.apply(text, namespace)
    for pod in PAIR:
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
        talk.answered(cluster, pod, namespace)
    before = talk.reconnects(cluster, *PAIR, namespace=namespace)
    product.enrol(*PAIR, namespace=namespace, netflush="true")
    talk.made_anew(cluster, before, namespace=namespace)
    for pod in PAIR:
        talk.answered(cluster, pod, namespace)
    yield namespace
    cluster.kubectl("delete", "pod,service", "--all", "-n", namespace, "--grace-period=1")
    product.install()


def of_image(cluster, pod, namespace, image):
    """The gateways of a pod that run, of one image."""
    seen = cluster.get("pod", pod, namespace)
    wanted = {each["name"] for each in seen["spec"].get("ephemeralContainers", []) if each["image"] == image}
    return sorted(wanted & set(serving(seen)))


def serves(product, pod, namespace, number):
    return f"gateway {number})" in product.condition(pod, namespace)["message"]


def test_no_connection_is_lost(cluster, product, pair, tmp_path, measured):
    before = {pod: talk.statistics(cluster, pod, pair) for pod in PAIR}
    with talk.undisturbed(cluster, *PAIR, namespace=pair):
        began = time.monotonic()
        product.install(f"--image={NEWER}")
        for pod in PAIR:
            cluster.eventually(f"a newer gateway in {pod}", lambda pod=pod: of_image(cluster, pod, pair, NEWER))
            number = of_image(cluster, pod, pair, NEWER)[-1].rpartition("-")[2]
            cluster.eventually(
                f"gateway {number} serves {pod}", lambda pod=pod, n=number: serves(product, pod, pair, n)
            )
        measured(f"both taken over {time.monotonic() - began:.1f} s after the manifest was applied")
        with talk.captured(cluster, "old", pair, tmp_path / "wire.pcap") as evidence:
            for pod in PAIR:
                talk.answered(cluster, pod, pair)
        assert not evidence[0].sightings
    for pod in PAIR:
        # The connection that stood stands, in the old gateway, which waits for it.
        assert talk.statistics(cluster, pod, pair)["reconnects"] == before[pod]["reconnects"]
        assert of_image(cluster, pod, pair, IMAGE)


def test_an_image_that_cannot_be_had_changes_nothing(cluster, product, pair):
    with talk.undisturbed(cluster, *PAIR, namespace=pair):
        product.install(f"--image={NOT_THERE}", "--pull-policy=Never")
        cluster.eventually(
            "a container that waits",
            lambda: any("waiting" in each["state"] for each in gateways(cluster.get("pod", "old", pair))),
        )
        assert of_image(cluster, "old", pair, IMAGE)
        talk.answered(cluster, "old", pair)
        product.install(f"--image={NEWER}")
        for pod in PAIR:
            cluster.eventually(f"a newer gateway in {pod}", lambda pod=pod: of_image(cluster, pod, pair, NEWER))


def test_a_gateway_that_shares_the_processes_of_the_first_container(cluster, product, namespace):
    product.install("--share-processes")
    try:
        cluster.apply(talk.pod("shares"), namespace)
        cluster.wait("pod/shares", "Ready", namespace=namespace)
        product.enrol("shares", namespace=namespace)
        seen = cluster.get("pod", "shares", namespace)
        assert {each["targetContainerName"] for each in seen["spec"]["ephemeralContainers"]} == {"app"}
    finally:
        product.install()
        cluster.kubectl("delete", "pod", "shares", "-n", namespace, "--grace-period=1")
