"""Answering a gateway's request for a certificate; the same in a cluster and on one machine."""

from __future__ import annotations

import datetime

from kube_gateway.control.messages import Certificate, CertificateRequest
from kube_gateway.identity.bundle import TrustBundle
from kube_gateway.identity.issuer import Issuer
from kube_gateway.model.pod import Pod


def certify(
    request: CertificateRequest, *, pod: Pod, issuer: Issuer, bundle: TrustBundle, life: datetime.timedelta
) -> Certificate:
    """Sign a request for `pod`; every name is the pod's, whatever the request says. Raises `IdentityError`."""
    issued = issuer.sign(request.csr, pod=pod, life=life)
    return Certificate(
        number=request.number,
        serial=f"{issued.serial:x}",
        expires=issued.expires,
        chain=issued.chain,
        trust_bundle=bundle.pem,
        trust_generation=bundle.generation,
        spiffe_id=issued.spiffe_id,
        trust_domain=issuer.trust_domain,
    )
