"""`up` and `down`: an instance's beginning and its end, the end without any help of the manager."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

from kube_gateway.errors import LocalModeError
from kube_gateway.identity.authority import CERTIFICATE_FILE, create_authority
from kube_gateway.local import cgroups, network
from kube_gateway.local.client import LocalClient
from kube_gateway.local.instance import Instance
from kube_gateway.local.preflight import check_machine

_CERTIFICATE_LIFE = 3600.0
_START_WITHIN = 15.0
_POLL = 0.05


def up(instance: Instance, *, certificate_life: float | None = None, strict: bool | None = None) -> bool:
    """Start an instance, or the manager of one whose manager died; returns false when it is up already.

    `certificate_life` is in seconds; None is what the instance had before, or an hour. `strict`: every pod that encrypts is
    strict; None is as the instance was before, or not. Raises `EnvironmentProblem` or
    `LocalModeError`, and leaves nothing behind that was not there before.
    """
    check_machine()
    if LocalClient(instance.name).is_up():
        return False
    new = not instance.directory.exists()
    try:
        instance.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        instance.captures.mkdir(mode=0o700, exist_ok=True)
        if not (instance.authority / CERTIFICATE_FILE).exists():
            create_authority(instance.authority)
        network.make_bridge(instance)
        life = _remembered(instance, "certificate-life", certificate_life, default=_CERTIFICATE_LIFE)
        floor = _remembered(instance, "strict", None if strict is None else float(strict), default=0.0)
        _start_manager(instance, certificate_life=life, strict=bool(floor))
    except BaseException:
        if new:
            down(instance)
        raise
    return True


def down(instance: Instance) -> bool:
    """Remove everything of an instance: processes, namespaces, files. Returns whether there was anything.

    Needs no manager; whatever state the instance is in, afterwards nothing is left of it.
    """
    check_machine()
    cgroup = cgroups.instance_cgroup(instance)
    existed = cgroup.exists() or instance.directory.exists() or network.namespace_path(instance.namespace).exists()
    # The manager first: it would start again what is killed.
    cgroups.kill_and_remove(cgroup / "manager")
    cgroups.kill_and_remove(cgroup)
    network.delete_networks(instance)
    shutil.rmtree(instance.directory, ignore_errors=True)
    return existed


def _remembered(instance: Instance, name: str, wanted: float | None, *, default: float) -> float:
    """What was wanted, kept for the next manager of the instance."""
    path = instance.directory / name
    if wanted is None:
        return float(path.read_text()) if path.exists() else default
    path.write_text(f"{wanted}\n")
    return wanted


def _start_manager(instance: Instance, *, certificate_life: float, strict: bool) -> None:
    processes = cgroups.instance_cgroup(instance) / "manager" / "cgroup.procs"
    processes.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "kube_gateway", "local", "--instance", instance.name, "manager"]
    with instance.manager_log.open("ab") as log:
        process = subprocess.Popen(
            [
                "sh",
                "-c",
                'echo 0 >"$0" && exec "$@"',
                str(processes),
                *command,
                f"--certificate-life={certificate_life}s",
                *(["--strict"] if strict else []),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "KUBE_GATEWAY_INSTANCE": instance.name},
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_WITHIN
    while not LocalClient(instance.name).is_up():
        if process.poll() is not None or time.monotonic() > deadline:
            words = instance.manager_log.read_text(errors="replace").splitlines()[-5:]
            raise LocalModeError("the manager does not start" + "".join(f"\n  {line}" for line in words))
        time.sleep(_POLL)
