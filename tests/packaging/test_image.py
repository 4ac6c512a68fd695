"""The image: nothing in it that is not needed, the same from each build, and loadable by containerd and Docker."""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from deploy.image import debian, oci, source
from deploy.image.__main__ import LAYERS
from deploy.image.layer import pack
from deploy.image.leave_out import is_left_out

pytestmark = pytest.mark.root
ROOT = Path(__file__).resolve().parents[2]
NAME, TAG, EPOCH = "registry.test/team/kube-gateway", "1.2.3", 1_700_000_000
MEASURED, MEASURED_UNPACKED = 20.1e6, 55.2e6
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu")
PROGRAMS = {"usr/bin/python3.11", "usr/local/bin/kube-gateway"}


def run_builder(*options: str | Path, wheel: Path, umask: int = 0o022, **environment: str):
    command = [sys.executable, "-m", "deploy.image", "--wheel", wheel, "--revision", "abc", *options]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), **environment}
    return subprocess.run(command, cwd=ROOT, env=environment, umask=umask, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel() -> Path:
    found = list((ROOT / "dist").glob("*.whl"))
    assert len(found) == 1, f"make wheel leaves one wheel in dist/, there are: {found}"
    return found[0]


@pytest.fixture(scope="module")
def archive(wheel, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("archive")
    done = run_builder("--output", output, "--name", NAME, "--tag", TAG, wheel=wheel)
    assert done.returncode == 0, done.stderr
    (found,) = output.glob("*.tar")
    return found


@pytest.fixture(scope="module")
def files(archive) -> dict[str, bytes]:
    """The files of the archive."""
    with tarfile.open(archive) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened if member.isreg()}


@pytest.fixture(scope="module")
def layers(files) -> list[bytes]:
    return [files[path] for path in json.loads(files["manifest.json"])[0]["Layers"]]


@pytest.fixture(scope="module")
def members(layers) -> dict[str, tarfile.TarInfo]:
    """What the layers make together."""
    return {member.name: member for layer in layers for member in tarfile.open(fileobj=io.BytesIO(layer))}


@pytest.fixture(scope="module")
def root(layers, tmp_path_factory) -> Path:
    """The root file system of a container."""
    directory = tmp_path_factory.mktemp("root")
    directory.chmod(0o755)
    for layer in layers:
        subprocess.run(["tar", "-xzpf", "-", "-C", directory], input=layer, check=True)
    return directory


def inside(root: Path, *command: str, user: str = "0:0") -> subprocess.CompletedProcess[str]:
    """Run a program in the image, with /proc and /sys as a container has them."""
    environment = {**oci.ENVIRONMENT, "PATH": os.environ["PATH"]}
    namespaces = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={root}/proc"]
    mounted = ["sh", "-c", 'mount --rbind /sys "$0/sys" && exec "$@"', root]
    run = [*namespaces, *mounted, "chroot", f"--userspec={user}", root, *command]
    return subprocess.run(run, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_same_source_gives_the_same_archive(archive, wheel, tmp_path):
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    surroundings = {"TMPDIR": str(elsewhere), "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    options = ("--output", tmp_path, "--name", NAME, "--tag", TAG)
    done = run_builder(*options, wheel=wheel, umask=0o077, **surroundings)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / archive.name).read_bytes() == archive.read_bytes()
    assert not list(elsewhere.iterdir())


def test_docker_builds_from_the_same_directories(archive, wheel, layers, tmp_path):
    done = run_builder("--directories", tmp_path / "layers", wheel=wheel)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "layers").iterdir()) == sorted(LAYERS)
    assert [pack(name, tmp_path / "layers" / name, EPOCH).blob for name in LAYERS] == layers


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
    assert listed["annotations"]["io.containerd.image.name"] == f"{NAME}:{TAG}"
    manifest = json.loads(blob(files, listed))
    config = json.loads(blob(files, manifest["config"]))
    unpacked = [unpacked_digest(blob(files, layer)) for layer in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == unpacked

    (docker,) = json.loads(files["manifest.json"])
    assert docker["RepoTags"] == [f"{NAME}:{TAG}"]
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


def test_the_entrypoint_runs(root):
    done = inside(root, *oci.ENTRYPOINT, "--version")
    assert done.stdout.startswith("kube-gateway "), done.stderr
    assert inside(root, "/usr/bin/python3.11", "-m", "kube_gateway", "--version").stdout == done.stdout


def test_any_user_can_run_it(root):
    done = inside(root, *oci.ENTRYPOINT, "--version", user="65534:65534")
    assert done.stdout.startswith("kube-gateway "), done.stderr


def test_all_that_the_product_imports_is_there(root, wheel):
    script = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    done = inside(root, "/usr/bin/python3.11", "-c", script, *sorted(imports(wheel)))
    assert done.returncode == 0, done.stderr


def imports(wheel: Path) -> set[str]:
    """Every module of the product, and every module named by an import in any of them, also in functions."""
    names = set()
    with zipfile.ZipFile(wheel) as archive:
        for path in archive.namelist():
            if path.endswith(".py"):
                names.add(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
                for node in ast.walk(ast.parse(archive.read(path))):
                    if isinstance(node, ast.Import):
                        names.update(alias.name for alias in node.names)
                    elif isinstance(node, ast.ImportFrom) and node.module:
                        names.add(node.module)
    return names


def test_cryptography_and_the_hooks_load(root):
    text = "import ssl, hashlib, ctypes, lightkube; hashlib.sha256(); ssl.create_default_context()"
    assert inside(root, "/usr/bin/python3.11", "-c", text).returncode == 0
    done = inside(
        root, "/usr/bin/python3.11", "-c", "from kube_gateway._native import Hooks; print(len(Hooks().counters()))"
    )
    assert done.stdout == "5\n", done.stderr


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
        assert member.mtime == EPOCH
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


def test_it_stays_small(layers, members):
    assert sum(map(len, layers)) < 1.2 * MEASURED
    assert sum(member.size for member in members.values()) < 1.2 * MEASURED_UNPACKED


def test_the_last_pattern_that_matches_decides():
    assert is_left_out("usr/share/doc/libc6/changelog.gz")
    assert not is_left_out("usr/share/doc/libc6/copyright")
    assert not is_left_out("usr/lib/python3.11/asyncio/base_events.pyc")


def test_nothing_is_overwritten(tmp_path):
    command = [sys.executable, "-m", "deploy.image", "--output", tmp_path, "--directories", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path} is there already\nhint: remove it, or name another directory\n"


@pytest.mark.skipif(not shutil.which("containerd"), reason="containerd is not installed")
def test_containerd_loads_and_runs_it(archive, tmp_path):
    socket, config = tmp_path / "containerd.sock", tmp_path / "config.toml"
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    places = ["--root", tmp_path / "root", "--state", tmp_path / "state", "--address", socket]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(["containerd", "--config", config, *places], stdout=log, stderr=log) as server,
    ):
        try:
            until = time.monotonic() + 30
            while ctr(socket, "version").returncode and time.monotonic() < until:
                time.sleep(0.1)
            loaded = ctr(socket, "images", "import", "--snapshotter", "native", archive)
            assert loaded.returncode == 0, loaded.stderr
            named = ["--snapshotter", "native", f"{NAME}:{TAG}", f"image-{os.getpid()}"]
            done = ctr(socket, "run", "--rm", *named, "kube-gateway", "--version")
            assert done.stdout.startswith("kube-gateway "), done.stderr
        finally:
            server.terminate()


def ctr(socket: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ctr", "-a", socket, *command], capture_output=True, text=True, check=False, timeout=60)
