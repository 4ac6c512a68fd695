"""Whom a gateway believes that it is another one of its pod, and what may travel between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from gateway.handover_partners import channel, gateway, pair, with_user
from kube_gateway.errors import HandoverError, KubeGatewayError
from kube_gateway.gateway.handover import kernel, messages
from kube_gateway.gateway.handover.partner import introduce
from kube_gateway.identity.authority import create_authority

OFFER = messages.Offer(listeners=(), maps=(), cgroups=(1,), makers=())


async def meet(left, right, ends=None):
    """Both introduce themselves; what each heard, or the error that it ended with."""
    first, second = ends or pair()
    with channel(first, left, server=True) as one, channel(second, right, server=False) as two:

        async def side(end, own):
            try:
                async with asyncio.timeout(5):
                    return await introduce(end, own)
            finally:
                # The other one need not wait for somebody who has gone.
                if asyncio.current_task().cancelling() == 0:
                    end.connection.shutdown(socket.SHUT_WR)

        return await asyncio.gather(side(one, left), side(two, right), return_exceptions=True)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_two_gateways_of_a_pod_know_each_other(authority):
    heard = await meet(gateway(authority, generation=1), gateway(authority, generation=2))
    assert [said.generation for said in heard] == [2, 1]
    assert [said.cgroup for said in heard] == [102, 101]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"account": "another"}, "is spiffe://cluster.local/ns/default/sa/another, not"),
        ({"addresses": ("10.89.0.2",)}, "certificate is for 10.89.0.2"),
        ({"addresses": ("10.89.0.9", "fd89::2")}, "certificate is for"),
        ({"addresses": ("10.89.0.2", "fd89::2", "10.89.0.9")}, "certificate is for"),
    ],
)
@pytest.mark.parametrize("older", [True, False])
async def test_a_gateway_of_another_pod_is_refused(authority, other, words, older):
    own = gateway(authority, generation=1)
    stranger = gateway(authority, generation=2, **other)
    heard = await meet(own, stranger) if older else reversed(await meet(stranger, own))
    ours, _ = heard
    assert isinstance(ours, HandoverError)
    assert words in ours.message


async def test_the_pods_uid_has_to_agree_where_it_is_named(authority):
    own = gateway(authority, generation=1)
    same = with_user(gateway(authority, generation=2), authority, "uid-1")
    assert [said.generation for said in await meet(own, same)] == [2, 1]
    other = with_user(gateway(authority, generation=2), authority, "uid-2")
    ours, _ = await meet(own, other)
    assert "of another pod" in str(ours)


async def test_a_certificate_of_another_authority_is_refused(authority, tmp_path):
    stranger = gateway(create_authority(tmp_path / "other"), generation=2)
    heard = await meet(gateway(authority, generation=1), stranger)
    assert all(isinstance(error, OSError | KubeGatewayError) for error in heard)


async def test_who_sits_between_two_gateways_and_passes_everything_on_gets_nothing(authority):
    first, between_first = pair()
    between_second, second = pair()

    def pass_on(source, target):
        while packet := source.recv(300_000):
            try:
                target.send(packet)
            except OSError:
                return
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)  # unless it has gone

    passing = [
        threading.Thread(target=pass_on, args=ends)
        for ends in ((between_first, between_second), (between_second, between_first))
    ]
    for thread in passing:
        thread.start()
    heard = await meet(gateway(authority, generation=1), gateway(authority, generation=2), (first, second))
    for end in (first, second):
        end.close()
    for thread in passing:
        thread.join(10)
    between_first.close()
    between_second.close()
    assert any(isinstance(error, HandoverError) and "sits between" in error.message for error in heard)
    assert not any(isinstance(said, messages.Introduction) for said in heard)


async def test_descriptors_come_beside_the_message_that_they_are_sent_with(authority, tmp_path):
    first, second = pair()
    own, newer = gateway(authority, generation=1), gateway(authority, generation=2)
    with channel(first, own, server=True) as one, channel(second, newer, server=False) as two:
        await asyncio.gather(introduce(one, own), introduce(two, newer))
        with (tmp_path / "file").open("w+") as file:
            file.write("through")
            file.flush()
            # More than one record of TLS.
            offer = messages.Offer(listeners=("tls",), maps=(), cgroups=(1,), makers=(), enrolled=("10.0.0.1",) * 3000)
            await one.send(offer, (file.fileno(),))
        said, (taken,) = await two.receive(descriptors=4)
        assert said == offer
        assert os.pread(taken, 100, 0) == b"through"
        assert not os.get_inheritable(taken)
        os.close(taken)


@pytest.mark.parametrize("expected", [0, 2])
async def test_more_descriptors_than_expected_are_not_kept(authority, expected):
    first, second = pair()
    own, newer = gateway(authority, generation=1), gateway(authority, generation=2)
    with channel(first, own, server=True) as one, channel(second, newer, server=False) as two:
        await asyncio.gather(introduce(one, own), introduce(two, newer))
        before = descriptors()
        await one.send(OFFER, (0,) * 9)
        if expected:
            with pytest.raises(HandoverError, match="more than it may"):
                await two.receive(descriptors=expected)
        else:
            assert await two.receive() == (OFFER, [])
        assert descriptors() == before


async def test_the_kernel_tells_who_is_at_the_other_end():
    first, second = pair()
    with first, second:
        assert kernel.cookie_of_peer(first) == kernel.own_cookie(second) != kernel.own_cookie(first)
        assert kernel.cookie_of_peer(second) == kernel.own_cookie(first)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as alone:
        assert kernel.cookie_of_peer(alone) == 0


def test_only_names_that_listen_for_packets_are_found():
    prefix = b"kgw-test-%d-" % os.getpid()
    kinds = {b"packets": socket.SOCK_SEQPACKET, b"stream": socket.SOCK_STREAM, b"bound": socket.SOCK_SEQPACKET}
    sockets = {name: socket.socket(socket.AF_UNIX, kind) for name, kind in kinds.items()}
    for name, made in sockets.items():
        made.bind(b"\0" + prefix + name)
        if name != b"bound":
            made.listen(1)
    try:
        assert kernel.abstract_names(prefix) == [b"\0" + prefix + b"packets"]
        # An odd name next to it is no trouble.
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as odd:
            odd.bind(b"\0" + prefix + b"with @ and space")
            odd.listen(1)
            assert len(kernel.abstract_names(prefix)) == 2
    finally:
        for made in sockets.values():
            made.close()
