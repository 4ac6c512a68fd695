"""Play-books of AI control: which policy a gateway is sent, and what is told of one that is not right."""

from __future__ import annotations

import pytest

from control.playbook import World, play
from kube_gateway.control.decide import problem_of

BOOKS = {
    "a pod that asks for AI control alone has a gateway that encrypts nothing": """
        >> pod a ai=true
        << StartGateway a 1
        >> gateway a starting
        << Configure a none ai=
        >> applied a
        <<
    """,
    "the policy follows the settings, once": """
        >> pod a ai=true
        >> policy a model: x
        << StartGateway a 1
        >> gateway a ready
        << Configure a none ai=
        << SetPolicy a 'model: x'
        >> applied a
        >> told a
        <<
    """,
    "that there is none is told too, as the gateway waits for it": """
        >> pod a ai=true
        >> gateway a ready
        >> applied a
        <<
        >> policy a
        << SetPolicy a ''
        >> told a
        <<
    """,
    "an edit is sent": """
        >> pod a ai=true
        >> gateway a ready
        >> applied a
        >> policy a one
        >> told a
        <<
        >> policy a two
        << SetPolicy a 'two'
    """,
    "another model is a setting, and the policy is not sent again": """
        >> pod a ai=true
        >> gateway a ready
        >> applied a
        >> policy a one
        >> told a
        >> pod a ai=true ai-model=gemma2:2b
        << Configure a none ai=gemma2:2b
        >> applied a
        <<
    """,
    "an edit that is not right is told, and the last policy stays": """
        >> pod a ai=true
        >> gateway a ready
        >> applied a
        >> policy a one
        >> told a
        >> inforce a one
        >> badpolicy a rules[0].regex is wrong
        << ReportProblem a 'rules[0].regex is wrong'
        <<
        >> policy a one
        << ClearProblem a
    """,
    "a gateway that never had a policy is told that there is none, rather than wait for one that is not right": """
        >> pod a ai=true
        >> gateway a starting
        >> applied a
        >> badpolicy a it is wrong
        << ReportProblem a 'it is wrong'
        >> inforce a
        << SetPolicy a ''
    """,
    "a gateway whose policy an earlier watcher has sent keeps it while what is found is not right": """
        >> pod a ai=true
        >> gateway a ready
        >> applied a
        >> inforce a one
        >> badpolicy a it is wrong
        << ReportProblem a 'it is wrong'
        <<
    """,
    "a policy that the gateway alone does not understand is told": """
        >> pod a ai=true
        >> gateway a ready
        >> applied a
        >> policy a one
        >> told a
        >> refuses a one
        << ReportProblem a 'the gateway does not take the policy in its file: rules[0]: ?'
        <<
        >> policy a two
        << ClearProblem a
        << SetPolicy a 'two'
    """,
    "without AI control no policy is sent, and none is wrong": """
        >> pod a encrypt=true
        >> gateway a ready
        >> applied a
        >> policy a one
        <<
        >> badpolicy a it is wrong
        <<
    """,
    "AI control and encryption end each for itself": """
        >> pod a ai=true encrypt=strict
        >> gateway a ready
        << Configure a strict ai=
        >> applied a
        >> pod a encrypt=strict
        << Configure a strict
        >> applied a
        >> pod a ai=true
        << Configure a none ai=
        >> applied a
        >> pod a
        << Leave a
    """,
    "connections that are older than the gateway are ended on request, so that they come back through it": """
        >> pod a ai=true netflush=true exclude-ports=5432
        >> gateway a ready clear 10.9.9.9:11434:0 10.9.9.9:5432:0
        >> applied a
        << Flush a 1
        >> relayed a
        <<
    """,
    "without being asked for none is ended": """
        >> pod a ai=true
        >> gateway a ready clear 10.9.9.9:11434:0
        >> applied a
        <<
    """,
    "connections that others have made to the pod are left alone": """
        >> pod a ai=true netflush=true
        >> gateway a ready clear 10.9.9.9:40000:0:8080 10.9.9.9:40000:0:40001
        >> applied a
        <<
    """,
    "idle ones only, if that is what is asked for": """
        >> pod a ai=true netflush=idle
        >> gateway a ready clear 10.9.9.9:11434:0 10.9.9.9:11434:9
        >> applied a
        << Flush a 2
    """,
    "without AI control a peer that does not encrypt has its connections left": """
        >> pod a encrypt=true netflush=true
        >> gateway a ready clear 10.9.9.9:11434:0
        >> applied a
        <<
    """,
}


@pytest.mark.parametrize("book", BOOKS.values(), ids=BOOKS.keys())
def test_ai_play_book(book):
    play(book)


def test_ai_an_obstacle_counts_before_a_policy_that_is_not_right():
    world = World()
    for event in ("pod a ai=true", "badpolicy a it is wrong", "obstacle a PodSecurity"):
        world.happen(" " + event)
    problem = problem_of(world.pods["a"])
    assert problem is not None
    assert problem.reason == "PodSecurity"
