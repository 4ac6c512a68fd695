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
from statistics import median

import pytest

from deploy.image import debian, oci, source
from deploy.image.__main__ import LAYERS
from deploy.image.layer import TIME, pack
from deploy.image.leave_out import is_left_out

pytestmark = pytest.mark.root
ROOT = Path(__file__).resolve().parents[2]
TAG = "1.2.3"
NAME = f"registry.test:5000/team/kube-gateway:{TAG}"
EPOCH = 1_700_000_000
LARGEST, LARGEST_UNPACKED = 25e6, 70e6
PYTHON = "/usr/bin/python3"
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu")
PROGRAMS = {"usr/bin/python3.11", "usr/local/bin/kube-gateway"}


def run_builder(*options: str | Path, umask: int = 0o022, **environment: str):
    command = [sys.executable, "-m", "deploy.image", "--name", NAME, "--revision", "abc", *options]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), **environment}
    return subprocess.run(command, cwd=ROOT, env=environment, umask=umask, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel() -> Path:
    found = list((ROOT / "dist").glob("*.whl"))
    assert len(found) == 1, f"make wheel leaves one wheel in dist/, there are: {found}"
    return found[0]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A place for what is large, removed afterwards."""
    path = tmp_path_factory.mktemp("image")
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def fresh(directory) -> dict[str, str]:
    """The environment of a machine where nothing is cached, and apt does not know any package yet."""
    (directory / "lists/partial").mkdir(parents=True)
    (directory / "apt.conf").write_text(f'Dir::State::lists "{directory}/lists";\nDir::Cache "{directory}/apt";\n')
    return {"APT_CONFIG": str(directory / "apt.conf")}


@pytest.fixture(scope="module")
def archive(wheel, directory, fresh) -> Path:
    output = directory / "image.tar"
    done = run_builder("--wheel", wheel, "--output", output, "--cache", directory / "cache", **fresh)
    assert done.returncode == 0, done.stderr
    return output


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
def root(layers, directory) -> Path:
    """The root file system of a container."""
    path = directory / "root"
    path.mkdir(mode=0o755)
    for layer in layers:
        subprocess.run(["tar", "-xzpf", "-", "-C", path], input=layer, check=True)
    return path


def inside(root: Path, *command: str, user: str = "0:0") -> subprocess.CompletedProcess[str]:
    """Run a program in the image, with /proc and /sys as a container has them."""
    environment = {**oci.ENVIRONMENT, "PATH": os.environ["PATH"]}
    namespaces = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={root}/proc"]
    mounted = ["sh", "-c", 'mount --rbind /sys "$0/sys" && exec "$@"', root]
    run = [*namespaces, *mounted, "chroot", f"--userspec={user}", root, *command]
    return subprocess.run(run, env=environment, capture_output=True, text=True, check=False, timeout=60)


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


@pytest.mark.parametrize("user", ["0:0", "65532:65532", "4711:4711"])
def test_any_user_can_run_it(root, user):
    done = inside(root, *oci.ENTRYPOINT, "--version", user=user)
    assert done.stdout.startswith("kube-gateway "), done.stderr
    assert inside(root, PYTHON, "-m", "kube_gateway", "--version", user=user).stdout == done.stdout


def test_all_that_the_product_imports_is_there(root, wheel):
    script = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    done = inside(root, PYTHON, "-c", script, *sorted(imports(wheel)))
    assert done.returncode == 0, done.stderr


# The extra `otel` is not in the image, and its module is loaded only where a policy asks for it.
LEFT_OUT = "kube_gateway/ai/meters/otel.py"


def imports(wheel: Path) -> set[str]:
    """Every module of the product, and every module named by an import in any of them, also in functions."""
    names = set()
    with zipfile.ZipFile(wheel) as archive:
        for path in archive.namelist():
            if path.endswith(".py") and path != LEFT_OUT:
                names.add(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
                for node in ast.walk(ast.parse(archive.read(path))):
                    if isinstance(node, ast.Import):
                        names.update(alias.name for alias in node.names)
                    elif isinstance(node, ast.ImportFrom) and node.module:
                        names.add(node.module)
    return names - {LEFT_OUT.removesuffix(".py").replace("/", ".")}


def test_the_libraries_of_the_watcher_work(root):
    assert inside(root, *oci.ENTRYPOINT, "ca", "create", "--directory", "/tmp/authority").returncode == 0
    text = "import ssl, hashlib; hashlib.sha256(); ssl.create_default_context(cafile='/tmp/authority/ca.crt')"
    done = inside(root, PYTHON, "-c", text)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(root / "tmp/authority")


def test_the_hooks_load(root):
    done = inside(root, PYTHON, "-c", "from kube_gateway._native import Hooks; print(set(Hooks().counters().values()))")
    assert done.stdout == "{0}\n", done.stderr


def test_a_gateway_loads_nothing_that_only_the_watcher_needs(root):
    """The client alone takes as long to load as all that a gateway is made of."""
    done = inside(root, PYTHON, "-X", "importtime", "-m", "kube_gateway", "gateway")
    assert "is not set" in done.stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"asyncio", "kube_gateway", "msgspec"} <= loaded
    assert not loaded & {"anyio", "cryptography", "httpx2", "lightkube", "yaml"}


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


@pytest.fixture(scope="module")
def containerd(archive, directory):
    """The address of a containerd of this test's own that has the image."""
    socket, config = directory / "containerd.sock", directory / "config.toml"
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    places = ["--root", directory / "containerd", "--state", directory / "state", "--address", socket]
    with (
        (directory / "log").open("w") as log,
        subprocess.Popen(["containerd", "--config", config, *places], stdout=log, stderr=log) as server,
    ):
        try:
            until = time.monotonic() + 30
            while ctr(socket, "version").returncode and time.monotonic() < until:
                time.sleep(0.1)
            loaded = ctr(socket, "images", "import", "--snapshotter", "native", archive)
            assert loaded.returncode == 0, loaded.stderr
            yield socket
        finally:
            server.terminate()


def ctr(socket: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ctr", "-a", socket, *command], capture_output=True, text=True, check=False, timeout=60)


def test_containerd_runs_it(containerd):
    name = f"kube-gateway-image-{os.getpid()}"
    done = ctr(containerd, "run", "--rm", "--snapshotter", "native", "--cgroup", f"/{name}", NAME, name)
    assert "Mutual TLS for pods" in done.stdout + done.stderr


@pytest.fixture
def restricted(root, tmp_path):
    """Runs a program as a restricted pod does: a user that is not root, no capabilities, nothing can be written."""
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
    spec = json.loads((tmp_path / "config.json").read_text())
    assert spec["root"]["readonly"]
    assert spec["process"]["noNewPrivileges"]
    spec["root"]["path"] = str(root)
    spec["process"] |= {
        "terminal": False,
        "user": {"uid": 65532, "gid": 65532},
        "env": [f"{name}={value}" for name, value in oci.ENVIRONMENT.items()],
        "capabilities": {},
    }

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "config.json").write_text(json.dumps(spec | {"process": spec["process"] | {"args": command}}))
        runc = ["runc", "--root", tmp_path / "runc", "run", "--bundle", tmp_path, f"kube-gateway-image-{os.getpid()}"]
        return subprocess.run(runc, capture_output=True, text=True, check=False, timeout=60)

    return run


def test_a_restricted_pod_runs_it(restricted):
    done = restricted("kube-gateway", "--version")
    assert done.stdout.startswith("kube-gateway "), done.stderr
    done = restricted("python3", "-c", "import os; print(os.getuid()); open('/x', 'w')")
    assert done.stdout == "65532\n"
    assert "Read-only file system" in done.stderr
    done = restricted("python3", "-m", "kube_gateway.demo.workload", "--help")
    assert done.stdout.startswith("usage: "), done.stderr


def test_it_starts_quickly(root, restricted, capsys):
    commands = {
        "python3 -c pass": (PYTHON, "-c", "pass"),
        "kube-gateway --version": (*oci.ENTRYPOINT, "--version"),
        "kube-gateway gateway, until it finds a variable missing": (*oci.ENTRYPOINT, "gateway"),
    }
    around = seconds(lambda: inside(root, PYTHON, "-V"))
    took = {name: seconds(lambda command=command: inside(root, *command)) for name, command in commands.items()}
    container = seconds(lambda: restricted("kube-gateway", "--version"))
    with capsys.disabled():
        print("\nmedian of 7 starts:")
        for name, value in took.items():
            print(f"{1000 * (value - around):6.0f} ms  {name}")
        print(f"{1000 * container:6.0f} ms  kube-gateway --version, with a container made and removed by runc")
    assert max(*took.values(), container) < 3


def seconds(start) -> float:
    """How long it takes, the median of several."""
    durations = []
    for _ in range(7):
        began = time.perf_counter()
        start()
        durations.append(time.perf_counter() - began)
    return median(durations)
