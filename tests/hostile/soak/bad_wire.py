"""A wire that delays, loses, repeats, reorders and corrupts frames, in user space: not every kernel has tc's netem.

    python bad_wire.py PORT BRIDGE SEED DELAY JITTER LOSS REPEAT CORRUPT

Runs in the namespace of the bridge, with `PORT` (the pod's port of it) taken off `BRIDGE`; a TAP device takes its place,
and frames go from one to the other after their time. Delays are in seconds, the rest are probabilities. Prints `ready`,
and when its input ends a line of JSON with what it did.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 2, 0x1000
_FRAME = 65_536
_BUFFER = 8 << 20
_SO_RCVBUFFORCE = 33


class BadWire:
    """Both directions have the same faults."""

    def __init__(self, *, seed, delay, jitter, loss, repeat, corrupt):
        self._chance = random.Random(seed)
        self._delay, self._jitter = delay, jitter
        self._loss, self._repeat, self._corrupt = loss, repeat, corrupt
        self._waiting, self._order = [], itertools.count()
        self.done = dict.fromkeys(("frames", "lost", "repeated", "corrupted", "reordered"), 0)
        self._latest = {}

    def take(self, frame, deliver, now):
        """A frame has come; `deliver` takes it at the other end."""
        self.done["frames"] += 1
        if self._chance.random() < self._loss:
            self.done["lost"] += 1
            return
        if self._chance.random() < self._corrupt:
            self.done["corrupted"] += 1
            place = self._chance.randrange(len(frame))
            frame = frame[:place] + bytes([frame[place] ^ 1 << self._chance.randrange(8)]) + frame[place + 1 :]
        repeats = self._chance.random() < self._repeat
        self.done["repeated"] += repeats
        for _ in range(1 + repeats):
            due = now + self._delay + self._chance.uniform(0, self._jitter)
            self.done["reordered"] += due < self._latest.get(deliver, 0.0)
            self._latest[deliver] = max(due, self._latest.get(deliver, 0.0))
            heapq.heappush(self._waiting, (due, next(self._order), frame, deliver))

    def pass_on(self, now):
        """Deliver what is due; returns the seconds until the next is."""
        while self._waiting and self._waiting[0][0] <= now:
            _, _, frame, deliver = heapq.heappop(self._waiting)
            try:
                deliver(frame)
            except OSError:
                # Corrupted beyond what a device takes, or its queue is full: lost, as on any wire.
                self.done["lost"] += 1
        return max(self._waiting[0][0] - now, 0.0) if self._waiting else 1.0


def open_tap(name, bridge):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    subprocess.run(["ip", "link", "set", name, "master", bridge, "up"], check=True)
    return tap


def open_port(name):
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    port.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    port.bind((name, _ETH_P_ALL))
    port.setblocking(False)
    return port


def carry(wire, port, tap):
    """Until the input ends."""

    def into_tap(frame):
        os.write(tap, frame)

    while True:
        wait = wire.pass_on(time.monotonic())
        ready, _, _ = select.select([port, tap, sys.stdin], [], [], wait)
        now = time.monotonic()
        if sys.stdin in ready:
            return
        if port in ready:
            frame, address = port.recvfrom(_FRAME)
            if address[2] != _PACKET_OUTGOING:
                wire.take(frame, into_tap, now)
        if tap in ready:
            wire.take(os.read(tap, _FRAME), port.send, now)


def main(name, bridge, seed, *numbers):
    delay, jitter, loss, repeat, corrupt = map(float, numbers)
    wire = BadWire(seed=int(seed), delay=delay, jitter=jitter, loss=loss, repeat=repeat, corrupt=corrupt)
    port = open_port(name)
    tap = open_tap(f"{name}-bad", bridge)
    subprocess.run(["ip", "link", "set", name, "nomaster"], check=True)
    print("ready", flush=True)
    try:
        carry(wire, port, tap)
    finally:
        os.close(tap)
        subprocess.run(["ip", "link", "set", name, "master", bridge], check=True)
    print(json.dumps(wire.done), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
