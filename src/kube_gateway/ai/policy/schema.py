"""A policy: what it says beside its rules, and its JSON Schema for editors."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kube_gateway.ai.policy.quantities import size_of
from kube_gateway.ai.policy.rules import Base, OnBlock, Rule

DEFAULT_BODY_LIMIT = "64MiB"


class Debug(Base, frozen=True, kw_only=True):
    """Log a line for each request, for each answer. Never with content; calls that a rule acted on are logged anyhow."""

    requests: bool = False
    responses: bool = False


class Audit(Base, frozen=True, kw_only=True):
    """The audit log: what of the texts it has. `hash`: an HMAC that stays equal for equal texts."""

    enabled: bool = True
    content: Literal["none", "hash", "full"] = "none"


class Metrics(Base, frozen=True, kw_only=True):
    """Figures about calls. `otlp_endpoint`: where OpenTelemetry's go to by OTLP/HTTP, as `http://collector:4318`."""

    enabled: bool = True
    otlp_endpoint: Annotated[str, Meta(pattern=r"^(https?://[^/\s]+/?)?$", max_length=2048)] = ""


class Policy(Base, frozen=True, kw_only=True):
    """What applies to the LLM calls of a pod. An empty one only has streams of OpenAI's API tell their usage.

    `body_limit`: larger requests are refused. `on_invalid`: what happens to a request that is no JSON; `on_failure`: when
    the gateway itself fails at a request; without a word, `block` if there is a rule in force. `on_numeric_prompt`: what
    happens to a prompt in numbers of tokens, where a rule in force is about its text. `on_unreadable_answer`: what happens
    to an answer, or an event of one, that is no JSON, where a rule in force is about answers. `ask_usage`: streams are
    asked to tell their usage, and the client does not see that they were.
    """

    version: Literal[1]
    description: Annotated[str, Meta(max_length=4096)] = ""
    debug: Debug = Debug()
    body_limit: int | str = DEFAULT_BODY_LIMIT
    on_block: OnBlock = OnBlock()
    on_invalid: Literal["block", "pass"] | None = None
    on_failure: Literal["block", "pass"] | None = None
    on_numeric_prompt: Literal["block", "pass"] = "block"
    on_unreadable_answer: Literal["block", "pass"] = "pass"
    ask_usage: bool = True
    audit: Audit = Audit()
    metrics: Metrics = Metrics()
    rules: Annotated[tuple[Rule, ...], Meta(max_length=1000)] = ()

    def __post_init__(self) -> None:
        try:
            size_of(self.body_limit)
        except ValueError as error:
            raise ValueError(f"`bodyLimit`: {error}") from None
        seen: dict[str, int] = {}
        for index, rule in enumerate(self.rules):
            if rule.name in seen:
                raise ValueError(
                    f"`rules[{index}].name`: {rule.name!r} is the name of rules[{seen[rule.name]}] already"
                )
            seen[rule.name] = index

    @property
    def hash(self) -> str:
        """SHA-256 (hexadecimal) of what the policy says, however it was written."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    @property
    def enforcing(self) -> bool:
        """Whether a rule is in force."""
        return any(rule.mode == "enforce" for rule in self.rules)


EMPTY = Policy(version=1)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of policies, for editors."""
    schema = msgspec.json.schema(Policy)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "kube-gateway AI policy", **schema}
