"""What a gateway is told of roots and revocations follows from what it last said; what is on the way counts as unknown."""

from __future__ import annotations

import time

import msgspec
import pytest

from kube_gateway.control import connected as connected_module
from kube_gateway.control import messages, trust
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.identity import rotation
from kube_gateway.identity.authority import new_authority
from kube_gateway.identity.revocation import Revocation, is_revoked, restore, revoke, still_needed
from kube_gateway.identity.roots import Roots, begin, moved
from kube_gateway.model.flow import GatewaySnapshot
from kube_gateway.model.identity_report import IdentityReport
from watcher.made import Writer

OLD, NEW = new_authority("cluster.local"), new_authority("cluster.local")
IDLE = Roots(current=OLD)
INTRODUCED = begin(IDLE, NEW, now=0.0)
SWITCHED = moved(INTRODUCED, rotation.advance(INTRODUCED.rotation, [], now=1.0))
RETIRED = moved(SWITCHED, rotation.advance(SWITCHED.rotation, [], now=2.0))


class Line:
    """A gateway that is connected, and what it heard."""

    def __init__(self):
        self.heard = []
        self.gateway = ConnectedGateway()
        self.connect()

    def connect(self):
        self.gateway.connected(Writer(self.heard.append))

    def says(self, roots, *, serial="a", issuer=None, state="ready"):
        identity = IdentityReport(
            spiffe_id="spiffe://cluster.local/ns/shop/sa/web",
            uid="1",
            addresses=("10.0.0.2",),
            serial=serial,
            issuer=issuer if issuer is not None else roots.plan.signer,
            not_before=0.0,
            not_after=0.0,
            roots=tuple(sorted(roots.plan.trusted)),
            trust_generation=roots.plan.trust_generation,
        )
        self.gateway.reported(
            messages.Report(
                state=state,
                settings_revision=1,
                certificate_expires=time.time() + 100,
                clear_connections=(),
                snapshot=GatewaySnapshot(),
                identity=identity,
            )
        )

    def told(self, roots, revocations=()):
        self.heard.clear()
        trust.tell(self.gateway, roots=roots, revocations=revocations)
        return [type(message).__name__ for message in self.heard]


@pytest.fixture
def line():
    made = Line()
    assert made.told(IDLE) == ["Revoked"]
    return made


@pytest.mark.parametrize(
    ("said", "wanted", "told"),
    [
        (IDLE, IDLE, []),
        (IDLE, INTRODUCED, ["Trust"]),
        (INTRODUCED, INTRODUCED, []),
        (INTRODUCED, SWITCHED, ["Renew"]),
        (SWITCHED, SWITCHED, []),
        (SWITCHED, RETIRED, ["Trust"]),
        # It was away for two steps, and its certificate is nobody's any more.
        (INTRODUCED, RETIRED, ["Trust", "Renew"]),
        # Undone in the first step.
        (INTRODUCED, IDLE, ["Trust"]),
        # Replaced by hand, at once.
        (IDLE, Roots(current=NEW), ["Trust", "Renew"]),
    ],
)
def test_it_is_told_what_it_lacks(line, said, wanted, told):
    line.says(said)
    assert line.told(wanted) == told


def test_it_is_told_once_and_again_only_after_a_while(line, monkeypatch):
    line.says(IDLE)
    assert line.told(INTRODUCED) == ["Trust"]
    assert line.told(INTRODUCED) == []
    monkeypatch.setattr(connected_module, "_TELL_AGAIN_AFTER", -1.0)
    assert line.told(INTRODUCED) == ["Trust"]


def test_a_new_line_is_told_all_again(line):
    line.says(IDLE)
    assert line.told(INTRODUCED) == ["Trust"]
    line.connect()
    assert line.told(INTRODUCED) == ["Revoked", "Trust"]


def test_one_that_has_said_nothing_or_drains_is_told_nothing_of_roots(line):
    assert line.told(INTRODUCED) == []
    line.says(IDLE, state="draining")
    assert line.told(INTRODUCED) == []
    assert trust.holder(line.gateway, name="x", life=60.0) is None


def certificate(serial):
    return messages.Certificate(
        number=1,
        serial=serial,
        expires=1.0,
        chain="c",
        trust_bundle="b",
        trust_generation=1,
        spiffe_id="spiffe://x/y",
        trust_domain="x",
    )


def test_while_a_certificate_is_on_its_way_nobody_knows_which_it_has(line):
    line.says(INTRODUCED)
    assert trust.holder(line.gateway, name="x", life=60.0).issuer == OLD.fingerprint
    line.gateway.certify(certificate("b"))
    unknown = trust.holder(line.gateway, name="x", life=60.0)
    assert (unknown.issuer, unknown.trust_generation) == ("", 0)
    assert rotation.waits_for(INTRODUCED.rotation, [unknown], now=time.time())
    line.says(INTRODUCED)
    assert trust.holder(line.gateway, name="x", life=60.0).issuer == ""
    line.says(SWITCHED, serial="b")
    assert trust.holder(line.gateway, name="x", life=60.0).issuer == NEW.fingerprint


def test_a_line_that_breaks_meanwhile_leaves_that_open_until_the_next_one_says(line):
    line.says(INTRODUCED)
    line.gateway.certify(certificate("b"))
    line.gateway.disconnected(line.gateway._writer)
    away = trust.holder(line.gateway, name="x", life=60.0)
    assert (away.issuer, away.reachable) == ("", False)
    # What may be on it lives as long as any.
    assert away.expires > time.time() + 50
    line.connect()
    assert trust.holder(line.gateway, name="x", life=60.0).issuer == ""
    line.says(INTRODUCED)
    assert trust.holder(line.gateway, name="x", life=60.0).issuer == OLD.fingerprint


def test_revocations_are_told_when_they_change(line):
    one = Revocation(uid="u", since=0.0, until=1.0)
    assert line.told(IDLE, (one,)) == ["Revoked"]
    assert line.heard[0].uids == ("u",)
    assert line.told(IDLE, (one,)) == []
    assert line.told(IDLE) == ["Revoked"]
    assert line.heard[0].uids == ()


def test_a_revocation_is_needed_while_the_pod_or_a_certificate_of_it_is_there():
    revocations = revoke((), "u", pod="shop/web", life=60.0, now=100.0)
    assert revoke(revocations, "u", pod="shop/web", life=60.0, now=150.0) == revocations
    assert is_revoked(revocations, "u") and not is_revoked(revocations, "v")
    assert still_needed(revocations, uids={"u"}, now=1e9) == revocations
    assert still_needed(revocations, uids=(), now=159.0) == revocations
    assert still_needed(revocations, uids=(), now=160.0) == ()
    assert restore(revocations, "u") == ()
    assert msgspec.json.decode(msgspec.json.encode(revocations), type=tuple[Revocation, ...]) == revocations
