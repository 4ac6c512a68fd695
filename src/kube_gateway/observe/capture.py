"""Capture of everything that crosses an interface, by a process of its own.

    python -m kube_gateway.observe.capture --interface p1 --output X.pcap

It is a separate process because it has to live in another network namespace and must not miss a packet while
its caller is busy. It prints `ready` when the kernel queues packets for it and stops at SIGTERM, or when its
standard input, if that is a pipe, is closed: a caller that is killed leaves no capture behind. Its last line
is a `CaptureSummary` as JSON.

The kernel tells how many packets did not fit into the socket's buffer. "Not seen" means nothing unless that
is 0, so the count is part of the result; frames beyond the size limit count as dropped too. A caller uses
`Capture`.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from kube_gateway.errors import CaptureError
from kube_gateway.observe.pcap import MAX_FRAME, Frame, PcapWriter

ANY_INTERFACE = "any"

_RECEIVE_BUFFER = 128 << 20
_DEFAULT_LIMIT = 1 << 30
_STOP_SECONDS = 10
_START_SECONDS = 10
_DRAIN_AT_ONCE = 256

# linux/if_packet.h, linux/if_arp.h, asm-generic/socket.h: not in Python's socket module
_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_ARPHRD_ETHERNET_LIKE = (1, 772)  # Ethernet and loopback
_BPF_RETURN_0 = struct.pack("=HBBI", 6, 0, 0, 0)


class CaptureSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was captured; `dropped` counts frames that are missing in the file, `bytes` is their length on the wire."""

    packets: int
    bytes: int
    dropped: int


class Capture:
    """A running capture. Leaving the context stops it; `stop` also returns what was captured."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.output = output
        self._process = process

    @classmethod
    def start(cls, *, interface: str, output: Path, namespace: Path | None = None) -> Capture:
        """Start capturing `interface` (or `any`) into `output` and return when no later packet can be missed.

        `namespace` is the file of a network namespace, such as `/run/netns/NAME`; None is the caller's own.
        Raises `CaptureError` when the capture cannot start.
        """
        command = [sys.executable, "-m", __name__, "--interface", interface, "--output", str(output)]
        if namespace is not None:
            command = ["nsenter", f"--net={namespace}", *command]
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise CaptureError(f"capture cannot be started: {command[0]}: {error.strerror}") from error
        capture = cls(process, output)
        if capture._first_line() != "ready":
            _, problem = capture._end()
            lines = problem.strip().splitlines() or ["it gave no reason"]
            raise CaptureError(f"capture of {interface} cannot be started: {lines[-1].removeprefix('error: ')}")
        return capture

    def stop(self) -> CaptureSummary:
        """End the capture and return its summary. Raises `CaptureError` when it failed or dropped packets."""
        output, problem = self._end()
        if self._process.returncode != 0:
            reason = (problem.strip().splitlines() or [f"exit status {self._process.returncode}"])[-1]
            raise CaptureError(f"capture failed: {reason.removeprefix('error: ')}")
        summary = msgspec.json.decode(output, type=CaptureSummary)
        if summary.dropped:
            raise CaptureError(
                f"capture missed {summary.dropped} of {summary.packets + summary.dropped} packets, "
                "so what was not seen may still have been there",
                hint="repeat with less traffic on the machine",
            )
        return summary

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._end()

    def _first_line(self) -> str:
        stream = self._process.stdout
        if stream is None or not select.select([stream], [], [], _START_SECONDS)[0]:
            return ""
        return stream.readline().strip()

    def _end(self) -> tuple[str, str]:
        self._process.terminate()
        try:
            return self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.communicate()


def main(arguments: Sequence[str] | None = None) -> int:
    """Capture until told to stop; return the exit status."""
    parser = argparse.ArgumentParser(prog="capture", description="Capture an interface into a pcap file.")
    parser.add_argument("--interface", required=True, help="name, or 'any' for all of this network namespace")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--limit", type=int, default=_DEFAULT_LIMIT, help="bytes in the file; more count as dropped")
    options = parser.parse_args(arguments)
    try:
        summary = _run(options.interface, options.output, options.limit)
    except OSError as error:
        sys.stderr.write(f"error: {error.strerror or error}\n")
        return 1
    sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    return 0


def _run(interface: str, output: Path, limit: int) -> CaptureSummary:
    wakeup, signalled = os.pipe()
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with _open_socket(interface) as packets, output.open("wb", buffering=1 << 20) as file:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        recorder = _Recorder(packets, PcapWriter(file), limit)
        poll = select.poll()
        poll.register(packets, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            poll.register(0, select.POLLHUP)
        while {fd for fd, _ in poll.poll()} <= {packets.fileno()}:
            recorder.drain(at_most=_DRAIN_AT_ONCE)
        # As libpcap does it: let nothing more in, then take what is queued. Otherwise a busy wire would never end.
        _attach_filter(packets, _BPF_RETURN_0)
        recorder.drain(at_most=None)
        return recorder.summary()


def _open_socket(interface: str) -> socket.socket:
    """Return a socket that queues the frames of `interface`, in both directions, from now on."""
    # A socket made with a protocol takes every interface at once; one without queues nothing until it is bound.
    protocol = socket.htons(_ETH_P_ALL) if interface == ANY_INTERFACE else 0
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, protocol)
    try:
        packets.setblocking(False)
        packets.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        packets.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if interface != ANY_INTERFACE:
            packets.bind((interface, _ETH_P_ALL))
    except BaseException:
        packets.close()
        raise
    return packets


def _attach_filter(packets: socket.socket, program: bytes) -> None:
    import ctypes  # noqa: PLC0415 - only needed at the end, and slow to import

    instructions = ctypes.create_string_buffer(program)
    descriptor = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, descriptor)


class _Recorder:
    """Moves frames from the socket to the file and counts them."""

    def __init__(self, packets: socket.socket, writer: PcapWriter, limit: int) -> None:
        self._socket = packets
        self._writer = writer
        self._limit = limit
        self._buffer = bytearray(MAX_FRAME)
        self._packets = self._bytes = self._written = self._missing = 0

    def drain(self, *, at_most: int | None) -> None:
        """Record what is queued, `at_most` so many frames."""
        while at_most is None or at_most > 0:
            try:
                size, ancillary, _, address = self._socket.recvmsg_into([self._buffer], 64, socket.MSG_TRUNC)
            except BlockingIOError:
                return
            if at_most is not None:
                at_most -= 1
            self._record(size, ancillary, address)

    def _record(self, size: int, ancillary: list[tuple[int, int, bytes]], address: tuple[object, ...]) -> None:
        data = bytes(memoryview(self._buffer)[: min(size, MAX_FRAME)])
        _, protocol, _, hardware, _ = address
        if hardware not in _ARPHRD_ETHERNET_LIKE and isinstance(protocol, int):
            data, size = (
                bytes(12) + struct.pack("!H", protocol) + data,
                size + 14,
            )  # a tunnel device: no Ethernet header
        if self._written + len(data) > self._limit:
            self._missing += 1
            return
        self._writer.write(Frame(time=_kernel_time(ancillary), data=data, length=size))
        self._packets += 1
        self._bytes += size
        self._written += len(data)

    def summary(self) -> CaptureSummary:
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        _, dropped = struct.unpack("=II", statistics)
        return CaptureSummary(packets=self._packets, bytes=self._bytes, dropped=dropped + self._missing)


def _kernel_time(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return when the kernel took the frame, in nanoseconds since the epoch."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) == 16:
            seconds, nanoseconds = struct.unpack("=qq", data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()


if __name__ == "__main__":
    sys.exit(main())
