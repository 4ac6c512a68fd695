"""The routers of the pod, as the kernel tells them."""

from __future__ import annotations

import sys

import pytest

from kube_gateway.gateway.routers import routers

IPV4 = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0101A8C0	0003	0	0	0	00000000	0	0	0
eth0	00000000	010A000A	0003	0	0	9	00000000	0	0	0
eth0	0001A8C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth1	00000000	00000000	0001	0	0	0	00000000	0	0	0
eth1	00000000	0202A8C0	0003	0	0	0	000000FF	0	0	0
"""
IPV6 = (
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "fd890000000000000000000000000001 00000400 00000002 00000000 00000003     eth0\n"
    "fd890000000000000000000000000000 40 00000000000000000000000000000000 00 "
    "00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
)


def test_only_default_routes_that_lead_to_somebody_count(tmp_path):
    (tmp_path / "route").write_text(IPV4)
    (tmp_path / "ipv6_route").write_text(IPV6)
    assert routers(tmp_path) == ("192.168.1.1", "10.0.10.1", "fd89::1")


def test_a_kernel_without_ipv6_has_no_such_file(tmp_path):
    (tmp_path / "route").write_text(IPV4.partition("\n")[0] + "\n")
    assert routers(tmp_path) == ()


@pytest.mark.root
def test_the_kernels_own_words_are_understood(instance):
    instance.run("one", "sleep", "60")
    text = "from kube_gateway.gateway.routers import routers; print(*routers())"
    assert instance.exec("one", sys.executable, "-c", text).stdout == "10.89.0.1 fd89::1\n"
