"""Checks one after the other: what stops them, what is waited for, and what may not be asked."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from facts import DENIED

from kube_gateway.checks.asking import Refusal, known, read, read_all
from kube_gateway.checks.catalogue import AFTER_INSTALLATION, BEFORE_INSTALLATION
from kube_gateway.checks.model import Category, Check, bad, ok
from kube_gateway.checks.runner import run_checks
from kube_gateway.checks.session import Session
from kube_gateway.kube.refusals import KubernetesError, Unreachable
from kube_gateway.watcher.authority_secret import SecretObject


def category(name, *checks, fetch=None):
    async def nothing(_):
        return None

    return Category(name=name, fetch=fetch or nothing, checks=checks)


def check(description, outcome=None, **more):
    return Check(description=description, judge=lambda _: outcome or ok(), **more)


async def run(*categories, wait=0.0):
    """The report, and what was told and waited for."""
    told, waited = [], []
    session = Session(KubernetesError("no client"), namespace="kube-gateway")
    report = await run_checks(session, categories, wait=wait, tell=told.append, waiting=waited.append, pause=0.001)
    assert tuple(told) == report.results
    return report, waited


def statuses(report):
    return [(result.description, result.status) for result in report.results]


async def test_a_warning_is_no_failure():
    report, _ = await run(category("a", check("one"), check("two", bad("no"), warns=True)))
    assert statuses(report) == [("one", "ok"), ("two", "warning")]
    assert report.ok


async def test_a_failure_that_stops_its_category():
    broken = category("a", check("one", bad("no"), stops="category"), check("two"))
    report, _ = await run(broken, category("b", check("three")))
    assert statuses(report) == [("one", "failed"), ("three", "ok")]
    assert report.not_checked == ("a: two",)
    assert not report.ok


async def test_a_failure_that_stops_everything():
    broken = category("a", check("one", bad("no"), stops="everything"), check("two"))
    report, _ = await run(broken, category("b", check("three")))
    assert statuses(report) == [("one", "failed")]
    assert report.not_checked == ("a: two", "b: three")


async def test_what_is_not_known_is_told_once():
    def judge(_):
        return known(DENIED)

    asking = [Check(description=name, judge=judge, stops="everything") for name in ("one", "two")]
    report, _ = await run(category("a", *asking, check("three")))
    assert statuses(report) == [("one", "warning"), ("three", "ok")]
    assert report.results[0].hint == DENIED.hint
    assert report.not_checked == ("a: two",)
    assert report.ok


async def test_what_may_come_right_is_waited_for_and_all_is_fetched_again():
    fetched = []

    async def fetch(_):
        fetched.append(1)
        return len(fetched)

    slow = Check(description="slow", judge=lambda facts: ok() if facts >= 3 else bad("not yet"), retry=True)
    report, waited = await run(category("a", slow, fetch=fetch), wait=5.0)
    assert statuses(report) == [("slow", "ok")]
    assert (len(fetched), waited) == (3, ["slow"])
    report, waited = await run(category("a", check("never", bad("no"), retry=True)), wait=0.01)
    assert (statuses(report), waited) == ([("never", "failed")], ["never"])


async def test_nothing_is_waited_for_that_cannot_come_right_by_itself():
    report, waited = await run(category("a", check("one", bad("no"))), wait=60.0)
    assert (report.ok, waited) == (False, [])


async def test_a_server_that_goes_away_in_between():
    async def fetch(_):
        raise Unreachable("get /api: no answer in time")

    report, _ = await run(category("a", check("one"), fetch=fetch), category("b", check("two")))
    assert statuses(report) == [("the API server answers", "failed"), ("two", "ok")]
    assert report.not_checked == ("a: one",)


@pytest.mark.parametrize("categories", [BEFORE_INSTALLATION, AFTER_INSTALLATION])
async def test_without_a_client_nothing_else_is_tried(categories):
    report, _ = await run(*categories)
    assert statuses(report) == [("can create the client", "failed")]
    assert len(report.not_checked) == sum(len(category.checks) for category in categories) - 1


@pytest.mark.parametrize("categories", [BEFORE_INSTALLATION, AFTER_INSTALLATION])
def test_whatever_fails_says_what_to_do(categories):
    """Checks without a hint of their own are those whose judgements always bring one."""
    without = {check.description for category in categories for check in category.checks if not check.hint}
    assert without <= {
        "at least one replica is ready",
        "all replicas are ready",
        "one replica leads",
        "it publishes what gateways report",
        "nodes give gateways what they need",
        "every enrolled pod has a gateway that does what was asked",
        "pods enrolled by their namespace are seen",
        "no certificate is past 80% of its life",
        "namespaces admit gateways",
        "no watcher is installed yet",
    }


async def test_somebody_without_any_right_gets_warnings_that_name_the_rules(serve):
    async def handler(request):
        if request.path == "/version":
            return web.json_response({"major": "1", "minor": "34", "gitVersion": "v1.34.4"})
        return web.json_response({"message": "no"}, status=403)

    client = await serve(handler)
    told = []
    session = Session(client, namespace="kube-gateway")
    report = await run_checks(session, AFTER_INSTALLATION, wait=0, tell=told.append, waiting=told.append)
    assert report.ok
    warnings = [result for result in report.results if result.status == "warning"]
    assert len(warnings) >= 8
    for result in warnings:
        rule = json.loads(result.hint.partition(": ")[2])
        assert rule["verbs"][0] in {"get", "list", "create"}, result
    secret = next(result for result in warnings if result.category == "authority")
    assert secret.message == "not known: you may not get secrets/watcher in the namespace kube-gateway"


async def test_answers(serve):
    async def handler(request):
        return web.json_response({"message": "no"}, status=404 if "absent" in request.path else 403)

    client = await serve(handler)
    assert await read(client, "/api/v1/namespaces/shop/secrets/absent", SecretObject) is None
    refused = await read_all(client, "/apis/apps/v1/deployments", SecretObject)
    assert isinstance(refused, Refusal)
    assert refused.message == "you may not list deployments"
    assert refused.hint.endswith('{"apiGroups":["apps"],"resources":["deployments"],"verbs":["list"]}')
