"""What is decided on, from what the API and the lines tell."""

from __future__ import annotations

import pytest

from kube_gateway.control.observed import Obstacle
from kube_gateway.model.settings import Settings
from kube_gateway.watcher import observation as module
from kube_gateway.watcher.generations import MOST_GENERATIONS
from kube_gateway.watcher.observation import LOST_AFTER, LOST_FOR_GOOD_AFTER, Surroundings, observe
from watcher.made import IMAGE, ended, line, pod_body, running, seen, waiting, with_condition, with_gateways

NOW = 10_000.0
SETTINGS = Settings(wanted=True, encryption="permissive")


def look(body, lines=None, **options):
    values = {"inherited": {}, "image": IMAGE, "started": 0, "refusal": None, "longest_retry": 300.0, "now": NOW}
    return observe(seen(body), lines or {}, Surroundings(**{**values, **options}))


def test_a_pod_that_never_had_a_gateway():
    found = look(pod_body(encrypt="true"), inherited={"kube-gateway.io/debug": "true"})
    assert found.gateway is None
    assert (found.generation, found.failures, found.hooks_left, found.problem, found.obstacle) == (
        0,
        0,
        False,
        None,
        None,
    )
    assert found.pod.annotations == {"kube-gateway.io/encrypt": "true", "kube-gateway.io/debug": "true"}
    assert found.running


@pytest.mark.parametrize(
    ("own", "inherited", "expected"),
    [
        ({"encrypt": "true"}, {}, "strict"),
        ({}, {"kube-gateway.io/encrypt": "true"}, "strict"),
        ({"encrypt": "true"}, {"kube-gateway.io/encrypt": "strict"}, "strict"),
        ({"encrypt": "strict"}, {}, "strict"),
        ({"encrypt": "false"}, {"kube-gateway.io/encrypt": "true"}, "false"),
        ({"encrypt": "ture"}, {}, "ture"),
    ],
)
def test_a_watcher_that_wants_all_to_be_strict_takes_each_that_encrypts_for_strict(own, inherited, expected):
    found = look(pod_body(**own), inherited=inherited, strict=True)
    assert found.pod.annotations["kube-gateway.io/encrypt"] == expected


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed", "Unknown", ""])
def test_only_a_running_pod_runs(phase):
    assert not look(pod_body(phase=phase)).running


def test_one_that_was_added_and_is_not_seen_yet_is_starting():
    found = look(pod_body(), started=1)
    assert (found.gateway.state, found.generation) == ("starting", 1)
    found = look(with_gateways(pod_body(), ended(1)), started=2)
    assert (found.gateway.state, found.generation) == ("starting", 2)
    found = look(with_gateways(pod_body(), ended(1), ended(1)), started=2)
    assert (found.gateway.state, found.generation) == ("exited", 2)


def test_a_gateway_that_serves():
    found = look(with_gateways(pod_body(), running()), {1: line(applied=SETTINGS)})
    assert (found.gateway.state, found.gateway.applied, found.gateway.outdated) == ("ready", SETTINGS, False)
    assert found.generation == 1


def test_a_gateway_that_has_not_connected_is_starting():
    assert look(with_gateways(pod_body(), running())).gateway.state == "starting"
    assert look(with_gateways(pod_body(), waiting())).gateway.state == "starting"


def test_a_line_of_one_that_has_ended_does_not_count():
    found = look(with_gateways(pod_body(), ended(137)), {1: line("ready")})
    assert (found.gateway.state, found.gateway.exit_code) == ("exited", 137)


def test_hooks_of_one_that_died_are_looked_for_after_the_pause():
    body = with_gateways(pod_body(), ended(137, at_time=NOW))
    assert not look(body, now=NOW + 0.1).hooks_left
    assert look(body, now=NOW + 0.3).hooks_left
    assert not look(with_gateways(pod_body(), ended(0)), {1: line()}).hooks_left


def test_a_clock_of_a_node_that_is_ahead_does_not_stop_everything():
    body = with_gateways(pod_body(), ended(137, at_time=NOW + 3600))
    first = look(body, ended={1: NOW})
    later = look(body, ended={1: NOW}, now=NOW + 5)
    assert first.last_failure == later.last_failure == NOW
    assert look(body).last_failure == NOW


def test_a_clock_of_a_node_that_is_behind_does_not_do_away_with_pauses():
    body = with_gateways(pod_body(), ended(1, at_time=NOW - 3600))
    assert look(body, ended={1: NOW}).last_failure == NOW


def test_an_older_one_that_still_serves_counts_while_the_newest_has_failed():
    body = with_gateways(pod_body(), running(), ended(1))
    found = look(body, {1: line("ready", applied=SETTINGS)})
    assert (found.gateway.state, found.generation, found.failures) == ("ready", 2, 1)
    assert look(body, {1: line("ready", connected=False, silent_for=LOST_AFTER + 1)}).gateway.state == "exited"
    assert look(body, {1: line("draining")}).gateway.state == "exited"
    assert look(body).gateway.state == "exited"


@pytest.mark.parametrize(
    ("state", "said", "outdated"),
    [
        (running(), "ready", True),
        (running(), "starting", False),
        (running(), "draining", False),
        (waiting("ErrImagePull"), None, True),
        (None, None, False),
    ],
)
def test_another_image_takes_over_from_one_that_serves_or_cannot_start(state, said, outdated):
    lines = {1: line(said)} if said else {}
    found = look(with_gateways(pod_body(), state, image="registry/kube-gateway:0"), lines)
    assert found.gateway.outdated is outdated


def test_an_image_that_is_not_known_makes_none_outdated():
    assert not look(with_gateways(pod_body(), running()), {1: line()}, image="").gateway.outdated


def test_an_image_that_an_admission_plugin_has_changed_is_not_asked_for_again():
    body = with_gateways(pod_body(), running(), image="mirror/registry/kube-gateway:1")
    assert not look(body, {1: line()}, images={1: IMAGE}).gateway.outdated
    assert look(body, {1: line()}, images={1: "registry/kube-gateway:0"}).gateway.outdated


def test_one_that_cannot_come_back_is_replaced():
    """After an outage of the watcher longer than a certificate lives nobody lets it in any more."""
    body = with_gateways(pod_body(), running(NOW - 4000))
    life = {"certificate_life": 3600.0}
    assert look(body, known_for=LOST_FOR_GOOD_AFTER, **life).gateway.outdated
    assert not look(body, known_for=LOST_FOR_GOOD_AFTER - 1, **life).gateway.outdated
    assert not look(body, {1: line()}, known_for=9999.0, **life).gateway.outdated
    assert look(body, {1: line(connected=False, silent_for=LOST_FOR_GOOD_AFTER)}, **life).gateway.outdated
    young = with_gateways(pod_body(), running(NOW - 600))
    assert not look(young, known_for=9999.0, **life).gateway.outdated


def test_what_keeps_a_gateway_out():
    refusal = Obstacle(reason="PodSecurity", message="m", hint="h")
    body = pod_body(encrypt="true")
    assert look(body, refusal=refusal).obstacle == refusal
    body["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "x"
    assert look(body, refusal=refusal).obstacle.reason == "StaticPod"
    body["spec"]["hostNetwork"] = True
    assert look(body, refusal=refusal).obstacle.reason == "HostNetwork"


def test_a_pod_is_not_given_gateways_without_end():
    states = [ended(1)] * (MOST_GENERATIONS - 1)
    assert look(with_gateways(pod_body(), *states)).obstacle is None
    assert look(with_gateways(pod_body(), *states, ended(1))).obstacle.reason == "TooManyGateways"
    serves = {MOST_GENERATIONS: line()}
    assert look(with_gateways(pod_body(), *states, running()), serves).obstacle is None
    outdated = look(with_gateways(pod_body(), *states, running(), image="old"), serves)
    assert outdated.obstacle.reason == "TooManyGateways"


def test_what_was_told_is_in_the_condition_unless_this_watcher_knows_better():
    body = with_condition(pod_body(), "False", "ProblemHostNetwork", "it is so; to mend it: do this")
    assert look(body).problem == "it is so"
    assert look(body, told="another").problem == "another"
    assert look(body, told="").problem is None
    assert look(with_condition(pod_body(), "True", "Encrypting", "x; to mend it: y")).problem is None


def test_the_pause_is_that_of_the_decision():
    assert module.retry_after(3, longest=300.0) == 0.8
