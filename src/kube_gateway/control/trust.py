"""What gateways are told of roots and revocations, and how far they are; the same in a cluster and on one machine.

Level-triggered: what is wanted is compared with what a gateway last reported to be in use, and said again until both
agree.
"""

from __future__ import annotations

import time

from kube_gateway.control import messages
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.observed import Obstacle
from kube_gateway.identity.revocation import Revocations
from kube_gateway.identity.roots import Roots
from kube_gateway.identity.rotation import Holder
from kube_gateway.model.pod import Pod


def tell(gateway: ConnectedGateway, *, roots: Roots, revocations: Revocations) -> None:
    """Say what a gateway does not know yet, if it is connected.

    One whose certificate is of a root that is not trusted any more needs another at once: the authority was replaced by
    hand, or it was away while a rotation ended.
    """
    gateway.tell_revoked(tuple(sorted(one.uid for one in revocations)))
    said = gateway.identity
    if said is None or gateway.state == "draining":
        return
    plan = roots.plan
    if said.trust_generation != plan.trust_generation:
        gateway.tell(messages.Trust(trust_bundle=roots.bundle.pem))
    switched = roots.rotation is not None and roots.rotation.stage != "introduce"
    if said.issuer not in plan.trusted or (switched and said.issuer != plan.signer):
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
