"""The watcher's process: waits for its authority, leads, loses the lead and leads again, ends well."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket

import pytest

from kube_gateway.errors import IdentityError
from kube_gateway.kube.lease import LeaderElection
from kube_gateway.watcher import run as module
from kube_gateway.watcher.run import Watcher, run_watcher
from watcher.api import Api
from watcher.made import TYPE, configuration, free_port, pod_body, signer
from watcher.simulated import hurry

LEASE = "kube-gateway/kube-gateway-watcher"


@pytest.fixture
def api(monkeypatch):
    hurry(monkeypatch)

    class Quick(LeaderElection):
        def __init__(self, *args, **options):
            # Long enough that a busy machine does not cost anybody the lead.
            super().__init__(*args, **{**options, "duration": 3.0, "renew_deadline": 2.0, "retry": 0.05})

    monkeypatch.setattr(module, "LeaderElection", Quick)
    monkeypatch.setattr(module, "_LOOK_FOR_AUTHORITY", 0.02)
    made = Api()
    made.put("namespaces", {"metadata": {"name": "shop"}})
    made.put("configmaps", {"metadata": {"name": "kube-gateway-revoked", "namespace": "kube-gateway"}})
    return made


def mount(directory):
    authority = signer().authority
    (directory / "ca-key").write_text(authority.key_pem)
    (directory / "ca-cert").write_text(authority.certificate_pem)


async def until(condition, seconds=4.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def holder(api):
    lease = api.objects["leases"].get(LEASE)
    return (lease and lease["spec"].get("holderIdentity")) or ""


def added(api, name="web"):
    return [one["name"] for one in api.objects["pods"][f"shop/{name}"]["spec"].get("ephemeralContainers", ())]


async def running(api, **options):
    watcher = Watcher(api.client(), configuration(port=free_port(), **options), signer=signer())
    return watcher, asyncio.create_task(watcher.run())


async def end(*tasks):
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_it_waits_for_its_authority_and_says_so_once(api, tmp_path, caplog):
    caplog.set_level("INFO")
    task = asyncio.create_task(run_watcher(api.client(), configuration(authority=tmp_path, port=free_port())))
    await asyncio.sleep(0.2)
    assert not task.done()
    assert holder(api) == ""
    assert caplog.text.count("waiting: there is no certificate authority") == 1
    assert "(kube-gateway ca create, then kube-gateway ca load)" in caplog.text
    mount(tmp_path)
    await until(lambda: holder(api))
    assert "root " in caplog.text
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(3):
        await task
    assert holder(api) == ""
    assert caplog.messages[-1] == "ended"


async def test_while_it_waits_for_its_authority_sigterm_ends_it(api, tmp_path):
    task = asyncio.create_task(run_watcher(api.client(), configuration(authority=tmp_path)))
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(3):
        await task
    assert api.writes == []


async def test_it_leads_and_acts_and_releases_its_lease(api, tmp_path):
    mount(tmp_path)
    api.put("pods", pod_body(encrypt="true"))
    task = asyncio.create_task(run_watcher(api.client(), configuration(authority=tmp_path, port=free_port())))
    await until(lambda: added(api))
    assert holder(api).startswith("watcher-1_127.0.0.1_")
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(3):
        await task
    assert holder(api) == ""
    # Another takes over at once.
    api.put("pods", pod_body("other", address="10.0.0.3", encrypt="true"))
    _, other = await running(api, name="watcher-2")
    await until(lambda: added(api, "other"))
    await end(other)


async def test_of_two_one_acts_and_the_other_says_where(api):
    first, task = await running(api, name="w1", address="127.0.0.1")
    await until(lambda: holder(api))
    second, other = await running(api, name="w2", address="fd00::2")
    await until(lambda: second._endpoint._leader)
    assert second._endpoint._leader == f"tls:127.0.0.1:{second._configuration.port}"
    assert second._endpoint._cluster is None
    assert first._endpoint._cluster is not None
    await end(task)
    await until(lambda: second._endpoint._cluster is not None)
    assert second._endpoint._leader == f"tls:[fd00::2]:{second._configuration.port}"
    await end(other)
    assert second._endpoint._leader == ""


async def test_it_loses_the_lead_stands_by_and_leads_again(api, caplog):
    watcher, task = await running(api)
    await until(lambda: watcher._endpoint._cluster is not None)
    name = holder(api)
    api.change(
        "leases", LEASE, lambda body: body["spec"].update(holderIdentity="thief_10.0.0.7_aa", leaseDurationSeconds=1)
    )
    await until(lambda: watcher._endpoint._cluster is None)
    assert watcher._endpoint._leader == f"tls:10.0.0.7:{watcher._configuration.port}"
    await until(lambda: "thief_10.0.0.7_aa leads now; standing by" in caplog.text)
    # The thief does not renew.
    await until(lambda: watcher._endpoint._cluster is not None, 10.0)
    assert holder(api) == name
    api.put("pods", pod_body(encrypt="true"))
    await until(lambda: added(api))
    await end(task)
    assert holder(api) == ""


async def test_it_does_not_act_on_what_it_cannot_renew(api, caplog):
    api.put("pods", pod_body())
    watcher, task = await running(api)
    await until(lambda: watcher._endpoint._cluster is not None)
    api.faults = [500] * 10_000
    await until(lambda: watcher._endpoint._cluster is None, 10.0)
    assert "could not renew the leadership" in caplog.text
    annotations = {"kube-gateway.io/encrypt": "true"}
    api.change("pods", "shop/web", lambda body: body["metadata"].update(annotations=annotations))
    api.faults = []
    await until(lambda: added(api))
    assert [one["type"] for one in api.objects["pods"]["shop/web"]["status"]["conditions"]] == [TYPE]
    await end(task)


async def test_a_port_that_is_taken_is_one_error(api):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        watcher = Watcher(api.client(), configuration(port=taken.getsockname()[1]), signer=signer())
        with pytest.raises(OSError, match="in use"):
            async with asyncio.timeout(3):
                await watcher.run()


async def test_a_root_that_expired_is_one_error(api, monkeypatch):
    def expired(*_, **__):
        raise IdentityError("the root certificate of cluster.local expired on 2020-01-01")

    watcher = Watcher(api.client(), configuration(port=free_port()), signer=signer())
    monkeypatch.setattr(type(watcher._endpoint), "_context", expired)
    with pytest.raises(IdentityError, match="expired"):
        async with asyncio.timeout(3):
            await watcher.run()


async def test_a_mistake_of_ours_ends_it_and_the_lease_is_free(api, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("kube_gateway.watcher.reconcile.Reconciler._next_look", broken)
    api.put("pods", pod_body(encrypt="true"))
    _, task = await running(api)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            await asyncio.wait((task,))
    assert isinstance(task.exception(), ZeroDivisionError)
    assert holder(api) == ""
