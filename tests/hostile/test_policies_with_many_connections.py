"""A policy that changes while hundreds of connections stand: who is not allowed any more is cut off, and nobody else."""

from __future__ import annotations

import sys
import time

import pytest

from hostile.length import amount

pytestmark = pytest.mark.root

CUT = "A policy that changes ends every connection that it does not allow, at once, and no other"

SERVER = """
import asyncio
async def serve(reader, writer):
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", 9000, backlog=1024)
    print("listening", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
# Half of them speak ten times a second, half are idle. At a word on stdin it tells how many have ended, and when.
CLIENT = """
import asyncio, sys, time
ended, echoes = {}, 0
async def hold(number, address, ready):
    global echoes
    reader, writer = await asyncio.open_connection(address, 9000)
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    ready.release()
    try:
        while number % 2:
            await asyncio.sleep(0.1)
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"
            echoes += 1
        await reader.readexactly(1)
    except (OSError, asyncio.IncompleteReadError) as error:
        ended[number] = type(error).__name__, time.monotonic()
async def main():
    address, count = sys.argv[1], int(sys.argv[2])
    ready = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(hold(number, address, ready)) for number in range(count)]
    for _ in tasks:
        await ready.acquire()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    resets = sum(how == "ConnectionResetError" for how, _ in ended.values())
    last = max((when for _, when in ended.values()), default=0.0)
    print(len(ended), resets, last, flush=True)
    import os; os._exit(0)
asyncio.run(main())
"""
ONLY_WEB = """
apiVersion: kube-gateway.io/v1alpha1
kind: GatewayPolicy
metadata: {name: orders}
spec:
  selector: {matchLabels: {app: orders}}
  rules:
    - from: [{serviceAccount: web}]
      ports: [9000]
"""


def test_hundreds_of_connections(instance, figures):
    count = amount(full=400, short=100)
    encrypted = {"kube-gateway.io/encrypt": "true"}
    instance.client.run("orders", (sys.executable, "-u", "-c", SERVER), annotations=encrypted, service_account="orders")
    for name in ("web", "job"):
        instance.client.run(name, ("sleep", "3600"), annotations=encrypted, service_account=name)
    for name in ("orders", "web", "job"):
        instance.client.wait_settled(name, timeout=60)
    instance.wait_log("orders", "listening", container="app")
    clients = {
        name: instance.start(name, sys.executable, "-c", CLIENT, instance.address("orders"), str(count), stdin=-1)
        for name in ("web", "job")
    }
    try:
        for client in clients.values():
            assert client.stdout.readline() == "ready\n", client.stderr.read()
        began = time.monotonic()
        instance.client.apply_policies(ONLY_WEB)
        time.sleep(3.0)
        said = {name: client.communicate("\n", timeout=30)[0].split() for name, client in clients.items()}
    finally:
        for client in clients.values():
            client.kill()
            client.wait()
    ended, resets, last = int(said["job"][0]), int(said["job"][1]), float(said["job"][2])
    assert (ended, resets) == (count, count)
    assert said["web"][:2] == ["0", "0"]
    # The monotonic clock is one for all processes of the machine.
    assert 0 < last - began < 2.0
    figures(CUT, connections_cut=ended, connections_kept=count, wrongly_cut=0, seconds_until_the_last=last - began)
