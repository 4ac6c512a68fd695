"""Looks at one pod and does what is to be done about it. Called again after every change, and as often as need be."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Iterator

from kube_gateway.control import actions, messages
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.decide import decide, problem_of, retry_after, settings_of
from kube_gateway.control.observed import Observed, Obstacle, PodObservation
from kube_gateway.errors import IdentityError
from kube_gateway.kube.refusals import Conflict, Invalid, NotFound
from kube_gateway.model.ports import ANNOTATION_PREFIX
from kube_gateway.model.settings import Settings
from kube_gateway.watcher import ai_condition, condition
from kube_gateway.watcher.acting import Actor
from kube_gateway.watcher.cluster import Cluster
from kube_gateway.watcher.configuration import Configuration
from kube_gateway.watcher.generations import generations
from kube_gateway.watcher.memory import RETRY_REFUSED, PodMemory
from kube_gateway.watcher.objects import PodObject
from kube_gateway.watcher.refusal import is_replaced

_log = logging.getLogger("watcher")

_MEND_SECRET_AFTER = 15.0
"""Seconds from writing a Secret until it is written again if a kubelet says that it does not find it."""

_SECRET_RENEWED_AT = 0.4
"""Part of a certificate's life after which one that nobody has begun with is replaced: its gateway needs some of it."""

_LOOK_AGAIN = 1.0
"""Seconds until what is known has caught up with what was done, or another pod's turn has come."""


class Reconciler:
    """Looks at pods for one watcher."""

    def __init__(self, configuration: Configuration, *, cluster: Cluster, actor: Actor) -> None:
        self._configuration = configuration
        self._cluster = cluster
        self._actor = actor

    async def look(self, key: str) -> float | None:
        """Do what is to be done about a pod now; returns after how many seconds to look again, if at all.

        Raises `KubernetesError` or `OSError` when it could not be done, to be tried again.
        """
        # Before it is looked: what is due a moment later is then still to come.
        now = time.time()
        seen, observation = self._cluster.pod(key), self._cluster.observe(key)
        if seen is None or observation is None or not _concerns_us(seen, observation):
            return None
        if _awaits_policy(observation):
            return None  # it is looked again once that is known; until then what is told of it may be right
        memory = self._cluster.memory(key)
        observed = Observed(
            now=now,
            pods=(observation,),
            peers=self._cluster.peers_of(observation),
            longest_retry=self._configuration.longest_retry,
            ended=self._cluster.flushes.lately(now),
            services=self._cluster.services_of(observation),
        )
        try:
            decided = decide(observed)
            for action in decided:
                if isinstance(action, actions.Flush):
                    # Before anything is waited for: another pod may be looked at meanwhile.
                    self._cluster.flushes.record(action, now=now)
            for action in decided:
                await self._act(action, seen, observation, memory=memory)
            await self._finish(key, memory=memory)
        except NotFound:
            return None  # it went in the meantime, and that will be seen
        except (Conflict, Invalid) as error:
            if not is_replaced(error):
                raise
            _log.debug("%s: %s", key, error.message)
            return _LOOK_AGAIN  # another pod has its name by now, and that will be seen
        except IdentityError as error:
            _log.error("%s: no certificate: %s", key, error.message)
            return RETRY_REFUSED
        return self._next_look(key, now=now)

    async def _act(
        self, action: actions.Action, seen: PodObject, observation: PodObservation, *, memory: PodMemory
    ) -> None:
        match action:
            case actions.StartGateway():
                settings = settings_of(observation) or Settings()
                gateway = observation.gateway
                if gateway is not None and gateway.outdated and not self._cluster.may_upgrade(action.pod):
                    return
                await self._actor.start(
                    seen, observation, memory=memory, generation=action.generation, settings=settings
                )
            case actions.RemoveHooks():
                # Only a gateway in the pod can do that: one that is not wanted undoes what is left, and ends.
                await self._actor.start(
                    seen, observation, memory=memory, generation=observation.generation + 1, settings=Settings()
                )
            case actions.Configure() | actions.Authorize() | actions.SetPolicy() | actions.Leave() | actions.Flush():
                for line in _alive(seen, memory):
                    _say(line, action, observation, memory=memory)
            case actions.ReportProblem():
                problem = Obstacle(reason=action.reason, message=action.message, hint=action.hint)
                await self._actor.report(observation.pod, problem, memory=memory)
            case actions.ClearProblem():
                memory.told = ""

    async def _finish(self, key: str, *, memory: PodMemory) -> None:
        """Say what is so now, and clear up after a gateway that has left."""
        seen, observation = self._cluster.pod(key), self._cluster.observe(key)
        if seen is None or observation is None or seen.metadata.uid != memory.uid:
            return
        if _may_mend_secret(seen, memory) or _secret_grows_old(seen, memory, life=self._configuration.certificate_life):
            await self._actor.write_secret(observation.pod, memory=memory)
        problem = problem_of(observation)
        if problem is not None and observation.problem != problem.message:
            # Of just now: once the condition has it, it counts as told.
            await self._actor.report(observation.pod, problem, memory=memory)
        claim = condition.claim(seen, observation, memory.lines, known_for=time.monotonic() - memory.since)
        if claim is not None:
            await self._actor.claim(seen, observation.pod, claim, memory=memory)
        of_calls = ai_condition.claim(seen, observation, memory.lines, encrypted=claim)
        if of_calls is not None:
            await self._actor.claim(seen, observation.pod, of_calls, memory=memory, kind=condition.AI)
        if _newest_serves(seen, memory):
            self._cluster.upgraded(key)
        gateway = observation.gateway
        # One that was refused may have left a Secret without ever having been a gateway.
        left = gateway is None or (gateway.state == "exited" and gateway.exit_code == 0)
        settings = settings_of(observation)
        unwanted = settings is not None and not settings.wanted and problem_of(observation) is None
        perhaps_there = memory.secret or (memory.secret is None and claim is not None)
        if left and unwanted and perhaps_there:
            await self._actor.remove_secret(observation.pod, memory=memory)

    def _next_look(self, key: str, *, now: float) -> float | None:
        observation = self._cluster.observe(key)
        if observation is None or observation.ending or not observation.running:
            return None
        memory = self._cluster.memory(key)
        return min(self._delays(observation, memory, now=now), default=None)

    def _delays(self, observation: PodObservation, memory: PodMemory, *, now: float) -> Iterator[float]:
        """Seconds until what was not to be done yet may be done; `now` is when it was decided."""
        gateway = observation.gateway
        if gateway is not None and gateway.state == "exited" and observation.failures:
            pause = retry_after(observation.failures, longest=self._configuration.longest_retry)
            remaining = observation.last_failure + pause - now
            if remaining > 0:
                # A little later: not to be early by the precision of a clock.
                yield remaining + 0.05
        if memory.refusal is not None:
            yield RETRY_REFUSED
        if gateway is not None and gateway.state == "starting":
            yield min(_MEND_SECRET_AFTER, self._configuration.certificate_life.total_seconds() * _SECRET_RENEWED_AT)
        if gateway is not None and gateway.outdated:
            yield _LOOK_AGAIN
        connected = any(line.is_connected for line in memory.lines.values())
        if gateway is not None and gateway.state != "exited" and not connected:
            yield condition.SILENT_AFTER


def _say(
    line: ConnectedGateway,
    action: actions.Configure | actions.Authorize | actions.SetPolicy | actions.Leave | actions.Flush,
    observation: PodObservation,
    *,
    memory: PodMemory,
) -> None:
    """Tell one gateway."""
    match action:
        case actions.Configure():
            line.configure(action.settings, pod=observation.pod, authorize=action.authorize)
        case actions.Authorize():
            line.authorize(action.text)
        case actions.SetPolicy():
            _log.info("%s: policy %s (%s)", action.pod, action.policy.name, action.policy.source)
            line.use_policy(action.policy, budgets=memory.budgets)
        case actions.Leave():
            line.leave(action.grace)
        case actions.Flush():
            _log.info("%s: ending %d connections that are in clear", action.pod, len(action.cookies))
            line.send(messages.Flush(cookies=action.cookies))


def _awaits_policy(observation: PodObservation) -> bool:
    settings, found = settings_of(observation), observation.policy
    asked = observation.running and settings is not None and settings.wanted and settings.ai
    return asked and found.policy is None and found.problem is None


def _newest_serves(seen: PodObject, memory: PodMemory) -> bool:
    history = generations(seen)
    line = memory.lines.get(history[-1].number) if history else None
    return line is not None and line.is_connected and line.state == "ready"


def _may_mend_secret(seen: PodObject, memory: PodMemory) -> bool:
    """Whether somebody has removed the Secret before the gateway could start; it would wait for ever."""
    history = generations(seen)
    waited = time.monotonic() - memory.secret_written_at
    return bool(history) and history[-1].lacks_its_secret and waited >= _MEND_SECRET_AFTER


def _secret_grows_old(seen: PodObject, memory: PodMemory, *, life: datetime.timedelta) -> bool:
    """Whether a gateway still waits to be started, for its image most likely, while its certificate lives on."""
    history = generations(seen)
    waits = bool(history) and history[-1].state.waiting is not None and history[-1].number == memory.started
    return waits and time.monotonic() - memory.secret_written_at >= life.total_seconds() * _SECRET_RENEWED_AT


def _concerns_us(seen: PodObject, observation: PodObservation) -> bool:
    """Most pods of a cluster have never had anything to do with us."""
    asked = observation.pod.annotations.keys() - {f"{ANNOTATION_PREFIX}podcidr"}
    return observation.running and bool(asked or generations(seen) or condition.current(seen))


def _alive(seen: PodObject, memory: PodMemory) -> list[ConnectedGateway]:
    ended = {generation.number for generation in generations(seen) if generation.terminated is not None}
    return [line for number, line in memory.lines.items() if number not in ended]
