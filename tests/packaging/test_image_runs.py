"""The image runs as any user, in a restricted pod and in containerd, and has all that the product needs."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import time
import zipfile
from pathlib import Path
from statistics import median

import pytest
from image_builds import NAME, PYTHON, inside

from deploy.image import oci

pytestmark = pytest.mark.root


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
