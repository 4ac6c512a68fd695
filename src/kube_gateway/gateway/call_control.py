"""What the supervisor keeps of AI control: the policy, which worker after worker has to get, and what they have counted.

It never reads a policy: that takes libraries which a gateway without AI control does not load, and a worker that cannot
take one says so. Then the last one that was right stays in force, also with the next worker.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets

from kube_gateway.control import messages as control
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.figures_port import Send
from kube_gateway.gateway.handover.messages import OfferedPolicy
from kube_gateway.gateway.memory_file import make_memory_file, read_memory_file
from kube_gateway.model.ai_report import LARGEST_POLICY, AiReport, BudgetCount, policy_name
from kube_gateway.model.settings import Settings

_log = logging.getLogger("supervisor")

POLICY_WITHIN = 10.0
"""Seconds that a gateway which starts waits for its policy before it takes connections: the watcher sends it at once."""


class _Policy:
    """One version of the policy; its text is in a file that the worker, or a later gateway, gets a descriptor of."""

    def __init__(self, *, name: str, source: str, revision: int, file: int) -> None:
        self.name, self.source, self.revision, self.file = name, source, revision, file

    def __del__(self) -> None:
        os.close(self.file)


class CallControl:
    """`send` tells the worker, if there is one; `pod` is `namespace/name`."""

    def __init__(self, send: Send, *, pod: str) -> None:
        self._send = send
        self._pod = pod
        self._settings = Settings()
        self._latest: _Policy | None = None
        self._good: _Policy | None = None
        self._revision = 0
        self._hash_key = secrets.token_bytes(32)
        self._budgets: tuple[BudgetCount, ...] = ()
        self._said: AiReport | None = None
        self._decided = asyncio.Event()

    @property
    def report(self) -> AiReport | None:
        """What the worker said last; None without AI control."""
        if not self._settings.ai:
            return None
        return self._said or AiReport(budgets=self._budgets)

    def configure(self, settings: Settings) -> None:
        """Settings are in force: begin, go on with another model, or end."""
        before, self._settings = self._settings, settings
        if not settings.ai:
            if before.ai:
                self._said = None
                self._send(messages.LeaveCallsAlone(), ())
        elif (before.ai, before.ai_model) != (True, settings.ai_model):
            self._tell(self._to_tell())

    def use(self, message: control.UsePolicy) -> None:
        """Take a policy from the watcher."""
        if not self._budgets:
            self._budgets = message.budgets
        name = policy_name(message.text)
        if self._latest is not None and (self._latest.name, self._latest.source) == (name, message.source):
            return
        self._revision += 1
        file = make_memory_file(message.text, name="policy")
        self._latest = _Policy(name=name, source=message.source, revision=self._revision, file=file)
        if self._settings.ai:
            self._tell(self._latest)

    def brief(self) -> None:
        """Tell a new worker everything, before it takes connections."""
        if self._settings.ai:
            self._tell(self._to_tell())

    def heard(self, said: AiReport) -> bool:
        """The worker has reported; true when what is in force has changed, or what was refused."""
        before = self._said
        changed = before is None or _in_force(before) != _in_force(said)
        self._said, self._budgets = said, said.budgets
        if self._latest is not None and said.policy == self._latest.name:
            self._good = self._latest
        if said.policy or said.refused:
            self._decided.set()
        return changed

    async def decided(self) -> None:
        """Wait until it is clear which policy applies, but not for ever."""
        if not self._settings.ai:
            return
        try:
            async with asyncio.timeout(POLICY_WITHIN):
                await self._decided.wait()
        except TimeoutError:
            _log.warning("no policy for LLM calls has come in %g s; until it comes they pass", POLICY_WITHIN)

    def offer(self) -> tuple[OfferedPolicy, int] | None:
        """What a later gateway goes on with, and the descriptor of the text, which stays ours."""
        policy = self._good
        if policy is None or not self._settings.ai:
            return None
        told = OfferedPolicy(
            source=policy.source, revision=policy.revision, hash_key=self._hash_key, budgets=self._budgets
        )
        return told, policy.file

    def inherit(self, offered: OfferedPolicy, file: int) -> None:
        """Go on with what an older gateway had; the descriptor is ours from now on."""
        self._hash_key, self._budgets = offered.hash_key, offered.budgets
        self._revision += offered.revision
        try:
            name = policy_name(read_memory_file(file, most=LARGEST_POLICY))
        except ValueError as error:
            os.close(file)
            _log.warning("the older gateway's policy is of no use: %s", error)
            return
        self._good = _Policy(name=name, source=offered.source, revision=offered.revision, file=file)
        if self._latest is None or self._latest.name == name:
            self._latest = self._good
        else:
            self._latest.revision += offered.revision

    def _to_tell(self) -> _Policy | None:
        refused = self._said.refused if self._said is not None else ""
        if self._good is not None and self._latest is not None and refused == self._latest.name:
            return self._good
        return self._latest

    def _tell(self, policy: _Policy | None) -> None:
        if policy is None:
            return
        told = messages.UsePolicy(
            name=policy.name,
            source=policy.source,
            revision=policy.revision,
            model=self._settings.ai_model,
            pod=self._pod,
            hash_key=self._hash_key,
            budgets=self._budgets,
        )
        self._send(told, (policy.file,))


def _in_force(said: AiReport) -> tuple[str, ...]:
    return said.policy, said.model, said.refused, said.problem
