"""Where things are in Anthropic's Messages API.

Thoughts are signed: a changed thinking block makes the next turn fail with 400, in a request as in an answer, so that they
are counted and never changed. What a filter has to say about an answer it says about texts and the inputs of tools.

Plain strings among the blocks are not Anthropic's, but servers that are built after it may take them.
"""

from __future__ import annotations

from msgspec.structs import replace

from kube_gateway.ai.dialects._nested import batch
from kube_gateway.ai.shape import End, Lane, LaneName, RequestShape, ResponseShape, ToolCall, When

_ROLE = "messages[].role"
_ROLES: tuple[tuple[LaneName, When], ...] = (
    ("user", When(path=_ROLE, any_of=("assistant", "system"), negated=True)),
    ("system", When(path=_ROLE, any_of=("system",))),
    ("assistant", When(path=_ROLE, any_of=("assistant",))),
)
_BLOCK = "messages[].content[]"

FAILED = (When(path="type", any_of=("error",)),)


def _messages() -> tuple[Lane, ...]:
    return tuple(
        Lane(name=name, path=path, when=(role,))
        for name, role in _ROLES
        for path in ("messages[].content", _BLOCK, f"{_BLOCK}.text", f"{_BLOCK}.citations[].cited_text")
    )


def _documents(name: LaneName, block: str) -> tuple[Lane, ...]:
    """Return the lanes of a document block, whose text may stand in three places. Data of another type is no text."""
    plain = When(path=f"{block}.source.type", any_of=("text",))
    return (
        Lane(name=name, path=f"{block}.source.data", when=(plain,)),
        Lane(name=name, path=f"{block}.source.content"),
        Lane(name=name, path=f"{block}.source.content[]"),
        Lane(name=name, path=f"{block}.source.content[].text"),
        Lane(name=name, path=f"{block}.title"),
        Lane(name=name, path=f"{block}.context"),
    )


REQUEST = RequestShape(
    lanes=(
        Lane(name="system", path="system"),
        Lane(name="system", path="system[]"),
        Lane(name="system", path="system[].text"),
        *_messages(),
        *_documents("user", _BLOCK),
        Lane(name="tool", path=f"{_BLOCK}.content"),
        Lane(name="tool", path=f"{_BLOCK}.content[]"),
        Lane(name="tool", path=f"{_BLOCK}.content[].text"),
        *_documents("tool", f"{_BLOCK}.content[]"),
        Lane(name="tool_arguments", path=f"{_BLOCK}.input", deep=True),
        Lane(name="reasoning", path=f"{_BLOCK}.thinking", immutable=True),
        Lane(name="tool_definition", path="tools[].description"),
        Lane(name="tool_definition", path="tools[].input_schema", deep=True),
    ),
    model="model",
    stream="stream",
    limits=("max_tokens",),
    limit_is_kept=True,
    below_limit=("thinking.budget_tokens",),
    tools=("tools[]", "mcp_servers[]"),
    tool_names=("tools[].name", "tools[].mcp_server_name", "mcp_servers[].name"),
    tool_types=("tools[].type",),
    tool_choice=("tool_choice",),
    messages=("messages[]",),
)

COUNT_REQUEST = replace(REQUEST, limits=(), below_limit=())
"""What only counts makes no answer that a limit could be for, and is refused by some servers with one."""

BATCH_REQUEST = replace(batch(("requests[].params",), REQUEST), model="requests[].params.model")


def _usage(*places: str) -> dict[str, tuple[str, ...]]:
    kinds = {
        "input": "input_tokens",
        "output": "output_tokens",
        "cached_input": "cache_read_input_tokens",
        "cache_creation_input": "cache_creation_input_tokens",
        "reasoning": "output_tokens_details.thinking_tokens",
    }
    return {kind: tuple(f"{place}.{member}" for place in places) for kind, member in kinds.items()}


RESPONSE = ResponseShape(
    lanes=(
        Lane(name="output", path="content[].text"),
        Lane(name="output", path="content[].citations[].cited_text"),
        Lane(name="reasoning", path="content[].thinking", immutable=True),
        Lane(name="tool_arguments", path="content[].input", deep=True),
        Lane(name="tool", path="content[].content.stdout"),
        Lane(name="tool", path="content[].content.stderr"),
    ),
    tools=(ToolCall(name="content[].name", arguments="content[].input", deep=True),),
    model=("model",),
    usage=_usage("usage"),
    finish=("stop_reason",),
    captured={"id": "id"},
    error=FAILED,
)

_KEY = ("index",)

STREAM = ResponseShape(
    lanes=(
        Lane(name="output", path="delta.text", key=_KEY),
        Lane(name="output", path="content_block.text", key=_KEY, complete=True),
        Lane(name="output", path="delta.citation.cited_text", key=_KEY, complete=True),
        Lane(name="reasoning", path="delta.thinking", key=_KEY, immutable=True),
        Lane(name="reasoning", path="content_block.thinking", key=_KEY, complete=True, immutable=True),
        Lane(name="tool_arguments", path="delta.partial_json", key=_KEY, escaped=True),
        Lane(name="tool_arguments", path="content_block.input", key=_KEY, deep=True, complete=True),
        Lane(name="tool", path="content_block.content.stdout", complete=True),
        Lane(name="tool", path="content_block.content.stderr", complete=True),
    ),
    ends=(
        End(when=(When(path="type", any_of=("content_block_stop",)),), key=_KEY),
        End(when=(When(path="type", any_of=("message_stop", "error")),)),
    ),
    tools=(ToolCall(name="content_block.name", arguments="delta.partial_json", key=_KEY),),
    model=("message.model",),
    usage=_usage("message.usage", "usage"),
    finish=("delta.stop_reason",),
    captured={"id": "message.id", "block": "index"},
    error=FAILED,
)
