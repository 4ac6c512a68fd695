"""Events of a stream of OpenAI chat completions, and a filter for them."""

import json

from wire import plan

from kube_gateway._native import FilterPlan
from kube_gateway.ai.dialects import _openai_chat_shapes

CHAT = _openai_chat_shapes.STREAM
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def said(text: str, *, index: int = 0, more: str = "", finish: str = "null") -> bytes:
    delta = f'{{"index":{index},"delta":{{"content":{json.dumps(text)}}},"finish_reason":{finish}{more}}}'
    return f'data: {{"id":"c","model":"real","choices":[{delta}]}}\n\n'.encode()


def tools(*rules: dict[str, object]) -> FilterPlan:
    """A filter of these events with rules for tools."""
    return plan(CHAT, tools=json.dumps(rules).encode())
