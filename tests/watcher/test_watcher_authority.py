"""The authority as a mounted Secret: it may come later than the watcher."""

from __future__ import annotations

import subprocess

import pytest

from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import create_authority
from kube_gateway.watcher.authority import load_signer


def put(authority, directory):
    directory.mkdir(exist_ok=True)
    (directory / "ca-cert").write_text(authority.certificate_pem)
    (directory / "ca-key").write_text(authority.key_pem)


def test_it_is_read_as_kubernetes_mounts_it(tmp_path):
    authority = create_authority(tmp_path / "made", trust_domain="example.org")
    hidden = tmp_path / "..2026_11_25"
    put(authority, hidden)
    (tmp_path / "mounted").mkdir()
    for name in ("ca-cert", "ca-key"):
        (hidden / name).chmod(0o440)
        (tmp_path / "mounted" / name).symlink_to(hidden / name)
    signer = load_signer(tmp_path / "mounted", trust_domain=None)
    assert signer.issuer.trust_domain == "example.org"
    assert signer.authority.fingerprint == authority.fingerprint
    assert signer.bundle.pem == authority.certificate_pem


@pytest.mark.parametrize("missing", ["ca-cert", "ca-key", None])
def test_one_that_is_not_there(tmp_path, missing):
    if missing:
        put(create_authority(tmp_path / "made"), tmp_path / "mounted")
        (tmp_path / "mounted" / missing).unlink()
    with pytest.raises(IdentityError) as raised:
        load_signer(tmp_path / "mounted", trust_domain=None)
    path = tmp_path / "mounted" / (missing or "ca-cert")
    assert raised.value.message == f"there is no certificate authority ({path}: No such file or directory)"
    assert raised.value.hint == "kube-gateway ca create, then kube-gateway ca load"


def test_files_are_named_as_the_secret_has_them(tmp_path):
    put(create_authority(tmp_path / "made"), tmp_path / "mounted")
    (tmp_path / "mounted" / "ca-cert").write_text("nothing")
    with pytest.raises(IdentityError, match=r"^ca-cert holds no readable certificate$"):
        load_signer(tmp_path / "mounted", trust_domain=None)


def test_another_trust_domain_than_the_roots_is_refused(tmp_path):
    put(create_authority(tmp_path / "made", trust_domain="example.org"), tmp_path / "mounted")
    with pytest.raises(IdentityError, match=r"example\.org"):
        load_signer(tmp_path / "mounted", trust_domain="cluster.local")


def test_one_that_openssl_made_gets_the_trust_domain_it_is_told(tmp_path):
    made = "openssl req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=ours"
    subprocess.run(
        [*made.split(), "-keyout", tmp_path / "ca-key", "-out", tmp_path / "ca-cert"],
        check=True,
        capture_output=True,
    )
    assert load_signer(tmp_path, trust_domain="example.org").issuer.trust_domain == "example.org"
    assert load_signer(tmp_path, trust_domain=None).issuer.trust_domain == "cluster.local"
