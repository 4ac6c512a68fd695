"""The watcher's brain: from what is observed to what shall be done, without doing it.

Level-triggered: only what is matters, not what happened, so a missed or repeated event changes nothing. The cluster and
the local mode run the same function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kube_gateway.control.actions import (
    Action,
    Authorize,
    ClearProblem,
    Configure,
    Leave,
    RemoveHooks,
    ReportProblem,
    SetPolicy,
    StartGateway,
)
from kube_gateway.control.flushing import Peer, Peers, flush
from kube_gateway.control.observed import GatewayObservation, Observed, Obstacle, PodObservation, PolicyText
from kube_gateway.control.pace import Allowance
from kube_gateway.errors import InvalidAnnotation
from kube_gateway.model.settings import Settings, settings_from_annotations

LEAVE_GRACE = 3600.0
"""Seconds that connections have to finish when a pod leaves."""

FLUSH_GRACE = 5.0
"""The same with `netflush=true`: those that do not end by themselves are ended, and come back in clear."""

FIRST_RETRY = 0.2
INVALID_ANNOTATION = "InvalidAnnotation"
POLICY_REFUSED = "PolicyRefused"


def decide(observed: Observed) -> tuple[Action, ...]:
    """Return what shall be done now, in order."""
    peers = peers_of(observed)
    allowance = Allowance(observed.ended, now=observed.now)
    return tuple(
        action for pod in observed.pods for action in _decide_pod(pod, observed, peers=peers, allowance=allowance)
    )


def peers_of(observed: Observed) -> Peers:
    """Those that encrypt, or shall."""
    pods = {
        address: peer
        for pod in (*observed.pods, *observed.peers)
        if (peer := _as_peer(pod)) is not None
        for address in pod.pod.addresses
    }
    return Peers(pods, observed.services)


def _as_peer(pod: PodObservation) -> Peer | None:
    gateway = pod.gateway
    applied = gateway.applied if gateway is not None and gateway.state == "ready" else None
    if applied is not None and applied.encrypting:
        return Peer(settings=applied, ready=True)
    wanted = settings_of(pod) if pod.running and not pod.ending else None
    return Peer(settings=wanted, ready=False) if wanted is not None and wanted.encrypting else None


def retry_after(failures: int, *, longest: float) -> float:
    """Seconds to wait after so many failures in a row, at most `longest`."""
    return 0.0 if failures == 0 else float(min(FIRST_RETRY * 2 ** min(failures - 1, 16), longest))


def is_enrolled(pods: Iterable[PodObservation], address: str) -> bool:
    """Whether peers must expect the workload at `address` to encrypt: it shall, whether or not it is up just now."""
    for observation in pods:
        if address in observation.pod.addresses:
            settings = settings_of(observation)
            # One that ends with its whole pod drains too, and has not left: its application may speak for a while yet.
            leaving = observation.gateway is not None and observation.gateway.told_to_leave and not observation.ending
            # Not known what it shall do: better unreachable for a while than spoken to in clear.
            return observation.running and not leaving and (settings is None or settings.encrypting)
    return False


def _decide_pod(pod: PodObservation, observed: Observed, *, peers: Peers, allowance: Allowance) -> Iterator[Action]:
    if pod.ending:
        return
    yield from _problems(pod)
    settings = settings_of(pod)
    if settings is None:
        if pod.running:
            return
        settings = Settings()
    wanted = pod.running and settings.wanted
    gateway = pod.gateway
    if gateway is None or gateway.state == "exited":
        if wanted and _may_start(pod, observed):
            yield _start(pod)
        elif not wanted and pod.running and pod.hooks_left and pod.obstacle is None:
            yield RemoveHooks(pod=pod.pod.key)
        return
    if not wanted:
        if not gateway.told_to_leave and gateway.state != "draining":
            yield Leave(pod=pod.pod.key, grace=FLUSH_GRACE if settings.flush == "all" else LEAVE_GRACE)
        return
    if gateway.told_to_leave or gateway.state == "draining":
        # Wanted again: the next generation starts when this one is gone.
        return
    yield from _tell(pod, gateway, settings)
    yield from flush(pod, settings, peers=peers, allowance=allowance)
    if gateway.outdated and _may_start(pod, observed):
        yield _start(pod)


def _tell(pod: PodObservation, gateway: GatewayObservation, settings: Settings) -> Iterator[Action]:
    if gateway.applied != settings:
        yield Configure(pod=pod.pod.key, settings=settings, authorize=pod.authorization != "")
    if pod.authorization is not None and gateway.authorization != pod.authorization:
        yield Authorize(pod=pod.pod.key, text=pod.authorization)
    if settings.ai and (policy := _policy(pod, gateway)) is not None and policy != gateway.policy:
        yield SetPolicy(pod=pod.pod.key, policy=policy)


def _problems(pod: PodObservation) -> Iterator[Action]:
    problem = problem_of(pod)
    if problem is None:
        if pod.problem is not None:
            yield ClearProblem(pod=pod.pod.key)
    elif pod.problem != problem.message:
        yield ReportProblem(pod=pod.pod.key, reason=problem.reason, message=problem.message, hint=problem.hint)


def problem_of(pod: PodObservation) -> Obstacle | None:
    """What is wrong with what was asked for, or keeps it from being done."""
    try:
        settings = settings_from_annotations(pod.pod.annotations)
    except InvalidAnnotation as problem:
        return Obstacle(reason=INVALID_ANNOTATION, message=problem.message, hint=problem.hint or "")
    obstacle = pod.obstacle if pod.running and (settings.wanted or pod.hooks_left) else None
    return obstacle or (_policy_problem(pod) if pod.running and settings.wanted and settings.ai else None)


def _policy_problem(pod: PodObservation) -> Obstacle | None:
    if pod.policy.problem is not None:
        return pod.policy.problem
    said = pod.gateway.ai if pod.gateway is not None else None
    wanted = pod.policy.policy
    if said is None or wanted is None or not said.refused or said.refused != wanted.name:
        return None
    # The watcher has read it, but not compiled it, which may take long; or the two are of different versions.
    message = f"the gateway does not take the policy in {wanted.source}: {said.problem}"
    hint = "kube-gateway ai policy lint FILE says more; the last policy that was right stays in force"
    return Obstacle(reason=POLICY_REFUSED, message=message, hint=hint)


def _policy(pod: PodObservation, gateway: GatewayObservation) -> PolicyText | None:
    """The policy that the gateway is to have; None: what it has, whatever that is.

    Where what was found is not right, the last one that was stays; a gateway that never had one has to be told that there
    is none, as it waits for it.
    """
    if pod.policy.problem is None:
        return pod.policy.policy
    if gateway.policy is None and gateway.ai is not None and not gateway.ai.policy:
        return PolicyText(text="", source="none that was right")
    return None


def settings_of(pod: PodObservation) -> Settings | None:
    """What the annotations ask for; while they are not understood, the last settings stay in force.

    None when those are not known: the gateway, or the watcher, has started since. Then nothing may be changed, as a
    typing mistake must not make a gateway leave.
    """
    try:
        return settings_from_annotations(pod.pod.annotations)
    except InvalidAnnotation:
        if pod.gateway is None or pod.gateway.told_to_leave:
            return Settings()
        return pod.gateway.applied


def _may_start(pod: PodObservation, observed: Observed) -> bool:
    pause = retry_after(pod.failures, longest=observed.longest_retry)
    waited = pod.failures == 0 or observed.now - pod.last_failure >= pause
    return bool(pod.pod.addresses) and pod.obstacle is None and waited


def _start(pod: PodObservation) -> Action:
    return StartGateway(pod=pod.pod.key, generation=pod.generation + 1)
