"""Objects that a client is asked for, and lines of a watch."""

from __future__ import annotations

import contextlib
import json

import msgspec

from kube_gateway.kube.client import Metadata

PODS = "/api/v1/pods"


class Thing(msgspec.Struct):
    metadata: Metadata = Metadata()


def a_thing(name, version="1", **metadata):
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": version, **metadata}}


def a_line(kind, body):
    return json.dumps({"type": kind, "object": body}, ensure_ascii=False).encode() + b"\n"


async def all_of(events):
    async with contextlib.aclosing(events):
        return [event async for event in events]
