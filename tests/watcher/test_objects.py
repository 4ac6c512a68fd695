"""What is read of pods and namespaces, as the API really writes them."""

from __future__ import annotations

import json

import msgspec
import pytest

from kube_gateway.kube.client import _Page
from kube_gateway.watcher.generations import generations
from kube_gateway.watcher.objects import NamespaceObject, PodObject, our_annotations, pod_of, seconds
from watcher.made import pod_body, seen

POD = """
{"kind": "Pod", "apiVersion": "v1",
 "metadata": {"name": "web-7d", "namespace": "shop", "uid": "08f4c2fa", "resourceVersion": "1643", "generation": 2,
  "creationTimestamp": "2026-11-25T17:49:17Z", "deletionTimestamp": null,
  "annotations": {"kube-gateway.io/encrypt": "true", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
  "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "9", "controller": true}],
  "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]},
 "spec": {"nodeName": "node1", "serviceAccountName": "shop-web", "hostNetwork": false,
  "containers": [{"name": "c", "image": "x", "resources": {}, "securityContext": {"privileged": true}}],
  "ephemeralContainers": [{"name": "kube-gateway", "image": "g:1", "securityContext": {"capabilities": {"add": ["BPF"]}}}]},
 "status": {"phase": "Running", "podIP": "fd00::2", "podIPs": [{"ip": "fd00::2"}, {"ip": "10.0.0.2"}],
  "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": null,
   "observedGeneration": 1}],
  "ephemeralContainerStatuses": [{"name": "kube-gateway", "state": {"terminated": {"exitCode": 137, "reason": "Error",
   "startedAt": null, "finishedAt": null, "containerID": "containerd://1"}}}]}}
"""

LISTS = ["containers", "ephemeralContainers", "podIPs", "conditions", "ephemeralContainerStatuses"]


def test_a_pod_as_the_api_writes_it():
    pod = msgspec.json.decode(POD, type=PodObject)
    assert pod.addresses == ("10.0.0.2", "fd00::2")
    assert pod.spec.node_name == "node1"
    assert not pod.spec.host_network
    assert not pod.is_ending
    (generation,) = generations(pod)
    assert generation.terminated.exit_code == 137
    assert not generation.privileged
    assert generation.ran_for == 0.0


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("change", ["null", "missing"])
def test_lists_without_elements_are_null_or_missing(name, change):
    body = json.loads(POD)
    part = body["spec"] if name in body["spec"] else body["status"]
    if change == "null":
        part[name] = None
    else:
        del part[name]
    pod = msgspec.json.decode(json.dumps(body), type=PodObject)
    assert len(generations(pod)) == (0 if name == "ephemeralContainers" else 1)
    assert pod.addresses == (() if name == "podIPs" else ("10.0.0.2", "fd00::2"))


def test_a_container_that_runs_since_an_unknown_time():
    body = json.loads(POD)
    body["status"]["ephemeralContainerStatuses"][0]["state"] = {"running": {"startedAt": None}}
    (generation,) = generations(msgspec.json.decode(json.dumps(body), type=PodObject))
    assert generation.state.running is not None


@pytest.mark.parametrize("body", ['{"metadata":{"resourceVersion":"12","creationTimestamp":null}}', "{}"])
def test_bookmarks(body):
    assert msgspec.json.decode(body, type=PodObject).addresses == ()
    assert msgspec.json.decode(body, type=NamespaceObject).metadata.name == ""


def test_an_empty_list():
    page = msgspec.json.decode('{"metadata":{"resourceVersion":"1"},"items":null}', type=_Page[PodObject])
    assert page.items is None


def test_a_pod_that_is_being_deleted():
    body = pod_body()
    body["metadata"]["deletionTimestamp"] = "2026-11-25T17:49:17Z"
    assert seen(body).is_ending


def test_a_mirror_of_a_static_pod():
    body = pod_body()
    assert not seen(body).is_static
    body["metadata"]["annotations"] |= {"kubernetes.io/config.mirror": "abc"}
    assert seen(body).is_static


def test_only_our_annotations_count():
    assert our_annotations(None) == {}
    assert our_annotations({"a": "1", "kube-gateway.io/encrypt": "true", "x.kube-gateway.io/b": "2"}) == {
        "kube-gateway.io/encrypt": "true"
    }


def test_the_pods_own_annotation_counts_before_its_namespaces():
    inherited = {"kube-gateway.io/encrypt": "true", "kube-gateway.io/netflush": "true"}
    pod = pod_of(seen(pod_body(encrypt="strict")), inherited=inherited)
    assert pod.annotations == {"kube-gateway.io/encrypt": "strict", "kube-gateway.io/netflush": "true"}
    assert pod.key == "shop/web"


def test_a_pod_without_a_service_account_has_the_default_one():
    body = pod_body()
    del body["spec"]["serviceAccountName"]
    assert pod_of(seen(body), inherited={}).service_account == "default"


PROBED = [
    {
        "name": "app",
        "image": "app:1",
        "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}, {"containerPort": 9}],
        "livenessProbe": {"httpGet": {"path": "/", "port": 8081, "scheme": "HTTP"}, "periodSeconds": 10},
        "readinessProbe": {"httpGet": {"port": "web"}, "timeoutSeconds": 1},
        "startupProbe": {"tcpSocket": {"port": 8082}},
        "lifecycle": {"postStart": {"httpGet": {"port": 8083}}, "preStop": {"tcpSocket": {"port": "web"}}},
    },
    {
        "name": "beside",
        "image": "b:1",
        "ports": None,
        "livenessProbe": {"grpc": {"port": 8084, "service": None}},
        "readinessProbe": {"exec": {"command": ["true"]}},
        "startupProbe": {"httpGet": {"port": 8085, "host": "elsewhere.example"}},
        "lifecycle": None,
    },
    # The name is one of another container.
    {
        "name": "c",
        "image": "c:1",
        "readinessProbe": {"httpGet": {"port": "web"}},
        "lifecycle": {"preStop": {"exec": {}}},
    },
]


def test_what_a_kubelet_connects_to():
    body = pod_body()
    body["spec"]["containers"] = PROBED
    body["spec"]["initContainers"] = [
        {"name": "proxy", "restartPolicy": "Always", "startupProbe": {"httpGet": {"port": 15021}}}
    ]
    assert pod_of(seen(body), inherited={}).probe_ports == (8080, 8081, 8082, 8083, 8084, 15021)
    assert pod_of(seen(pod_body()), inherited={}).probe_ports == ()


@pytest.mark.parametrize(
    ("status", "sources"),
    [
        ({}, ()),
        ({"hostIP": "192.0.2.1"}, ("192.0.2.1",)),
        ({"hostIP": "192.0.2.1", "hostIPs": None}, ("192.0.2.1",)),
        (
            {"hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}]},
            ("192.0.2.1", "2001:db8::1"),
        ),
    ],
)
def test_where_a_kubelet_connects_from(status, sources):
    body = pod_body()
    body["status"] |= status
    assert pod_of(seen(body), inherited={}).probe_sources == sources


def test_times():
    assert seconds(None) == seconds("") == 0.0
    assert seconds("1970-01-01T00:01:00Z") == 60.0
    assert seconds("1970-01-01T02:01:00+02:00") == 60.0
