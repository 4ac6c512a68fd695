"""Where gateways connect to: mutual TLS, one line each.

A gateway proves with its certificate which pod it is in (SPIFFE id, addresses, uid), and what it says of itself must agree
with that and with what the API shows. A watcher that stands by says who leads.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from asyncio import sslproto
from collections import Counter
from collections.abc import Callable

from kube_gateway import _native
from kube_gateway.control import messages
from kube_gateway.control.conversation import HELLO_WITHIN, LONGEST_LINE, converse
from kube_gateway.control.tls import PeerNames, names_of_peer, server_context
from kube_gateway.errors import IdentityError
from kube_gateway.gateway.wall_clock import WallClock
from kube_gateway.identity.spiffe import spiffe_id_of
from kube_gateway.kube.services import Destination
from kube_gateway.model.pod import Pod
from kube_gateway.watcher.answers import PodAnswers
from kube_gateway.watcher.authority import Signer
from kube_gateway.watcher.cluster import Cluster
from kube_gateway.watcher.configuration import Configuration
from kube_gateway.watcher.generations import generations
from kube_gateway.watcher.objects import PodObject, pod_of

_log = logging.getLogger("watcher")

_KNOWN_WITHIN = 10.0
_HANDSHAKE_WITHIN = 5.0
MOST_UNPROVEN = 1024
"""Connections at once that have not proved yet who they are."""

MOST_UNPROVEN_OF_ONE = 64
"""Of these, from one address: else a single workload could keep all others out. Some networks show a node's address for
all of its pods."""

_LOOK_AT_CLOCK = 1.0
_TELL_AGAIN_AFTER = 600.0
_MOST_TOLD = 1024

# asyncio keeps a buffer of this size for each TLS connection, 256 KiB unless told otherwise. A line carries some hundred
# bytes a second, and there is one for each gateway of the cluster.
sslproto.SSLProtocol.max_size = 16 * 1024

Look = Callable[[str], None]


class ControlEndpoint:
    """Listens from `start` on; answers while it `leads` a cluster."""

    def __init__(self, configuration: Configuration, *, signer: Signer) -> None:
        self._configuration = configuration
        self._signer = signer
        self._server: asyncio.Server | None = None
        self._tls: ssl.SSLContext
        self._cluster: Cluster | None = None
        self._look: Look = lambda _: None
        self._leader = ""
        self._answers: dict[asyncio.StreamWriter, PodAnswers] = {}
        self._unproven: Counter[str] = Counter()
        self._told: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        """Listen, with a certificate that is made anew in time, until cancelled. Raises `OSError`, `IdentityError`."""
        self.renew()
        self._signer.on_change = self.renew
        self._server = await asyncio.start_server(self._serve, port=self._configuration.port, limit=LONGEST_LINE)
        clock, half = WallClock(), self._configuration.certificate_life.total_seconds() / 2
        due = time.monotonic() + half
        while True:
            await asyncio.sleep(min(_LOOK_AT_CLOCK, max(due - time.monotonic(), 0.0)))
            if clock.set_by() or time.monotonic() >= due:
                self.renew()
                due = time.monotonic() + half

    def renew(self) -> None:
        """Another certificate and the roots of now, for those that connect from now on; lines that stand go on.

        Raises `IdentityError`.
        """
        self._tls = self._context()

    def close(self) -> None:
        """Stop listening, and end all lines."""
        if self._server is not None:
            self._server.close()
        self.stand_by()

    def lead(self, cluster: Cluster, look: Look) -> None:
        """Answer for `cluster` from now on; `look(key)` has a pod looked at."""
        self._cluster, self._look = cluster, look

    def stand_by(self) -> None:
        """Send gateways to the one that leads."""
        self._cluster = None
        for writer in list(self._answers):
            writer.close()

    def leader_is(self, control: str) -> None:
        """Where the one that leads listens; empty if nobody does."""
        self._leader = control

    def services_changed(self, changed: set[Destination]) -> None:
        """Tell the gateways that have asked."""
        for answers in self._answers.values() if changed else ():
            answers.services_changed(changed)

    @property
    def lines(self) -> int:
        """How many gateways are connected."""
        return len(self._answers)

    def _context(self) -> ssl.SSLContext:
        key, request = _native.create_key_and_request()
        configuration = self._configuration
        own = Pod(
            name=configuration.name,
            uid=configuration.name,
            namespace=configuration.namespace,
            service_account=configuration.service_account,
            addresses=(configuration.address,),
        )
        issued = self._signer.issuer.sign(request, pod=own, life=configuration.certificate_life)
        return server_context(chain=issued.chain, key=key, trust_bundle=self._signer.bundle.pem)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = (writer.get_extra_info("peername") or ("?",))[0]
        try:
            await self._serve_line(reader, writer, peer=peer)
        except (OSError, ValueError) as error:
            _log.debug("lost the line to %s: %s", peer, error)
        except IdentityError as error:
            self._tell_seldom(peer, error.message)
        finally:
            self._answers.pop(writer, None)
            writer.close()

    async def _serve_line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, peer: str) -> None:
        if self._unproven.total() >= MOST_UNPROVEN or self._unproven[peer] >= MOST_UNPROVEN_OF_ONE:
            raise IdentityError("too many at once have not proved who they are")
        self._unproven[peer] += 1
        try:
            # Nothing may be waited for before this, or the stream would take the handshake's first bytes for data.
            await writer.start_tls(self._tls, ssl_handshake_timeout=_HANDSHAKE_WITHIN)
            names = names_of_peer(writer.get_extra_info("ssl_object"))
            async with asyncio.timeout(HELLO_WITHIN):
                hello = messages.decode_from_gateway(await reader.readline())
            cluster = await self._known()
        finally:
            self._unproven -= Counter({peer: 1})
        if not isinstance(hello, messages.Hello):
            raise IdentityError("it does not introduce itself")
        if cluster is None:
            writer.write(messages.encode(messages.Elsewhere(control=self._leader)))
            await writer.drain()
            return
        seen = _prove(names, hello, cluster, trust_domain=self._signer.issuer.trust_domain)
        self._signer.check(seen.metadata.uid, pod=hello.pod)
        gateway = cluster.memory(hello.pod).line(hello.generation)
        gateway.version = hello.version
        answers = PodAnswers(
            self._configuration,
            cluster=cluster,
            signer=self._signer,
            pod=hello.pod,
            uid=seen.metadata.uid,
            gateway=gateway,
            on_change=self._look,
        )
        self._answers[writer] = answers
        _log.debug("%s: gateway %d (%s) is connected", hello.pod, hello.generation, hello.version)
        await converse(answers, gateway, reader=reader, writer=writer, name=hello.pod)

    async def _known(self) -> Cluster | None:
        """The cluster if we lead, as soon as it is known what is in it."""
        cluster = self._cluster
        if cluster is not None:
            async with asyncio.timeout(_KNOWN_WITHIN):
                await cluster.pods_known()
                await cluster.services_known()
        # Another may lead by now, and a line to us would tell its gateway nothing any more.
        return cluster if cluster is self._cluster else None

    def _tell_seldom(self, peer: str, why: str) -> None:
        """Whoever is not let in comes back every few seconds, and one line is enough."""
        now = time.monotonic()
        if now < self._told.get((peer, why), 0.0):
            return
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told[peer, why] = now + _TELL_AGAIN_AFTER
        _log.warning("%s is not let in: %s", peer, why)


def _prove(names: PeerNames, hello: messages.Hello, cluster: Cluster, *, trust_domain: str) -> PodObject:
    """The pod whose gateway this is. Raises `IdentityError`."""
    seen = cluster.pod(hello.pod)
    if seen is None or seen.has_ended:
        raise IdentityError(f"there is no pod {hello.pod} that runs")
    pod = pod_of(seen, inherited={})
    wanted = PeerNames(
        spiffe_id=str(spiffe_id_of(pod, trust_domain=trust_domain)), uid=pod.uid, addresses=frozenset(pod.addresses)
    )
    if hello.uid != pod.uid or names != wanted:
        raise IdentityError(f"it says it is the gateway of {hello.pod} ({pod.uid}), and its certificate is for {names}")
    known = {generation.number for generation in generations(seen)} | {cluster.memory(hello.pod).started}
    if hello.generation not in known:
        raise IdentityError(f"{hello.pod} has no gateway {hello.generation}")
    return seen
