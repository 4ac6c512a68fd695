"""Messages of whoever has broken into the other side: understood, or refused as what they are, and nothing else."""

from __future__ import annotations

import typing
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given

from hostile.inputs import corpus, lines
from hostile.length import amount
from kube_gateway.control import messages as control
from kube_gateway.control.conversation import LONGEST_LINE
from kube_gateway.gateway import worker_messages as worker
from kube_gateway.gateway.handover import messages as handover
from properties import cases

CLAIM = "Whatever comes as a message is understood or refused as no message, within a second, however it is nested"
FULL, SHORT = 5000, 300

SIDES: dict[str, tuple[Callable[[bytes], object], object]] = {
    "from a gateway": (control.decode_from_gateway, control.FromGateway),
    "from the watcher": (control.decode_from_watcher, control.FromWatcher),
    "from a worker": (worker.decode_from_worker, worker.FromWorker),
    "from another gateway": (handover.decode, handover.Message),
}


def outcome(decode: Callable[[bytes], object], line: bytes) -> str:
    """`understood`, and then it says again what it said; or `refused`. Any other exception is the test's failure."""
    try:
        message = decode(line)
    except ValueError:
        return "refused"
    assert decode(msgspec.json.encode(message)) == message
    return "understood"


@pytest.mark.parametrize("side", SIDES)
def test_hostile_messages_are_understood_or_refused(side, figures):
    decode, union = SIDES[side]
    seeds = corpus("messages")
    outcomes = [outcome(decode, line) for line in seeds.values()]

    @cases(amount(full=FULL, short=SHORT))
    @given(line=lines(typing.get_args(union)))
    def every_line(line):
        outcomes.append(outcome(decode, line))

    every_line()
    assert {"understood", "refused"} == set(outcomes), "what is tried is all of one kind"
    refused = outcomes.count("refused")
    figures(CLAIM, messages=len(outcomes), refused=refused, of_the_corpus=len(seeds))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("bracket", [b"[", b'{"a":', b'"'])
@pytest.mark.timeout(10)
def test_the_longest_line_of_brackets_costs_little(side, bracket):
    decode, _ = SIDES[side]
    assert outcome(decode, b'{"x":' + bracket * (LONGEST_LINE // len(bracket))) == "refused"
