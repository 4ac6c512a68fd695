"""A root that names no trust domain, as openssl makes them, is replaced under watchers that are told theirs."""

from __future__ import annotations

import base64
import subprocess

import pytest

from kube_gateway.checks.rotation_status import rotate
from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import load_authority, new_authority, parse_authority
from watcher.identity_world import SECRET, World, hurry, until

OURS = "shop.example"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    hurry(monkeypatch)


def made_by_openssl(directory):
    """The files ca.crt and ca.key of a root that names nothing but itself."""
    made = "openssl req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=ours"
    subprocess.run(
        [*made.split(), "-keyout", directory / "ca.key", "-out", directory / "ca.crt"], check=True, capture_output=True
    )
    (directory / "ca.key").chmod(0o600)
    return directory


@pytest.fixture
def old(tmp_path):
    """As the watcher reads it, that is told its trust domain."""
    directory = made_by_openssl(tmp_path)
    files = [(directory / name).read_bytes() for name in ("ca.crt", "ca.key")]
    return parse_authority(*files, names=("ca-cert", "ca-key"), trust_domain=OURS)


@pytest.fixture
async def world(old):
    made = World(old, trust_domain=OURS)
    await made.start_watcher()
    yield made
    await made.end()


def stored(world):
    return {
        key: base64.b64decode(value).decode() for key, value in world.api.objects["secrets"][SECRET]["data"].items()
    }


async def test_the_watcher_takes_the_root_that_is_made(world, old):
    web = world.start_gateway("web", 2)
    await until(lambda: web.connects and web.says)
    new = (await rotate(world.api.client(), "begin", namespace="kube-gateway")).rotation.new
    await until(lambda: "rotation" not in stored(world), 15)
    assert set(stored(world)) == {"ca-cert", "ca-key"}
    await until(lambda: web.says and web.says.roots == (new,))
    assert (web.says.issuer, web.says.spiffe_id) == (new, f"spiffe://{OURS}/ns/shop/sa/web")
    # The line that it had stayed: nobody had to connect anew.
    assert web.connects == 1


async def test_it_can_be_looked_at_and_undone(world, old):
    web = world.start_gateway("web", 2)
    await until(lambda: web.connects and web.says)
    web.takes = False
    new = (await rotate(world.api.client(), "begin", namespace="kube-gateway")).rotation.new
    await until(lambda: world.rotation is not None)
    assert (await rotate(world.api.client(), "status", namespace="kube-gateway")).rotation.new == new
    assert (await rotate(world.api.client(), "abort", namespace="kube-gateway")).rotation is None
    assert stored(world) == {"ca-cert": old.certificate_pem, "ca-key": old.key_pem}


async def test_one_of_a_persons_own_that_names_none_is_taken_too(world, tmp_path):
    directory = tmp_path / "new"
    directory.mkdir()
    new = load_authority(made_by_openssl(directory))
    await rotate(world.api.client(), "begin", namespace="kube-gateway", new=new)
    await until(lambda: "rotation" not in stored(world), 15)
    assert stored(world)["ca-cert"] == new.certificate_pem


@pytest.mark.parametrize("named", ["cluster.local", OURS])
async def test_one_that_names_its_trust_domain_is_refused_before_anything_is_written(world, named):
    before = stored(world)
    with pytest.raises(IdentityError, match=f"names no trust domain, and the new one names {named}"):
        await rotate(world.api.client(), "begin", namespace="kube-gateway", new=new_authority(named))
    assert stored(world) == before
