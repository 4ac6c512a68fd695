"""What an instance remembers of its pods, so that a manager that is started again finds them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from kube_gateway.errors import LocalModeError
from kube_gateway.local.files import write_whole
from kube_gateway.local.instance import Instance
from kube_gateway.local.network import addresses_of
from kube_gateway.model.pod import Pod


class PodRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One pod. `started` is the main process's start time as /proc tells it (clock ticks since boot), which together
    with `pid` names the process; `created` is seconds since the epoch; `generation` counts gateways. `exit_code` is that
    of the main process once it has ended while a manager was there to see it, negative for a signal."""

    name: str
    uid: str
    number: int
    service_account: str
    command: tuple[str, ...]
    created: float
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    pid: int = 0
    started: int = 0
    generation: int = 0
    exit_code: int | None = None

    @property
    def pod(self) -> Pod:
        """The pod as the watcher's brain sees it."""
        return Pod(
            name=self.name,
            uid=self.uid,
            service_account=self.service_account,
            addresses=addresses_of(self.number),
            annotations=self.annotations,
            labels={"app": self.name, **self.labels},
        )


def save(instance: Instance, record: PodRecord) -> None:
    """Write a record, whole or not at all. Raises `LocalModeError` when it cannot be written."""
    path = instance.pod_directory(record.name) / "pod.json"
    try:
        write_whole(path, msgspec.json.encode(record))
    except OSError as error:
        raise LocalModeError(
            f"cannot write {path}: {error.strerror}",
            hint="nothing of this pod was changed; what cannot be written down is not done",
        ) from error


def load_all(instance: Instance) -> list[PodRecord]:
    """Read all records, in order of creation. Raises `LocalModeError` for one that is not readable."""
    records = []
    for path in sorted((instance.directory / "pods").glob("*/pod.json")):
        try:
            records.append(msgspec.json.decode(path.read_bytes(), type=PodRecord))
        except (OSError, msgspec.DecodeError) as error:
            raise LocalModeError(
                f"{path} is not readable: {error}", hint=f"kube-gateway local --instance {instance.name} down"
            ) from error
    return sorted(records, key=lambda record: record.created)


def start_time(pid: int) -> int:
    """When a process was started, in clock ticks since boot; 0 when it is gone or has ended. Source: proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
