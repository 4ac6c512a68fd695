"""Asks the API server, where not being allowed to ask is an answer too.

Whoever runs the checks may have few rights. What they may not see is said once, by the checks that would have needed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from kube_gateway.kube.client import KubernetesClient, decode
from kube_gateway.kube.refusals import Forbidden, NotFound, rule_for

T = TypeVar("T")


class Refusal(msgspec.Struct, frozen=True):
    """Why something is not known, and what to do about it."""

    message: str
    hint: str = ""


class Unanswered(Exception):
    """A fact that was to be judged is not known."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def known(answer: T | Refusal) -> T:
    """The answer. Raises `Unanswered` where there is none."""
    if isinstance(answer, Refusal):
        raise Unanswered(answer)
    return answer


async def read(client: KubernetesClient, path: str, item: type[T]) -> T | Refusal | None:
    """One object, None if there is none. Raises `KubernetesError`, for all else than a refusal."""
    try:
        return await client.get(path, item)
    except Forbidden:
        return _refusal(path, "get")
    except NotFound:
        return None


async def read_all(
    client: KubernetesClient, path: str, item: type[T], *, parameters: Mapping[str, str] | None = None
) -> tuple[T, ...] | Refusal:
    """A collection. Raises `KubernetesError`, for all else than a refusal."""
    try:
        return (await client.list(path, item, parameters=parameters)).items
    except Forbidden:
        return _refusal(path, "list")


async def submit(client: KubernetesClient, path: str, body: object, item: type[T]) -> T | Refusal:
    """The answer to an object that is only a question. Raises `KubernetesError`, for all else than a refusal."""
    try:
        return decode(await client.create(path, body), item, what=f"create {path}")
    except Forbidden:
        return _refusal(path, "create")


def _refusal(path: str, verb: str) -> Refusal:
    hint = f"have this rule added to a role of yours: {rule_for(path, verb)}"
    return Refusal(f"you may not {verb} {_in_words(path)}", hint)


def _in_words(path: str) -> str:
    """`secrets/watcher in the namespace kube-gateway` of the path of that Secret."""
    parts = path.strip("/").split("/")
    if parts[0] not in ("api", "apis"):
        return path
    parts = parts[2 if parts[0] == "api" else 3 :]
    if parts[0] == "namespaces" and len(parts) > 2:
        return f"{'/'.join(parts[2:])} in the namespace {parts[1]}"
    return "/".join(parts)
