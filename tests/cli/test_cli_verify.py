import json
import re
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def pods(module_instance):
    """clear and other: not enrolled; client and server: enrolled."""
    for name in ("clear", "other"):
        module_instance.run(name, "sleep", "1000")
    for name in ("client", "server"):
        module_instance.client.run(
            name, ["sleep", "1000"], annotations={"kube-gateway.io/encrypt": "true"}, service_account=f"{name}-account"
        )
    for name in ("client", "server"):
        module_instance.client.wait_settled(name, timeout=20)
    return module_instance


def _verify(pods, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kube_gateway", "verify", "--instance", pods.instance.name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("family", [(), ("--ipv6",)])
def test_enrolled_pods_are_encrypted(pods, family: tuple[str, ...]) -> None:
    done = _verify(pods, "client", "server", "--output", "json", *family)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert (":" in result["address"]) == bool(family)
    assert result["encrypted"] and result["arrived"] and result["answered"]
    assert not result["seen_in_clear"] and result["where"] == []
    (port,) = result["ports"]
    assert (port["port"], port["traffic"]) == (18443, "tls")
    assert port["payload_bytes"] > 96
    assert result["client_spiffe_id"].endswith("/sa/client-account")
    assert result["server_spiffe_id"].endswith("/sa/server-account")
    assert result["cipher"].startswith("TLS13_")
    assert result["not_enrolled"] == []
    assert not list(pods.instance.captures.glob("verify-*")), "the capture is removed"


def test_words_of_an_encrypted_pair(pods) -> None:
    done = _verify(pods, "client", "server")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"client -> server \(10\.89\.0\.\d+:\d+\): encrypted\n", done.stdout)
    assert "arrived         yes, and the answer came back" in done.stdout
    assert "neither the secret nor the answer" in done.stdout
    assert re.search(r"wire port 18443 \d+ bytes, TLS records", done.stdout)
    assert "spiffe://cluster.local/ns/default/sa/server-account" in done.stdout


def test_pods_in_clear_are_seen_in_both_directions(pods) -> None:
    done = _verify(pods, "clear", "other", "--output", "json")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert result["seen_in_clear"] and result["arrived"] and not result["encrypted"]
    assert [place["marker"] for place in result["where"]] == ["secret", "answer"]
    assert {place["server_port"] for place in result["where"]} == {result["port"]}
    assert result["server_spiffe_id"] == result["cipher"] == ""


def test_one_enrolled_is_still_in_clear_and_the_hint_names_the_other(pods) -> None:
    done = _verify(pods, "client", "other")
    assert done.returncode == 1
    assert "READABLE on the wire" in done.stdout
    assert done.stderr == f"hint: kube-gateway local --instance {pods.instance.name} annotate other encrypt=true\n"


def test_a_refused_connection_is_told_with_its_reason(pods) -> None:
    pods.client.run("strict", ["sleep", "1000"], annotations={"kube-gateway.io/encrypt": "strict"})
    pods.client.wait_settled("strict", timeout=20)
    done = _verify(pods, "strict", "other")
    assert done.returncode == 1
    assert "not delivered" in done.stdout
    assert re.search(r"arrived +no: Connection (refused|reset)", done.stdout)
    assert "annotate other encrypt=true" in done.stderr


def test_unknown_pod(pods) -> None:
    done = _verify(pods, "client", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: there is no pod 'nobody'\nhint: pods of this instance: clear, other")


def test_a_pod_with_itself(pods) -> None:
    done = _verify(pods, "client", "client")
    assert done.returncode == 2
    assert "never crosses the wire\nhint: name two pods" in done.stderr


def test_a_pod_that_has_ended(pods) -> None:
    pods.client.run("short", ["sleep", "2"])
    deadline = time.monotonic() + 20
    while not pods.pod("short").state.startswith("ended"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done = _verify(pods, "client", "short")
    assert done.returncode == 1
    assert "error: pod short is not running: ended (exit 0)" in done.stderr


def test_an_instance_that_is_not_up() -> None:
    command = [sys.executable, "-m", "kube_gateway", "verify", "--instance", "notthere", "a", "b"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "is not up" in done.stderr and "hint: kube-gateway local --instance notthere up" in done.stderr
