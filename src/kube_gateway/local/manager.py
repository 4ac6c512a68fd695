"""The manager: the watcher of the local mode.

Observes, decides with the same function as the cluster's watcher, acts; again each second and whenever something happens.
Everything it must not forget is in the pods' records, so that it can be killed and started again at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import fcntl
import logging
import signal
import time
from pathlib import Path

import msgspec

from kube_gateway import _native
from kube_gateway.control import actions, messages
from kube_gateway.control.certifying import certify
from kube_gateway.control.decide import LEAVE_GRACE, decide, is_enrolled
from kube_gateway.control.flush_log import FlushLog
from kube_gateway.control.observed import Observed, PodObservation
from kube_gateway.control.policies import does_not_compile, found_policy
from kube_gateway.control.trust import revoked
from kube_gateway.errors import IdentityError, LocalModeError, UsageError
from kube_gateway.identity.spiffe import spiffe_id_of
from kube_gateway.local import api, cgroups, workloads
from kube_gateway.local.access_policies import AccessPolicies
from kube_gateway.local.endpoint import serve_gateways
from kube_gateway.local.gateways import Gateway
from kube_gateway.local.identity import LocalIdentity
from kube_gateway.local.instance import Instance
from kube_gateway.local.pods import LocalPod
from kube_gateway.local.policies import LOOK_EVERY, PolicyFiles
from kube_gateway.local.requests import serve_requests
from kube_gateway.local.services import LocalService, LocalServices
from kube_gateway.local.store import load_all, save
from kube_gateway.local.workloads import Workload
from kube_gateway.model.pod import Pod
from kube_gateway.model.service import ServiceBackends
from kube_gateway.model.settings import Settings, settings_from_annotations

_log = logging.getLogger("manager")

_TICK = 1.0


class Manager:
    """One instance's manager. `certificate_life` is that of the gateways' certificates.

    `strict`: every pod that encrypts is strict.
    """

    def __init__(self, instance: Instance, *, certificate_life: datetime.timedelta, strict: bool = False) -> None:
        self.instance = instance
        self._strict = strict
        self._life = certificate_life
        self.identity = LocalIdentity(instance, life=certificate_life)
        self.pods: dict[str, LocalPod] = {}
        self._services = LocalServices(instance)
        self.policies = PolicyFiles(instance)
        self._flushes = FlushLog()
        self.access = AccessPolicies(instance, trust_domain=self.identity.issuer.trust_domain)
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Manage until SIGTERM."""
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        for record in load_all(self.instance):
            self.pods[record.name] = self._local_pod(Workload(record))
            _log.info("found the pod %s", record.name)
        for path in (self.instance.manager_socket, self.instance.control_socket):
            path.unlink(missing_ok=True)
        gateways = await serve_gateways(self, self.instance.control_socket)
        requests = await serve_requests(self, self.instance.manager_socket)
        loops = [asyncio.create_task(self._act_forever()), asyncio.create_task(self._watch_policies())]
        _log.info("managing %s", self.instance.name)
        await asyncio.wait([*loops, asyncio.create_task(stopped.wait())], return_when=asyncio.FIRST_COMPLETED)
        gateways.close()
        requests.close()
        for loop in loops:
            if loop.done():
                loop.result()
            loop.cancel()

    def _local_pod(self, workload: Workload) -> LocalPod:
        return LocalPod(self.instance, workload, policies=self.policies, access=self.access, strict=self._strict)

    # Deciding and acting.

    def changed(self) -> None:
        """Something is to be decided anew."""
        self._wake.set()

    def _remember_ends(self) -> None:
        """Write down how main processes ended: the next manager cannot ask the kernel."""
        for pod in self.pods.values():
            workload = pod.workload
            if workload.exit_code is not None and workload.record.exit_code is None:
                workload.record = msgspec.structs.replace(workload.record, exit_code=workload.exit_code)
                try:
                    save(self.instance, workload.record)
                except LocalModeError as error:
                    _log.error("cannot write down how %s ended: %s", workload.record.name, error)

    def observe(self) -> Observed:
        """Everything the brain needs."""
        now = time.monotonic()
        pods = tuple(self._observe(pod) for pod in self.pods.values())
        return Observed(now=now, pods=pods, ended=self._flushes.lately(now))

    def _observe(self, pod: LocalPod) -> PodObservation:
        observation = pod.observe()
        if self.identity.is_revoked(pod.workload.record.uid):
            return msgspec.structs.replace(observation, obstacle=revoked(observation.pod))
        return observation

    async def _act_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await self._wake.wait()
            self._wake.clear()
            async with self._changing:
                self._remember_ends()
                for action in decide(self.observe()):
                    try:
                        await self._act(action)
                    except (OSError, _native.NativeError, LocalModeError) as error:
                        # The next round sees that it was not done, and does it again.
                        _log.error("%s for %s: %s", type(action).__name__, action.pod, error)
                for pod in self.pods.values():
                    pod.gateway.tell_changes(self.resolve)
                try:
                    self.identity.tend(self.pods.values())
                except IdentityError as error:
                    _log.error("%s", error.message)

    async def _watch_policies(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            changed = self.access.look()
            if self.policies.changed() or changed:
                self.changed()

    async def _act(self, action: actions.Action) -> None:
        pod = next(pod for pod in self.pods.values() if pod.workload.record.pod.key == action.pod)
        gateway = pod.gateway
        match action:
            case actions.StartGateway():
                await self._start_gateway(pod, action.generation)
            case actions.Configure():
                gateway.configure(action.settings, pod=pod.workload.record.pod, authorize=action.authorize)
            case actions.Authorize():
                pod.authorize(action.text)
            case actions.SetPolicy():
                _log.info("%s: policy %s (%s)", action.pod, action.policy.name, action.policy.source)
                gateway.use_policy(action.policy, budgets=gateway.budgets)
            case actions.Leave():
                gateway.leave(action.grace)
                pod.dismiss_older(action.grace)
            case actions.Flush():
                _log.info("ending %d connections of %s that are in clear", len(action.cookies), action.pod)
                if gateway.send(messages.Flush(cookies=action.cookies)):
                    self._flushes.record(action, now=time.monotonic())
            case actions.RemoveHooks():
                _log.info("removing the hooks that a gateway left on %s", action.pod)
                pod.remove_hooks()
                pod.dismiss_older(LEAVE_GRACE)
            case actions.ReportProblem():
                pod.problem = action.message
                _log.warning("%s: %s", action.pod, action.message)
            case actions.ClearProblem():
                pod.problem = None

    async def _start_gateway(self, pod: LocalPod, generation: int, *, beside: bool = False) -> None:
        """Start one, `beside` the one that runs if it shall take over from it."""
        record = msgspec.structs.replace(pod.workload.record, generation=generation)
        save(self.instance, record)
        if beside:
            pod.put_aside()
        pod.workload.record = record
        _log.info("starting gateway %d of %s", generation, record.pod.key)
        self._keep(await pod.gateway.start(self.instance, record, generation, changed=self.changed))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What gateways ask.

    def gateway_of(self, cgroup: Path, hello: messages.Hello) -> Gateway | None:
        """The gateway that lives in this cgroup and introduces itself so."""
        for pod in self.pods.values():
            record = pod.workload.record
            if cgroup in cgroups.gateway_cgroups(cgroups.pod_cgroup(self.instance, record.name)):
                agrees = (hello.pod, hello.uid) == (record.pod.key, record.uid)
                agrees = agrees and not self.identity.is_revoked(record.uid)
                return pod.gateway_of(hello.generation) if agrees else None
        return None

    def certify(self, hello: messages.Hello, request: messages.CertificateRequest) -> messages.Certificate:
        """Sign a request for that pod."""
        for pod in self.pods.values():
            record = pod.workload.record
            if record.pod.key == hello.pod:
                self.identity.check(record.uid, pod=record.pod.key)
                issuer, bundle = self.identity.issuer, self.identity.bundle
                return certify(request, pod=record.pod, issuer=issuer, bundle=bundle, life=self._life)
        raise IdentityError(f"there is no pod {hello.pod}")

    def spiffe_id(self, pod: Pod) -> str:
        """The id that a certificate of `pod` carries."""
        return str(spiffe_id_of(pod, trust_domain=self.identity.issuer.trust_domain))

    def is_enrolled(self, address: str) -> bool:
        """Whether the workload at `address` encrypts."""
        return is_enrolled(self.observe().pods, address)

    def resolve(self, address: str, port: int) -> ServiceBackends | None:
        """What serves TCP `port` of `address`; None when it is no Service's."""
        running = {name: pod.workload.record.pod.addresses for name, pod in self.pods.items() if pod.workload.running}
        return self._services.resolve(address, port, running=running)

    # What the command line asks.

    def set_service(self, service: LocalService) -> None:
        """Make or replace a Service."""
        self._services.set(service)
        self.changed()

    def delete_service(self, name: str) -> None:
        """Remove a Service."""
        self._services.delete(name)
        self.changed()

    async def run_pod(self, request: api.Run) -> LocalPod:
        """Start a pod."""
        async with self._changing:
            if request.name in self.pods:
                raise LocalModeError(
                    f"there is already a pod {request.name!r}",
                    hint=f"kube-gateway local --instance {self.instance.name} delete {request.name}",
                )
            number = workloads.free_number({pod.workload.record.number for pod in self.pods.values()})
            workload = await workloads.start(self.instance, request, number=number, changed=self.changed)
            pod = self.pods[request.name] = self._local_pod(workload)
        self.changed()
        return pod

    async def annotate(self, request: api.Annotate) -> LocalPod:
        """Change annotations: all that was asked for, or nothing."""
        async with self._changing:
            pod = self.pod(request.name)
            record = pod.workload.record
            annotations = {key: value for key, value in record.annotations.items() if key not in request.remove}
            annotations |= request.set
            settings_from_annotations(annotations)
            record = msgspec.structs.replace(record, annotations=annotations)
            save(self.instance, record)
            pod.workload.record = record
        self.changed()
        return pod

    async def configure(self, request: api.SetConfig) -> LocalPod:
        """Write or remove the policy for a pod's LLM calls. Raises `UsageError` for one that is not right."""
        pod = self.pod(request.name)
        settings = pod.settings or Settings()
        if request.text is not None:
            found = found_policy(request.text, source="what was given")
            problem = (
                found.problem.message if found.problem else await asyncio.to_thread(does_not_compile, request.text)
            )
            if problem is not None:
                raise UsageError(problem, hint="kube-gateway ai policy lint FILE")
        try:
            self.policies.write(request.name, settings, request.text)
        except OSError as error:
            path = self.policies.path(request.name, settings)
            raise LocalModeError(f"cannot write {path}: {error.strerror}") from error
        self.changed()
        return pod

    def revoke(self, name: str, uid: str, *, restore: bool) -> None:
        """Revoke a pod, by its name or its uid, or take it back. Raises `KubeGatewayError`."""
        if name:
            uid = self.pod(name).workload.record.uid
        if restore:
            self.identity.restore(uid)
        else:
            known = (pod.workload.record.pod for pod in self.pods.values())
            self.identity.revoke(uid, pod=next((pod.key for pod in known if pod.uid == uid), ""))
        self.changed()

    def rotate(self, *, abort: bool) -> None:
        """Begin to replace the root, or undo that. Raises `IdentityError`."""
        if abort:
            self.identity.abort()
        else:
            self.identity.rotate()
        self.changed()

    async def upgrade(self, name: str) -> LocalPod:
        """Start a further gateway, which takes over from the one that runs."""
        async with self._changing:
            pod = self.pod(name)
            if pod.gateway.report is None or pod.gateway.report.state != "ready":
                raise LocalModeError(
                    f"{name} has no gateway that is ready", hint="a gateway takes over from one that is"
                )
            await self._start_gateway(pod, pod.gateway.generation + 1, beside=True)
        self.changed()
        return pod

    async def delete(self, name: str) -> None:
        """Kill a pod and remove everything of it."""
        async with self._changing:
            pod = self.pod(name)
            await asyncio.to_thread(workloads.remove, self.instance, name)
            del self.pods[name]
            self.policies.forget(name)
            self.access.known.forget(pod.pod.key)
        self.changed()

    def pod(self, name: str) -> LocalPod:
        """One pod. Raises `LocalModeError`."""
        if name not in self.pods:
            known = ", ".join(self.pods) or "none"
            raise LocalModeError(f"there is no pod {name!r}", hint=f"pods of this instance: {known}")
        return self.pods[name]


def run_manager(instance: Instance, *, certificate_life: datetime.timedelta, strict: bool = False) -> None:
    """Be the manager of `instance`. Raises `LocalModeError` when there is one already."""
    with (instance.directory / "manager.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalModeError(f"the local mode {instance.name!r} has a manager already") from None

        async def run() -> None:
            await Manager(instance, certificate_life=certificate_life, strict=strict).run()

        asyncio.run(run())
