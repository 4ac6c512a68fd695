"""Where things are in the bodies of Ollama's own API.

`context` of `/api/generate` is no prompt in numbers: it is what the server gave for the last answer, whose texts were seen.
"""

from __future__ import annotations

from msgspec.structs import replace

from kube_gateway.ai.dialect import Endpoint
from kube_gateway.ai.shape import End, Lane, LaneName, RequestShape, ResponseShape, ToolCall, When

_ROLE = "messages[].role"
_ROLES: tuple[tuple[LaneName, When], ...] = (
    ("user", When(path=_ROLE, any_of=("system", "assistant", "tool"), negated=True)),
    ("system", When(path=_ROLE, any_of=("system",))),
    ("assistant", When(path=_ROLE, any_of=("assistant",))),
    ("tool", When(path=_ROLE, any_of=("tool",))),
)
_USAGE: dict[str, tuple[str, ...]] = {"input": ("prompt_eval_count",), "output": ("eval_count",)}
_ENDS = (End(when=(When(path="done", any_of=("true",)),)),)
_FAILED = (When(path="error"),)
_LIMITS = ("options.num_predict",)

_CHAT_REQUEST = RequestShape(
    lanes=(
        *(Lane(name=name, path="messages[].content", when=(role,)) for name, role in _ROLES),
        Lane(name="reasoning", path="messages[].thinking"),
        Lane(name="tool_arguments", path="messages[].tool_calls[].function.arguments", deep=True),
        Lane(name="tool_definition", path="tools[].function.description"),
        Lane(name="tool_definition", path="tools[].function.parameters", deep=True),
        Lane(name="tool_definition", path="format", deep=True),
    ),
    model="model",
    stream="stream",
    streams_by_default=True,
    limits=_LIMITS,
    tools=("tools[]",),
    tool_names=("tools[].function.name",),
    tool_types=("tools[].type",),
    messages=("messages[]",),
)

_GENERATE_REQUEST = RequestShape(
    lanes=(
        Lane(name="user", path="prompt"),
        Lane(name="user", path="suffix"),
        Lane(name="system", path="system"),
        Lane(name="system", path="template"),
        Lane(name="tool_definition", path="format", deep=True),
    ),
    model="model",
    stream="stream",
    streams_by_default=True,
    limits=_LIMITS,
)

_CREATE_LANES = (
    Lane(name="system", path="system"),
    Lane(name="system", path="template"),
    *(Lane(name=name, path="messages[].content", when=(role,)) for name, role in _ROLES),
)
# Other servers at the same path take `input`.
_EMBEDDED = tuple(Lane(name="user", path=path) for path in ("input", "input[]", "prompt"))

_CALLS = "message.tool_calls[].function"

_CHAT_ANSWER = ResponseShape(
    lanes=(
        Lane(name="output", path="message.content"),
        Lane(name="reasoning", path="message.thinking"),
        Lane(name="tool_arguments", path=f"{_CALLS}.arguments", deep=True, complete=True),
    ),
    ends=_ENDS,
    tools=(ToolCall(name=f"{_CALLS}.name", arguments=f"{_CALLS}.arguments", deep=True),),
    model=("model",),
    usage=_USAGE,
    finish=("done_reason",),
    captured={"created": "created_at"},
    scrub=("logprobs",),
    once=("message.tool_calls", "logprobs"),
    error=_FAILED,
)

_GENERATE_ANSWER = ResponseShape(
    lanes=(Lane(name="output", path="response"), Lane(name="reasoning", path="thinking")),
    ends=_ENDS,
    model=("model",),
    usage=_USAGE,
    finish=("done_reason",),
    captured={"created": "created_at"},
    scrub=("logprobs", "context"),
    scrub_after=("logprobs", "context"),
    error=_FAILED,
)

_BLOB = "/api/blobs/[^/]+"
_NOTHING = ResponseShape(error=_FAILED)
# The old name of the member counts where the new one is empty.
_NAMED = RequestShape(model="model", model_names=("name",))


def _call(name: str, request: RequestShape, answer: ResponseShape) -> Endpoint:
    return Endpoint(
        name=name,
        operation="chat" if name == "chat" else "text_completion",
        method="POST",
        pattern=f"/api/{name}",
        request=request,
        response=answer,
        stream=answer,
        stream_type="application/x-ndjson",
        json_framing="ndjson",
    )


def _embedding(name: str, *, lanes: tuple[Lane, ...], answer: ResponseShape) -> Endpoint:
    return Endpoint(
        name=name,
        operation="embeddings",
        method="POST",
        pattern=f"/api/{name}",
        request=RequestShape(lanes=lanes, model="model"),
        response=answer,
        streams="never",
    )


def _look(name: str, *, method: str = "GET", request: RequestShape | None = None) -> Endpoint:
    return Endpoint(
        name=name,
        operation="models",
        method=method,
        pattern=f"/api/{name}",
        request=request or RequestShape(),
        response=_NOTHING,
        streams="never",
    )


def _manage(name: str, *, method: str = "POST", path: str | None = None, request: RequestShape = _NAMED) -> Endpoint:
    """Return what changes the server, with one answer."""
    return Endpoint(
        name=name,
        operation="manage",
        method=method,
        pattern=path or f"/api/{name}",
        request=request,
        response=_NOTHING,
        streams="never",
    )


def _transfer(name: str, *, others: tuple[str, ...] = (), lanes: tuple[Lane, ...] = ()) -> Endpoint:
    """Return what changes the server and tells how far it is, a line at a time."""
    return replace(
        _manage(name),
        request=replace(_NAMED, other_models=others, lanes=lanes, stream="stream", streams_by_default=True),
        stream=_NOTHING,
        streams="by_body",
        stream_type="application/x-ndjson",
        json_framing="ndjson",
    )


_ENDPOINTS = (
    _call("chat", _CHAT_REQUEST, _CHAT_ANSWER),
    _call("generate", _GENERATE_REQUEST, _GENERATE_ANSWER),
    _embedding(
        "embed",
        lanes=_EMBEDDED,
        answer=ResponseShape(model=("model",), usage={"input": ("prompt_eval_count",)}, error=_FAILED),
    ),
    _embedding("embeddings", lanes=_EMBEDDED, answer=_NOTHING),
    _look("tags"),
    _look("ps"),
    _look("version"),
    _look("show", method="POST", request=_NAMED),
    _transfer("pull"),
    _transfer("push"),
    _transfer("create", others=("from",), lanes=_CREATE_LANES),
    _manage("copy", request=RequestShape(model="source", other_models=("destination",))),
    _manage("delete", method="DELETE"),
    _manage("blobs", path=_BLOB, request=RequestShape()),
    _manage("blobs_exist", method="HEAD", path=_BLOB, request=RequestShape()),
)
ENDPOINTS = tuple(replace(endpoint, naming="ollama") for endpoint in _ENDPOINTS)
