"""The longest that gateways and watchers say to each other about LLM calls."""

from __future__ import annotations

import msgspec
import pytest

from kube_gateway.control import messages
from kube_gateway.control.conversation import LONGEST_LINE
from kube_gateway.gateway import worker_messages
from kube_gateway.gateway.watcher_connection import _LONGEST_LINE
from kube_gateway.model.ai_report import (
    LARGEST_BUDGETS,
    LARGEST_POLICY,
    MOST_MODELS,
    MOST_RULES,
    AiReport,
    BudgetCount,
    BudgetPart,
    ModelCounts,
    policy_name,
)
from kube_gateway.model.flow import ClearConnection, GatewaySnapshot, PeerReport
from kube_gateway.model.sent import KINDS, MOST_PEERS, SentReport, SentTo

NAME = "\U0001f600" * 128
MANY = 10**15
BUDGET = BudgetCount(
    rule="r" * 63,
    model=NAME,
    kind="budget",
    window=MANY,
    tokens=MANY,
    requests=MANY,
    used=MANY,
    reserved=MANY,
    made=MANY,
    parts=(BudgetPart(start=1234567890.123456, tokens=MANY, requests=MANY),) * 12,
)
REPORT = AiReport(
    policy="0" * 12,
    revision=MANY,
    source="ConfigMap " + "n" * 253,
    model=NAME * 2,
    refused="1" * 12,
    problem="p" * 4000,
    models=(ModelCounts(model=NAME, calls=MANY, blocked=MANY, failed=MANY, input=MANY, output=MANY, estimated=MANY),)
    * (MOST_MODELS + 1),
    hits={f"{number:063d}": MANY for number in range(MOST_RULES)},
    shadow_hits={f"{number:063d}": MANY for number in range(MOST_RULES)},
    budgets=(BUDGET,) * (LARGEST_BUDGETS // len(msgspec.json.encode(BUDGET))),
)


@pytest.mark.parametrize("character", ["x", '"', "\\", "\n", "ü"])
def test_the_longest_policy_is_no_line_without_end(character):
    text = character * (LARGEST_POLICY // len(character.encode()))
    message = messages.UsePolicy(text=text, source="ConfigMap " + "n" * 253, budgets=REPORT.budgets)
    assert len(messages.encode(message)) < _LONGEST_LINE
    assert messages.decode_from_watcher(messages.encode(message)) == message


def test_the_longest_report_fits_into_a_packet_between_worker_and_supervisor():
    # A socket's buffer takes 208 KiB (net.core.wmem_default).
    assert len(worker_messages.encode(worker_messages.CallState(ai=REPORT))) < 200 * 1024
    told = worker_messages.UsePolicy(
        name="0" * 12,
        source="s" * 300,
        revision=1,
        model=NAME * 2,
        pod="p" * 320,
        hash_key=b"k" * 32,
        budgets=REPORT.budgets,
    )
    assert len(worker_messages.encode(told)) < 200 * 1024


def test_the_longest_report_is_no_line_without_end():
    peer = PeerReport(
        address="fd00:1234:5678:9abc:def0:1234:5678:9abc",
        state="enrolled",
        spiffe_id="spiffe://" + "d" * 200 + "/ns/" + "n" * 63 + "/sa/" + "s" * 253,
        cipher="TLS_AES_256_GCM_SHA384",
        key_exchange="X25519MLKEM768",
        certificate_expires=1e10,
        tunnelled=2**63,
        clear=2**63,
        refused=2**63,
    )
    connection = ClearConnection(
        cookie=2**63,
        local_address=peer.address,
        local_port=65535,
        remote_address=peer.address,
        remote_port=65535,
        relayed=False,
        idle=123456.1234567,
        older=True,
        age=123456.123,
        half_closed=True,
        sent=2**50,
        received=2**50,
        uid=2**32 - 1,
        container="c" * 64,
        process="p" * 15,
        pid=2**22,
        process_age=123456.123,
    )
    sent = SentTo(address=peer.address, kind="tunnel", bytes=2**60, packets=2**50)
    longest = messages.Report(
        state="ready",
        settings_revision=1,
        certificate_expires=1e10,
        clear_connections=(connection,) * 1000,
        snapshot=GatewaySnapshot(peers=(peer,) * 400),
        ai=REPORT,
        sent=SentReport(since=1e10, totals=dict.fromkeys(KINDS, 2**60), peers=(sent,) * MOST_PEERS),
    )
    assert len(messages.encode(longest)) < LONGEST_LINE


def test_what_is_not_used_is_not_sent():
    report = messages.Report(
        state="ready", settings_revision=1, certificate_expires=0.0, clear_connections=(), snapshot=GatewaySnapshot()
    )
    assert b"ai" not in messages.encode(report)
    assert msgspec.json.encode(AiReport()) == b"{}"


def test_a_policy_has_one_name_everywhere():
    assert policy_name("") == "e3b0c44298fc"
    assert policy_name("version: 1") != policy_name("version: 1\n")
