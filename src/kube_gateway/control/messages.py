"""What a gateway and its watcher say to each other.

One JSON object a line over a stream that both sides have authenticated. Every message is a tagged struct; an unknown tag
or field makes a message one that is not understood, so nothing is guessed between versions: a setting that a gateway
does not know is not silently left out. What has its default value is not sent, so only what is used can be unknown.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from kube_gateway.control.decoding import decoded
from kube_gateway.model.ai_report import AiReport, BudgetCount
from kube_gateway.model.flow import ClearConnection, GatewaySnapshot
from kube_gateway.model.identity_report import IdentityReport
from kube_gateway.model.pod import Pod
from kube_gateway.model.sent import SentReport
from kube_gateway.model.service import ServiceBackends
from kube_gateway.model.settings import Settings


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all messages; the tag is the class name under the key `type`."""


# Gateway to watcher.


class Hello(_Message, frozen=True):
    """First message of a connection: which pod's gateway this is, and of which generation."""

    pod: str
    uid: str
    generation: int
    version: str


class CertificateRequest(_Message, frozen=True):
    """A PEM certificate signing request; only its public key counts, the watcher decides every name.

    The answer has the same `number`.
    """

    number: int
    csr: str


class Report(_Message, frozen=True):
    """Sent every second and after each change: state of the gateway and its counters.

    `state` is `starting`, `ready`, `draining`. `settings_revision` is the revision last applied.
    `certificate_expires` is seconds since the epoch, 0 while there is none. `ai` is there while the settings ask for it,
    `sent` once the hooks are on the pod. `identity` is what the worker proves itself with, None before it
    does.
    """

    state: str
    settings_revision: int
    certificate_expires: float
    clear_connections: tuple[ClearConnection, ...]
    snapshot: GatewaySnapshot
    ai: AiReport | None = None
    sent: SentReport | None = None
    identity: IdentityReport | None = None


class PeerQuery(_Message, frozen=True):
    """Is the workload at `address` enrolled with encryption on?"""

    address: str


class ServiceQuery(_Message, frozen=True):
    """Is TCP port `port` of `address` a Service's? Asked once: the watcher tells every later change of its own accord."""

    address: str
    port: int


class Receipt(_Message, frozen=True):
    """Answers `ReceiptQuery`: a `SignedReceipt` as JSON, or why there is none."""

    number: int
    receipt: str = ""
    problem: str = ""


# Watcher to gateway.


class Configure(_Message, frozen=True):
    """The settings in force. `addresses` are the pod's own; `revision` grows by one with each change.

    `probe_sources` are addresses of the pod's node, `probe_ports` what its kubelet connects to. `authorize`: there are
    rules of who may reach the pod, so nobody may before `Authorize` has said which.
    """

    revision: int
    addresses: tuple[str, ...]
    settings: Settings
    probe_sources: tuple[str, ...] = ()
    probe_ports: tuple[int, ...] = ()
    authorize: bool = False


def configure(settings: Settings, *, pod: Pod, revision: int, authorize: bool) -> Configure:
    """What a gateway of `pod` is told when these settings are in force."""
    return Configure(
        revision=revision,
        addresses=pod.addresses,
        settings=settings,
        probe_sources=pod.probe_sources,
        probe_ports=pod.probe_ports,
        authorize=authorize,
    )


class Authorize(_Message, frozen=True):
    """Who may reach the pod: `encode_authorization` of the rules, empty where no policy selects it. Applies to connections
    that stand as well."""

    text: str


class UsePolicy(_Message, frozen=True):
    """The policy for LLM calls; it has no part in `Configure`, as it may be long and outlives many of those.

    `text` is as its author has written it, empty where nobody has. `source` says where it is, for people. `budgets` are
    what earlier gateways of the pod have reported last.
    """

    text: str
    source: str
    budgets: tuple[BudgetCount, ...] = ()


class Certificate(_Message, frozen=True):
    """A certificate chain for the key of the request with this `number`, and the trust bundle, both PEM.

    `expires` is seconds since the epoch. `trust_generation` changes when the set of trusted roots does. `spiffe_id` and
    `trust_domain` are what peers see. `serial` is hexadecimal.
    """

    number: int
    serial: str
    expires: float
    chain: str
    trust_bundle: str
    trust_generation: int
    spiffe_id: str
    trust_domain: str


class Trust(_Message, frozen=True):
    """The roots that peers may come from, PEM; the certificate stays what it is."""

    trust_bundle: str


class Renew(_Message, frozen=True):
    """Ask for a certificate now: the one in use is of a root that goes."""


class Revoked(_Message, frozen=True):
    """Pods, by uid, that are no peers any more whatever their certificates say; these, and no others."""

    uids: tuple[str, ...] = ()


class PeerAnswer(_Message, frozen=True):
    """Answers `PeerQuery`."""

    address: str
    enrolled: bool


class ServiceAnswer(_Message, frozen=True):
    """Answers `ServiceQuery`; `service` is None where the address is no Service's."""

    address: str
    port: int
    service: ServiceBackends | None = None


class ReceiptQuery(_Message, frozen=True):
    """Sign what the pod has sent in a period, in seconds since the epoch; 0 is from when it was counted, or until now.

    The answer has the same `number`.
    """

    number: int
    since: float = 0.0
    until: float = 0.0


class Flush(_Message, frozen=True):
    """End these connections (kernel socket cookies from `Report.clear_connections`)."""

    cookies: tuple[int, ...]


class Leave(_Message, frozen=True):
    """Undo the hooks, let connections finish for at most `grace` seconds, exit 0."""

    grace: float


class Elsewhere(_Message, frozen=True):
    """This watcher stands by; the one that leads is at `control` (as `KUBE_GATEWAY_CONTROL` has it), empty if unknown."""

    control: str = ""


class Heartbeat(_Message, frozen=True):
    """The watcher is there, and has nothing new."""


FromGateway = Hello | CertificateRequest | Report | PeerQuery | ServiceQuery | Receipt
FromWatcher = (
    Configure
    | Authorize
    | UsePolicy
    | Certificate
    | Trust
    | Renew
    | Revoked
    | PeerAnswer
    | ServiceAnswer
    | ReceiptQuery
    | Flush
    | Leave
    | Elsewhere
    | Heartbeat
)
Line = Annotated[bytes, "one JSON object and a newline"]

_encoder = msgspec.json.Encoder()


def encode(message: FromGateway | FromWatcher) -> Line:
    """Return the line that carries `message`."""
    return _encoder.encode(message) + b"\n"


def decode_from_gateway(line: bytes) -> FromGateway:
    """Parse a line of a gateway. Raises `ValueError` when it is not one of its messages."""
    return decoded(_from_gateway, line)


def decode_from_watcher(line: bytes) -> FromWatcher:
    """Parse a line of the watcher. Raises `ValueError` when it is not one of its messages."""
    return decoded(_from_watcher, line)


_from_gateway: msgspec.json.Decoder[FromGateway] = msgspec.json.Decoder(FromGateway)
_from_watcher: msgspec.json.Decoder[FromWatcher] = msgspec.json.Decoder(FromWatcher)
