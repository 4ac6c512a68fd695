"""Calls that have ended, for tests of what counts them."""

from __future__ import annotations

import msgspec

from kube_gateway.ai.meters.call import Call, Usage

CALL = Call(
    started=1_700_000_000.25,
    duration=0.5,
    dialect="openai_chat",
    provider="openai",
    endpoint="chat_completions",
    operation="chat",
    method="POST",
    target="/v1/chat/completions",
    destination="10.0.0.3:11434",
    connection=7,
    requested_model="gpt-4o",
    model="gemma2:2b",
    response_model="gemma2:2b",
    streaming=True,
    status=200,
    first_byte=0.01,
    first_chunk=0.02,
    overhead=0.0004,
    usage=Usage(input=12, output=30),
    edits=("model",),
    policy_revision=2,
    policy_hash="0123456789ab",
)


def call(**changes):
    return msgspec.structs.replace(CALL, **changes)
