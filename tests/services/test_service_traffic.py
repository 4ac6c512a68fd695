"""A client that knows nothing but a Service's address speaks to a backend of it, encrypted, or is told at once."""

from __future__ import annotations

import time

import pytest

from services.visits import ADDRESS, ADDRESS6, PORT, SERVICE_PORT, Shop

pytestmark = pytest.mark.root


@pytest.fixture
def shop(instance):
    return Shop(instance)


@pytest.mark.parametrize(("address", "family"), [(ADDRESS, 0), (ADDRESS6, 1)])
def test_service_traffic_is_encrypted_and_shared_among_the_backends(shop, address, family):
    for name in ("client", "one", "two"):
        shop.pod(name, encrypt="true")
    shop.service("one", "two", address=address)
    with shop.pods.capture("client") as wire:
        visits = shop.visit(40, address=address, marker="secret-marker")
    assert not wire.seen(b"secret-marker")
    assert set(wire.ports()) == {18443}
    assert set(shop.backends(visits)) == {"one", "two"}
    assert {visit.echo for visit in visits} == {"secret-marker"}
    # Each side sees whom it speaks to: the client the Service, the server the client.
    assert {visit.peer for visit in visits} == {(address, SERVICE_PORT)}
    assert {visit.client for visit in visits} == {shop.pods.address("client", family)}
    shop.pods.counts("client", "services_resolved", 40)
    assert shop.pods.counter("client", "clear_outbound") == 0


def test_service_traffic_without_encryption_goes_through_the_plain_tunnel(shop):
    for name in ("client", "one"):
        shop.pod(name, encrypt="false")
    shop.service("one")
    with shop.pods.capture("client") as wire:
        assert shop.backends(shop.visit(3)) == {"one": 3}
    assert set(wire.ports()) == {18001}


def test_backends_come_and_go_under_steady_traffic(shop):
    for name in ("client", "one", "two"):
        shop.pod(name, encrypt="true")
    shop.service("one")
    assert shop.backends(shop.visit(3)) == {"one": 3}
    shop.service("one", "two")
    shop.let_it_be_known("one", "two")
    assert set(shop.backends(shop.visit(30))) == {"one", "two"}
    shop.service("two")
    shop.let_it_be_known("two")
    assert shop.backends(shop.visit(5)) == {"two": 5}
    # A pod that ends is no backend any more, without a word about the Service.
    shop.pod("three", encrypt="true")
    shop.service("two", "three")
    shop.pods.client.delete("two")
    shop.let_it_be_known("three")
    assert shop.backends(shop.visit(10)) == {"three": 10}


def test_a_service_that_is_made_later_is_known_by_those_that_asked_before(shop):
    for name in ("client", "one"):
        shop.pod(name, encrypt="true")
    (visit,) = shop.visit(timeout=2)
    assert visit.error
    shop.service("one")
    shop.let_it_be_known("one")
    assert shop.backends(shop.visit(3)) == {"one": 3}
    shop.pods.client.delete_service("shop")
    shop.let_it_be_known()
    (visit,) = shop.visit(timeout=2)
    assert visit.error


@pytest.mark.parametrize("encrypt", ["true", "strict"])
def test_a_backend_whose_gateway_is_dead_is_no_loss_while_there_is_another(shop, encrypt):
    for name in ("client", "one", "two"):
        shop.pod(name, encrypt=encrypt if name == "client" else "true")
    shop.service("one", "two")
    assert set(shop.backends(shop.visit(20))) == {"one", "two"}
    shop.pods.wait_peer("client", shop.pods.address("one"), "enrolled")
    shop.pods.stop_manager()
    shop.pods.kill_gateway("one")
    with shop.pods.capture("client") as wire:
        visits = shop.visit(10)
    shop.pods.continue_manager()
    assert shop.backends(visits) == {"two": 10}
    # It is known as enrolled: nothing goes to it in clear because it is silent.
    assert set(wire.ports()) == {18443}
    assert max(visit.seconds for visit in visits) < 5


def test_a_backend_that_does_not_listen_costs_not_a_byte_while_there_is_another(shop):
    for name in ("client", "one"):
        shop.pod(name, encrypt="true")
    shop.idle("enrolled", encrypt="true")
    shop.idle("clear")
    shop.service("one", "enrolled", "clear")
    marker = "m" * 4000
    visits = shop.visit(20, marker=marker)
    assert shop.backends(visits) == {"one": 20}
    assert {visit.echo for visit in visits} == {marker}


def test_when_no_backend_listens_the_application_gets_a_reset(shop):
    shop.pod("client", encrypt="true")
    shop.idle("one", encrypt="true")
    shop.idle("two", encrypt="true")
    shop.service("one", "two")
    (visit,) = shop.visit()
    assert visit.error == "ECONNRESET"
    assert visit.seconds < 5


def test_without_backends_the_application_gets_a_reset_at_once(shop):
    shop.pod("client", encrypt="true")
    shop.service()
    visits = shop.visit(5)
    assert {visit.error for visit in visits} == {"ECONNRESET"}
    assert max(visit.seconds for visit in visits) < 1
    shop.pods.counts("client", "services_without_backends", 5)
    told = f"reset a connection to {ADDRESS}:{SERVICE_PORT}: no backend of default/shop is ready"
    assert shop.pods.log("client").count(told) == 1


def test_a_port_that_the_service_does_not_have_is_as_one_without_backends(shop):
    for name in ("client", "one"):
        shop.pod(name, encrypt="true")
    shop.service("one")
    (visit,) = shop.visit(port=81)
    assert visit.error == "ECONNRESET"


def test_a_client_stays_with_its_backend_where_the_service_wants_that(shop):
    for name in ("client", "one", "two", "three"):
        shop.pod(name, encrypt="true")
    shop.service("one", "two", "three", affinity=3600)
    ((first, count),) = shop.backends(shop.visit(15)).items()
    assert count == 15
    others = {"one", "two", "three"} - {first}
    shop.service(*others, affinity=3600)
    shop.let_it_be_known(*others, every=False)
    ((second, count),) = shop.backends(shop.visit(15)).items()
    assert (second in others, count) == (True, 15)
    shop.service("one", "two", "three", affinity=3600)
    # Nothing shows when this is known: all is to stay as it is.
    time.sleep(1.0)
    assert shop.backends(shop.visit(15)) == {second: 15}


def test_each_backend_is_spoken_to_as_it_can_be(shop):
    shop.pod("client", encrypt="true")
    shop.pod("enrolled", encrypt="true")
    shop.pod("clear")
    shop.service("enrolled", "clear")
    with shop.pods.capture("enrolled") as wire:
        counts = shop.backends(shop.visit(30))
    assert set(counts) == {"enrolled", "clear"}
    assert set(wire.ports()) == {18443}
    shop.pods.counts("client", "clear_outbound", counts["clear"])


def test_a_strict_client_takes_enrolled_backends_only(shop):
    shop.pod("client", encrypt="strict")
    shop.pod("enrolled", encrypt="true")
    shop.pod("clear")
    shop.service("clear")
    with shop.pods.capture("client") as wire:
        (visit,) = shop.visit()
    assert visit.error == "ECONNRESET"
    assert PORT not in wire.ports()
    shop.pods.counts("client", "refused_outbound", 1)
    shop.service("clear", "enrolled")
    shop.let_it_be_known("enrolled")
    with shop.pods.capture("client") as wire:
        assert shop.backends(shop.visit(20)) == {"enrolled": 20}
    assert set(wire.ports()) == {18443}


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS6])
def test_a_pod_reaches_itself_through_its_service(shop, address):
    shop.pod("client", encrypt="strict")
    shop.service("client", address=address)
    with shop.pods.capture("client") as wire:
        visits = shop.visit(3, address=address)
    assert shop.backends(visits) == {"client": 3}
    assert {visit.peer for visit in visits} == {(address, SERVICE_PORT)}
    assert wire.ports() == {}
    shop.pods.counts("client", "own_outbound", 3)


def test_what_is_known_stays_in_use_while_the_watcher_is_away_and_is_asked_for_again_after(shop):
    for name in ("client", "one", "two"):
        shop.pod(name, encrypt="true")
    shop.service("one")
    assert shop.backends(shop.visit(1)) == {"one": 1}
    shop.pods.kill_manager()
    shop.pods.wait_log("client", "the watcher is away")
    visits = shop.visit(5)
    assert shop.backends(visits) == {"one": 5}
    # A destination that nobody has asked about is not waited for: at once in clear, to a port where nobody listens.
    (visit,) = shop.visit(address=shop.pods.address("two"), port=9001)
    assert (visit.error, visit.seconds < 0.9) == ("ECONNRESET", True)
    shop.pods.up()
    for name in ("client", "one", "two"):
        shop.pods.client.wait_settled(name, timeout=20)
    shop.service("two")
    shop.let_it_be_known("two")
    assert shop.backends(shop.visit(5)) == {"two": 5}


def test_a_new_worker_asks_again(shop):
    for name in ("client", "one"):
        shop.pod(name, encrypt="true")
    shop.service("one")
    assert shop.backends(shop.visit(1)) == {"one": 1}
    shop.pods.kill_gateway("client", "worker")
    assert shop.backends(shop.visit(3)) == {"one": 3}


def test_a_watcher_that_hangs_costs_a_second_once(shop):
    shop.pod("client", encrypt="true")
    shop.pod("one")
    shop.pods.stop_manager()
    try:
        first, *rest = shop.visit(4, address=shop.pods.address("one"), port=PORT)
    finally:
        shop.pods.continue_manager()
    assert [visit.error for visit in (first, *rest)] == [""] * 4
    assert 0.9 < first.seconds < 3
    assert max(visit.seconds for visit in rest) < 0.5
    shop.pods.counts("client", "services_unanswered", 4)
