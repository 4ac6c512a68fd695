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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deploy.image.errors import BuildError, run
from deploy.image.leave_out import is_left_out

_PACKAGES = Path(__file__).with_name("packages.txt")
_APT = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root")
_MERGED = ("bin", "lib", "lib64", "sbin")
_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) \d+ SHA256:(?P<digest>[0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """A package as apt resolves it: where it comes from and what its file must hash to."""

    file: str
    digest: str

    @property
    def name(self) -> str:
        """The name without version and architecture."""
        return self.file.split("_")[0]

    @property
    def version(self) -> str:
        """The version, with its epoch."""
        return self.file.split("_")[1].replace("%3a", ":")


def package_names() -> list[str]:
    """What packages.txt lists."""
    lines = (line.partition("#")[0].strip() for line in _PACKAGES.read_text().splitlines())
    return sorted(line for line in lines if line)


def fetch(cache: Path, *, refresh: bool) -> list[tuple[Package, Path]]:
    """The packages and their files, downloaded unless the cache has them."""
    _require_bookworm()
    if refresh:
        _update()
    packages = _resolve()
    try:
        _download(packages, cache)
    except BuildError:
        if refresh:
            raise
        _update()  # a mirror keeps only the newest version: what was known is older than that
        packages = _resolve()
        _download(packages, cache)
    return [(package, cache / package.file) for package in packages]


def extract(file: Path, tree: Path) -> None:
    """Put the files of a package into the tree, all below /usr as Debian 12 has it, and record the package."""
    packed = subprocess.run(["dpkg-deb", "--fsys-tarfile", file], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            path = _merged(member.name)
            if not member.isdir() and not is_left_out(path):
                _put(archive, member, tree / path)
    control = run(["dpkg-deb", "--field", file], hint="remove the cache, the file may be damaged")
    name = next(line for line in control.splitlines() if line.startswith("Package: ")).removeprefix("Package: ")
    status = tree / "var/lib/dpkg/status.d" / name
    status.parent.mkdir(parents=True, exist_ok=True)
    status.write_text(control)


def _require_bookworm() -> None:
    release = Path("/etc/os-release").read_text()
    if "VERSION_CODENAME=bookworm" not in release:
        raise BuildError(
            "the image is made of packages of Debian 12, and this is another system",
            hint="use deploy/image/Dockerfile, which brings its own Debian 12",
        )


def _update() -> None:
    run([*_APT, "update"], hint="is a mirror of Debian reachable? see /etc/apt/sources.list.d")


def _resolve() -> list[Package]:
    answer = run([*_APT, "download", "--print-uris", *package_names()], hint="run apt-get update")
    found = [Package(match["file"], match["digest"]) for match in _URI.finditer(answer)]
    if sorted(package.name for package in found) != package_names():
        raise BuildError(f"apt does not know all of {', '.join(package_names())}", hint="run apt-get update")
    return sorted(found, key=lambda package: package.name)


def _download(packages: list[Package], cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    missing = [package for package in packages if not _is_whole(package, cache)]
    if missing:
        names = [f"{package.name}={package.version}" for package in missing]
        run([*_APT, "download", *names], hint="is a mirror of Debian reachable?", cwd=cache)
    for package in missing:
        if not _is_whole(package, cache):
            raise BuildError(f"{package.file} is not what apt's index says", hint="run apt-get update and try again")


def _is_whole(package: Package, cache: Path) -> bool:
    file = cache / package.file
    return file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == package.digest


def _merged(name: str) -> str:
    path = PurePosixPath(name)
    if path.parts and path.parts[0] in _MERGED:
        path = "usr" / path
    return path.as_posix()


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        target.unlink(missing_ok=True)
        target.symlink_to(member.linkname)
        return
    content = archive.extractfile(member)  # follows hard links
    if content is None:
        raise BuildError(f"{member.name} is neither a file nor a link", hint="leave it out in leave-out.txt")
    target.write_bytes(content.read())
    target.chmod(0o755 if member.mode & 0o111 else 0o644)
