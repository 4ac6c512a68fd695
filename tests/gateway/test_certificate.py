"""The gateway keeps a valid certificate for a key of its own: asks, asks again, and renews at about half its life."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kube_gateway.control.messages import Certificate, CertificateRequest
from kube_gateway.errors import IdentityError
from kube_gateway.gateway import certificate as module
from kube_gateway.gateway.certificate import CertificateKeeper, Identity
from kube_gateway.identity.authority import Authority, create_authority
from kube_gateway.identity.bundle import trust_bundle
from kube_gateway.identity.issuer import RootIssuer
from kube_gateway.model.pod import Pod

POD = Pod(name="web", uid="1", addresses=("10.0.0.2",))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return create_authority(tmp_path_factory.mktemp("authority"))


class Watcher:
    """Takes requests as the watcher does, and signs them when the test says so."""

    def __init__(self, authority: Authority, *, life: float = 3600.0, initial: Identity | None = None) -> None:
        self.life = life
        self.connected = True
        self.answering = True
        self.behind = datetime.timedelta()
        self.asked: list[tuple[float, CertificateRequest]] = []
        self.used: list[float] = []
        self._issuer = RootIssuer(authority)
        self._bundle = trust_bundle([authority])
        self.keeper = CertificateKeeper(
            request=self._take, use=lambda: self.used.append(time.monotonic()), initial=initial
        )

    def _take(self, request: CertificateRequest) -> bool:
        if self.connected:
            self.asked.append((time.monotonic(), request))
            if self.answering:
                asyncio.get_running_loop().call_soon(self.answer)
        return self.connected

    def answer(self, number: int = -1) -> None:
        request = self.asked[number][1]
        now = datetime.datetime.now(datetime.UTC) - self.behind
        issued = self._issuer.sign(request.csr, pod=POD, life=datetime.timedelta(seconds=self.life), now=now)
        message = Certificate(
            number=request.number,
            serial=f"{issued.serial:x}",
            expires=issued.expires,
            chain=issued.chain,
            trust_bundle=self._bundle.pem,
            trust_generation=self._bundle.generation,
            spiffe_id=issued.spiffe_id,
            trust_domain=self._issuer.trust_domain,
        )
        self.keeper.issued(message)

    def times(self) -> list[float]:
        return [moment for moment, _ in self.asked]


def play(watcher: Watcher, *steps: float | Callable[[], None]) -> None:
    """Run the keeper; a number waits so many seconds, a function is called in between."""

    async def body() -> None:
        running = asyncio.create_task(watcher.keeper.run())
        try:
            for step in steps:
                if callable(step):
                    step()
                else:
                    await asyncio.sleep(step)
                assert not running.done(), running
        finally:
            running.cancel()

    asyncio.run(body())


def belongs_together(watcher: Watcher) -> bool:
    leaf = x509.load_pem_x509_certificate(watcher.keeper.current.chain.encode())
    key = serialization.load_pem_private_key(watcher.keeper.current.key.encode(), password=None)
    return leaf.public_key() == key.public_key()


def test_without_a_certificate_it_asks_at_once(authority):
    watcher = Watcher(authority)
    assert watcher.keeper.expires == 0.0
    began = time.monotonic()
    play(watcher, 0.3)
    assert watcher.times()[0] - began < 0.25
    assert len(watcher.used) == 1
    assert watcher.keeper.expires == pytest.approx(time.time() + 3600, abs=5)


def test_a_certificate_is_kept_with_the_key_that_it_was_asked_for_with(authority):
    watcher = Watcher(authority)
    play(watcher, 0.2)
    assert belongs_together(watcher)


def test_the_key_is_in_no_request(authority):
    watcher = Watcher(authority)
    play(watcher, 0.2)
    assert "PRIVATE" in watcher.keeper.current.key
    assert all("PRIVATE" not in request.csr for _, request in watcher.asked)


def initial_identity(*, expires: float) -> Identity:
    return Identity(chain="chain", key="key", trust_bundle="roots", trust_domain="cluster.local", expires=expires)


def test_a_certificate_to_begin_with_is_replaced_by_one_for_a_key_of_its_own(authority):
    initial = initial_identity(expires=time.time() + 3600)
    watcher = Watcher(authority, initial=initial)
    assert watcher.keeper.current is initial
    assert watcher.keeper.expires == initial.expires
    play(watcher, 0.3)
    assert len(watcher.asked) == 1
    assert watcher.keeper.current is not initial
    assert belongs_together(watcher)


def test_a_certificate_to_begin_with_stays_while_the_watcher_is_away(authority):
    initial = initial_identity(expires=time.time() + 3600)
    watcher = Watcher(authority, initial=initial)
    watcher.connected = False
    play(watcher, 0.3)
    assert watcher.keeper.current is initial


def test_a_certificate_to_begin_with_that_has_expired_is_an_error(authority):
    with pytest.raises(IdentityError, match="that the gateway was started with expired 2 s ago") as raised:
        Watcher(authority, initial=initial_identity(expires=time.time() - 2))
    assert raised.value.exit_code == 1
    assert "compare the clocks" in raised.value.hint


def test_a_fresh_certificate_is_not_asked_for_again(authority, monkeypatch):
    monkeypatch.setattr(module, "_ASK_AGAIN", 0.1)
    watcher = Watcher(authority)
    play(watcher, 1.0)
    assert len(watcher.asked) == 1


def test_it_is_renewed_at_about_half_its_life_with_another_key(authority, monkeypatch):
    monkeypatch.setattr(module, "_ASK_AGAIN", 0.5)
    watcher = Watcher(authority, life=4.0)
    keys = []
    play(watcher, 1.2, lambda: keys.append(watcher.keeper.current.key), 1.2)
    first, second = watcher.times()
    # 0.4 to 0.5 of the life; whole seconds in certificates take off up to one second of it.
    assert 1.0 < second - first < 2.2
    assert watcher.keeper.current.key not in keys
    assert belongs_together(watcher)


def test_renewals_of_many_gateways_do_not_meet(authority):
    moments = set()
    for _ in range(20):
        watcher = Watcher(authority)
        play(watcher, 0.01)
        moments.add(round((watcher.keeper._renew_at - time.time()) / 3600, 4))
    assert len(moments) > 10
    assert min(moments) > 0.38
    assert max(moments) < 0.51


def test_a_watcher_that_does_not_answer_is_asked_again(authority, monkeypatch):
    monkeypatch.setattr(module, "_ASK_AGAIN", 0.4)
    watcher = Watcher(authority)
    watcher.answering = False
    play(watcher, 1.4)
    pauses = [later - earlier for earlier, later in zip(watcher.times(), watcher.times()[1:], strict=False)]
    assert len(pauses) >= 2
    assert all(0.35 < pause < 0.8 for pause in pauses)
    assert watcher.used == []


def test_a_watcher_that_was_away_is_asked_as_soon_as_it_is_back(authority):
    watcher = Watcher(authority)
    watcher.connected = False

    def back() -> None:
        watcher.connected = True
        watcher.keeper.connected()

    play(watcher, 0.3, back, 0.3)
    assert len(watcher.asked) == 1
    assert len(watcher.used) == 1


def test_what_was_asked_on_a_connection_that_broke_is_asked_again(authority):
    watcher = Watcher(authority)
    watcher.answering = False
    play(watcher, 0.2, watcher.keeper.connected, 0.2)
    assert len(watcher.asked) == 2


def test_a_new_connection_alone_is_no_reason_to_renew(authority):
    watcher = Watcher(authority)
    play(watcher, 0.2, watcher.keeper.connected, 0.3)
    assert len(watcher.asked) == 1


def test_a_certificate_that_was_not_asked_for_is_not_used(authority, caplog):
    caplog.set_level("DEBUG")
    watcher = Watcher(authority)
    before = []
    play(watcher, 0.2, lambda: before.append(watcher.keeper.current), watcher.answer, 0.1)
    assert watcher.keeper.current is before[0]
    assert len(watcher.used) == 1
    assert "sent a certificate twice" in caplog.text


def test_an_answer_to_an_earlier_request_is_not_used_for_a_later_key(authority, monkeypatch):
    monkeypatch.setattr(module, "_ASK_AGAIN", 0.3)
    watcher = Watcher(authority, life=2.0)

    def silence() -> None:
        watcher.answering = False

    before = []
    # Renewal has begun with another key when the first answer comes a second time.
    play(watcher, 0.2, silence, 1.3, lambda: before.append(watcher.keeper.current), lambda: watcher.answer(0), 0.1)
    assert watcher.asked[-1][1].number == watcher.asked[0][1].number + 1
    assert watcher.keeper.current is before[0]
    assert belongs_together(watcher)


def test_a_request_that_is_repeated_keeps_its_number_and_its_key(authority):
    watcher = Watcher(authority)
    watcher.answering = False
    play(watcher, 0.2, watcher.keeper.connected, 0.2)
    first, second = (request for _, request in watcher.asked)
    assert first == second


def test_the_old_certificate_stays_until_the_next_one_is_there(authority, monkeypatch):
    monkeypatch.setattr(module, "_ASK_AGAIN", 0.3)
    watcher = Watcher(authority, life=2.0)
    held = []

    def silence() -> None:
        watcher.answering = False
        held.append(watcher.keeper.current)

    play(watcher, 0.2, silence, 1.5)
    assert len(watcher.asked) > 1
    assert watcher.keeper.current is held[0]


def test_an_expired_certificate_is_an_error_in_the_log(authority, monkeypatch, caplog):
    monkeypatch.setattr(module, "_ASK_AGAIN", 0.3)
    watcher = Watcher(authority, life=1.5)

    def silence() -> None:
        watcher.answering = False

    play(watcher, 0.2, silence, 2.2)
    assert "the certificate has expired and the watcher has sent no other" in caplog.text


def test_a_gateway_is_of_no_use_once_its_certificate_has_expired(authority):
    watcher = Watcher(authority)
    # Without one it is only starting.
    watcher.keeper.check()
    watcher = Watcher(authority, initial=initial_identity(expires=time.time() + 0.2))
    watcher.keeper.check()
    time.sleep(0.3)
    with pytest.raises(IdentityError, match="the watcher was not there to renew it"):
        watcher.keeper.check()


@pytest.mark.parametrize("change", [3600.0, -3600.0])
def test_it_is_renewed_at_once_when_the_clock_is_set(authority, monkeypatch, change):
    real, offset = time.time, [0.0]
    monkeypatch.setattr(module.time, "time", lambda: real() + offset[0])
    watcher = Watcher(authority)

    def set_clock() -> None:
        offset[0] = change

    play(watcher, 0.3, set_clock, 1.2)
    assert len(watcher.asked) == 2
    first, second = (request for _, request in watcher.asked)
    assert first.csr != second.csr


def test_a_watcher_whose_clock_is_far_behind_is_not_asked_all_the_time(authority, monkeypatch):
    monkeypatch.setattr(module, "_ASK_AGAIN", 0.4)
    watcher = Watcher(authority)
    # By the gateway's clock each certificate is over when it comes.
    watcher.behind = datetime.timedelta(hours=2)
    play(watcher, 1.4)
    assert 3 <= len(watcher.asked) <= 5
