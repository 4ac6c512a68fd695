"""GatewayPolicies of a real cluster: who may reach a pod, changed under connections that stand."""

from __future__ import annotations

import json
import time

import pytest
import talk
from product import serving

from cluster import ClusterError

pytestmark = [pytest.mark.cluster, pytest.mark.root]

ACCOUNTS = ("web", "job")
"""The clients, by their service accounts; each is a pod of that name."""
RESOURCE = "gatewaypolicies.kube-gateway.io"
PATIENCE = 30


@pytest.fixture
def pods(cluster, product, namespace):
    """`orders`, and the clients `web` and `job` that talk to it by its Service; all are enrolled."""
    for account in ACCOUNTS:
        cluster.kubectl("create", "serviceaccount", account, "-n", namespace)
    clients = "".join(talk.pod(account, "--peer=orders", serviceAccountName=account) for account in ACCOUNTS)
    cluster.apply(talk.service("orders") + talk.pod("orders") + clients, namespace)
    for pod in ("orders", *ACCOUNTS):
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
    product.enrol("orders", *ACCOUNTS, namespace=namespace, netflush="true")
    for account in ACCOUNTS:
        talk.answered(cluster, account, namespace)
    yield namespace
    cluster.kubectl("delete", "pod,service,serviceaccount,gatewaypolicy", "--all", "-n", namespace, "--grace-period=1")


def policy(**spec: object) -> str:
    """The policy `orders`, as YAML (which JSON is): `web` may reach the pod `orders`."""
    body = {
        "apiVersion": "kube-gateway.io/v1alpha1",
        "kind": "GatewayPolicy",
        "metadata": {"name": "orders"},
        "spec": {
            "selector": {"matchLabels": {"app": "orders"}},
            "default": "deny",
            "rules": [{"from": [{"serviceAccount": "web"}]}],
            **spec,
        },
    }
    return json.dumps(body)


def status(cluster, namespace):
    """The policy's status, with its conditions by their types."""
    found = cluster.get(RESOURCE, "orders", namespace).get("status", {})
    return found | {"conditions": {each["type"]: each for each in found.get("conditions", [])}}


def is_enforced(cluster, namespace):
    conditions = status(cluster, namespace)["conditions"]
    return bool(conditions) and all(each["status"] == "True" for each in conditions.values())


def log(cluster, pod, namespace):
    """What the gateway that runs in a pod has said."""
    (name,) = serving(cluster.get("pod", pod, namespace))
    return cluster.logs(pod, name, namespace)


def refused_from_now_on(cluster, pod, namespace):
    """Wait until requests of a pod fail, and say how long it took and how they do."""
    before, began = talk.statistics(cluster, pod, namespace)["requests_failed"], time.monotonic()
    counted = cluster.eventually(
        f"{pod} is refused",
        lambda: now if (now := talk.statistics(cluster, pod, namespace))["requests_failed"] > before else None,
        timeout=PATIENCE,
        every=0.05,
    )
    return time.monotonic() - began, counted["last_error"]


def test_a_policy_comes_changes_and_goes(cluster, pods, measured):
    with talk.undisturbed(cluster, "web", namespace=pods):
        standing = talk.statistics(cluster, "job", pods)["reconnects"]
        cluster.apply(policy(), pods)
        took, error = refused_from_now_on(cluster, "job", pods)
        measured(f"from a policy to the first refusal that the client prints: {took:.1f} s")
        assert "reset" in error
        # The connection that stood has ended too, and each that comes in its place.
        cluster.eventually("it is ended", lambda: talk.statistics(cluster, "job", pods)["reconnects"] > standing + 1)
        identity = f"spiffe://cluster.local/ns/{pods}/sa/job"
        assert f"denied {identity} a connection to port 9080: policy {pods}/orders: no rule allows it" in log(
            cluster, "orders", pods
        )
        assert f"(spiffe://cluster.local/ns/{pods}/sa/default) denies a connection to" in log(cluster, "job", pods)
        assert "its policy" in log(cluster, "job", pods)
        cluster.eventually("it is enforced", lambda: is_enforced(cluster, pods), timeout=PATIENCE)
        cluster.eventually("denials are counted", lambda: status(cluster, pods)["denied"] > 0, timeout=PATIENCE)
        table = cluster.kubectl("get", "gwp", "orders", "-n", pods)
        assert {"SELECTED", "ENFORCING", "DENIED", "ACCEPTED"} <= set(table.split())

        cluster.apply(policy(dryRun=True), pods)
        talk.answered(cluster, "job", pods, timeout=PATIENCE)
        cluster.eventually("it only counts", lambda: status(cluster, pods)["wouldDeny"] > 0, timeout=PATIENCE)

        cluster.apply(policy(rules=[{"from": [{"namespace": pods}], "ports": [9080]}]), pods)
        cluster.eventually("it is enforced", lambda: is_enforced(cluster, pods), timeout=PATIENCE)
        talk.answered(cluster, "job", pods)

    cluster.kubectl("delete", RESOURCE, "orders", "-n", pods)
    talk.answered(cluster, "job", pods, timeout=PATIENCE)


def test_nobody_gets_round_it_in_clear(cluster, product, pods):
    cluster.apply(policy(), pods)
    cluster.eventually("it is enforced", lambda: is_enforced(cluster, pods), timeout=PATIENCE)
    with talk.undisturbed(cluster, "web", namespace=pods):
        product.annotate("job", pods, encrypt=None)
        cluster.eventually("it has left", lambda: not serving(cluster.get("pod", "job", pods)))
        _, error = refused_from_now_on(cluster, "job", pods)
        assert "refused" in error


def test_what_is_wrong_is_said_at_once_or_in_its_status(cluster, pods):
    with pytest.raises(ClusterError, match="name an identity, or a namespace and service account, or anyone: true"):
        cluster.apply(policy(rules=[{"from": [{"anyone": True, "namespace": "shop"}]}]), pods)
    cluster.apply(policy(), pods)
    cluster.eventually("it is enforced", lambda: is_enforced(cluster, pods), timeout=PATIENCE)
    # What the API server's schema cannot know.
    cluster.apply(policy(rules=[{"from": [{"serviceAccount": "web"}], "ports": ["9100-9000"]}]), pods)

    def told():
        accepted = status(cluster, pods)["conditions"].get("Accepted", {})
        return accepted if accepted.get("status") == "False" else None

    accepted = cluster.eventually("it is not accepted", told, timeout=PATIENCE)
    assert "ports" in accepted["message"]
    # Its last version that was right stays.
    talk.answered(cluster, "web", pods)
    refused_from_now_on(cluster, "job", pods)
