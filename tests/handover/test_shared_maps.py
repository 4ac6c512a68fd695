"""Programs that are loaded over the maps of others speak through them."""

from __future__ import annotations

import os
import sys

import pytest

from kube_gateway import _native
from kube_gateway.local import cgroups

pytestmark = pytest.mark.root

CONNECT = "import socket; s = socket.socket(); s.settimeout(1); print(s.connect_ex(('10.89.0.77', 9)))"


def configure(hooks, **changes) -> None:
    settings = {"gateway_cgroups": [1], "capture": True, "strict": True, "addresses": ["10.89.0.2"]}
    rules = {"rules": [("0.0.0.0", 0, True), ("::", 0, True)], "excluded_ports": [], "stale_after": 5.0}
    hooks.configure(**settings | rules | changes)


def test_what_one_notes_the_other_finds(instance):
    instance.run("one", "sleep", "60")
    cgroup = str(cgroups.pod_cgroup(instance.instance, "one"))
    older = _native.Hooks()
    newer = _native.Hooks(maps=older.maps())
    newer.attach(cgroup)
    try:
        # Told to the one, obeyed by the programs of the other: strict, and nobody home.
        configure(older)
        assert instance.exec("one", sys.executable, "-c", CONNECT).stdout == "111\n"
        assert older.counters()["hook_refused_no_gateway"] == 1
        configure(newer, excluded_ports=[9])
        instance.exec("one", sys.executable, "-c", CONNECT)
        assert older.counters() == newer.counters()
        assert older.counters()["hook_excluded"] == 1
    finally:
        assert _native.remove_hooks(cgroup) == 10


def test_they_outlive_the_gateway_that_made_them(instance):
    instance.run("one", "sleep", "60")
    cgroup = str(cgroups.pod_cgroup(instance.instance, "one"))
    older = _native.Hooks()
    configure(older)
    newer = _native.Hooks(maps=older.maps())
    del older
    newer.attach(cgroup)
    try:
        assert instance.exec("one", sys.executable, "-c", CONNECT).stdout == "111\n"
        assert newer.counters()["hook_refused_no_gateway"] == 1
    finally:
        _native.remove_hooks(cgroup)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda maps: {"kgw_nothing": maps["kgw_config"]}, "no map kgw_nothing"),
        (lambda maps: {"kgw_config": maps["kgw_ports"]}, "kgw_config that was handed over is of another shape"),
        (lambda maps: {"kgw_config": os.open("/dev/null", os.O_RDONLY)}, "cannot look at the map kgw_config"),
        (lambda maps: {"kgw_config": -1}, "not a descriptor"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    older = _native.Hooks()
    with pytest.raises(_native.NativeError, match=message):
        _native.Hooks(maps=given(older.maps()))
    configure(older)
