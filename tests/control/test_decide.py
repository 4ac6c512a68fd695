"""The watcher's decisions, as play-books."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.playbook import World, play, understood
from kube_gateway.control.actions import Leave
from kube_gateway.control.decide import is_enrolled, retry_after
from kube_gateway.model.settings import settings_from_annotations

BOOKS = {
    "a pod that asks for nothing gets nothing": """
        >> pod a
        <<
        >> pod a netflush=true debug=true
        <<
    """,
    "enrolling": """
        >> pod a encrypt=true
        << StartGateway a 1
        >> gateway a starting
        << Configure a permissive
        >> applied a
        <<
        >> gateway a ready
        <<
    """,
    "a change takes effect without a new gateway": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> pod a encrypt=strict
        << Configure a strict
        >> applied a
        <<
    """,
    "leaving": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> pod a
        << Leave a
        >> leaves a
        <<
        >> gateway a draining
        <<
        >> exits a 0
        <<
    """,
    "wanted again while it leaves: the next one starts when it is gone": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> pod a encrypt=true enabled=false
        << Leave a
        >> leaves a
        >> gateway a draining
        >> pod a encrypt=true
        <<
        >> exits a 0
        << StartGateway a 2
    """,
    "a gateway that dies is replaced, after a growing pause": """
        >> pod a encrypt=true
        >> gateway a ready
        >> exits a 137
        <<
        >> time 0.2
        << StartGateway a 2
        >> gateway a starting
        >> exits a 1
        <<
        >> time 0.3
        <<
        >> time 0.2
        << StartGateway a 3
    """,
    "a gateway that ends by itself without being told is replaced too": """
        >> pod a encrypt=true
        >> gateway a ready
        >> exits a 0
        >> time 1
        << StartGateway a 2
    """,
    "hooks of a dead strict gateway go when the pod shall not be enrolled": """
        >> pod a encrypt=strict
        >> gateway a ready
        >> exits a -9
        >> hooks a
        >> pod a
        << RemoveHooks a
    """,
    "hooks of a dead strict gateway stay while it shall": """
        >> pod a encrypt=strict
        >> gateway a ready
        >> exits a -9
        >> hooks a
        <<
        >> time 1
        << StartGateway a 2
    """,
    "a wrong annotation is reported once and changes nothing": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> pod a encrypt=maybe
        << ReportProblem a "annotation kube-gateway.io/encrypt has the value 'maybe'"
        <<
        >> pod a encrypt=perhaps
        << ReportProblem a "annotation kube-gateway.io/encrypt has the value 'perhaps'"
        >> pod a encrypt=true
        << ClearProblem a
        >> time 1
        <<
    """,
    "a pod whose program ended is left": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> ends a
        << Leave a
    """,
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
    "a wrong annotation does not make a new gateway leave": """
        >> pod a encrypt=strict
        >> gateway a ready
        >> applied a
        >> pod a encrypt=maybe
        << ReportProblem a "annotation kube-gateway.io/encrypt has the value 'maybe'"
        >> exits a -9
        >> hooks a
        <<
        >> time 1
        << StartGateway a 2
        >> gateway a starting
        <<
        >> pod a encrypt=strict
        << ClearProblem a
        << Configure a strict
    """,
    "a wrong annotation does not bring back a gateway that has left": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> pod a
        << Leave a
        >> leaves a
        >> exits a 0
        >> pod a encrypt=maybe
        << ReportProblem a "annotation kube-gateway.io/encrypt has the value 'maybe'"
        >> time 60
        <<
    """,
    "a pod that is being deleted is left to its gateway": """
        >> pod a encrypt=true netflush=true
        >> pod b encrypt=true
        >> gateway a ready clear b:9000:1
        >> gateway b ready
        >> applied b
        >> deleted a
        <<
        >> pod a
        <<
        >> exits a 137
        >> hooks a
        >> time 60
        <<
    """,
    "an obstacle is reported once and nothing is started until it is gone": """
        >> pod a encrypt=true
        >> obstacle a PodSecurity
        << ReportProblem a 'PodSecurity is in the way'
        >> time 600
        <<
        >> obstacle a Webhook
        << ReportProblem a 'Webhook is in the way'
        >> obstacle a
        << ClearProblem a
        << StartGateway a 1
    """,
    "an obstacle is none of a pod that asks for nothing": """
        >> pod a
        >> obstacle a PodSecurity
        <<
        >> pod a encrypt=true enabled=false
        <<
        >> pod a encrypt=true
        << ReportProblem a 'PodSecurity is in the way'
        >> pod a
        << ClearProblem a
    """,
    "an obstacle does not touch a gateway that is there": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> obstacle a PodSecurity
        << ReportProblem a 'PodSecurity is in the way'
        >> pod a encrypt=strict
        << Configure a strict
        >> applied a
        >> exits a 137
        >> time 60
        <<
        >> pod a
        << ClearProblem a
    """,
    "a wrong annotation counts before an obstacle": """
        >> pod a encrypt=oops
        >> obstacle a HostNetwork
        << ReportProblem a "annotation kube-gateway.io/encrypt has the value 'oops'"
        >> pod a encrypt=true
        << ReportProblem a 'HostNetwork is in the way'
    """,
    "hooks that an obstacle keeps from being removed are a problem": """
        >> pod a encrypt=strict
        >> gateway a ready
        >> exits a -9
        >> hooks a
        >> obstacle a PodSecurity
        >> pod a
        << ReportProblem a 'PodSecurity is in the way'
        >> time 60
        <<
        >> obstacle a
        << ClearProblem a
        << RemoveHooks a
    """,
    "a newer version takes over": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> outdated a
        << StartGateway a 2
        >> pod a encrypt=strict
        << Configure a strict
        << StartGateway a 2
    """,
    "a newer version that does not start is tried more and more rarely": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> failed a 3
        >> outdated a
        <<
        >> time 0.7
        <<
        >> time 0.2
        << StartGateway a 2
        >> obstacle a TooManyGateways
        << ReportProblem a 'TooManyGateways is in the way'
    """,
    "one that leaves is not replaced by a newer version": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> outdated a
        >> pod a
        << Leave a
        >> leaves a
        <<
        >> pod a encrypt=true
        <<
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


def test_a_play_book_that_is_wrong_is_noticed():
    with pytest.raises(AssertionError):
        play(">> pod a encrypt=true\n<<")
    with pytest.raises(AssertionError):
        play(">> pod a\n<< StartGateway a 1")


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


def test_the_pause_grows_and_is_bounded():
    pauses = [retry_after(failures, longest=10.0) for failures in range(1, 200)]
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert pauses == sorted(pauses)
    assert max(pauses) == 10.0


ANNOTATIONS = ("", "encrypt=true", "encrypt=strict", "encrypt=false", "encrypt=oops", "encrypt=true enabled=false")
EVENTS = st.one_of(
    st.builds("pod {} {}".format, st.sampled_from("abc"), st.sampled_from(ANNOTATIONS)),
    st.builds("gateway {} {}".format, st.sampled_from("abc"), st.sampled_from(("starting", "ready"))),
    st.builds("exits {} {}".format, st.sampled_from("abc"), st.sampled_from((0, 1, -9))),
    st.builds("hooks {}".format, st.sampled_from("abc")),
    st.builds("obstacle {} {}".format, st.sampled_from("abc"), st.sampled_from(("", "PodSecurity", "HostNetwork"))),
    st.builds("outdated {}".format, st.sampled_from("abc")),
    st.builds("deleted {}".format, st.sampled_from("c")),
    st.builds("time {}".format, st.sampled_from((0.1, 1, 20))),
)


@given(st.lists(EVENTS, max_size=25))
def test_whatever_happens_it_comes_to_rest_as_asked_for(events):
    world = World()
    for name in "abc":
        world.happen(f"pod {name}")
    for event in events:
        verb, name, *_ = event.split()
        gone = name in world.pods and (world.pods[name].gateway is None or world.pods[name].gateway.state == "exited")
        if verb in {"exits", "outdated"} and gone:
            continue
        world.happen(event)
    for _ in range(10):
        world.happen("time 60")
        decided = world.decide()
        if not decided:
            break
        for action in decided:
            if isinstance(action, Leave):
                name = action.pod.removeprefix("default/")
                assert understood(world.pods[name].pod.annotations), "a typing mistake made a gateway leave"
            world.carry_out(action)
    assert world.decide() == ()
    for pod in world.pods.values():
        if pod.ending:
            continue
        if not understood(pod.pod.annotations):
            assert pod.problem
            continue
        settings = settings_from_annotations(pod.pod.annotations)
        running = pod.gateway is not None and pod.gateway.state != "exited"
        assert not running or pod.gateway.applied == settings
        if pod.obstacle is not None:
            assert (pod.problem is not None) == (settings.wanted or pod.hooks_left)
            assert settings.wanted or not running
            continue
        assert pod.problem is None
        assert running == settings.wanted
        assert not running or not pod.gateway.outdated
        assert not pod.hooks_left or running
