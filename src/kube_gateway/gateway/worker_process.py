"""The supervisor's end of the worker: start it, tell it things, start it again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Callable

from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.worker_channel import WorkerChannel
from kube_gateway.model.settings import Settings

_log = logging.getLogger("supervisor")

_THREADS = 2
_STABLE_AFTER = 10.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
"""With the start of a worker less than the five seconds after which the hooks take the gateway for one that hangs: whoever
makes workers die again and again must not bring a permissive pod to speak in clear."""

_KEPT = {"PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG"}


class WorkerProcess:
    """Keeps one worker running. `on_start` is called with each new one, `on_message` with what it says."""

    def __init__(
        self,
        *,
        on_start: Callable[[WorkerProcess], None],
        on_message: Callable[[messages.FromWorker], None],
        on_end: Callable[[], None],
    ) -> None:
        self._on_start = on_start
        self._on_message = on_message
        self._on_end = on_end
        self._channel: WorkerChannel | None = None
        self.pid = 0

    def send(self, message: messages.ToWorker, descriptors: tuple[int, ...] = ()) -> None:
        """Tell the worker; without a worker the next one is told by `on_start`."""
        if self._channel is not None:
            self._channel.send(message, descriptors)

    async def run(self) -> None:
        """Run workers, one after the other, until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            started = time.monotonic()
            code = await self._run_one()
            self._on_end()
            _log.warning("the worker ended with %s, starting another", _describe(code))
            pause = _FIRST_PAUSE if time.monotonic() - started > _STABLE_AFTER else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _run_one(self) -> int:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "kube_gateway.gateway.worker",
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    env=_environment(),
                )
            self.pid = process.pid
            channel = self._channel = WorkerChannel(ours, overflow=lambda: _kill(process))
            reader = asyncio.create_task(self._read(ours, process))
            try:
                self._on_start(self)
                return await process.wait()
            finally:
                self._channel = None
                channel.close()
                reader.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reader
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _read(self, channel: socket.socket, process: asyncio.subprocess.Process) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                packet = await loop.sock_recv(channel, messages.PACKET)
            except ConnectionError:
                return
            if not packet:
                return
            try:
                message = messages.decode_from_worker(packet)
            except ValueError as error:
                # It speaks with strangers, and may be one by now.
                _log.error("the worker says what is no message (%s), ending it", error)
                _kill(process)
                return
            self._on_message(message)


def _kill(process: asyncio.subprocess.Process) -> None:
    # It may have ended just now, and be noticed next.
    with contextlib.suppress(ProcessLookupError):
        process.kill()


def start_message(addresses: tuple[str, ...], maps: dict[str, int]) -> tuple[messages.Start, tuple[int, ...]]:
    """The first message to a worker, and the descriptors that go with it."""
    names = tuple(maps)
    threads = min(_THREADS, os.cpu_count() or 1)
    return messages.Start(addresses=addresses, maps=names, threads=threads), tuple(maps[name] for name in names)


def mode_message(settings: Settings) -> messages.SetMode:
    """What a worker needs of the settings."""
    return messages.SetMode(mode=settings.encryption, debug=settings.debug)


def spelled(settings: Settings) -> str:
    """The settings as the log has them."""
    if not settings.ai:
        return f"encryption {settings.encryption}"
    to = f", all to the model {settings.ai_model}" if settings.ai_model else ""
    return f"encryption {settings.encryption}, LLM calls pass a policy{to}"


def _environment() -> dict[str, str]:
    """What Python needs to find itself, and what OpenTelemetry reads; nothing else is the worker's business."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("OTEL_")}
    return kept | {"MALLOC_ARENA_MAX": "2"}


def _describe(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
