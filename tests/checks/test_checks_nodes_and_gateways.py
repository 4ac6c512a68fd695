"""What is found of nodes, and of the gateways of enrolled pods."""

from __future__ import annotations

import pytest
from facts import DENIED, NOW, changed, encrypting, pod, reported, result, seen, summary, told

from kube_gateway.checks.cluster_pods import Enrolled
from kube_gateway.checks.enrolment import PRIVILEGED_HINT
from kube_gateway.checks.gateways import GATEWAYS, GatewayFacts
from kube_gateway.checks.nodes import NODES, NodeFacts, kernel
from kube_gateway.checks.objects import Node, NodeInfo, NodeStatus
from kube_gateway.checks.reported import NoSummary
from kube_gateway.kube.client import Metadata


def node(name="node1", *, linux="6.1.0-13-amd64", runtime="containerd://1.7.2", system="linux"):
    info = NodeInfo(kernel_version=linux, container_runtime_version=runtime, operating_system=system)
    return Node(metadata=Metadata(name=name), status=NodeStatus(node_info=info))


def nodes(description, *found, pods=()):
    return result(NODES, description, NodeFacts(nodes=found or (node(),), pods=pods))


OLDEST, GOOD = "kernels are Linux 5.10", "kernels are Linux 5.19"


@pytest.mark.parametrize(
    ("version", "statuses"),
    [
        ("5.4.0-150-generic", ("failed", "ok")),
        ("5.10.0", ("ok", "warning")),
        ("5.19.1", ("ok", "ok")),
        ("6.18.44-fc", ("ok", "ok")),
        ("unknown", ("failed", "ok")),
    ],
)
def test_kernels(version, statuses):
    found = node("old", linux=version)
    assert (nodes(OLDEST, node(), found).status, nodes(GOOD, node(), found).status) == statuses


def test_the_nodes_that_are_too_old_are_named():
    (finding,) = nodes(OLDEST, node(), node("old", linux="5.4.0")).findings
    assert (finding.about, finding.message) == ("old", "Linux 5.4.0")
    assert nodes(OLDEST, node(), node("windows", linux="10.0.17763", system="windows")).status == "ok"


def test_what_is_named_of_nodes_that_are_well():
    assert told(nodes(OLDEST, node(), node("b"))) == ("ok", "6.1.0-13-amd64")
    assert told(nodes("nodes name", node(), node("b", runtime="cri-o://1.33"))) == (
        "ok",
        "containerd 1.7.2 on 1, cri-o 1.33 on 1",
    )
    assert nodes("nodes name", node(runtime="")).status == "warning"
    assert result(NODES, OLDEST, NodeFacts(nodes=DENIED, pods=())).status == "warning"


def test_numbers_of_kernels():
    assert (kernel("6.1.0-13-amd64"), kernel("5.10"), kernel("?")) == ((6, 1), (5, 10), (0, 0))


GIVE = "nodes give gateways"


def test_a_node_that_gives_too_little_is_named_with_the_fix():
    found = nodes(GIVE, pods=(pod(gateways=(77,), node="hybrid"), encrypting("b")))
    assert found.status == "failed"
    assert [finding.about for finding in found.findings] == ["hybrid"]
    assert found.hint == PRIVILEGED_HINT


def test_a_node_whose_gateways_are_privileged_by_now_is_well():
    assert told(nodes(GIVE, pods=(pod(gateways=(77, None), privileged=True, node="hybrid"),))) == (
        "ok",
        "privileged on hybrid",
    )
    assert told(nodes(GIVE, pods=(encrypting(),))) == ("ok", "")


def test_a_node_where_no_gateway_keeps_running_is_a_warning_with_its_last_words():
    log = "INFO starting\nerror: the kernel refuses the hooks\nhint: upgrade it\n"
    dead = pod(gateways=({"terminated": {"exitCode": 1, "message": log}},), node="odd")
    found = nodes("gateways run", pods=(encrypting(), dead))
    assert found.status == "warning"
    assert [(finding.about, finding.message) for finding in found.findings] == [
        ("odd", "exit code 1: error: the kernel refuses the hooks")
    ]
    assert told(nodes("gateways run", pods=(encrypting(node="odd"), dead))) == ("ok", "on 1")
    assert told(nodes("gateways run", pods=())) == ("ok", "no gateway runs anywhere yet")


FACTS = GatewayFacts(
    namespace="kube-gateway",
    enrolled=Enrolled(pods=(seen(encrypting(), said=reported()),), summary=summary(reported())),
)
WORK, LAST, IMAGE = "every enrolled pod", "no certificate", "gateways run the image"


def gateways(description, **changes):
    return result(GATEWAYS, description, changed(FACTS, enrolled=changed(FACTS.enrolled, **changes)))


def test_gateways_that_are_well():
    assert [gateways(check.description).status for check in GATEWAYS.checks] == ["ok"] * 5
    assert told(gateways(WORK)) == ("ok", "1 encrypting")
    assert told(gateways(WORK, pods=())) == ("ok", "no pod is enrolled")


def test_each_pod_that_does_not_encrypt_is_told_with_its_reason_and_fix():
    died = seen(pod("b", condition=("False", "GatewayDied", "gateway 1 ended with exit code 1"), gateways=(1,)))
    off = seen(pod("c", annotations={"encrypt": "false"}, condition=("False", "EncryptionOff", ""), gateways=(None,)))
    gone = seen(pod("d", annotations={"enabled": "false"}, gateways=(0,)))
    found = gateways(WORK, pods=(*FACTS.enrolled.pods, died, off, gone))
    assert told(found) == ("failed", "not so for 1 of 3")
    (finding,) = found.findings
    assert (finding.about, finding.message, finding.hint) == (
        "shop/b",
        "gateway 1 ended with exit code 1",
        "kubectl logs -n shop b -c kube-gateway",
    )


@pytest.mark.parametrize(("left", "status"), [(721, "ok"), (719, "failed"), (-1, "failed")])
def test_certificates(left, status):
    late = seen(encrypting(), said=reported(expires=NOW + left))
    found = gateways(LAST, pods=(late,))
    assert found.status == status
    assert [finding.about for finding in found.findings] == ([] if status == "ok" else ["shop/web"])


def test_a_gateway_of_another_image_is_a_warning():
    found = gateways(IMAGE, pods=(seen(encrypting(image="gateway:0")),))
    assert told(found) == ("warning", "these do not run gateway:1")
    assert found.findings[0].message == "gateway 1 runs gateway:0"
    ended = seen(pod(gateways=(1,), image="gateway:0"))
    assert gateways(IMAGE, pods=(ended,)).status == "ok"


def test_what_is_not_known_is_a_warning():
    missing = NoSummary("the summary is missing", "install again")
    assert told(gateways(LAST, summary=missing)) == ("warning", "not known: the summary is missing")
    assert gateways("pods enrolled by their namespace", blind=DENIED).status == "warning"
    assert gateways(WORK, pods=DENIED).status == "warning"
    assert gateways("the watcher's summary", summary=summary(left_out=7)).status == "warning"
