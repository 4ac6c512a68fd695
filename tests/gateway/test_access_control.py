"""What the supervisor keeps of the rules of who may reach the pod, and that it fails closed."""

from __future__ import annotations

import pytest

from kube_gateway.control import messages as control
from kube_gateway.gateway import access_control
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.access_control import AccessControl
from kube_gateway.model.authorization import (
    EVERY_PORT,
    AccessRule,
    Authorization,
    PolicyRules,
    authorization_name,
    decide_access,
    decode_authorization,
    encode_authorization,
)


def rules(port=80):
    rule = AccessRule(action="allow", anyone=False, peers=("spiffe://d/**",), ports=((port, port),))
    policy = PolicyRules(policy="shop/p", dry_run=False, default="allow", rules=(rule,))
    return encode_authorization(Authorization(policies=(policy,)))


@pytest.fixture
def told():
    return []


@pytest.fixture
def access(told):
    return AccessControl(told.append)


def in_force(told):
    """What a worker that was told this lets a peer with a certificate do."""
    text = told[-1].text if told else ""
    return decide_access(decode_authorization(text), peer="spiffe://d/ns/a/sa/b", port=80).verdict.allowed


def test_without_rules_nobody_waits_and_a_worker_is_told_nothing(access, told):
    access.expect(rules=False)
    assert access.known
    access.brief()
    assert (told, access.closed, access.offer()) == ([], (), None)


def test_rules_reach_the_worker_and_the_next_one(access, told):
    access.use(control.Authorize(text=rules()))
    access.brief()
    expected = messages.SetAuthorization(name=authorization_name(rules()), text=rules())
    assert told == [expected, expected]
    assert (access.closed, access.offer()) == ((80,), rules())


def test_while_rules_are_awaited_no_worker_starts_and_every_port_is_closed(access):
    access.expect(rules=True)
    assert not access.known
    assert access.closed == "all"


async def test_when_they_do_not_come_a_worker_starts_that_denies_everything_until_they_do(access, told, monkeypatch):
    monkeypatch.setattr(access_control, "RULES_WITHIN", 0.01)
    access.expect(rules=True)
    await access.wait()
    assert access.known
    access.brief()
    assert not in_force(told)
    access.use(control.Authorize(text=rules()))
    assert in_force(told)
    assert access.closed == (80,)


async def test_rules_that_come_in_time_are_not_given_up(access, told, caplog, monkeypatch):
    monkeypatch.setattr(access_control, "RULES_WITHIN", 0.01)
    access.expect(rules=True)
    access.use(control.Authorize(text=rules()))
    await access.wait()
    assert "have not come" not in caplog.text


@pytest.mark.parametrize("text", ["{", '{"policies": [{}]}', rules().replace("[80,80]", "[80,80000]")])
def test_rules_that_are_not_understood_leave_the_last_ones_in_force(access, told, text):
    access.use(control.Authorize(text=rules()))
    access.use(control.Authorize(text=text))
    assert [one.text for one in told] == [rules()]
    assert access.offer() == rules()


def test_rules_that_are_not_understood_do_not_end_the_waiting(access):
    access.expect(rules=True)
    access.use(control.Authorize(text="{"))
    assert not access.known
    assert access.closed == "all"


def test_what_an_older_gateway_had_counts_until_the_watcher_speaks(access, told):
    access.expect(rules=True)
    access.inherit(rules(81))
    assert access.known
    assert access.closed == (81,)
    access.use(control.Authorize(text=rules()))
    access.inherit(rules(81))
    assert access.closed == (80,)


def test_rules_that_are_taken_away_open_everything(access, told):
    access.use(control.Authorize(text=rules()))
    access.use(control.Authorize(text=""))
    assert told[-1] == messages.SetAuthorization(name="", text="")
    assert access.closed == ()


def test_a_default_that_denies_closes_every_port(access):
    denying = PolicyRules(policy="shop/p", dry_run=False, default="deny", rules=())
    access.use(control.Authorize(text=encode_authorization(Authorization(policies=(denying,)))))
    assert access.closed == "all"
    open_one = AccessRule(action="allow", anyone=True, peers=(), ports=((443, 443),))
    lifting = PolicyRules(policy="shop/q", dry_run=False, default="allow", rules=(open_one,))
    access.use(control.Authorize(text=encode_authorization(Authorization(policies=(denying, lifting)))))
    assert len(access.closed) == EVERY_PORT[0][1] - 1
    assert 443 not in access.closed
