"""Receipts of what a pod has sent: have one signed, and prove one that somebody shows."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.errors import KubeGatewayError, UsageError

if TYPE_CHECKING:
    from kube_gateway.identity.receipts import ProvedReceipt
    from kube_gateway.model.receipt import Receipt

_MOST_PEERS = 10


def period(*, since: str | None, until: str | None, last: float | None) -> tuple[float, float]:
    """What was asked for, in seconds since the epoch; 0 where nothing was. Raises `UsageError`."""
    if last is not None and (since or until):
        raise UsageError("--period ends now, and --since and --until are another period", hint="use one or the other")
    if last is not None:
        return time.time() - last, 0.0
    return _moment("--since", since), _moment("--until", until)


def _moment(option: str, text: str | None) -> float:
    if not text:
        return 0.0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no time", hint="2026-01-31T09:30:00Z, or with an offset") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def of_local(pod: str, *, instance: str, since: float, until: float) -> str:
    """Have the gateway of a pod of this machine sign. Raises `LocalModeError`."""
    from kube_gateway.local.client import LocalClient

    return LocalClient(instance).receipt(pod, since=since, until=until)


def of_watcher(pod: str, *, name: str, since: float, until: float) -> str:
    """Have the gateway of a pod of the cluster sign whose watcher `name` runs here. Raises `KubeGatewayError`."""
    from kube_gateway.watcher.receipts import Wanted, ask

    return ask(name, Wanted(pod=pod, since=since, until=until))


def show(text: str) -> None:
    """Print a signed receipt, to be kept."""
    import msgspec

    click.echo(msgspec.json.format(text.encode(), indent=2))


def check(path: Path, *, root: Path, pod: str, instance: str, output: str) -> None:
    """Prove the receipt in a file by the root in another, and print what it says. Raises `IdentityError`.

    `pod` is whom it has to be about, as `name` or `namespace/name`; empty is anybody. `instance` is the local mode whose
    root is suggested where there is none.
    """
    from kube_gateway.cli.output import print_json
    from kube_gateway.identity.authority import CERTIFICATE_FILE
    from kube_gateway.identity.receipts import ReceiptRefused, check_receipt, read_roots
    from kube_gateway.local.instance import Instance

    local = Instance(instance).authority / CERTIFICATE_FILE
    hint = f"give the root that the pod's certificate comes from: --root FILE; of local pods, {local}"
    proved = check_receipt(
        _read(path).decode("utf-8", "replace"), roots=read_roots(_read(root, hint=hint), name=str(root))
    )
    about = proved.receipt.pod
    if pod and pod not in (about, about.partition("/")[2]):
        raise ReceiptRefused(f"it is about {about}, not {pod}")
    if output == "json":
        print_json({"proved": True, "root": proved.root, "receipt": proved.receipt})
    else:
        click.echo("\n".join(_text(proved)))


def _read(path: Path, *, hint: str | None = None) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KubeGatewayError(f"cannot read {path}: {error.strerror}", hint=hint) from None


def _text(proved: ProvedReceipt) -> list[str]:
    from kube_gateway.cli.sent import by_kind, share_encrypted, size

    receipt = proved.receipt
    totals = receipt.sent.totals
    lines = [f"{receipt.pod}: what it says was signed by the pod, and nothing was changed", ""]
    lines += [f"  workload    {receipt.spiffe_id}, uid {receipt.uid}", f"  root        {proved.root}"]
    lines += [f"  period      {receipt.begin} to {receipt.end}{_how_well_known(receipt)}"]
    lines += [f"  not known   {gap.begin} to {gap.end}" for gap in receipt.gaps]
    lines += [f"  encrypted   {share_encrypted(totals)}", f"  sent        {by_kind(totals)}"]
    plain = [peer for peer in receipt.sent.peers if peer.kind == "plain"]
    lines += [f"  in clear    {size(peer.bytes)} to {peer.address or 'others'}" for peer in plain[:_MOST_PEERS]]
    if len(plain) > _MOST_PEERS:
        lines += [f"              and to {len(plain) - _MOST_PEERS} more; --output json has all"]
    clear = receipt.clear_connections
    if clear.now >= 0:
        lines += [f"  connections {clear.now} in clear at the end, {clear.most} at most"]
    lines += [f"  settings    {_settings(receipt)}, since {receipt.settings_since}"]
    lines += [f"  signed      {receipt.made}, by gateway {receipt.generation}"]
    return lines


def _how_well_known(receipt: Receipt) -> str:
    words = []
    if receipt.gaps:
        words.append(f"{len(receipt.gaps)} part{'s' if len(receipt.gaps) > 1 else ''} of it not known")
    if receipt.clock_steps:
        words.append(f"the clock was set {receipt.clock_steps} times")
    return f" ({', '.join(words)})" if words else ""


def _settings(receipt: Receipt) -> str:
    said = ((name, value) for name, value in receipt.settings.items() if name != "wanted")
    return ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in said) or "none"


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
