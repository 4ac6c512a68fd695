"""What the command line asks of the manager: one JSON request and one answer a connection of a unix socket."""

from __future__ import annotations

from typing import Literal

import msgspec

from kube_gateway.control.flush_plan import FlushPlan, Standing
from kube_gateway.control.messages import Report
from kube_gateway.identity.revocation import Revocations
from kube_gateway.identity.rotation import Status
from kube_gateway.local.services import LocalService


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    pass


class Run(_Message, frozen=True):
    """Start a pod. `environment` and `directory` are for its command and not remembered. It has the label `app` with its
    name, unless `labels` have another."""

    name: str
    command: tuple[str, ...]
    annotations: dict[str, str]
    service_account: str
    environment: dict[str, str]
    directory: str
    labels: dict[str, str] = {}


class Annotate(_Message, frozen=True):
    """Set and remove annotations; all of it or, if a value is wrong, nothing."""

    name: str
    set: dict[str, str]
    remove: tuple[str, ...]


class SetConfig(_Message, frozen=True):
    """Write the policy for a pod's LLM calls; without `text`, remove it."""

    name: str
    text: str | None


class ListPods(_Message, frozen=True):
    """All pods."""


class Rotate(_Message, frozen=True):
    """Replace the root, look how far that is, or undo it."""

    what: Literal["begin", "status", "abort"]


class Revoke(_Message, frozen=True):
    """Revoke the pod of this name, or of this uid; `restore`: take it back. Without either: say which pods are revoked."""

    name: str = ""
    uid: str = ""
    restore: bool = False


class Upgrade(_Message, frozen=True):
    """Start a further gateway in a pod, which takes over from the one that runs."""

    name: str


class PlanFlush(_Message, frozen=True):
    """What flushing a pod would do."""

    name: str


class GetReceipt(_Message, frozen=True):
    """Have a pod's gateway sign what the pod has sent in a period; see `ReceiptQuery`."""

    name: str
    since: float
    until: float


class Delete(_Message, frozen=True):
    """Kill a pod and remove everything of it."""

    name: str


class SetService(_Message, frozen=True):
    """Make or replace a Service."""

    service: LocalService


class DeleteService(_Message, frozen=True):
    """Remove a Service."""

    name: str


class ApplyPolicies(_Message, frozen=True):
    """Write the GatewayPolicies of a text: all of them or, if one is wrong, none."""

    text: str


class RemovePolicy(_Message, frozen=True):
    """Remove a GatewayPolicy."""

    name: str


class ListPolicies(_Message, frozen=True):
    """All GatewayPolicies."""


class PolicyView(msgspec.Struct, frozen=True, kw_only=True):
    """A GatewayPolicy as a person sees it: `selects` are names of pods, `problem` is what is wrong with its file.

    `denied` and `would_deny` (its dry run) are what gateways say of the latest denials by it.
    """

    name: str
    default: str
    rules: int
    dry_run: bool
    selects: tuple[str, ...]
    denied: int
    would_deny: int
    problem: str = ""


class Policies(_Message, frozen=True):
    """Answer: the policies asked for, or those changed."""

    policies: tuple[PolicyView, ...]


class PodView(msgspec.Struct, frozen=True, kw_only=True):
    """A pod as a person sees it.

    `state` is `running`, `ended` or `ended (exit N)`; `gateway` is `none`, `starting`, `ready`, `draining` or `failed`;
    `settled` says whether everything that the annotations ask for is in effect. `pids` are the application's processes,
    the main one first. `report` is the gateway's last, `standing` are all connections that stand. `ai`: its LLM calls pass
    the policy in the file `policy`. `rules` are what GatewayPolicies say of who may reach it (`encode_authorization`),
    `rules_in_force`: its gateway applies them.
    """

    name: str
    namespace: str
    uid: str
    service_account: str
    interface: str
    addresses: tuple[str, ...]
    annotations: dict[str, str]
    command: tuple[str, ...]
    state: str
    pids: tuple[int, ...]
    created: float
    encryption: str
    ai: bool
    policy: str
    gateway: str
    generation: int
    settled: bool
    problem: str | None
    spiffe_id: str
    labels: dict[str, str] = {}
    rules: str = ""
    rules_in_force: bool = True
    report: Report | None
    standing: Standing = Standing()


class Pods(_Message, frozen=True):
    """Answer: the pods asked for, or the one changed."""

    pods: tuple[PodView, ...]


class Planned(_Message, frozen=True):
    """Answer: what flushing would do; None while the pod has no gateway."""

    plan: FlushPlan | None


class ReceiptText(_Message, frozen=True):
    """Answer: a signed receipt, as JSON."""

    text: str


class Trust(_Message, frozen=True):
    """Answer: how far a rotation is, and which pods are revoked."""

    status: Status
    revocations: Revocations


class Failure(_Message, frozen=True):
    """Answer: what went wrong; `usage` if the request itself was."""

    message: str
    hint: str | None
    usage: bool


Request = (
    Run
    | Annotate
    | SetConfig
    | ListPods
    | Rotate
    | Revoke
    | Upgrade
    | PlanFlush
    | GetReceipt
    | Delete
    | SetService
    | DeleteService
    | ApplyPolicies
    | RemovePolicy
    | ListPolicies
)
Answer = Pods | Planned | ReceiptText | Policies | Trust | Failure

request_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
answer_decoder: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
