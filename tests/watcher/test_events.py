"""Events keep to the limits of the API, which refuses others whole (Kubernetes, pkg/apis/core/validation/events.go)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.model.pod import Pod
from kube_gateway.watcher.events import collection, event
from watcher.api import DNS, _wrong_with_event

LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?", fullmatch=True)
POD_NAMES = st.lists(LABELS, min_size=1, max_size=12).map(".".join).filter(lambda name: len(name) <= 253)


def made(name="web", note="it is so", instance="watcher-1"):
    pod = Pod(name=name, uid="u", namespace="shop")
    return event(pod, reason="GatewayAdded", note=note, action="Enrol", instance=instance)


def test_an_event():
    body = made()
    assert body.pop("eventTime").endswith("Z")
    metadata = body.pop("metadata")
    assert metadata["namespace"] == "shop"
    assert metadata["name"].startswith("web.")
    assert body == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "reportingController": "kube-gateway.io/watcher",
        "reportingInstance": "watcher-1",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "shop", "uid": "u"},
        "type": "Normal",
        "reason": "GatewayAdded",
        "action": "Enrol",
        "note": "it is so",
    }
    assert collection(Pod(name="web", uid="u", namespace="shop")) == "/apis/events.k8s.io/v1/namespaces/shop/events"


@given(name=POD_NAMES, note=st.text(max_size=3000), instance=st.text("abc-", min_size=1, max_size=300))
def test_no_event_is_refused(name, note, instance):
    assert _wrong_with_event(made(name, note, instance)) is None


def test_a_long_note_is_cut_where_it_still_is_text():
    body = made(note="ä" * 600)
    assert len(body["note"].encode()) <= 1024
    assert body["note"] == "ä" * 510 + " ..."
    assert made(note="x" * 1024)["note"] == "x" * 1024


def test_a_name_that_is_cut_does_not_end_in_a_mark():
    name = "a" * 235 + "-" + "b" * 17
    cut = made(name)["metadata"]["name"]
    assert DNS.fullmatch(cut)
    assert len(cut) <= 253


def test_two_events_have_two_names():
    assert made()["metadata"]["name"] != made()["metadata"]["name"]
