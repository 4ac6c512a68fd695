"""What two gateways of one pod say to each other: one JSON object a packet, descriptors beside it.

They are of different versions, that is what a hand-over is for. So a field that is not known is left out of account, and a
field that is added has a default.
"""

from __future__ import annotations

import msgspec

from kube_gateway.control.decoding import decoded
from kube_gateway.model.ai_report import BudgetCount


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class Introduction(_Message, frozen=True):
    """The first message of each side.

    `socket` is the kernel's cookie of the socket that the sender speaks through, `cgroup` the inode number of its own
    cgroup. `layout` is that of its hooks' maps. `takes_policy`: a newer gateway that says so may be given one.
    """

    generation: int
    socket: int
    cgroup: int
    layout: str
    takes_policy: bool = False


class OfferedPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy for LLM calls that is in force, whose text is in a file; see `UsePolicy` of the worker."""

    source: str
    revision: int
    hash_key: bytes
    budgets: tuple[BudgetCount, ...] = ()


class SeenConnection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A connection in clear by its kernel cookie: for how many seconds at least it has stood, and whether it is older than
    the pod's first gateway of those that took over from each other."""

    cookie: int
    age: float
    older: bool = False


class Offer(_Message, frozen=True):
    """What is handed over.

    The descriptors beside it are, in this order: a listener for each of `listeners` (`redirect`, `tls`, `plain`), a map for
    each of `maps` (none where the layouts differ), and for each of `cgroups` the reading end of a pipe that ends with the
    gateway of that cgroup; the first is the sender. `makers` are the cgroups of gateways that may have made listeners: to
    the kernel, what is accepted is of the cgroup that its listener was made in. `enrolled` are addresses of peers,
    `revoked` uids of pods that are none any more, `seen` connections in clear, None from a gateway that does not tell.
    If there is a `policy`, the file with its text is the last descriptor. `authorization` are the rules of who may reach
    the pod, None while they are not known.
    """

    listeners: tuple[str, ...]
    maps: tuple[str, ...]
    cgroups: tuple[int, ...]
    makers: tuple[int, ...]
    enrolled: tuple[str, ...] = ()
    seen: tuple[SeenConnection, ...] | None = None
    revoked: tuple[str, ...] = ()
    policy: OfferedPolicy | None = None
    authorization: str | None = None


class Refusal(_Message, frozen=True):
    """Nothing is handed over, and why. `later`: it is worth asking again."""

    reason: str
    later: bool = False


class TakenOver(_Message, frozen=True):
    """The newer gateway accepts connections."""


class Yielded(_Message, frozen=True):
    """The older gateway has stopped accepting; the hooks are the newer one's."""


Message = Introduction | Offer | Refusal | TakenOver | Yielded

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the line that carries `message`."""
    return _encoder.encode(message) + b"\n"


def decode(line: bytes) -> Message:
    """Parse a line. Raises `ValueError` when it is no message."""
    return decoded(_decoder, line)
