"""What is read of a request, whether the native core shows it or it was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class LlmRequest(Protocol):
    """A request as `_native.LlmRequest` shows it. `endpoint` is the index in `Engine.endpoints`; `body` is decoded."""

    @property
    def endpoint(self) -> int: ...  # noqa: D102
    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def target(self) -> str: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, str]]: ...  # noqa: D102
    @property
    def body(self) -> bytes: ...  # noqa: D102
    @property
    def encoded(self) -> bool: ...  # noqa: D102
    @property
    def destination(self) -> str: ...  # noqa: D102
    @property
    def connection(self) -> int: ...  # noqa: D102


class RecordedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was recorded, or made up."""

    endpoint: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    encoded: bool = False
    destination: str = ""
    connection: int = 0
