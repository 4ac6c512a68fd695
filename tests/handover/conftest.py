"""Gateways that are not started as the local mode does it: of another version, or in containers."""

from __future__ import annotations

import os
from contextlib import contextmanager

import pytest

from kube_gateway.local import lifecycle

_OTHER_LAYOUT = """
import os
if os.environ.get("KUBE_GATEWAY_GENERATION") == "2":
    from kube_gateway import _native
    _native.hooks_layout = lambda: "of another version"
"""

# As an ephemeral container has it: process ids, mounts and cgroup tree of its own, and three capabilities.
_CONTAINER = """
import sys
if "manager" in sys.orig_argv:
    from kube_gateway.local import gateways
    capabilities = "--bounding-set=-all,+bpf,+net_admin,+dac_read_search"
    gateways.COMMAND = (
        "unshare", "--pid", "--fork", "--kill-child", "--mount", "--cgroup", "sh", "-c",
        'mount -t proc proc /proc && mount -t cgroup2 none /sys/fs/cgroup && unset KUBE_GATEWAY_CGROUP && exec "$@"',
        "gateway", "setpriv", capabilities, "--inh-caps=-all", *gateways.COMMAND,
    )
elif "gateway" in sys.orig_argv:
    # The cgroups of local pods have the names of the pods, where a kubelet's have their uids.
    from kube_gateway.gateway import cgroups
    cgroups.level_of_pod = lambda names, uid: 1
"""


@contextmanager
def _customised(instance, directory, text):
    """Run the manager, and so the gateways, with a Python that does this first."""
    (directory / "sitecustomize.py").write_text(text)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(directory), before)))
    try:
        instance.kill_manager()
        # The life of certificates stays what it was.
        lifecycle.up(instance.instance)
        for pod in instance.client.pods():
            instance.client.wait_settled(pod.name, timeout=20)
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@pytest.fixture
def other_layout(instance, tmp_path):
    """From now on the second generation of a pod's gateway stands for a version whose hooks have other maps."""
    with _customised(instance, tmp_path, _OTHER_LAYOUT):
        yield


@pytest.fixture
def containers_from_now_on(tmp_path):
    """A context in which an instance starts gateways in containers."""
    return lambda instance: _customised(instance, tmp_path, _CONTAINER)


@pytest.fixture
def containers(instance, tmp_path):
    """From now on gateways are started in containers."""
    with _customised(instance, tmp_path, _CONTAINER):
        yield instance
