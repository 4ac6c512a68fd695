"""The pod condition `kube-gateway.io/Encrypted`: what is so, for `kubectl wait`, `kubectl describe` and people.

It is also the watcher's memory of what it has told: a watcher that is started again tells nothing twice.
Source: Kubernetes API conventions, 'Typical status properties'.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.decide import problem_of, settings_of
from kube_gateway.control.observed import PodObservation
from kube_gateway.model.settings import Settings
from kube_gateway.watcher.generations import Generation, generations
from kube_gateway.watcher.objects import Condition, PodObject

ENCRYPTED = "kube-gateway.io/Encrypted"
AI = "kube-gateway.io/AI"
SILENT_AFTER = 30.0
"""Seconds without a line to a gateway that runs after which nothing is claimed of it."""

NOT_ENROLLED = "NotEnrolled"
_OFF = "EncryptionOff"
_PROBLEM = "Problem"
_HINT = "; to mend it: "
_LONGEST_LAST_WORDS = 300


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the condition shall say: `status` is `True`, `False` or `Unknown`, `reason` a word in CamelCase."""

    status: str
    reason: str
    message: str


BEING_ADDED = Claim(status="False", reason="GatewayStarting", message="a gateway is being added")


def current(pod: PodObject, kind: str = ENCRYPTED) -> Condition | None:
    """The condition that the pod has."""
    return next((condition for condition in pod.status.conditions or () if condition.type == kind), None)


def reported_problem(pod: PodObject) -> str | None:
    """The message of the problem that was last told, if that is what the condition says."""
    condition = current(pod)
    if condition is None or not condition.reason.startswith(_PROBLEM):
        return None
    return condition.message.partition(_HINT)[0]


def claim(
    pod: PodObject, observation: PodObservation, connected: Mapping[int, ConnectedGateway], *, known_for: float
) -> Claim | None:
    """What to say of a pod, None to leave what is said as it is. `known_for`: seconds for which the pod is known."""
    before = current(pod)
    if observation.ending or not observation.running:
        return None
    problem = problem_of(observation)
    settings = settings_of(observation)
    if problem is not None:
        message = problem.message + (f"{_HINT}{problem.hint}" if problem.hint else "")
        return Claim(
            status=_status_with_problem(observation, before), reason=f"{_PROBLEM}{problem.reason}", message=message
        )
    if settings is None or not settings.wanted:
        if before is None and observation.generation == 0:
            return None
        gone = observation.gateway is None or observation.gateway.state == "exited"
        reason, message = (NOT_ENROLLED, "") if gone else ("Leaving", "old connections have time to finish")
        return Claim(status="False", reason=reason, message=message)
    return _of_gateway(pod, connected, settings=settings, known_for=known_for)


def _status_with_problem(observation: PodObservation, before: Condition | None) -> str:
    """While annotations are not understood, the last ones that were stay in force."""
    gateway = observation.gateway
    if gateway is None or gateway.state == "exited":
        return "False"
    if gateway.applied is not None:
        return "True" if gateway.state == "ready" and gateway.applied.encrypting else "False"
    # The watcher has started since, and what the gateway was last told is known to the gateway alone.
    return before.status if before is not None else "Unknown"


def _of_gateway(
    pod: PodObject, connected: Mapping[int, ConnectedGateway], *, settings: Settings, known_for: float
) -> Claim | None:
    history = generations(pod)
    alive = {generation.number for generation in history if generation.terminated is None}
    ready = {number for number, line in connected.items() if line.is_connected and line.state == "ready"}
    if alive & ready:
        serving = max(alive & ready)
        # What it was told last may be on its way still.
        return _serving(settings, serving) if connected[serving].has_in_force(settings) else None
    newest = history[-1] if history else None
    if newest is not None and newest.state.running is not None:
        silence = connected[newest.number].silence if newest.number in connected else known_for
        if silence >= SILENT_AFTER:
            text = "the gateway runs, but has no line to the watcher; it goes on with what it last knew"
            return Claim(status="Unknown", reason="GatewayNotConnected", message=text)
        before = current(pod)
        if before is not None and (before.status == "True" or before.reason == _OFF):
            return None
    return _not_yet(newest)


def _serving(settings: Settings, generation: int) -> Claim:
    if settings.encryption == "none":
        text = "the gateway is there for LLM calls alone, and encrypts nothing"
        return Claim(status="False", reason=_OFF, message=text)
    if not settings.encrypting:
        return Claim(status="False", reason=_OFF, message="the gateway runs with encryption off")
    others = "no others" if settings.encryption == "strict" else "others in clear"
    text = f"new connections with enrolled peers are encrypted, {others} (gateway {generation})"
    return Claim(status="True", reason="Encrypting", message=text)


def _not_yet(newest: Generation | None) -> Claim:
    if newest is None:
        return BEING_ADDED
    ended, waiting = newest.terminated, newest.state.waiting
    if ended is not None:
        last = _last_words(ended.message)
        said = f": {last}" if last else ""
        text = f"gateway {newest.number} ended with exit code {ended.exit_code}{said}; another is started"
        return Claim(status="False", reason="GatewayDied", message=text)
    if waiting is not None and waiting.reason and waiting.reason != "ContainerCreating":
        return Claim(status="False", reason=waiting.reason, message=waiting.message)
    return Claim(status="False", reason="GatewayStarting", message=f"gateway {newest.number} is starting")


def _last_words(log: str) -> str:
    """What a gateway said last: the error and its hint if it told one, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    told = [next((line for line in reversed(lines) if line.startswith(start)), "") for start in ("error:", "hint:")]
    said = " ".join(filter(None, told)) or (lines[-1] if lines else "")
    return said if len(said) <= _LONGEST_LAST_WORDS else f"{said[: _LONGEST_LAST_WORDS - 4]} ..."
