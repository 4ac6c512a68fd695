"""How a pod is, for a person, from its annotations, its condition and its containers."""

from __future__ import annotations

import pytest
from facts import encrypting, pod, reported, seen

from kube_gateway.checks.enrolment import PRIVILEGED_HINT, concerns_us
from kube_gateway.control.observed import Obstacle
from kube_gateway.watcher.condition import claim
from kube_gateway.watcher.objects import PodObject
from kube_gateway.watcher.observation import Surroundings, observe

POD = "-n shop web"


def state(subject: PodObject, **more):
    found = seen(subject, **more)
    return found.state, found.reason


def test_a_pod_that_encrypts_has_nothing_to_say():
    found = seen(encrypting(), said=reported())
    assert (found.state, found.mode, found.generation, found.reason, found.message) == (
        "encrypting",
        "permissive",
        1,
        "",
        "",
    )
    assert found.reported == reported()


def test_numbers_of_an_earlier_pod_of_the_same_name_do_not_count():
    assert seen(encrypting(), said=reported(uid="uid-of-another")).reported is None


def test_annotations_of_the_namespace_count_less_than_the_pods_own():
    inherited = {"kube-gateway.io/encrypt": "strict"}
    assert seen(pod(annotations={}), inherited=inherited).mode == "strict"
    assert seen(pod(annotations={"encrypt": "true"}), inherited=inherited).mode == "permissive"


def test_where_the_watcher_wants_all_to_be_strict_that_is_shown():
    assert seen(pod(annotations={"encrypt": "true"}), strict=True).mode == "strict"
    assert seen(pod(annotations={"encrypt": "false"}), strict=True).mode == "off"


@pytest.mark.parametrize(
    ("subject", "expected", "hint"),
    [
        (pod(), ("starting", "NotSeenYet"), "kube-gateway check"),
        (pod(phase="Pending"), ("waiting", "PodNotRunning"), f"kubectl describe pod {POD}"),
        (
            pod(condition=("False", "GatewayStarting", "a gateway is being added")),
            ("starting", "GatewayStarting"),
            f"kubectl describe pod {POD}",
        ),
        (
            pod(condition=("False", "GatewayDied", "gateway 2 ended"), gateways=(1, 1)),
            ("died", "GatewayDied"),
            f"kubectl logs {POD} -c kube-gateway-2",
        ),
        (
            pod(condition=("False", "GatewayDied", "gateway 1 ended"), gateways=(77,)),
            ("died", "GatewayDied"),
            PRIVILEGED_HINT,
        ),
        (
            pod(condition=("True", "Encrypting", "so it was"), gateways=(137,)),
            ("died", "GatewayDied"),
            f"kubectl logs {POD} -c kube-gateway",
        ),
        (
            pod(
                condition=("False", "ErrImagePull", "no such image"),
                gateways=({"waiting": {"reason": "ErrImagePull"}},),
            ),
            ("problem", "ErrImagePull"),
            f"kubectl describe pod {POD}",
        ),
        (
            pod(condition=("Unknown", "GatewayNotConnected", "no line"), gateways=(None,)),
            ("unknown", "GatewayNotConnected"),
            "kube-gateway check, and see that no NetworkPolicy keeps the pod from the watcher's port 18444",
        ),
        (
            pod(annotations={"encrypt": "false"}, condition=("False", "EncryptionOff", "off"), gateways=(None,)),
            ("off", "EncryptionOff"),
            f"kubectl annotate pod {POD} --overwrite kube-gateway.io/encrypt=true",
        ),
        (
            pod(annotations={"enabled": "false"}, condition=("False", "NotEnrolled", ""), gateways=(0,)),
            ("left", "Left"),
            f"kubectl annotate pod {POD} --overwrite kube-gateway.io/enabled=true kube-gateway.io/encrypt=true",
        ),
        (
            pod(annotations={}, condition=("False", "Leaving", "old connections"), gateways=(None,)),
            ("leaving", "Leaving"),
            "",
        ),
        (
            pod(annotations={}),
            ("not enrolled", "NotEnrolled"),
            f"kubectl annotate pod {POD} kube-gateway.io/encrypt=true",
        ),
    ],
)
def test_states_and_what_to_do(subject, expected, hint):
    assert state(subject) == expected
    assert seen(subject).hint == hint


def test_annotations_that_are_not_understood():
    found = seen(pod(annotations={"encrypt": "maybe"}))
    assert (found.state, found.mode, found.wanted) == ("problem", "", True)
    assert found.message == "annotation kube-gateway.io/encrypt has the value 'maybe'"
    assert found.hint == f"kubectl annotate pod {POD} --overwrite ...; allowed: true, strict, false"
    still = pod(annotations={"encrypt": "maybe"}, condition=("True", "ProblemInvalidAnnotation", ""), gateways=(None,))
    assert state(still) == ("encrypting", "InvalidAnnotation")


def test_a_problem_is_read_back_as_the_watcher_writes_it():
    obstacle = Obstacle(reason="PodSecurity", message='the level "baseline" admits none', hint="kubectl label: so")
    around = Surroundings(inherited={}, image="", started=0, refusal=obstacle, longest_retry=300.0, now=0.0)
    said = claim(pod(), observe(pod(), {}, around), {}, known_for=0.0)
    assert said is not None
    found = seen(pod(condition=(said.status, said.reason, said.message)))
    assert (found.state, found.reason, found.message, found.hint) == (
        "problem",
        "PodSecurity",
        'the level "baseline" admits none',
        "kubectl label: so",
    )


def test_which_pods_are_listed():
    assert concerns_us(pod(), inherited={})
    assert concerns_us(pod(annotations={}), inherited={"kube-gateway.io/encrypt": "true"})
    assert concerns_us(pod(annotations={}, gateways=(None,)), inherited={})
    assert not concerns_us(pod(annotations={}, gateways=(0,)), inherited={})
    assert not concerns_us(pod(annotations={"podcidr": "10.0.0.0/8"}), inherited={})
    assert not concerns_us(pod(phase="Succeeded"), inherited={})
