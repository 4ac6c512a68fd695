"""Proving a receipt: that what it says is what the gateway of one pod has signed, and which pod that is.

Everything is refused that is not exactly as gateways write it. What a reader could take for part of a receipt, and what was
not signed, must not stand in the file; what was signed must not be missing.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import itertools
import json
from collections.abc import Sequence

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kube_gateway.errors import IdentityError
from kube_gateway.model.receipt import VERSION, Receipt, SignedReceipt, signed_bytes, time_of
from kube_gateway.model.sent import KINDS

LARGEST = 4 * 1024 * 1024
"""Characters of a receipt; one with two hundred peers has thirty thousand."""

_MOST_CERTIFICATES = 6
_LARGEST_NUMBER = 2**63
_UNREADABLE = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)
"""What reading a certificate raises that is none, or has in it what cannot be read."""

_AGAIN = "have it made again: kube-gateway verify POD --receipt"


class ReceiptRefused(IdentityError):
    """It proves nothing."""

    def __init__(self, message: str, *, hint: str = _AGAIN) -> None:
        super().__init__(f"the receipt proves nothing: {message}", hint=hint)


class ProvedReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt and the fingerprint (SHA-256, hexadecimal) of the root that its pod's certificate comes from."""

    receipt: Receipt
    root: str


def check_receipt(text: str, *, roots: Sequence[x509.Certificate]) -> ProvedReceipt:
    """Prove a receipt by one of `roots`. Raises `ReceiptRefused` with what is wrong.

    The signature has to be that of a certificate that was valid when the receipt was made, by the receipt's own word: so
    whoever has stolen the key of a certificate can date a receipt back into its life.
    """
    signed = _read(text)
    receipt = _receipt(signed)
    chain = _chain(signed.chain)
    made = datetime.datetime.fromtimestamp(time_of(receipt.made), datetime.UTC)
    root = _issued_by(chain, roots, at=made)
    _check_leaf(chain[0], receipt)
    _check_signature(signed, chain[0])
    _check_sense(receipt)
    return ProvedReceipt(receipt=receipt, root=root.fingerprint(hashes.SHA256()).hex())


def read_roots(pem: bytes, *, name: str) -> list[x509.Certificate]:
    """The certificates in `pem`, which come from the file `name`. Raises `IdentityError` when there is none."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except _UNREADABLE:
        raise IdentityError(f"{name} holds no readable certificate", hint="give the root: --root ca.crt") from None


def _read(text: str) -> SignedReceipt:
    if len(text) > LARGEST:
        raise ReceiptRefused(f"it is longer than {LARGEST} characters")
    try:
        read = json.loads(text, object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number)
        return msgspec.convert(read, SignedReceipt)
    except (ValueError, RecursionError) as error:
        raise ReceiptRefused(f"it is not what a gateway writes ({error})") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _no_number(text: str) -> object:
    raise ValueError(f"{text[:20]} is no whole number")


def _receipt(signed: SignedReceipt) -> Receipt:
    version = signed.receipt.get("version")
    if version != VERSION or isinstance(version, bool):
        raise ReceiptRefused(f"it is of version {version!r}, and this is for version {VERSION}", hint="use a newer one")
    try:
        receipt = msgspec.convert(signed.receipt, Receipt)
        for text in (receipt.begin, receipt.end, receipt.made, receipt.settings_since):
            time_of(text)
        for gap in receipt.gaps:
            time_of(gap.begin)
            time_of(gap.end)
    except ValueError as error:
        raise ReceiptRefused(f"it is not what a gateway writes ({error})") from None
    return receipt


def _chain(pem: str) -> list[x509.Certificate]:
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
    except _UNREADABLE:
        raise ReceiptRefused("its chain holds no readable certificate") from None
    if len(chain) > _MOST_CERTIFICATES:
        raise ReceiptRefused(f"its chain has more than {_MOST_CERTIFICATES} certificates")
    return chain


def _issued_by(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], *, at: datetime.datetime
) -> x509.Certificate:
    """The root at the end of the chain; every certificate is issued by the next one, and was valid at `at`."""
    for below, above in itertools.pairwise(chain):
        if not _is_authority(above) or not _issued(below, above):
            raise ReceiptRefused("its chain is broken: a certificate is not issued by the one behind it")
    for root in roots:
        if _is_authority(root) and _issued(chain[-1], root):
            for certificate in (*chain, root):
                _check_valid(certificate, at=at)
            return root
    raise ReceiptRefused(
        "its certificate does not come from the root that was given",
        hint="give the root of the cluster that the pod was in: --root ca.crt",
    )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except _UNREADABLE:
        return False


def _issued(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (*_UNREADABLE, InvalidSignature):
        return False
    return True


def _check_valid(certificate: x509.Certificate, *, at: datetime.datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= at <= end:
        raise ReceiptRefused(
            f"it says that it was made at {at:%Y-%m-%dT%H:%M:%SZ}, and a certificate of its chain is valid from "
            f"{begin:%Y-%m-%dT%H:%M:%SZ} to {end:%Y-%m-%dT%H:%M:%SZ}"
        )


def _check_leaf(leaf: x509.Certificate, receipt: Receipt) -> None:
    try:
        if _is_authority(leaf) or not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            raise ReceiptRefused("its certificate is not that of a workload")
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        ids = names.get_values_for_type(x509.UniformResourceIdentifier)
        uids = [name.value for name in leaf.subject.get_attributes_for_oid(NameOID.USER_ID)]
    except _UNREADABLE:
        raise ReceiptRefused("its certificate is not that of a workload") from None
    if ids != [receipt.spiffe_id]:
        raise ReceiptRefused(f"it says {receipt.spiffe_id}, and its certificate is for {' and '.join(ids) or 'nobody'}")
    if uids != [receipt.uid]:
        raise ReceiptRefused("it is about another pod than its certificate is for: the uids differ")
    namespace = receipt.pod.partition("/")[0]
    if f"/ns/{namespace}/sa/" not in receipt.spiffe_id:
        raise ReceiptRefused(f"it says that the pod is {receipt.pod}, and its certificate is for {receipt.spiffe_id}")


def _check_signature(signed: SignedReceipt, leaf: x509.Certificate) -> None:
    try:
        key = leaf.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ReceiptRefused("the key of its certificate is not ECDSA")
        signature = base64.b64decode(signed.signature, validate=True)
        if base64.b64encode(signature).decode() != signed.signature:
            raise binascii.Error
        key.verify(signature, signed_bytes(signed.receipt), ec.ECDSA(hashes.SHA256()))
    except binascii.Error:
        raise ReceiptRefused("its signature is not base64") from None
    except (*_UNREADABLE, InvalidSignature):
        raise ReceiptRefused("it was changed after it was signed, or the signature was") from None


def _check_sense(receipt: Receipt) -> None:
    """What no gateway signs: whoever has a workload's key can sign anything."""
    begin, end, made = time_of(receipt.begin), time_of(receipt.end), time_of(receipt.made)
    within = begin <= end <= made and time_of(receipt.settings_since) <= made
    for gap in receipt.gaps:
        within = within and begin <= time_of(gap.begin) <= time_of(gap.end) <= end
    if not within:
        raise ReceiptRefused("its times are not in order")
    numbers = [*receipt.sent.totals.values()]
    for peer in receipt.sent.peers:
        numbers += [peer.bytes, peer.packets]
    kinds = {peer.kind for peer in receipt.sent.peers}
    if set(receipt.sent.totals) != set(KINDS) or not kinds <= set(KINDS):
        raise ReceiptRefused("it counts by other kinds than gateways do")
    if any(not 0 <= number < _LARGEST_NUMBER for number in numbers):
        raise ReceiptRefused("it counts what cannot be counted")
