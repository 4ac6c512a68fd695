"""The command line as a person meets it: what it prints, where, and with which exit code."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
import time

import msgspec
import pytest

from kube_gateway import __version__, _native
from kube_gateway.identity.authority import create_authority
from kube_gateway.identity.issuer import RootIssuer
from kube_gateway.model.pod import Pod


def cli(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "kube_gateway", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False, **options)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["demmo"], "error: no such verb 'demmo', did you mean demo?\nhint: kube-gateway --help\n"),
        (["xyzzy"], "error: no such verb 'xyzzy'\nhint: kube-gateway --help\n"),
        (["--nonsense"], "error: No such option '--nonsense'\nhint: kube-gateway --help\n"),
        (
            ["local", "up", "--certificate-life", "soon"],
            "error: Invalid value for '--certificate-life': 'soon' is not a length of time like 90s, 30m or 1h\n"
            "hint: kube-gateway local up --help\n",
        ),
        (
            ["local", "up", "--certificate-life", "1s"],
            "error: Invalid value for '--certificate-life': 1s is not between 5s and 30d\n"
            "hint: kube-gateway local up --help\n",
        ),
        (
            ["local", "--instance", "My-Pods", "pods"],
            "error: 'My-Pods' cannot name an instance\nhint: use 1 to 16 lower-case letters and digits\n",
        ),
        (
            ["local", "annotate", "a", "encrypt"],
            "error: 'encrypt' is neither KEY=VALUE nor KEY-\nhint: encrypt=true sets, encrypt- removes\n",
        ),
        (
            ["ca", "create", "--directory", "/tmp", "--trust-domain", "Not One"],
            "error: 'Not One' is not a trust domain\n"
            "hint: use lower-case letters, digits, dots, dashes and underscores\n",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_and_what_to_do(arguments, error):
    done = cli(*arguments)
    assert done.stderr.replace("No such option: --nonsense", "No such option '--nonsense'") == error
    assert done.stdout == ""
    assert done.returncode == (1 if arguments[0] == "ca" else 2)


def test_an_instance_that_is_not_up_says_how_to_start_it():
    done = cli("local", "--instance", "nobody", "pods")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the local mode 'nobody' is not up")
    assert done.stderr.endswith("hint: kube-gateway local --instance nobody up\n")


def test_the_gateway_by_hand_says_who_starts_it():
    done = cli("gateway")
    assert done.returncode == 1
    assert done.stderr == (
        "error: KUBE_GATEWAY_CONTROL is not set\n"
        "hint: the gateway is started by its watcher; to try it on this machine: kube-gateway local up\n"
    )


def test_a_gateway_whose_certificate_has_expired_says_so(tmp_path):
    key, request = _native.create_key_and_request()
    life, past = datetime.timedelta(hours=1), datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2)
    pod = Pod(name="web", uid="1", addresses=("10.0.0.2",))
    chain = RootIssuer(create_authority(tmp_path / "ca")).sign(request, pod=pod, life=life, now=past).chain
    told = {
        "CONTROL": "tls:10.0.0.4:18444",
        "POD": pod.key,
        "UID": "1",
        "GENERATION": "1",
        "KEY": key,
        "CERTIFICATE": chain,
        "TRUST_BUNDLE": chain,
    }
    done = cli("gateway", env=os.environ | {f"KUBE_GATEWAY_{name}": value for name, value in told.items()})
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: the certificate that the gateway was started with expired 36\d\d s ago\n"
        r"hint: a new generation gets a new one; if that has expired too, compare the clocks of node and watcher\n",
        done.stderr,
    )


def test_version_is_said_at_once():
    times = []
    for _ in range(5):
        began = time.monotonic()
        assert cli("--version").stdout == f"kube-gateway {__version__}\n"
        times.append(time.monotonic() - began)
    assert min(times) < 0.5


def test_help_lists_the_verbs_and_goes_to_stdout():
    done = cli("--help")
    assert done.returncode == 0
    for verb in ("demo", "local", "verify", "ca", "gateway"):
        assert f"  {verb} " in done.stdout


def test_an_authority_is_created_once_and_can_be_shown(tmp_path):
    made = cli("ca", "create", "--directory", str(tmp_path / "ca"), "--trust-domain", "example.org")
    assert made.returncode == 0
    assert made.stdout.splitlines()[0] == f"certificate  {tmp_path}/ca/ca.crt"
    again = cli("ca", "create", "--directory", str(tmp_path / "ca"))
    assert again.returncode == 1
    assert "exists, and replacing an authority cuts off every workload it certified" in again.stderr
    shown = cli("ca", "show", "--directory", str(tmp_path / "ca"), "--output", "json")
    facts = msgspec.json.decode(shown.stdout)
    assert facts["trust_domain"] == "example.org"
    assert facts["sha256"] in made.stdout


def test_output_to_a_reader_that_has_gone_is_no_error():
    line = f"{sys.executable} -m kube_gateway --help | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
