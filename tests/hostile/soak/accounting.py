"""From the records of both ends of every connection to what was lost, and how.

A connection is whole when both ends saw its orderly end and each received, byte for byte, all that the other sent. It is
broken when an end saw an error. Everything else is a defect whatever fault was injected: a wrong byte, an orderly end that
came too early, a connection that was served twice, one that never ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a connection. Times are seconds of the machine's monotonic clock; `wrong` is the offset of the first wrong
    byte, `stall` the longest wait for the other side in seconds, `first` when its first byte came."""

    number: int
    kind: str
    role: str
    error: str
    wrong: int | None
    sent: int
    received: int
    opened: float
    first: float | None
    ended: float | None
    stall: float


class Connection(msgspec.Struct, frozen=True):
    """Both ends; `server` is None when nothing arrived there."""

    client: Record
    server: Record | None

    @property
    def broken(self) -> bool:
        """Whether an end saw an error."""
        return bool(self.client.error or (self.server and self.server.error))

    @property
    def refused(self) -> bool:
        """Whether connect() itself failed."""
        return self.client.error == "ECONNREFUSED"

    @property
    def lost(self) -> int:
        """Bytes that were sent, as far as the sender knows, and did not arrive. In both directions."""
        if self.server is None:
            return self.client.sent
        return self.client.sent - self.server.received + self.server.sent - self.client.received

    def met(self, began: float, ended: float) -> bool:
        """Whether it stood at any time between these moments."""
        ends = [record.ended for record in (self.client, self.server) if record and record.ended is not None]
        return self.client.opened <= ended and max(ends) >= began


Interval = tuple[float, float]
"""Begin and end of something, by the machine's monotonic clock."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What came of all connections. `defects` must be empty whatever happened."""

    connections: tuple[Connection, ...]
    defects: tuple[str, ...]

    @property
    def broken(self) -> list[Connection]:
        """Connections of which an end saw an error."""
        return [connection for connection in self.connections if connection.broken]

    @property
    def received(self) -> int:
        """Bytes that arrived and were compared."""
        return sum(record.received for connection in self.connections for record in _ends(connection))

    @property
    def lost(self) -> int:
        """Bytes lost with connections that broke; others lose none, or it is a defect."""
        return sum(connection.lost for connection in self.broken)

    @property
    def longest_stall(self) -> float:
        """Seconds that the unluckiest connection waited for bytes that were under way."""
        long = [connection for connection in self.connections if connection.client.kind == "long"]
        return max((record.stall for connection in long for record in _ends(connection)), default=0.0)

    def slowest_first(self) -> float:
        """Seconds from connect() to the first byte, of the unluckiest connection that got one."""
        return max((c.client.first - c.client.opened for c in self.connections if c.client.first), default=0.0)

    def unexplained(self, intervals: Sequence[Interval]) -> list[Connection]:
        """Those that broke though they stood in none of these intervals."""
        return [connection for connection in self.broken if not any(connection.met(*each) for each in intervals)]

    def summary(self) -> str:
        """For the message of a failed test."""
        errors = Counter(error for c in self.broken for error in {record.error for record in _ends(c)} if error)
        found = f"{len(self.connections)} connections, {len(self.broken)} broken {dict(errors)}, {self.lost} bytes lost"
        return "\n".join([found, *self.defects[:20]])


def account(dialled: Iterable[Record], served: Iterable[Record]) -> Account:
    """Join the two ends of each connection, and say what must not be."""
    servers: dict[int, Record] = {}
    defects = []
    for record in served:
        if record.number in servers:
            defects.append(f"connection {record.number} was served twice")
        servers[record.number] = record
    connections = tuple(Connection(record, servers.pop(record.number, None)) for record in dialled)
    defects += [f"connection {number} was served and never dialled" for number in servers]
    for connection in connections:
        defects += _defects(connection)
    return Account(connections=connections, defects=tuple(defects))


def _defects(connection: Connection) -> Iterable[str]:
    name = f"the {connection.client.kind} connection {connection.client.number}"
    for record in _ends(connection):
        if record.wrong is not None:
            yield f"{name}: byte {record.wrong} is wrong at the {record.role}"
        if record.ended is None:
            yield f"{name} does not end at the {record.role}"
        if record.error == "TimeoutError":
            yield f"{name} stands still at the {record.role}"
    if connection.broken:
        return
    if connection.server is None:
        yield f"{name} ended in order and was never served"
    elif connection.lost:
        yield f"{name} ended in order with {connection.lost} bytes lost"


def _ends(connection: Connection) -> list[Record]:
    return [record for record in (connection.client, connection.server) if record is not None]
