"""Hooks on a request: each sees it as the rules and hooks before have left it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kube_gateway.ai.decide.exchange import Exchange, Refused
from kube_gateway.ai.hook_threads import HookFailed
from kube_gateway.ai.hooks import Block, Change, Hook, HookRequest, HookText
from kube_gateway.ai.policy.selection import Selection

Transform = Callable[[str, str, str, bool], str | None]

_log = logging.getLogger("ai")


def decide_hooks(exchange: Exchange, selection: Selection) -> None:
    """Ask the hooks. Raises `Refused` where one blocks, or fails and is not to be done without."""
    for hook in selection.hooks:
        if not hook.sees_requests:
            continue
        found = _asked(exchange, hook)
        if found is None:
            continue
        exchange.fired(hook.rule)
        if hook.rule.mode == "shadow":
            continue
        if isinstance(found, Block):
            raise Refused(hook.rule, "blocked", message=found.message or None)
        for index, text in found.texts.items():
            exchange.prompts[index].change(text)
        exchange.remarks.append(f"{len(found.texts)} changed in the prompt (rule {hook.rule.name})")


def _asked(exchange: Exchange, hook: Hook) -> Block | Change | None:
    texts = tuple(HookText(lane=prompt.lane.name, text=prompt.text) for prompt in exchange.prompts)
    request = HookRequest(
        dialect=exchange.dialect.name,
        endpoint=exchange.endpoint.name,
        operation=exchange.endpoint.operation,
        model=exchange.model,
        streaming=exchange.streaming,
        texts=texts,
    )
    try:
        return hook.on_request(request)
    except HookFailed as error:
        failed(exchange, hook, error)
        if hook.rule.on_failure == "allow" or hook.rule.mode == "shadow":
            return None
        raise Refused(hook.rule, "policy_failed") from None


def failed(exchange: Exchange, hook: Hook, error: HookFailed) -> None:
    """Count and tell that a hook failed."""
    name = hook.rule.name
    exchange.hook_failures[name] = exchange.hook_failures.get(name, 0) + 1
    _log.warning("connection %d: hook of rule %s failed: %s", exchange.request.connection, name, error)


def transformation(exchange: Exchange, hooks: tuple[Hook, ...]) -> Transform | None:
    """Return what the filter calls with each piece of the answer, None without hooks for it.

    When it returns None, the answer is ended.
    """
    if not hooks:
        return None

    def transform(lane: str, key: str, text: str, last: bool) -> str | None:
        for hook in hooks:
            try:
                changed = hook.on_response_text(lane, key, text, last=last)
            except HookFailed as error:
                failed(exchange, hook, error)
                if hook.rule.on_failure == "block" and hook.rule.mode == "enforce":
                    exchange.denied_by = hook.rule
                    return None
                continue
            if changed != text:
                exchange.fired(hook.rule)
            if hook.rule.mode == "enforce":
                text = changed
        return text

    return transform
