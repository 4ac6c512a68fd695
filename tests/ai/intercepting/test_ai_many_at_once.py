"""Many connections at once, and what they may hold of memory."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from pathlib import Path

import pytest
from intercepting_rig import PATIENCE, Decision, Engine, Peer, Plan, Response, Rig, chunked, ok, post

pytestmark = pytest.mark.root
MEGABYTE = 1 << 20


def answer_all(upstream, answer: bytes, count: int) -> None:
    def serve(peer: Peer) -> None:
        while True:
            try:
                head = peer.until(b"\r\n\r\n")
            except (AssertionError, OSError):
                return
            peer.exactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            peer.send(answer)

    for _ in range(count):
        threading.Thread(target=serve, args=(upstream.accept(),), daemon=True).start()


def test_each_client_gets_its_own_answers(rig: Rig):
    engine = Engine(lambda seen: Decision(body=seen.body[::-1], response=Response(plan=Plan(replace=(b"a", b"bb")))))
    rig.core.set_policy(engine)
    upstream, address = rig.upstream()
    clients = [rig.connect(address) for _ in range(50)]
    answer_all(upstream, ok(b'{"a":"a"}'), len(clients))

    def ask(client: Peer) -> None:
        for number in range(10):
            client.send(post(b"[%d]" % number))
            assert client.until(b"}").endswith(b"\r\n\r\n" + b'{"bb":"bb"}')

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        list(pool.map(ask, clients))
    assert len(engine.decisions) == 500
    for decision in engine.decisions:
        assert decision.endings.get(timeout=PATIENCE)[1]["status"] == 200
    time.sleep(0.2)
    for decision in engine.decisions:
        assert decision.endings.empty()


def test_idle_connections_hold_next_to_nothing(rig: Rig):
    rig.core.set_policy(Engine())
    upstream, address = rig.upstream()
    before = resident()
    clients = [rig.connect(address) for _ in range(400)]
    threading.Thread(target=answer_all, args=(upstream, ok(b"x" * 20_000), len(clients)), daemon=True).start()
    for client in clients:
        client.send(post(b"{}"))
        client.until(b"x" * 20_000)
    assert (resident() - before) / len(clients) < 64 * 1024
    for client in clients:
        client.close()


def resident() -> int:
    time.sleep(0.2)
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024


def test_what_all_connections_hold_is_bounded(rig: Rig):
    """Bodies of clients that never end them are held, up to a bound for all; then others are told so, and it recovers."""
    rig.core.set_policy(Engine(body_limit=600 * MEGABYTE))
    before = rig.counters()["llm_over_limit"]
    client, server = rig.pair(post(b"").replace(b"Length: 0", b"Length: %d" % (590 * MEGABYTE)))
    client.sock.settimeout(60)
    block = b" " * MEGABYTE
    for _ in range(520):
        client.send(block)
    assert client.until(b"\r\n").startswith(b"HTTP/1.1 503 ")
    assert rig.counters()["llm_over_limit"] == before + 1
    client.close()
    other, server = rig.pair(post(b"{}"))
    server.until(b"{}")
    other.close()


def test_a_slow_reader_stops_a_fast_server(rig: Rig):
    for plan in (None, Response(plan=Plan())):
        rig.core.set_policy(Engine(lambda _, plan=plan: Decision(response=plan)))
        client, server = rig.pair(post(b"{}"))
        server.until(b"{}")
        server.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        server.sock.settimeout(1)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 200 * MEGABYTE:
                server.send(chunked(b"x" * MEGABYTE)[:-5])
                sent += MEGABYTE
        assert sent < 50 * MEGABYTE
        client.close()
