"""Objects as the API writes them, and other values that tests of the watcher need."""

from __future__ import annotations

import contextlib
import datetime
import functools
import random
import socket
import tempfile
from pathlib import Path

import msgspec

from kube_gateway.control import messages
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.identity.authority import create_authority
from kube_gateway.identity.roots import Roots
from kube_gateway.model.flow import GatewaySnapshot
from kube_gateway.watcher.authority import Signer
from kube_gateway.watcher.configuration import Configuration
from kube_gateway.watcher.objects import PodObject

IMAGE = "registry/kube-gateway:1"
TYPE = "kube-gateway.io/Encrypted"


def at(seconds):
    """A moment (since the epoch) as the API writes it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod_body(name="web", *, namespace="shop", address="10.0.0.2", phase="Running", **annotations):
    """A pod; annotations are ours, without prefix and with underscores for hyphens."""
    ours = {f"kube-gateway.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "metadata": {"name": name, "namespace": namespace, "annotations": ours},
        "spec": {
            "nodeName": "node-1",
            "serviceAccountName": "web",
            "containers": [{"name": "app", "image": "app:1"}],
        },
        "status": {"phase": phase, "podIPs": [{"ip": address}]},
    }


def running(since=0.0):
    return {"running": {"startedAt": at(since)}}


def waiting(reason="ContainerCreating", message=""):
    return {"waiting": {"reason": reason, "message": message}}


def ended(code, *, ran=1.0, at_time=1000.0, message=""):
    return {
        "terminated": {"exitCode": code, "startedAt": at(at_time - ran), "finishedAt": at(at_time), "message": message}
    }


def with_gateways(body, *states, image=IMAGE, privileged=False):
    """The pod with gateways in these states, oldest first."""
    names = ["kube-gateway" if number == 1 else f"kube-gateway-{number}" for number in range(1, len(states) + 1)]
    context = {"privileged": privileged}
    body["spec"]["ephemeralContainers"] = [{"name": name, "image": image, "securityContext": context} for name in names]
    body["status"]["ephemeralContainerStatuses"] = [
        {"name": name, "state": state} for name, state in zip(names, states, strict=True) if state is not None
    ]
    return body


def with_condition(body, status, reason, message=""):
    body["status"]["conditions"] = [
        {"type": "Ready", "status": "True"},
        {"type": TYPE, "status": status, "reason": reason, "message": message, "lastTransitionTime": at(5)},
    ]
    return body


def seen(body):
    """The pod as the watcher sees it."""
    body["metadata"].setdefault("uid", "uid-1")
    return msgspec.convert(body, PodObject)


class Writer:
    """The end of a line that keeps what is said on it."""

    def __init__(self, heard=lambda message: None):
        self.said = []
        self.closed = False
        self._heard = heard

    def write(self, line):
        message = messages.decode_from_watcher(line)
        self.said.append(message)
        self._heard(message)

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True


def report(state="ready", *clear):
    return messages.Report(
        state=state, settings_revision=1, certificate_expires=0.0, clear_connections=clear, snapshot=GatewaySnapshot()
    )


def line(state="ready", *, applied=None, connected=True, silent_for=0.0):
    """The line of a gateway."""
    gateway = ConnectedGateway()
    if connected:
        gateway.connected(Writer())
    gateway.since -= silent_for
    if state is not None:
        gateway.reported(msgspec.structs.replace(report(state), settings_revision=gateway.revision))
    gateway.applied = applied
    return gateway


def configuration(**options):
    values = {"name": "watcher-1", "address": "127.0.0.1", "authority": Path("/nowhere"), "image": IMAGE}
    return Configuration(**{**values, "control": "tls:10.96.0.9:18444", **options})


def signer():
    """What signs for the one authority of all tests: making one takes time."""
    return signer_of(_authority())


@functools.cache
def _authority():
    with tempfile.TemporaryDirectory() as directory:
        return create_authority(Path(directory) / "authority")


def signer_of(authority):
    return Signer(Roots(current=authority))


def free_port():
    """One to listen on, outside of those that the kernel gives to whoever dials."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port
