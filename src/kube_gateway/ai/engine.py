"""The policy at work: the native core shows each LLM call once before it is sent, and once when its answer has ended.

Order on a request: kind of call, size, JSON, model, texts, tools, hooks, limit, budgets; then all edits at once. Without a
rule that acts, the client's own bytes go on. Whatever fails in here, the call is blocked if a rule in force could have
acted on it, and passes otherwise; the policy may say which.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from kube_gateway.ai.budget import Budgets
from kube_gateway.ai.decide.answers import answer_of
from kube_gateway.ai.decide.asking_hooks import decide_hooks
from kube_gateway.ai.decide.calls import Told
from kube_gateway.ai.decide.counting import decide_budgets
from kube_gateway.ai.decide.decision import FAILED, Decision, tell_failure
from kube_gateway.ai.decide.exchange import Exchange, Refused
from kube_gateway.ai.decide.gates import decide_endpoint, decide_size
from kube_gateway.ai.decide.limits import asked_limit, decide_limit, write_limit
from kube_gateway.ai.decide.models import check_model, check_one_model, decide_model, read_model
from kube_gateway.ai.decide.prompts import decide_prompts
from kube_gateway.ai.decide.reading import check_body, check_token_ids, read_body, read_stream
from kube_gateway.ai.decide.refusing import reply_to, tell
from kube_gateway.ai.decide.request import LlmRequest
from kube_gateway.ai.decide.tools import decide_tools
from kube_gateway.ai.decide.wanted import Places
from kube_gateway.ai.decide.writing import ask_usage, headers_of, write_prompts
from kube_gateway.ai.dialect import Dialect, Endpoint, Reply
from kube_gateway.ai.dialects import endpoints
from kube_gateway.ai.meters.call import Meters
from kube_gateway.ai.policy.compile import Snapshot
from kube_gateway.ai.policy.quantities import size_of
from kube_gateway.ai.policy.rules import EndpointsRule
from kube_gateway.ai.policy.schema import Policy
from kube_gateway.ai.policy.selection import MODEL_IS_USED, Selection
from kube_gateway.ai.shape import RequestShape

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
        self._places: dict[int, Places] = {}
        self._lock = threading.Lock()
        self.endpoints = [(endpoint.method, endpoint.pattern) for _, endpoint in self._snapshot.served]
        # What has nothing to be looked for in its body, which need not be a document: decided before the body has come.
        self.by_head = [index for index, (_, one) in enumerate(self._snapshot.served) if one.request == RequestShape()]
        # A path that servers could read as calls of two kinds is refused: their bodies would be read in different ways.
        self.kinds = [
            f"{dialect.name} {'head' if index in self.by_head else 'body'}"
            for index, (dialect, _) in enumerate(self._snapshot.served)
        ]
        self.body_limit = size_of(policy.body_limit)
        self.served = self._snapshot.served

    def decide(self, request: LlmRequest) -> Decision:
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

    def too_large(self, request: LlmRequest) -> Reply:
        """Return the refusal of a body beyond `body_limit`; raises nothing."""
        exchange = self._exchange(request)
        read_stream(exchange)
        said = f"the request has more than {self.body_limit} bytes"
        decision = self._refused(exchange, Refused(None, "too_large", message=said))
        return decision.reply or FAILED

    def _exchange(self, request: LlmRequest) -> Exchange:
        return Exchange(request, *self._snapshot.served[request.endpoint])

    def _decide(self, exchange: Exchange, index: int) -> Decision:
        snapshot, policy = self._snapshot, self._snapshot.policy
        wrong = read_body(exchange, self._places_of(index))
        read_stream(exchange)
        read_model(exchange)
        by_model = any(rule.when.models for rule in snapshot.endpoint_rules(index))
        if not by_model:
            decide_endpoint(exchange, snapshot, index=index)
        check_body(exchange, wrong, blocks=self._blocks_invalid(index))
        check_model(exchange, needed=bool(snapshot.renamings(index)) or bool(snapshot.model))
        decide_model(exchange, snapshot, index=index)
        check_one_model(exchange, needed=snapshot.tells_models(index))
        if by_model:
            decide_endpoint(exchange, snapshot, index=index)
        selection = snapshot.select(index, model=exchange.model)
        decide_size(exchange, selection.sizes)
        check_token_ids(exchange, selection, blocks=policy.on_numeric_prompt == "block")
        decide_prompts(exchange, snapshot, selection, hash_key=self._hash_key)
        decide_tools(exchange, selection)
        decide_hooks(exchange, selection)
        limit = decide_limit(exchange, selection)
        bound = limit if limit is not None else asked_limit(exchange)
        granted = decide_budgets(exchange, selection, self._budgets, limit=bound)
        if granted is not None and (limit is not None or granted != bound):
            write_limit(exchange, granted)
        exchange.limit = granted if exchange.endpoint.request.limits else None
        return self._passed(exchange, selection, limit=granted)

    def _passed(self, exchange: Exchange, selection: Selection, *, limit: int | None) -> Decision:
        policy = self._snapshot.policy
        write_prompts(exchange)
        if policy.ask_usage:
            ask_usage(exchange)
        decision = Decision(exchange, self._snapshot, self._told, hooks=selection.hooks)
        if exchange.document is not None:
            body = exchange.document.apply()
            # The very object comes back where nothing is to change.
            decision.body = None if body is exchange.request.body else body
        decision.target = exchange.target
        if exchange.endpoint.operation in MODEL_IS_USED or selection.edits_answers or exchange.echo is not None:
            decision.response = answer_of(exchange, selection, policy, limit=limit, hash_key=self._hash_key)
        edits_answer = decision.response is not None and decision.response.edits
        decision.set_headers = headers_of(exchange, edits_request=decision.body is not None, edits_answer=edits_answer)
        if exchange.remarks or policy.debug.requests:
            request = exchange.request
            told = "; ".join(exchange.remarks) or "nothing changed"
            _log.info("connection %d: %s %s: %s", request.connection, request.method, exchange.path, told)
        return decision

    def _refused(self, exchange: Exchange, refused: Refused) -> Decision:
        exchange.release()
        decision = Decision(exchange, self._snapshot, self._told)
        try:
            decision.reply = reply_to(exchange, refused, self._snapshot.policy)
        except Exception as error:
            tell_failure(exchange, "refusing it", error)
            decision.reply = FAILED
        try:
            tell(exchange, refused)
            facts = {"status": decision.reply.status, "response_bytes": len(decision.reply.body)}
            decision.refused(refused.rule, refused.reason, facts)
        except Exception as error:
            tell_failure(exchange, "its account", error)
        return decision

    def _places_of(self, index: int) -> Places:
        with self._lock:
            found = self._places.get(index)
            if found is None:
                shape = self._snapshot.served[index][1].request
                found = self._places[index] = Places(shape, self._snapshot.for_endpoint(index))
        return found

    def _blocks_invalid(self, index: int) -> bool:
        """Whether a body that is no JSON is refused: without a word of the policy, if a rule could have acted on it."""
        wanted = self._snapshot.policy.on_invalid
        if wanted is not None:
            return wanted == "block"
        rules = self._snapshot.for_endpoint(index)
        return any(rule.mode == "enforce" and not isinstance(rule, EndpointsRule) for rule in rules)

    def _blocks_failures(self) -> bool:
        wanted = self._snapshot.policy.on_failure
        return self._snapshot.enforcing if wanted is None else wanted == "block"
