"""Why the API server would not take a gateway, in words that name the rule and the fix.

Formats: Kubernetes 1.34, as its API server answers. A webhook chooses the status of its refusal, 400 if it says nothing;
a policy's is 422 unless it says otherwise.
"""

from __future__ import annotations

import re

from kube_gateway.control.observed import Obstacle
from kube_gateway.kube.refusals import Conflict, Forbidden, Invalid, KubernetesError
from kube_gateway.watcher.configuration import Configuration

_POD_SECURITY = re.compile(r'violates PodSecurity "(?P<level>\w+):(?P<version>[^"]+)": (?P<why>.*)', re.DOTALL)
_WEBHOOK = re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request')
_POLICY = re.compile(r"ValidatingAdmissionPolicy '(?P<name>[^']+)'.* denied request")
_IS_THERE = re.compile(r'existing ephemeral containers "[^"]*" may not be changed')
_REPLACED = re.compile(r"metadata\.uid: Invalid value: .*field is immutable")
_CLIENT_ERRORS = range(400, 500)


def is_replaced(error: KubernetesError) -> bool:
    """Whether another pod has the name by now: a patch that names a uid is refused then."""
    return isinstance(error, Conflict) or (isinstance(error, Invalid) and bool(_REPLACED.search(error.message)))


def is_there_already(error: KubernetesError) -> bool:
    """Whether the pod has the container already, with other contents: of an answer that was lost, or another watcher."""
    return isinstance(error, Invalid) and not is_replaced(error) and bool(_IS_THERE.search(error.message))


def obstacle_from(error: KubernetesError, *, namespace: str, configuration: Configuration) -> Obstacle | None:
    """What keeps a gateway out, None if the error is of another kind and trying again may help."""
    if error.status not in _CLIENT_ERRORS:
        return None
    if match := _POD_SECURITY.search(error.message):
        user = f"system:serviceaccount:{configuration.namespace}:{configuration.service_account}"
        return Obstacle(
            reason="PodSecurity",
            message=f'the namespace {namespace} enforces Pod Security level "{match["level"]}", which admits no gateway',
            hint=f"kubectl label namespace {namespace} --overwrite pod-security.kubernetes.io/enforce=privileged, "
            f"or exempt the user {user} in the configuration of Pod Security admission",
        )
    for pattern in (_WEBHOOK, _POLICY):
        if match := pattern.search(error.message):
            return Obstacle(
                reason="AdmissionDenied",
                message=f"the admission rule {match['name']} does not admit the gateway: {error.message}",
                hint=f"let that rule admit ephemeral containers of {configuration.image or 'the image of kube-gateway'}",
            )
    if isinstance(error, Forbidden):
        return Obstacle(reason="Forbidden", message=error.message, hint=error.hint or "")
    if isinstance(error, Invalid) and not is_replaced(error) and not is_there_already(error):
        return Obstacle(
            reason="Refused", message=error.message, hint="if that is a Secret of somebody else's, give it another name"
        )
    return None
