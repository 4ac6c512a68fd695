"""The image: nothing in it that is not needed, and the same from each build."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
import tomllib
from pathlib import Path, PurePosixPath

import pytest
from image_builds import NAME, ROOT, TAG, run_builder

from deploy.image import debian, oci, source
from deploy.image.__main__ import LAYERS
from deploy.image.layer import TIME, pack
from deploy.image.leave_out import is_left_out

pytestmark = pytest.mark.root
LARGEST, LARGEST_UNPACKED = 25e6, 70e6
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu")
PROGRAMS = {"usr/bin/python3.11", "usr/local/bin/kube-gateway"}


def test_the_same_source_gives_the_same_archive_and_the_directories_of_its_layers(
    archive, wheel, directory, fresh, layers, tmp_path
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    surroundings = {"TMPDIR": str(temporary), "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7", **fresh}
    places = ("--output", tmp_path / "image.tar", "--directories", directory / "layers", "--cache", directory / "cache")
    done = run_builder("--wheel", wheel, *places, umask=0o077, **surroundings)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "image.tar").read_bytes() == archive.read_bytes()
    assert not list(temporary.iterdir())
    assert sorted(path.name for path in (directory / "layers").iterdir()) == sorted(LAYERS)
    assert [pack(directory / "layers" / name).blob for name in LAYERS] == layers


def test_the_dockerfile_says_what_the_image_says():
    text = (ROOT / "deploy/image/Dockerfile").read_text()
    final = text[text.index("FROM scratch") :]
    assert re.findall(r"^COPY --from=build /layers/(\S+) /$", final, re.MULTILINE) == list(LAYERS)
    assert dict(re.findall(r"^ENV (\w+)=(\S+)$", final, re.MULTILINE)) == oci.ENVIRONMENT
    assert json.loads(re.search(r"^ENTRYPOINT (.*)$", final, re.MULTILINE)[1]) == list(oci.ENTRYPOINT)
    labels = source.labels(ROOT, "")
    for name, value in re.findall(r'^LABEL (\S+)="(.*)"$', final, re.MULTILINE):
        assert labels[name] == value


def test_both_indexes_name_what_is_there(files):
    for path, content in files.items():
        if path.startswith("blobs/sha256/"):
            assert hashlib.sha256(content).hexdigest() == PurePosixPath(path).name
    (listed,) = json.loads(files["index.json"])["manifests"]
    assert listed["annotations"]["io.containerd.image.name"] == NAME
    assert listed["annotations"]["org.opencontainers.image.ref.name"] == TAG
    manifest = json.loads(blob(files, listed))
    config = json.loads(blob(files, manifest["config"]))
    unpacked = [unpacked_digest(blob(files, layer)) for layer in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == unpacked

    (docker,) = json.loads(files["manifest.json"])
    assert docker["RepoTags"] == [NAME]
    assert docker["Config"] == path_of(manifest["config"])
    assert docker["Layers"] == [path_of(layer) for layer in manifest["layers"]]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}


def path_of(descriptor: dict) -> str:
    return "blobs/" + descriptor["digest"].replace(":", "/")


def blob(files: dict[str, bytes], descriptor: dict) -> bytes:
    content = files[path_of(descriptor)]
    assert len(content) == descriptor["size"]
    return content


def unpacked_digest(layer: bytes) -> str:
    return f"sha256:{hashlib.sha256(gzip.decompress(layer)).hexdigest()}"


def test_the_labels_tell_the_image_from_others(files):
    (docker,) = json.loads(files["manifest.json"])
    config = json.loads(files[docker["Config"]])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    labels = {
        name.removeprefix("org.opencontainers.image."): value for name, value in config["config"]["Labels"].items()
    }
    assert labels["version"] == project["version"]
    assert labels["licenses"] == project["license"]
    assert labels["revision"] == "abc"
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert config["os"] == "linux"


def test_every_library_that_something_needs_is_there(root):
    there = {path.name for directory in LIBRARIES for path in (root / directory).glob("*.so*")}
    checked = 0
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.open("rb").read(4) == b"\x7fELF":
            listing = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
            needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", listing))
            assert needed <= there, f"{path} needs {needed - there}"
            checked += 1
    assert checked > 20


def test_the_only_programs_are_python_and_the_product(members):
    outside_libraries = {
        name
        for name, member in members.items()
        if member.isreg() and member.mode & 0o111 and not name.startswith("usr/lib") and ".so" not in name
    }
    assert outside_libraries == PROGRAMS


def test_links_lead_somewhere(root, members):
    for name, member in members.items():
        if member.issym():
            target = root / (
                member.linkname.lstrip("/") if member.linkname.startswith("/") else Path(name).parent / member.linkname
            )
            assert target.exists(), f"{name} -> {member.linkname}"


def test_nothing_tells_who_built_it_and_when(members):
    for member in members.values():
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", ""), member.name
        assert member.mtime == TIME
        allowed = {"tmp": 0o1777, "var/tmp": 0o1777}.get(member.name)
        if allowed:
            assert member.mode == allowed
        elif not member.issym():
            assert member.mode in {0o644, 0o755}, f"{member.name} has mode {member.mode:o}"


def test_byte_code_is_never_checked_against_a_file(root):
    compiled = list(root.rglob("*.pyc"))
    assert len(compiled) > 500
    for path in compiled:
        assert int.from_bytes(path.read_bytes()[4:8], "little") == 1, f"{path} is not of the kind unchecked-hash"
    for path in root.rglob("kube_gateway/**/*.py"):
        assert list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")), f"{path} is not compiled"


def test_scanners_find_packages_and_their_licences(root):
    status = root / "var/lib/dpkg/status.d"
    assert sorted(path.name for path in status.iterdir()) == debian.package_names()
    for path in status.iterdir():
        assert re.search(r"^Version: \d", path.read_text(), re.MULTILINE)
        assert (root / "usr/share/doc" / path.name / "copyright").exists(), f"{path.name} comes without its licence"
    assert "ID=debian" in (root / "etc/os-release").read_text()
    distributions = {path.name.split("-")[0] for path in root.rglob("*.dist-info") if (path / "METADATA").exists()}
    assert {"kube_gateway", "cryptography", "lightkube", "msgspec"} <= distributions


def test_there_is_no_key_in_it(members):
    assert not [name for name in members if name.endswith((".key", ".pem", ".crt", ".p12"))]


def test_it_stays_small(layers, members):
    assert sum(map(len, layers)) < LARGEST
    assert sum(member.size for member in members.values()) < LARGEST_UNPACKED


def test_the_last_pattern_that_matches_decides():
    assert is_left_out("usr/share/doc/libc6/changelog.gz")
    assert not is_left_out("usr/share/doc/libc6/copyright")
    assert not is_left_out("usr/lib/python3.11/asyncio/base_events.pyc")


def test_a_directory_that_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "debian").mkdir()
    done = run_builder("--output", tmp_path / "image.tar", "--directories", tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/debian is there already\nhint: remove it, or name another directory\n"
