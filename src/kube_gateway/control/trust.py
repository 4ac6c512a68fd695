"""What gateways are told of roots and revocations, and how far they are; the same in a cluster and on one machine.

Level-triggered: what is wanted is compared with what a gateway last reported to be in use, and said again until both
agree.
"""

from __future__ import annotations

import time

from kube_gateway.control import messages
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.observed import Obstacle
from kube_gateway.identity.bundle import TrustBundle
from kube_gateway.identity.revocation import Revocations
from kube_gateway.identity.rotation import Holder, Rotation
from kube_gateway.model.pod import Pod


def tell(
    gateway: ConnectedGateway, *, bundle: TrustBundle, rotation: Rotation | None, revocations: Revocations
) -> None:
    """Say what a gateway does not know yet, if it is connected."""
    gateway.tell_revoked(tuple(sorted(one.uid for one in revocations)))
    said = gateway.identity
    if said is None or gateway.state == "draining":
        return
    if said.trust_generation != bundle.generation:
        gateway.tell(messages.Trust(trust_bundle=bundle.pem))
    if rotation is not None and rotation.stage != "introduce" and said.issuer != rotation.new:
        gateway.tell(messages.Renew())


def revoked(pod: Pod) -> Obstacle:
    """Why a pod that is revoked gets no gateway."""
    return Obstacle(
        reason="Revoked",
        message=f"{pod.key} is revoked: it gets no certificate, and its peers refuse it",
        hint=f"delete the pod, or take it back: kube-gateway unrevoke {pod.name}",
    )


def holder(gateway: ConnectedGateway, *, name: str, life: float) -> Holder | None:
    """How far a gateway is; None for one that takes nothing new any more, and needs no certificate.

    `life` is that of certificates: one that has not said a word may have got one when it was last seen.
    """
    if gateway.state == "draining":
        return None
    expires = gateway.report.certificate_expires if gateway.report is not None else 0.0
    if gateway.identity is None or expires == 0.0:
        expires = max(expires, time.time() - gateway.silence + life)
    said = gateway.identity
    return Holder(
        name=name,
        trust_generation=said.trust_generation if said is not None else 0,
        issuer=said.issuer if said is not None else "",
        expires=expires,
        reachable=gateway.is_connected,
    )
