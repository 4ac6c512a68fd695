"""The JSON of the first kube-gateway: what it says, as a policy of today.

It was read by Go's encoding/json, so names of members count in any case, null is nothing and what is not known is ignored.
Its words meant: `block` answers every prompt with a sentence, as if the model had said it; `modelReplace` and the prompt
replacements are literal; `bannedWords` are parts of words too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kube_gateway.ai.policy.rules import EndpointsRule, LimitRule, ModelRule, OnBlock, ReplaceRule, Rule, WordsRule
from kube_gateway.ai.policy.schema import Debug, Policy

ANSWER = "kube-gateway says no"
_BLOCKED = ("chat", "text_completion", "embeddings", "count_tokens")
_Word = Annotated[str, Meta(min_length=1, max_length=4096)]


class Pair(msgspec.Struct, frozen=True, kw_only=True, rename={"original": "Orig", "replacement": "New"}):
    """`Orig` is to become `New`."""

    original: _Word
    replacement: str = ""


class Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`request`."""

    debug: bool = False
    block: bool = False
    max_tokens: Annotated[int, Meta(ge=0, le=10**9)] = 0
    model_replace: tuple[Pair, ...] = ()
    user_prompt_replace: tuple[Pair, ...] = ()
    dev_prompt_replace: tuple[Pair, ...] = ()


class Response(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`response`."""

    debug: bool = False
    banned_words: tuple[_Word, ...] = ()


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it."""

    request: Request = Request()
    response: Response = Response()


def is_original(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether this is meant as the JSON of the first kube-gateway: no `version`, and one of its two parts."""
    if not isinstance(value, dict):
        return False
    names = {str(name).lower() for name in value}
    return "version" not in names and bool(names & {"request", "response"})


def read_original(value: Mapping[str, Any]) -> tuple[Policy, tuple[str, ...]]:
    """Return the policy, and the members that are not known. Raises `msgspec.ValidationError`."""
    unknown: list[str] = []
    return _policy(msgspec.convert(_named(value, Original, "", unknown), Original)), tuple(unknown)


def _named(value: Any, kind: type[msgspec.Struct], path: str, unknown: list[str]) -> Any:  # noqa: ANN401
    """With the names of members as `kind` has them."""
    if not isinstance(value, dict):
        return value
    fields = {field.encode_name.lower(): field for field in msgspec.structs.fields(kind)}
    members: dict[str, Any] = {}
    for name, inner in value.items():
        field = fields.get(str(name).lower())
        where = f"{path}.{name}" if path else str(name)
        if field is None:
            unknown.append(where)
        elif inner is not None:
            members[field.encode_name] = _inner(inner, field.type, where, unknown)
    return members


def _inner(value: Any, wanted: Any, path: str, unknown: list[str]) -> Any:  # noqa: ANN401
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return _named(value, wanted, path, unknown)
    if wanted == tuple[Pair, ...] and isinstance(value, list):
        return [_named(item, Pair, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    return value


def _policy(original: Original) -> Policy:
    return Policy(
        version=1,
        debug=Debug(requests=original.request.debug, responses=original.response.debug),
        on_block=OnBlock(form="answer", message=ANSWER),
        rules=tuple(_rules(original)),
    )


def _rules(original: Original) -> Iterator[Rule]:
    request = original.request
    if request.block:
        yield EndpointsRule(name="block", endpoints=_BLOCKED)
    for number, pair in enumerate(request.model_replace, start=1):
        yield ModelRule(name=f"modelReplace-{number}", match=_literal(pair.original), to=pair.replacement)
    yield from _replacements("userPromptReplace", request.user_prompt_replace, "user")
    yield from _replacements("devPromptReplace", request.dev_prompt_replace, "developer")
    if request.max_tokens:
        yield LimitRule(name="maxTokens", max_tokens=request.max_tokens)
    if original.response.banned_words:
        yield WordsRule(
            name="bannedWords",
            words=original.response.banned_words,
            lanes=("output",),
            ignore_case=False,
            whole_words=False,
        )


def _replacements(name: str, pairs: tuple[Pair, ...], lane: Literal["user", "developer"]) -> Iterator[Rule]:
    for number, pair in enumerate(pairs, start=1):
        yield ReplaceRule(name=f"{name}-{number}", lanes=(lane,), literal=pair.original, replacement=pair.replacement)


def _literal(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
