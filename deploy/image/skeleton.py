"""What every container expects to find and no package brings: directories, users, and how names are looked up."""

from __future__ import annotations

from pathlib import Path

_DIRECTORIES = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/lib64", "usr/sbin", "var/tmp")
_LINKS = {
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "sbin": "usr/sbin",
    "usr/bin/python3": "python3.11",
    "var/run": "/run",  # Kubernetes mounts service account tokens below /var/run
}
_FILES = {
    "etc/passwd": "".join(
        f"{name}:x:{number}:{number}:{name}:{home}:/usr/sbin/nologin\n"
        for name, number, home in (("root", 0, "/root"), ("nonroot", 65532, "/"), ("nobody", 65534, "/nonexistent"))
    ),
    "etc/group": "root:x:0:\nnonroot:x:65532:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def make_skeleton(tree: Path) -> None:
    """Make the directories, links and files of a root file system that no package brings."""
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (tree / name).chmod(0o1777)
    for name, target in _LINKS.items():
        (tree / name).symlink_to(target)
    for name, text in _FILES.items():
        (tree / name).write_text(text)
