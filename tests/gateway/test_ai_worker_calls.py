"""The worker's part of AI control: engines for policies, and what becomes of one that is not right."""

from __future__ import annotations

import json
import os
import threading

import pytest

from kube_gateway.ai.meters.call import Meters
from kube_gateway.gateway import worker_calls
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.memory_file import make_memory_file
from kube_gateway.gateway.worker_calls import Calls
from kube_gateway.model.ai_report import BudgetCount, BudgetPart, policy_name

GOOD = "version: 1\nrules:\n- {name: day, kind: budget, tokens: 1000, window: 1d}\n"
BAD = "version: 1\nrules:\n- {name: x, kind: nonsense}\n"
NOT_COMPILED = "version: 1\nrules:\n- {name: x, kind: regex, patterns: ['('], lanes: [answer]}\n"


class Core:
    def __init__(self):
        self.engines = []

    def set_policy(self, engine):
        self.engines.append(engine)


class Request:
    """As the native core shows one."""

    endpoint, method, target, encoded = 0, "POST", "/v1/chat/completions", False
    headers, destination, connection, http_version = [("content-type", "application/json")], "10.0.0.3:80", 7, "1.1"
    body = json.dumps({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}).encode()


@pytest.fixture
def core():
    return Core()


@pytest.fixture
def calls(core):
    return Calls(core, changed=lambda: None)


def use(calls, text, *, model="", revision=1, budgets=(), name=None):
    file = make_memory_file(text, name="policy")
    message = messages.UsePolicy(
        name=name or policy_name(text),
        source="its file",
        revision=revision,
        model=model,
        pod="shop/web",
        hash_key=b"k" * 32,
        budgets=budgets,
    )
    calls.use(message, [file])
    calls._do(lambda: None, wait=True)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(file)


def test_a_policy_is_in_force_with_the_next_request(calls, core, caplog):
    caplog.set_level("INFO")
    use(calls, GOOD, revision=3)
    assert len(core.engines) == 1
    assert core.engines[0].endpoints
    report = calls.report()
    assert (report.policy, report.revision, report.source) == (policy_name(GOOD), 3, "its file")
    assert f"policy {policy_name(GOOD)} (revision 3, from its file) applies to LLM calls" in caplog.text


@pytest.mark.parametrize(("text", "field"), [(BAD, "rules[0].kind"), (NOT_COMPILED, "rules[0].patterns")])
def test_one_that_is_not_right_changes_nothing_and_names_the_field(calls, core, text, field):
    use(calls, GOOD)
    use(calls, text, revision=2)
    assert len(core.engines) == 1
    report = calls.report()
    assert (report.policy, report.revision) == (policy_name(GOOD), 1)
    assert report.refused == policy_name(text)
    assert field in report.problem
    use(calls, "version: 1", revision=3)
    assert (calls.report().refused, calls.report().problem) == ("", "")


def test_where_there_never_was_a_right_one_calls_are_counted_and_pass(calls, core):
    use(calls, BAD)
    assert len(core.engines) == 1
    assert calls.report().policy == policy_name("")
    assert calls.report().refused == policy_name(BAD)


def test_what_nobody_has_foreseen_ends_no_worker(calls, core, monkeypatch, caplog):
    use(calls, GOOD)

    def fails(*_, **__):
        raise RuntimeError("nobody knows")

    monkeypatch.setattr(worker_calls, "Engine", fails)
    use(calls, "version: 1", revision=2)
    assert calls.report().refused == policy_name("version: 1")
    assert "RuntimeError: nobody knows" in calls.report().problem
    assert len(core.engines) == 1


def test_another_model_takes_no_second_reading(calls, core, monkeypatch):
    use(calls, GOOD)
    monkeypatch.setattr(worker_calls, "read_policy", None)
    use(calls, GOOD, model="gemma2:2b")
    assert len(core.engines) == 2
    assert calls.report().model == "gemma2:2b"


def test_left_alone_there_is_no_engine_and_nothing_to_report(calls, core):
    use(calls, GOOD)
    calls.leave_alone()
    assert core.engines[-1] is None
    assert calls.report() is None


def test_budgets_go_on_from_policy_to_policy_and_from_worker_to_worker(calls, core):
    told = BudgetCount(rule="day", kind="budget", window=86400, parts=(BudgetPart(start=4e9, tokens=400, requests=2),))
    use(calls, GOOD, budgets=(told,))
    decision = core.engines[-1].decide(Request())
    assert decision.reply is None
    (count,) = calls.report().budgets
    assert count.used == 400
    assert count.reserved > 0
    use(calls, GOOD.replace("1000", "400"), revision=2)
    assert core.engines[-1].decide(Request()).reply.status == 429
    assert calls.report().blocked == {"budget_exhausted": 1}


def test_calls_are_logged_on_standard_output_unless_the_policy_says_otherwise(calls, core, capfd):
    use(calls, GOOD.replace("1000", "1"))
    core.engines[-1].decide(Request())
    line = json.loads(capfd.readouterr().out)
    assert (line["blocked"], line["rule"], line["policy_hash"]) == (
        "budget_exhausted",
        "day",
        policy_name(GOOD.replace("1000", "1")),
    )
    use(calls, GOOD.replace("1000", "1") + "audit: {enabled: false}\n")
    core.engines[-1].decide(Request())
    assert capfd.readouterr().out == ""


def test_figures_are_counted_unless_the_policy_says_otherwise(calls, core):
    refusing = GOOD.replace("1000", "1")
    use(calls, refusing + "metrics: {enabled: false}\n")
    assert core.engines[-1].decide(Request()).reply.status == 429
    assert calls.report().blocked == {}
    use(calls, refusing, revision=2)
    core.engines[-1].decide(Request())
    assert calls.report().blocked == {"budget_exhausted": 1}


def test_the_report_is_a_message(calls, core):
    use(calls, GOOD)
    state = messages.CallState(ai=calls.report())
    assert messages.decode_from_worker(messages.encode(state)) == state


@pytest.fixture
def collectors(monkeypatch):
    made = []

    class Telemetry(Meters):
        def __init__(self, endpoint, resource):
            self.endpoint, self.resource, self.closed, self.calls = endpoint, resource, False, []
            made.append(self)

        def ended(self, call):
            self.calls.append(call)

        def close(self):
            self.closed = True

    monkeypatch.setattr(worker_calls, "open_telemetry", Telemetry)
    return made


def test_a_collector_that_the_policy_names_gets_calls_until_another_is_named(calls, core, collectors):
    text = GOOD.replace("1000", "1") + "metrics: {otlpEndpoint: 'http://collector:4318'}\n"
    use(calls, text)
    use(calls, text, model="x")
    core.engines[-1].decide(Request())
    (first,) = collectors
    assert (first.endpoint, len(first.calls)) == ("http://collector:4318", 1)
    assert first.resource == {"service.name": "kube-gateway", "k8s.namespace.name": "shop", "k8s.pod.name": "web"}
    use(calls, text.replace("collector", "other"))
    assert [one.endpoint for one in collectors] == ["http://collector:4318", "http://other:4318"]
    use(calls, GOOD)
    assert len(collectors) == 2


def test_the_environment_names_a_collector_too(calls, collectors, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://of-all:4318")
    use(calls, GOOD)
    assert [one.endpoint for one in collectors] == ["http://of-all:4318"]
    use(calls, GOOD + "metrics: {enabled: false}\n")
    assert len(collectors) == 1


def test_a_policy_that_takes_long_keeps_nobody_waiting_but_the_first(core, monkeypatch):
    told, may_go_on = [], threading.Event()
    calls = Calls(core, changed=lambda: told.append(calls.report().policy))
    use(calls, GOOD)
    engine = worker_calls.Engine

    def slow(*arguments, **more):
        assert may_go_on.wait(5)
        return engine(*arguments, **more)

    monkeypatch.setattr(worker_calls, "Engine", slow)
    file = make_memory_file("version: 1", name="policy")
    calls.use(
        messages.UsePolicy(name="slow", source="x", revision=2, model="", pod="shop/web", hash_key=b"", budgets=()),
        [file],
    )
    assert calls.report().policy == policy_name(GOOD)
    may_go_on.set()
    calls._do(lambda: None, wait=True)
    assert calls.report().policy == "slow"
    assert told[-1] == "slow"


def test_what_was_refused_stays_told_while_only_the_model_changes(calls, core):
    use(calls, GOOD)
    use(calls, BAD, revision=2)
    use(calls, GOOD, model="gemma2:2b")
    assert (calls.report().model, calls.report().refused) == ("gemma2:2b", policy_name(BAD))
    use(calls, GOOD, revision=3)
    assert calls.report().refused == ""
