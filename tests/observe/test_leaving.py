"""What left a pod, by a capture alone."""

from __future__ import annotations

from synthetic import CLIENT, SERVER, answer, ethernet, handshake, ipv4, ipv6, request, tcp, write

from kube_gateway.observe.leaving import leaving

RECORD = b"\x17\x03\x03\x00\x05hello"


def of(tmp_path, *frames, addresses=(CLIENT, "fd89::2")):
    path = tmp_path / "wire.pcap"
    write(path, frames)
    return leaving(path, addresses=addresses)


def test_nothing_left(tmp_path):
    assert of(tmp_path) == {"tunnel": 0, "tls": 0, "plain": 0}


def test_only_what_the_pod_sends_counts(tmp_path):
    frames = [*handshake(), request(b"hello"), answer(b"a longer answer")]
    assert of(tmp_path, *frames) == {"tunnel": 0, "tls": 0, "plain": 5}
    assert of(tmp_path, *frames, addresses=(SERVER,)) == {"tunnel": 0, "tls": 0, "plain": 15}
    assert of(tmp_path, *frames, addresses=(CLIENT, SERVER)) == {"tunnel": 0, "tls": 0, "plain": 0}


def test_what_is_sent_again_counts_again(tmp_path):
    frames = [*handshake(), request(b"hello"), request(b"hello"), request(b"lo you", sequence=1004)]
    assert of(tmp_path, *frames)["plain"] == 16


def test_tls_is_told_by_its_records_and_the_tunnel_by_its_port(tmp_path):
    frames = [
        *handshake(),
        request(RECORD),
        *handshake(client_port=40001, port=18443),
        request(RECORD * 2, client_port=40001, port=18443),
    ]
    assert of(tmp_path, *frames) == {"tunnel": 20, "tls": 10, "plain": 0}


def test_what_is_readable_on_the_tunnels_port_is_no_tunnel(tmp_path):
    frames = [*handshake(port=18443), request(b"GET / HTTP/1.1", port=18443)]
    assert of(tmp_path, *frames) == {"tunnel": 0, "tls": 0, "plain": 14}


def test_connections_of_both_families_count(tmp_path):
    six = ethernet(ipv6(tcp(b"six", sequence=1)))
    udp = ethernet(ipv4(b"\x00" * 20, protocol=17))
    assert of(tmp_path, six, udp)["plain"] == 3
