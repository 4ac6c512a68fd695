"""`kube-gateway gateway`: the process inside the pod. Started by the watcher, not by hand."""

from __future__ import annotations

import asyncio
import os

import click

from kube_gateway.errors import KubeGatewayError


@click.command()
def command() -> None:
    """Run the gateway of this pod (started by the watcher)."""
    from kube_gateway import _native
    from kube_gateway.gateway.environment import read_environment
    from kube_gateway.gateway.logs import start_logging
    from kube_gateway.gateway.supervisor import Supervisor

    environment = read_environment(os.environ)
    start_logging()

    async def run() -> None:
        await Supervisor(environment).run()

    try:
        asyncio.run(run())
    except _native.NativeError as error:
        raise KubeGatewayError(
            str(error.args[0]),
            hint="the gateway needs Linux 5.10 or later with cgroup2, CAP_BPF and CAP_NET_ADMIN, and a seccomp profile "
            "that knows CAP_BPF (containerd 1.6.9 or later)",
        ) from error
