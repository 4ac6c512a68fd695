"""Which connections in clear the watcher has ended, as play-books."""

from __future__ import annotations

import pytest

from control.playbook import World, play

BOOKS = {
    "flushing ends what would come back encrypted": """
        >> pod a encrypt=true netflush=true
        >> pod b encrypt=true
        >> pod c
        >> gateway a ready clear b:9000:0 c:9000:0 203.0.113.1:443:0
        >> applied a
        >> gateway b starting
        << Configure b permissive
        >> applied b
        <<
        >> gateway b ready
        << Flush a 1
    """,
    "flushing leaves busy connections alone when asked to": """
        >> pod a encrypt=true netflush=idle
        >> pod b encrypt=true
        >> gateway a ready clear b:9000:1 b:9001:6
        >> gateway b ready
        >> applied a
        >> applied b
        << Flush a 2
    """,
    "flushing leaves excluded connections alone": """
        >> pod a encrypt=true netflush=true exclude-ports=9000
        >> pod b encrypt=true
        >> gateway a ready clear b:9000:1 b:9001:1
        >> gateway b ready
        >> applied a
        >> applied b
        << Flush a 2
        >> pod a encrypt=true netflush=true exclude-cidrs=10.0.0.0/24
        << Configure a permissive
        >> applied a
        <<
    """,
    "flushing leaves alone what an endpoint dials": """
        >> pod a encrypt=true netflush=true endpoint=true
        >> pod b encrypt=true
        >> gateway a ready clear b:9000:0
        >> gateway b ready
        >> applied a
        >> applied b
        <<
    """,
    "flushing ends what others dialled to an endpoint": """
        >> pod a encrypt=true netflush=true endpoint=true
        >> pod b encrypt=true
        >> gateway a ready clear b:40000:0:9000
        >> gateway b ready
        >> applied a
        >> applied b
        << Flush a 1
    """,
    "flushing leaves alone what is not to be captured": """
        >> pod a encrypt=true netflush=true podcidr=192.168.0.0/16
        >> pod b encrypt=true
        >> gateway a ready clear b:9000:0
        >> gateway b ready
        >> applied a
        >> applied b
        <<
    """,
    "flushing leaves alone what the peer that dialled excludes": """
        >> pod a encrypt=true netflush=true
        >> pod b encrypt=true exclude-ports=9000
        >> gateway a ready clear b:40000:0:9000 b:40001:0:9001
        >> gateway b ready
        >> applied a
        >> applied b
        << Flush a 2
    """,
    "where the ports do not tell who dialled, both have to capture": """
        >> pod a encrypt=true netflush=true
        >> pod b encrypt=true endpoint=true
        >> gateway a ready clear b:50051:0 b:9000:0
        >> gateway b ready
        >> applied a
        >> applied b
        << Flush a 2
    """,
    "connections with a peer that is not decided on are ended all the same": """
        >> pod a encrypt=true netflush=true
        >> pod b encrypt=true netflush=true
        >> peer b
        >> gateway a ready clear b:9000:1
        >> gateway b ready clear a:40000:1:9000
        >> applied a
        <<
        >> applied b
        << Flush a 1
    """,
    "a connection that is not the pod's own is not ended": """
        >> pod a encrypt=true netflush=true
        >> pod b encrypt=true
        >> gateway a ready clear b:9000:1 b:9001:1
        >> foreign a 10.9.9.9
        >> gateway b ready
        >> applied a
        >> applied b
        << Flush a 2
        >> foreign a nonsense
        << Flush a 2
    """,
    "nothing is flushed without encryption": """
        >> pod a encrypt=false netflush=true
        >> pod b encrypt=true
        >> gateway a ready clear b:9000:1
        >> gateway b ready
        >> applied a
        >> applied b
        <<
    """,
}


@pytest.mark.parametrize("book", BOOKS)
def test_play_book(book):
    play(BOOKS[book])


CAPTURED = {
    "debug=false": True,
    "podcidr=10.0.0.0/24": True,
    "endpoint=true": False,
    "exclude-ports=9000": False,
    "exclude-cidrs=10.0.0.0/8": False,
    "podcidr=192.168.0.0/16": False,
}
"""Options of the pod that dials port 9000 of another, and whether its gateway captures that."""


@pytest.mark.parametrize("server", CAPTURED)
@pytest.mark.parametrize("client", CAPTURED)
def test_a_connection_that_comes_back_in_clear_is_never_ended(client, server):
    world = World()
    world.happen(f"pod a encrypt=true netflush=true {client}")
    world.happen(f"pod b encrypt=true netflush=true {server}")
    world.happen("gateway a ready clear b:9000:0")
    world.happen("gateway b ready clear a:40000:0:9000")
    world.happen("applied a")
    world.happen("applied b")
    flushed = set()
    for peer in "ab":
        world.only_peers = {peer}
        flushed |= {action.pod for action in world.decide()}
    if not CAPTURED[client]:
        assert flushed == set()
    else:
        # A pod also leaves those addresses alone that it excludes itself.
        assert flushed == ({"default/a"} if server.startswith("exclude-cidrs") else {"default/a", "default/b"})
