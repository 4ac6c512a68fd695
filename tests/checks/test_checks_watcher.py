"""What is found of the watcher."""

from __future__ import annotations

import pytest
from facts import DENIED, NOW, changed, result, summary, told

from kube_gateway.checks.objects import (
    Deployment,
    DeploymentSpec,
    DeploymentStatus,
    LeaseMetadata,
    LeaseRecord,
    ManagedFields,
)
from kube_gateway.checks.permissions import Permission, watcher_permissions
from kube_gateway.checks.reported import NoSummary
from kube_gateway.checks.watcher import TOO_MUCH, WATCHER, WatcherFacts
from kube_gateway.kube.lease import LeaseSpec


def time(offset):
    """NOW and so many seconds, less than a minute, as Kubernetes writes it."""
    return f"2027-01-15T{'07:59' if offset < 0 else '08:00'}:{offset % 60:09.6f}Z"


def lease(*, written=0.0, renewed=0.0, holder="watcher-1_10.0.0.2_ab12"):
    return LeaseRecord(
        metadata=LeaseMetadata(managed_fields=(ManagedFields(time=time(written)),)),
        spec=LeaseSpec(holder_identity=holder, renew_time=time(renewed)),
    )


NEEDED = watcher_permissions("kube-gateway")
FACTS = WatcherFacts(
    namespace="kube-gateway",
    deployment=Deployment(spec=DeploymentSpec(replicas=2), status=DeploymentStatus(ready_replicas=2)),
    rights={**dict.fromkeys(NEEDED, True), **dict.fromkeys(TOO_MUCH, False)},
    lease=lease(written=-2, renewed=-2),
    summary=summary(time=NOW - 7),
    now=NOW,
)
READY, ALL = "at least one replica", "all replicas"
RIGHTS, EXCESS = "it may do what", "it may do no more"
LEADS, CLOCK, REPORTS = "one replica leads", "the leader's clock", "it publishes"


def watcher(description, **changes):
    return result(WATCHER, description, changed(FACTS, **changes))


def test_a_watcher_that_is_well():
    assert [watcher(check.description).status for check in WATCHER.checks] == ["ok"] * 8
    assert told(watcher(LEADS)) == ("ok", "watcher-1")
    assert told(watcher(REPORTS)) == ("ok", "of 0 pods, 7 s ago")


def test_no_watcher():
    found = watcher("the watcher is installed", deployment=None)
    assert told(found) == ("failed", "there is no Deployment kube-gateway/kube-gateway-watcher")
    assert found.hint == "kube-gateway check --pre, then kube-gateway install | kubectl apply -f -"


@pytest.mark.parametrize(("ready", "statuses"), [(0, ("failed", "warning")), (1, ("ok", "warning")), (2, ("ok", "ok"))])
def test_replicas(ready, statuses):
    deployment = changed(FACTS.deployment, status=DeploymentStatus(ready_replicas=ready))
    assert (watcher(READY, deployment=deployment).status, watcher(ALL, deployment=deployment).status) == statuses


def test_a_right_that_is_missing_is_named_as_a_rule():
    lost = [one for one in NEEDED if one.resource in {"pods", "configmaps"}]
    found = watcher(RIGHTS, rights={**FACTS.rights, **dict.fromkeys(lost, False)})
    assert found.status == "failed"
    assert [finding.message for finding in found.findings] == [
        '{"apiGroups":[""],"resources":["pods"],"verbs":["get","list","watch"]}',
        '{"apiGroups":[""],"resources":["configmaps"],"verbs":["list","watch"]}',
        '{"apiGroups":[""],"resources":["configmaps"],"resourceNames":["kube-gateway-revoked"],"verbs":["get","patch"]}'
        " in the namespace kube-gateway",
        '{"apiGroups":[""],"resources":["configmaps"],"resourceNames":["kube-gateway-status"],"verbs":["patch"]}'
        " in the namespace kube-gateway",
    ]


def test_rights_that_it_does_not_need_are_a_warning():
    found = watcher(EXCESS, rights={**FACTS.rights, TOO_MUCH[0]: True})
    assert told(found) == ("warning", "kube-gateway-watcher may also list secrets")
    assert watcher(EXCESS, rights=DENIED).status == "warning"


def test_the_manifest_grants_what_is_asked_for():
    assert Permission(verb="patch", group="", resource="pods/ephemeralcontainers") in NEEDED
    assert (
        Permission(
            verb="update",
            group="coordination.k8s.io",
            resource="leases",
            name="kube-gateway-watcher",
            namespace="kube-gateway",
        )
        in NEEDED
    )
    assert not set(NEEDED) & set(TOO_MUCH)


def test_a_leader_that_does_not_renew():
    assert told(watcher(LEADS, lease=lease(written=-40, renewed=-40))) == (
        "failed",
        "watcher-1 has not renewed its Lease for 40 s",
    )
    assert told(watcher(LEADS, lease=None)) == ("failed", "nobody holds the Lease")
    assert told(watcher(LEADS, lease=lease(holder=""))) == ("failed", "nobody holds the Lease")


def test_a_leader_whose_clock_is_wrong_leads_all_the_same():
    late = lease(written=-1, renewed=-31)
    assert watcher(LEADS, lease=late).status == "ok"
    assert told(watcher(CLOCK, lease=late)) == ("warning", "the clock of watcher-1 is 30 s behind the API server's")


def test_a_lease_whose_writing_the_server_does_not_date_is_judged_by_its_own_record():
    bare = LeaseRecord(spec=LeaseSpec(holder_identity="watcher-1_a_b", renew_time=time(-20)))
    assert watcher(LEADS, lease=bare).status == "failed"
    assert watcher(CLOCK, lease=bare).status == "ok"


def test_a_summary_that_is_old_missing_or_not_to_be_read():
    assert told(watcher(REPORTS, summary=summary(time=NOW - 300))) == ("failed", "its summary is 300 s old")
    missing = watcher(REPORTS, summary=NoSummary("it is missing", "install it"))
    assert (missing.status, missing.message, missing.hint) == ("failed", "it is missing", "install it")
    assert watcher(REPORTS, summary=DENIED).status == "warning"
