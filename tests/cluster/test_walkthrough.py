"""The story of the README, command by command, on a real cluster."""

from __future__ import annotations

import json
import time

import pytest
import talk
from product import CONDITION, PREFIX, ROOT, Product, gateways, serving

pytestmark = [pytest.mark.cluster, pytest.mark.root]

DEFAULT = "default"
PODS = ("pod-01", "pod-02")


@pytest.fixture(scope="module", params=["ourselves", "openssl"])
def story(cluster, tmp_path_factory, request):
    """The watcher, with an authority made in one of the two ways, and the demo's pods. Nothing is enrolled yet."""
    product = Product(cluster, tmp_path_factory.mktemp("authority"))
    product.uninstall()
    getattr(product, f"authority_by_{request.param}")()
    cluster.kubectl("apply", "-f", str(ROOT / "deploy/watcher.yaml"))
    product.install()
    cluster.kubectl("apply", "-f", str(ROOT / "demo/deployment.yaml"))
    for pod in PODS:
        cluster.wait(f"pod/{pod}", "Ready")
        talk.answered(cluster, pod, DEFAULT)
    yield product
    print(product.log())
    cluster.kubectl("delete", "-f", str(ROOT / "demo/deployment.yaml"), "--grace-period=1")
    product.uninstall()


def evidence_of(cluster, tmp_path, *, pod="pod-01", seconds=3.0):
    with talk.captured(cluster, pod, DEFAULT, tmp_path / "wire.pcap") as evidence:
        time.sleep(seconds)
    return evidence[0]


def nothing_in_clear(product):
    """Whether `kube-gateway status` shows the two pods encrypting and none of their connections in clear."""
    shown = json.loads(product.run("status", "-n", DEFAULT, "--output", "json").stdout)["pods"]
    seen = {(pod["name"], pod["state"], pod["reported"]["clear_connections"]) for pod in shown if pod["reported"]}
    return seen == {(pod, "encrypting", 0) for pod in PODS}


def test_the_story(cluster, story, tmp_path, measured):
    """In clear, enrolled one after the other, flushed, and left again; the programs notice nothing."""
    before = {pod: talk.statistics(cluster, pod, DEFAULT) for pod in PODS}
    processes = {pod: cluster.pod_pid(pod, "app") for pod in PODS}
    clear = evidence_of(cluster, tmp_path)
    assert clear.seen("hello")
    assert {port.port for port in clear.ports} >= {9000, 9080}

    annotated = time.time()
    cluster.kubectl("annotate", "pod", "pod-01", f"{PREFIX}encrypt=true")
    cluster.wait("pod/pod-01", CONDITION)
    cluster.kubectl("annotate", "pod", "pod-02", f"{PREFIX}encrypt=true")
    cluster.wait("pod/pod-02", CONDITION)
    measured(f"both annotated and encrypting after {time.time() - annotated:.1f} s")
    # What a gateway knows of a peer in clear is forgotten after 250 ms.
    time.sleep(1)
    # New connections are encrypted, the old one is still there, and shown.
    mixed = evidence_of(cluster, tmp_path)
    assert {port.port for port in mixed.ports} >= {9000, 18443}
    assert 9080 not in {port.port for port in mixed.ports if port.payload_bytes}

    for pod in PODS:
        cluster.kubectl("annotate", "pod", pod, f"{PREFIX}netflush=true")

    def flushed() -> bool:
        return all(talk.statistics(cluster, pod, DEFAULT)["reconnects"] > before[pod]["reconnects"] for pod in PODS)

    cluster.eventually("the connections in clear are made anew", flushed)
    encrypted = evidence_of(cluster, tmp_path)
    assert not encrypted.sightings
    # The tunnel, and the gateway's own line to the watcher.
    assert {(port.port, port.traffic) for port in encrypted.ports if port.payload_bytes} <= {
        (18443, "tls"),
        (18444, "tls"),
    }
    assert 18443 in {port.port for port in encrypted.ports}

    cluster.eventually("status says so", lambda: nothing_in_clear(story), timeout=30)
    assert story.run("check").returncode == 0

    for pod in PODS:
        now = talk.answered(cluster, pod, DEFAULT)
        assert talk.trouble(now) == talk.trouble(before[pod]), now["last_error"]
        seen = cluster.get("pod", pod)
        assert seen["status"]["containerStatuses"][0]["restartCount"] == 0
        assert cluster.pod_pid(pod, "app") == processes[pod]
        secret = cluster.get("secret", f"kube-gateway-{pod}")
        assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [seen["metadata"]["uid"]]
        assert set(secret["data"]) == {"key", "certificate", "trust-bundle"}
        reasons = [reason for reason, _ in story.events(pod, DEFAULT)]
        assert reasons[0] == "GatewayAdded"
        assert reasons[-1] == "Encrypting"
        name = serving(seen)[0]
        log = cluster.kubectl("logs", pod, "-c", name)
        assert "settings: encryption permissive" in log
        assert f"of {DEFAULT}/{pod}" in log
        assert "PRIVATE KEY" not in log + cluster.kubectl("describe", "pod", pod)

    cluster.kubectl("annotate", "pod", "pod-01", f"{PREFIX}enabled=false")
    cluster.eventually("the gateway has left", lambda: not serving(cluster.get("pod", "pod-01")))
    assert gateways(cluster.get("pod", "pod-01"))[-1]["state"]["terminated"]["exitCode"] == 0
    cluster.wait("pod/pod-01", f"jsonpath={{.status.conditions[?(@.type=='{CONDITION}')].reason}}=NotEnrolled")
    cluster.eventually(
        "the Secret is gone", lambda: "NotFound" in cluster.kubectl("get", "secret", "kube-gateway-pod-01", check=False)
    )
    again = evidence_of(cluster, tmp_path)
    assert again.seen("hello")
    assert cluster.pod_pid("pod-01", "app") == processes["pod-01"]
    now = talk.answered(cluster, "pod-01", DEFAULT)
    assert talk.trouble(now) == talk.trouble(before["pod-01"]), now["last_error"]


def test_time_to_the_first_encrypted_connection(cluster, story, tmp_path, measured):
    """From the annotation on, with the image on the node and the node's needs known."""
    cluster.kubectl("annotate", "pod", *PODS, f"{PREFIX}enabled-", f"{PREFIX}encrypt-")
    for pod in PODS:
        cluster.eventually(f"no gateway in {pod}", lambda pod=pod: not serving(cluster.get("pod", pod)))
    story.enrol("pod-02", namespace=DEFAULT)
    with talk.captured(cluster, "pod-01", DEFAULT, tmp_path / "wire.pcap") as evidence:
        annotated = time.time()
        cluster.kubectl("annotate", "pod", "pod-01", f"{PREFIX}encrypt=true")
        cluster.wait("pod/pod-01", CONDITION)
        talk.answered(cluster, "pod-01", DEFAULT)
    first = talk.first_tunnel(tmp_path / "wire.pcap", source=cluster.get("pod", "pod-01")["status"]["podIPs"])
    assert evidence
    measured(f"annotation to first encrypted connection: {first - annotated:.2f} s")
    # Generous: the machine may be busy. The figure above is what counts.
    assert 0 < first - annotated < 20
