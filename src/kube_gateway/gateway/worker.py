"""The worker: the process that holds the connections.

It gives up every privilege before it takes the first connection; what it needs of the kernel it gets as descriptors. It
knows nothing but what the supervisor tells it, and ends with it. Started by the supervisor as
`python -m kube_gateway.gateway.worker FD`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from kube_gateway import _native
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.libraries import open_libraries, use_libraries
from kube_gateway.gateway.logs import set_debug, start_logging
from kube_gateway.gateway.worker_figures import WorkerFigures
from kube_gateway.model.flow import GatewaySnapshot

if TYPE_CHECKING:
    from kube_gateway.gateway.worker_calls import Calls

_STATE_EVERY = 1.0
_log = logging.getLogger("worker")
_snapshot = msgspec.json.Decoder(GatewaySnapshot)


class Worker:
    """Applies the supervisor's messages to the native core."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._core: _native.Core | None = None
        self._calls: Calls | None = None
        self._figures = WorkerFigures(more=lambda: self._calls.page() if self._calls is not None else b"")
        self._identity = 0

    def run(self) -> None:
        """Serve until the supervisor ends."""
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                self._report()
                due = time.monotonic() + _STATE_EVERY
            self._channel.settimeout(max(due - time.monotonic(), 0.001))
            try:
                packet, descriptors, _, _ = socket.recv_fds(self._channel, messages.PACKET, messages.MOST_DESCRIPTORS)
            except TimeoutError:
                continue
            if not packet:
                return
            try:
                self._apply(messages.to_worker.decode(packet), descriptors)
            except (_native.NativeError, ValueError) as error:
                reason = str(error.args[0] if error.args else error)
                messages.send(self._channel, messages.Failed(reason=reason))

    def _apply(self, message: messages.ToWorker, descriptors: list[int]) -> None:
        if isinstance(message, messages.Start):
            self._start(message, descriptors)
            return
        core = self._core
        if core is None:
            raise ValueError(f"{type(message).__name__} before Start")
        match message:
            case messages.UseIdentity() | messages.SetRevoked() | messages.SetAuthorization():
                self._judge_peers(core, message)
            case messages.SetMode():
                set_debug(debug=message.debug)
                core.configure(mode=message.mode, debug=message.debug)
            case messages.Listen():
                for descriptor in descriptors:
                    core.listen(message.kind, descriptor)
            case messages.StopListening():
                core.stop_listening(message.kind)
            case messages.Answer() | messages.ServiceAnswer() | messages.SetWatcher() | messages.RememberEnrolled():
                _learn(core, message)
            case messages.ServeFigures() | messages.ShowFigures():
                self._show_figures(message, descriptors)
            case messages.UsePolicy() | messages.LeaveCallsAlone():
                self._control_calls(core, message, descriptors)
            case messages.Drain():
                core.drain()
            case messages.AreYouReady():
                messages.send(self._channel, messages.Ready())

    def _start(self, message: messages.Start, descriptors: list[int]) -> None:
        maps = dict(zip(message.maps, descriptors, strict=True))
        self._core = _native.Core(addresses=list(message.addresses), maps=maps, threads=message.threads)
        threading.Thread(target=self._forward_queries, args=(self._core,), daemon=True).start()

    def _judge_peers(
        self, core: _native.Core, message: messages.UseIdentity | messages.SetRevoked | messages.SetAuthorization
    ) -> None:
        match message:
            case messages.UseIdentity():
                core.set_identity(
                    chain=message.chain,
                    key=message.key,
                    trust_bundle=message.trust_bundle,
                    trust_domain=message.trust_domain,
                )
                self._identity = message.number
                self._report()
            case messages.SetRevoked():
                core.set_revoked(list(message.uids))
            case messages.SetAuthorization():
                core.set_authorization(name=message.name, rules=message.text.encode())

    def _control_calls(
        self,
        core: _native.Core,
        message: messages.UsePolicy | messages.LeaveCallsAlone,
        descriptors: list[int],
    ) -> None:
        if self._calls is None:
            # Not needed without AI control, and not small.
            from kube_gateway.gateway.worker_calls import Calls  # noqa: PLC0415

            self._calls = Calls(core, changed=self._report_calls)
        match message:
            case messages.UsePolicy():
                self._calls.use(message, descriptors)
            case messages.LeaveCallsAlone():
                self._calls.leave_alone()

    def _show_figures(self, message: messages.ServeFigures | messages.ShowFigures, descriptors: list[int]) -> None:
        match message:
            case messages.ServeFigures():
                self._figures.serve(descriptors)
            case messages.ShowFigures():
                self._figures.show(message.page)

    def _report(self) -> None:
        if self._core is not None:
            # Apart from each other: together they may be longer than a packet.
            self._report_calls()
            snapshot = _snapshot.decode(self._core.snapshot())
            self._say(messages.State(snapshot=snapshot, active=self._core.active(), identity=self._identity))

    def _report_calls(self) -> None:
        said = self._calls.report() if self._calls is not None else None
        if said is not None:
            self._say(messages.CallState(ai=said))

    def _forward_queries(self, core: _native.Core) -> None:
        while True:
            query = core.next_query(60.0)
            if query is not None:
                address, port = query
                self._say(
                    messages.Query(address=address)
                    if port is None
                    else messages.ServiceQuery(address=address, port=port)
                )

    def _say(self, message: messages.FromWorker) -> None:
        while True:
            # The socket's timeout is there for the main thread, which receives.
            with contextlib.suppress(TimeoutError):
                messages.send(self._channel, message)
                return


def _learn(
    core: _native.Core,
    message: messages.Answer | messages.ServiceAnswer | messages.SetWatcher | messages.RememberEnrolled,
) -> None:
    """What the watcher says, or an earlier worker has found out."""
    match message:
        case messages.Answer():
            core.answer(message.address, message.enrolled)
        case messages.ServiceAnswer():
            _learn_service(core, message)
        case messages.SetWatcher():
            core.set_watcher(is_there=message.is_there)
        case messages.RememberEnrolled():
            core.remember_enrolled(list(message.addresses))


def _learn_service(core: _native.Core, message: messages.ServiceAnswer) -> None:
    service = message.service
    core.answer_service(
        message.address,
        message.port,
        service=service.service if service else None,
        backends=[(backend.address, backend.port) for backend in service.backends] if service else [],
        affinity_seconds=service.affinity_seconds if service else 0,
    )


def main() -> None:
    """Entry point of the worker process."""
    start_logging()
    channel = socket.socket(fileno=int(sys.argv[1]))
    try:
        libraries = open_libraries()
        _native.drop_privileges()
        use_libraries(libraries)
        Worker(channel).run()
    except _native.NativeError as error:
        _log.error("%s", error.args[0])
        os._exit(1)
    except (BrokenPipeError, ConnectionResetError):
        _log.debug("the supervisor is gone")
    # Without waiting for connections: whoever wanted them to finish has sent Drain and waited.
    os._exit(0)


if __name__ == "__main__":
    main()
