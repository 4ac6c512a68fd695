import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube_gateway.errors import CaptureError
from kube_gateway.observe.capture import Capture
from kube_gateway.observe.pcap import read_pcap
from kube_gateway.observe.proof import examine

pytestmark = pytest.mark.root

SECRET = b"2b7e151628aed2a6abf7158809cf4f3c"
BULK = 8 << 20

SERVER = """
import socket, sys
server = socket.create_server(("", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    while data := connection.recv(1 << 20):
        pass
    connection.sendall(b"done")
    connection.close()
"""

CLIENT = """
import socket, sys
address, secret, bulk = sys.argv[1], sys.stdin.buffer.readline().strip(), int(sys.argv[2])
with socket.create_connection((address, 9000)) as connection:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(secret[:10])
    connection.sendall(secret[10:])
    connection.sendall(bytes(bulk))
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(4) == b"done"
"""


@pytest.fixture
def namespaces() -> Iterator[tuple[Path, Path]]:
    """Two network namespaces with a cable, 10.77.0.1 and 10.77.0.2; the near end is called `wire`."""
    near, far = (f"kgwtest-{os.getpid()}-{end}" for end in ("near", "far"))
    batch = f"""
        netns add {near}
        netns add {far}
        link add wire netns {near} type veth peer name wire netns {far}
        -n {near} address add 10.77.0.1/24 dev wire
        -n {near} address add fd77::1/64 dev wire nodad
        -n {near} link set wire up
        -n {near} link set lo up
        -n {far} address add 10.77.0.2/24 dev wire
        -n {far} address add fd77::2/64 dev wire nodad
        -n {far} link set wire up
        -n {far} link set lo up
    """
    try:
        for line in batch.strip().splitlines():
            subprocess.run(["ip", *line.split()], check=True)
        yield Path("/run/netns", near), Path("/run/netns", far)
    finally:
        for name in (near, far):
            subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


def _inside(namespace: Path, program: str, *arguments: str) -> list[str]:
    return ["nsenter", f"--net={namespace}", sys.executable, "-c", program, *arguments]


@pytest.fixture
def server(namespaces: tuple[Path, Path]) -> Iterator[None]:
    with subprocess.Popen(_inside(namespaces[1], SERVER), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"listening\n"
        yield
        process.kill()


def _transfer(namespace: Path, address: str, bulk: int) -> None:
    subprocess.run(_inside(namespace, CLIENT, address, str(bulk)), input=SECRET + b"\n", check=True, timeout=60)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("address", ["10.77.0.2", "fd77::2"])
def test_a_real_transfer_is_captured_whole(namespaces: tuple[Path, Path], address: str, tmp_path: Path) -> None:
    near, _ = namespaces
    output = tmp_path / "x.pcap"
    with Capture.start(interface="wire", output=output, namespace=near) as capture:
        _transfer(near, address, BULK)
        summary = capture.stop()
    frames = list(read_pcap(output))
    assert summary.packets == len(frames)
    assert summary.bytes == sum(frame.length for frame in frames)
    assert max(frame.length for frame in frames) > 9000, "uncut packets are kept whole"
    assert all(abs(frame.time / 1e9 - time.time()) < 60 for frame in frames)
    evidence = examine(output, markers={"secret": SECRET, "other": b"never sent"}, dropped=summary.dropped)
    (traffic,) = [port for port in evidence.ports if port.payload_bytes]
    assert (traffic.port, traffic.traffic, traffic.payload_bytes) == (9000, "plain", BULK + len(SECRET) + 4)
    assert [(item.destination, item.server_port) for item in evidence.seen("secret")] == [(address, 9000)]
    assert evidence.seen("other") == ()


@pytest.mark.usefixtures("server")
def test_any_interface_includes_loopback(namespaces: tuple[Path, Path], tmp_path: Path) -> None:
    _, far = namespaces
    with Capture.start(interface="any", output=tmp_path / "x.pcap", namespace=far) as capture:
        _transfer(far, "127.0.0.1", 0)
        capture.stop()
    assert examine(tmp_path / "x.pcap", markers={"secret": SECRET}).seen("secret")


@pytest.mark.usefixtures("server")
def test_other_tools_open_the_file(namespaces: tuple[Path, Path], tmp_path: Path) -> None:
    near, _ = namespaces
    output = tmp_path / "x.pcap"
    with Capture.start(interface="wire", output=output, namespace=near) as capture:
        _transfer(near, "10.77.0.2", 1000)
        summary = capture.stop()
    if not shutil.which("tcpdump"):
        pytest.fail("tcpdump is needed to show that the file is a real pcap file: apt-get install tcpdump")
    printed = subprocess.run(["tcpdump", "-nr", str(output)], capture_output=True, text=True, check=True).stdout
    assert len(printed.splitlines()) == summary.packets
    assert "10.77.0.2.9000: Flags [S]" in printed


def test_frames_beyond_the_limit_are_dropped_frames(namespaces: tuple[Path, Path], tmp_path: Path) -> None:
    near, far = namespaces
    command = [sys.executable, "-m", "kube_gateway.observe.capture", "--interface", "wire", "--limit", "100"]
    process = subprocess.Popen(
        ["nsenter", f"--net={near}", *command, "--output", str(tmp_path / "x.pcap")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    knock = "import socket; [socket.socket().connect_ex(('10.77.0.1', port)) for port in (1, 2, 3)]"
    subprocess.run(_inside(far, knock), check=True)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)
    summary = json.loads(output)
    assert summary["packets"] <= 2 and summary["dropped"] >= 4
    assert process.returncode == 0


def test_a_caller_that_dies_leaves_no_capture_behind(namespaces: tuple[Path, Path], tmp_path: Path) -> None:
    near, _ = namespaces
    capture = Capture.start(interface="wire", output=tmp_path / "x.pcap", namespace=near)
    process = capture._process
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=5) == 0


def test_unknown_interface_is_a_clear_error(namespaces: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="capture of nothing0 cannot be started: No such device"):
        Capture.start(interface="nothing0", output=tmp_path / "x.pcap", namespace=namespaces[0])
