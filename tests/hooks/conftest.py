"""Pods under hooks, without gateways."""

from __future__ import annotations

import pytest

from hooks.hooked import Hooked


@pytest.fixture(scope="module")
def two(module_instance):
    """Two pods without gateways."""
    module_instance.run("inside", "sleep", "3600")
    module_instance.run("outside", "sleep", "3600")
    return module_instance


@pytest.fixture
def hooked(two):
    """The pod `inside` with hooks on it that leave everything as it is."""
    pod = Hooked(two, "inside")
    try:
        pod.configure()
        pod("attach", cgroup=pod.cgroup)
        yield pod
    finally:
        pod.end()
