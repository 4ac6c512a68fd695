"""What is said of a pod's LLM calls, in its condition `kube-gateway.io/AI`: whether they pass a policy, and which. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.decide import POLICY_REFUSED, problem_of, settings_of
from kube_gateway.control.observed import PodObservation
from kube_gateway.control.policies import INVALID_POLICY
from kube_gateway.model.ai_report import AiReport, policy_name
from kube_gateway.watcher.condition import AI, Claim, current
from kube_gateway.watcher.generations import generations
from kube_gateway.watcher.objects import Condition, PodObject

_IN_FORCE, _NO_POLICY, _OFF = "PolicyInForce", "NoPolicy", "Off"
_SERVES = {"Encrypting", "EncryptionOff"}


def claim(
    pod: PodObject,
    observation: PodObservation,
    connected: Mapping[int, ConnectedGateway],
    *,
    encrypted: Claim | None,
) -> Claim | None:
    """What to say, None to leave what is said as it is. `encrypted` is what the other condition says of the gateway."""
    before = current(pod, AI)
    if observation.ending or not observation.running:
        return None
    settings = settings_of(observation)
    if settings is None:
        return None
    if not settings.wanted or not settings.ai:
        return _off(before)
    said = _reported(pod, connected)
    problem = problem_of(observation)
    if said is None or not said.policy:
        if encrypted is None:
            return None
        waiting = encrypted.reason in _SERVES
        text = "the gateway has not said yet which policy applies" if waiting else encrypted.message
        reason = "GatewayStarting" if waiting else encrypted.reason
        return Claim(status="Unknown" if encrypted.status == "Unknown" else "False", reason=reason, message=text)
    if problem is not None and problem.reason in {INVALID_POLICY, POLICY_REFUSED}:
        has_one = said.policy != policy_name("")
        stays = f"in force is policy {said.policy} ({said.source})" if has_one else "none is in force, and calls pass"
        return Claim(status=str(has_one), reason=problem.reason, message=f"{problem.message}; {stays}")
    if said.policy == policy_name(""):
        return Claim(
            status="True", reason=_NO_POLICY, message=f"{said.source}: LLM calls are counted, and pass{_to(said)}"
        )
    text = f"policy {said.policy} ({said.source}) applies to LLM calls{_to(said)}"
    return Claim(status="True", reason=_IN_FORCE, message=text)


def news(claim: Claim, said: Claim | None) -> str | None:
    """What to tell in an event, if anything: another policy, or another model; that one was taken away."""
    if said is not None and said.message == claim.message:
        return None
    if claim.reason == _IN_FORCE or (claim.reason == _NO_POLICY and said is not None and said.status == "True"):
        return claim.message
    return None


def _off(before: Condition | None) -> Claim | None:
    return None if before is None else Claim(status="False", reason=_OFF, message="LLM calls are left alone")


def _reported(pod: PodObject, connected: Mapping[int, ConnectedGateway]) -> AiReport | None:
    """What the newest gateway that serves says."""
    alive = {generation.number for generation in generations(pod) if generation.terminated is None}
    for number in sorted(alive & connected.keys(), reverse=True):
        line = connected[number]
        if line.is_connected and line.state == "ready" and line.report is not None:
            return line.report.ai
    return None


def _to(said: AiReport) -> str:
    return f"; all go to the model {said.model}" if said.model else ""
