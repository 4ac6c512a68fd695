"""What the design promises for each fault while connections stand and new ones are made all the time.

The table is ARCHITECTURE's, "Faults under load". What it does not name may not be lost. Whatever happens, no byte is wrong,
lost within a connection that ends in order, or seen twice, and nothing of an enrolled pair is on the wire in clear: only
the death of a whole gateway of a permissive pod allows that.
"""

from __future__ import annotations

import msgspec


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """`may_break`: which connections may, in words; none if empty. `in_clear`: whether payload may cross the wire in clear.
    `first_byte`: seconds that a new connection may wait for its first byte, at most."""

    claim: str
    may_break: str = ""
    in_clear: bool = False
    first_byte: float


ROTATION = Promise(
    claim="Certificates that are replaced every five seconds break no connection, old or new",
    first_byte=2.0,
)
WORKER_KILLED = Promise(
    claim="When a worker is killed only the connections that it carried break; new ones wait for the next",
    may_break="those that stood when a worker was killed",
    # The next worker after many that died waits for two seconds.
    first_byte=6.0,
)
HAND_OVER = Promise(
    claim="A newer gateway takes over from an older one and no connection breaks, old or new",
    first_byte=2.0,
)
GATEWAY_KILLED_STRICT = Promise(
    claim="When a whole gateway of a strict pod is killed nothing leaves in clear until the next one is there",
    may_break="those that stood when it was killed, and those that began before the next one was ready",
    first_byte=12.0,
)
GATEWAY_KILLED = Promise(
    claim="When a whole gateway of a permissive pod is killed new connections of the pod go on in clear at once",
    may_break="those that stood when it was killed",
    in_clear=True,
    first_byte=12.0,
)
WATCHER_KILLED = Promise(
    claim="When the watcher is killed and started again no connection breaks, old or new",
    first_byte=2.0,
)
WIRE = Promise(
    claim="A wire that delays, loses, repeats, reorders and corrupts packets makes connections slow and breaks none",
    first_byte=15.0,
)
FULL_DISK = Promise(
    claim="When the disk with state and logs is full no connection breaks, and what cannot be written down is not done",
    first_byte=2.0,
)
CLOCK = Promise(
    claim="When the clock jumps by an hour connections that stand go on, and new ones are refused for seconds at most",
    may_break="those that began within seconds after the jump",
    first_byte=12.0,
)
CLOCKS_APART = Promise(
    claim="While the clock of one node is an hour off its pods are refused, in clear to nobody, and come back at once",
    may_break="those that began while it was off, or within seconds after",
    first_byte=12.0,
)
DESCRIPTORS = Promise(
    claim="A worker out of descriptors keeps what stands, resets what is new, sends nothing in clear, and recovers",
    may_break="those that began while there were none",
    first_byte=12.0,
)
STARVATION = Promise(
    claim="Gateways that get a tenth of the processor time are slow and break no connection",
    first_byte=15.0,
)
EVERYTHING = Promise(
    claim="Faults of all kinds, one after the other for minutes: nothing is lost that is not named",
    may_break="what each fault may break",
    first_byte=20.0,
)
