"""Pods with connections in clear, and what is decided about these as time goes by."""

from __future__ import annotations

from collections import Counter, deque

import msgspec

from kube_gateway.control.actions import Flush
from kube_gateway.control.pace import ends_of
from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.settings import settings_from_annotations

OWN, PEER = "10.0.0.2", "10.0.0.3"


def settings(text):
    pairs = (word.partition("=") for word in text.split())
    return settings_from_annotations({f"kube-gateway.io/{key}": value for key, _, value in pairs})


def connection(number=1, *, local=OWN, remote=PEER, own_port=0, port=5432, **others):
    fields = {"relayed": False, "idle": 60.0, **others}
    return ClearConnection(
        cookie=number,
        local_address=local,
        local_port=own_port or 40000 + number,
        remote_address=remote,
        remote_port=port,
        **fields,
    )


def enrolled(world, *names):
    for name in names:
        world.happen(f"pod {name} encrypt=true netflush=true")
        world.happen(f"gateway {name} ready")
        world.happen(f"applied {name}")


def have(world, name, connections):
    world.change_gateway(name, clear_connections=tuple(connections))


def seen_from_the_other_end(connections):
    return [
        msgspec.structs.replace(
            each,
            local_address=each.remote_address,
            local_port=each.remote_port,
            remote_address=each.local_address,
            remote_port=each.local_port,
        )
        for each in connections
    ]


def ended_in(world, *, every=0.25, until=600.0):
    """What is decided as time goes by until nothing is left to do: time and ends of each connection."""
    found, quiet = [], 0
    while quiet < 8:
        assert world.now < until, "it does not come to an end"
        decided = [action for action in world.decide() if isinstance(action, Flush)]
        for action in decided:
            found += [(world.now, ends_of(each)) for each in action.connections]
        for action in decided:
            world.carry_out(action)
            forget(world, {ends_of(each) for each in action.connections})
        quiet = 0 if decided else quiet + 1
        world.now += every
    return found


def forget(world, ended):
    """What has ended has ended at both ends."""
    for name, pod in world.pods.items():
        have(world, name, [each for each in pod.gateway.clear_connections if ends_of(each) not in ended])


def most_within_a_second(found, name_of):
    """The most that ended within any second, of one `name_of`."""
    lately, counts, most = deque(), Counter(), Counter()
    for at, ends in found:
        lately.append((at, ends))
        counts.update(name_of(ends))
        while at - lately[0][0] >= 1.0:
            counts.subtract(name_of(lately.popleft()[1]))
        most |= counts
    return max(most.values())


def addresses(ends):
    return {address for address, _ in ends}


def pair(ends):
    return [frozenset(addresses(ends))]
