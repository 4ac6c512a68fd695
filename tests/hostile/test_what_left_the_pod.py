"""What the hooks count, what gateways tell of it and what they sign is what the wire shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest

from kube_gateway.identity.authority import CERTIFICATE_FILE
from kube_gateway.identity.receipts import check_receipt, read_roots
from kube_gateway.local import network
from kube_gateway.model.receipt import time_of
from kube_gateway.observe.capture import Capture
from kube_gateway.observe.leaving import leaving

pytestmark = pytest.mark.root

SINK = """
import socket, threading
def take(connection):
    with connection:
        while connection.recv(1 << 16): pass
        connection.sendall(b"done")
with socket.create_server(("", 7000)) as server:
    print("ready", flush=True)
    while True: threading.Thread(target=take, args=(server.accept()[0],), daemon=True).start()
"""
SEND = """
import socket
with socket.create_connection((ADDRESS, 7000), timeout=20) as connection:
    connection.sendall(b"readable " * (AMOUNT // 9))
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(10) == b"done"
"""
UDP = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for _ in range(COUNT): sender.sendto(bytes(100), (ADDRESS, 7001))
"""
# What is sent again counts as sent. On a busy machine acknowledgements come late, and nothing is lost: no probes for lost
# ends, and five seconds instead of 0.2 before anything is taken for lost.
PATIENT = """
set -e
echo 0 >/proc/sys/net/ipv4/tcp_early_retrans
ip route change $(ip -4 route show scope link dev eth0) dev eth0 rto_min 5s
ip -4 route show dev eth0 | grep -q rto_min
"""
READ = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
COUNTED = "What is counted of what leaves a pod is what the wire shows, to the byte"
SIGNED = (
    "A receipt says all that left the pod, also while workers die and gateways hand over; what is not known is a gap"
)


@pytest.fixture(scope="module")
def pods(module_instance):
    """`left` and `right` are enrolled, `clear` is not; each takes what is sent to it."""
    for name, settings in (
        ("left", {"encrypt": "true", "metrics_port": "9464"}),
        ("right", {"encrypt": "true"}),
        ("clear", {}),
    ):
        module_instance.run(name, sys.executable, "-c", SINK, **settings)
        module_instance.wait_log(name, "ready", container="app")
        module_instance.in_network(name, "sh", "-c", PATIENT)
    for name in ("left", "right"):
        module_instance.client.wait_settled(name, timeout=20)
    return module_instance


def send(pods, source, target, amount=90_000) -> int:
    text = SEND.replace("ADDRESS", repr(pods.address(target))).replace("AMOUNT", str(amount))
    pods.exec(source, sys.executable, "-c", text)
    return amount // 9 * 9


def sent(pods, name) -> dict[str, int]:
    """As it is told once nothing is sent any more."""
    before = None
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        report = pods.report(name)
        if report is not None and report.sent is not None:
            if before == report.sent.totals:
                return before
            before = report.sent.totals
        time.sleep(2.5)
    raise AssertionError(f"{name} goes on sending, or does not tell: {before}")


def command(pods, *arguments) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "kube_gateway", "verify", "--instance", pods.instance.name, *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def receipt(pods, name, **period):
    text = pods.client.receipt(name, **period)
    root = pods.instance.authority / CERTIFICATE_FILE
    return check_receipt(text, roots=read_roots(root.read_bytes(), name=str(root))).receipt


@pytest.mark.parametrize("target", ["right", "clear"])
def test_bytes_are_those_of_the_wire(pods, target, figures):
    before = sent(pods, "left")
    path = pods.instance.captures / f"left-{target}.pcap"
    bridge = network.namespace_path(pods.instance.namespace)
    with Capture.start(interface=pods.pod("left").interface, output=path, namespace=bridge) as capture:
        amount = sum(send(pods, "left", target) for _ in range(5))
        after = sent(pods, "left")
        assert capture.stop().dropped == 0
    captured = leaving(path, addresses=pods.record("left").pod.addresses)
    counted = {kind: after[kind] - before[kind] for kind in captured}
    assert counted == captured
    if target == "clear":
        assert (counted["plain"], counted["tunnel"]) == (amount, 0)
    else:
        assert (counted["plain"], counted["tls"]) == (0, 0)
        assert amount < counted["tunnel"] < amount * 1.1
    figures(COUNTED, sent_to=target, bytes_on_the_wire=sum(captured.values()), bytes_counted=sum(counted.values()))


def test_udp_is_counted(pods, figures):
    before = sent(pods, "left")
    text = UDP.replace("ADDRESS", repr(pods.address("clear"))).replace("COUNT", "50")
    pods.exec("left", sys.executable, "-c", text)
    after = sent(pods, "left")
    assert after["udp"] - before["udp"] == 5000
    assert after["plain"] == before["plain"]
    figures(COUNTED, udp_bytes_sent=5000, udp_bytes_counted=after["udp"] - before["udp"])


def test_who_got_how_much_in_clear_is_told(pods):
    address = pods.address("clear")

    def to_clear() -> int:
        return sum(p.bytes for p in pods.report("left").sent.peers if (p.address, p.kind) == (address, "plain"))

    sent(pods, "left")
    before = to_clear()
    amount = send(pods, "left", "clear")
    sent(pods, "left")
    assert to_clear() - before == amount


def test_a_receipt_says_what_was_sent_in_its_period(pods, figures):
    sent(pods, "left")
    began = time.time()
    amount = send(pods, "left", "clear")
    send(pods, "left", "right")
    of_now = receipt(pods, "left", since=began)
    assert of_now.sent.totals["plain"] == amount
    assert amount < of_now.sent.totals["tunnel"] < amount * 1.1
    assert of_now.gaps == ()
    assert of_now.spiffe_id == pods.pod("left").spiffe_id
    assert of_now.settings["encryption"] == "permissive"
    of_all = receipt(pods, "left")
    assert of_all.sent.totals == sent(pods, "left")
    time.sleep(1.5)
    of_later = receipt(pods, "left", since=time.time() - 0.2)
    assert sum(of_later.sent.totals.values()) == 0
    figures(SIGNED, plain_sent=amount, plain_in_the_receipt=of_now.sent.totals["plain"])


def test_the_command_line_makes_and_proves_a_receipt(pods, tmp_path):
    made = command(pods, "left", "--receipt", "--period", "10m")
    assert (made.returncode, made.stderr) == (0, "")
    path, root = tmp_path / "receipt.json", str(pods.instance.authority / CERTIFICATE_FILE)
    path.write_text(made.stdout)
    proved = command(pods, "left", "--check", str(path), "--root", root)
    assert (proved.returncode, proved.stderr) == (0, "")
    assert proved.stdout.startswith("default/left: what it says was signed by the pod, and nothing was changed\n")
    total = json.loads(made.stdout)["receipt"]["sent"]["totals"]["plain"]
    path.write_text(made.stdout.replace(f'"plain": {total}', '"plain": 0'))
    refused = command(pods, "--check", str(path), "--root", root)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: the receipt proves nothing: it was changed after it was signed")


def test_a_pod_without_a_gateway_signs_nothing(pods):
    made = command(pods, "clear", "--receipt")
    assert (made.returncode, made.stdout) == (1, "")
    assert made.stderr.startswith("error: clear has no gateway that could sign a receipt\n")


def test_what_verify_counts_is_what_it_captures(pods):
    for target, kind in (("right", "tunnel"), ("clear", "plain")):
        result = json.loads(command(pods, "left", target, "--output", "json").stdout)
        assert result["counted_right"] is True
        assert result["captured"][kind] >= 32
        assert result["counted"][kind] >= result["captured"][kind]
    told = command(pods, "left", "right").stdout
    assert re.search(r"\n  counted         tunnel [0-9.]+ k?B, tls 0 B, plain 0 B left left, as the wire shows: ", told)
    assert json.loads(command(pods, "clear", "right", "--output", "json").stdout)["counted"] is None


def test_figures_tell_what_went_out_in_clear_and_to_whom(pods):
    sent(pods, "left")
    amount = send(pods, "left", "clear")
    totals = sent(pods, "left")
    page = pods.exec("clear", sys.executable, "-c", READ, f"http://{pods.address('left')}:9464/metrics").stdout
    plain = dict(re.findall(r'kube_gateway_plaintext_bytes_total\{peer="(.*?)"\} (\d+)', page))
    assert int(plain[pods.address("clear")]) >= amount
    kinds = dict(re.findall(r'kube_gateway_sent_bytes_total\{kind="(.*?)"\} (\d+)', page))
    assert int(kinds["tunnel"]) == totals["tunnel"]
    assert 'kube_gateway_info{encryption="permissive",udp="allow"} 1' in page


def test_counting_goes_on_while_workers_die_and_gateways_hand_over(pods, figures):
    began = time.time()
    amount = send(pods, "left", "clear")
    pods.kill_gateway("left", "worker")
    pods.wait_log("left", "starting another")
    amount += send(pods, "left", "clear")
    pods.upgrade("left")
    amount += send(pods, "left", "clear")
    after = receipt(pods, "left", since=began)
    assert after.gaps == ()
    assert after.generation == 2
    assert after.sent.totals["plain"] >= amount
    assert sent(pods, "left")["plain"] >= amount
    figures(SIGNED, workers_killed=1, hand_overs=1, bytes_not_in_the_receipt=0)


def test_what_a_gateway_that_was_killed_has_counted_is_a_gap(pods, figures):
    """The programs go on counting; but nobody knows by whose word."""
    began = time.time()
    send(pods, "right", "clear")
    generation = pods.pod("right").generation
    pods.kill_gateway("right")
    deadline = time.monotonic() + 20
    while pods.pod("right").generation == generation:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pods.client.wait_settled("right", timeout=30)
    amount = send(pods, "right", "clear")
    after = receipt(pods, "right", since=began)
    (gap,) = after.gaps
    assert time_of(gap.begin) == pytest.approx(began, abs=0.01)
    assert time_of(gap.end) <= time.time()
    assert after.sent.totals["plain"] == amount
    figures(SIGNED, gateways_killed=1, gaps_told=len(after.gaps))


PLAIN_LISTENER = """
import socket
with socket.create_server(("", 18443)) as server:
    print("ready", flush=True)
    while True:
        with server.accept()[0] as connection:
            while connection.recv(1 << 16): pass
"""


def test_what_the_application_says_to_the_tunnels_port_of_a_stranger_is_no_tunnel(pods, figures):
    """The gateway relays it in clear, from its own cgroup and to that port: what a tunnel looks like to the kernel."""
    pods.run("stranger", sys.executable, "-c", PLAIN_LISTENER)
    pods.wait_log("stranger", "ready", container="app")
    before = sent(pods, "left")
    text = SEND.replace("7000", "18443").replace("ADDRESS", repr(pods.address("stranger"))).replace("AMOUNT", "9000")
    text = text.replace('assert connection.recv(10) == b"done"', "connection.recv(10)")
    pods.exec("left", sys.executable, "-c", text)
    after = sent(pods, "left")
    counted = {kind: after[kind] - before[kind] for kind in after}
    assert counted["plain"] == 9000
    # The gateway tries to make a tunnel first; that much is one.
    assert counted["tunnel"] < 3000
    figures(COUNTED, plain_to_the_tunnels_port=9000, of_these_counted_as_plain=counted["plain"])
