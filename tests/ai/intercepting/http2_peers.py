"""HTTP/2 without TLS over raw sockets, with a state machine of its own on either side."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
from intercepting_rig import Peer


class Http2:
    """One side of a connection; events come in order."""

    def __init__(self, peer: Peer, *, client: bool) -> None:
        self.peer = peer
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding="utf-8"))
        self.events: list[h2.events.Event] = []
        self.state.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send what the state machine wants to say."""
        if data := self.state.data_to_send():
            self.peer.send(data)

    def headers(self, stream: int, headers: list[tuple[str, str]], *, end: bool = False) -> None:
        """Send a head, or trailers."""
        self.state.send_headers(stream, headers, end_stream=end)
        self.flush()

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send data as the window allows."""
        while True:
            room = min(self.state.local_flow_control_window(stream), self.state.max_outbound_frame_size, len(data))
            last = room == len(data)
            if room or last:
                self.state.send_data(stream, data[:room], end_stream=end and last)
                self.flush()
            data = data[room:]
            if last:
                return
            if not room:
                self.read()

    def read(self) -> None:
        """Read once, and make room for more."""
        data = self.peer.sock.recv(65536)
        if not data:
            self.events.append(h2.events.ConnectionTerminated())
            return
        for event in self.state.receive_data(data):
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.events.append(event)
        self.flush()

    def until(self, kind: type[Any], stream: int | None = None) -> Any:
        """The next event of that kind (of that stream); those before it stay."""
        at = 0
        while True:
            while at < len(self.events):
                event = self.events[at]
                if isinstance(event, kind) and (stream is None or getattr(event, "stream_id", None) == stream):
                    return self.events.pop(at)
                at += 1
            self.read()

    def body(self, stream: int) -> bytes:
        """All data of a stream up to its end."""
        self.until(h2.events.StreamEnded, stream)
        return self.received(stream)

    def received(self, stream: int) -> bytes:
        """All data of a stream that has come."""
        pieces = [e for e in self.events if isinstance(e, h2.events.DataReceived) and e.stream_id == stream]
        self.events = [event for event in self.events if event not in pieces]
        return b"".join(piece.data for piece in pieces)


def request(path: str = "/v1/chat/completions", method: str = "POST", **more: str) -> list[tuple[str, str]]:
    """The head of a request; underscores are dashes."""
    head = [(":method", method), (":scheme", "http"), (":authority", "server:80"), (":path", path)]
    return head + [(name.replace("_", "-"), value) for name, value in more.items()]
