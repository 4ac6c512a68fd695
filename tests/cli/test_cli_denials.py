"""How denials are shown."""

from __future__ import annotations

import time

from kube_gateway.cli.denials import rows
from kube_gateway.model.flow import AccessReport, Denial


def denial(**more):
    values = {"rule": 0, "dry_run": False, "count": 3, "last": time.time() - 60}
    return Denial(peer="spiffe://d/ns/a/sa/b", address="10.0.0.9", port=80, policy="shop/p", **{**values, **more})


def test_who_was_denied_what_by_which_rule_and_when():
    access = AccessReport(rules="x", denials=(denial(), denial(rule=2, dry_run=True, count=1)))
    first, second = rows(access)
    assert first[:4] == ("spiffe://d/ns/a/sa/b", "80", "shop/p default", "3")
    assert first[4].endswith(" ago")
    assert second[2:4] == ("shop/p rule 2 (dry run, let pass)", "1")


def test_the_clock_of_a_gateway_may_be_ahead():
    assert rows(AccessReport(denials=(denial(last=time.time() + 60),)))[0][4].startswith("0")
