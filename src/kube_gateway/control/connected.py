"""One gateway as its watcher knows it: by the line that it holds, and what it last said there."""

from __future__ import annotations

import asyncio
import time

from kube_gateway.control import messages
from kube_gateway.control.observed import GatewayState, PolicyText
from kube_gateway.model.ai_report import BudgetCount
from kube_gateway.model.pod import Pod
from kube_gateway.model.settings import Settings

_STATES: dict[str, GatewayState] = {"starting": "starting", "ready": "ready", "draining": "draining"}


class ConnectedGateway:
    """A gateway of one generation, connected or not.

    `applied` are the settings last sent on this line, `revision` counts them; `policy` is the policy last sent on it.
    `budgets` are what it has reported last. `told_to_leave`: it was, or it said so. `since` is the monotonic time at which
    it connected or was lost. `version` is what it said it is, empty before that.
    """

    def __init__(self) -> None:
        self.applied: Settings | None = None
        self.revision = 0
        self.policy: PolicyText | None = None
        self.budgets: tuple[BudgetCount, ...] = ()
        self.told_to_leave = False
        self.report: messages.Report | None = None
        self.version = ""
        self.since = time.monotonic()
        self._writer: asyncio.StreamWriter | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the line is up."""
        return self._writer is not None

    @property
    def silence(self) -> float:
        """Seconds without a line; 0 while there is one."""
        return 0.0 if self._writer is not None else time.monotonic() - self.since

    @property
    def state(self) -> GatewayState:
        """What it said it is; `starting` until it has said anything."""
        return _STATES.get(self.report.state, "starting") if self.report else "starting"

    def connected(self, writer: asyncio.StreamWriter) -> None:
        """It has connected: settings have to be sent, as what an earlier line carried may not have arrived."""
        if self._writer is not None:
            self._writer.close()
        self._writer = writer
        self.since = time.monotonic()
        self.applied, self.policy, self.told_to_leave = None, None, False

    def disconnected(self, writer: asyncio.StreamWriter) -> None:
        """That line has ended."""
        if self._writer is writer:
            self._writer = None
            self.since = time.monotonic()

    def send(self, message: messages.FromWatcher) -> bool:
        """Say something; false when it is not connected."""
        if self._writer is None or self._writer.is_closing():
            return False
        self._writer.write(messages.encode(message))
        return True

    def configure(self, settings: Settings, *, pod: Pod) -> None:
        """Send the settings in force."""
        message = messages.configure(settings, pod=pod, revision=self.revision + 1)
        if self.send(message):
            self.revision, self.applied = message.revision, settings

    def use_policy(self, policy: PolicyText, *, budgets: tuple[BudgetCount, ...]) -> None:
        """Send the policy for LLM calls, with what the pod's gateways have counted so far."""
        if self.send(messages.UsePolicy(text=policy.text, source=policy.source, budgets=budgets)):
            self.policy = policy

    def leave(self, grace: float) -> None:
        """Tell it to leave."""
        self.told_to_leave = self.send(messages.Leave(grace=grace))

    def reported(self, report: messages.Report) -> bool:
        """Take a report; true when the state, or the policy in force, changed."""
        changed = self.report is None or _what_counts(self.report) != _what_counts(report)
        self.report = report
        if report.ai is not None:
            self.budgets = report.ai.budgets
        if report.state == "draining":
            self.told_to_leave = True
        return changed


def _what_counts(report: messages.Report) -> tuple[str, ...]:
    ai = report.ai
    return (report.state, *((ai.policy, ai.model, ai.refused, ai.problem) if ai is not None else ()))
