"""Whether the other side is a gateway of this very pod, and at the other end of the socket itself.

The certificate shows the first: nobody else in the pod has its key. The second has to be asked for because descriptors
travel beside what TLS protects: an application that sits between two gateways and passes on what each says would get
copies of the listeners and of the hooks' maps.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import Any

from kube_gateway import _native
from kube_gateway.control.tls import spiffe_id_of_peer
from kube_gateway.errors import HandoverError
from kube_gateway.gateway.handover import kernel, messages
from kube_gateway.gateway.handover.channel import Channel
from kube_gateway.gateway.handover.own import Own


async def introduce(channel: Channel, own: Own) -> messages.Introduction:
    """Make each other known over a fresh connection and return what the partner says of itself.

    Raises `OSError` (TLS errors are such), `IdentityError` or `HandoverError`; then nothing of the partner may be believed.
    """
    await channel.handshake()
    check_certificate(channel.tls, own)
    await channel.send(
        messages.Introduction(
            generation=own.generation,
            socket=kernel.own_cookie(channel.connection),
            cgroup=own.cgroup,
            layout=_native.hooks_layout(),
            takes_policy=True,
        )
    )
    said, _ = await channel.receive()
    if not isinstance(said, messages.Introduction):
        raise HandoverError("the other gateway does not introduce itself")
    check_direct(channel, said)
    return said


def check_certificate(connection: ssl.SSLObject, own: Own) -> None:
    """Hold the partner's certificate, whose chain TLS has verified, against our own. Raises `IdentityError` or
    `HandoverError`.

    Where it names the pod's uid (subject, userId) that has to agree too: pods on the node's network share addresses.
    """
    expected, _ = _native.read_certificate(own.identity.chain)
    found = spiffe_id_of_peer(connection)
    certificate: dict[str, Any] = connection.getpeercert() or {}
    names = certificate.get("subjectAltName", ())
    addresses = {ipaddress.ip_address(value.strip()) for kind, value in names if kind == "IP Address"}
    users = {value for names in certificate.get("subject", ()) for kind, value in names if kind == "userId"}
    if found != expected:
        raise HandoverError(f"the other side is {found}, not {expected}")
    if addresses != {ipaddress.ip_address(address) for address in own.addresses}:
        raise HandoverError(f"the other side's certificate is for {', '.join(map(str, addresses)) or 'no address'}")
    if users - {own.uid}:
        raise HandoverError("the other side's certificate is of another pod")


def check_direct(channel: Channel, said: messages.Introduction) -> None:
    """Raise `HandoverError` unless the socket at the other end is the one that the partner speaks through."""
    found = kernel.cookie_of_peer(channel.connection)
    if found == 0:
        raise ConnectionResetError("the other side closed the connection")
    if found != said.socket:
        raise HandoverError("another process of the pod sits between the gateways")
