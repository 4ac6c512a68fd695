"""In a pod without a global IPv6 address a plain connect() fails; a redirected one would find [::1] and succeed, and happy
eyeballs would choose it. So IPv6 is captured only where the pod has an address."""

from __future__ import annotations

import sys

import pytest

from kube_gateway.local import cgroups

pytestmark = pytest.mark.root

# Does what a gateway does for its pod, with the addresses it is given, and then connects as the application.
SCRIPT = """
import errno, os, socket, sys
from kube_gateway import _native
cgroup, addresses = sys.argv[1], sys.argv[2:]
hooks = _native.Hooks()
hooks.configure(gateway_cgroups=[1], capture=True, strict=False, addresses=addresses, rules=[("::", 0, True)],
                excluded_ports=[], stale_after=5.0)
core = _native.Core(addresses=addresses, maps={k: os.dup(v) for k, v in hooks.shared_maps().items()}, threads=1)
listener = socket.create_server(("::1", 18000), family=socket.AF_INET6)
hooks.mark_listener(listener.fileno())
hooks.attach(cgroup)
s = socket.socket(socket.AF_INET6)
try:
    s.connect(("2001:db8::1", 80)); print("connected")
except OSError as error:
    print(errno.errorcode[error.errno])
assert _native.remove_hooks(cgroup) == 10
"""


@pytest.mark.parametrize(
    ("addresses", "outcome"), [(["10.89.0.2"], "ENETUNREACH"), (["10.89.0.2", "2001:db8::2"], "connected")]
)
def test_ipv6_is_captured_only_where_the_pod_has_it(instance, addresses, outcome):
    instance.run("lonely", "sleep", "3600")
    instance.exec("lonely", "ip", "-6", "addr", "flush", "dev", "eth0")
    instance.exec("lonely", "ip", "-6", "route", "flush", "default")
    cgroup = str(cgroups.pod_cgroup(instance.instance, "lonely"))
    assert instance.exec("lonely", sys.executable, "-c", SCRIPT, cgroup, *addresses).stdout == f"{outcome}\n"
