"""The rules that every library is put under, and what its caller has to see then.

A case is a rule, a library, and whether the answer is a stream. What is expected is said once for all libraries; where
libraries differ (names of reasons to finish, classes of exceptions) they differ in tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ai.clients.exchange import Answer, Question
from ai.servers.ollama import LARGE, SMALL
from ai.servers.voices import GEMMA, TINY

QUESTION, NOTE = "What are you?", "Hello."
REFUSAL = "kube-gateway says no"


@dataclass(frozen=True)
class Case:
    """What was asked with which library."""

    library: str
    question: Question


@dataclass(frozen=True)
class Rule:
    """`reaches`: whether calls get to the server; `blocked`: whether the gateway counts them as blocked."""

    name: str
    policy: dict
    expect: Callable[[Case, Answer], None]
    question: dict = field(default_factory=dict)
    reaches: bool = True
    blocked: bool = False


def _version_1(*rules: dict, **more: object) -> dict:
    return {"version": 1, **more, "rules": [{"name": f"rule-{number}", **rule} for number, rule in enumerate(rules)]}


def _tells(case: Case, model: str | None) -> set[str | None]:
    """The names of a model that an answer may tell: LiteLLM has its own ways where it was not renamed by us."""
    if case.library == "gemini":
        return {model, None}
    if case.library == "openai_responses" and case.question.stream:
        return {model, f"lm_studio/{model}"}
    return {model}


def _says(text: str, *, model: str = SMALL) -> Callable[[Case, Answer], None]:
    def expect(case: Case, answer: Answer) -> None:
        assert answer.text == text
        assert answer.model in _tells(case, model)
        assert not case.question.stream or len(answer.pieces) > 1, "a stream came in one piece"

    return expect


def _cut(case: Case, answer: Answer) -> None:
    assert answer.text == "This is the small model. A gateway"
    assert answer.finish in {"length", "max_tokens", "MAX_TOKENS", "incomplete"}


REFUSED = {
    ("openai", 403): "PermissionDeniedError",
    ("openai", 413): "APIStatusError",
    ("openai", 429): "RateLimitError",
    ("anthropic", 403): "PermissionDeniedError",
    ("anthropic", 413): "ContentTooLargeError",
    ("anthropic", 429): "RateLimitError",
    ("gemini", 403): "ClientError",
    ("gemini", 413): "ClientError",
    ("gemini", 429): "ClientError",
    ("ollama", 403): "ResponseError",
    ("ollama", 413): "ResponseError",
    ("ollama", 429): "ResponseError",
    ("curl", 403): "HTTPStatus",
    ("curl", 413): "HTTPStatus",
    ("curl", 429): "HTTPStatus",
}
FILTERED = {
    "openai_chat": "content_filter",
    "openai_completions": "content_filter",
    "openai_responses": "incomplete",
    "anthropic_messages": "refusal",
    "gemini": "BLOCKLIST",
    "ollama_chat": "content_filter",
    "curl": "content_filter",
}


def refused(status: int) -> Callable[[Case, Answer], None]:
    """The library raises what it raises for this status, with our words in it."""

    def expect(case: Case, answer: Answer) -> None:
        assert answer.failure is not None, answer
        assert answer.failure.status == status
        assert answer.failure.classes[0] == REFUSED[case.library.partition("_")[0], status], answer.failure
        assert REFUSAL in answer.failure.text

    return expect


def _ended_by_filter(case: Case, answer: Answer) -> None:
    if not case.question.stream:
        refused(403)(case, answer)
        return
    before = TINY.answer("?").partition("banana")[0]
    assert answer.text == before
    assert answer.finish == FILTERED[case.library]


def _blocked_by_answer(case: Case, answer: Answer) -> None:
    assert answer.text == REFUSAL
    assert answer.finish in {"stop", "end_turn", "STOP", "completed"}


_BANANA = {"kind": "words", "words": ["banana"], "lanes": ["output"]}
_MASKED = TINY.answer("?").replace("banana", "***")
_PERSONAL = TINY.answer(".").replace("ada@example.org", "[email]").replace("4111 1111 1111 1111", "[card]")

RULES = (
    Rule("nothing", _version_1(), _says(TINY.answer("?"))),
    Rule(
        "rename",
        _version_1({"kind": "model", "match": "tiny:*", "to": LARGE}),
        _says(GEMMA.answer("?")),
    ),
    Rule(
        "rename-and-tell",
        _version_1({"kind": "model", "match": "tiny:*", "to": LARGE, "echo": "actual"}),
        _says(GEMMA.answer("?"), model=LARGE),
    ),
    Rule(
        "alias",
        _version_1({"kind": "model", "match": "assistant", "to": SMALL}),
        _says(TINY.answer("?"), model="assistant"),
        question={"model": "assistant"},
    ),
    Rule(
        "deny-model",
        _version_1({"kind": "model", "match": "tiny:*", "deny": True}),
        refused(403),
        reaches=False,
        blocked=True,
    ),
    Rule(
        "replace-prompt",
        _version_1({"kind": "replace", "literal": "Hello.", "with": "Hello?"}),
        _says(TINY.answer("?")),
        question={"user": NOTE},
    ),
    Rule("limit", _version_1({"kind": "limit", "maxTokens": 4}), _cut),
    Rule("limit-clamps", _version_1({"kind": "limit", "maxTokens": 4}), _cut, question={"limit": 100}),
    Rule("mask-word", _version_1(_BANANA), _says(_MASKED)),
    Rule("mask-regex", _version_1({"kind": "regex", "patterns": ["b[an]+a"], "lanes": ["answer"]}), _says(_MASKED)),
    Rule(
        "mask-personal",
        _version_1({"kind": "detect", "detectors": ["email", "card"], "lanes": ["output"]}),
        _says(_PERSONAL),
        question={"user": NOTE},
    ),
    Rule("deny-output", _version_1({**_BANANA, "action": "deny"}), _ended_by_filter, blocked=True),
    Rule(
        "deny-prompt",
        _version_1({"kind": "words", "words": ["password"], "lanes": ["user"], "action": "deny"}),
        refused(403),
        question={"user": "The password is?"},
        reaches=False,
        blocked=True,
    ),
    Rule(
        "deny-endpoint",
        _version_1({"kind": "endpoints", "endpoints": ["chat", "text_completion"], "action": "deny"}),
        refused(403),
        reaches=False,
        blocked=True,
    ),
    Rule("original-block", {"request": {"block": True}}, _blocked_by_answer, reaches=False, blocked=True),
    Rule("original-words", {"response": {"bannedWords": ["banana"]}}, _says(_MASKED)),
    Rule(
        "original-model",
        {"request": {"modelReplace": [{"Orig": SMALL, "New": LARGE}]}},
        _says(GEMMA.answer("?")),
    ),
    Rule(
        "size",
        _version_1({"kind": "size", "maxBytes": 3000}),
        refused(413),
        question={"user": "x" * 4000},
        reaches=False,
        blocked=True,
    ),
    Rule("shadow", _version_1({**_BANANA, "mode": "shadow"}), _says(TINY.answer("?"))),
)
