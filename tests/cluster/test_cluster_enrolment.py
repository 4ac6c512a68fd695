"""Pods of many kinds are enrolled, refused, deleted, and complete."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import talk
from product import CONDITION, IMAGE, PREFIX, gateways, serving

from cluster import ClusterError

pytestmark = [pytest.mark.cluster, pytest.mark.root]

PAIR = ("a", "b")
WORKLOAD = ("python3", "-m", "kube_gateway.demo.workload")


@pytest.fixture
def pair(cluster, product, namespace):
    """Pods `a` and `b`, talking to each other through their Services; deleted in the end."""
    text = talk.service("a") + talk.service("b") + talk.pod("a", "--peer=b") + talk.pod("b", "--peer=a")
    cluster.apply(text, namespace)
    for pod in PAIR:
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
        talk.answered(cluster, pod, namespace)
    yield namespace
    cluster.kubectl("delete", "pod,service", "--all", "-n", namespace, "--grace-period=1")


def test_a_gateway_that_is_killed_has_a_successor_within_seconds(cluster, product, pair, measured):
    product.enrol(*PAIR, namespace=pair, netflush="true")
    talk.answered(cluster, "a", pair)
    (name,) = cluster.eventually("it runs", lambda: serving(cluster.get("pod", "a", pair)))
    before = {pod: talk.statistics(cluster, pod, pair) for pod in PAIR}
    os.kill(cluster.pod_pid("a", name, pair), signal.SIGKILL)
    killed = time.monotonic()
    answered = before["a"]["requests_ok"] + 4
    cluster.eventually("an answer", lambda: talk.statistics(cluster, "a", pair)["requests_ok"] > answered)
    measured(f"answers again (in clear or not) within {time.monotonic() - killed:.1f} s")
    successor = cluster.eventually(
        "a successor serves", lambda: set(serving(cluster.get("pod", "a", pair))) - {name}, timeout=30
    )
    cluster.wait(
        "pod/a", f"jsonpath={{.status.conditions[?(@.type=='{CONDITION}')].reason}}=Encrypting", namespace=pair
    )
    took = time.monotonic() - killed
    measured(f"{successor} encrypts again after {took:.1f} s")
    # The figure is printed; the machine may be busy.
    assert took < 20
    for pod in PAIR:
        now = talk.answered(cluster, pod, pair)
        # What a killed gateway carried is reset: one request each way at most, and one that was not printed yet. Each that
        # waits for the successor is given up by the application after 5 s.
        assert now["requests_failed"] - before[pod]["requests_failed"] <= 2 + took // 5, now["last_error"]
        assert now["pid"] == before[pod]["pid"]
    reasons = [reason for reason, _ in product.events("a", pair)]
    assert reasons.count("GatewayAdded") >= 2


def test_a_worker_that_is_killed_is_replaced_in_the_same_gateway(cluster, product, pair):
    product.enrol(*PAIR, namespace=pair)
    talk.answered(cluster, "a", pair)
    (name,) = cluster.eventually("it runs", lambda: serving(cluster.get("pod", "a", pair)))
    supervisor = cluster.pod_pid("a", name, pair)
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    talk.answered(cluster, "a", pair)
    assert serving(cluster.get("pod", "a", pair)) == [name]
    assert product.condition("a", pair)["status"] == "True"


def test_an_annotation_takes_effect_live(cluster, product, pair):
    product.enrol(*PAIR, namespace=pair)
    names = {pod: cluster.eventually("it runs", lambda pod=pod: serving(cluster.get("pod", pod, pair))) for pod in PAIR}
    product.annotate("a", pair, encrypt="strict")
    cluster.eventually("strict", lambda: "no others" in product.condition("a", pair)["message"])
    talk.answered(cluster, "a", pair)
    assert {pod: serving(cluster.get("pod", pod, pair)) for pod in PAIR} == names


def test_a_mistake_in_an_annotation_is_told_and_changes_nothing(cluster, product, pair):
    product.enrol(*PAIR, namespace=pair)
    with talk.undisturbed(cluster, *PAIR, namespace=pair):
        product.annotate("a", pair, encrypt="ture")
        cluster.eventually("told", lambda: product.condition("a", pair)["reason"] == "ProblemInvalidAnnotation")
        assert product.condition("a", pair)["status"] == "True"
        told = [note for reason, note in product.events("a", pair) if reason == "InvalidAnnotation"]
        assert len(told) == 1
        assert "kube-gateway.io/encrypt has the value 'ture'" in told[0]
        product.annotate("a", pair, encrypt="true")
        cluster.eventually("well again", lambda: product.condition("a", pair)["reason"] == "Encrypting")


def test_ten_pods_at_once(cluster, product, namespace, measured):
    names = [f"many-{number}" for number in range(10)]
    pods = "".join(talk.pod(name, f"--peer={other}") for name, other in zip(names, names[1:] + names[:1], strict=True))
    cluster.apply("".join(map(talk.service, names)) + pods, namespace)
    for name in names:
        cluster.wait(f"pod/{name}", "Ready", namespace=namespace)
        talk.answered(cluster, name, namespace)
    with talk.undisturbed(cluster, *names, namespace=namespace):
        began = time.monotonic()
        cluster.kubectl("annotate", "pod", *names, "-n", namespace, f"{PREFIX}encrypt=true")
        for name in names:
            cluster.wait(f"pod/{name}", CONDITION, namespace=namespace)
        measured(f"ten pods annotated at once encrypt after {time.monotonic() - began:.1f} s")
        for name in names:
            talk.answered(cluster, name, namespace)
    cluster.kubectl("delete", "pod", *names, "-n", namespace, "--grace-period=1")
    secrets = [f"kube-gateway-{name}" for name in names]
    cluster.eventually("their Secrets are gone", lambda: not {*secrets} & set(secret_names(cluster, namespace)))


def secret_names(cluster, namespace):
    listed = json.loads(cluster.kubectl("get", "secrets", "-n", namespace, "-o", "json"))["items"]
    return [secret["metadata"]["name"] for secret in listed]


def test_annotations_of_a_namespace_count_and_those_of_a_pod_count_more(cluster, product, namespace):
    cluster.kubectl("annotate", "namespace", namespace, f"{PREFIX}encrypt=true")
    try:
        declines = json.loads(talk.pod("declines").removesuffix("---\n"))
        declines["metadata"]["annotations"] = {f"{PREFIX}enabled": "false"}
        cluster.apply(talk.pod("inherits") + json.dumps(declines), namespace)
        cluster.wait("pod/inherits", CONDITION, namespace=namespace)
        assert not gateways(cluster.get("pod", "declines", namespace))
    finally:
        cluster.kubectl("annotate", "namespace", namespace, f"{PREFIX}encrypt-")
    cluster.eventually("it has left", lambda: not serving(cluster.get("pod", "inherits", namespace)))
    cluster.kubectl("delete", "pod", "inherits", "declines", "-n", namespace, "--grace-period=1")


def test_annotations_of_a_template_and_pods_of_several_containers(cluster, product, namespace):
    """A Deployment whose pods have two containers and a user of their own, annotated where they are made from."""
    containers = [
        {
            "name": name,
            "image": IMAGE,
            "imagePullPolicy": "Never",
            "command": ["python3", "-m", "kube_gateway.demo.workload"],
        }
        for name in ("app", "helper")
    ]
    containers[0]["command"] += ["--name=app"]
    containers[1]["command"] += ["--name=helper", "--hello-port=9001", "--http-port=9081"]
    labels = {"app": "two"}
    template = {
        "metadata": {"labels": labels, "annotations": {f"{PREFIX}encrypt": "true"}},
        "spec": {
            "containers": containers,
            "securityContext": {"runAsUser": 1000, "runAsNonRoot": True, "fsGroup": 2000},
        },
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "two"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }
    cluster.apply(json.dumps(deployment), namespace)
    pods = cluster.eventually("pods", lambda: two_pods(cluster, namespace))
    for pod in pods:
        cluster.wait(f"pod/{pod}", CONDITION, namespace=namespace)
    cluster.kubectl("delete", "deployment", "two", "-n", namespace)


def two_pods(cluster, namespace):
    listed = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-l", "app=two", "-o", "json"))["items"]
    return [pod["metadata"]["name"] for pod in listed] if len(listed) == 2 else []


def test_a_pod_of_the_nodes_network_is_refused(cluster, product, namespace):
    cluster.apply(talk.pod("host", "--hello-port=19000", "--http-port=19080", hostNetwork=True), namespace)
    cluster.wait("pod/host", "Ready", namespace=namespace)
    product.annotate("host", namespace, encrypt="true")
    cluster.eventually("told", lambda: product.condition("host", namespace).get("reason") == "ProblemHostNetwork")
    assert [reason for reason, _ in product.events("host", namespace)] == ["HostNetwork"]
    assert not gateways(cluster.get("pod", "host", namespace))
    cluster.kubectl("delete", "pod", "host", "-n", namespace, "--grace-period=1")


def test_pod_security_that_refuses_is_told_once_and_lifted_when_it_changes(cluster, product, namespace):
    own = f"{namespace}-baseline"
    cluster.kubectl("create", "namespace", own)
    try:
        cluster.wait("serviceaccount/default", "create", namespace=own)
        cluster.kubectl("label", "namespace", own, "pod-security.kubernetes.io/enforce=baseline")
        cluster.apply(talk.pod("web"), own)
        cluster.wait("pod/web", "Ready", namespace=own)
        product.annotate("web", own, encrypt="true")
        cluster.eventually("told", lambda: product.condition("web", own).get("reason") == "ProblemPodSecurity")
        time.sleep(5)
        told = product.events("web", own)
        assert [reason for reason, _ in told] == ["PodSecurity"]
        assert 'Pod Security level "baseline"' in told[0][1]
        assert f"kubectl label namespace {own} --overwrite pod-security.kubernetes.io/enforce=privileged" in told[0][1]
        cluster.kubectl("label", "namespace", own, "--overwrite", "pod-security.kubernetes.io/enforce=privileged")
        cluster.wait("pod/web", CONDITION, namespace=own)
    finally:
        cluster.kubectl("delete", "namespace", own, "--wait=false")


def test_a_job_with_an_enrolled_pod_completes(cluster, product, namespace):
    container = {
        "name": "work",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", "import time; time.sleep(30)"],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "work"},
        "spec": {
            "template": {
                "metadata": {"annotations": {f"{PREFIX}encrypt": "true"}},
                "spec": {"restartPolicy": "Never", "containers": [container]},
            }
        },
    }
    cluster.apply(json.dumps(job), namespace)
    listed = ("get", "pods", "-n", namespace, "-l", "job-name=work", "-o", "name")
    kind, name = cluster.eventually("its pod", lambda: cluster.kubectl(*listed).strip()).split("/")
    cluster.wait(f"{kind}/{name}", CONDITION, namespace=namespace, timeout=28)
    cluster.wait("job/work", "Complete", namespace=namespace, timeout=60)
    assert cluster.get(kind, name, namespace)["status"]["phase"] == "Succeeded"
    cluster.eventually("the gateway has ended", lambda: not serving(cluster.get(kind, name, namespace)))


def test_an_application_that_restarts_keeps_its_gateway(cluster, product, namespace):
    """The gateway has processes of its own: those of the application may come and go."""
    cluster.apply(talk.service("peer") + talk.service("again") + talk.pod("peer", "--peer=again"), namespace)
    cluster.apply(talk.pod("again", "--peer=peer"), namespace)
    for pod in ("peer", "again"):
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
    product.enrol("peer", "again", namespace=namespace)
    before = cluster.eventually("it runs", lambda: serving(cluster.get("pod", "again", namespace)))
    os.kill(cluster.pod_pid("again", "app", namespace), signal.SIGKILL)
    cluster.eventually(
        "started again",
        lambda: cluster.get("pod", "again", namespace)["status"]["containerStatuses"][0]["restartCount"] == 1,
    )
    cluster.wait("pod/again", "Ready", namespace=namespace)
    talk.answered(cluster, "again", namespace)
    assert serving(cluster.get("pod", "again", namespace)) == before
    cluster.kubectl("delete", "pod,service", "--all", "-n", namespace, "--grace-period=1")


def test_nobody_gets_into_a_gateways_container(cluster, product, pair):
    """It may do more than the application, so whoever may exec into the pod must not get there."""
    product.enrol("a", namespace=pair)
    (name,) = cluster.eventually("it runs", lambda: serving(cluster.get("pod", "a", pair)))
    with pytest.raises(ClusterError, match="a gateway's container is not for exec or attach"):
        cluster.exec("a", "python3", "--version", container=name, namespace=pair)
    assert cluster.exec("a", "python3", "--version", container="app", namespace=pair).startswith("Python 3")
