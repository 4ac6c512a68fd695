"""Whatever happened on the way, only what there is in the end counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kube.service_parts import a_service, a_slice, an_endpoint
from kube_gateway.kube.services import ServiceDirectory, is_among

ADDRESSES = ("10.96.0.1", "10.96.0.2", "fd00::1", "192.0.2.1", "192.0.2.2")
PORTS = (80, 81, 82)
NAMES = ("a", "b", "c")
NODES = ("", "x", "y")


def services(name):
    """Services of this name; each name has an age of its own, so that there is a newest for every address."""
    port = st.builds(
        lambda number, label, protocol: {"port": number, "name": label, "protocol": protocol},
        st.sampled_from(PORTS),
        st.sampled_from(["", "p"]),
        st.sampled_from(["TCP", "TCP", "UDP"]),
    )
    return st.builds(
        lambda ports, cluster, external, policy: a_service(
            *ports,
            cluster_ips=tuple(cluster),
            externalIPs=external,
            internalTrafficPolicy=policy,
            created=f"2026-01-01T00:00:0{NAMES.index(name)}Z",
            uid=name,
        ),
        st.lists(port, min_size=1, max_size=3),
        st.lists(st.sampled_from([*ADDRESSES[:3], "None"]), min_size=1, max_size=2),
        st.lists(st.sampled_from(ADDRESSES), max_size=2),
        st.sampled_from(["Cluster", "Local"]),
    )


CONDITIONS = ({"ready": True}, {"ready": False}, {"ready": False, "serving": True, "terminating": True})


def slices():
    endpoint = st.builds(
        lambda address, node, conditions: an_endpoint(address, node=node, **conditions),
        st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00:1::1"]),
        st.sampled_from([None, "x", "y"]),
        st.sampled_from(CONDITIONS),
    )
    return st.builds(
        lambda endpoints, service, ports, family: a_slice(*endpoints, service=service, ports=ports, family=family),
        st.lists(endpoint, max_size=3),
        st.sampled_from(NAMES),
        st.lists(st.tuples(st.sampled_from([None, "p"]), st.sampled_from([8080, 8081])), max_size=2),
        st.sampled_from(["IPv4", "IPv4", "IPv6"]),
    )


SLICE_KEYS = ("s", "t")
EVENTS = st.lists(
    st.one_of(
        *(st.tuples(st.just("service"), st.just(f"shop/{name}"), st.none() | services(name)) for name in NAMES),
        *(st.tuples(st.just("slice"), st.just(f"shop/{key}"), st.none() | slices()) for key in SLICE_KEYS),
    ),
    max_size=20,
)


def tell(directory, event):
    kind, key, value = event
    return directory.service_changed(key, value) if kind == "service" else directory.slice_changed(key, value)


def answers(directory):
    return {
        (address, port, node): directory.resolve(address, port, node=node)
        for address in ADDRESSES
        for port in (*PORTS, 99)
        for node in NODES
    }


@given(EVENTS, st.data())
def test_only_the_final_objects_count(events, data):
    directory = ServiceDirectory()
    for event in events:
        tell(directory, event)
    final = list({(kind, key): (kind, key, value) for kind, key, value in events}.values())
    for event in data.draw(st.lists(st.sampled_from(final), max_size=5)) if final else []:
        tell(directory, event)
    fresh = ServiceDirectory()
    for event in data.draw(st.permutations(final)):
        tell(fresh, event)
    assert answers(directory) == answers(fresh)


@given(EVENTS)
def test_every_answer_that_changes_is_told(events):
    directory = ServiceDirectory()
    before = answers(directory)
    for event in events:
        changed = tell(directory, event)
        after = answers(directory)
        for (address, port, node), answered in after.items():
            if answered != before[address, port, node]:
                assert is_among(changed, address, port)
        before = after


@given(EVENTS)
def test_nothing_is_left_when_all_is_gone(events):
    directory = ServiceDirectory()
    for event in events:
        tell(directory, event)
        answers(directory)
    for kind, key, _ in events:
        tell(directory, (kind, key, None))
    left = {name: value for name, value in vars(directory).items() if name != "_seen"}
    assert not any(left.values())
