"""The policy at work: the native core shows each LLM call once before it is sent, and once when its answer has ended.

Order on a request: kind of call, size, JSON, model, texts, tools, hooks, limit, budgets; then all edits at once. Without a
rule that acts, the client's own bytes go on. Whatever fails in here, the call is blocked if a rule in force could have
acted on it, and passes otherwise; the policy may say which.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

from kube_gateway import _native
from kube_gateway.ai.budget import Budgets
from kube_gateway.ai.decide.answers import answer_of
from kube_gateway.ai.decide.asking_hooks import decide_hooks
from kube_gateway.ai.decide.calls import MODEL_IS_USED, Told, call_of
from kube_gateway.ai.decide.counting import decide_budgets
from kube_gateway.ai.decide.decision import Decision, tell_failure
from kube_gateway.ai.decide.exchange import Exchange, Refused
from kube_gateway.ai.decide.gates import decide_endpoint, decide_size
from kube_gateway.ai.decide.limits import asked_limit, decide_limit, write_limit
from kube_gateway.ai.decide.models import decide_model, read_model
from kube_gateway.ai.decide.prompts import decide_prompts
from kube_gateway.ai.decide.reading import read_body, read_stream
from kube_gateway.ai.decide.refusing import reply_to, tell
from kube_gateway.ai.decide.tools import decide_tools
from kube_gateway.ai.decide.wanted import Places
from kube_gateway.ai.decide.writing import ask_usage, headers_of, write_prompts
from kube_gateway.ai.dialect import Dialect, Endpoint, Outcome, Reply
from kube_gateway.ai.dialects import endpoints
from kube_gateway.ai.meters.call import Meters
from kube_gateway.ai.policy.compile import Snapshot
from kube_gateway.ai.policy.quantities import size_of
from kube_gateway.ai.policy.schema import Policy

_log = logging.getLogger("ai")


class Engine:
    """One version of a policy for the calls of one pod. Usable from several threads at once.

    `model` is that of the pod's annotation, empty without one; `name` and `revision` are what logs and the audit call the
    policy; `hash_key` makes placeholders that stay equal for equal values. Raises `PolicyError` for what does not compile.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        model: str,
        revision: int,
        name: str,
        hash_key: bytes,
        meters: Meters,
        budgets: Budgets,
        served: Sequence[tuple[Dialect, Endpoint]] | None = None,
    ) -> None:
        self._snapshot = Snapshot(policy, model=model, served=endpoints() if served is None else served)
        self._hash_key = hash_key
        self._budgets = budgets
        texts = policy.audit.enabled and policy.audit.content != "none"
        self._told = Told(meters=meters, revision=revision, name=name, texts=texts)
        self._meters = meters
        self._places: dict[int, Places] = {}
        self._lock = threading.Lock()
        self.endpoints: list[tuple[str, str]] = [
            (endpoint.method, f"(?:{endpoint.pattern})$") for _, endpoint in self._snapshot.served
        ]
        self.body_limit = size_of(policy.body_limit)

    def decide(self, request: _native.LlmRequest) -> Decision:
        """Decide on a request; raises nothing."""
        exchange = self._exchange(request)
        try:
            return self._decide(exchange, request.endpoint)
        except Refused as refused:
            return self._refused(exchange, refused)
        except Exception as error:
            tell_failure(exchange, "deciding on its request", error)
            exchange.release()
            if not self._blocks_failures():
                return Decision(exchange, self._snapshot, self._told)
            return self._refused(exchange, Refused(None, "policy_failed"))

    def too_large(self, request: _native.LlmRequest) -> Reply:
        """Return the refusal of a body beyond `body_limit`; raises nothing."""
        exchange = self._exchange(request)
        said = f"the request has more than {self.body_limit} bytes"
        decision = self._refused(exchange, Refused(None, "too_large", message=said))
        return decision.reply or FAILED

    def _exchange(self, request: _native.LlmRequest) -> Exchange:
        return Exchange(request, *self._snapshot.served[request.endpoint])

    def _blocks_failures(self) -> bool:
        wanted = self._snapshot.policy.on_failure
        return self._snapshot.enforcing if wanted is None else wanted == "block"
