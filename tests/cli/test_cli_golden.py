"""What the command line prints, compared in full: a person and a script both read it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

HELP = """\
Usage: kube-gateway [OPTIONS] COMMAND [ARGS]...

  Mutual TLS for pods that are already running.

Options:
  --version   Show the version and exit.
  -h, --help  Show this message and exit.

Verbs:
  demo      Two running pods, in clear and then encrypted
  install   Print the watcher's manifest, for kubectl apply -f -
  check     Whether a cluster is fit for kube-gateway, and all is well in it
  status    Pods of a cluster: which are encrypted, which are not, and why
  flush     What netflush would do to a pod's connections, one by one
  local     Pods on this machine, without a cluster
  verify    Prove that traffic between two pods is encrypted
  policy    Who may reach which pod: check and explain GatewayPolicies
  ai        Control of LLM calls: check, explain and try policies
  ca        The certificate authority
  identity  What a pod would prove: its certificate, and the roots that it
            trusts
  revoke    Have nothing more to do with a pod, whatever its certificate says
  unrevoke  Take back a pod that was revoked
  watch     Watch a cluster, and put gateways into its pods (started by
            install)
  gateway   Run the gateway of this pod (started by the watcher)
"""


def command(*arguments: str, directory: Path | None = None) -> tuple[int, str, str]:
    """Exit code, stdout, stderr, on a terminal of 80 columns."""
    done = subprocess.run(
        [sys.executable, "-m", "kube_gateway", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=directory,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(option):
    assert command(option) == (0, HELP, "")


def test_no_verb_at_all_is_a_wrong_command_that_gets_help():
    assert command() == (2, "", HELP)


def test_the_installed_command_is_the_same():
    installed = Path(sys.executable).parent / "kube-gateway"
    done = subprocess.run([installed, "-h"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, HELP)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("lokal", "error: no such verb 'lokal', did you mean local?\nhint: kube-gateway --help\n"),
        ("verfy a b", "error: no such verb 'verfy', did you mean verify?\nhint: kube-gateway --help\n"),
        ("zzz --help", "error: no such verb 'zzz'\nhint: kube-gateway --help\n"),
        (
            "ca show --output yaml",
            "error: Invalid value for '--output': 'yaml' is not one of 'text', 'json'\n"
            "hint: kube-gateway ca show --help\n",
        ),
        *(
            (
                f"local up --certificate-life {value}",
                f"error: Invalid value for '--certificate-life': {reason}\nhint: kube-gateway local up --help\n",
            )
            for value, reason in [
                ("90", "'90' is not a length of time like 90s, 30m or 1h"),
                ("1h30m", "'1h30m' is not a length of time like 90s, 30m or 1h"),
                ("-5s", "'-5s' is not a length of time like 90s, 30m or 1h"),
                ("0s", "0s is not between 5s and 30d"),
                ("4.9s", "4.9s is not between 5s and 30d"),
                ("31d", "31d is not between 5s and 30d"),
            ]
        ),
        (
            "local annotate a =true",
            "error: '=true' is neither KEY=VALUE nor KEY-\nhint: encrypt=true sets, encrypt- removes\n",
        ),
        ("local annotate a encrypt=true encrypt-", "error: kube-gateway.io/encrypt is to be set and removed at once\n"),
        (
            "local run a --annotation encrypt- -- true",
            "error: a new pod has no annotation to remove\nhint: --annotation KEY=VALUE\n",
        ),
    ],
)
def test_a_wrong_command_is_told_on_stderr_with_exit_code_2(line, error):
    assert command(*line.split()) == (2, "", error)


def test_a_missing_authority(tmp_path):
    assert command("ca", "show", "--directory", str(tmp_path)) == (
        1,
        "",
        f"error: there is no certificate authority in {tmp_path} (ca.crt is missing)\n"
        f"hint: kube-gateway ca create --directory {tmp_path}\n",
    )


def test_creating_and_showing_an_authority(tmp_path):
    code, made, error = command("ca", "create", directory=tmp_path)
    digest = re.search(r"[0-9a-f]{64}", made)
    assert digest
    assert (code, error) == (0, "")
    assert made == (
        "certificate  ca.crt\n"
        "key          ca.key (keep it secret: whoever has it can be any workload)\n"
        f"sha256       {digest[0]}\n"
    )

    code, shown, error = command("ca", "show", directory=tmp_path)
    begins, ends = re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown)
    assert (code, error) == (0, "")
    assert shown == (
        f"trust domain  cluster.local\nsha256        {digest[0]}\nnot before    {begins}\nnot after     {ends}\n"
    )

    assert command("ca", "show", "--output", "json", directory=tmp_path) == (
        0,
        f'{{\n  "trust_domain": "cluster.local",\n  "sha256": "{digest[0]}",\n'
        f'  "not_before": "{begins}",\n  "not_after": "{ends}"\n}}\n',
        "",
    )


def test_what_openssl_says_of_an_authority_is_what_is_shown(tmp_path):
    command("ca", "create", directory=tmp_path)
    line = ["openssl", "x509", "-in", "ca.crt", "-noout", "-fingerprint", "-sha256"]
    said = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    digest = said.strip().partition("=")[2].replace(":", "").lower()
    assert digest in command("ca", "show", directory=tmp_path)[1]


def test_a_second_authority_is_not_put_over_the_first(tmp_path):
    command("ca", "create", directory=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert command("ca", "create", directory=tmp_path) == (
        1,
        "",
        "error: ca.crt exists, and replacing an authority cuts off every workload it certified\n"
        "hint: choose another directory, or remove the old authority yourself\n",
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_key_open_to_others_is_told_with_the_command_that_closes_it(tmp_path):
    command("ca", "create", directory=tmp_path)
    (tmp_path / "ca.key").chmod(0o644)
    assert command("ca", "show", directory=tmp_path) == (
        1,
        "",
        "error: ca.key can be read by others (mode 644)\nhint: chmod 600 ca.key\n",
    )


def test_the_version_is_felt_as_immediate():
    times = []
    for _ in range(5):
        began = time.monotonic()
        assert command("--version")[0] == 0
        times.append(time.monotonic() - began)
    assert min(times) < 0.25


@pytest.mark.parametrize(
    "verb", ["demo", "install", "check", "status", "local", "verify", "ai", "ca", "watch", "gateway"]
)
def test_every_verb_has_help(verb):
    code, shown, error = command(verb, "--help")
    assert (code, error) == (0, "")
    assert shown.startswith(f"Usage: kube-gateway {verb} ")
