"""The gateways of the pods, one generation after the other, as a cluster would have ephemeral containers."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

from kube_gateway.control import messages
from kube_gateway.control.observed import GatewayObservation, GatewayState
from kube_gateway.local import cgroups
from kube_gateway.local.instance import Instance
from kube_gateway.local.launch import in_pod
from kube_gateway.local.store import PodRecord
from kube_gateway.model.service import ServiceBackends
from kube_gateway.model.settings import Settings

COMMAND = (sys.executable, "-m", "kube_gateway", "gateway")

_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "RUST_BACKTRACE")
"""All that a gateway gets of the manager's environment, which is that of whoever typed `up`, with their secrets."""

_STABLE_AFTER = 30.0
_MOST_QUESTIONS = 16_384
_STATES: dict[str, GatewayState] = {"starting": "starting", "ready": "ready", "draining": "draining"}


class Gateway:
    """A gateway of one pod, and what is known of it. `generation` 0: there has been none."""

    def __init__(self, instance: Instance, record: PodRecord) -> None:
        self._pod_cgroup = cgroups.pod_cgroup(instance, record.name)
        self.cgroup: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ready_since: float | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._ended = not self._has_processes(())
        self.generation = record.generation
        self.failures = 0
        self.last_failure = 0.0
        self.exit_code: int | None = None
        self.told_to_leave = False
        self.applied: Settings | None = None
        self.revision = 0
        self.report: messages.Report | None = None
        self._told: dict[tuple[str, int], ServiceBackends | None] = {}

    @property
    def running(self) -> bool:
        """Whether it has processes."""
        return not self._ended

    async def start(
        self, instance: Instance, record: PodRecord, generation: int, *, changed: Callable[[], None]
    ) -> asyncio.Task[None]:
        """Start the next generation; the task ends with it."""
        self.generation = generation
        self.exit_code, self.told_to_leave, self.applied, self.report = None, False, None, None
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
        process = self._process

        async def wait() -> None:
            self._end(await process.wait())
            changed()

        return asyncio.create_task(wait())

    def notice_end(self, others: Collection[Path | None] = ()) -> None:
        """For a gateway that an earlier manager started: look whether it still has processes.

        `others` are the cgroups of other gateways of the pod.
        """
        if self._process is None and not self._ended and not self._has_processes(others):
            self._end(0 if self.told_to_leave else 1)

    def _has_processes(self, others: Collection[Path | None]) -> bool:
        # Which of them it is in is known from its first words on.
        possible = [self.cgroup] if self.cgroup else cgroups.gateway_cgroups(self._pod_cgroup)
        return any(cgroups.members(cgroup) for cgroup in possible if cgroup not in others)

    def connected(self, writer: asyncio.StreamWriter, cgroup: Path) -> None:
        """It has connected, from this cgroup: settings have to be sent, whatever an earlier connection was sent."""
        if self._writer is not None:
            self._writer.close()
        self._writer = writer
        self.cgroup = cgroup
        # What an earlier connection carried may not have arrived.
        self.applied, self.told_to_leave = None, False
        self._told = {}

    def disconnected(self, writer: asyncio.StreamWriter) -> None:
        """That connection has ended."""
        if self._writer is writer:
            self._writer = None

    def send(self, message: messages.FromWatcher) -> bool:
        """Say something; false when it is not connected."""
        if self._writer is None or self._writer.is_closing():
            return False
        self._writer.write(messages.encode(message))
        return True

    def answer(self, address: str, port: int, service: ServiceBackends | None) -> None:
        """Answer a question about a Service, of which each change will be told."""
        self._told.pop((address, port), None)
        self._told[address, port] = service
        if len(self._told) > _MOST_QUESTIONS:
            del self._told[next(iter(self._told))]
        self.send(messages.ServiceAnswer(address=address, port=port, service=service))

    def tell_changes(self, resolve: Callable[[str, int], ServiceBackends | None]) -> None:
        """Tell what is answered differently by now."""
        for (address, port), told in self._told.items():
            service = resolve(address, port)
            if service != told:
                self._told[address, port] = service
                self.send(messages.ServiceAnswer(address=address, port=port, service=service))

    def reported(self, report: messages.Report) -> bool:
        """Take a report; true when the state changed."""
        changed = self.report is None or self.report.state != report.state
        self.report = report
        if report.state == "draining":
            self.told_to_leave = True
        if report.state == "ready" and self._ready_since is None:
            self._ready_since = time.monotonic()
        return changed

    def observe(self) -> GatewayObservation | None:
        """What the brain sees; None before the first generation."""
        if self.generation == 0:
            return None
        state: GatewayState = "exited" if self._ended else "starting"
        if not self._ended and self.report is not None:
            state = _STATES.get(self.report.state, "starting")
        return GatewayObservation(
            state=state,
            exit_code=self.exit_code,
            told_to_leave=self.told_to_leave,
            applied=self.applied,
            clear_connections=self.report.clear_connections if self.report else (),
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
