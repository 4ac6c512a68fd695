"""AI control in the worker: the policy in force, and what it has counted. Imported only where it is asked for."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable

import msgspec

from kube_gateway import _native
from kube_gateway.ai.engine import Engine
from kube_gateway.ai.meters.audit import AuditLog
from kube_gateway.ai.meters.budgets import Ledger
from kube_gateway.ai.meters.call import Meters
from kube_gateway.ai.meters.figures import Figures
from kube_gateway.ai.meters.otel import OpenTelemetry, open_telemetry
from kube_gateway.ai.meters.recorder import Recorder
from kube_gateway.ai.policy.read import read_policy
from kube_gateway.ai.policy.schema import Policy
from kube_gateway.errors import KubeGatewayError
from kube_gateway.gateway.memory_file import read_memory_file
from kube_gateway.gateway.worker_messages import UsePolicy
from kube_gateway.model.ai_report import LARGEST_POLICY, AiReport, policy_name

_log = logging.getLogger("worker")


class Calls:
    """Gives `core` an engine for each policy and model; `changed` is called, on another thread, when that is done.

    Long policies take seconds to compile, and the worker has other things to do meanwhile; so all this is done on a thread
    of its own, in order. Only the first policy is waited for, as no connection may be taken before that.
    """

    def __init__(self, core: _native.Core, *, changed: Callable[[], None]) -> None:
        self._core = core
        self._changed = changed
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True, name="policies").start()
        self._figures = Figures()
        self._ledger = Ledger()
        self._collector = ""
        self._telemetry: OpenTelemetry | None = None
        self._in_force: UsePolicy | None = None
        self._policy: Policy | None = None
        self._refused = ""
        self._problem = ""

    def use(self, message: UsePolicy, descriptors: list[int]) -> None:
        """Have calls pass this policy from the next one on; one that is not understood changes nothing, and is reported."""
        try:
            text = read_memory_file(descriptors[0], most=LARGEST_POLICY)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._ledger.restore(message.budgets)
        self._do(lambda: self._use(message, text), wait=self._in_force is None)

    def leave_alone(self) -> None:
        """Calls of new connections are as any other."""
        self._do(self._leave_alone, wait=True)

    def _do(self, work: Callable[[], None], *, wait: bool) -> None:
        done = threading.Event()

        def run() -> None:
            try:
                work()
            finally:
                done.set()

        self._work.put(run)
        if wait:
            done.wait()

    def _run(self) -> None:
        while True:
            self._work.get()()
            self._changed()

    def _use(self, message: UsePolicy, text: str) -> None:
        if self._in_force is None or message.revision != self._in_force.revision:
            self._refused = self._problem = ""
        try:
            self._apply(message, self._read(message, text))
        except KubeGatewayError as error:
            self._refuse(message, error.message)
        except Exception as error:
            # Whatever is wrong with it, the connections that this process holds are not to suffer.
            _log.exception("the policy %s could not be used", message.name)
            self._refuse(message, f"{type(error).__name__}: {error}")
        if self._in_force is None:
            self._apply(msgspec.structs.replace(message, name=policy_name(""), source="nothing"), read_policy(""))

    def _leave_alone(self) -> None:
        self._core.set_policy(None)
        self._in_force = self._policy = None
        self._refused = self._problem = ""
        _log.info("LLM calls are left alone")

    def report(self) -> AiReport | None:
        """What there is to tell; None while calls are left alone."""
        in_force = self._in_force
        if in_force is None:
            return None
        return msgspec.structs.replace(
            self._figures.report(budgets=self._ledger.counts()),
            policy=in_force.name,
            revision=in_force.revision,
            source=in_force.source,
            model=in_force.model,
            refused=self._refused,
            problem=self._problem,
        )

    def _read(self, message: UsePolicy, text: str) -> Policy:
        """Each version of a policy is read once; another model is no other version."""
        if self._policy is not None and self._in_force is not None and self._in_force.name == message.name:
            return self._policy
        return read_policy(text)

    def _apply(self, message: UsePolicy, policy: Policy) -> None:
        engine = Engine(
            policy,
            model=message.model,
            revision=message.revision,
            name=message.name,
            hash_key=message.hash_key,
            meters=Recorder(self._meters(policy, message)),
            budgets=self._ledger,
        )
        self._core.set_policy(engine)
        self._in_force, self._policy = message, policy
        model = f"; all go to the model {message.model}" if message.model else ""
        _log.info(
            "policy %s (revision %d, from %s) applies to LLM calls%s",
            message.name,
            message.revision,
            message.source,
            model,
        )

    def _meters(self, policy: Policy, message: UsePolicy) -> list[Meters]:
        meters: list[Meters] = [self._figures] if policy.metrics.enabled else []
        if policy.audit.enabled:
            meters.append(AuditLog(file=sys.stdout.fileno(), content=policy.audit.content, key=message.hash_key))
        self._send_to(_collector(policy), pod=message.pod)
        if self._telemetry is not None:
            meters.append(self._telemetry)
        return meters

    def _send_to(self, collector: str, *, pod: str) -> None:
        if collector == self._collector:
            return
        if self._telemetry is not None:
            # What the old one has not taken yet is sent, however long that takes.
            threading.Thread(target=self._telemetry.close, daemon=True).start()
        namespace, _, name = pod.partition("/")
        about = {"service.name": "kube-gateway", "k8s.namespace.name": namespace, "k8s.pod.name": name}
        self._collector = collector
        self._telemetry = open_telemetry(collector, resource=about) if collector else None

    def _refuse(self, message: UsePolicy, why: str) -> None:
        self._refused, self._problem = message.name, why
        _log.error("policy %s from %s is not used, the last one stays in force: %s", message.name, message.source, why)

    def page(self) -> bytes:
        """Return the figures of LLM calls, in Prometheus' text format."""
        in_force = self._in_force
        return self._figures.page(
            policy=in_force.name if in_force else "",
            revision=in_force.revision if in_force else 0,
            budgets=self._ledger.counts(),
        )


def _collector(policy: Policy) -> str:
    if not policy.metrics.enabled:
        return ""
    return policy.metrics.otlp_endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
