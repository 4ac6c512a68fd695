"""What the watcher can do about what it sees. Carrying an action out twice is harmless."""

from __future__ import annotations

import msgspec

from kube_gateway.control.observed import PolicyText
from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.settings import Settings


class _Action(msgspec.Struct, frozen=True, kw_only=True):
    pod: str
    """`namespace/name`."""


class StartGateway(_Action, frozen=True):
    """Put gateway number `generation` into the pod."""

    generation: int


class Configure(_Action, frozen=True):
    """Send these settings to the pod's gateway. `authorize`: there are rules of who may reach the pod."""

    settings: Settings
    authorize: bool


class Authorize(_Action, frozen=True):
    """Tell the pod's gateways who may reach it."""

    text: str


class SetPolicy(_Action, frozen=True):
    """Send this policy for LLM calls to the pod's gateway."""

    policy: PolicyText


class Leave(_Action, frozen=True):
    """Tell the gateway to undo its hooks, let connections finish for at most `grace` seconds, and end."""

    grace: float


class Flush(_Action, frozen=True):
    """End these connections that are in clear."""

    connections: tuple[ClearConnection, ...]

    @property
    def cookies(self) -> tuple[int, ...]:
        """What the kernel knows them by."""
        return tuple(connection.cookie for connection in self.connections)


class RemoveHooks(_Action, frozen=True):
    """Remove what a gateway that died left on the pod."""


class ReportProblem(_Action, frozen=True):
    """Tell the pod's owner what is wrong and what to do; `reason` is a word for programs."""

    reason: str
    message: str
    hint: str


class ClearProblem(_Action, frozen=True):
    """The problem reported last is gone."""


Action = StartGateway | Configure | Authorize | SetPolicy | Leave | Flush | RemoveHooks | ReportProblem | ClearProblem
