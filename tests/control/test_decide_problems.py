"""What is wrong with a pod is reported once, and what is right goes on, as play-books."""

from __future__ import annotations

import pytest

from control.playbook import play

BOOKS = {
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
}


@pytest.mark.parametrize("book", BOOKS)
def test_play_book(book):
    play(BOOKS[book])
