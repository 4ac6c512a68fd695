"""The processes of the pods: start, watch, adopt, kill."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec

from kube_gateway.errors import LocalModeError, UsageError
from kube_gateway.local import cgroups, network
from kube_gateway.local.api import Run
from kube_gateway.local.instance import Instance, check_pod_name
from kube_gateway.local.launch import in_pod
from kube_gateway.local.store import PodRecord, save, start_time
from kube_gateway.model.settings import settings_from_annotations

_AT_ONCE = 0.3
"""A command that fails within this time has most likely been mistyped."""

_LOG_LINES = 5
_OURS = "KUBE_GATEWAY_"


class Workload:
    """One pod and its main process."""

    def __init__(self, record: PodRecord) -> None:
        self.record = record
        self.exit_code: int | None = record.exit_code
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether the main process lives."""
        if self._process is not None:
            return self._process.returncode is None
        return self.record.pid > 0 and start_time(self.record.pid) == self.record.started

    def watch(self, process: asyncio.subprocess.Process, changed: Callable[[], None]) -> asyncio.Task[None]:
        """Note the end of a process that we started ourselves."""
        self._process = process

        async def wait() -> None:
            self.exit_code = await process.wait()
            changed()

        return asyncio.create_task(wait())

    @property
    def state(self) -> str:
        """`running`, `ended`, or `ended (exit N)` where the exit code is known."""
        if self.running:
            return "running"
        return "ended" if self.exit_code is None else f"ended (exit {self.exit_code})"


async def start(instance: Instance, request: Run, *, number: int, changed: Callable[[], None]) -> Workload:
    """Make a pod and start its command; on any error nothing is left of it.

    Raises `UsageError` for what is wrong with the request and `LocalModeError` for what is wrong with the machine.
    """
    check_pod_name(request.name)
    settings_from_annotations(request.annotations)
    program = _find(request)
    record = PodRecord(
        name=request.name,
        uid=str(uuid.uuid4()),
        number=number,
        service_account=request.service_account,
        command=request.command,
        created=time.time(),
        annotations=request.annotations,
        labels=request.labels,
    )
    # What a manager left that died while it made a pod of this name.
    await asyncio.to_thread(remove, instance, record.name)
    try:
        network.make_pod_network(instance, record.name, number)
        cgroups.make_pod_cgroup(instance, record.name)
        instance.pod_directory(record.name).mkdir(parents=True, mode=0o700)
        process = await _spawn(instance, request, program)
        record = msgspec.structs.replace(record, pid=process.pid, started=start_time(process.pid))
        workload = Workload(record)
        watching = workload.watch(process, changed)
        await asyncio.wait([watching], timeout=_AT_ONCE)
        if workload.exit_code is not None:
            words = _last_words(instance, record.name)
            raise UsageError(
                f"{request.command[0]} ended at once with exit code {workload.exit_code}{words}",
                hint="the pod was not kept: it needs a command that goes on running",
            )
        save(instance, record)
    except BaseException:
        remove(instance, record.name)
        raise
    return workload


def remove(instance: Instance, name: str) -> None:
    """Kill a pod's processes and remove its cgroup, namespace and files."""
    cgroups.kill_and_remove(cgroups.pod_cgroup(instance, name))
    network.delete_pod_network(instance, name)
    shutil.rmtree(instance.pod_directory(name), ignore_errors=True)


def free_number(taken: set[int]) -> int:
    """A pod number that is not in use. Raises `LocalModeError` when all are."""
    for number in range(network.FIRST_NUMBER, network.LAST_NUMBER + 1):
        if number not in taken:
            return number
    raise LocalModeError(f"there are already {len(taken)} pods", hint="delete one, or use another instance")


def _find(request: Run) -> str:
    if not request.command:
        raise UsageError("no command was given", hint="kube-gateway local run NAME -- COMMAND...")
    program = shutil.which(request.command[0], path=request.environment.get("PATH"))
    if program is None or not Path(request.directory).is_dir():
        raise UsageError(f"the command {request.command[0]!r} was not found", hint="give a program on the PATH")
    return str(Path(request.directory, program))


async def _spawn(instance: Instance, request: Run, program: str) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in request.environment.items() if not name.startswith(_OURS)}
    with instance.log_of(request.name, "app").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *in_pod(instance, request.name, [program, *request.command[1:]]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=request.directory,
            start_new_session=True,
        )


def _last_words(instance: Instance, name: str) -> str:
    with contextlib.suppress(OSError):
        lines = instance.log_of(name, "app").read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return "".join(f"\n  {line}" for line in lines)
    return ""
