"""The gateways of a pod, read from its ephemeral containers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.watcher.generations import STABLE_AFTER, container_name, failures, generations
from watcher.made import ended, pod_body, running, seen, waiting, with_gateways


def history(*states, **options):
    return generations(seen(with_gateways(pod_body(), *states, **options)))


@given(st.integers(1, 10_000))
def test_a_name_is_read_as_the_number_it_was_made_of(number):
    body = pod_body()
    body["spec"]["ephemeralContainers"] = [{"name": container_name(number), "image": "g"}]
    assert [one.number for one in generations(seen(body))] == [number]


@pytest.mark.parametrize(
    "name",
    [
        "kube-gateway-1",
        "kube-gateway-0",
        "kube-gateway-01",
        "kube-gateway-",
        "kube-gateway-2x",
        "kube-gateways",
        "debugger",
        "my-kube-gateway",
        "kube-gateway-2-2",
        "kube-gateway-watcher",
        "kube-gateway-\u0662",
    ],
)
def test_containers_of_others(name):
    body = with_gateways(pod_body(), running())
    body["spec"]["ephemeralContainers"].append({"name": name, "image": "g"})
    assert [one.number for one in generations(seen(body))] == [1]


def test_generations_come_in_order_whatever_the_order_in_the_pod():
    body = with_gateways(pod_body(), *[ended(1)] * 11, running())
    body["spec"]["ephemeralContainers"].reverse()
    found = generations(seen(body))
    assert [one.number for one in found] == list(range(1, 13))
    assert found[-1].terminated is None
    assert found[0].terminated.exit_code == 1


def test_a_container_without_a_status_is_one_that_has_not_ended():
    (generation,) = history(None)
    assert generation.terminated is None
    assert generation.state.waiting is None


def test_failures_in_a_row():
    assert failures(history()) == (0, 0.0)
    assert failures(history(running())) == (0, 0.0)
    assert failures(history(ended(1, at_time=100), ended(137, at_time=200))) == (2, 200.0)
    assert failures(history(ended(1, at_time=100), waiting())) == (1, 100.0)


def test_one_that_left_well_ends_the_row():
    left = ended(0, ran=3, at_time=150)
    assert failures(history(ended(1, at_time=100), left, ended(1, at_time=200)), connected={2}) == (1, 200.0)
    assert failures(history(ended(1, at_time=100), left), connected={2}) == (0, 0.0)


def test_one_that_served_for_a_while_begins_a_new_row():
    served = ended(137, ran=STABLE_AFTER + 5, at_time=200)
    assert failures(history(ended(1, at_time=100), ended(1, at_time=110), served)) == (1, 200.0)
    assert failures(history(ended(1, at_time=100), served, ended(1, at_time=300))) == (2, 300.0)


def test_a_program_that_ends_well_at_once_is_no_gateway_that_left():
    """Another image by mistake, say: without a pause a new container would be added every second, for ever."""
    once = ended(0, ran=1, at_time=100)
    assert failures(history(once, once, once)) == (3, 100.0)
    assert failures(history(ended(0, ran=STABLE_AFTER + 5))) == (0, 0.0)


def test_the_watchers_own_clock_counts_where_it_saw_the_end():
    assert failures(history(ended(1, at_time=9000)), ended={1: 100.0}) == (1, 100.0)
    assert failures(history(ended(1, at_time=10)), ended={1: 100.0}) == (1, 100.0)


def test_one_whose_times_are_unknown_has_failed_at_once():
    state = {"terminated": {"exitCode": 128, "reason": "StartError", "startedAt": None, "finishedAt": None}}
    assert failures(history(state)) == (1, 0.0)
