"""`kube-gateway verify --check`, word for word, and what `--receipt` takes."""

from __future__ import annotations

import json
import time

import pytest
from cryptography.hazmat.primitives import hashes

from kube_gateway.cli import main, receipt
from kube_gateway.cli.sent import share_encrypted, size
from kube_gateway.control.messages import ReceiptQuery
from kube_gateway.errors import UsageError
from kube_gateway.gateway import accounting
from kube_gateway.gateway.accounting import Accounting
from kube_gateway.identity.authority import create_authority
from kube_gateway.model.settings import Settings
from receipts import environment, identity_for


class Hooks:
    def __init__(self, since):
        self.since = since

    def sent(self):
        peers = [{"address": f"10.0.0.{n}", "kind": "plain", "bytes": 1000 - n, "packets": 1} for n in range(1, 13)]
        return json.dumps(
            {"since": self.since, "totals": {"tunnel": 12_000_000, "plain": 11_922}, "peers": peers}
        ).encode()


class Clock:
    """Stands still until it is set."""

    def __init__(self, now):
        self.now = now

    def time(self):
        return self.now

    def monotonic(self):
        return self.now - 1000


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    directory = tmp_path_factory.mktemp("authority")
    return directory, create_authority(directory)


@pytest.fixture
def made(authority, tmp_path, monkeypatch):
    """A receipt in a file."""
    clock = Clock(time.time() // 1 - 10)
    monkeypatch.setattr(accounting, "time", clock)
    identity = identity_for(authority[1])
    signing = Accounting(environment(), hooks=lambda: Hooks(clock.now - 5), identity=lambda: identity)
    query = ReceiptQuery(number=1, since=clock.now - 65)
    settings = Settings(wanted=True, encryption="strict", exclude_ports=(53, 22))
    path = tmp_path / "receipt.json"
    path.write_text(signing.receipt(query, settings=settings).receipt)
    return path


def run(authority, path, *more):
    return main.run(["verify", *more, "--check", str(path), "--root", str(authority[0] / "ca.crt")])


def test_what_a_receipt_says(authority, made, capfd):
    said = json.loads(made.read_text())["receipt"]
    assert run(authority, made) == 0
    told = capfd.readouterr()
    assert told.err == ""
    assert told.out == (
        "shop/web-0: what it says was signed by the pod, and nothing was changed\n"
        "\n"
        "  workload    spiffe://cluster.local/ns/shop/sa/web, uid uid-of-web-0\n"
        f"  root        {authority[1].certificate.fingerprint(hashes.SHA256()).hex()}\n"
        f"  period      {said['from']} to {said['to']} (1 part of it not known)\n"
        f"  not known   {said['from']} to {said['gaps'][0]['to']}\n"
        "  encrypted   99% of 12.0 MB\n"
        "  sent        tunnel 12.0 MB, tls 0 B, plain 11.9 kB, udp 0 B, other 0 B\n"
        + "".join(f"  in clear    {1000 - n} B to 10.0.0.{n}\n" for n in range(1, 11))
        + "              and to 2 more; --output json has all\n"
        "  connections 0 in clear at the end, 0 at most\n"
        f"  settings    encryption strict, exclude ports 53 22, since {said['settings_since']}\n"
        f"  signed      {said['made']}, by gateway 4\n"
    )


def test_what_a_receipt_says_as_data(authority, made, capfd):
    assert run(authority, made, "--output", "json") == 0
    told = json.loads(capfd.readouterr().out)
    assert told["proved"] is True
    assert told["receipt"] == json.loads(made.read_text())["receipt"]


@pytest.mark.parametrize("name", ["web-0", "shop/web-0"])
def test_it_is_about_the_pod_that_was_named(authority, made, name):
    assert run(authority, made, name) == 0


def test_a_receipt_of_another_pod_is_told(authority, made, capfd):
    assert run(authority, made, "web-1") == 1
    assert capfd.readouterr() == (
        "",
        "error: the receipt proves nothing: it is about shop/web-0, not web-1\n"
        "hint: have it made again: kube-gateway verify POD --receipt\n",
    )


def test_a_changed_receipt_is_told_with_exit_code_1(authority, made, capfd):
    made.write_text(made.read_text().replace('"plain":11922', '"plain":0'))
    assert run(authority, made) == 1
    assert capfd.readouterr() == (
        "",
        "error: the receipt proves nothing: it was changed after it was signed, or the signature was\n"
        "hint: have it made again: kube-gateway verify POD --receipt\n",
    )


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"{}", b"null"])
def test_what_is_no_receipt_is_told(authority, tmp_path, content, capfd):
    path = tmp_path / "receipt.json"
    path.write_bytes(content)
    assert run(authority, path) == 1
    assert capfd.readouterr().err.startswith("error: the receipt proves nothing: it is not what a gateway writes (")


def test_files_that_are_missing_or_no_root_are_told(authority, made, tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("KUBE_GATEWAY_RUN", raising=False)
    monkeypatch.delenv("KUBE_GATEWAY_INSTANCE", raising=False)
    assert run(authority, tmp_path / "none.json") == 1
    assert main.run(["verify", "--check", str(made), "--root", "/nonexistent/ca.crt"]) == 1
    assert main.run(["verify", "--check", str(made), "--root", str(made)]) == 1
    assert capfd.readouterr().err == (
        f"error: cannot read {tmp_path / 'none.json'}: No such file or directory\n"
        "error: cannot read /nonexistent/ca.crt: No such file or directory\n"
        "hint: give the root that the pod's certificate comes from: --root FILE; of local pods, "
        "/run/kube-gateway/local/ca/ca.crt\n"
        f"error: {made} holds no readable certificate\n"
        "hint: give the root: --root ca.crt\n"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "error: traffic is between two pods\nhint: kube-gateway verify A B\n"),
        (["web"], "error: traffic is between two pods\nhint: kube-gateway verify A B\n"),
        (["--receipt"], "error: a receipt is of one pod\nhint: kube-gateway verify POD --receipt\n"),
        (["a", "b", "--receipt"], "error: a receipt is of one pod\nhint: kube-gateway verify POD --receipt\n"),
        (
            ["a", "--receipt", "--since", "yesterday"],
            "error: --since 'yesterday' is no time\nhint: 2026-01-31T09:30:00Z, or with an offset\n",
        ),
        (
            ["a", "--receipt", "--period", "1h", "--until", "2026-01-31"],
            "error: --period ends now, and --since and --until are another period\nhint: use one or the other\n",
        ),
    ],
)
def test_a_wrong_command(arguments, error, capfd):
    assert main.run(["verify", *arguments]) == 2
    assert capfd.readouterr() == ("", error)


def test_periods():
    assert receipt.period(since=None, until=None, last=None) == (0.0, 0.0)
    assert receipt.period(since="1970-01-01T00:01:00Z", until="1970-01-01T01:02:00+01:00", last=None) == (60.0, 120.0)
    assert receipt.period(since="1970-01-01", until=None, last=None) == (0.0, 0.0)
    begin, end = receipt.period(since=None, until=None, last=3600.0)
    assert (begin, end) == (pytest.approx(time.time() - 3600, abs=5), 0.0)
    with pytest.raises(UsageError):
        receipt.period(since="12:30", until=None, last=None)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"), (10**15, "1.0 PB"), (10**19, "10000.0 PB"),
    ],
)  # fmt: skip
def test_sizes(count, text):
    assert size(count) == text


def test_a_hundred_percent_is_all():
    assert share_encrypted({"tunnel": 10**9, "plain": 1}) == "99% of 1.0 GB"
    assert share_encrypted({"tunnel": 1, "tls": 1, "plain": 0}) == "100% of 2 B"
    assert share_encrypted({}) == "-"
