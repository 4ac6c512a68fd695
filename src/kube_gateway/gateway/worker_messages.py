"""What supervisor and worker say to each other: one JSON message a packet of a unix socket, descriptors beside it."""

from __future__ import annotations

import socket

import msgspec

from kube_gateway.control.decoding import decoded
from kube_gateway.model.ai_report import AiReport, BudgetCount
from kube_gateway.model.flow import GatewaySnapshot
from kube_gateway.model.service import ServiceBackends

PACKET = 256 * 1024
MOST_DESCRIPTORS = 8


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    pass


# Supervisor to worker.


class Start(_Message, frozen=True):
    """Begin. The descriptors beside it are the maps, in the order of `maps`."""

    addresses: tuple[str, ...]
    maps: tuple[str, ...]
    threads: int


class UseIdentity(_Message, frozen=True):
    """Certificate chain, private key and trust bundle, PEM. `number` counts identities; see `State`."""

    number: int
    chain: str
    key: str
    trust_bundle: str
    trust_domain: str


class SetRevoked(_Message, frozen=True):
    """Pods, by uid, that are no peers any more whatever their certificates say; these, and no others."""

    uids: tuple[str, ...]


class SetMode(_Message, frozen=True):
    """`none` (no tunnels at all), `off` (tunnels without TLS), `permissive` or `strict`."""

    mode: str
    debug: bool


class Listen(_Message, frozen=True):
    """Accept on the descriptors beside it: `redirect`, `tls` or `plain`."""

    kind: str


class StopListening(_Message, frozen=True):
    """Close the listeners of this kind."""

    kind: str


class Answer(_Message, frozen=True):
    """The watcher's answer to a `Query`."""

    address: str
    enrolled: bool


class ServiceAnswer(_Message, frozen=True):
    """The watcher's answer to a `ServiceQuery`, and each change of it; `service` is None where there is none."""

    address: str
    port: int
    service: ServiceBackends | None


class SetWatcher(_Message, frozen=True):
    """Whether the watcher can answer: nobody waits for one that is away."""

    is_there: bool


class RememberEnrolled(_Message, frozen=True):
    """Peers that an earlier worker knew as enrolled."""

    addresses: tuple[str, ...]


class UsePolicy(_Message, frozen=True):
    """Have LLM calls pass a policy from the next one on.

    Its text is in the file of the descriptor beside it, `source` where it comes from; `revision` counts policies. `model`
    is the model that all calls go to (empty: each to its own). `pod` is whose calls they are (`namespace/name`).
    `hash_key` is for what is hashed; `budgets` are what earlier workers and gateways have counted.
    """

    name: str
    source: str
    revision: int
    model: str
    pod: str
    hash_key: bytes
    budgets: tuple[BudgetCount, ...] = ()


class LeaveCallsAlone(_Message, frozen=True):
    """LLM calls are as any other connection from now on."""


class ServeFigures(_Message, frozen=True):
    """Answer with figures on the listeners beside it; without any, on none any more."""


class ShowFigures(_Message, frozen=True):
    """What to answer there, beside the figures of LLM calls, in Prometheus' text format."""

    page: str


class SetAuthorization(_Message, frozen=True):
    """Who may reach the pod from now on, also on connections that stand; `text` is `encode_authorization`, empty for
    anybody."""

    name: str
    text: str


class Drain(_Message, frozen=True):
    """Take no new tunnels and let streams finish."""


class Ready(_Message, frozen=True):
    """Everything that was sent before `AreYouReady` is in effect."""


class AreYouReady(_Message, frozen=True):
    """Asks for `Ready`."""


# Worker to supervisor.


class State(_Message, frozen=True):
    """Sent each second. `active` counts application connections and accepted sessions that have not ended.

    `identity` is the number of the one that is in use, 0 before the first.
    """

    snapshot: GatewaySnapshot
    active: int
    identity: int = 0


class CallState(_Message, frozen=True):
    """Sent each second while LLM calls pass a policy, and at once when another one is in force or was refused."""

    ai: AiReport


class Query(_Message, frozen=True):
    """Is the workload at `address` enrolled?"""

    address: str


class ServiceQuery(_Message, frozen=True):
    """Is TCP port `port` of `address` a Service's?"""

    address: str
    port: int


class Failed(_Message, frozen=True):
    """The worker cannot do what it was told."""

    reason: str


ToWorker = (
    Start
    | UseIdentity
    | SetRevoked
    | SetMode
    | Listen
    | StopListening
    | Answer
    | ServiceAnswer
    | SetWatcher
    | RememberEnrolled
    | UsePolicy
    | LeaveCallsAlone
    | ServeFigures
    | ShowFigures
    | SetAuthorization
    | Drain
    | AreYouReady
)
FromWorker = Ready | State | CallState | Query | ServiceQuery | Failed

_encoder = msgspec.json.Encoder()
to_worker: msgspec.json.Decoder[ToWorker] = msgspec.json.Decoder(ToWorker)
_from_worker: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)


def encode(message: ToWorker | FromWorker) -> bytes:
    """Return the packet that carries `message`."""
    return _encoder.encode(message)


def decode_from_worker(packet: bytes) -> FromWorker:
    """Parse a packet of the worker, which reads what strangers send. Raises `ValueError` when it is no message of it."""
    return decoded(_from_worker, packet)


def send(channel: socket.socket, message: ToWorker | FromWorker, descriptors: tuple[int, ...] = ()) -> None:
    """Send one message, with descriptors that the other side gets copies of. Raises `OSError`."""
    socket.send_fds(channel, [encode(message)], descriptors)
