"""`kube-gateway ca`, word for word."""

from __future__ import annotations

import msgspec
import pytest

from kube_gateway.cli import main
from kube_gateway.identity.authority import load_authority


@pytest.fixture
def ca(capfd):
    """Run a `ca` command in this process: its exit code, stdout and stderr."""

    def run(*arguments):
        code = main.run(["ca", *map(str, arguments)])
        told = capfd.readouterr()
        return code, told.out, told.err

    return run


def test_create_says_where_and_what(ca, tmp_path):
    directory = tmp_path / "ca"
    code, out, err = ca("create", "--directory", directory, "--trust-domain", "example.org")
    assert (code, err) == (0, "")
    assert out == (
        f"certificate  {directory}/ca.crt\n"
        f"key          {directory}/ca.key (keep it secret: whoever has it can be any workload)\n"
        f"sha256       {load_authority(directory).fingerprint}\n"
    )


def test_create_replaces_nothing(ca, tmp_path):
    ca("create", "--directory", tmp_path)
    before = load_authority(tmp_path).fingerprint
    assert ca("create", "--directory", tmp_path) == (
        1,
        "",
        f"error: {tmp_path}/ca.crt exists, and replacing an authority cuts off every workload it certified\n"
        "hint: choose another directory, or remove the old authority yourself\n",
    )
    assert load_authority(tmp_path).fingerprint == before


def test_show_as_text(ca, tmp_path):
    ca("create", "--directory", tmp_path, "--trust-domain", "example.org")
    root = load_authority(tmp_path)
    assert ca("show", "--directory", tmp_path) == (
        0,
        "trust domain  example.org\n"
        f"sha256        {root.fingerprint}\n"
        f"not before    {root.certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}\n"
        f"not after     {root.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}\n",
        "",
    )


def test_show_as_data(ca, tmp_path):
    ca("create", "--directory", tmp_path)
    code, out, err = ca("show", "--directory", tmp_path, "--output", "json")
    assert (code, err) == (0, "")
    facts = msgspec.json.decode(out)
    assert list(facts) == ["trust_domain", "sha256", "not_before", "not_after"]
    assert facts["sha256"] == load_authority(tmp_path).fingerprint


def test_show_without_an_authority_says_how_to_make_one(ca, tmp_path):
    assert ca("show", "--directory", tmp_path) == (
        1,
        "",
        f"error: there is no certificate authority in {tmp_path} (ca.crt is missing)\n"
        f"hint: kube-gateway ca create --directory {tmp_path}\n",
    )


def test_show_refuses_a_key_that_others_can_read(ca, tmp_path):
    ca("create", "--directory", tmp_path)
    (tmp_path / "ca.key").chmod(0o644)
    assert ca("show", "--directory", tmp_path) == (
        1,
        "",
        f"error: {tmp_path}/ca.key can be read by others (mode 644)\nhint: chmod 600 {tmp_path}/ca.key\n",
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["show", "--output", "yaml"], "error: Invalid value for '--output': 'yaml' is not one of 'text', 'json'\n"),
        (["show", "extra"], "error: Got unexpected extra argument (extra)\n"),
    ],
)
def test_a_wrong_command_points_to_its_help(ca, arguments, error):
    assert ca(*arguments) == (2, "", f"{error}hint: kube-gateway ca show --help\n")
