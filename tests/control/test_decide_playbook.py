"""More play-books: pods side by side, and one after the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.playbook import World, play, spell, understood
from kube_gateway.control.actions import Configure, Flush, Leave, StartGateway
from kube_gateway.control.decide import LEAVE_GRACE, is_enrolled
from kube_gateway.model.settings import settings_from_annotations

BOOKS = {
    "annotations put back while the gateway drains": """
        >> pod a encrypt=strict
        >> gateway a ready
        >> applied a
        >> pod a
        << Leave a
        >> leaves a
        >> gateway a draining
        >> pod a encrypt=true
        <<
        >> time 3600
        <<
        >> exits a 0
        << StartGateway a 2
        >> gateway a starting
        << Configure a permissive
    """,
    "a gateway that is told to leave and dies of it does not come back": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> pod a
        << Leave a
        >> leaves a
        >> exits a 137
        >> time 60
        <<
    """,
    "leaving well ends the row of failures": """
        >> pod a encrypt=true
        >> gateway a starting
        >> exits a 1
        >> time 1
        << StartGateway a 2
        >> gateway a starting
        >> exits a 1
        >> time 1
        << StartGateway a 3
        >> gateway a ready
        >> leaves a
        >> exits a 0
        << StartGateway a 4
    """,
    "the pause is waited for to its end and no longer": """
        >> pod a encrypt=true
        >> gateway a starting
        >> exits a 1
        >> time 0.19
        <<
        >> time 0.02
        << StartGateway a 2
    """,
    "a gateway that dies of a signal while starting is replaced": """
        >> pod a encrypt=true
        >> gateway a starting
        >> exits a -11
        <<
        >> time 0.3
        << StartGateway a 2
    """,
    "pods are decided each for itself, in their order": """
        >> pod a encrypt=true
        >> pod b
        >> pod c encrypt=strict
        << StartGateway a 1
        << StartGateway c 1
        >> gateway c ready
        << StartGateway a 1
        << Configure c strict
        >> applied c
        >> gateway a ready
        >> pod c
        << Configure a permissive
        << Leave c
    """,
    "one pod's wrong annotation is no concern of another": """
        >> pod a encrypt=oops
        >> pod b encrypt=true
        << ReportProblem a "annotation kube-gateway.io/encrypt has the value 'oops'"
        << StartGateway b 1
    """,
    "a pod that was wrong from its first day gets nothing until it is right": """
        >> pod a encrypt=oops
        << ReportProblem a "annotation kube-gateway.io/encrypt has the value 'oops'"
        >> time 60
        <<
        >> pod a encrypt=true
        << ClearProblem a
        << StartGateway a 1
    """,
    "while an annotation is wrong a running gateway is neither changed nor told to leave": """
        >> pod a encrypt=strict netflush=true
        >> gateway a ready
        >> applied a
        >> pod a encrypt=oops
        << ReportProblem a "annotation kube-gateway.io/encrypt has the value 'oops'"
        >> time 60
        <<
        >> pod a encrypt=true
        << ClearProblem a
        << Configure a permissive
    """,
    "taking the encryption off keeps the gateway": """
        >> pod a encrypt=strict
        >> gateway a ready
        >> applied a
        >> pod a encrypt=false
        << Configure a off
        >> applied a
        <<
    """,
    "switching a pod off with enabled=false is leaving": """
        >> pod a encrypt=strict
        >> gateway a ready
        >> applied a
        >> pod a encrypt=strict enabled=false
        << Leave a
    """,
    "a pod that ended with hooks left is no longer touched": """
        >> pod a encrypt=strict
        >> gateway a ready
        >> exits a -9
        >> hooks a
        >> ends a
        >> pod a
        >> time 60
        <<
    """,
    "a pod that ended gets no new gateway": """
        >> pod a encrypt=true
        >> ends a
        <<
        >> time 60
        <<
    """,
    "hooks are not removed while the gateway that has them lives": """
        >> pod a encrypt=strict
        >> gateway a ready
        >> applied a
        >> hooks a
        >> pod a
        << Leave a
        >> leaves a
        <<
        >> gateway a draining
        <<
        >> exits a 0
        << RemoveHooks a
    """,
    "nothing is flushed before the settings that ask for it are in force": """
        >> pod a encrypt=true
        >> pod b encrypt=true
        >> gateway a ready clear b:9000:60
        >> gateway b ready
        >> applied a
        >> applied b
        <<
        >> pod a encrypt=true netflush=true
        << Configure a permissive
        >> applied a
        << Flush a 1
    """,
    "nothing is flushed while a gateway still starts": """
        >> pod a encrypt=true netflush=true
        >> pod b encrypt=true
        >> gateway a starting clear b:9000:60
        >> gateway b ready
        >> applied a
        >> applied b
        <<
        >> gateway a ready clear b:9000:60
        << Flush a 1
    """,
    "nothing is flushed to a peer that drains or has died": """
        >> pod a encrypt=true netflush=true
        >> pod b encrypt=true
        >> gateway a ready clear b:9000:60
        >> gateway b ready
        >> applied a
        >> applied b
        >> leaves b
        >> gateway b draining
        <<
        >> exits b 1
        <<
    """,
    "nothing is flushed to a peer that has its encryption off": """
        >> pod a encrypt=true netflush=true
        >> pod b encrypt=false
        >> gateway a ready clear b:9000:60
        >> gateway b ready
        >> applied a
        >> applied b
        <<
    """,
    "idle is from five seconds on": """
        >> pod a encrypt=true netflush=idle
        >> pod b encrypt=true
        >> gateway a ready clear b:1:4.9 b:2:5 b:3:5.1
        >> gateway b ready
        >> applied a
        >> applied b
        << Flush a 3
        >> flushed a
        >> time 1
        << Flush a 2
        >> flushed a
        >> time 1
        <<
    """,
    "an excluded port is the peer's and not one's own": """
        >> pod a encrypt=true netflush=true exclude-ports=40000
        >> pod b encrypt=true
        >> gateway a ready clear b:9000:60
        >> gateway b ready
        >> applied a
        >> applied b
        << Flush a 1
    """,
    "excluding addresses of one family says nothing of the other": """
        >> pod a encrypt=true netflush=true exclude-cidrs=::/0
        >> pod b encrypt=true
        >> gateway a ready clear b:9000:60
        >> gateway b ready
        >> applied a
        >> applied b
        << Flush a 1
    """,
}


@pytest.mark.parametrize("book", BOOKS)
def test_longer_play_book(book):
    play(BOOKS[book])


def world(*events: str) -> World:
    made = World()
    for event in events:
        made.happen(event)
    return made


def test_connections_have_the_whole_grace_to_finish():
    (leave,) = world("pod a encrypt=true", "gateway a ready", "applied a", "pod a").decide()
    assert leave == Leave(pod="default/a", grace=LEAVE_GRACE)


def test_all_settings_are_sent_and_not_only_the_encryption():
    annotations = {"kube-gateway.io/encrypt": "true", "kube-gateway.io/exclude-ports": "22"}
    (configure,) = world("pod a encrypt=true exclude-ports=22", "gateway a starting").decide()
    # Who may reach the pod is not known here, so nobody may before it is.
    assert configure == Configure(pod="default/a", settings=settings_from_annotations(annotations), authorize=True)


def test_every_setting_that_differs_is_a_reason_to_configure():
    base = "encrypt=true"
    for change in ("debug=true", "endpoint=true", "netflush=idle", "podcidr=10.0.0.0/8", "exclude-ports=1"):
        changed = world(f"pod a {base}", "gateway a ready", "applied a", f"pod a {base} {change}")
        assert [type(action) for action in changed.decide()] == [Configure], change


def test_a_pod_without_an_address_waits_for_one():
    without = world("pod a encrypt=true")
    pod = without.pods["a"].pod
    without.change("a", pod=type(pod)(name="a", uid="a", annotations=pod.annotations))
    assert without.decide() == ()


def test_a_second_look_at_the_same_world_decides_the_same():
    seen = world("pod a encrypt=true", "pod b encrypt=true netflush=true", "gateway b ready clear a:1:9", "applied b")
    assert seen.decide() == seen.decide()


def test_a_peer_that_is_leaving_is_no_longer_expected_to_encrypt():
    leaving = world("pod a encrypt=true", "gateway a ready", "applied a", "leaves a")
    assert not is_enrolled(leaving.pods.values(), "10.0.0.2")


def test_a_peer_whose_annotation_went_wrong_is_still_expected_to_encrypt():
    wrong = world("pod a encrypt=strict", "gateway a ready", "applied a", "pod a encrypt=oops")
    assert is_enrolled(wrong.pods.values(), "10.0.0.2")


NAMES = "abc"
ANNOTATIONS = (
    "",
    "encrypt=true",
    "encrypt=strict",
    "encrypt=false",
    "encrypt=true netflush=true",
    "encrypt=true netflush=idle exclude-ports=9000",
    "encrypt=strict enabled=false",
    "encrypt=oops",
)
EVENTS = st.one_of(
    st.builds("pod {} {}".format, st.sampled_from(NAMES), st.sampled_from(ANNOTATIONS)),
    st.builds(
        "gateway {} {} clear {}:{}:{}".format,
        st.sampled_from(NAMES),
        st.sampled_from(("starting", "ready", "draining")),
        st.sampled_from((*NAMES, "203.0.113.1")),
        st.sampled_from((80, 9000)),
        st.sampled_from((0, 60)),
    ),
    st.builds("exits {} {}".format, st.sampled_from(NAMES), st.sampled_from((0, 1, 137, -9))),
    st.builds("leaves {}".format, st.sampled_from(NAMES)),
    st.builds("applied {}".format, st.sampled_from(NAMES)),
    st.builds("ends {}".format, st.sampled_from(NAMES)),
    st.builds("hooks {}".format, st.sampled_from(NAMES)),
    st.builds("time {}".format, st.sampled_from((0.1, 1, 20))),
)


def after(events: list[str]) -> World:
    """The world after those of the events that can happen in it."""
    made = world(*(f"pod {name}" for name in NAMES))
    for event in events:
        verb, name, *_ = event.split()
        pod = made.pods.get(name)
        lives = pod is not None and pod.gateway is not None and pod.gateway.state != "exited"
        if verb in {"exits", "leaves", "applied"} and not lives:
            continue
        if verb == "applied" and not understood(pod.pod.annotations):
            continue
        made.happen(event)
    return made


@given(st.lists(EVENTS, max_size=30))
def test_whatever_happened_every_running_pod_comes_to_have_what_it_asks_for(events):
    came = after(events)
    for _ in range(12):
        came.happen("time 60")
        for name in NAMES:
            gateway = came.pods[name].gateway
            if (
                gateway is not None
                and gateway.state != "exited"
                and (gateway.told_to_leave or gateway.state == "draining")
            ):
                came.happen(f"exits {name} 0")
        for action in came.decide():
            came.carry_out(action)
        for name in NAMES:
            gateway = came.pods[name].gateway
            if gateway is not None and gateway.state == "starting" and gateway.applied is not None:
                came.change_gateway(name, state="ready")
    assert [spell(action) for action in came.decide()] == []
    for pod in came.pods.values():
        lives = pod.gateway is not None and pod.gateway.state != "exited"
        if not pod.running:
            assert not lives
            continue
        if not understood(pod.pod.annotations):
            assert pod.problem
            continue
        settings = settings_from_annotations(pod.pod.annotations)
        assert pod.problem is None
        assert lives == settings.wanted
        if lives:
            assert (pod.gateway.state, pod.gateway.applied) == ("ready", settings)
        else:
            assert not pod.hooks_left


@given(st.lists(EVENTS, max_size=30))
def test_no_decision_contradicts_another_of_the_same_moment(events):
    decided = after(events).decide()
    for name in NAMES:
        kinds = [type(action) for action in decided if action.pod == f"default/{name}"]
        assert len(kinds) == len(set(kinds))
        assert len({StartGateway, Leave, Configure} & set(kinds)) <= 1
        assert not {Flush, Leave} <= set(kinds)
        assert not {Flush, StartGateway} <= set(kinds)


@given(st.lists(EVENTS, max_size=30))
def test_what_is_not_running_or_not_wanted_is_never_started(events):
    came = after(events)
    for action in came.decide():
        if isinstance(action, StartGateway):
            pod = came.pods[action.pod.removeprefix("default/")]
            assert pod.running
            assert pod.gateway is None or pod.gateway.state == "exited"
            assert action.generation == pod.generation + 1
