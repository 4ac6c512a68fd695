"""Figures of LLM calls: for Prometheus, and for `kube-gateway ai stats`.

Names and labels are those of OpenTelemetry's conventions for generative AI, as an OpenTelemetry collector writes them for
Prometheus; what has no name there begins with `kube_gateway_ai_`.
Source: open-telemetry/semantic-conventions-genai, 'Generative AI metrics' (development status).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from kube_gateway.ai.meters.call import Call, Usage
from kube_gateway.ai.meters.names import countable
from kube_gateway.model.ai_report import (
    MOST_MODELS,
    MOST_RULES,
    OTHER_MODELS,
    AiReport,
    BudgetCount,
    ModelCounts,
)
from kube_gateway.model.exposition import Family, Histogram, exposition

TOKEN_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
SECOND_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

MEASURED = frozenset({"chat", "text_completion", "embeddings"})
"""Operations that the conventions are about. Lists of models and downloads of them would hide how long a model takes."""

_CALL = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model")


class Figures:
    """Counts calls. Safe for several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[str, ModelCounts] = {}
        self._names: set[str] = set()
        self._hits: dict[str, int] = {}
        self._shadow_hits: dict[str, int] = {}
        self._blocked: dict[str, int] = {}
        self._changed = 0
        self._tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of a call, by the server's word or estimated.",
            buckets=TOKEN_BUCKETS,
            labels=(*_CALL, "gen_ai_token_type", "kube_gateway_estimated"),
        )
        self._duration = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "From the request to the end of the answer.",
            buckets=SECOND_BUCKETS,
            labels=(*_CALL, "error_type"),
        )
        self._first = Histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "From the request to the first event of a stream.",
            buckets=FIRST_BUCKETS,
            labels=_CALL,
        )
        self._overhead = Histogram(
            "kube_gateway_ai_overhead_seconds", "The gateway's own share of a call.", buckets=_OVERHEAD
        )
        self._calls = Family(
            "kube_gateway_ai_calls_total",
            "Calls, by the model that was asked for and the one that was sent.",
            kind="counter",
            labels=("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_original_model", "gen_ai_request_model"),
        )
        self._rule_hits = Family(
            "kube_gateway_ai_rule_hits_total",
            "Matches of rules; a rule in shadow mode changes nothing.",
            kind="counter",
            labels=("rule", "mode"),
        )
        self._blocks = Family(
            "kube_gateway_ai_blocked_total", "Calls that were refused or ended.", kind="counter", labels=("reason",)
        )
        self._failures = Family(
            "kube_gateway_ai_hook_failures_total", "Hooks that failed.", kind="counter", labels=("rule",)
        )

    def ended(self, call: Call) -> None:
        """Count one call."""
        with self._lock:
            self._count(call)
            self._observe(call)

    def page(self, *, policy: str, revision: int, budgets: Iterable[BudgetCount]) -> bytes:
        """Return what Prometheus reads."""
        info = Family(
            "kube_gateway_ai_policy_info", "The policy in force.", kind="gauge", labels=("policy", "revision")
        )
        info.add(1, policy, str(revision))
        with self._lock:
            return exposition(
                (
                    self._tokens,
                    self._duration,
                    self._first,
                    self._overhead,
                    self._calls,
                    self._rule_hits,
                    self._blocks,
                    self._failures,
                    *_of_budgets(budgets),
                    info,
                )
            )

    def report(self, *, budgets: tuple[BudgetCount, ...]) -> AiReport:
        """Return what the watcher is told of it."""
        with self._lock:
            return AiReport(
                models=tuple(self._models.values()),
                hits=_most(self._hits),
                shadow_hits=_most(self._shadow_hits),
                blocked=dict(self._blocked),
                changed=self._changed,
                budgets=budgets,
            )

    def _count(self, call: Call) -> None:
        name = self._name(call.model or call.requested_model)
        counts = self._models.get(name) or ModelCounts(model=name)
        usage = call.usage or Usage()
        self._models[name] = ModelCounts(
            model=name,
            calls=counts.calls + 1,
            blocked=counts.blocked + (call.blocked is not None),
            failed=counts.failed + call.failed,
            input=counts.input + usage.input,
            output=counts.output + usage.output,
            estimated=counts.estimated + (usage.input + usage.output if usage.estimated else 0),
        )
        for hits, found in ((self._hits, call.matches), (self._shadow_hits, call.shadow_matches)):
            for rule, number in found.items():
                name = countable(rule)
                hits[name] = hits.get(name, 0) + number
        if call.blocked is not None:
            self._blocked[call.blocked] = self._blocked.get(call.blocked, 0) + 1
        elif call.edits or call.matches:
            self._changed += 1

    def _observe(self, call: Call) -> None:
        model, response = self._name(call.model or call.requested_model), self._name(call.response_model)
        operation = operation_name(call)
        labels = (operation, call.provider, model, response)
        self._calls.add(1, operation, call.provider, self._name(call.requested_model), model)
        self._overhead.observe(call.overhead)
        if call.operation in MEASURED:
            self._duration.observe(call.duration, *labels, error_type(call))
        first = first_chunk(call)
        if first is not None:
            self._first.observe(first, *labels)
        estimated = "true" if call.usage is not None and call.usage.estimated else "false"
        for kind, count in tokens(call).items():
            self._tokens.observe(count, *labels, kind, estimated)
        for mode, found in (("enforce", call.matches), ("shadow", call.shadow_matches)):
            for rule, number in found.items():
                self._rule_hits.add(number, countable(rule), mode)
        if call.blocked is not None:
            self._blocks.add(1, call.blocked)
        for rule, number in call.hook_failures.items():
            self._failures.add(number, countable(rule))

    def _name(self, name: str) -> str:
        """A model's name as it is counted: there are only so many of them, and none is long."""
        name = countable(name)
        if name and name not in self._names:
            if len(self._names) >= MOST_MODELS:
                return OTHER_MODELS
            self._names.add(name)
        return name


def operation_name(call: Call) -> str:
    """`gen_ai.operation.name` of the conventions, which have a name of its own for Gemini's way to chat."""
    return "generate_content" if (call.provider, call.operation) == ("gcp.gemini", "chat") else call.operation


def first_chunk(call: Call) -> float | None:
    """Seconds until the model's first event came, None where no stream was asked for or the answer is an error."""
    return call.first_chunk if call.operation in MEASURED and call.streaming and call.status < 400 else None


def tokens(call: Call) -> dict[str, int]:
    """Tokens by `gen_ai.token.type`; embeddings have no output."""
    if call.usage is None:
        return {}
    given = {"input": call.usage.input}
    return given if call.operation == "embeddings" else {**given, "output": call.usage.output}


def error_type(call: Call) -> str:
    """`error.type` of the conventions: why a call failed, empty if it did not."""
    if call.blocked is not None:
        return call.blocked
    if call.status >= 400:
        return str(call.status)
    if call.failed:
        return "upstream_failed"
    return "client_gone" if call.client_gone else ""


def _of_budgets(budgets: Iterable[BudgetCount]) -> tuple[Family, Family]:
    tokens = Family(
        "kube_gateway_ai_budget_tokens",
        "Tokens of a budget or rate that are used or reserved, and that are allowed.",
        kind="gauge",
        labels=("rule", "gen_ai_request_model", "state"),
    )
    requests = Family(
        "kube_gateway_ai_budget_requests",
        "Requests of a budget or rate that were made, and that are allowed.",
        kind="gauge",
        labels=("rule", "gen_ai_request_model", "state"),
    )
    for budget in budgets:
        tokens.add(budget.used, budget.rule, budget.model, "used")
        tokens.add(budget.reserved, budget.rule, budget.model, "reserved")
        requests.add(budget.made, budget.rule, budget.model, "made")
        if budget.tokens is not None:
            tokens.add(budget.tokens, budget.rule, budget.model, "allowed")
        if budget.requests is not None:
            requests.add(budget.requests, budget.rule, budget.model, "allowed")
    return tokens, requests


def _most(hits: dict[str, int]) -> dict[str, int]:
    found = sorted(hits.items(), key=lambda hit: -hit[1])[:MOST_RULES]
    return dict(found)
