import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

Start = Callable[..., "Running"]


class Running:
    def __init__(self, process: subprocess.Popen[bytes], stats: Path) -> None:
        self.process = process
        self._stats = stats

    def statistics(self) -> dict:
        return json.loads(self._stats.read_text())

    def wait_for(self, condition: Callable[[dict], bool], *, seconds: float = 10) -> dict:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._stats.exists() and condition(self.statistics()):
                return self.statistics()
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s: {self._stats.exists() and self.statistics()}")


@pytest.fixture
def ports() -> tuple[str, ...]:
    with socket.create_server(("127.0.0.1", 0)) as hello, socket.create_server(("127.0.0.1", 0)) as http:
        numbers = hello.getsockname()[1], http.getsockname()[1]
    return ("--hello-port", str(numbers[0]), "--http-port", str(numbers[1]))


@pytest.fixture
def start(tmp_path: Path, ports: tuple[str, ...]) -> Iterator[Start]:
    with ExitStack() as stack:

        def run(name: str, address: str, *more: str) -> Running:
            stats = tmp_path / f"{name}.json"
            stats.unlink(missing_ok=True)
            command = [sys.executable, "-m", "kube_gateway.demo.workload", "--name", name, "--listen", address]
            quick = ["--hello-seconds", "0.05", "--request-seconds", "0.05", "--stats-seconds", "0.05"]
            process = subprocess.Popen([*command, "--stats", str(stats), *quick, *ports, *more])
            stack.callback(process.wait)
            stack.callback(process.kill)
            return Running(process, stats)

        yield run


def test_two_talk_and_see_each_others_address(start: Start) -> None:
    second = start("pod-02", "127.0.0.2")
    second.wait_for(lambda seen: seen["pid"] == second.process.pid)
    first = start("pod-01", "127.0.0.1", "--peer", "127.0.0.2")
    ours = first.wait_for(lambda seen: seen["requests_ok"] >= 3 and seen["hello_sent"] >= 3)
    theirs = second.wait_for(lambda seen: seen["hello_received"] >= 3)
    assert (ours["requests_failed"], ours["reconnects"], ours["last_error"]) == (0, 0, "")
    assert ours["seen_as"] == theirs["client_address"] == "127.0.0.1"
    assert theirs["hello_sent"] == theirs["requests_ok"] == 0, "it has no peer"


def test_a_peer_by_name_is_waited_for_without_failures(start: Start, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    arguments = ("--hosts", str(hosts), "--peer")
    first = start("pod-01", "127.0.0.1", *arguments, "pod-02")
    second = start("pod-02", "127.0.0.2", *arguments, "pod-01")
    for pod in (first, second):
        assert pod.wait_for(lambda seen: seen["time"] > 0)["requests_ok"] == 0
    hosts.write_text("127.0.0.1 pod-01\n127.0.0.2 pod-02\n")
    for pod in (first, second):
        seen = pod.wait_for(lambda seen: seen["requests_ok"] >= 2 and seen["hello_received"] >= 2)
        assert seen["requests_failed"] == 0


def test_a_lost_peer_is_counted_and_the_connection_comes_back(start: Start) -> None:
    second = start("pod-02", "127.0.0.2")
    second.wait_for(lambda seen: True)
    first = start("pod-01", "127.0.0.1", "--peer", "127.0.0.2")
    first.wait_for(lambda seen: seen["requests_ok"] >= 1)
    second.process.kill()
    seen = first.wait_for(lambda seen: seen["requests_failed"] >= 2)
    assert "refused" in seen["last_error"]
    back = start("pod-02", "127.0.0.2")
    back.wait_for(lambda seen: seen["hello_received"] >= 1)
    assert first.wait_for(lambda seen: seen["reconnects"] == 1)["pid"] == first.process.pid


def test_what_is_not_a_whole_answer_is_a_failed_request(start: Start, ports: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.2", int(ports[3]))) as server:
        first = start("pod-01", "127.0.0.1", "--peer", "127.0.0.2")
        connection, _ = server.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nHello")
        connection.close()
        assert "not a whole answer" in first.wait_for(lambda seen: seen["requests_failed"] >= 1)["last_error"]


def test_statistics_go_to_standard_output_and_sigterm_ends_it(ports: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "kube_gateway.demo.workload", "--name", "pod-01", "--listen", "127.0.0.1", *ports]
    with subprocess.Popen([*command, "--stats-seconds", "0.05"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
    assert {line["pid"] for line in lines} == {process.pid}
    assert lines[0]["time"] < lines[1]["time"]


def test_a_port_in_use_is_a_clear_error(ports: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "kube_gateway.demo.workload", "--name", "pod-01", "--listen", "127.0.0.1", *ports]
    with socket.create_server(("127.0.0.1", int(ports[1]))):
        result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
    assert result.returncode == 1
    assert result.stderr.startswith("error: cannot listen: Address already in use")
