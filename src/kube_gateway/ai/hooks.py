"""Hooks: rules in Python, of somebody else's package.

A package offers a hook as an entry point in the group `kube_gateway.ai`: a class, or a function, that is called with the
rule's `options` as keywords and returns an object with some of the methods of `HookMethods`. It is made once for each
version of a policy, and called from several threads at once.

A hook runs in a thread of its own kind, and nobody waits longer than the rule's `timeout` for it. A thread cannot be ended
from outside, so one that hangs keeps its place: when all are taken, calls fail at once, as `onFailure` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeGuard, TypeVar

import msgspec

from kube_gateway.ai.hook_threads import HookFailed, HookThreads
from kube_gateway.ai.policy.quantities import seconds_of
from kube_gateway.ai.policy.rules import HookRule
from kube_gateway.ai.shape import LaneName
from kube_gateway.policy_text import PolicyError

GROUP = "kube_gateway.ai"
_T = TypeVar("_T")
_THREADS = HookThreads(8)


class HookText(msgspec.Struct, frozen=True, kw_only=True):
    """A text of a request."""

    lane: LaneName
    text: str


class HookRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as far as it is understood, after the rules before the hook."""

    dialect: str
    endpoint: str
    operation: str
    model: str
    streaming: bool
    texts: tuple[HookText, ...]


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """The request is refused. `message` is for the client; without one, it is as the policy has it."""

    message: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Texts of the request by index in `HookRequest.texts`, and what they become."""

    texts: Mapping[int, str]


class HookMethods(Protocol):
    """What a hook may have. Each method may be missing."""

    def on_request(self, request: HookRequest) -> Block | Change | None:
        """Judge a request before it is sent; None leaves it alone."""
        ...

    def on_response_text(self, lane: str, key: str, text: str, last: bool) -> str:
        """Return what takes the place of a piece of the answer. `key` tells texts apart; `last`: no more of it comes."""
        ...

    def on_end(self, call: Any) -> None:  # noqa: ANN401 - kube_gateway.ai.meters.call.Call, which is above
        """See the call when it has ended."""
        ...


class Hook:
    """A hook of one rule, made and ready."""

    def __init__(self, rule: HookRule, methods: Any) -> None:  # noqa: ANN401 - somebody else's object
        self.rule = rule
        self._timeout = seconds_of(rule.timeout)
        self._request = getattr(methods, "on_request", None)
        self._text = getattr(methods, "on_response_text", None)
        self._end = getattr(methods, "on_end", None)

    @property
    def sees_requests(self) -> bool:
        """Whether it judges requests."""
        return self._request is not None

    @property
    def sees_answers(self) -> bool:
        """Whether it sees the text of answers."""
        return self._text is not None

    def on_request(self, request: HookRequest) -> Block | Change | None:
        """Ask the hook about a request. Raises `HookFailed`."""
        if self._request is None:
            return None
        found = self._call(self._request, request)
        try:
            return _checked(found, texts=len(request.texts))
        except Exception:  # what somebody else has put into it may raise whatever it wants
            said = f"it returned a {type(found).__name__} that is neither a Block nor a Change of its texts"
            raise HookFailed(said) from None

    def on_response_text(self, lane: str, key: str, text: str, *, last: bool) -> str:
        """Ask the hook for what takes the place of `text`. Raises `HookFailed`."""
        if self._text is None:
            return text
        found: object = self._call(self._text, lane, key, text, last)
        if not _is_text(found):
            raise HookFailed(f"it returned a {type(found).__name__} in the place of a text")
        return found

    def on_end(self, call: object) -> None:
        """Tell the hook that a call has ended, without waiting for it."""
        if self._end is not None:
            _THREADS.start(self._end, call)

    def _call(self, function: Callable[..., _T], *arguments: object) -> _T:
        return _THREADS.run(function, *arguments, timeout=self._timeout)


def _checked(found: object, *, texts: int) -> Block | Change | None:
    """Return what a hook has said of a request with so many texts. Raises whatever there is to raise if it is wrong."""
    if found is None or (isinstance(found, Block) and (not found.message or _is_text(found.message))):
        return found
    if isinstance(found, Change):
        changed = dict(found.texts)
        if all(isinstance(index, int) and 0 <= index < texts and _is_text(text) for index, text in changed.items()):
            return Change(texts=changed)
    raise TypeError(type(found).__name__)


def _is_text(value: object) -> TypeGuard[str]:
    """Whether it is text that has a form in UTF-8; halves of characters have none."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def load_hook(rule: HookRule, *, at: str) -> Hook:
    """Make the hook of a rule. Raises `PolicyError` that names the field below `at`."""
    known = {point.name: point for point in entry_points(group=GROUP)}
    point = known.get(rule.entry_point)
    if point is None:
        found = f"there are {', '.join(sorted(known))}" if known else "there are none"
        raise PolicyError(
            f"{at}.entryPoint: there is no hook {rule.entry_point!r} (entry points in the group {GROUP}: {found})",
            hint="install its package into the gateway's image",
        )
    try:
        return Hook(rule, point.load()(**rule.options))
    except Exception as error:
        raise PolicyError(
            f"{at}.entryPoint: the hook {rule.entry_point!r} cannot be made: {type(error).__name__}: {error}",
            hint="its options are the rule's `options`",
        ) from error
