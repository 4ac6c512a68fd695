"""The gateways of the pods, one generation after the other, as a cluster would have ephemeral containers."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

from kube_gateway.control import messages
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.observed import GatewayObservation
from kube_gateway.local import cgroups
from kube_gateway.local.instance import Instance
from kube_gateway.local.launch import in_pod
from kube_gateway.local.store import PodRecord
from kube_gateway.model.service import ServiceBackends

COMMAND = (sys.executable, "-m", "kube_gateway", "gateway")

_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "RUST_BACKTRACE")
"""All that a gateway gets of the manager's environment, which is that of whoever typed `up`, with their secrets."""

_STABLE_AFTER = 30.0
_MOST_QUESTIONS = 16_384


class Gateway(ConnectedGateway):
    """A gateway of one pod, and what is known of it. `generation` 0: there has been none."""

    def __init__(self, instance: Instance, record: PodRecord) -> None:
        super().__init__()
        self._pod_cgroup = cgroups.pod_cgroup(instance, record.name)
        self.cgroup: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ready_since: float | None = None
        self._ended = not self._has_processes(())
        self._starting = False
        self.generation = record.generation
        self.failures = 0
        self.last_failure = 0.0
        self.exit_code: int | None = None
        self._told: dict[tuple[str, int], ServiceBackends | None] = {}

    @property
    def running(self) -> bool:
        """Whether it is not known to have ended."""
        return not self._ended

    @property
    def is_alive(self) -> bool:
        """Whether it has processes at this moment: one may have ended without having been noticed."""
        return not self._ended and self._has_processes(())

    async def start(
        self, instance: Instance, record: PodRecord, generation: int, *, changed: Callable[[], None]
    ) -> asyncio.Task[None]:
        """Start the next generation; the task ends with it."""
        self.generation = generation
        self.exit_code, self.told_to_leave, self.applied, self.policy, self.report = None, False, None, None, None
        self.authorization = None
        self._ready_since = None
        self._ended = False
        self.cgroup = cgroup = cgroups.free_gateway_cgroup(self._pod_cgroup, generation)
        environment = {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "KUBE_GATEWAY_POD": record.pod.key,
            "KUBE_GATEWAY_UID": record.uid,
            "KUBE_GATEWAY_GENERATION": str(generation),
            "KUBE_GATEWAY_CGROUP": str(self._pod_cgroup),
            "KUBE_GATEWAY_CONTROL": f"unix:{instance.control_socket}",
        }
        self._starting = True
        try:
            with instance.log_of(record.name, "kube-gateway").open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *in_pod(instance, record.name, COMMAND, role=cgroup.name),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd="/",
                    start_new_session=True,
                )
        finally:
            self._starting = False
        process = self._process

        async def wait() -> None:
            self._end(await process.wait())
            changed()

        return asyncio.create_task(wait())

    def notice_end(self, others: Collection[Path | None] = ()) -> None:
        """For a gateway that an earlier manager started: look whether it still has processes.

        `others` are the cgroups of other gateways of the pod.
        """
        if self._process is None and not self._starting and not self._ended and not self._has_processes(others):
            self._end(0 if self.told_to_leave else 1)

    def _has_processes(self, others: Collection[Path | None]) -> bool:
        # Which of them it is in is known from its first words on.
        possible = [self.cgroup] if self.cgroup else cgroups.gateway_cgroups(self._pod_cgroup)
        return any(cgroups.members(cgroup) for cgroup in possible if cgroup not in others)

    def connected(self, writer: asyncio.StreamWriter) -> None:
        """It has connected."""
        super().connected(writer)
        self._told = {}

    def remember(self, address: str, port: int, service: ServiceBackends | None) -> None:
        """It is told this of a Service, and will be told each change."""
        self._told.pop((address, port), None)
        self._told[address, port] = service
        if len(self._told) > _MOST_QUESTIONS:
            del self._told[next(iter(self._told))]

    def tell_changes(self, resolve: Callable[[str, int], ServiceBackends | None]) -> None:
        """Tell what is answered differently by now."""
        for (address, port), told in self._told.items():
            service = resolve(address, port)
            if service != told:
                self._told[address, port] = service
                self.send(messages.ServiceAnswer(address=address, port=port, service=service))

    def reported(self, report: messages.Report) -> bool:
        """Take a report; true when the state changed."""
        if report.state == "ready" and self._ready_since is None:
            self._ready_since = time.monotonic()
        return super().reported(report)

    def observe(self) -> GatewayObservation | None:
        """What the brain sees; None before the first generation."""
        if self.generation == 0:
            return None
        return GatewayObservation(
            state="exited" if self._ended else self.state,
            exit_code=self.exit_code,
            told_to_leave=self.told_to_leave,
            applied=self.applied,
            clear_connections=self.report.clear_connections if self.report else (),
            policy=self.policy,
            ai=self.report.ai if self.report else None,
            authorization=self.authorization,
        )

    def _end(self, exit_code: int) -> None:
        self._ended = True
        self.exit_code = exit_code
        self.report = None
        now = time.monotonic()
        if self._ready_since is not None and now - self._ready_since > _STABLE_AFTER:
            self.failures = 0
        if exit_code == 0 and self.told_to_leave:
            self.failures = 0
        else:
            self.failures += 1
            self.last_failure = now
