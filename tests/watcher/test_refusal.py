"""Refusals of the API server, as it words them, and what is told of them. The messages are those of Kubernetes 1.34."""

from __future__ import annotations

import json

import httpx2
import pytest

from kube_gateway.kube.refusals import refusal as read_refusal
from kube_gateway.watcher.refusal import is_replaced, is_there_already, obstacle_from
from watcher.made import configuration

PATCH = "patch /api/v1/namespaces/shop/pods/web/ephemeralcontainers"


def refusal(code, reason, message):
    body = {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code}
    return read_refusal(json.dumps(body).encode(), what=PATCH, response=httpx2.Response(code))


def obstacle(code, reason, message, **options):
    return obstacle_from(refusal(code, reason, message), namespace="shop", configuration=configuration(**options))


BASELINE = (
    'pods "web" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities (container "kube-gateway" '
    'must not include "BPF", "DAC_READ_SEARCH", "NET_ADMIN" in securityContext.capabilities.add)'
)
RESTRICTED = (
    'pods "web" is forbidden: violates PodSecurity "restricted:v1.30": allowPrivilegeEscalation != false (containers "c", '
    '"kube-gateway" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" '
    'must set securityContext.capabilities.drop=["ALL"])'
)
POLICY = (
    "pods \"web\" is forbidden: ValidatingAdmissionPolicy 'no-debug.example.com' with binding 'binding.example.com' "
    "denied request: no ephemeral containers here"
)
RBAC = (
    'pods "web" is forbidden: User "system:serviceaccount:kube-gateway:kube-gateway-watcher" cannot patch resource '
    '"pods/ephemeralcontainers" in API group "" in the namespace "shop"'
)
CHANGED = (
    'Pod "web" is invalid: spec.ephemeralContainers: Forbidden: existing ephemeral containers "kube-gateway" may not be '
    'changed\n@@ -1,6 +1,6 @@\n {\n  "Name": "kube-gateway",\n- "Image": "x",\n+ "Image": "y",\n'
)
UID = 'Pod "web" is invalid: metadata.uid: Invalid value: "0000": field is immutable'


@pytest.mark.parametrize(("message", "level"), [(BASELINE, "baseline"), (RESTRICTED, "restricted")])
def test_pod_security(message, level):
    found = obstacle(403, "Forbidden", message, namespace="kgw", service_account="w")
    assert found.reason == "PodSecurity"
    assert found.message == f'the namespace shop enforces Pod Security level "{level}", which admits no gateway'
    assert found.hint == (
        "kubectl label namespace shop --overwrite pod-security.kubernetes.io/enforce=privileged, "
        "or exempt the user system:serviceaccount:kgw:w in the configuration of Pod Security admission"
    )


@pytest.mark.parametrize("code", [400, 403, 422, 413])
def test_a_webhook_whatever_status_it_chose(code):
    """A webhook that names no status refuses with 400; Gatekeeper says 403, Kyverno nothing."""
    found = obstacle(code, "", 'admission webhook "validate.kyverno.svc-fail" denied the request: \n\nno debugging')
    assert found.reason == "AdmissionDenied"
    assert found.message.startswith("the admission rule validate.kyverno.svc-fail does not admit the gateway: ")
    assert "no debugging" in found.message
    assert found.hint == "let that rule admit ephemeral containers of registry/kube-gateway:1"


@pytest.mark.parametrize(("code", "reason"), [(422, "Invalid"), (403, "Forbidden"), (401, "Unauthorized")])
def test_a_policy_whatever_reason_it_gives(code, reason):
    found = obstacle(code, reason, POLICY, image="")
    assert found.reason == "AdmissionDenied"
    assert "no-debug.example.com" in found.message
    assert found.hint == "let that rule admit ephemeral containers of the image of kube-gateway"


def test_missing_rights():
    found = obstacle(403, "Forbidden", RBAC)
    assert found.reason == "Forbidden"
    assert "cannot patch resource" in found.message
    assert '{"apiGroups":[""],"resources":["pods/ephemeralcontainers"],"verbs":["patch"]}' in found.hint


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        (422, "Invalid", CHANGED),
        (422, "Invalid", UID),
        (409, "Conflict", "the object has been modified"),
        (500, "InternalError", 'Internal error occurred: failed calling webhook "x": connection refused'),
        (429, "TooManyRequests", "the server has received too many requests"),
        (503, "ServiceUnavailable", "etcd has no leader"),
        (404, "NotFound", 'pods "web" not found'),
    ],
)
def test_what_may_go_well_the_next_time_is_no_obstacle(code, reason, message):
    assert obstacle(code, reason, message) is None


def test_a_secret_of_another_kind_that_has_the_name_is_an_obstacle():
    message = 'Secret "kube-gateway-web" is invalid: type: Invalid value: "Opaque": field is immutable'
    found = obstacle(422, "Invalid", message)
    assert (found.reason, message in found.message) == ("Refused", True)
    assert "give it another name" in found.hint


def test_another_pod_has_the_name():
    assert is_replaced(refusal(422, "Invalid", UID))
    assert is_replaced(refusal(409, "Conflict", "Precondition failed: UID in precondition: 1, UID in object meta: 2"))
    assert not is_replaced(refusal(422, "Invalid", CHANGED))
    assert not is_replaced(refusal(403, "Forbidden", UID))


def test_the_container_is_there_already():
    assert is_there_already(refusal(422, "Invalid", CHANGED))
    assert not is_there_already(refusal(422, "Invalid", UID))
    both = f'Pod "web" is invalid: [{UID.partition("invalid: ")[2]}, {CHANGED.partition("invalid: ")[2]}]'
    assert not is_there_already(refusal(422, "Invalid", both))
    assert is_replaced(refusal(422, "Invalid", both))
