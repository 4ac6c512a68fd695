"""A cluster's root is replaced, and pods are revoked, whichever watcher leads and however often another one does."""

from __future__ import annotations

import asyncio
import base64
import copy

import pytest

from kube_gateway.checks import revocation_map
from kube_gateway.checks.identities import read_identity
from kube_gateway.checks.revocation_map import change_revocations
from kube_gateway.checks.rotation_status import rotate
from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import create_authority
from kube_gateway.watcher import summary as summary_module
from kube_gateway.watcher.authority_secret import put_authority
from watcher.identity_world import SECRET, World, hurry, until
from watcher.made import pod_body

REVOKED = "kube-gateway/kube-gateway-revoked"

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch):
    """Short pauses, those of the Lease too."""
    hurry(monkeypatch)
    monkeypatch.setattr(summary_module, "EVERY", 0.1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return create_authority(tmp_path_factory.mktemp("old"))


@pytest.fixture
async def world(authority):
    made = World(authority)
    await made.start_watcher()
    yield made
    await made.end()


async def begin(world):
    return await rotate(world.api.client(), "begin", namespace="kube-gateway")


async def status(world):
    return await rotate(world.api.client(), "status", namespace="kube-gateway")


def stage(world):
    return world.rotation.stage if world.rotation is not None else None


def stored(world):
    return {
        key: base64.b64decode(value).decode() for key, value in world.api.objects["secrets"][SECRET]["data"].items()
    }


async def test_the_root_is_replaced_and_the_old_one_is_gone(world, authority):
    gateways = [world.start_gateway("web", 2), world.start_gateway("db", 3)]
    await until(lambda: all(gateway.connects and gateway.says for gateway in gateways))
    begun = await begin(world)
    assert (begun.rotation.stage, begun.root) == ("introduce", authority.fingerprint)
    seen = []
    async with asyncio.timeout(15):
        while not seen or seen[-1] is not None:
            if not seen or seen[-1] != stage(world):
                seen.append(stage(world))
            if seen == [None]:
                seen.clear()
            await asyncio.sleep(0.005)
    assert seen == ["introduce", "switch", "retire", None]
    new = begun.rotation.new
    for gateway in gateways:
        assert (gateway.says.issuer, gateway.says.roots) == (new, (new,))
        # The line that it had stayed: nobody had to connect anew.
        assert gateway.connects == 1
    assert set(stored(world)) == {"ca-cert", "ca-key"}
    assert authority.key_pem not in stored(world).values()
    # Whoever connects from now on meets a watcher of the new root, and is of it.
    late = world.start_gateway("late", 4)
    await until(lambda: late.connects and late.says)
    assert late.says.issuer == new


async def test_another_watcher_goes_on_at_every_step(world, authority):
    gateways = [world.start_gateway("web", 2), world.start_gateway("db", 3)]
    await until(lambda: all(gateway.connects and gateway.says for gateway in gateways))
    new = (await begin(world)).rotation.new
    met = set()
    async with asyncio.timeout(40):
        while "rotation" in stored(world):
            await world.stop_watcher()
            await world.start_watcher()
            met.add(stage(world))
            before = stored(world).get("rotation")
            await until(lambda before=before: stored(world).get("rotation") != before, 20)
    assert met == {"introduce", "switch", "retire"}
    for gateway in gateways:
        assert (gateway.says.issuer, gateway.says.roots) == (new, (new,))


async def test_one_that_does_not_confirm_is_waited_for_by_name(world):
    web, db = world.start_gateway("web", 2), world.start_gateway("db", 3)
    await until(lambda: web.connects and web.says and db.connects and db.says)
    db.takes = False
    await begin(world)
    await until(lambda: web.says and len(web.says.roots) == 2)
    async with asyncio.timeout(10):
        told = await status(world)
        while [one.name for one in told.waiting] != ["shop/db"]:
            await asyncio.sleep(0.05)
            told = await status(world)
    # While its identity is on the way to its worker, nobody knows which it has.
    assert [(one.name, one.why) for one in told.waiting] == [("shop/db", "it does not trust both roots yet")]
    await asyncio.sleep(0.5)
    assert stage(world) == "introduce"
    db.takes = True
    db.use.use(db.keeper.current)
    await until(lambda: stage(world) == "switch")


async def test_a_pod_that_is_gone_is_not_waited_for(world):
    web, db = world.start_gateway("web", 2), world.start_gateway("db", 3)
    await until(lambda: web.connects and web.says and db.connects and db.says)
    db.takes = False
    await begin(world)
    await asyncio.sleep(0.5)
    await db.end()
    world.gateways.remove(db)
    world.api.remove("pods", "shop/db")
    await until(lambda: stage(world) is None and len(stored(world)) == 2)


async def test_a_rotation_can_be_undone_when_the_new_root_signs_already(world, authority):
    web = world.start_gateway("web", 2)
    await until(lambda: web.connects and web.says)
    new = (await begin(world)).rotation.new
    await until(lambda: stage(world) == "switch")
    undone = await rotate(world.api.client(), "abort", namespace="kube-gateway")
    assert (undone.rotation.old, undone.rotation.new) == (new, authority.fingerprint)
    await until(lambda: "rotation" not in stored(world))
    assert stored(world) == {"ca-cert": authority.certificate_pem, "ca-key": authority.key_pem}
    await until(lambda: web.says and web.says.roots == (authority.fingerprint,))
    assert web.says.issuer == authority.fingerprint


async def test_a_revoked_pod_is_not_let_in_and_all_others_are_told(world):
    web, db = world.start_gateway("web", 2), world.start_gateway("db", 3)
    await until(lambda: web.connects and web.says and db.connects and db.says)
    client = world.api.client()
    (revoked,) = await change_revocations(
        client, pod="web", uid="", restored=False, namespace="shop", watcher="kube-gateway"
    )
    assert (revoked.pod, revoked.uid) == ("shop/web", "uid-web")
    await until(lambda: db.revoked == ("uid-web",) and not web.link.connected)
    tried = world.api.objects["pods"]["shop/web"]["status"].get("conditions", ())
    await asyncio.sleep(0.5)
    assert not any(line == "web" for line in world.watcher._endpoint._answers)
    assert world.watcher._endpoint.lines == 1, tried
    # The next watcher lets it in no more than this one.
    await world.stop_watcher()
    await world.start_watcher()
    await until(lambda: db.link.connected)
    await asyncio.sleep(0.3)
    assert world.watcher._endpoint.lines == 1
    assert (
        await change_revocations(client, pod="web", uid="", restored=True, namespace="shop", watcher="kube-gateway")
        == ()
    )
    await until(lambda: db.revoked == () and web.says and web.link.connected, 15)
    with pytest.raises(IdentityError, match="is revoked"):
        await change_revocations(client, pod="web", uid="", restored=True, namespace="shop", watcher="kube-gateway")


async def test_a_pod_that_is_revoked_gets_no_gateway_and_is_told_why(world):
    client = world.api.client()
    await change_revocations(client, pod="", uid="uid-thief", restored=False, namespace="shop", watcher="kube-gateway")
    await until(lambda: world.signer.revocations)
    body = pod_body("thief", address="127.0.0.7", encrypt="true")
    body["metadata"]["uid"] = "uid-thief"
    world.api.put("pods", body)
    await until(lambda: world.api.objects["pods"]["shop/thief"]["status"].get("conditions"))
    assert "shop/kube-gateway-thief" not in world.api.objects["secrets"]
    assert not world.api.objects["pods"]["shop/thief"]["spec"].get("ephemeralContainers")
    (condition,) = world.api.objects["pods"]["shop/thief"]["status"]["conditions"]
    assert condition["reason"] == "ProblemRevoked"


async def test_what_a_pod_would_prove_is_published(world, authority):
    web = world.start_gateway("web", 2)
    await until(lambda: web.connects and web.says)
    client = world.api.client()

    async def found():
        try:
            return await read_identity(client, "web", namespace="shop", watcher="kube-gateway")
        except IdentityError:
            return None

    async with asyncio.timeout(10):
        while (identity := await found()) is None or identity.serial != web.says.serial:
            await asyncio.sleep(0.05)
    assert identity.spiffe_id == "spiffe://cluster.local/ns/shop/sa/web"
    assert (identity.uid, identity.addresses) == ("uid-web", ("127.0.0.2",))
    assert (identity.issuer, identity.roots) == (authority.fingerprint, (authority.fingerprint,))


async def test_a_root_that_is_replaced_at_once_is_taken_within_seconds_without_a_restart(world, tmp_path):
    """For a root that others have the key of: connections may break, and then are of the new one."""
    web, db = world.start_gateway("web", 2), world.start_gateway("db", 3)
    await until(lambda: web.connects and web.says and db.connects and db.says)
    other = create_authority(tmp_path / "other")
    done = await put_authority(world.api.client(), other, namespace="kube-gateway", replace=True)
    assert done == "Secret kube-gateway/watcher is replaced"
    for gateway in (web, db):
        await until(lambda gateway=gateway: gateway.says and gateway.says.issuer == other.fingerprint)
        assert gateway.says.roots == (other.fingerprint,)
        assert gateway.connects == 1


@pytest.mark.parametrize("root", ["another", "the one that is rotated to"])
async def test_a_root_that_is_replaced_at_once_ends_a_rotation(world, tmp_path, root):
    """Whoever has the key of the old one must not be trusted on, because a rotation had begun."""
    web = world.start_gateway("web", 2)
    await until(lambda: web.connects and web.says)
    web.takes = False
    await begin(world)
    await until(lambda: world.rotation is not None)
    new = world.signer.roots.following if root != "another" else create_authority(tmp_path / "other")
    web.takes = True
    # What came while its worker did not do as it was told is not on its way for ever.
    web.use.use(web.keeper.current)
    done = await put_authority(world.api.client(), new, namespace="kube-gateway", replace=True)
    assert done == "Secret kube-gateway/watcher is replaced"
    assert set(stored(world)) == {"ca-cert", "ca-key"}
    await until(lambda: web.says and web.says.issuer == new.fingerprint and web.says.roots == (new.fingerprint,))
    assert world.rotation is None


@pytest.mark.parametrize("why", ["not understood", "forbidden", "deleted"])
async def test_who_does_not_know_who_is_revoked_does_not_lead(world, why):
    web, db = world.start_gateway("web", 2), world.start_gateway("db", 3)
    await until(lambda: web.connects and web.says and db.connects and db.says)
    await change_revocations(
        world.api.client(), pod="web", uid="", restored=False, namespace="shop", watcher="kube-gateway"
    )
    await until(lambda: db.revoked == ("uid-web",) and not web.link.connected)
    await world.stop_watcher()
    body = copy.deepcopy(world.api.objects["configmaps"][REVOKED])
    if why == "forbidden":
        world.api.forbidden.add("configmaps")
    elif why == "deleted":
        world.api.remove("configmaps", REVOKED)
    else:
        world.api.put("configmaps", {**body, "data": dict.fromkeys(body["data"], "nonsense")})
    world.begin_watcher()
    await asyncio.sleep(0.5)
    assert world.watcher._endpoint._cluster is None
    assert db.revoked == ("uid-web",)
    world.api.forbidden.clear()
    world.api.put("configmaps", body)
    await until(lambda: db.link.connected)
    await asyncio.sleep(0.3)
    assert db.revoked == ("uid-web",)
    assert not web.link.connected


async def revoke(world, pod):
    return await change_revocations(
        world.api.client(), pod=pod, uid="", restored=False, namespace="shop", watcher="kube-gateway"
    )


async def test_who_deletes_the_list_takes_nobody_back(world, caplog):
    web, db = world.start_gateway("web", 2), world.start_gateway("db", 3)
    await until(lambda: web.connects and web.says and db.connects and db.says)
    await revoke(world, "web")
    await until(lambda: db.revoked == ("uid-web",) and not web.link.connected)
    world.api.remove("configmaps", REVOKED)
    await asyncio.sleep(0.5)
    assert db.revoked == ("uid-web",)
    assert not web.link.connected
    assert [record.getMessage() for record in caplog.records if REVOKED in record.getMessage()] == [
        f"a revocation would not be seen: the ConfigMap {REVOKED} is missing, and with it who is revoked "
        "(kubectl -n kube-gateway create configmap kube-gateway-revoked)"
    ]
    with pytest.raises(IdentityError, match="is missing"):
        await revoke(world, "db")


async def test_a_list_that_is_made_anew_has_those_that_were_revoked(world):
    web, db = world.start_gateway("web", 2), world.start_gateway("db", 3)
    await until(lambda: web.connects and web.says and db.connects and db.says)
    await revoke(world, "web")
    await until(lambda: db.revoked == ("uid-web",) and not web.link.connected)
    world.api.remove("configmaps", REVOKED)
    world.make_map("kube-gateway-revoked")
    # At once: what is written before the watcher has looked must not be all that is revoked.
    assert [one.uid for one in await revoke(world, "db")] == ["uid-web", "uid-db"]
    await until(lambda: not db.link.connected)
    assert not web.link.connected


async def test_while_no_watcher_has_written_the_list_nobody_is_revoked_past_it(world, monkeypatch):
    monkeypatch.setattr(revocation_map, "_WRITTEN_WITHIN", 0.0)
    await world.stop_watcher()
    world.api.remove("configmaps", REVOKED)
    world.make_map("kube-gateway-revoked")
    with pytest.raises(IdentityError, match="no watcher has written yet"):
        await change_revocations(
            world.api.client(), pod="", uid="uid-web", restored=False, namespace="shop", watcher="kube-gateway"
        )
    assert "data" not in world.api.objects["configmaps"][REVOKED]
