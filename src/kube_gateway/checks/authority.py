"""Is there a certificate authority, and for how long?"""

from __future__ import annotations

import base64
import binascii
import datetime

import msgspec

from kube_gateway.checks.asking import Refusal, known, read
from kube_gateway.checks.model import Category, Check, Outcome, bad, ok
from kube_gateway.checks.session import Session
from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import Authority, parse_authority
from kube_gateway.watcher.authority_secret import SecretObject
from kube_gateway.watcher.configuration import AUTHORITY_SECRET, CERTIFICATE_KEY, PRIVATE_KEY_KEY

RENEW_BEFORE = datetime.timedelta(days=60)


class AuthorityFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The Secret, None if there is none; `now` has a time zone."""

    namespace: str
    secret: SecretObject | Refusal | None
    now: datetime.datetime


async def fetch(session: Session) -> AuthorityFacts:
    """Raises `KubernetesError`."""
    path = f"/api/v1/namespaces/{session.namespace}/secrets/{AUTHORITY_SECRET}"
    return AuthorityFacts(
        namespace=session.namespace,
        secret=await read(session.client, path, SecretObject),
        now=datetime.datetime.now(datetime.UTC),
    )


def _is_there(facts: AuthorityFacts) -> Outcome:
    secret = known(facts.secret)
    if secret is None:
        return bad(f"there is no Secret {AUTHORITY_SECRET} in the namespace {facts.namespace}")
    missing = [key for key in (CERTIFICATE_KEY, PRIVATE_KEY_KEY) if not secret.data.get(key)]
    return bad(f"it has no {' and no '.join(missing)}") if missing else ok()


def _is_sound(facts: AuthorityFacts) -> Outcome:
    try:
        authority = _parsed(facts)
    except IdentityError as error:
        return bad(error.message, hint=error.hint or "")
    return ok(f"{authority.trust_domain}, sha256 {authority.fingerprint[:16]}")


def _lasts(facts: AuthorityFacts) -> Outcome:
    ends = _parsed(facts).certificate.not_valid_after_utc
    left = ends - facts.now
    said = f"until {ends:%Y-%m-%d}"
    return ok(said) if left > RENEW_BEFORE else bad(f"it is valid for {max(left.days, 0)} days more, {said}")


def _parsed(facts: AuthorityFacts) -> Authority:
    """The authority. Raises `IdentityError`."""
    secret = known(facts.secret)
    data = secret.data if secret is not None else {}
    names = (CERTIFICATE_KEY, PRIVATE_KEY_KEY)
    try:
        certificate, key = (base64.b64decode(data.get(name, ""), validate=True) for name in names)
    except binascii.Error:
        raise IdentityError(f"{' or '.join(names)} is not base64") from None
    return parse_authority(certificate, key, names=names, now=facts.now)


AUTHORITY: Category[AuthorityFacts] = Category(
    name="authority",
    fetch=fetch,
    checks=(
        Check(
            description=f"the Secret {AUTHORITY_SECRET} has a certificate and its key",
            judge=_is_there,
            hint="kube-gateway ca create && kube-gateway ca load",
            stops="category",
        ),
        Check(
            description="they are a root and its key, valid now",
            judge=_is_sound,
            hint="kube-gateway ca create --directory new && kube-gateway ca load --directory new --replace",
            stops="category",
        ),
        Check(
            description=f"the root is valid for more than {RENEW_BEFORE.days} days",
            judge=_lasts,
            hint="kube-gateway ca rotate",
            warns=True,
        ),
    ),
)
