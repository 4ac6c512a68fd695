"""What the scripted upstream is told to do, and what it tells of each request."""

from __future__ import annotations

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool; `arguments` are the pieces of its JSON."""

    name: str
    arguments: tuple[str, ...]
    id: str = "call_7f3a"


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to every request until there is another script.

    `text`, `reasoning`: pieces, one an event; `endless`: the text begins anew for ever. `choices`: as many as the request
    asks for, if None. `before`, `between`: seconds before the head of the answer and between events. `dies_after`: the
    connection is reset after that many events. `status`, `error`: an error in the shape of the dialect instead.
    """

    text: tuple[str, ...] = ("Hello", " there", ".")
    reasoning: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    choices: int | None = None
    endless: bool = False
    before: float = 0
    between: float = 0
    dies_after: int | None = None
    status: int = 200
    error: str = "the script says so"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect's module needs of a request."""

    model: str
    choices: int
    usage: bool


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came, once it is over; `end` is `answered`, `died` (by script) or `client gone`, `seconds` later."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: str
    end: str
    events: int
    seconds: float

    def json(self) -> dict:
        """The body."""
        return msgspec.json.decode(self.body)

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key.lower() == name), None)
