"""The audit log: what is in a line, and what is not."""

from __future__ import annotations

import json
import os
import threading

import pytest

from ai.meters.calls import call
from kube_gateway.ai.meters.audit import AuditLog, without_secrets
from kube_gateway.ai.meters.call import Text
from kube_gateway.ai.meters.recorder import Recorder

SECRET = "my secret prompt"
TEXTS = (Text("user", SECRET), Text("output", "an answer"))


def line(content, key=b"k" * 32, **changes):
    return json.loads(AuditLog(file=-1, content=content, key=key).line(call(**changes)))


def test_a_line_says_who_asked_what_and_under_which_policy():
    assert line("none") == {
        "kind": "llm_call",
        "time": "2023-11-14T22:13:20.250Z",
        "duration": 0.5,
        "dialect": "openai_chat",
        "provider": "openai",
        "endpoint": "chat_completions",
        "operation": "chat",
        "method": "POST",
        "target": "/v1/chat/completions",
        "destination": "10.0.0.3:11434",
        "connection": 7,
        "requested_model": "gpt-4o",
        "model": "gemma2:2b",
        "response_model": "gemma2:2b",
        "streaming": True,
        "status": 200,
        "first_byte": 0.01,
        "first_chunk": 0.02,
        "overhead": 0.0004,
        "usage": {"input": 12, "output": 30},
        "edits": ["model"],
        "policy_revision": 2,
        "policy_hash": "0123456789ab",
    }


def test_content_is_in_it_by_choice_only():
    assert "texts" not in line("none", texts=TEXTS)
    assert line("full", texts=TEXTS)["texts"][0] == {"lane": "user", "text": SECRET}
    hashed = line("hash", texts=TEXTS)
    assert SECRET not in json.dumps(hashed)
    assert {len(text["hmac"]) for text in hashed["texts"]} == {64}


def test_equal_texts_have_equal_hashes_for_one_key_only():
    first, again = (line("hash", texts=TEXTS)["texts"] for _ in range(2))
    other = line("hash", key=b"other" * 8, texts=TEXTS)["texts"]
    assert first == again
    assert first[0]["hmac"] != other[0]["hmac"]


@pytest.mark.parametrize("content", ["full", "hash", "none"])
def test_what_is_no_text_is_no_reason_to_lose_a_line(content):
    broken = "\ud83d half"
    found = line(content, model=broken, matches={broken: 1}, texts=(Text("user", broken),), target=f"/{broken}")
    assert found["model"] == "? half"


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/v1/chat", "/v1/chat"),
        ("/m:generateContent?key=AIza&alt=sse", "/m:generateContent?key=***&alt=sse"),
        ("/m?alt=sse&API-KEY=x&flag", "/m?alt=sse&API-KEY=***&flag"),
    ],
)
def test_keys_in_a_query_are_not_logged(target, shown):
    assert without_secrets(target) == shown


def test_lines_of_many_threads_stay_whole():
    reading, writing = os.pipe()
    audit = AuditLog(file=writing, content="full", key=b"")
    ended = call(texts=(Text("user", "x" * 20_000),))
    read = []

    def collect():
        with os.fdopen(reading, "rb") as file:
            read.extend(file)

    reader = threading.Thread(target=collect)
    reader.start()
    threads = [threading.Thread(target=lambda: [audit.ended(ended) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(writing)
    reader.join()
    assert len(read) == 160
    assert all(json.loads(one)["kind"] == "llm_call" for one in read)


def test_a_log_that_cannot_be_written_keeps_nobody_from_counting(caplog):
    counted = []

    class Counter:
        def ended(self, call):
            counted.append(call)

    recorder = Recorder([AuditLog(file=-1, content="none", key=b""), Counter()])
    for _ in range(3):
        recorder.ended(call())
    assert len(counted) == 3
    assert caplog.text.count("was not recorded by AuditLog") == 1
