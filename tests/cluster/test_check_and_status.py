"""`kube-gateway check` and `status` on the real cluster, whatever else runs there; and what the watcher publishes, with no
more rights than the manifest gives it."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import yaml

from kube_gateway.kube.client import KubernetesClient
from kube_gateway.manifests import objects
from kube_gateway.watcher.cluster import Cluster as ClusterCopy
from kube_gateway.watcher.configuration import Configuration
from kube_gateway.watcher.summary import Publisher, Summary

pytestmark = [pytest.mark.cluster, pytest.mark.root]

ACCOUNT = "kube-gateway-watcher"

WEBHOOK = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: NAMESPACE}
webhooks:
- name: pods.example.org
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {url: "https://127.0.0.1:1/"}
  # It is in the way of nobody else's pods.
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
  rules:
  - {apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [pods/ephemeralcontainers]}
"""

POD = """
apiVersion: v1
kind: Pod
metadata: {name: idle}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: localhost/busybox:1, imagePullPolicy: Never, command: [sleep, "100000"]}
"""


def run(cluster, *arguments, kubeconfig=None):
    """Exit code, stdout and stderr of a command."""
    command = [sys.executable, "-m", "kube_gateway", *arguments, "--kubeconfig", str(kubeconfig or cluster.kubeconfig)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "COLUMNS": "100"}
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def results(cluster, *arguments, kubeconfig=None):
    """Exit code, the results by description, and what was not checked."""
    code, out, _ = run(cluster, "check", "--output", "json", *arguments, kubeconfig=kubeconfig)
    found = json.loads(out)
    return code, {one["description"]: one for one in found["results"]}, found["not_checked"]


@pytest.fixture(scope="module")
def installed(cluster, namespace):
    """The manifest's rights and ConfigMap in a namespace of this file's own, and nothing that runs."""
    kept = [found for found in objects() if found["kind"] in {"ServiceAccount", "Role", "RoleBinding", "ConfigMap"}]
    text = yaml.safe_dump_all(kept).replace("namespace: kube-gateway", f"namespace: {namespace}")
    cluster.kubectl("apply", "-f", "-", input=text)
    return namespace


def as_account(cluster, namespace, account, directory):
    """A kubeconfig for a service account."""
    token = cluster.kubectl("create", "token", account, "-n", namespace).strip()
    found = yaml.safe_load(cluster.kubeconfig.read_text())
    for user in found["users"]:
        user["user"] = {"token": token}
    path = directory / f"{account}.kubeconfig"
    path.write_text(yaml.safe_dump(found))
    path.chmod(0o600)
    return path


def test_where_no_watcher_is_installed(cluster, namespace):
    code, out, err = run(cluster, "check", "--namespace", f"{namespace}-none")
    assert (code, err) == (1, "")
    assert "  ok       the server is Kubernetes 1.33 or later (v1." in out
    assert out.endswith(
        "authority\n"
        "  failed   the Secret watcher has a certificate and its key\n"
        f"           there is no Secret watcher in the namespace {namespace}-none\n"
        "           hint: kube-gateway ca create && kube-gateway ca load\n"
        "\n"
        "watcher\n"
        "  failed   the watcher is installed\n"
        f"           there is no Deployment {namespace}-none/kube-gateway-watcher\n"
        "           hint: kube-gateway check --pre, then kube-gateway install | kubectl apply -f -\n"
        "\n"
        "19 checks were not made, in authority, watcher, nodes, gateways\n"
        "4 ok, 2 failed\n"
    )


def test_before_the_installation(cluster, namespace):
    restricted = f"{namespace}-restricted"
    cluster.kubectl("create", "namespace", restricted)
    try:
        cluster.kubectl("label", "namespace", restricted, "pod-security.kubernetes.io/enforce=restricted")
        cluster.kubectl("apply", "-f", "-", input=WEBHOOK.replace("NAMESPACE", restricted))
        _, found, not_checked = results(cluster, "--pre", "--namespace", f"{namespace}-none")
    finally:
        cluster.kubectl("delete", "validatingwebhookconfiguration", restricted, "--ignore-not-found")
        cluster.kubectl("delete", "namespace", restricted, "--wait=false")
    assert not not_checked
    assert found["you may create what the manifest has"]["status"] == "ok"
    assert found["you may grant the watcher its rights"]["status"] == "ok"
    webhooks = found["no webhook has to admit gateways"]
    assert webhooks["status"] == "warning"
    assert f"{restricted} (pods.example.org)" in [one["message"] for one in webhooks["findings"]]
    levels = found["namespaces admit gateways"]
    assert {"about": restricted, "message": "restricted"} in levels["findings"]
    assert found["kernels are Linux 5.10 or later"]["status"] == "ok"
    assert found["nodes name their container runtime"]["message"].startswith("containerd ")


def test_somebody_without_rights_gets_warnings_that_name_the_rules(cluster, namespace, tmp_path):
    kubeconfig = as_account(cluster, namespace, "default", tmp_path)
    code, found, not_checked = results(cluster, "--namespace", namespace, kubeconfig=kubeconfig)
    assert code == 0
    assert found["can query the API"]["message"].endswith(f" as system:serviceaccount:{namespace}:default")
    refused = [one for one in found.values() if one["status"] == "warning"]
    assert len(refused) >= 7
    assert all("have this rule added to a role of yours: {" in one["hint"] for one in refused)
    assert not_checked
    code, found, _ = results(cluster, "--pre", "--namespace", namespace, kubeconfig=kubeconfig)
    assert code == 1
    missing = [one["message"] for one in found["you may grant the watcher its rights"]["findings"]]
    assert '{"apiGroups":[""],"resources":["pods/ephemeralcontainers"],"verbs":["patch"]}' in missing
    assert run(cluster, "status", "-n", namespace, kubeconfig=kubeconfig)[0] == 1


def test_the_rights_of_the_manifest_are_found_to_be_there_or_not(cluster, installed):
    """A Deployment without replicas stands for the watcher; the ClusterRole is bound to the account of another."""
    deployment = next(found for found in objects() if found["kind"] == "Deployment")
    deployment["metadata"]["namespace"] = installed
    deployment["spec"]["replicas"] = 0
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(deployment))
    code, found, _ = results(cluster, "--namespace", installed)
    assert code == 1
    missing = [one["message"] for one in found["it may do what it has to"]["findings"]]
    assert '{"apiGroups":[""],"resources":["pods/ephemeralcontainers"],"verbs":["patch"]}' in missing
    assert not [rule for rule in missing if "resourceNames" in rule or "leases" in rule], "the Role is there"
    assert found["it may do no more than that"]["status"] == "ok"
    assert found["at least one replica is ready"]["message"] == "0 of 0 are ready"
    assert found["one replica leads"]["message"] == "nobody holds the Lease"
    assert "is empty" in found["it publishes what gateways report"]["message"]


def test_waiting_ends(cluster, installed):
    # Long enough that a slow first look leaves time for another, of which it is then told.
    _, _, err = run(cluster, "check", "--namespace", installed, "--wait", "8")
    assert "waiting until one replica leads\n" in err


async def publish(cluster, installed, kubeconfig, until):
    """Publish with the account's rights, what is in the cluster as the administrator sees it, until it is there."""
    configuration = Configuration(
        name="watcher-1",
        address="10.0.0.2",
        namespace=installed,
        authority=Path("unused"),
        image="gateway:1",
        certificate_life=datetime.timedelta(hours=1),
    )
    async with (
        KubernetesClient.connect(kubeconfig=cluster.kubeconfig) as reader,
        KubernetesClient.connect(kubeconfig=kubeconfig) as writer,
        asyncio.timeout(30),
    ):
        copy = ClusterCopy(
            reader,
            configuration,
            on_pod=lambda _: None,
            on_services=lambda _: None,
            revocations=tuple,
            trust_domain="cluster.local",
        )
        tasks = [asyncio.create_task(copy.run())]
        await copy.pods_known()
        nothing = SimpleNamespace(trusted=frozenset(), status=None)
        tasks.append(asyncio.create_task(Publisher(writer, configuration, cluster=copy, identities=nothing).run()))
        try:
            while not until():
                assert not any(task.done() for task in tasks)
                await asyncio.sleep(0.2)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_summary_is_published_and_read_with_the_rights_of_the_manifest(cluster, installed, tmp_path):
    def text():
        return cluster.get("configmap", "kube-gateway-status", installed).get("data", {}).get("status", "")

    kubeconfig = as_account(cluster, installed, ACCOUNT, tmp_path)
    await publish(cluster, installed, kubeconfig, text)
    published = msgspec.json.decode(text(), type=Summary)
    assert (published.leader, published.image, published.certificate_life) == ("watcher-1", "gateway:1", 3600.0)
    # Whoever applies the manifest again leaves what the watcher has written alone.
    maps = {found["metadata"]["name"]: found for found in objects() if found["kind"] == "ConfigMap"}
    empty = maps["kube-gateway-status"]
    again = yaml.safe_dump(empty).replace("namespace: kube-gateway", f"namespace: {installed}")
    cluster.kubectl("apply", "-f", "-", input=again)
    assert msgspec.json.decode(text(), type=Summary) == published
    _, found, _ = results(cluster, "--namespace", installed)
    assert found["it publishes what gateways report"]["status"] == "ok"


def test_status_of_pods_that_are_not_enrolled(cluster, namespace):
    cluster.apply(POD, namespace)
    cluster.wait("pod/idle", "Ready", namespace=namespace)
    code, out, _ = run(cluster, "status", "-n", namespace)
    assert (code, out) == (0, "no pod is enrolled\n")
    code, out, err = run(cluster, "status", "-n", namespace, "idle")
    assert code == 1
    assert out.splitlines()[1].split()[:5] == [namespace, "idle", "-", "not", "enrolled"]
    assert f"hint: kubectl annotate pod -n {namespace} idle kube-gateway.io/encrypt=true\n" in err


def test_status_of_a_pod_that_there_is_not(cluster, namespace):
    assert run(cluster, "status", "-n", namespace, "nobody") == (
        1,
        "",
        f"error: there is no pod nobody in the namespace {namespace}\nhint: kubectl get pods -n {namespace}\n",
    )


def test_status_of_a_pod_whose_annotation_is_not_understood(cluster, namespace):
    name = "confused"
    cluster.apply(POD.replace("name: idle", f"name: {name}"), namespace)
    cluster.wait(f"pod/{name}", "Ready", namespace=namespace)
    # No watcher puts a gateway into it, whether there is one or not.
    cluster.annotate(name, namespace, **{"kube-gateway.io/encrypt": "maybe"})
    code, out, err = run(cluster, "status", "-n", namespace)
    assert code == 0
    assert out.splitlines()[1].split() == [namespace, name, "-", "problem", "-", "-", "-", "-", "InvalidAnnotation"]
    assert out.splitlines()[-1] == "1 pod: 1 problem"
    assert f"warning: {namespace}/{name}: annotation kube-gateway.io/encrypt has the value 'maybe'\n" in err
    assert json.loads(run(cluster, "status", "-n", namespace, "--output", "json")[1])["pods"][0]["wanted"] is True
