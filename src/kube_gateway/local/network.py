"""The network of the local mode: a bridge in a namespace of its own, and a namespace for each pod.

The same commands a person would type, through iproute2, and nothing in the host's own network. Addresses are the same in
every instance: they never meet.
"""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path

from kube_gateway.errors import LocalModeError
from kube_gateway.local.instance import Instance

FIRST_NUMBER = 2
LAST_NUMBER = 250
SUBNETS = (ipaddress.ip_network("10.89.0.0/24"), ipaddress.ip_network("fd89::/64"))
_NAMESPACES = Path("/run/netns")


def addresses_of(number: int) -> tuple[str, str]:
    """IPv4 and IPv6 address of pod number `number`."""
    return f"10.89.0.{number}", f"fd89::{number:x}"


def interface_of(number: int) -> str:
    """The bridge's port of pod number `number`, in the bridge's namespace."""
    return f"p{number}"


def namespace_path(namespace: str) -> Path:
    """What nsenter --net takes."""
    return _NAMESPACES / namespace


def make_bridge(instance: Instance) -> None:
    """Make the bridge in its namespace, unless it is there. Raises `LocalModeError`."""
    namespace = instance.namespace
    if namespace_path(namespace).exists():
        return
    _ip("netns", "add", namespace)
    try:
        _ip_batch(
            namespace,
            "link set lo up",
            "link add pods type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            "addr add 10.89.0.1/24 dev pods",
            "addr add fd89::1/64 dev pods nodad",
            "link set pods up",
        )
    except LocalModeError:
        _ip("netns", "delete", namespace)
        raise


def make_pod_network(instance: Instance, pod: str, number: int) -> None:
    """Make a pod's namespace with `eth0` on the bridge. Raises `LocalModeError`, and leaves nothing then."""
    namespace, interface = instance.pod_namespace(pod), interface_of(number)
    ipv4, ipv6 = addresses_of(number)
    _ip("netns", "add", namespace)
    try:
        _ip_batch(
            instance.namespace,
            f"link add {interface} type veth peer name eth0 netns {namespace}",
            f"link set {interface} master pods up",
        )
        _ip_batch(
            namespace,
            "link set lo up",
            f"addr add {ipv4}/24 dev eth0",
            f"addr add {ipv6}/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 10.89.0.1",
            "route add ::/0 via fd89::1 dev eth0",
        )
    except LocalModeError:
        _ip("netns", "delete", namespace)
        raise


def delete_pod_network(instance: Instance, pod: str) -> None:
    """Delete a pod's namespace, and its port on the bridge with it."""
    if namespace_path(instance.pod_namespace(pod)).exists():
        _ip("netns", "delete", instance.pod_namespace(pod))


def delete_networks(instance: Instance) -> None:
    """Delete all namespaces of the instance."""
    for path in sorted(_NAMESPACES.glob(f"{instance.namespace}*"), reverse=True):
        if path.name == instance.namespace or path.name.startswith(f"{instance.namespace}-"):
            _ip("netns", "delete", path.name)


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments], None)


def _ip_batch(namespace: str, *commands: str) -> None:
    _run(["ip", "-n", namespace, "-batch", "-"], "\n".join(commands) + "\n")


def _run(command: list[str], text: str | None) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalModeError(f"{' '.join(command)} failed: {' '.join(done.stderr.split())}")
