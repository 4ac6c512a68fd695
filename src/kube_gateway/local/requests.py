"""Where the command line asks the manager. Only root is answered."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kube_gateway.control.actions import Flush
from kube_gateway.control.decide import decide
from kube_gateway.control.flush_plan import plan, standing_of
from kube_gateway.control.unix_peer import peer_user
from kube_gateway.errors import KubeGatewayError, LocalModeError, UsageError
from kube_gateway.local import api, cgroups, network
from kube_gateway.local.policy_requests import answer_about_policies, are_in_force
from kube_gateway.model.settings import Settings, settings_from_annotations

if TYPE_CHECKING:
    from kube_gateway.local.manager import Manager
    from kube_gateway.local.pods import LocalPod

_log = logging.getLogger("manager")

_LONGEST_REQUEST = 4 * 1024 * 1024


async def serve_requests(manager: Manager, path: Path) -> asyncio.Server:
    """Listen on `path`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if (user := peer_user(writer)) != 0:
                _log.warning("turned away a request of user %d", user)
                return
            request = api.request_decoder.decode(await _whole(reader))
            writer.write(msgspec.json.encode(await _answer(manager, request)))
            await writer.drain()
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("lost a request: %s", error)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, str(path), limit=_LONGEST_REQUEST)
    path.chmod(0o600)
    return server


async def _whole(reader: asyncio.StreamReader) -> bytes:
    """All that is said until the other side has said everything. Raises `OSError` when that is too much."""
    said = bytearray()
    while piece := await reader.read(_LONGEST_REQUEST):
        said += piece
        if len(said) > _LONGEST_REQUEST:
            raise OSError(f"a request is longer than {_LONGEST_REQUEST} bytes")
    return bytes(said)


async def _answer(manager: Manager, request: api.Request) -> api.Answer:
    try:
        return await _answered(manager, request)
    except KubeGatewayError as error:
        return api.Failure(message=error.message, hint=error.hint, usage=isinstance(error, UsageError))
    except OSError as error:
        _log.error("%s: %s", type(request).__name__, error)
        where = f" ({error.filename})" if error.filename else ""
        hint = f"the manager's log is {manager.instance.manager_log}"
        message = f"the machine refuses it: {error.strerror or error}{where}"
        return api.Failure(message=message, hint=hint, usage=False)


async def _answered(manager: Manager, request: api.Request) -> api.Answer:
    match request:
        case api.PlanFlush():
            return _planned(manager, request)
        case api.GetReceipt():
            return api.ReceiptText(text=await _receipt(manager, request))
        case api.ApplyPolicies() | api.RemovePolicy() | api.ListPolicies():
            return api.Policies(policies=answer_about_policies(manager, request))
        case api.Rotate() | api.Revoke():
            return _trust(manager, request)
        case api.SetService():
            manager.set_service(request.service)
            return api.Pods(pods=())
        case api.DeleteService():
            manager.delete_service(request.name)
            return api.Pods(pods=())
        case _:
            return api.Pods(pods=_views(manager, await _about_pods(manager, request)))


async def _about_pods(
    manager: Manager, request: api.ListPods | api.Run | api.Annotate | api.SetConfig | api.Upgrade | api.Delete
) -> list[LocalPod]:
    match request:
        case api.ListPods():
            return list(manager.pods.values())
        case api.Run():
            return [await manager.run_pod(request)]
        case api.Annotate():
            return [await manager.annotate(request)]
        case api.SetConfig():
            return [await manager.configure(request)]
        case api.Upgrade():
            return [await manager.upgrade(request.name)]
        case api.Delete():
            await manager.delete(request.name)
            return []


def _planned(manager: Manager, request: api.PlanFlush) -> api.Planned:
    pod = manager.pod(request.name)
    observed = manager.observe()
    observation = next(each for each in observed.pods if each.pod.key == pod.workload.record.pod.key)
    standing = standing_of(pod.gateway, pod.older.values())
    return api.Planned(plan=plan(observation, observed, standing=standing))


async def _receipt(manager: Manager, request: api.GetReceipt) -> str:
    gateway = manager.pod(request.name).gateway
    if not gateway.is_connected:
        raise LocalModeError(
            f"{request.name} has no gateway that could sign a receipt",
            hint=f"kube-gateway local --instance {manager.instance.name} annotate {request.name} encrypt=true",
        )
    answer = await gateway.receipt(since=request.since, until=request.until)
    if answer.problem:
        raise LocalModeError(f"{request.name} has no receipt for that period: {answer.problem}")
    return answer.receipt


def _trust(manager: Manager, request: api.Rotate | api.Revoke) -> api.Trust:
    match request:
        case api.Rotate():
            if request.what != "status":
                manager.rotate(abort=request.what == "abort")
        case api.Revoke():
            if request.name or request.uid:
                manager.revoke(request.name, request.uid, restore=request.restore)
    return api.Trust(status=manager.identity.status, revocations=manager.identity.revocations)


def _views(manager: Manager, pods: list[LocalPod]) -> tuple[api.PodView, ...]:
    # Connections are ended in their turn, which may take a while; whoever has asked for it need not wait.
    pending = {action.pod for action in decide(manager.observe()) if not isinstance(action, Flush)}
    return tuple(_view(manager, pod, pending=pod.workload.record.pod.key in pending) for pod in pods)


def _view(manager: Manager, pod: LocalPod, *, pending: bool) -> api.PodView:
    record, gateway = pod.workload.record, pod.gateway
    settings = settings_from_annotations(pod.pod.annotations)
    state = _gateway_state(pod)
    main = [record.pid] if pod.workload.running else []
    members = cgroups.members(cgroups.pod_cgroup(manager.instance, record.name) / cgroups.APPLICATION)
    in_effect = gateway.report is not None and gateway.report.settings_revision == gateway.revision
    in_effect = in_effect and (not settings.ai or _policy_in_effect(pod, settings))
    rules_in_force = are_in_force(pod)
    if settings.wanted and pod.workload.running:
        settled = state == "ready" and in_effect and rules_in_force and gateway.is_alive
    else:
        settled = not gateway.running
    return api.PodView(
        name=record.name,
        namespace=record.pod.namespace,
        uid=record.uid,
        service_account=record.service_account,
        interface=network.interface_of(record.number),
        addresses=record.pod.addresses,
        annotations=record.annotations,
        command=record.command,
        state=pod.workload.state,
        pids=(*main, *(pid for pid in members if pid not in main)),
        created=record.created,
        encryption=settings.encryption if settings.wanted else "off",
        ai=settings.wanted and settings.ai,
        policy=str(manager.policies.path(record.name, settings)),
        gateway=state,
        generation=gateway.generation,
        settled=settled and not pending,
        problem=pod.problem,
        spiffe_id=manager.spiffe_id(record.pod) if settings.wanted else "",
        labels=record.pod.labels,
        rules=pod.authorization,
        rules_in_force=rules_in_force,
        report=gateway.report,
        standing=standing_of(gateway, pod.older.values()),
    )


def _policy_in_effect(pod: LocalPod, settings: Settings) -> bool:
    """Whether the worker applies what is asked for, or cannot, which is the pod's problem then."""
    said = pod.gateway.report.ai if pod.gateway.report is not None else None
    found = pod.find_policy()
    if said is None or not said.policy or said.model != settings.ai_model:
        return False
    return found.policy is None or found.policy.name in (said.policy, said.refused)


def _gateway_state(pod: LocalPod) -> str:
    observation = pod.gateway.observe()
    if observation is None:
        return "none"
    if observation.state == "exited":
        return "none" if pod.gateway.failures == 0 else "failed"
    return observation.state
