"""One gateway as its watcher knows it: by the line that it holds, and what it last said there."""

from __future__ import annotations

import asyncio
import time

from kube_gateway.control import messages
from kube_gateway.control.observed import GatewayState, PolicyText
from kube_gateway.model.ai_report import BudgetCount
from kube_gateway.model.identity_report import IdentityReport
from kube_gateway.model.pod import Pod
from kube_gateway.model.settings import Settings

_SIGNED_WITHIN = 5.0
_TELL_AGAIN_AFTER = 5.0
"""Seconds."""

_STATES: dict[str, GatewayState] = {"starting": "starting", "ready": "ready", "draining": "draining"}


class ConnectedGateway:
    """A gateway of one generation, connected or not.

    `applied` are the settings last sent on this line, `revision` counts them, from a number that no other watcher has come
    to before; `policy` is the policy last sent on it, `authorization` the rules of who may reach the pod. `budgets` are
    what it has reported last. `told_to_leave`: it was, or it said so. `since` is the monotonic time at which it connected
    or was lost. `version` is what it said it is, empty before that.
    """

    def __init__(self) -> None:
        self.applied: Settings | None = None
        self.revision = time.time_ns() // 1_000_000
        self.policy: PolicyText | None = None
        self.authorization: str | None = None
        self.budgets: tuple[BudgetCount, ...] = ()
        self.told_to_leave = False
        self.report: messages.Report | None = None
        self.version = ""
        self.since = time.monotonic()
        self._writer: asyncio.StreamWriter | None = None
        self._receipts: dict[int, asyncio.Future[messages.Receipt]] = {}
        self._questions = 0
        self._lines = 0
        self._certified = (0, "")
        self._pressed: dict[type, tuple[object, float]] = {}
        self._revoked: tuple[str, ...] | None = None

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
        self._lines += 1
        self._pressed, self._revoked = {}, None
        self.since = time.monotonic()
        self.applied, self.policy, self.authorization, self.told_to_leave = None, None, None, False

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

    def configure(self, settings: Settings, *, pod: Pod, authorize: bool) -> None:
        """Send the settings in force."""
        message = messages.configure(settings, pod=pod, revision=self.revision + 1, authorize=authorize)
        if self.send(message):
            self.revision, self.applied = message.revision, settings

    def has_in_force(self, settings: Settings) -> bool:
        """Whether it was told these settings last, and has said that it acts on them."""
        return self.applied == settings and self.report is not None and self.report.settings_revision == self.revision

    def use_policy(self, policy: PolicyText, *, budgets: tuple[BudgetCount, ...]) -> None:
        """Send the policy for LLM calls, with what the pod's gateways have counted so far."""
        if self.send(messages.UsePolicy(text=policy.text, source=policy.source, budgets=budgets)):
            self.policy = policy

    async def receipt(self, *, since: float, until: float) -> messages.Receipt:
        """Have it sign what its pod has sent in a period; see `ReceiptQuery`. If it is not there, that is the problem."""
        self._questions += 1
        number = self._questions
        if not self.send(messages.ReceiptQuery(number=number, since=since, until=until)):
            return messages.Receipt(number=number, problem="the gateway is not connected to its watcher")
        answer: asyncio.Future[messages.Receipt] = asyncio.get_running_loop().create_future()
        self._receipts[number] = answer
        try:
            async with asyncio.timeout(_SIGNED_WITHIN):
                return await answer
        except TimeoutError:
            problem = f"the gateway has not answered in {_SIGNED_WITHIN:g} s"
            return messages.Receipt(number=number, problem=problem)
        finally:
            del self._receipts[number]

    def signed(self, receipt: messages.Receipt) -> None:
        """Take an answer; one that nobody waits for any more is of no use."""
        answer = self._receipts.get(receipt.number)
        if answer is not None and not answer.done():
            answer.set_result(receipt)

    def authorize(self, text: str) -> None:
        """Say who may reach the pod."""
        if self.send(messages.Authorize(text=text)):
            self.authorization = text

    def certify(self, certificate: messages.Certificate) -> None:
        """Send a certificate. Until it is reported to be in use, nobody knows which one is."""
        if self.send(certificate):
            self._certified = (self._lines, certificate.serial)

    @property
    def identity(self) -> IdentityReport | None:
        """What it proves itself with; None while it has not said, or a certificate is on its way to it."""
        said = self.report.identity if self.report is not None else None
        return said if said is not None and self._certified[1] in ("", said.serial) else None

    def tell(self, message: messages.Trust | messages.Renew) -> None:
        """Say this if it was not said on this line, and again from time to time while it is asked for."""
        said, at = self._pressed.get(type(message), (None, 0.0))
        if (said != message or time.monotonic() - at > _TELL_AGAIN_AFTER) and self.send(message):
            self._pressed[type(message)] = message, time.monotonic()

    def tell_revoked(self, uids: tuple[str, ...]) -> None:
        """Say which pods are revoked, if that was not said on this line."""
        if self._revoked != uids and self.send(messages.Revoked(uids=uids)):
            self._revoked = uids

    def close(self) -> None:
        """End the line, if there is one."""
        if self._writer is not None:
            self._writer.close()

    def leave(self, grace: float) -> None:
        """Tell it to leave."""
        self.told_to_leave = self.send(messages.Leave(grace=grace))

    def reported(self, report: messages.Report) -> bool:
        """Take a report; true when the state, the settings, the identity or the policy in force changed."""
        changed = self.report is None or _what_counts(self.report) != _what_counts(report)
        self.report = report
        line, serial = self._certified
        if report.identity is not None and (line < self._lines or serial == report.identity.serial):
            # What was on its way on an earlier line has arrived by now, or never will.
            self._certified = (self._lines, "")
        if report.ai is not None:
            self.budgets = report.ai.budgets
        if report.state == "draining":
            self.told_to_leave = True
        return changed


def _what_counts(report: messages.Report) -> tuple[str, ...]:
    ai, access, said = report.ai, report.snapshot.access, report.identity
    return (
        report.state,
        str(report.settings_revision),
        *((said.serial, str(said.trust_generation)) if said is not None else ()),
        access.rules if access is not None else "",
        *((ai.policy, ai.model, ai.refused, ai.problem) if ai is not None else ()),
    )
