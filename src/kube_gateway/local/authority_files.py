"""The authority of an instance on the disk, and a rotation that is under way: whole wherever a write is cut off.

The root and its key are two files, and both have to change at once. So what is to be is written into a third one first,
which counts as soon as it is there; whoever finds it brings the other two up to it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import CERTIFICATE_FILE, KEY_FILE, Authority, load_authority, parse_authority
from kube_gateway.identity.roots import Roots, check
from kube_gateway.identity.rotation import Rotation
from kube_gateway.local.files import write_whole

ROTATION_FILE = "rotation.json"


class _Pair(msgspec.Struct, frozen=True):
    certificate: str
    key: str


class _Journal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`current` is what ca.crt and ca.key have to become, None when they are that already."""

    rotation: Rotation | None = None
    following: _Pair | None = None
    current: _Pair | None = None


def load_roots(directory: Path) -> Roots:
    """Read what is there, and finish what was cut off. Raises `IdentityError` when it is missing or not sound."""
    path = directory / ROTATION_FILE
    try:
        journal = msgspec.json.decode(path.read_bytes(), type=_Journal)
    except FileNotFoundError:
        return Roots(current=load_authority(directory))
    except (OSError, msgspec.DecodeError) as error:
        raise IdentityError(
            f"{path} is not readable: {error}", hint="it has a key in it, and root alone reads it"
        ) from error
    following = _authority(journal.following, path) if journal.following is not None else None
    if journal.current is None:
        roots = Roots(current=load_authority(directory), following=following, rotation=journal.rotation)
    else:
        roots = Roots(current=_authority(journal.current, path), following=following, rotation=journal.rotation)
        _finish(directory, roots)
    check(roots)
    return roots


def save_roots(directory: Path, roots: Roots) -> None:
    """Write them. Raises `IdentityError`; then what was there before counts, or, after a restart, this."""
    path = directory / ROTATION_FILE
    try:
        known = (directory / CERTIFICATE_FILE).read_text()
        if known == roots.current.certificate_pem:
            _write_journal(directory, roots)
        else:
            _replace(path, msgspec.json.encode(_journal(roots, current=_pair(roots.current))).decode())
            _finish(directory, roots)
    except OSError as error:
        raise IdentityError(f"cannot write the authority to {directory}: {error.strerror}") from error


def _finish(directory: Path, roots: Roots) -> None:
    _replace(directory / KEY_FILE, roots.current.key_pem)
    _replace(directory / CERTIFICATE_FILE, roots.current.certificate_pem)
    _write_journal(directory, roots)


def _write_journal(directory: Path, roots: Roots) -> None:
    path = directory / ROTATION_FILE
    if roots.rotation is None:
        path.unlink(missing_ok=True)
    else:
        _replace(path, msgspec.json.encode(_journal(roots, current=None)).decode())


def _journal(roots: Roots, *, current: _Pair | None) -> _Journal:
    following = _pair(roots.following) if roots.following is not None else None
    return _Journal(rotation=roots.rotation, following=following, current=current)


def _pair(authority: Authority) -> _Pair:
    return _Pair(certificate=authority.certificate_pem, key=authority.key_pem)


def _authority(pair: _Pair, path: Path) -> Authority:
    names = (f"the certificate in {path}", f"the key in {path}")
    return parse_authority(pair.certificate.encode(), pair.key.encode(), names=names)


def _replace(path: Path, text: str) -> None:
    write_whole(path, text, synced=True)
