"""Services of the local mode: what may be one, what they stand for, and that a manager finds them again."""

from __future__ import annotations

import msgspec
import pytest

from kube_gateway.errors import LocalModeError, UsageError
from kube_gateway.local.instance import Instance
from kube_gateway.local.services import LocalService, LocalServices
from kube_gateway.model.service import Backend, ServiceBackends

RUNNING = {"web": ("10.89.0.3", "fd89::3"), "api": ("10.89.0.2", "fd89::2")}
SHOP = LocalService(name="shop", address="10.89.200.1", port=80, to=(("web", 8080), ("api", 8081), ("gone", 1)))


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBE_GATEWAY_RUN", str(tmp_path))
    instance = Instance("test")
    instance.directory.mkdir()
    return instance


@pytest.fixture
def services(directory):
    return LocalServices(directory)


def test_it_stands_for_the_pods_that_run(services):
    services.set(SHOP)
    assert services.resolve("10.89.200.1", 80, running=RUNNING) == ServiceBackends(
        service="default/shop",
        backends=(Backend(address="10.89.0.2", port=8081), Backend(address="10.89.0.3", port=8080)),
    )
    assert services.resolve("10.89.200.1", 80, running={}) == ServiceBackends(service="default/shop")


def test_backends_are_of_the_family_of_the_address(services):
    services.set(msgspec.structs.replace(SHOP, address="fd89:200:0::1", affinity_seconds=9))
    found = services.resolve("fd89:200::1", 80, running=RUNNING)
    assert found is not None
    assert [backend.address for backend in found.backends] == ["fd89::2", "fd89::3"]
    assert found.affinity_seconds == 9


def test_all_ports_of_the_address_are_the_services_and_no_other_address_is(services):
    services.set(SHOP)
    assert services.resolve("10.89.200.1", 81, running=RUNNING) == ServiceBackends(service="default/shop")
    assert services.resolve("10.89.200.2", 80, running=RUNNING) is None


def test_a_pod_may_listen_on_two_ports(services):
    services.set(msgspec.structs.replace(SHOP, to=(("web", 2), ("web", 1), ("web", 2))))
    found = services.resolve("10.89.200.1", 80, running=RUNNING)
    assert found is not None
    assert [backend.port for backend in found.backends] == [1, 2]


def test_the_next_manager_finds_them(directory, services):
    services.set(SHOP)
    services.set(msgspec.structs.replace(SHOP, name="other", address="10.89.200.2"))
    services.delete("shop")
    again = LocalServices(directory)
    assert again.resolve("10.89.200.1", 80, running=RUNNING) is None
    assert again.resolve("10.89.200.2", 80, running=RUNNING) is not None


def test_a_file_that_is_not_readable_is_told(directory):
    (directory.directory / "services.json").write_text("{")
    with pytest.raises(LocalModeError, match=r"services\.json is not readable") as raised:
        LocalServices(directory)
    assert raised.value.hint == "kube-gateway local --instance test down"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Shop"}, "'Shop' cannot name a pod"),
        ({"address": "shop"}, "'shop' is no IP address"),
        ({"address": "10.89.0.77"}, "10.89.0.77 can be no Service's: it is routed"),
        ({"address": "fd89::1:2"}, "fd89::1:2 can be no Service's: it is routed"),
        ({"address": "127.0.0.1"}, "127.0.0.1 can be no Service's: it is routed"),
        ({"port": 0}, "0 is no TCP port"),
        ({"to": (("web", 65536),)}, "65536 is no TCP port"),
        ({"affinity_seconds": -1}, "an affinity of -1 s is not between 0 and 86400"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(services, changes, message):
    services.set(SHOP)
    with pytest.raises(UsageError) as raised:
        services.set(msgspec.structs.replace(SHOP, **changes))
    assert raised.value.message == message
    found = services.resolve("10.89.200.1", 80, running=RUNNING)
    assert found is not None
    assert len(found.backends) == 2


def test_an_address_is_of_one_service(services):
    services.set(SHOP)
    services.set(msgspec.structs.replace(SHOP, port=81))
    with pytest.raises(UsageError, match=r"10\.89\.200\.1 is the address of the Service 'shop'"):
        services.set(msgspec.structs.replace(SHOP, name="other"))


def test_one_that_is_not_there_cannot_be_deleted(services):
    services.set(SHOP)
    with pytest.raises(LocalModeError, match="there is no Service 'other'") as raised:
        services.delete("other")
    assert raised.value.hint == "Services of this instance: shop"


@pytest.mark.root
def test_the_command_line(cli, instance):
    made = cli("service", "shop", "--address", "10.89.200.1", "--port", "80", "--to", "web:8080", "--affinity", "60")
    assert (made.returncode, made.stdout, made.stderr) == (0, "shop 10.89.200.1 80\n", "")
    kept = msgspec.json.decode((instance.instance.directory / "services.json").read_bytes())
    assert kept == {
        "shop": {"name": "shop", "address": "10.89.200.1", "port": 80, "to": [["web", 8080]], "affinity_seconds": 60}
    }
    gone = cli("service", "shop", "--delete")
    assert (gone.returncode, gone.stdout, gone.stderr) == (0, "", "the Service shop is deleted\n")
    again = cli("service", "shop", "--delete")
    assert (again.returncode, again.stderr) == (
        1,
        "error: there is no Service 'shop'\nhint: Services of this instance: none\n",
    )
    wrong = cli("service", "shop", "--address", "10.89.200.1", "--port", "80", "--to", "web")
    assert (wrong.returncode, wrong.stderr) == (2, "error: 'web' is no backend\nhint: --to POD:PORT\n")
    half = cli("service", "shop", "--port", "80")
    assert half.returncode == 2
    assert half.stderr.startswith("error: a Service has an address and a port\nhint: --address")
