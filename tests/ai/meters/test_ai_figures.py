"""Figures of calls, as Prometheus reads them and as people see them."""

from __future__ import annotations

import re
import threading

import msgspec
import pytest

from ai.meters.calls import call
from kube_gateway.ai.meters.call import Usage
from kube_gateway.ai.meters.figures import Figures, error_type
from kube_gateway.model.ai_report import MOST_MODELS, MOST_RULES, OTHER_MODELS, BudgetCount, ModelCounts
from kube_gateway.model.exposition import MOST_SERIES

LINE = re.compile(r'([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\})? (\S+)')


def page(figures, budgets=()):
    """Samples by name and labels; raises when a line is not one of the format's."""
    found = {}
    for line in figures.page(policy="abc", revision=3, budgets=budgets).decode().splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .+", line)
            continue
        match = LINE.fullmatch(line)
        assert match, line
        found[match[1] + (match[2] or "")] = float(match[3])
    return found


@pytest.fixture
def figures():
    return Figures()


def test_a_call_is_counted_under_the_names_of_the_conventions(figures):
    figures.ended(call())
    found = page(figures)
    labels = (
        'gen_ai_operation_name="chat",gen_ai_provider_name="openai",'
        'gen_ai_request_model="gemma2:2b",gen_ai_response_model="gemma2:2b"'
    )
    tokens = f'gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="%s",kube_gateway_estimated="false"}}'
    assert (found[tokens % "input"], found[tokens % "output"]) == (12, 30)
    assert found[f'gen_ai_client_operation_duration_seconds_sum{{{labels},error_type=""}}'] == 0.5
    assert found[f"gen_ai_client_operation_time_to_first_chunk_seconds_count{{{labels}}}"] == 1
    assert found["kube_gateway_ai_overhead_seconds_sum"] == 0.0004
    assert (
        found[
            'kube_gateway_ai_calls_total{gen_ai_operation_name="chat",gen_ai_provider_name="openai",'
            'gen_ai_original_model="gpt-4o",gen_ai_request_model="gemma2:2b"}'
        ]
        == 1
    )
    assert found['kube_gateway_ai_policy_info{policy="abc",revision="3"}'] == 1


@pytest.mark.parametrize("operation", ["models", "manage", "count_tokens"])
def test_what_no_model_does_is_counted_and_not_timed_with_what_models_do(figures, operation):
    """A download takes minutes."""
    figures.ended(call(operation=operation, usage=None, duration=300.0))
    found = page(figures)
    assert any(name.startswith(f'kube_gateway_ai_calls_total{{gen_ai_operation_name="{operation}"') for name in found)
    assert not any(name.startswith("gen_ai_client_") for name in found)


def test_gemini_embeddings_and_answers_in_one_piece(figures):
    figures.ended(call(provider="gcp.gemini", streaming=False))
    figures.ended(call(operation="embeddings", streaming=False, usage=Usage(input=3)))
    found = [name for name in page(figures) if "_bucket" not in name]
    assert not any("time_to_first_chunk" in name for name in found)
    assert any('gen_ai_operation_name="generate_content",gen_ai_provider_name="gcp.gemini"' in name for name in found)
    kinds = [name for name in found if "token_usage_count" in name and '"embeddings"' in name]
    assert [re.findall('token_type="([a-z]+)"', name) for name in kinds] == [["input"]]


def test_buckets_are_cumulative_and_a_bound_belongs_to_its_bucket(figures):
    for overhead in (0.0001, 0.0003, 5.0):
        figures.ended(call(overhead=overhead))
    found = page(figures)
    buckets = [
        found[f'kube_gateway_ai_overhead_seconds_bucket{{le="{le}"}}'] for le in ("0.0001", "0.0005", "1", "+Inf")
    ]
    assert buckets == [1, 2, 2, 3]
    assert found["kube_gateway_ai_overhead_seconds_count"] == 3


def test_hits_are_counted_by_rule_whether_or_not_it_is_in_force(figures):
    figures.ended(call(matches={"email": 2}, shadow_matches={"iban": 1, "email": 1}))
    figures.ended(call(matches={"email": 1}, hook_failures={"mine": 1}))
    found = page(figures)
    assert found['kube_gateway_ai_rule_hits_total{rule="email",mode="enforce"}'] == 3
    assert found['kube_gateway_ai_rule_hits_total{rule="email",mode="shadow"}'] == 1
    assert found['kube_gateway_ai_rule_hits_total{rule="iban",mode="shadow"}'] == 1
    assert found['kube_gateway_ai_hook_failures_total{rule="mine"}'] == 1
    report = figures.report(budgets=())
    assert (report.hits, report.shadow_hits) == ({"email": 3}, {"iban": 1, "email": 1})


def test_what_was_blocked_is_not_what_was_changed(figures):
    figures.ended(call(blocked="budget_exhausted", usage=None, first_byte=None, status=429))
    figures.ended(call(edits=()))
    figures.ended(call(edits=("prompt",)))
    report = figures.report(budgets=())
    assert (report.blocked, report.changed) == ({"budget_exhausted": 1}, 1)
    assert page(figures)['kube_gateway_ai_blocked_total{reason="budget_exhausted"}'] == 1
    assert report.models == (ModelCounts(model="gemma2:2b", calls=3, blocked=1, input=24, output=60),)


def test_estimates_are_told_from_what_servers_say(figures):
    figures.ended(call(usage=Usage(input=3, output=4, estimated=True)))
    figures.ended(call())
    (counts,) = figures.report(budgets=()).models
    assert (counts.input, counts.output, counts.estimated) == (15, 34, 7)
    assert any('kube_gateway_estimated="true"' in name for name in page(figures))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, ""),
        ({"status": 503}, "503"),
        ({"failed": True}, "upstream_failed"),
        ({"client_gone": True}, "client_gone"),
        ({"blocked": "model_denied", "status": 403}, "model_denied"),
    ],
)
def test_why_a_call_failed(changes, kind):
    assert error_type(call(**changes)) == kind


def test_budgets_are_shown_as_they_are(figures):
    budget = BudgetCount(rule="day", model="m", window=86400, tokens=100, used=40, reserved=5, made=3)
    found = page(figures, (budget,))
    name = 'kube_gateway_ai_budget_tokens{rule="day",gen_ai_request_model="m",state="%s"}'
    assert [found[name % state] for state in ("used", "reserved", "allowed")] == [40, 5, 100]
    assert found['kube_gateway_ai_budget_requests{rule="day",gen_ai_request_model="m",state="made"}'] == 3


@pytest.mark.parametrize("name", ['a"b\\c\nd', "\ud800", "x" * 100_000, ""])
def test_whatever_a_model_is_called_the_page_and_the_report_are_right(figures, name):
    figures.ended(call(model=name, requested_model=name, response_model=name, matches={name: 1}))
    assert page(figures)
    assert len(msgspec.json.encode(figures.report(budgets=()))) < 2000


def test_names_that_applications_choose_do_not_fill_memory(figures):
    for number in range(5000):
        figures.ended(call(model=f"m{number}", requested_model=f"r{number}", matches={f"rule-{number}": 1}))
    report = figures.report(budgets=())
    assert len(report.models) <= MOST_MODELS + 1
    assert next(one for one in report.models if one.model == OTHER_MODELS).calls > 4900
    assert len(report.hits) == MOST_RULES
    names = {name.partition("{")[0] for name in page(figures)}
    assert all(sum(one.startswith(f"{name}{{") for one in page(figures)) <= 20 * (MOST_SERIES + 1) for name in names)


def test_threads_count_everything(figures):
    threads = [threading.Thread(target=lambda: [figures.ended(call()) for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert figures.report(budgets=()).models[0].calls == 1600
