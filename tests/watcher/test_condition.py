"""The pod's condition: what is claimed, and that a claim that was written is never written again."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.control.decide import decide
from kube_gateway.control.observed import Observed, Obstacle
from kube_gateway.model.pod import Pod
from kube_gateway.model.ports import ANNOTATION_PREFIX
from kube_gateway.model.settings import Settings, settings_from_annotations
from kube_gateway.watcher import condition
from kube_gateway.watcher.condition import SILENT_AFTER, Claim
from kube_gateway.watcher.observation import Surroundings, observe
from watcher.made import IMAGE, ended, line, pod_body, report, running, seen, waiting, with_condition, with_gateways

ON = Settings(wanted=True, encryption="permissive")
POD = Pod(name="web", uid="uid-1")
REFUSED = Obstacle(reason="PodSecurity", message="the namespace shop enforces it", hint="label it")


def look(body, lines=None, **options):
    values = {"inherited": {}, "image": IMAGE, "started": 0, "refusal": None, "longest_retry": 300.0, "now": 10_000.0}
    return observe(seen(body), lines or {}, Surroundings(**{**values, **options}))


def claim(body, lines=None, *, known_for=0.0, **options):
    return condition.claim(seen(body), look(body, lines, **options), lines or {}, known_for=known_for)


def said(body, lines=None, **options):
    found = claim(body, lines, **options)
    return found and (found.status, found.reason)


WANTED = {"encrypt": "true"}


def test_nothing_is_said_of_pods_that_are_none_of_our_business():
    assert claim(pod_body()) is None
    assert claim(pod_body(phase="Pending", **WANTED)) is None
    assert claim(with_condition(pod_body(phase="Succeeded", **WANTED), "True", "Encrypting")) is None
    leaving = pod_body(**WANTED)
    leaving["metadata"]["deletionTimestamp"] = "2026-11-25T17:49:17Z"
    assert claim(leaving) is None


def test_a_gateway_is_being_added():
    assert claim(pod_body(**WANTED)) == Claim(
        status="False", reason="GatewayStarting", message="a gateway is being added"
    )


@pytest.mark.parametrize("state", [None, waiting(), waiting("ContainerCreating", "x"), waiting(""), running()])
def test_a_gateway_starts(state):
    found = claim(with_gateways(pod_body(**WANTED), state))
    assert found == Claim(status="False", reason="GatewayStarting", message="gateway 1 is starting")


def test_a_gateway_cannot_start():
    found = claim(with_gateways(pod_body(**WANTED), waiting("ErrImagePull", "no such image")))
    assert found == Claim(status="False", reason="ErrImagePull", message="no such image")


@pytest.mark.parametrize(
    ("encrypt", "status", "reason", "message"),
    [
        (
            "true",
            "True",
            "Encrypting",
            "new connections with enrolled peers are encrypted, others in clear (gateway 1)",
        ),
        ("strict", "True", "Encrypting", "new connections with enrolled peers are encrypted, no others (gateway 1)"),
        ("false", "False", "EncryptionOff", "the gateway runs with encryption off"),
    ],
)
def test_a_gateway_serves(encrypt, status, reason, message):
    settings = settings_from_annotations({f"{ANNOTATION_PREFIX}encrypt": encrypt})
    found = claim(with_gateways(pod_body(encrypt=encrypt), running()), {1: line(applied=settings)})
    assert found == Claim(status=status, reason=reason, message=message)


def test_strict_is_claimed_once_it_is_in_force():
    body = with_condition(with_gateways(pod_body(encrypt="strict"), running()), "True", "Encrypting", "others in clear")
    gateway = line(applied=ON)
    # Nothing new has been sent, then it is on its way, then there.
    assert claim(body, {1: gateway}) is None
    strict = settings_from_annotations({f"{ANNOTATION_PREFIX}encrypt": "strict"})
    gateway.configure(strict, pod=POD, authorize=False)
    assert claim(body, {1: gateway}) is None
    assert gateway.reported(msgspec.structs.replace(report(), settings_revision=gateway.revision))
    assert "no others" in claim(body, {1: gateway}).message


def test_what_an_earlier_watcher_has_said_is_not_taken_for_in_force():
    body = with_gateways(pod_body(**WANTED), running())
    first, second = line(applied=ON), line(None)
    time.sleep(0.002)
    second.configure(ON, pod=POD, authorize=False)
    second.reported(first.report)
    assert claim(body, {1: second}) is None


def test_the_one_that_serves_is_named():
    both = {1: line(applied=ON), 2: line(applied=ON)}
    assert "(gateway 2)" in claim(with_gateways(pod_body(**WANTED), running(), running()), both).message
    assert "(gateway 1)" in claim(with_gateways(pod_body(**WANTED), running(), ended(1)), {1: line(applied=ON)}).message
    assert (
        "(gateway 1)"
        in claim(with_gateways(pod_body(**WANTED), running(), waiting("ErrImagePull")), {1: line(applied=ON)}).message
    )


def test_a_gateway_died():
    found = claim(with_gateways(pod_body(**WANTED), ended(137, message="one\ntwo\n\n")))
    assert found.status == "False"
    assert found.reason == "GatewayDied"
    assert found.message == "gateway 1 ended with exit code 137: two; another is started"
    silent = claim(with_gateways(pod_body(**WANTED), ended(137)))
    assert silent.message == "gateway 1 ended with exit code 137; another is started"


def test_a_gateway_died_and_said_why_before_a_long_log():
    log = (
        "starting\nerror: cannot load the hooks: EACCES\nhint: Linux 5.10 is needed\n" + "R1=scalar() R2=ctx()\n" * 300
    )
    found = claim(with_gateways(pod_body(**WANTED), ended(1, message=log)))
    assert found.message == (
        "gateway 1 ended with exit code 1: error: cannot load the hooks: EACCES hint: Linux 5.10 is needed; "
        "another is started"
    )


@pytest.mark.parametrize("log", ["x" * 5000, "error: " + "y" * 5000 + "\nhint: z", "a\n" + "b " * 4000 + "\n"])
def test_last_words_are_bounded(log):
    message = claim(with_gateways(pod_body(**WANTED), ended(1, message=log))).message
    words = message.removeprefix("gateway 1 ended with exit code 1: ").removesuffix("; another is started")
    assert len(words) == 300
    assert words.endswith(" ...")


def test_a_gateway_without_a_line_for_long():
    body = with_condition(with_gateways(pod_body(**WANTED), running()), "True", "Encrypting")
    assert said(body) is None
    assert said(body, known_for=SILENT_AFTER) == ("Unknown", "GatewayNotConnected")
    assert said(body, {1: line(connected=False, silent_for=1)}, known_for=9999) is None
    assert said(body, {1: line(connected=False, silent_for=SILENT_AFTER)}) == ("Unknown", "GatewayNotConnected")
    assert said(with_gateways(pod_body(**WANTED), running()), known_for=1) == ("False", "GatewayStarting")


def test_leaving_and_having_left():
    body = with_condition(with_gateways(pod_body(), running()), "True", "Encrypting")
    assert said(body, {1: line("draining")}) == ("False", "Leaving")
    body = with_condition(with_gateways(pod_body(), ended(0)), "False", "Leaving")
    assert claim(body, {1: line()}) == Claim(status="False", reason="NotEnrolled", message="")
    assert said(with_gateways(pod_body(), ended(0)), {1: line()}) == ("False", "NotEnrolled")
    assert said(with_condition(pod_body(), "False", "ProblemPodSecurity", "x")) == ("False", "NotEnrolled")


def test_problems():
    assert claim(pod_body(encrypt="oops")) == Claim(
        status="False",
        reason="ProblemInvalidAnnotation",
        message="annotation kube-gateway.io/encrypt has the value 'oops'; to mend it: allowed: true, strict, false",
    )
    assert claim(pod_body(**WANTED), refusal=REFUSED) == Claim(
        status="False", reason="ProblemPodSecurity", message="the namespace shop enforces it; to mend it: label it"
    )
    host = pod_body(**WANTED)
    host["spec"]["hostNetwork"] = True
    assert said(host) == ("False", "ProblemHostNetwork")


def test_a_refusal_is_no_problem_of_a_pod_that_asks_for_nothing():
    assert claim(pod_body(), refusal=REFUSED) is None


def test_hooks_that_cannot_be_removed_are_a_problem():
    body = with_condition(with_gateways(pod_body(), ended(137, at_time=1)), "False", "Leaving")
    assert said(body, refusal=REFUSED) == ("False", "ProblemPodSecurity")


def test_while_annotations_are_wrong_the_last_ones_stay_in_force_and_that_is_said():
    body = with_gateways(pod_body(encrypt="oops"), running())
    assert said(body, {1: line(applied=ON)}) == ("True", "ProblemInvalidAnnotation")
    off = Settings(wanted=True)
    assert said(body, {1: line(applied=off)}) == ("False", "ProblemInvalidAnnotation")


@pytest.mark.parametrize("status", ["True", "False"])
def test_a_watcher_that_starts_does_not_take_back_what_it_does_not_know(status):
    message = "annotation kube-gateway.io/encrypt has the value 'oops'; to mend it: allowed: true, strict, false"
    body = with_gateways(pod_body(encrypt="oops"), running())
    with_condition(body, status, "ProblemInvalidAnnotation", message)
    assert said(body) == (status, "ProblemInvalidAnnotation")
    assert said(with_gateways(pod_body(encrypt="oops"), running())) == ("Unknown", "ProblemInvalidAnnotation")


BODIES = st.builds(
    lambda annotations, states, host: (annotations, states, host),
    st.sampled_from(
        [{}, WANTED, {"encrypt": "strict"}, {"encrypt": "false"}, {"encrypt": "oops"}, {"exclude_ports": "0"}]
    ),
    st.lists(
        st.sampled_from(
            [None, waiting(), waiting("ErrImagePull", "no"), running(), ended(0), ended(1, message="a\nb"), ended(77)]
        ),
        max_size=3,
    ),
    st.booleans(),
)
LINES = st.dictionaries(
    st.integers(1, 3),
    st.tuples(st.sampled_from(["starting", "ready", "draining", None]), st.booleans(), st.sampled_from([None, ON])),
)


def a_body(made):
    annotations, states, host = made
    body = with_gateways(pod_body(**annotations), *states)
    body["spec"]["hostNetwork"] = host
    return body


@given(BODIES, LINES, st.sampled_from([None, REFUSED]), st.sampled_from([0.0, 100.0]))
def test_a_claim_that_was_written_is_not_written_again_and_a_problem_is_told_once(made, spoken, refusal, known_for):
    lines = {number: line(state, connected=up, applied=applied) for number, (state, up, applied) in spoken.items()}
    body = a_body(made)
    first = claim(body, lines, known_for=known_for, refusal=refusal)
    if first is None:
        return
    with_condition(body, first.status, first.reason, first.message)
    again = claim(body, lines, known_for=known_for, refusal=refusal)
    assert again in (None, first)
    observation = look(body, lines, refusal=refusal)
    decided = [type(action).__name__ for action in decide(Observed(now=10_000.0, pods=(observation,)))]
    assert "ReportProblem" not in decided
    assert "ClearProblem" not in decided


@given(BODIES, LINES, st.sampled_from([None, REFUSED]))
def test_what_another_watcher_wrote_is_read_back(made, spoken, refusal):
    """What the first claims of a problem, one that starts afterwards, without any line, leaves as it is."""
    lines = {number: line(state, connected=up, applied=applied) for number, (state, up, applied) in spoken.items()}
    body = a_body(made)
    first = claim(body, lines, refusal=refusal)
    if first is None or not first.reason.startswith("Problem"):
        return
    with_condition(body, first.status, first.reason, first.message)
    generation_lives = look(body).gateway is not None and look(body).gateway.state != "exited"
    second = claim(body, {}, refusal=refusal)
    if generation_lives:
        assert second == first
