"""`kube-gateway ca`, word for word."""

from __future__ import annotations

import base64

import msgspec
import pytest

from kube_gateway.cli import ca as ca_module
from kube_gateway.cli import main
from kube_gateway.identity.authority import load_authority, new_authority, parse_authority
from watcher.api import Api


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


@pytest.fixture
def root_without_a_name(monkeypatch):
    """A cluster whose root names no trust domain; its Secret, as text."""
    api, root = Api(), new_authority("cluster.local", named=False)
    data = {
        key: base64.b64encode(value.encode()).decode()
        for key, value in {"ca-cert": root.certificate_pem, "ca-key": root.key_pem}.items()
    }
    api.put("secrets", {"metadata": {"name": "watcher", "namespace": "kube-gateway"}, "data": data})
    monkeypatch.setattr(ca_module, "connect", lambda *_: api.client())

    def secret():
        found = api.objects["secrets"]["kube-gateway/watcher"]["data"]
        return {key: base64.b64decode(value) for key, value in found.items()}

    return secret


def test_rotate_makes_a_root_that_watchers_of_any_trust_domain_take_where_the_old_one_names_none(
    ca, root_without_a_name
):
    code, out, err = ca("rotate")
    assert (code, err) == (0, "")
    assert out.startswith("step      1 of 3, introduce: both roots are trusted, the old one signs\n")
    secret = root_without_a_name()
    following = (secret["next-ca-cert"], secret["next-ca-key"])
    new = parse_authority(*following, names=("next-ca-cert", "next-ca-key"), trust_domain="shop.example")
    assert f"new root  {new.fingerprint}\n" in out


def test_rotate_refuses_a_root_that_watchers_might_not_take(ca, root_without_a_name, tmp_path):
    before = root_without_a_name()
    ca("create", "--directory", tmp_path, "--trust-domain", "shop.example")
    assert ca("rotate", "--directory", tmp_path) == (
        1,
        "",
        "error: the root in use names no trust domain, and the new one names shop.example: whether watchers would take "
        "it is not known here\n"
        "hint: use a root that names none, or leave out --directory, and such a one is made\n",
    )
    assert root_without_a_name() == before
