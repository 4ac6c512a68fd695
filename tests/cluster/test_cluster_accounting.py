"""What left pods of a real cluster: shown, signed and proved; and a watcher that has all of them be strict."""

from __future__ import annotations

import json
import re

import pytest
import talk
from product import NAMESPACE

pytestmark = [pytest.mark.cluster, pytest.mark.root]


@pytest.fixture(scope="module")
def pair(cluster, product, namespace):
    """Pods `a` and `b`, enrolled, which talk to each other; all that encrypt have to be strict."""
    product.install("--strict", "--metrics-port=9090")
    text = talk.service("a") + talk.service("b") + talk.pod("a", "--peer=b") + talk.pod("b", "--peer=a")
    cluster.apply(text, namespace)
    for pod in ("a", "b"):
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
    product.enrol("a", "b", namespace=namespace)
    for pod in ("a", "b"):
        talk.answered(cluster, pod, namespace)
    return namespace


def shown(product, namespace):
    """What status tells of pod `a`, once it has said what left it."""
    pods = json.loads(product.run("status", "-n", namespace, "--output", "json").stdout)["pods"]
    (found,) = (pod for pod in pods if pod["name"] == "a")
    return found if found["reported"] and found["reported"]["sent"].get("tunnel", 0) > 1000 else None


def receipt(cluster, product, pod, *more):
    line = ["exec", "-n", NAMESPACE, product.leader(), "--"]
    return cluster.kubectl(*line, "kube-gateway", "verify", pod, "--receipt", "--watcher", *more)


def test_every_pod_that_encrypts_is_strict(cluster, product, pair):
    found = cluster.eventually("what left the pod is told", lambda: shown(product, pair), timeout=60)
    assert found["mode"] == "strict"
    assert found["reported"]["mode"] == "strict"
    assert cluster.get("pod", "a", pair)["metadata"]["annotations"]["kube-gateway.io/encrypt"] == "true"


def test_status_shows_bytes(cluster, product, pair):
    cluster.eventually("what left the pod is told", lambda: shown(product, pair), timeout=60)
    table = product.run("status", "-n", pair, "--output", "bytes").stdout
    assert re.search(rf"\n{pair}\s+a\s+strict\s+\d+% of [0-9.]+ [kM]?B\s+[0-9.]+ [kM]?B\s", table)
    assert re.search(r"; \d+% of [0-9.]+ [kM]B sent encrypted, ", table)


def test_a_receipt_is_signed_in_the_pod_and_proved_with_the_root(cluster, product, pair, tmp_path):
    path, root = tmp_path / "receipt.json", str(product.directory / "ca.crt")
    path.write_text(receipt(cluster, product, f"{pair}/a", "--period", "10m"))
    proved = json.loads(product.run("verify", "a", "--check", str(path), "--root", root, "--output", "json").stdout)
    said = proved["receipt"]
    assert said["pod"] == f"{pair}/a"
    assert said["uid"] == cluster.get("pod", "a", pair)["metadata"]["uid"]
    assert said["spiffe_id"] == f"spiffe://cluster.local/ns/{pair}/sa/default"
    assert said["settings"]["encryption"] == "strict"
    assert said["sent"]["totals"]["tunnel"] > 1000
    path.write_text(path.read_text().replace(pair, "elsewhere"))
    refused = product.run("verify", "--check", str(path), "--root", root, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: the receipt proves nothing: ")


def test_a_watcher_that_stands_by_names_the_one_to_ask(cluster, product, pair):
    (other,) = set(product.watchers()) - {product.leader()}
    line = ["exec", "-n", NAMESPACE, other, "--", "kube-gateway", "verify", f"{pair}/a", "--receipt", "--watcher"]
    told = cluster.kubectl(*line, check=False)
    assert f"error: this watcher stands by\nhint: ask the one that leads: {product.leader()}\n" in told


def test_the_watcher_serves_figures_of_all_pods(cluster, product, pair):
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{product.leader()}:9090/proxy/metrics"

    def counted():
        page = cluster.kubectl("get", "--raw", path)
        found = re.search(rf'kube_gateway_sent_bytes_total{{namespace="{pair}",pod="a",kind="tunnel"}} (\d+)', page)
        return page if found and int(found[1]) > 1000 else None

    page = cluster.eventually("figures of the pod", counted, timeout=30)
    assert f'kube_gateway_info{{namespace="{pair}",pod="a",encryption="strict",state="ready"}} 1' in page
