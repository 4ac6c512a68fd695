"""Where things are in chat completions of OpenAI and of those who add to them.

A message is sorted by its role. What has a role that nobody knows, or none, is taken for the user's: a rule for prompts
must not be avoided by a misspelt role. Contents of images, sounds and files are no text and in no lane. Some servers, vLLM
for one, take a plain string for a part.
"""

from __future__ import annotations

from kube_gateway.ai.dialects import _openai
from kube_gateway.ai.dialects._nested import below
from kube_gateway.ai.shape import End, Lane, LaneName, RequestShape, ResponseShape, ToolCall, When

_ROLE = "messages[].role"
_ROLES: tuple[tuple[LaneName, When], ...] = (
    ("user", When(path=_ROLE, any_of=("system", "developer", "assistant", "tool", "function"), negated=True)),
    ("system", When(path=_ROLE, any_of=("system",))),
    ("developer", When(path=_ROLE, any_of=("developer",))),
    ("assistant", When(path=_ROLE, any_of=("assistant",))),
    ("tool", When(path=_ROLE, any_of=("tool", "function"))),
)


def _messages() -> tuple[Lane, ...]:
    return tuple(
        Lane(name=name, path=path, when=(role,))
        for name, role in _ROLES
        for path in ("messages[].content", "messages[].content[]", "messages[].content[].text")
    )


def _authors() -> tuple[Lane, ...]:
    """Return the lanes of who is said to have written a message; of a tool's result it is the tool."""
    return tuple(Lane(name=name, path="messages[].name", when=(role,)) for name, role in _ROLES if name != "tool")


_HISTORY = (
    Lane(name="assistant", path="messages[].refusal"),
    Lane(name="assistant", path="messages[].content[].refusal"),
    Lane(name="assistant", path="prediction.content"),
    Lane(name="assistant", path="prediction.content[]"),
    Lane(name="assistant", path="prediction.content[].text"),
    Lane(name="reasoning", path="messages[].reasoning_content"),
    Lane(name="reasoning", path="messages[].reasoning"),
    Lane(name="reasoning", path="messages[].content[].thinking"),
    Lane(name="reasoning", path="messages[].content[].thinking[]"),
    Lane(name="reasoning", path="messages[].content[].thinking[].text"),
    Lane(name="tool_arguments", path="messages[].tool_calls[].function.arguments", escaped=True),
    Lane(name="tool_arguments", path="messages[].tool_calls[].custom.input"),
    Lane(name="tool_arguments", path="messages[].function_call.arguments", escaped=True),
)

_DEFINITIONS = (
    Lane(name="tool_definition", path="tools[].function.description"),
    Lane(name="tool_definition", path="tools[].function.parameters", deep=True),
    Lane(name="tool_definition", path="tools[].custom.description"),
    Lane(name="tool_definition", path="functions[].description"),
    Lane(name="tool_definition", path="functions[].parameters", deep=True),
    Lane(name="tool_definition", path="response_format.json_schema.description"),
    Lane(name="tool_definition", path="response_format.json_schema.schema", deep=True),
)

REQUEST = RequestShape(
    lanes=(*_messages(), *_authors(), *_HISTORY, *_DEFINITIONS),
    model="model",
    stream="stream",
    # The old name is the one to add: all servers know it, and Ollama knows no other.
    limits=("max_tokens", "max_completion_tokens"),
    tools=("tools[]", "functions[]"),
    tool_names=("tools[].function.name", "tools[].custom.name", "functions[].name"),
    tool_types=("tools[].type",),
    tool_choice=("tool_choice", "parallel_tool_calls", "function_call"),
    messages=("messages[]",),
    usage_option=("stream_options", "include_usage"),
    choices=("n",),
    best_of=("best_of",),
)

_ONCE = (
    "choices[]",
    "choices[].delta.role",
    "choices[].delta.tool_calls[]",
    "choices[].delta.audio.data",
    "usage",
)


def _answer(message: str, *, streamed: bool) -> ResponseShape:
    """Return the shape of an answer whose choices have their texts in the member `message`."""
    choice = ("choices[].index",) if streamed else ()
    call = (*choice, f"choices[].{message}.tool_calls[].index") if streamed else ()
    identity = f"choices[].{message}.tool_calls[].id" if streamed else None
    texts: tuple[tuple[LaneName, str], ...] = (
        ("output", "content"),
        ("output", "content[].text"),
        ("output", "audio.transcript"),
        ("refusal", "refusal"),
        ("reasoning", "reasoning_content"),
        ("reasoning", "reasoning"),
        ("reasoning", "reasoning_details[].text"),
        ("reasoning", "reasoning_details[].summary"),
        ("reasoning", "content[].thinking[].text"),
    )
    arguments = f"choices[].{message}.tool_calls[].function.arguments"
    custom = f"choices[].{message}.tool_calls[].custom.input"
    legacy = f"choices[].{message}.function_call.arguments"
    return ResponseShape(
        lanes=(
            *(Lane(name=name, path=f"choices[].{message}.{path}", key=choice) for name, path in texts),
            Lane(name="tool_arguments", path=arguments, key=call, begins=identity, escaped=True),
            Lane(name="tool_arguments", path=custom, key=call, begins=identity),
            Lane(name="tool_arguments", path=legacy, key=choice, escaped=True),
        ),
        ends=(End(when=(When(path="choices[].finish_reason"),), key=choice),) if streamed else (),
        tools=(
            ToolCall(name=arguments.replace("arguments", "name"), arguments=arguments, key=call, begins=identity),
            ToolCall(name=custom.replace("input", "name"), arguments=custom, key=call, begins=identity),
            ToolCall(name=legacy.replace("arguments", "name"), arguments=legacy, key=choice),
        ),
        model=("model",),
        usage=_openai.USAGE,
        usage_event=_openai.USAGE_EVENT if streamed else (),
        usage_members=("usage",) if streamed else (),
        finish=("choices[].finish_reason",),
        captured={"id": "id", "created": "created"},
        scrub=("choices[].logprobs", "choices[].token_ids", "obfuscation"),
        once=_ONCE if streamed else (),
        error=_openai.FAILED,
        last="[DONE]" if streamed else None,
    )


RESPONSE = _answer("message", streamed=False)
LIST = ResponseShape(lanes=below("data[]", RESPONSE.lanes), error=_openai.FAILED)
STREAM = _answer("delta", streamed=True)
