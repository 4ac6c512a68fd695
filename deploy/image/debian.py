"""The base layer: files of Debian packages, by name, in the versions that apt would install now.

Packages are taken apart and never installed: their scripts would need a shell in the image. What is taken is recorded the
way distroless images do it, a file for each package in /var/lib/dpkg/status.d, where scanners look for versions.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
from pathlib import Path

from deploy.image.errors import BuildError, run
from deploy.image.leave_out import is_left_out

_PACKAGES = Path(__file__).with_name("packages.txt")
_APT = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root")
_URI = re.compile(r"^'[^']+' (?P<file>\S+) \d+ SHA256:(?P<digest>[0-9a-f]{64})$", re.MULTILINE)
_MIRROR = "is a mirror of Debian reachable? see /etc/apt/sources.list and sources.list.d"


def package_names() -> list[str]:
    """What packages.txt lists."""
    lines = (line.partition("#")[0].strip() for line in _PACKAGES.read_text().splitlines())
    return sorted(line for line in lines if line)


def fetch(cache: Path) -> list[Path]:
    """The files of the packages, downloaded unless the cache has them, each checked against apt's signed index."""
    release = Path("/etc/os-release").read_text()
    if "VERSION_CODENAME=bookworm" not in release:
        raise BuildError(
            "the image is made of packages of Debian 12, and this is another system",
            hint="use deploy/image/Dockerfile, which brings its own Debian 12",
        )
    cache.mkdir(parents=True, exist_ok=True)
    try:
        return _fetch(cache)
    except BuildError:
        # There is no index yet, or an old one: a mirror keeps only the newest version of a package.
        run([*_APT, "update"], hint=_MIRROR)
        return _fetch(cache)


def extract(file: Path, tree: Path) -> None:
    """Put the files of a package into a tree that has the links of Debian 12 (/lib -> usr/lib), and record the package."""
    packed = subprocess.run(["dpkg-deb", "--fsys-tarfile", file], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        wanted = [entry for entry in archive if not entry.isdir() and not is_left_out(entry.name.removeprefix("./"))]
        # apt has checked the signature. A link may be absolute, and newer versions of Python are to leave it so.
        archive.extraction_filter = lambda entry, _: entry
        archive.extractall(tree, wanted)  # noqa: S202 - see above
    status = tree / "var/lib/dpkg/status.d" / _name(file)
    status.parent.mkdir(parents=True, exist_ok=True)
    status.write_text(run(["dpkg-deb", "--field", file], hint="remove the cache, the file may be damaged"))


def _fetch(cache: Path) -> list[Path]:
    names = package_names()
    index = run([*_APT, "download", "--print-uris", *names], hint="run apt-get update")
    digests = {cache / match["file"]: match["digest"] for match in _URI.finditer(index)}
    if sorted(map(_name, digests)) != names:
        raise BuildError(f"apt does not know all of {', '.join(names)}", hint=_MIRROR)
    missing = [_name(file) for file, digest in digests.items() if _digest(file) != digest]
    if missing:
        run([*_APT, "download", *missing], hint=_MIRROR, cwd=cache)
    for file, digest in digests.items():
        if _digest(file) != digest:
            raise BuildError(f"{file} is not what apt's index says", hint="run apt-get update and try again")
    return sorted(digests)


def _name(file: Path) -> str:
    return file.name.partition("_")[0]


def _digest(file: Path) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None
