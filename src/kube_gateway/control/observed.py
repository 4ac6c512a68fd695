"""What the watcher sees: frozen, so that deciding on it cannot change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from kube_gateway.model.ai_report import AiReport, policy_name
from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.pod import Pod
from kube_gateway.model.service import ServiceBackends
from kube_gateway.model.settings import Settings

GatewayState = Literal["starting", "ready", "draining", "exited"]


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """Why no gateway can be put into a pod, or something else cannot be done: a word for programs, what is so, and what to
    do about it."""

    reason: str
    message: str
    hint: str


class PolicyText(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as its author has written it; empty where nobody has. `source` says where it is, for people."""

    text: str
    source: str

    @property
    def name(self) -> str:
        """What logs and reports call it; the same text has the same name everywhere."""
        return policy_name(self.text)


class PolicyFound(msgspec.Struct, frozen=True, kw_only=True):
    """What was found where a pod's policy is to be: one that is right, or what is wrong. Neither: it is not known yet."""

    policy: PolicyText | None = None
    problem: Obstacle | None = None


class GatewayObservation(msgspec.Struct, frozen=True, kw_only=True):
    """The newest gateway of a pod.

    `applied` are the settings last sent to it, None before the first. `exit_code` is set once `state` is `exited`: 0
    after leaving, negative for a signal. `told_to_leave` says whether it was. `outdated`: a newer version is there that
    shall take over from it. `policy` is the one last sent to it, None before the first; `ai` is what it reports of LLM
    calls, None while it does not. `authorization` are the rules of who may reach the pod that were sent to it last, None
    before the first.
    """

    state: GatewayState
    exit_code: int | None = None
    told_to_leave: bool = False
    applied: Settings | None = None
    clear_connections: tuple[ClearConnection, ...] = ()
    outdated: bool = False
    policy: PolicyText | None = None
    ai: AiReport | None = None
    authorization: str | None = None


class PodObservation(msgspec.Struct, frozen=True, kw_only=True):
    """One pod with what is known of its gateway.

    `generation` counts the gateways started so far, `failures` those that failed in a row, the last at `last_failure`
    (seconds). `hooks_left`: a gateway that died left hooks that refuse connections. `problem` is the message of the one
    last reported. `ending`: the pod is being deleted; its gateway serves it to the end and nothing is done any more.
    `policy` is what was found for its LLM calls, if it is to have one. `authorization` are the rules of who may reach it
    (`encode_authorization`), None while they are not known.
    """

    pod: Pod
    running: bool = True
    ending: bool = False
    gateway: GatewayObservation | None = None
    generation: int = 0
    failures: int = 0
    last_failure: float = 0.0
    hooks_left: bool = False
    problem: str | None = None
    obstacle: Obstacle | None = None
    policy: PolicyFound = PolicyFound()
    authorization: str | None = None


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that was ended for being in clear, at `at` (seconds), by its two ends: address and port."""

    ends: frozenset[tuple[str, int]]
    at: float


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that counts at one moment; `now` is in seconds on the clock of `last_failure`.

    `pods` are decided on; `peers` are others that they have connections with. `longest_retry` is in seconds.
    `ended` are the connections that were ended lately, of these and of other pods; `at` is on the same clock. `services`
    are those whose address and port a connection in clear goes to.
    """

    now: float
    pods: tuple[PodObservation, ...] = ()
    peers: tuple[PodObservation, ...] = ()
    longest_retry: float = 10.0
    ended: tuple[Ended, ...] = ()
    services: Mapping[tuple[str, int], ServiceBackends] = {}
