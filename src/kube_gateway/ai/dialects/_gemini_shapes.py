"""Where things are in Gemini's API.

A request is a protocol buffer in JSON, whose members a server takes in camelCase and in snake_case alike, and mixed: each
path stands here for all its spellings. A value that is alone may stand without its array: texts are looked for in both
forms. Answers are in camelCase, and have their arrays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from msgspec.structs import replace

from kube_gateway.ai.dialects._nested import batch, below
from kube_gateway.ai.shape import End, Lane, LaneName, RequestShape, ResponseShape, ToolCall, When

_UPPER = re.compile("[A-Z]")

FAILED = (When(path="error"),)


def spellings(path: str) -> tuple[str, ...]:
    """Return a path with each of its members in camelCase and in snake_case."""
    members = [sorted({member, _UPPER.sub(lambda found: "_" + found[0].lower(), member)}) for member in path.split(".")]
    return tuple(".".join(members) for members in product(*members))


def alone(path: str) -> tuple[str, ...]:
    """Return a path with its arrays, and with a single value in the place of each of them."""
    first, *others = path.split("[]")
    return tuple(first + "".join(between) for between in product(*((f"[]{each}", each) for each in others)))


def _lanes(name: LaneName, path: str, *, when: tuple[When, ...] = (), deep: bool = False) -> tuple[Lane, ...]:
    return tuple(Lane(name=name, path=each, when=when, deep=deep) for each in spellings(path))


def _part(part: str, *, name: LaneName, when: tuple[When, ...]) -> tuple[Lane, ...]:
    """Return the lanes of the part of a content, which stands at the path `part`."""
    thought = When(path=f"{part}.thought", any_of=("true",))
    said = When(path=f"{part}.thought", any_of=("true",), negated=True)
    return (
        *_lanes(name, f"{part}.text", when=(*when, said)),
        *_lanes("reasoning", f"{part}.text", when=(*when, thought)),
        *_lanes("tool_arguments", f"{part}.functionCall.args", when=when, deep=True),
        *_lanes("tool_arguments", f"{part}.executableCode.code", when=when),
        *_lanes("tool", f"{part}.functionResponse.response", when=when, deep=True),
        *_lanes("tool", f"{part}.codeExecutionResult.output", when=when),
    )


def _contents() -> Iterator[Lane]:
    for content in ("contents[]", "contents"):
        model = When(path=f"{content}.role", any_of=("model",))
        others = When(path=f"{content}.role", any_of=("model",), negated=True)
        for part in (f"{content}.parts[]", f"{content}.parts"):
            yield from _part(part, name="user", when=(others,))
            yield from _part(part, name="assistant", when=(model,))


def _texts() -> Iterator[Lane]:
    yield from _contents()
    for path in alone("systemInstruction.parts[].text"):
        yield from _lanes("system", path)
    for function in alone("tools[].functionDeclarations[]"):
        yield from _lanes("tool_definition", f"{function}.description")
        yield from _lanes("tool_definition", f"{function}.parameters", deep=True)
        yield from _lanes("tool_definition", f"{function}.parametersJsonSchema", deep=True)
    yield from _lanes("tool_definition", "generationConfig.responseSchema", deep=True)
    yield from _lanes("tool_definition", "generationConfig.responseJsonSchema", deep=True)


_TEXTS = tuple(_texts())
_WRAPPED = spellings("generateContentRequest")
_FUNCTIONS = tuple(each for path in alone("tools[].functionDeclarations[]") for each in spellings(path))

GENERATE_REQUEST = RequestShape(
    lanes=_TEXTS,
    model_in_target=True,
    limits=spellings("generationConfig.maxOutputTokens"),
    tools=_FUNCTIONS,
    tool_names=tuple(f"{function}.name" for function in _FUNCTIONS),
    tool_kinds=alone("tools[]"),
    tool_choice=spellings("toolConfig"),
    choices=spellings("generationConfig.candidateCount"),
    messages=("contents[]",),
)

BATCH_REQUEST = replace(
    batch(spellings("batch.inputConfig.requests.requests[].request"), GENERATE_REQUEST), model_in_target=True
)

CACHE_REQUEST = replace(
    GENERATE_REQUEST, model="model", model_prefix="models/", model_in_target=False, limits=(), choices=()
)

COUNT_REQUEST = RequestShape(
    lanes=(*_TEXTS, *(lane for top in _WRAPPED for lane in below(top, _TEXTS))),
    model_in_target=True,
    messages=("contents[]", *(f"{top}.contents[]" for top in _WRAPPED)),
)

EMBED_REQUEST = RequestShape(
    lanes=tuple(Lane(name="user", path=path) for path in (*alone("content.parts[].text"), "title")),
    model="model",
    model_prefix="models/",
    model_in_target=True,
)

BATCH_EMBED_REQUEST = RequestShape(
    lanes=tuple(
        Lane(name="user", path=path)
        for member in ("content.parts[].text", "title")
        for path in alone(f"requests[].{member}")
    ),
    model="requests[].model",
    model_prefix="models/",
    model_in_target=True,
)

PREDICT_REQUEST = RequestShape(
    lanes=(Lane(name="user", path="instances[].content"), Lane(name="user", path="instances[].title")),
    model_in_target=True,
)

_CONTENT = "candidates[].content"
_PART = f"{_CONTENT}.parts[]"
_KEY = ("candidates[].index",)
_SAID = When(path=f"{_PART}.thought", any_of=("true",), negated=True)
_THOUGHT = When(path=f"{_PART}.thought", any_of=("true",))
_REPEATED = "candidates[].groundingMetadata.groundingSupports[].segment.text"

STREAM = ResponseShape(
    lanes=(
        Lane(name="output", path=f"{_PART}.text", when=(_SAID,), key=_KEY),
        Lane(name="reasoning", path=f"{_PART}.text", when=(_THOUGHT,), key=_KEY),
        Lane(name="output", path=_REPEATED, key=_KEY, complete=True, copy=True),
        Lane(name="tool_arguments", path=f"{_PART}.functionCall.args", key=_KEY, deep=True, complete=True),
        Lane(name="tool_arguments", path=f"{_PART}.functionCall.partialArgs[].stringValue", key=_KEY, complete=True),
        Lane(name="tool_arguments", path=f"{_PART}.executableCode.code", key=_KEY, complete=True),
        Lane(name="tool", path=f"{_PART}.codeExecutionResult.output", key=_KEY, complete=True),
    ),
    ends=(End(when=(When(path="candidates[].finishReason"),), key=_KEY),),
    tools=(ToolCall(name=f"{_PART}.functionCall.name", arguments=f"{_PART}.functionCall.args", deep=True),),
    model=("modelVersion",),
    usage={
        "input": ("usageMetadata.promptTokenCount",),
        "output": ("usageMetadata.candidatesTokenCount",),
        "cached_input": ("usageMetadata.cachedContentTokenCount",),
        "tool_input": ("usageMetadata.toolUsePromptTokenCount",),
        "reasoning": ("usageMetadata.thoughtsTokenCount",),
    },
    finish=("candidates[].finishReason", "promptFeedback.blockReason"),
    captured={"id": "responseId"},
    scrub=("candidates[].logprobsResult", "candidates[].avgLogprobs"),
    once=(
        "candidates[]",
        "candidates[].content.parts[]",
        "candidates[].finishReason",
        "candidates[].groundingMetadata",
        "candidates[].citationMetadata",
    ),
    error=FAILED,
)

RESPONSE = STREAM
EMBED_RESPONSE = ResponseShape(usage={"input": ("usageMetadata.promptTokenCount",)}, error=FAILED)
