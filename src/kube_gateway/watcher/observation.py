"""From what the API and the gateways' lines tell to what is decided on. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.decide import retry_after
from kube_gateway.control.observed import GatewayObservation, GatewayState, Obstacle, PodObservation
from kube_gateway.watcher.condition import reported_problem
from kube_gateway.watcher.generations import MOST_GENERATIONS, Generation, failures, generations
from kube_gateway.watcher.objects import PodObject, pod_of, seconds

LOST_AFTER = 30.0
"""Seconds without a line after which a gateway that has a successor counts for nothing."""

LOST_FOR_GOOD_AFTER = 120.0
"""Seconds without a line, while the watcher leads, after which a gateway older than a certificate is replaced."""

_HOST_NETWORK = Obstacle(
    reason="HostNetwork",
    message="the pod uses the network of its node, so its connections cannot be told from those of others",
    hint="remove hostNetwork from the pod, or the annotations",
)
_STATIC = Obstacle(
    reason="StaticPod",
    message="the pod is a static one, and Kubernetes adds no container to such pods",
    hint="have it made through the API, or remove the annotations",
)
_EXHAUSTED = Obstacle(
    reason="TooManyGateways",
    message=f"the pod has had {MOST_GENERATIONS} gateways, and no container can be removed from it to make room for more",
    hint="find out why they end (kubectl logs), then delete the pod, so that it is made anew",
)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What counts for a pod beside itself.

    `inherited` are annotations; `image` is what gateways shall run, empty if unknown; `started` is the number of the last
    gateway that was added but is perhaps not seen yet, 0 for none; `now` is in seconds since the epoch. `images`, `ended`
    and `told` are what the watcher remembers (see `PodMemory`), `known_for` for how many seconds it does;
    `certificate_life` is in seconds.
    """

    inherited: Mapping[str, str]
    image: str
    started: int
    refusal: Obstacle | None
    longest_retry: float
    now: float
    images: Mapping[int, str] = {}
    ended: Mapping[int, float] = {}
    told: str | None = None
    known_for: float = 0.0
    certificate_life: float = math.inf
    strict: bool = False


def observe(pod: PodObject, connected: Mapping[int, ConnectedGateway], surroundings: Surroundings) -> PodObservation:
    """What is to be decided on. `connected` are the lines of the pod's gateways by generation."""
    history = generations(pod)
    failed, last_failure = failures(history, connected=connected, ended=surroundings.ended)
    # The clock of a node may be ahead.
    last_failure = min(last_failure, surroundings.now)
    newest = max(surroundings.started, history[-1].number if history else 0)
    serving = _serving(history, connected)
    gateway = None
    if newest and (not history or newest > history[-1].number):
        gateway = GatewayObservation(state="starting")
    elif serving is not None:
        gateway = _gateway(serving, connected.get(serving.number), surroundings, newest=history[-1])
    left = history[-1].terminated if history else None
    pause = retry_after(failed, longest=surroundings.longest_retry)
    return PodObservation(
        pod=pod_of(pod, inherited=surroundings.inherited, strict=surroundings.strict),
        running=pod.status.phase == "Running",
        ending=pod.is_ending,
        gateway=gateway,
        generation=newest,
        failures=failed,
        last_failure=last_failure,
        hooks_left=left is not None and left.exit_code != 0 and surroundings.now - last_failure >= pause,
        problem=reported_problem(pod) if surroundings.told is None else surroundings.told or None,
        obstacle=_obstacle(pod, gateway, newest, refusal=surroundings.refusal),
    )


def _obstacle(
    pod: PodObject, gateway: GatewayObservation | None, newest: int, *, refusal: Obstacle | None
) -> Obstacle | None:
    if pod.spec.host_network:
        return _HOST_NETWORK
    if pod.is_static:
        return _STATIC
    if newest >= MOST_GENERATIONS and gateway is not None and (gateway.state == "exited" or gateway.outdated):
        return _EXHAUSTED
    return refusal


def _serving(history: tuple[Generation, ...], connected: Mapping[int, ConnectedGateway]) -> Generation | None:
    """The newest gateway, or an older one that serves, as long as the newest has not said that it does."""
    if not history:
        return None
    newest = history[-1]
    line = connected.get(newest.number)
    if newest.terminated is None and line is not None and line.state != "starting":
        return newest
    for older in reversed(history[:-1]):
        line = connected.get(older.number)
        if older.terminated is None and line is not None and line.state == "ready" and line.silence < LOST_AFTER:
            return older
    return newest


def _gateway(
    generation: Generation, line: ConnectedGateway | None, surroundings: Surroundings, *, newest: Generation
) -> GatewayObservation:
    ended = generation.terminated
    state: GatewayState = "exited" if ended else line.state if line is not None else "starting"
    # One whose image cannot be had does not get going by waiting.
    replaceable = state == "ready" or generation.state.waiting is not None
    outdated = replaceable and _is_of_another_image(generation, surroundings)
    if newest is not generation and newest.terminated is None:
        # Its successor is under way, if that can be had.
        waits_in_vain = newest.state.waiting is not None and _is_of_another_image(newest, surroundings)
        outdated = outdated and waits_in_vain
    return GatewayObservation(
        state=state,
        exit_code=ended.exit_code if ended else None,
        told_to_leave=line is not None and line.told_to_leave,
        applied=line.applied if line is not None else None,
        clear_connections=line.report.clear_connections if line is not None and line.report else (),
        outdated=outdated or _is_lost(generation, line, surroundings),
        policy=line.policy if line is not None else None,
        ai=line.report.ai if line is not None and line.report else None,
        authorization=line.authorization if line is not None else None,
    )


def _is_of_another_image(generation: Generation, surroundings: Surroundings) -> bool:
    # An admission plugin may put another registry into the image; then the same is not asked for again and again.
    asked = surroundings.images.get(generation.number, generation.image)
    return bool(surroundings.image) and surroundings.image not in (generation.image, asked)


def _is_lost(generation: Generation, line: ConnectedGateway | None, surroundings: Surroundings) -> bool:
    """Whether it cannot come back by itself: it has had time to connect, and none of its certificates need be valid."""
    running = generation.state.running
    if running is None or not running.started_at:
        return False
    silence = line.silence if line is not None else surroundings.known_for
    age = surroundings.now - seconds(running.started_at)
    return silence >= LOST_FOR_GOOD_AFTER and age >= surroundings.certificate_life
