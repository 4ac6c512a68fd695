"""The authority's files are those of one step or of the next, wherever a write is cut off."""

from __future__ import annotations

import datetime
import itertools
import shutil
from types import SimpleNamespace

import pytest

from kube_gateway.errors import IdentityError
from kube_gateway.identity import rotation
from kube_gateway.identity.authority import create_authority, load_authority, new_authority
from kube_gateway.identity.roots import Roots, begin, moved
from kube_gateway.local import authority_files
from kube_gateway.local.authority_files import ROTATION_FILE, load_roots, save_roots
from kube_gateway.local.identity import LocalIdentity


def steps(roots):
    """Each step of a rotation, with one turn back on the way."""
    first = begin(roots, new_authority("cluster.local"), now=1.0)
    second = moved(first, rotation.advance(first.rotation, [], now=2.0))
    back = moved(second, rotation.abort(second.rotation, now=3.0))
    forth = moved(back, rotation.abort(back.rotation, now=4.0))
    third = moved(forth, rotation.advance(forth.rotation, [], now=5.0))
    return [roots, first, second, back, forth, third, moved(third, rotation.advance(third.rotation, [], now=6.0))]


def same(one, other):
    return (one.rotation, one.plan, one.bundle) == (other.rotation, other.plan, other.bundle)


@pytest.fixture
def directory(tmp_path):
    create_authority(tmp_path / "ca")
    return tmp_path / "ca"


def test_every_step_is_found_again(directory):
    for roots in steps(load_roots(directory)):
        save_roots(directory, roots)
        found = load_roots(directory)
        assert same(found, roots)
        assert found.signer.key_pem == roots.signer.key_pem
    assert not (directory / ROTATION_FILE).exists()
    assert load_authority(directory).fingerprint == roots.plan.signer


def test_only_root_reads_the_keys(directory):
    for roots in steps(load_roots(directory)):
        save_roots(directory, roots)
        assert {path.stat().st_mode & 0o777 for path in directory.iterdir() if path.suffix != ".crt"} == {0o600}


def test_the_old_key_is_nowhere_once_the_old_root_is_forgotten(directory):
    *_, third, done = steps(load_roots(directory))
    old = load_authority(directory).key_pem
    assert any(old in path.read_text() for path in directory.iterdir())
    for roots in (third, done):
        save_roots(directory, roots)
        assert not any(old.splitlines()[1] in path.read_text() for path in directory.iterdir())


def test_wherever_it_is_cut_off_it_is_one_step_or_the_next(directory, tmp_path, monkeypatch):
    written = authority_files._replace
    cuts = 0
    for before, after in itertools.pairwise(steps(load_roots(directory))):
        for at in itertools.count():
            scratch = tmp_path / f"cut{cuts}"
            cuts += 1
            shutil.copytree(directory, scratch)
            left = [at]

            def replace(path, text, left=left):
                if left[0] == 0:
                    raise OSError(28, "No space left on device")
                left[0] -= 1
                written(path, text)

            monkeypatch.setattr(authority_files, "_replace", replace)
            try:
                save_roots(scratch, after)
                whole = True
            except IdentityError:
                whole = False
            monkeypatch.setattr(authority_files, "_replace", written)
            found = load_roots(scratch)
            assert same(found, after) or (not whole and same(found, before))
            assert same(load_roots(scratch), found)
            if whole:
                break
        save_roots(directory, after)
    assert cuts > 12


def test_files_that_do_not_belong_together_are_refused(directory):
    _, first, *_ = steps(load_roots(directory))
    save_roots(directory, first)
    shutil.rmtree(directory / "x", ignore_errors=True)
    for name in ("ca.crt", "ca.key"):
        (directory / name).unlink()
    create_authority(directory)
    with pytest.raises(IdentityError, match="not those of the rotation"):
        load_roots(directory)


def test_a_rotation_cannot_begin_twice_nor_with_the_same_root_nor_for_another_trust_domain(directory):
    roots = Roots(current=load_authority(directory))
    with pytest.raises(IdentityError, match="in use already"):
        begin(roots, roots.current, now=1.0)
    with pytest.raises(IdentityError, match=r"of the trust domain example\.org, not cluster\.local"):
        begin(roots, new_authority("example.org"), now=1.0)
    with pytest.raises(IdentityError, match="under way already"):
        begin(begin(roots, new_authority("cluster.local"), now=1.0), new_authority("cluster.local"), now=2.0)


def test_a_root_that_names_no_trust_domain_is_replaced_by_one_that_names_none_either(tmp_path):
    old = new_authority("cluster.local", named=False)
    (tmp_path / "ca.crt").write_text(old.certificate_pem)
    (tmp_path / "ca.key").touch(0o600)
    (tmp_path / "ca.key").write_text(old.key_pem)
    instance = SimpleNamespace(authority=tmp_path, revocations=tmp_path / "revoked")
    life = datetime.timedelta(hours=1)
    LocalIdentity(instance, life=life).rotate()
    following = LocalIdentity(instance, life=life).roots.following
    assert (following.names_trust_domain, following.trust_domain) == (False, "cluster.local")
