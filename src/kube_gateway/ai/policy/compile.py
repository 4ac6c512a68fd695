"""A policy, compiled once for all calls to which it applies.

What applies depends on the endpoint and on the model, so rules are chosen for each such pair when it is first met, and
remembered. A call has one snapshot from its beginning to its end: a new policy is a new snapshot.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from kube_gateway import _native
from kube_gateway.ai.dialect import Dialect, Endpoint, Naming
from kube_gateway.ai.hooks import Hook, load_hook
from kube_gateway.ai.policy.globs import matches
from kube_gateway.ai.policy.naming import is_about
from kube_gateway.ai.policy.patterns import checked, compiled, patterns_of
from kube_gateway.ai.policy.renaming import Renaming, renaming
from kube_gateway.ai.policy.rules import (
    BudgetRule,
    EndpointsRule,
    HookRule,
    ModelRule,
    RateRule,
    Rule,
    TextRule,
    ToolsRule,
)
from kube_gateway.ai.policy.schema import Policy
from kube_gateway.ai.policy.selection import MODEL_IS_USED, Selection
from kube_gateway.ai.policy.tool_rules import check_tools

_MOST_SELECTIONS = 512

_Served = tuple[Dialect, Endpoint]


class Snapshot:
    """A policy with everything that its rules need. Raises `PolicyError` for what does not compile.

    `model` is the name that all calls go to in the end, empty for what they ask for. `served` are the endpoints in the
    order to try them. Usable from several threads at once.
    """

    def __init__(self, policy: Policy, *, model: str, served: Sequence[_Served]) -> None:
        self.policy = policy
        self.model = model
        self.served = tuple(served)
        self.hash = policy.hash
        self.enforcing = policy.enforcing
        self.acts = bool(policy.rules) or bool(model)
        self.rules = {rule.name: rule for rule in policy.rules}
        self.hooks: dict[str, Hook] = {}
        self._renamings: dict[tuple[str, Naming], Renaming] = {}
        self._patterns: dict[tuple[str, ...], _native.Patterns] = {}
        self._selections: dict[tuple[int, tuple[str, ...]], Selection] = {}
        self._lock = threading.Lock()
        self._by_endpoint = tuple(
            tuple(rule for rule in policy.rules if _about(rule, endpoint)) for endpoint in self.served
        )
        for index, rule in enumerate(policy.rules):
            self._compile(rule, at=f"rules[{index}]")
        self._compile_texts()

    def for_endpoint(self, index: int) -> tuple[Rule, ...]:
        """Return the rules that may apply to calls of the endpoint with this index, whatever the model."""
        return self._by_endpoint[index]

    def renamings(self, index: int) -> tuple[Renaming, ...]:
        """Return the model rules for an endpoint."""
        naming = self.served[index][1].naming
        return tuple(
            self._renamings[rule.name, naming] for rule in self._by_endpoint[index] if isinstance(rule, ModelRule)
        )

    def renaming(self, rule: ModelRule) -> Renaming:
        """Return one model rule, compiled."""
        return self._renamings[rule.name, "exact"]

    def tells_models(self, index: int) -> bool:
        """Whether a rule in force for an endpoint is about some models only, or counts each on its own."""
        rules = (rule for rule in self._by_endpoint[index] if rule.mode == "enforce")
        counts = self.served[index][1].operation in MODEL_IS_USED
        return any(
            rule.when.models or (counts and isinstance(rule, BudgetRule | RateRule) and rule.per == "model")
            for rule in rules
        )

    def endpoint_rules(self, index: int) -> tuple[EndpointsRule, ...]:
        """Return the rules that name an endpoint; the first in force decides."""
        return tuple(
            rule
            for rule in self._by_endpoint[index]
            if isinstance(rule, EndpointsRule) and any(names(self.served[index], glob) for glob in rule.endpoints)
        )

    def select(self, index: int, *, model: str) -> Selection:
        """Return what applies to calls of an endpoint that go to `model`."""
        naming = self.served[index][1].naming
        rules = tuple(
            rule
            for rule in self._by_endpoint[index]
            if not rule.when.models or is_about(rule.when.models, model, naming)
        )
        key = (index, tuple(rule.name for rule in rules))
        with self._lock:
            found = self._selections.get(key)
            if found is None:
                if len(self._selections) >= _MOST_SELECTIONS:
                    self._selections.clear()
                    # What calls use just now is theirs; the rest is made again when it is needed.
                    self._patterns.clear()
                found = Selection(self.served[index][1], rules, hooks=self.hooks, patterns=self._patterns_of)
                self._selections[key] = found
        return found

    def _compile(self, rule: Rule, *, at: str) -> None:
        match rule:
            case ModelRule():
                for naming in ("exact", *{endpoint.naming for _, endpoint in self.served}):
                    self._renamings[rule.name, naming] = renaming(rule, at=at, naming=naming)
            case ToolsRule():
                check_tools(rule, at=at)
            case HookRule():
                self.hooks[rule.name] = load_hook(rule, at=at)
            case _:
                pass

    def _compile_texts(self) -> None:
        """Compile what most calls need, so that the first of them does not wait for it."""
        texts = [(index, rule) for index, rule in enumerate(self.policy.rules) if isinstance(rule, TextRule)]
        try:
            for index, rules in enumerate(self._by_endpoint):
                if any(isinstance(rule, TextRule) for rule in rules):
                    self.select(index, model=self.model)
        except (KeyError, ValueError):
            for index, rule in texts:
                checked(rule, at=f"rules[{index}]")
            raise
        compiled_so_far = {name for names_of_rules in self._patterns for name in names_of_rules}
        for index, rule in texts:
            if rule.name not in compiled_so_far:
                self._patterns[rule.name,] = checked(rule, at=f"rules[{index}]")

    def _patterns_of(self, rules: Sequence[TextRule]) -> _native.Patterns:
        """Return one matcher of several rules; lanes with the same rules share it."""
        key = tuple(rule.name for rule in rules)
        if key not in self._patterns:
            self._patterns[key] = compiled([pattern for rule in rules for pattern in patterns_of(rule)])
        return self._patterns[key]


def names(served: _Served, glob: str) -> bool:
    """Return whether a glob of a policy is about this endpoint: by operation, dialect, or dialect and name."""
    dialect, endpoint = served
    return any(matches(glob, name) for name in (endpoint.operation, dialect.name, f"{dialect.name}/{endpoint.name}"))


def _about(rule: Rule, served: _Served) -> bool:
    return not rule.when.endpoints or any(names(served, glob) for glob in rule.when.endpoints)
