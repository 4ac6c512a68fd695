"""Each pod that has to do with us, as a person wants to know it: what was asked for, what is so, and why not. Pure.

Three sources: annotations (what was asked for), the pod's condition and containers (what became of it, in the API for all
to see), and the watcher's summary (what the gateway reports; it may be missing, or old).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from kube_gateway.errors import InvalidAnnotation
from kube_gateway.model.ports import ANNOTATION_PREFIX
from kube_gateway.model.settings import Settings, at_least_strict, settings_from_annotations
from kube_gateway.watcher import condition
from kube_gateway.watcher.configuration import CONTROL_PORT
from kube_gateway.watcher.generations import NEEDS_PRIVILEGE, Generation, container_name, generations
from kube_gateway.watcher.objects import Condition, PodObject, our_annotations
from kube_gateway.watcher.summary import PodSummary

State = Literal[
    "encrypting", "ai", "off", "starting", "problem", "died", "unknown", "leaving", "left", "waiting", "not enrolled"
]
Mode = Literal["permissive", "strict", "off", "none", ""]

PRIVILEGED_HINT = "kube-gateway install -- --privileged=when-needed | kubectl apply -f -"

_PROBLEM = "Problem"
_STATES: dict[str, State] = {
    "Encrypting": "encrypting",
    "EncryptionOff": "off",
    "GatewayStarting": "starting",
    "GatewayDied": "died",
    "GatewayNotConnected": "unknown",
    "Leaving": "leaving",
    "NotEnrolled": "left",
}


class PodView(msgspec.Struct, frozen=True, kw_only=True):
    """A pod. `wanted`: it shall have a gateway. `mode` is empty if the annotations are not understood.

    `state`: `waiting` if the pod itself does not run yet, `ai` if the gateway is there for LLM calls alone. `reason` is a
    word, `message` and `hint` are for people; all are empty where all is well. `generation` is the newest gateway's, 0 for
    none. `reported` is what that one said, if it did.
    """

    namespace: str
    name: str
    node: str
    wanted: bool
    mode: Mode
    state: State
    reason: str
    message: str
    hint: str
    generation: int
    image: str
    privileged: bool
    exit_code: int | None
    reported: PodSummary | None

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class _Found(msgspec.Struct, frozen=True):
    state: State
    reason: str = ""
    message: str = ""
    hint: str = ""


def view(
    seen: PodObject, *, inherited: Mapping[str, str], reported: PodSummary | None, strict: bool = False
) -> PodView:
    """The pod as it is. `inherited` are the annotations of its namespace, `reported` is what the summary says of it.

    `strict`: its watcher has every pod that encrypts be strict.
    """
    annotations = {**our_annotations(inherited), **our_annotations(seen.metadata.annotations)}
    if strict:
        annotations = at_least_strict(annotations)
    settings: Settings | None = None
    try:
        settings = settings_from_annotations(annotations)
        found = _found(seen, settings)
    except InvalidAnnotation as error:
        found = _invalid(seen, error)
    newest = _newest(seen)
    ended = newest.terminated if newest else None
    same = reported is not None and reported.uid == seen.metadata.uid
    return PodView(
        namespace=seen.metadata.namespace,
        name=seen.metadata.name,
        node=seen.spec.node_name,
        wanted=settings is None or settings.wanted,
        mode=settings.encryption if settings is not None and settings.wanted else "",
        state=found.state,
        reason=found.reason,
        message=found.message,
        hint=found.hint,
        generation=newest.number if newest else 0,
        image=newest.image if newest else "",
        privileged=bool(newest and newest.privileged),
        exit_code=ended.exit_code if ended else None,
        reported=reported if same else None,
    )


def concerns_us(seen: PodObject, *, inherited: Mapping[str, str]) -> bool:
    """Whether a pod is to be listed: it has our annotations, or has a gateway that runs."""
    if seen.status.phase in {"Succeeded", "Failed"}:
        return False
    asked = {**our_annotations(inherited), **our_annotations(seen.metadata.annotations)}.keys()
    return bool(asked - {f"{ANNOTATION_PREFIX}podcidr"}) or _is_alive(seen)


def _found(seen: PodObject, settings: Settings) -> _Found:
    said = condition.current(seen)
    where = f"-n {seen.metadata.namespace} {seen.metadata.name}"
    annotate = f"kubectl annotate pod {where}"
    if not settings.wanted:
        if said is not None and said.reason == "Leaving":
            return _Found("leaving", "Leaving", said.message)
        if generations(seen):
            back = f"{annotate} --overwrite {ANNOTATION_PREFIX}enabled=true {ANNOTATION_PREFIX}encrypt=true"
            return _Found("left", "Left", "it is not to have a gateway any more", back)
        hint = f"{annotate} {ANNOTATION_PREFIX}encrypt=true"
        return _Found("not enrolled", "NotEnrolled", "no annotation asks for a gateway", hint)
    if seen.status.phase != "Running":
        return _Found("waiting", "PodNotRunning", "the pod does not run yet", f"kubectl describe pod {where}")
    if said is None or said.reason in {"NotEnrolled", "Leaving"}:
        return _Found("starting", "NotSeenYet", "the watcher has not looked at the pod yet", "kube-gateway check")
    if said.status == "True" and not _is_alive(seen):
        return _unseen_end(seen, where)
    if settings.encryption == "none" and said.reason == "EncryptionOff":
        return _Found("ai")
    return _said(seen, said, where)


def _said(seen: PodObject, said: Condition, where: str) -> _Found:
    problem = condition.reported_problem(seen)
    if problem is not None:
        state: State = "encrypting" if said.status == "True" else "problem"
        hint = said.message.removeprefix(problem).partition(": ")[2] or f"kubectl describe pod {where}"
        return _Found(state, said.reason.removeprefix(_PROBLEM), problem, hint)
    state = _STATES.get(said.reason, "problem")
    if state == "encrypting":
        return _Found(state)
    return _Found(state, said.reason, said.message, _hint(seen, state, where))


def _hint(seen: PodObject, state: State, where: str) -> str:
    newest = _newest(seen)
    ended = newest.terminated if newest else None
    if state == "off":
        return f"kubectl annotate pod {where} --overwrite {ANNOTATION_PREFIX}encrypt=true"
    if state == "unknown":
        return f"kube-gateway check, and see that no NetworkPolicy keeps the pod from the watcher's port {CONTROL_PORT}"
    if ended is not None and ended.exit_code == NEEDS_PRIVILEGE:
        return PRIVILEGED_HINT
    if newest is not None and state == "died":
        return f"kubectl logs {where} -c {container_name(newest.number)}"
    return f"kubectl describe pod {where}"


def _unseen_end(seen: PodObject, where: str) -> _Found:
    """What the condition says was true once."""
    newest = _newest(seen)
    ended = newest.terminated if newest else None
    if newest is None or ended is None:
        return _Found("starting", "NotSeenYet", "the watcher has not looked at the pod yet", "kube-gateway check")
    message = f"gateway {newest.number} ended with exit code {ended.exit_code}, and no watcher has seen to it yet"
    return _Found("died", "GatewayDied", message, _hint(seen, "died", where))


def _invalid(seen: PodObject, error: InvalidAnnotation) -> _Found:
    said = condition.current(seen)
    encrypts = said is not None and said.status == "True" and _is_alive(seen)
    hint = f"kubectl annotate pod -n {seen.metadata.namespace} {seen.metadata.name} --overwrite ...; {error.hint or ''}"
    return _Found("encrypting" if encrypts else "problem", "InvalidAnnotation", error.message, hint.removesuffix("; "))


def _newest(seen: PodObject) -> Generation | None:
    history = generations(seen)
    return history[-1] if history else None


def _is_alive(seen: PodObject) -> bool:
    return any(generation.terminated is None for generation in generations(seen))
