"""What tests of a hand-over between two gateways share."""

from __future__ import annotations

import os

import pytest

from kube_gateway.gateway.handover import offering, taking
from kube_gateway.identity.authority import create_authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return create_authority(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture
def names_of_this_test(monkeypatch):
    """Other gateways of this machine are no part of it, and nobody waits as long as a gateway would."""
    prefix = b"kgw-test-%d-" % os.getpid()
    for module in (offering, taking):
        monkeypatch.setattr(module, "PREFIX", prefix)
        monkeypatch.setattr(module, "INTRODUCED_WITHIN", 1.0)
    monkeypatch.setattr(taking, "_SEARCH_WITHIN", 2.5)
    monkeypatch.setattr(taking, "_REFUSED_AGAIN", 0.2)
    return prefix
