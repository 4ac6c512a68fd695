"""Puts together what a library hands out, whole or in pieces."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ai.clients.exchange import Answer


class Left(Exception):
    """The client has seen enough of a stream."""


@dataclass
class Collected:
    """An answer that is still being put together. `piece` raises `Left` after `leave_after` pieces."""

    leave_after: int | None = None
    model: str | None = None
    finish: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    thoughts: str = ""
    _texts: dict[int, str] = field(default_factory=dict)
    _pieces: list[str] = field(default_factory=list)
    _calls: dict[object, list[str]] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _first: float = 0

    def piece(self, text: str | None, *, choice: int = 0) -> None:
        """Text of a choice; None and nothing are nothing."""
        if not text:
            return
        self._first = self._first or time.monotonic() - self._began
        self._texts[choice] = self._texts.get(choice, "") + text
        if choice == 0:
            self._pieces.append(text)
        if self.leave_after is not None and len(self._pieces) >= self.leave_after:
            raise Left

    def call(self, key: object, *, name: str | None = None, arguments: str | None = None) -> None:
        """A call of a tool, or more of one."""
        call = self._calls.setdefault(key, ["", ""])
        call[0] += name or ""
        call[1] += arguments or ""

    def tokens(self, given: int | None, made: int | None) -> None:
        """Usage, the last one told."""
        self.input_tokens = given if given is not None else self.input_tokens
        self.output_tokens = made if made is not None else self.output_tokens

    def answer(self) -> Answer:
        """What it has come to."""
        return Answer(
            texts=tuple(text for _, text in sorted(self._texts.items())) or ("",),
            pieces=tuple(self._pieces),
            thoughts=self.thoughts,
            calls=tuple((name, arguments) for name, arguments in self._calls.values()),
            model=self.model,
            finish=self.finish,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            first=self._first,
            seconds=time.monotonic() - self._began,
        )
