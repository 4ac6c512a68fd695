"""Which pods count as enrolled, to their peers."""

from __future__ import annotations

from control.playbook import World
from kube_gateway.control.decide import is_enrolled


def test_a_peer_counts_as_enrolled_as_long_as_it_shall_be():
    world = World()
    world.happen("pod a encrypt=true")
    assert is_enrolled(world.pods.values(), "10.0.0.2")
    assert not is_enrolled(world.pods.values(), "10.0.0.3")
    world.happen("gateway a ready")
    world.happen("exits a 137")
    assert is_enrolled(world.pods.values(), "10.0.0.2")
    world.happen("pod a encrypt=false")
    assert not is_enrolled(world.pods.values(), "10.0.0.2")
    world.happen("pod a encrypt=true")
    world.happen("ends a")
    assert not is_enrolled(world.pods.values(), "10.0.0.2")


def test_a_pod_that_ends_counts_as_enrolled_until_nothing_of_it_runs():
    """Its gateway drains as one that leaves does, while its application goes on for as long as it is given."""
    world = World()
    for event in ("pod a encrypt=true", "gateway a ready", "applied a", "deleted a", "leaves a"):
        world.happen(event)
    assert is_enrolled(world.pods.values(), "10.0.0.2")
    world.happen("ends a")
    assert not is_enrolled(world.pods.values(), "10.0.0.2")


def test_a_peer_counts_as_enrolled_while_its_annotations_are_not_understood():
    world = World()
    world.happen("pod a encrypt=maybe")
    assert not is_enrolled(world.pods.values(), "10.0.0.2")
    world.happen("gateway a ready")
    assert is_enrolled(world.pods.values(), "10.0.0.2")
    world.happen("leaves a")
    assert not is_enrolled(world.pods.values(), "10.0.0.2")
