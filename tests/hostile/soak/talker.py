"""The application of a pod under load: it serves and it dials, and keeps an exact account of both.

    python talker.py PORT SOCKET

Every connection carries a seeded stream each way, which the receiver checks byte by byte. What to do comes over the unix
socket, one JSON line a connection; the answer is a list of records, one for each end of a connection. It runs by its path,
as a program of the pod, and knows nothing of kube-gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import random
import struct
import sys
import time

from seeded import Seeded

# Number of the connection (a pod's own, and the side that dialled), kind, bytes that the server shall send.
HEADER = struct.Struct("!QBI")
KINDS = ("long", "short", "idle")
PIECE = 16_384
STALLED = 40.0
CLOSING_WITHIN = 30.0


class End:
    """One end of a connection, and what it has seen."""

    def __init__(self, reader, writer, *, role):
        self.reader, self.writer, self.role = reader, writer, role
        self.number, self.kind, self.error, self.wrong = 0, "", "", None
        self.sent = self.received = 0
        self.opened = self.heard = time.monotonic()
        self.first = self.ended = None
        self.stall = 0.0
        self.patience = STALLED

    def begin(self, number, kind):
        self.number, self.kind = number, kind
        if kind == "idle":
            self.patience = None
        names = f"{number}/up", f"{number}/down"
        self.out, self.into = map(Seeded, names if self.role == "client" else reversed(names))

    async def say(self, length):
        self.writer.write(self.out.take(length))
        self.sent += length
        await self.writer.drain()

    async def hear(self):
        """The next bytes, checked; none at the end of the stream."""
        async with asyncio.timeout(self.patience):
            piece = await self.reader.read(PIECE)
        now = time.monotonic()
        self.stall, self.heard = max(self.stall, now - self.heard), now
        if piece and self.first is None:
            self.first = now
        wrong = self.into.first_wrong(piece)
        if wrong is not None and self.wrong is None:
            self.wrong = wrong
        self.received += len(piece)
        return piece

    async def hear_all(self):
        while await self.hear():
            pass

    async def say_paced(self, pace, stop):
        chance = random.Random(self.number)
        while not stop():
            length = chance.randrange(1, PIECE)
            await self.say(length)
            await asyncio.sleep(length / pace)
        self.writer.write_eof()

    async def say_all(self, length):
        while length > 0:
            await self.say(min(length, PIECE))
            length -= PIECE
        self.writer.write_eof()

    async def answer(self):
        """As many bytes as came, until no more come."""
        while piece := await self.hear():
            await self.say(len(piece))
        self.writer.write_eof()

    def failed(self, error):
        self.error = named(error)
        # What has gone wrong is to be seen at the other end, too.
        self.writer.transport.abort()

    async def close(self):
        self.ended = time.monotonic()
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def record(self):
        names = ("number", "kind", "role", "error", "wrong", "sent", "received", "opened", "first", "ended", "stall")
        return {name: getattr(self, name) for name in names}


class Talker:
    def __init__(self, port):
        self.port = port
        self.serving, self.served, self.empty = set(), [], 0
        self.dialled, self.tasks = [], set()
        self.stopping = False
        self.pace = 0

    # As a server.

    async def serve(self, reader, writer):
        end = End(reader, writer, role="server")
        self.serving.add(end)
        try:
            number, kind, wanted = HEADER.unpack(await reader.readexactly(HEADER.size))
            end.begin(number, KINDS[kind])
            self.served.append(end)
            await self.serve_stream(end, wanted)
        except asyncio.IncompleteReadError:
            # Dialled, and nothing said: a gateway that tried, and then tried another way.
            self.empty += 1
        except (OSError, TimeoutError) as error:
            end.failed(error)
        finally:
            await end.close()
            self.serving.discard(end)

    async def serve_stream(self, end, wanted):
        if end.kind == "idle":
            await end.answer()
            return
        hearing = asyncio.create_task(end.hear_all())
        saying = end.say_paced(wanted, hearing.done) if end.kind == "long" else end.say_all(wanted)
        await both(asyncio.create_task(saying), hearing)

    # As a client.

    async def dial(self, address, number, kind, act, wanted):
        opened = time.monotonic()
        try:
            async with asyncio.timeout(STALLED):
                reader, writer = await asyncio.open_connection(address, self.port)
        except (OSError, TimeoutError) as error:
            self.dialled.append({"number": number, "kind": kind, "role": "client", "error": named(error),
                                 "wrong": None, "sent": 0, "received": 0, "opened": opened, "first": None,
                                 "ended": time.monotonic(), "stall": 0.0})  # fmt: skip
            return
        end = End(reader, writer, role="client")
        end.opened = opened
        end.begin(number, kind)
        try:
            writer.write(HEADER.pack(number, KINDS.index(kind), wanted))
            await act(end)
        except (OSError, TimeoutError) as error:
            end.failed(error)
        finally:
            await end.close()
            self.dialled.append(end.record())

    async def long(self, end):
        saying = end.say_paced(self.pace, lambda: self.stopping)
        await both(asyncio.create_task(saying), asyncio.create_task(end.hear_all()))

    async def idle(self, end):
        """A few bytes at once, and a few when everything is over."""
        await end.say(64)
        while end.received < 64:
            if not await end.hear():
                raise ConnectionError("the answer is not whole")
        while not self.stopping:
            await asyncio.sleep(0.05)
        end.heard = time.monotonic()
        await end.say(64)
        end.writer.write_eof()
        await end.hear_all()

    def short(self, length):
        async def act(end):
            await both(asyncio.create_task(end.say_all(length)), asyncio.create_task(end.hear_all()))

        return act

    async def load(self, job):
        """Start long and idle streams now, and short connections all the time."""
        chance = random.Random(job["seed"])
        numbers = iter(range(job["seed"] << 32, (job["seed"] + 1) << 32))
        self.stopping, self.pace = False, job["pace"]
        addresses = job["to"]
        for kind, act, count in (("long", self.long, job["long"]), ("idle", self.idle, job["idle"])):
            for index in range(count):
                self.start(self.dial(addresses[index % len(addresses)], next(numbers), kind, act, job["pace"]))
        while not self.stopping:
            up, down = (int(2 ** chance.uniform(0, 17)) for _ in range(2))
            address = chance.choice(addresses)
            self.start(self.dial(address, next(numbers), "short", self.short(up), down))
            await asyncio.sleep(1 / job["short_per_second"])

    def start(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # What it is told.

    async def told(self, reader, writer):
        job = json.loads(await reader.readline())
        answer = await getattr(self, "do_" + job["do"])(job)
        writer.write(json.dumps(answer).encode())
        await writer.drain()
        writer.close()

    async def do_start(self, job):
        self.start(self.load(job))
        return {}

    async def do_stop(self, job):
        self.stopping = True
        while self.tasks:
            await asyncio.wait(self.tasks)
        records, self.dialled = self.dialled, []
        return records

    async def do_served(self, job):
        """What was served since the last time, once all of that has ended."""
        give_up = time.monotonic() + CLOSING_WITHIN
        while self.serving and time.monotonic() < give_up:
            await asyncio.sleep(0.02)
        records, self.served = [end.record() for end in self.served], []
        return records

    async def do_standing(self, job):
        return len(self.tasks) - 1


def named(error):
    return errno.errorcode.get(getattr(error, "errno", None), type(error).__name__)


async def both(saying, hearing):
    """Both directions; the first error ends the other one too."""
    try:
        await asyncio.gather(saying, hearing)
    finally:
        saying.cancel()
        hearing.cancel()


async def main(port, path):
    talker = Talker(port)
    servers = [await asyncio.start_server(talker.serve, port=port, backlog=512)]
    servers.append(await asyncio.start_unix_server(talker.told, path))
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
