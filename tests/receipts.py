"""A gateway's surroundings and identity, for tests of receipts."""

from __future__ import annotations

import datetime

from kube_gateway import _native
from kube_gateway.control.whereabouts import Whereabouts
from kube_gateway.gateway.certificate import Identity
from kube_gateway.gateway.environment import GatewayEnvironment
from kube_gateway.identity.authority import Authority
from kube_gateway.identity.issuer import RootIssuer
from kube_gateway.model.pod import Pod

POD = Pod(name="web-0", uid="uid-of-web-0", namespace="shop", service_account="web", addresses=("10.0.0.2",))
HOUR = datetime.timedelta(hours=1)


def environment() -> GatewayEnvironment:
    """As the fourth gateway of `POD` finds it."""
    return GatewayEnvironment(pod=POD.key, uid=POD.uid, generation=4, control=Whereabouts(path="/nowhere"))


def identity_for(
    authority: Authority, *, pod: Pod = POD, life: datetime.timedelta = HOUR, now: datetime.datetime | None = None
) -> Identity:
    """A key, certified for `pod`."""
    key, request = _native.create_key_and_request()
    issued = RootIssuer(authority).sign(request, pod=pod, life=life, now=now)
    return Identity(
        chain=issued.chain,
        key=key,
        trust_bundle=authority.certificate_pem,
        trust_domain=authority.trust_domain,
        expires=issued.expires,
    )
