"""Where things are in OpenAI's Responses API.

What the model says is in a stream up to five times: in pieces, then whole at the end of the text, of its part, of its item
and of the response. The pieces are the text; the rest are copies, in which the same is masked and nothing is counted.

There are some sixty types of events and new ones each month. A `delta` of a type that is not known is taken for output.
"""

from __future__ import annotations

from msgspec.structs import replace

from kube_gateway.ai.dialects import _openai
from kube_gateway.ai.shape import End, Lane, LaneName, RequestShape, ResponseShape, ToolCall, When

_CUSTOM = "custom_tool_call"
_THOUGHT = ("reasoning", "compaction")


def _of_type(path: str, *types: str) -> When:
    return When(path=path, any_of=types)


def _not_of_type(path: str, *types: str) -> When:
    return When(path=path, any_of=types, negated=True)


def _input_messages() -> tuple[Lane, ...]:
    role = "input[].role"
    roles: tuple[tuple[LaneName, When], ...] = (
        ("user", _not_of_type(role, "system", "developer", "assistant")),
        ("system", _of_type(role, "system")),
        ("developer", _of_type(role, "developer")),
        ("assistant", _of_type(role, "assistant")),
    )
    message = _not_of_type("input[].type", *_THOUGHT)
    # Plain strings among the parts are not OpenAI's, but servers that are built after it may take them.
    paths = ("input[].content", "input[].content[]", "input[].content[].text")
    return tuple(Lane(name=name, path=path, when=(when, message)) for name, when in roles for path in paths)


_ITEMS = (
    Lane(name="assistant", path="input[].content[].refusal"),
    Lane(name="reasoning", path="input[].summary[].text"),
    Lane(name="reasoning", path="input[].content[].text", when=(_of_type("input[].type", *_THOUGHT),)),
    Lane(name="tool_arguments", path="input[].arguments", escaped=True),
    Lane(name="tool_arguments", path="input[].input"),
    Lane(name="tool_arguments", path="input[].code"),
    Lane(name="tool_arguments", path="input[].operation.diff"),
    Lane(name="tool_arguments", path="input[].action", deep=True),
    Lane(name="tool", path="input[].output"),
    Lane(name="tool", path="input[].output[]"),
    Lane(name="tool", path="input[].output[].text"),
    Lane(name="tool", path="input[].output[].stdout"),
    Lane(name="tool", path="input[].output[].stderr"),
    Lane(name="tool", path="input[].outputs[].logs"),
    Lane(name="tool", path="input[].results[].text"),
)

REQUEST = RequestShape(
    lanes=(
        Lane(name="system", path="instructions"),
        Lane(name="user", path="input"),
        Lane(name="user", path="input[]"),
        *_input_messages(),
        *_ITEMS,
        Lane(name="user", path="prompt.variables", deep=True),
        Lane(name="tool_definition", path="tools[].description"),
        Lane(name="tool_definition", path="tools[].parameters", deep=True),
        Lane(name="tool_definition", path="text.format.description"),
        Lane(name="tool_definition", path="text.format.schema", deep=True),
    ),
    model="model",
    stream="stream",
    limits=("max_output_tokens",),
    tools=("tools[]",),
    tool_names=("tools[].name", "tools[].server_label"),
    tool_types=("tools[].type",),
    tool_choice=("tool_choice", "parallel_tool_calls"),
    messages=("input[]",),
)

OTHER_REQUEST = replace(REQUEST, limits=())
"""What counts or compacts takes no limit, and is refused by some servers with one."""


def _item_lanes(item: str, *, when: tuple[When, ...] = (), copy: bool = False) -> tuple[Lane, ...]:
    """Return the lanes of an output item, which stands at the path `item`."""
    thought = _of_type(f"{item}.type", *_THOUGHT)
    said = _not_of_type(f"{item}.type", *_THOUGHT)
    found: tuple[tuple[LaneName, str, tuple[When, ...]], ...] = (
        ("output", "content[].text", (said,)),
        ("output", "content[].transcript", ()),
        ("refusal", "content[].refusal", ()),
        ("reasoning", "content[].text", (thought,)),
        ("reasoning", "summary[].text", ()),
        ("tool_arguments", "input", ()),
        ("tool_arguments", "code", ()),
        ("tool_arguments", "operation.diff", ()),
        ("tool_arguments", "action.commands[]", ()),
        ("tool", "output", ()),
        ("tool", "output[].stdout", ()),
        ("tool", "output[].stderr", ()),
        ("tool", "outputs[].logs", ()),
    )
    plain = (
        Lane(name=name, path=f"{item}.{path}", when=(*when, *more), complete=True, copy=copy)
        for name, path, more in found
    )
    arguments = Lane(name="tool_arguments", path=f"{item}.arguments", when=when, complete=True, copy=copy, escaped=True)
    return (*plain, arguments)


def _usage(response: str) -> dict[str, tuple[str, ...]]:
    return {
        "input": (f"{response}usage.input_tokens",),
        "output": (f"{response}usage.output_tokens",),
        "cached_input": (f"{response}usage.input_tokens_details.cached_tokens",),
        "cache_creation_input": (f"{response}usage.input_tokens_details.cache_write_tokens",),
        "reasoning": (f"{response}usage.output_tokens_details.reasoning_tokens",),
    }


RESPONSE = ResponseShape(
    lanes=_item_lanes("output[]"),
    tools=(
        ToolCall(name="output[].name", arguments="output[].arguments", when=(_not_of_type("output[].type", _CUSTOM),)),
        ToolCall(name="output[].name", arguments="output[].input", when=(_of_type("output[].type", _CUSTOM),)),
    ),
    model=("model",),
    usage=_usage(""),
    finish=("status", "incomplete_details.reason"),
    captured={"id": "id", "created": "created_at"},
    scrub=("output[].content[].logprobs",),
    error=_openai.FAILED,
)

_PART = ("output_index", "content_index")
_ITEM = ("output_index",)
_COMMAND = ("output_index", "command_index")

_PIECES: tuple[tuple[LaneName, str, tuple[str, ...], bool], ...] = (
    ("output", "response.output_text.delta", _PART, False),
    ("output", "response.audio.transcript.delta", (), False),
    ("refusal", "response.refusal.delta", _PART, False),
    ("reasoning", "response.reasoning_text.delta", _PART, False),
    ("reasoning", "response.reasoning_summary_text.delta", ("output_index", "summary_index"), False),
    ("tool_arguments", "response.function_call_arguments.delta", _ITEM, True),
    ("tool_arguments", "response.mcp_call_arguments.delta", _ITEM, True),
    ("tool_arguments", "response.custom_tool_call_input.delta", _ITEM, False),
    ("tool_arguments", "response.code_interpreter_call_code.delta", _ITEM, False),
    ("tool_arguments", "response.shell_call_command.delta", _COMMAND, False),
)

_WHOLES: tuple[tuple[LaneName, str, str, bool], ...] = (
    ("output", "response.output_text.done", "text", False),
    ("refusal", "response.refusal.done", "refusal", False),
    ("reasoning", "response.reasoning_text.done", "text", False),
    ("reasoning", "response.reasoning_summary_text.done", "text", False),
    ("tool_arguments", "response.function_call_arguments.done", "arguments", True),
    ("tool_arguments", "response.mcp_call_arguments.done", "arguments", True),
    ("tool_arguments", "response.custom_tool_call_input.done", "input", False),
    ("tool_arguments", "response.code_interpreter_call_code.done", "code", False),
    ("tool_arguments", "response.shell_call_command.done", "command", False),
    ("tool", "response.shell_call_output_content.done", "output[].stdout", False),
    ("tool", "response.shell_call_output_content.done", "output[].stderr", False),
)


def _pieces() -> tuple[Lane, ...]:
    known = (kind for _, kind, _, _ in _PIECES)
    unknown = _not_of_type("type", *known, "response.audio.delta")
    shell = _of_type("type", "response.shell_call_output_content.delta")
    return (
        *(
            Lane(name=name, path="delta", when=(_of_type("type", kind),), key=key, escaped=escaped)
            for name, kind, key, escaped in _PIECES
        ),
        Lane(name="output", path="delta", when=(unknown,), key=("type", *_PART)),
        Lane(name="tool", path="delta.stdout", when=(shell,), key=_COMMAND),
        Lane(name="tool", path="delta.stderr", when=(shell,), key=_COMMAND),
    )


def _copies() -> tuple[Lane, ...]:
    thoughts = ("reasoning_text", "summary_text")
    return (
        *(
            Lane(name=name, path=path, when=(_of_type("type", kind),), complete=True, copy=True, escaped=escaped)
            for name, kind, path, escaped in _WHOLES
        ),
        Lane(name="output", path="part.text", when=(_not_of_type("part.type", *thoughts),), complete=True, copy=True),
        Lane(name="reasoning", path="part.text", when=(_of_type("part.type", *thoughts),), complete=True, copy=True),
        Lane(name="output", path="part.transcript", complete=True, copy=True),
        Lane(name="refusal", path="part.refusal", complete=True, copy=True),
        *_item_lanes("item", copy=True),
        *_item_lanes("response.output[]", copy=True),
    )


def _ends() -> tuple[End, ...]:
    closed = ("response.completed", "response.incomplete", "response.failed", "error")
    return (
        *(
            End(when=(_of_type("type", kind.replace(".delta", ".done")),), key=key)
            for _, kind, key, _ in _PIECES
            if key
        ),
        End(when=(_of_type("type", "response.output_item.done"),), key=_ITEM),
        End(when=(_of_type("type", *closed),)),
    )


_CALLS = _of_type(
    "type",
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.mcp_call_arguments.delta",
    "response.custom_tool_call_input.delta",
)

STREAM = ResponseShape(
    lanes=(*_pieces(), *_copies()),
    ends=_ends(),
    tools=(
        ToolCall(name="item.name", arguments="delta", when=(_CALLS,), key=_ITEM),
        ToolCall(
            name="item.name",
            arguments="item.arguments",
            when=(_of_type("type", "response.output_item.done"), _not_of_type("item.type", _CUSTOM)),
            key=_ITEM,
            copy=True,
        ),
        ToolCall(
            name="item.name",
            arguments="item.input",
            when=(_of_type("type", "response.output_item.done"), _of_type("item.type", _CUSTOM)),
            key=_ITEM,
            copy=True,
        ),
    ),
    model=("response.model", "model"),
    usage=_usage("response."),
    finish=("response.incomplete_details.reason",),
    captured={"id": "response.id", "created": "response.created_at"},
    sequence="sequence_number",
    scrub=(
        "logprobs",
        "obfuscation",
        "part.logprobs",
        "item.content[].logprobs",
        "response.output[].content[].logprobs",
    ),
    error=(_of_type("type", "error", "response.failed"),),
    # LiteLLM sends one, and repeats the model in all events.
    last="[DONE]",
)
