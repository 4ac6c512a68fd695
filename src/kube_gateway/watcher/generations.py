"""The gateways of a pod, as its ephemeral containers tell it: these are never removed, so they are its whole history."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

import msgspec

from kube_gateway.errors import NeedsPrivilege
from kube_gateway.model.ports import CONTAINER_NAME
from kube_gateway.watcher.objects import ContainerState, PodObject, Terminated, seconds

STABLE_AFTER = 30.0
"""Seconds that a gateway has run after which its end is no failure of its start."""

MOST_GENERATIONS = 100
"""Gateways that one pod is given. Each stays in the pod's object for ever, and one that has grown too large for the API
server to store cannot even be updated by its kubelet."""

NEEDS_PRIVILEGE = NeedsPrivilege.exit_code
"""Exit code of a gateway whose container may do too little on its node."""

_NAME = re.compile(rf"{CONTAINER_NAME}(?:-([2-9]|[1-9]\d+))?")


class Generation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One gateway: a container that waits, runs, or has ended (`terminated`)."""

    number: int
    image: str
    privileged: bool
    state: ContainerState

    @property
    def terminated(self) -> Terminated | None:
        """How it ended, if it has."""
        return self.state.terminated

    @property
    def lacks_its_secret(self) -> bool:
        """Whether its kubelet waits for what it is to be started with."""
        return self.state.waiting is not None and self.state.waiting.reason == "CreateContainerConfigError"

    @property
    def ran_for(self) -> float:
        """Seconds from start to end of one that has ended."""
        ended = self.state.terminated
        return seconds(ended.finished_at) - seconds(ended.started_at) if ended and ended.started_at else 0.0


def container_name(number: int) -> str:
    """The name of the container of a generation."""
    return CONTAINER_NAME if number == 1 else f"{CONTAINER_NAME}-{number}"


def generations(pod: PodObject) -> tuple[Generation, ...]:
    """All gateways that a pod has had, oldest first."""
    states = {status.name: status.state for status in pod.status.ephemeral_container_statuses or ()}
    found = []
    for container in pod.spec.ephemeral_containers or ():
        if match := _NAME.fullmatch(container.name):
            context = container.security_context
            found.append(
                Generation(
                    number=int(match[1] or 1),
                    image=container.image,
                    privileged=bool(context and context.privileged),
                    state=states.get(container.name, ContainerState()),
                )
            )
    return tuple(sorted(found, key=lambda generation: generation.number))


def failures(
    history: tuple[Generation, ...], *, connected: Container[int] = (), ended: Mapping[int, float] | None = None
) -> tuple[int, float]:
    """How many failed in a row up to now, and when the last did (seconds since the epoch).

    A gateway that served for a while and then died begins a new row. One that ended well although it never spoke to this
    watcher (`connected` has the numbers of those that did) and did not run for long is none of ours that left: perhaps not
    even our program. `ended` are times by the watcher's clock, which counts before the node's.
    """
    count, last = 0, 0.0
    for generation in reversed(history):
        end = generation.terminated
        if end is None:
            continue
        if end.exit_code == 0 and (generation.number in connected or generation.ran_for > STABLE_AFTER):
            break
        count += 1
        last = max(last, (ended or {}).get(generation.number, seconds(end.finished_at)))
        if generation.ran_for > STABLE_AFTER:
            break
    return count, last
