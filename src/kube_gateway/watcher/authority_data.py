"""The roots as the Secret `watcher` has them: a value for each, and what is under way.

Everything is in one object, so it changes as a whole, and whoever has not seen the last change cannot write the next.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import Authority, parse_authority
from kube_gateway.identity.roots import Roots, check
from kube_gateway.identity.rotation import Rotation
from kube_gateway.watcher.configuration import CERTIFICATE_KEY, PRIVATE_KEY_KEY

NEXT_CERTIFICATE_KEY, NEXT_PRIVATE_KEY_KEY, ROTATION_KEY = "next-ca-cert", "next-ca-key", "rotation"
KEYS = (CERTIFICATE_KEY, PRIVATE_KEY_KEY, NEXT_CERTIFICATE_KEY, NEXT_PRIVATE_KEY_KEY, ROTATION_KEY)


def parse_roots(data: Mapping[str, bytes], *, trust_domain: str | None) -> Roots:
    """Read them. Raises `KeyError` when there is no authority, `IdentityError` when what is there is not sound."""
    names = (CERTIFICATE_KEY, PRIVATE_KEY_KEY)
    current = parse_authority(data[CERTIFICATE_KEY], data[PRIVATE_KEY_KEY], names=names, trust_domain=trust_domain)
    text = data.get(ROTATION_KEY)
    if not text:
        return Roots(current=current)
    try:
        rotation = msgspec.json.decode(text, type=Rotation)
    except msgspec.DecodeError as error:
        raise IdentityError(f"{ROTATION_KEY} is not understood: {error}") from None
    following = None
    if rotation.stage != "retire":
        following = _following(data, trust_domain=current.trust_domain)
    roots = Roots(current=current, following=following, rotation=rotation)
    check(roots)
    return roots


def written(roots: Roots) -> dict[str, str | None]:
    """The value of each key; None where there is to be none."""
    following = roots.following
    return {
        CERTIFICATE_KEY: roots.current.certificate_pem,
        PRIVATE_KEY_KEY: roots.current.key_pem,
        NEXT_CERTIFICATE_KEY: following.certificate_pem if following is not None else None,
        NEXT_PRIVATE_KEY_KEY: following.key_pem if following is not None else None,
        ROTATION_KEY: msgspec.json.encode(roots.rotation).decode() if roots.rotation is not None else None,
    }


def _following(data: Mapping[str, bytes], *, trust_domain: str) -> Authority:
    names = (NEXT_CERTIFICATE_KEY, NEXT_PRIVATE_KEY_KEY)
    missing = [name for name in names if not data.get(name)]
    if missing:
        raise IdentityError(
            f"a rotation is under way, and {' and '.join(missing)} is missing", hint="put back what was there"
        )
    certificate, key = (data[name] for name in names)
    return parse_authority(certificate, key, names=names, trust_domain=trust_domain)
