"""What a test asks a client to do, and what the client made of it."""

from __future__ import annotations

from typing import Literal

import msgspec

TOOL = "look_up"
TOOL_SCHEMA = {
    "type": "object",
    "properties": {"place": {"type": "string"}, "reason": {"type": "string"}},
    "required": ["place"],
}
# One grey pixel.
IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A call of an LLM API.

    `url` is the server's, without the API's own path. `leave_after`: the client goes away after that many pieces of text
    of a stream. `at_once`: so many such calls in parallel. `choices`: so many answers to one call.
    """

    url: str
    key: str = "none"
    operation: Literal["chat", "embed", "models"] = "chat"
    model: str = "tiny:1b"
    user: str = "What are you?"
    system: str | None = None
    limit: int | None = None
    stream: bool = False
    asynchronous: bool = False
    tools: bool = False
    image: bool = False
    choices: int = 1
    at_once: int = 1
    leave_after: int | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The exception that the library raised: its class and those above, the status it knows, and its text."""

    classes: tuple[str, ...]
    status: int | None
    text: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the library gave to its caller. `texts` are the choices, `pieces` those of a stream's first choice in order.

    `calls` are names and arguments (as JSON). `first`, `seconds`: until the first text and until the end.
    """

    texts: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()
    thoughts: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    model: str | None = None
    finish: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    vectors: int = 0
    models: tuple[str, ...] = ()
    first: float = 0
    seconds: float = 0
    failure: Failure | None = None

    @property
    def text(self) -> str:
        """The first choice; an error if the library raised one."""
        assert self.failure is None, self.failure
        return self.texts[0]
