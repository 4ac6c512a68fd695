"""What was built, and the image that is built of it: once for all tests, as it takes long."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from image_builds import ROOT, run_builder


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel that `make wheel` has built."""
    found = list((ROOT / "dist").glob("*.whl"))
    assert len(found) == 1, f"make wheel leaves one wheel in dist/, there are: {found}"
    return found[0]


@pytest.fixture(scope="session")
def directory(tmp_path_factory):
    """A place for what is large, removed afterwards."""
    path = tmp_path_factory.mktemp("image")
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def fresh(directory) -> dict[str, str]:
    """The environment of a machine where nothing is cached, and apt does not know any package yet."""
    (directory / "lists/partial").mkdir(parents=True)
    (directory / "apt.conf").write_text(f'Dir::State::lists "{directory}/lists";\nDir::Cache "{directory}/apt";\n')
    return {"APT_CONFIG": str(directory / "apt.conf")}


@pytest.fixture(scope="session")
def archive(wheel, directory, fresh) -> Path:
    output = directory / "image.tar"
    done = run_builder("--wheel", wheel, "--output", output, "--cache", directory / "cache", **fresh)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="session")
def files(archive) -> dict[str, bytes]:
    """The files of the archive."""
    with tarfile.open(archive) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened if member.isreg()}


@pytest.fixture(scope="session")
def layers(files) -> list[bytes]:
    return [files[path] for path in json.loads(files["manifest.json"])[0]["Layers"]]


@pytest.fixture(scope="session")
def members(layers) -> dict[str, tarfile.TarInfo]:
    """What the layers make together."""
    return {member.name: member for layer in layers for member in tarfile.open(fileobj=io.BytesIO(layer))}


@pytest.fixture(scope="session")
def root(layers, directory) -> Path:
    """The root file system of a container."""
    path = directory / "root"
    path.mkdir(mode=0o755)
    for layer in layers:
        subprocess.run(["tar", "-xzpf", "-", "-C", path], input=layer, check=True)
    return path
