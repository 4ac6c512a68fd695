"""The watcher's decisions on gateways that come, die, leave and are replaced, as play-books."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.playbook import World, play, understood
from kube_gateway.control.actions import Leave
from kube_gateway.control.decide import retry_after
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
    "a pod whose program ended is left": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> ends a
        << Leave a
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
}


@pytest.mark.parametrize("book", BOOKS)
def test_play_book(book):
    play(BOOKS[book])


def test_a_play_book_that_is_wrong_is_noticed():
    with pytest.raises(AssertionError):
        play(">> pod a encrypt=true\n<<")
    with pytest.raises(AssertionError):
        play(">> pod a\n<< StartGateway a 1")


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
