"""One request while it is decided on: what was found in it, what rules have made of it, and what is reserved for it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from kube_gateway import _native
from kube_gateway.ai.budget import Reservation, Tokens
from kube_gateway.ai.decide.numbers import numbers_in
from kube_gateway.ai.decide.request import LlmRequest
from kube_gateway.ai.decide.wanted import Places, Wanted, What
from kube_gateway.ai.dialect import Asked, Dialect, Endpoint, Reason
from kube_gateway.ai.meters.usage import CHARACTERS_PER_TOKEN
from kube_gateway.ai.policy.rules import RuleBase
from kube_gateway.ai.shape import Lane


class Refused(Exception):
    """A rule refuses the request; `rule` is None where the gateway itself does. `message` replaces the usual words."""

    def __init__(
        self, rule: RuleBase | None, reason: Reason, *, message: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason: Reason = reason
        self.message = message
        self.retry_after = retry_after


class Prompt:
    """A text of the request: as it came, and as it is to go. It is decoded when somebody reads it."""

    __slots__ = ("_changed", "_hit", "lane", "number")

    def __init__(self, number: int, lane: Lane, hit: _native.Hit) -> None:
        self.number = number
        self.lane = lane
        self._hit = hit
        self._changed: str | None = None

    @property
    def original(self) -> str:
        """As it came."""
        return self._hit.text

    @property
    def text(self) -> str:
        """As it is to go."""
        return self._hit.text if self._changed is None else self._changed

    def change(self, text: str) -> None:
        """Let `text` go in its place; what a server has signed is left alone."""
        if not self.lane.immutable:
            self._changed = text

    @property
    def changed(self) -> bool:
        """Whether another text goes in its place."""
        return self._changed is not None and self._changed != self._hit.text

    @property
    def start(self) -> int:
        """Where in the body it stands, in bytes."""
        return self._hit.start

    @property
    def size(self) -> int:
        """Bytes of the text as it stands in the body."""
        return self._hit.end - self._hit.start


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the body: its number among the document's hits, and the hit."""

    number: int
    wanted: Wanted
    hit: _native.Hit


class Exchange:
    """The state of one decision. Not shared between threads until the decision is made."""

    def __init__(self, request: LlmRequest, dialect: Dialect, endpoint: Endpoint) -> None:
        self.began = time.monotonic()
        self.started = time.time()
        self.request = request
        self.dialect = dialect
        self.endpoint = endpoint
        self.path, _, self.query = request.target.partition("?")
        self.document: _native.Document | None = None
        self.target: str | None = None
        self.requested_model = ""
        self.model = ""
        self.new_names: dict[str, str] = {}
        self.echo: str | None = None
        self.streaming = endpoint.streams == "always"
        self.wants_usage = False
        self.injected_usage = False
        self.choices = 1
        self.answers = 1
        self.limit: int | None = None
        self.most_output: int | None = None
        self.held = False
        self.cut = False
        self.prompts: list[Prompt] = []
        self.reservations: list[Reservation] = []
        self.edits: dict[str, None] = {}
        self.matches: dict[str, int] = {}
        self.shadow: dict[str, int] = {}
        self.hook_failures: dict[str, int] = {}
        self.remarks: list[str] = []
        self.denied_by: RuleBase | None = None
        self._found: dict[What, list[Found]] = {}
        self._exact: frozenset[int] | None = None

    def read(self, places: Places) -> None:
        """Look through the body. Raises `ValueError` for what is no JSON."""
        self.document = places.scan(self.request.body)
        for number, hit in enumerate(self.document.hits):
            wanted = places.wanted[hit.index]
            if wanted.lane is not None:
                self.prompts.append(Prompt(number, wanted.lane, hit))
            else:
                self._found.setdefault(wanted.what, []).append(Found(number=number, wanted=wanted, hit=hit))
        if "limit" in self._found or "limit_parent" in self._found:
            self._exact = places.exact_limits(self.request.body)

    def is_exact(self, limit: Found) -> bool:
        """Whether the names of a limit, or of the object around it, are spelt as in the shape, upper and lower case."""
        return self._exact is None or limit.hit.start in self._exact

    def found(self, what: What) -> list[Found]:
        """Return what was found of this kind, in the order of the document."""
        return self._found.get(what, [])

    def last(self, what: What) -> _native.Hit | None:
        """Return what most servers take where a member occurs twice."""
        found = self.found(what)
        return found[-1].hit if found else None

    def insert(self, parent: str, key: str, raw: bytes) -> None:
        """Add a member to the object at `parent`, which is there (empty: the whole body)."""
        if self.document is None:
            return
        try:
            self.document.insert(parent, key, raw)
        except ValueError:
            # Its name is written in another case. Servers that take it so take this one as well.
            self.document.insert("", parent, b"{" + _native.quote(key) + b":" + raw + b"}")

    @property
    def may_stream(self) -> bool:
        """Whether some server may take the request for one for a stream: not all read the same of two members."""
        return self.streaming or any(found.hit.kind == "true" for found in self.found("stream"))

    def fired(self, rule: RuleBase, count: int = 1) -> None:
        """Count that a rule has acted, or would have."""
        counts = self.matches if rule.mode == "enforce" else self.shadow
        counts[rule.name] = counts.get(rule.name, 0) + count

    def asked(self) -> Asked:
        """Return what an answer in the place of the model's needs to know."""
        return Asked(
            endpoint=self.endpoint,
            model=self.echo if self.echo is not None else self.model or self.requested_model,
            target=self.request.target,
            streaming=self.streaming,
            wants_usage=self.wants_usage,
            choices=self.choices,
        )

    @property
    def prompt_characters(self) -> int:
        """Bytes of the texts, of which tokens are estimated: characters of other scripts have more of both.

        Definitions of tools count as a whole, and a number of a token as much as a token has on average.
        """
        definitions = self.found("definition")
        texts = (one for one in self.prompts if one.lane.name != "tool_definition" or not definitions)
        numbers = sum(numbers_in(self.raw(found)) for found in self.found("numbers") if found.hit.kind == "array")
        return (
            sum(text.size for text in texts)
            + sum(found.hit.end - found.hit.start for found in definitions)
            + numbers * CHARACTERS_PER_TOKEN
        )

    def raw(self, found: Found) -> bytes:
        """Return a value as it stands in the body."""
        return self.request.body[found.hit.start : found.hit.end]

    def release(self) -> None:
        """Give back what is reserved: the call is not sent."""
        for reservation in self.reservations:
            reservation.release()

    def settle(self, used: Tokens) -> None:
        """Count what was used."""
        for reservation in self.reservations:
            reservation.settle(used)

    def header(self, name: str) -> Iterator[str]:
        """Yield the values of a header; `name` is in lower case."""
        return (value for key, value in self.request.headers if key.lower() == name)
