"""Pods of containers: an application and a gateway that share network and cgroup, laid out as kubelet does it."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import msgspec

from datapath import scripts
from kube_gateway._native import create_key_and_request, has_hooks
from kube_gateway.control.messages import Configure, encode
from kube_gateway.identity.authority import Authority
from kube_gateway.identity.bundle import trust_bundle
from kube_gateway.identity.issuer import RootIssuer
from kube_gateway.model.pod import Pod
from kube_gateway.model.settings import Encryption, Settings
from vm.inside.containers import CGROUPS, Container, Description

PROGRAM = Path(sys.executable).with_name("kube-gateway")
CAPABILITIES = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_DAC_READ_SEARCH")
BRIDGE, PORT = "pods", 9000
MARKER = "readable-on-the-wire"
CLIENT = scripts.client(f"talk(socket.create_connection((sys.argv[1], {PORT}), timeout=30))").replace("hello", MARKER)


class PodOfContainers:
    """Pod `name` with an application that listens; `number` makes its addresses."""

    def __init__(self, name: str, number: int, *, authority: Authority, scratch: Path) -> None:
        self.name = name
        self.pod = Pod(name=name, uid=f"uid-{name}", addresses=(f"10.90.0.{number}", f"fd90::{number}"))
        self.directory = f"/kubepods/burstable/pod{self.pod.uid}"
        self._authority = authority
        self._scratch = scratch
        self._generation = 0
        self.containers: list[Container] = []
        self.network = Path("/run/netns") / name
        self._make_network()
        command = (sys.executable, "-u", "-c", scripts.server(PORT))
        self.application = self._run(Description(name=f"{name}-app", command=command, **self._place(f"{name}-app")))
        self.application.wait_log("ready")

    def _make_network(self) -> None:
        lines = [f"netns add {self.name}", f"link add name {self.name} type veth peer name eth0 netns {self.name}"]
        lines += [f"link set dev {self.name} master {BRIDGE} up", f"-n {self.name} link set lo up"]
        lines += [f"-n {self.name} address add {self.pod.addresses[0]}/24 dev eth0"]
        lines += [f"-n {self.name} address add {self.pod.addresses[1]}/64 dev eth0 nodad"]
        for line in [*lines, f"-n {self.name} link set eth0 up"]:
            subprocess.run(["ip", *line.split()], check=True)

    def _place(self, container: str) -> dict:
        return {"cgroup": f"{self.directory}/{container}", "network": self.network}

    def _run(self, description: Description) -> Container:
        container = Container(description, scratch=self._scratch)
        self.containers.append(container)
        return container

    @property
    def cgroup(self) -> Path:
        return CGROUPS / self.directory.lstrip("/")

    def hooks(self) -> int:
        """How many programs of ours are on the pod's cgroup."""
        return has_hooks(str(self.cgroup))

    def start_gateway(self, encryption: Encryption = "permissive", *, shared: bool = False, **changes) -> Container:
        """Start the next generation. `shared`: it sees the application's processes."""
        self._generation += 1
        name = f"{self.name}-gateway-{self._generation}"
        description = Description(
            name=name,
            command=(str(PROGRAM), "gateway"),
            capabilities=CAPABILITIES,
            processes=Path(f"/proc/{self.application.pid}/ns/pid") if shared else None,
            environment=self._environment(encryption),
            **self._place(name),
        )
        return self._run(msgspec.structs.replace(description, **changes))

    def ready_gateway(self, encryption: Encryption = "permissive", **options) -> Container:
        """The same, once its hooks are in place."""
        container = self.start_gateway(encryption, **options)
        container.wait_log(f"ready: generation {self._generation} of {self.pod.key}")
        return container

    def _environment(self, encryption: Encryption) -> dict[str, str]:
        """Settings and identity; where the watcher should be, nobody listens."""
        settings = Settings(wanted=True, encryption=encryption)
        key, request = create_key_and_request()
        issued = RootIssuer(self._authority).sign(request, pod=self.pod, life=datetime.timedelta(hours=1))
        values = {
            "POD": self.pod.key,
            "UID": self.pod.uid,
            "GENERATION": str(self._generation),
            "CONTROL": "tls:127.0.0.1:1",
            "WATCHER": "spiffe://cluster.local/ns/kube-gateway/sa/watcher",
            "SETTINGS": encode(Configure(revision=1, addresses=self.pod.addresses, settings=settings)).decode(),
            "KEY": key,
            "CERTIFICATE": issued.chain,
            "TRUST_BUNDLE": trust_bundle([self._authority]).pem,
        }
        return {f"KUBE_GATEWAY_{name}": value for name, value in values.items()}

    def talk(self, other: PodOfContainers, *, family: int = 0) -> dict | str:
        """The application connects to the other pod's. What both ends saw, or the last line of the error."""
        done = self.application.exec(sys.executable, "-c", CLIENT, other.pod.addresses[family])
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]

    def remove(self) -> None:
        for container in reversed(self.containers):
            container.remove()
        subprocess.run(["ip", "netns", "delete", self.name], check=True)
        self.cgroup.rmdir()
