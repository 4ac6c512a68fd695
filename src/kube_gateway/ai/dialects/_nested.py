"""Requests that stand inside of others: the same places, below another path."""

from __future__ import annotations

from msgspec.structs import replace

from kube_gateway.ai.shape import Lane, RequestShape


def below(top: str, lanes: tuple[Lane, ...]) -> tuple[Lane, ...]:
    """Return the same lanes in a document that stands at the path `top`."""
    return tuple(
        replace(
            lane,
            path=f"{top}.{lane.path}",
            when=tuple(replace(when, path=f"{top}.{when.path}") for when in lane.when),
        )
        for lane in lanes
    )


def batch(tops: tuple[str, ...], shape: RequestShape) -> RequestShape:
    """Return where texts and tools are in a list of requests, each of which stands at one of the paths `tops`."""

    def paths(inner: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{top}.{path}" for top in tops for path in inner)

    return RequestShape(
        lanes=tuple(lane for top in tops for lane in below(top, shape.lanes)),
        tools=paths(shape.tools),
        tool_names=paths(shape.tool_names),
        tool_types=paths(shape.tool_types),
        tool_kinds=paths(shape.tool_kinds),
        tool_choice=paths(shape.tool_choice),
    )
