"""Why the API server would not take a gateway, in words that name the rule and the fix."""

from __future__ import annotations

import re

from kube_gateway.control.observed import Obstacle
from kube_gateway.kube.client import Forbidden, Invalid, KubernetesError
from kube_gateway.watcher.configuration import Configuration

_POD_SECURITY = re.compile(r'violates PodSecurity "(?P<level>\w+):(?P<version>[^"]+)": (?P<why>.*)', re.DOTALL)
_WEBHOOK = re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request')
_POLICY = re.compile(r"ValidatingAdmissionPolicy '(?P<name>[^']+)'")


def obstacle_from(error: KubernetesError, *, namespace: str, configuration: Configuration) -> Obstacle | None:
    """What keeps a gateway out, None if the error is of another kind and trying again may help."""
    if not isinstance(error, Forbidden | Invalid):
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
    return None
