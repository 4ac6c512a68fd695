"""An older gateway that the others of a test take over from."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from kube_gateway.gateway.handover.messages import SeenConnection
from kube_gateway.gateway.handover.offering import Offering, Possessions


class Older:
    """An older gateway with one listener and one map."""

    def __init__(self, own, *, cgroups=1, policy=None):
        self.policy = policy
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.pipe, self.held = os.pipe()
        self.map = os.open("/dev/zero", os.O_RDONLY)
        self.cgroups = {101 + number: self.pipe for number in range(cgroups)}
        self.successors, self.taken_over = [], 0
        self.offering = Offering(
            own=lambda: own,
            possessions=self._possessions,
            on_successor=lambda: self.successors.append(self.offering.successor),
            on_taken_over=self._taken_over,
        )

    def _possessions(self):
        return Possessions(
            listeners={"redirect": (self.listener.fileno(),)},
            maps={"kgw_config": self.map},
            cgroups=self.cgroups,
            makers=(7,),
            enrolled=("10.0.0.9",),
            seen=(SeenConnection(cookie=2**63, age=7.5, older=True),),
            policy=self.policy,
        )

    def _taken_over(self):
        self.taken_over += 1
        self.task.cancel()

    async def __aenter__(self):
        self.task = asyncio.create_task(self.offering.run())
        await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.listener.close()
        for descriptor in (self.pipe, self.held, self.map):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    async def until(self, condition):
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.01)
