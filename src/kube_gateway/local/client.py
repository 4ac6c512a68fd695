"""The command line's end of the manager."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from kube_gateway.control.flush_plan import FlushPlan
from kube_gateway.control.messages import Report
from kube_gateway.errors import KubeGatewayError, LocalModeError, UsageError
from kube_gateway.local import api
from kube_gateway.local.instance import Instance
from kube_gateway.local.services import LocalService

_TIMEOUT = 60.0
_POLL = 0.1
_LOG_LINES = 8

_Answer = TypeVar("_Answer", api.Pods, api.Planned, api.ReceiptText, api.Policies, api.Trust)


class LocalClient:
    """Talks to the manager of one instance. Every method raises `LocalModeError` when the instance is not up."""

    def __init__(self, instance: str) -> None:
        self.instance = Instance(instance)

    def is_up(self) -> bool:
        """Whether the manager answers."""
        try:
            self._ask(api.ListPods())
        except LocalModeError:
            return False
        return True

    def run(
        self,
        name: str,
        command: Sequence[str],
        *,
        annotations: Mapping[str, str] | None = None,
        service_account: str = "default",
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> api.PodView:
        """Start a pod. Raises `UsageError` for a wrong name, annotation or command, with nothing left behind."""
        return self._ask(
            api.Run(
                name=name,
                command=tuple(command),
                annotations=dict(annotations or {}),
                service_account=service_account,
                environment=dict(os.environ if environment is None else environment),
                directory=str(directory or Path.cwd()),
                labels=dict(labels or {}),
            )
        ).pods[0]

    def annotate(self, name: str, annotations: Mapping[str, str], *, remove: Sequence[str] = ()) -> api.PodView:
        """Set and remove annotations. Raises `UsageError` for a wrong one, with nothing changed."""
        return self._ask(api.Annotate(name=name, set=dict(annotations), remove=tuple(remove))).pods[0]

    def configure(self, name: str, text: str | None) -> api.PodView:
        """Write the policy for a pod's LLM calls, None: remove it. Raises `UsageError` for one that is not right."""
        return self._ask(api.SetConfig(name=name, text=text)).pods[0]

    def pods(self) -> tuple[api.PodView, ...]:
        """All pods in order of creation."""
        return self._ask(api.ListPods()).pods

    def pod(self, name: str) -> api.PodView:
        """One pod. Raises `LocalModeError` naming those that there are."""
        pods = self.pods()
        for pod in pods:
            if pod.name == name:
                return pod
        known = ", ".join(pod.name for pod in pods) or "none"
        raise LocalModeError(f"there is no pod {name!r}", hint=f"pods of this instance: {known}")

    def rotate(self, what: Literal["begin", "status", "abort"]) -> api.Trust:
        """Replace the root, look how far that is, or undo it. Raises `LocalModeError` when that cannot be."""
        return self._ask_for(api.Rotate(what=what), api.Trust)

    def revoke(self, name: str = "", *, uid: str = "", restore: bool = False) -> api.Trust:
        """Revoke a pod, by name or uid, or take it back; without either only say which are."""
        return self._ask_for(api.Revoke(name=name, uid=uid, restore=restore), api.Trust)

    def upgrade(self, name: str) -> api.PodView:
        """Start a further gateway, which takes over from the one that runs. Raises `LocalModeError` without one."""
        return self._ask(api.Upgrade(name=name)).pods[0]

    def plan_flush(self, name: str) -> FlushPlan | None:
        """What flushing a pod would do; None without a gateway."""
        return self._ask_for(api.PlanFlush(name=name), api.Planned).plan

    def receipt(self, name: str, *, since: float = 0.0, until: float = 0.0) -> str:
        """What a pod has sent in a period, signed by its gateway, as JSON; see `ReceiptQuery`. Raises `LocalModeError`."""
        return self._ask_for(api.GetReceipt(name=name, since=since, until=until), api.ReceiptText).text

    def delete(self, name: str) -> None:
        """Kill a pod and remove everything of it."""
        self._ask(api.Delete(name=name))

    def set_service(self, service: LocalService) -> None:
        """Make or replace a Service. Raises `UsageError` for values that cannot be."""
        self._ask(api.SetService(service=service))

    def delete_service(self, name: str) -> None:
        """Remove a Service."""
        self._ask(api.DeleteService(name=name))

    def apply_policies(self, text: str) -> tuple[str, ...]:
        """Write the GatewayPolicies of `text`, and return their names. Raises `UsageError` for what is not right."""
        return tuple(policy.name for policy in self._ask_policies(api.ApplyPolicies(text=text)))

    def remove_policy(self, name: str) -> None:
        """Remove a GatewayPolicy. Raises `LocalModeError` naming those that there are."""
        self._ask_policies(api.RemovePolicy(name=name))

    def policies(self) -> tuple[api.PolicyView, ...]:
        """All GatewayPolicies."""
        return self._ask_policies(api.ListPolicies())

    def gateway_report(self, name: str) -> Report | None:
        """The last report of a pod's gateway."""
        return self.pod(name).report

    def wait_settled(self, name: str, *, timeout: float) -> api.PodView:
        """Wait until everything that a pod's annotations ask for is in effect.

        A gateway that leaves may let connections finish for longer than that. Raises `LocalModeError` with the gateway's
        last words when anything else takes longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            pod = self.pod(name)
            if pod.settled or (pod.gateway == "draining" and time.monotonic() > deadline):
                return pod
            if time.monotonic() > deadline:
                raise self._not_settled(pod, timeout)
            time.sleep(_POLL)

    def _not_settled(self, pod: api.PodView, timeout: float) -> LocalModeError:
        log = self.instance.log_of(pod.name, "kube-gateway")
        words = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else []
        told = "\n".join(["", *(f"  {line}" for line in words)])
        return LocalModeError(
            f"the gateway of {pod.name} is {pod.gateway} after {timeout:g} s{told}",
            hint=f"kube-gateway local --instance {self.instance.name} logs {pod.name} -c kube-gateway",
        )

    def _ask(self, request: api.Request) -> api.Pods:
        return self._ask_for(request, api.Pods)

    def _ask_policies(self, request: api.Request) -> tuple[api.PolicyView, ...]:
        return self._ask_for(request, api.Policies).policies

    def _ask_for(self, request: api.Request, wanted: type[_Answer]) -> _Answer:
        answer = self._exchange(msgspec.json.encode(request))
        if isinstance(answer, api.Failure):
            kind: type[KubeGatewayError] = UsageError if answer.usage else LocalModeError
            raise kind(answer.message, hint=answer.hint)
        if not isinstance(answer, wanted):
            raise LocalModeError(f"the manager of {self.instance.name!r} answered something else")
        return answer

    def _exchange(self, request: bytes) -> api.Answer:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            try:
                connection.connect(str(self.instance.manager_socket))
                connection.sendall(request + b"\n")
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as answer:
                    return api.answer_decoder.decode(answer.read())
            except PermissionError:
                raise LocalModeError(
                    f"the local mode {self.instance.name!r} belongs to root", hint="run it with sudo"
                ) from None
            except OSError as error:
                raise LocalModeError(
                    f"the local mode {self.instance.name!r} is not up ({error.strerror or error})",
                    hint=f"kube-gateway local --instance {self.instance.name} up",
                ) from None
            except msgspec.DecodeError as error:
                raise LocalModeError(
                    f"the manager of {self.instance.name!r} ended in the middle of an answer",
                    hint=f"look at {self.instance.manager_log}",
                ) from error
