"""The hooks of one pod: where they are, which maps they have, and what they are told."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from kube_gateway import _native
from kube_gateway.control.messages import Configure
from kube_gateway.gateway.cgroups import find_pod_cgroup, given_cgroup
from kube_gateway.gateway.environment import GatewayEnvironment
from kube_gateway.gateway.hook_settings import configure_hooks

_log = logging.getLogger("supervisor")


class PodHooks:
    """Loads them, finds the pod's cgroup, and puts them there when told. Raises `NativeError`, as all its methods do.

    `others` are cgroups of further gateways of the pod that run, `makers` those that listeners were made in (see
    `Succession`), `closed` the ports that policies close. `in_charge` is whether they are on the pod and no older gateway's
    any more, so that they are this one's to hand over and to remove.
    """

    def __init__(
        self,
        environment: GatewayEnvironment,
        *,
        others: Callable[[], tuple[int, ...]],
        makers: Callable[[], tuple[int, ...]],
        closed: Callable[[], tuple[int, ...] | Literal["all"]],
    ) -> None:
        self.native = _native.Hooks()
        given = environment.cgroup
        self.cgroup = given_cgroup(given) if given else find_pod_cgroup(self.native, uid=environment.uid)
        _log.info("the pod's cgroup: %s", self.cgroup.how)
        self.in_charge = False
        self._control_port = environment.control.port
        self._others = others
        self._makers = makers
        self._closed = closed

    @property
    def gateways(self) -> tuple[int, ...]:
        """Cgroups of all gateways of the pod that run."""
        return (self.cgroup.own, *self._others())

    @property
    def ours(self) -> set[int]:
        """The same, and those that what they listen on was made in."""
        return {*self.gateways, *self._makers()}

    def configure(self, told: Configure | None, *, capture: bool) -> None:
        """Tell them what is in force; without `capture` they leave every new connection alone."""
        if told is not None:
            configure_hooks(
                self.native,
                told,
                gateway_cgroups=self.gateways,
                makers=self._makers(),
                control_port=self._control_port,
                capture=capture,
                closed_ports=self._closed(),
            )

    def mark(self, listeners: Iterable[socket.socket]) -> None:
        """These are the gateway's, and not of somebody who has taken the port."""
        for listener in listeners:
            self.native.mark_listener(listener.fileno())

    def inherit(self, maps: Mapping[str, int]) -> None:
        """Go on with the maps of an older gateway (descriptors by name)."""
        self.native = _native.Hooks(maps=dict(maps))

    def maps(self) -> dict[str, int]:
        """What a newer gateway could go on with (descriptors by name)."""
        return self.native.maps() if self.in_charge else {}

    def attach(self) -> None:
        """Put them on the pod, in the place of an older gateway's."""
        self.native.attach(str(self.cgroup.path))

    def remove(self) -> None:
        """Take them off the pod, if they are this gateway's to remove."""
        if self.in_charge:
            _native.remove_hooks(str(self.cgroup.path))
            self.in_charge = False
