"""Fixtures for tests that need pods. What a test makes is removed, and the run fails if something is left."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import settings

from kube_gateway.local.cgroups import mount_point
from pods import Pods

# How long an example takes says more of the machine, which others use too, than of what is tested.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

_PREFIX = f"t{os.getpid()}x"
_numbers = itertools.count()


def _made(request, **options):
    pods = Pods(f"{_PREFIX}{next(_numbers)}")
    try:
        pods.up(**options)
        yield pods
        if request.session.testsfailed:
            for log in sorted(pods.instance.directory.rglob("*.log")):
                print(f"--- {log}\n{log.read_text(errors='replace')[-4000:]}")
    finally:
        pods.down()


@pytest.fixture
def instance(request):
    """A local mode of this test's own."""
    yield from _made(request)


@pytest.fixture(scope="module")
def module_instance(request):
    """A local mode that the tests of a file share."""
    yield from _made(request)


@pytest.fixture
def short_lived(request):
    """A local mode whose certificates live for ten seconds."""
    yield from _made(request, certificate_life=10.0)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left():
    """After all tests there is no namespace, cgroup or file of theirs."""
    yield
    left = [*Path("/run/netns").glob(f"kgw-{_PREFIX}*"), *Path("/run/kube-gateway").glob(f"{_PREFIX}*")]
    left += mount_point().glob(f"kube-gateway-{_PREFIX}*")
    assert not left, f"the tests left {left}"
