"""From what the API and the gateways' lines tell to what is decided on. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.decide import retry_after
from kube_gateway.control.observed import GatewayObservation, GatewayState, Obstacle, PodObservation
from kube_gateway.watcher.condition import reported_problem
from kube_gateway.watcher.generations import Generation, failures, generations
from kube_gateway.watcher.objects import PodObject, pod_of

LOST_AFTER = 30.0
"""Seconds without a line after which a gateway that has a successor counts for nothing."""

_HOST_NETWORK = Obstacle(
    reason="HostNetwork",
    message="the pod uses the network of its node, so its connections cannot be told from those of others",
    hint="remove hostNetwork from the pod, or the annotations",
)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What counts for a pod beside itself.

    `inherited` are annotations; `image` is what gateways shall run, empty if unknown; `started` is the number of the last
    gateway that was added but is perhaps not seen yet, 0 for none; `now` is in seconds since the epoch.
    """

    inherited: Mapping[str, str]
    image: str
    started: int
    refusal: Obstacle | None
    longest_retry: float
    now: float


def observe(pod: PodObject, connected: Mapping[int, ConnectedGateway], surroundings: Surroundings) -> PodObservation:
    """What is to be decided on. `connected` are the lines of the pod's gateways by generation."""
    history = generations(pod)
    failed, last_failure = failures(history)
    # The clock of a node may be ahead.
    last_failure = min(last_failure, surroundings.now)
    newest = max(surroundings.started, history[-1].number if history else 0)
    serving = _serving(history, connected)
    gateway = None
    if newest and (not history or newest > history[-1].number):
        gateway = GatewayObservation(state="starting")
    elif serving is not None:
        gateway = _gateway(serving, connected.get(serving.number), surroundings)
    left = history[-1].terminated if history else None
    pause = retry_after(failed, longest=surroundings.longest_retry)
    return PodObservation(
        pod=pod_of(pod, inherited=surroundings.inherited),
        running=pod.status.phase == "Running",
        ending=pod.is_ending,
        gateway=gateway,
        generation=newest,
        failures=failed,
        last_failure=last_failure,
        hooks_left=left is not None and left.exit_code != 0 and surroundings.now - last_failure >= pause,
        problem=reported_problem(pod),
        obstacle=_HOST_NETWORK if pod.spec.host_network else surroundings.refusal,
    )


def _serving(history: tuple[Generation, ...], connected: Mapping[int, ConnectedGateway]) -> Generation | None:
    """The newest gateway, or, while that has failed, an older one that still serves."""
    if not history:
        return None
    newest = history[-1]
    if newest.terminated is None:
        return newest
    for older in reversed(history[:-1]):
        line = connected.get(older.number)
        if older.terminated is None and line is not None and line.state != "draining" and line.silence < LOST_AFTER:
            return older
    return newest


def _gateway(generation: Generation, line: ConnectedGateway | None, surroundings: Surroundings) -> GatewayObservation:
    ended = generation.terminated
    state: GatewayState = "exited" if ended else line.state if line is not None else "starting"
    other_image = bool(surroundings.image) and generation.image != surroundings.image
    # One whose image cannot be had does not get going by waiting.
    replaceable = state == "ready" or generation.state.waiting is not None
    return GatewayObservation(
        state=state,
        exit_code=ended.exit_code if ended else None,
        told_to_leave=line is not None and line.told_to_leave,
        applied=line.applied if line is not None else None,
        clear_connections=line.report.clear_connections if line is not None and line.report else (),
        outdated=other_image and replaceable,
    )
