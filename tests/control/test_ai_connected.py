"""A gateway with AI control as its watcher knows it."""

from __future__ import annotations

import pytest

from kube_gateway.control import messages
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.observed import PolicyText
from kube_gateway.control.policies import does_not_compile, found_policy, no_policy
from kube_gateway.model.ai_report import LARGEST_POLICY, AiReport, BudgetCount
from kube_gateway.model.flow import GatewaySnapshot

POLICY = PolicyText(text="version: 1", source="its file")
BUDGETS = (BudgetCount(rule="day", window=86400, used=7),)


class Writer:
    def __init__(self):
        self.said = []

    def write(self, line):
        self.said.append(messages.decode_from_watcher(line))

    def is_closing(self):
        return False

    def close(self):
        pass


def report(**ai):
    return messages.Report(
        state="ready",
        settings_revision=1,
        certificate_expires=0.0,
        clear_connections=(),
        snapshot=GatewaySnapshot(),
        ai=AiReport(**ai) if ai else None,
    )


@pytest.fixture
def gateway():
    gateway = ConnectedGateway()
    gateway.connected(Writer())
    return gateway


def test_a_policy_is_sent_with_what_was_counted_and_again_on_another_line(gateway):
    gateway.use_policy(POLICY, budgets=BUDGETS)
    assert gateway.policy == POLICY
    first = Writer()
    gateway.connected(first)
    assert gateway.policy is None
    gateway.use_policy(POLICY, budgets=BUDGETS)
    assert first.said == [messages.UsePolicy(text="version: 1", source="its file", budgets=BUDGETS)]


def test_a_policy_that_could_not_be_sent_was_not(gateway):
    alone = ConnectedGateway()
    alone.use_policy(POLICY, budgets=())
    assert alone.policy is None


def test_it_is_looked_again_when_another_policy_is_in_force_and_not_for_figures(gateway):
    assert gateway.reported(report())
    assert gateway.reported(report(policy="a"))
    assert not gateway.reported(report(policy="a", changed=5))
    assert gateway.reported(report(policy="a", model="gemma2:2b"))
    assert gateway.reported(report(policy="a", model="gemma2:2b", refused="b", problem="?"))
    assert gateway.reported(report())


def test_what_was_counted_is_remembered_when_the_gateway_is_gone(gateway):
    gateway.reported(report(policy="a", budgets=BUDGETS))
    gateway.reported(report())
    gateway.report = None
    assert gateway.budgets == BUDGETS


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version: 1\nrules:\n- {name: x, kind: nonsense}\n", "rules[0].kind"),
        ("version: 2\n", "version"),
        ("- 1\n", "a policy is an object"),
        ("{", "line 1"),
        ("#" * (LARGEST_POLICY + 1), "it is longer than 1048576 bytes"),
    ],
)
def test_what_is_not_right_is_found_with_its_reason(text, problem):
    found = found_policy(text, source="ConfigMap x")
    assert found.policy is None
    assert found.problem.reason == "InvalidPolicy"
    assert found.problem.message.startswith("the policy in ConfigMap x is not understood: ")
    assert problem in found.problem.message


@pytest.mark.parametrize("text", ["", "version: 1", '{"request": {"maxTokens": 5}}'])
def test_what_is_right_is_found_as_it_was_written(text):
    found = found_policy(text, source="ConfigMap x")
    assert found.policy == PolicyText(text=text, source="ConfigMap x")
    assert does_not_compile(text) is None


def test_nothing_is_a_policy_that_lets_all_pass():
    assert no_policy("no file x").policy == PolicyText(text="", source="no file x")


def test_what_can_be_read_may_still_not_compile():
    text = "version: 1\nrules:\n- {name: x, kind: regex, patterns: ['('], lanes: [answer]}\n"
    assert found_policy(text, source="x").problem is None
    assert "rules[0].patterns[0]" in does_not_compile(text)
