"""`kube-gateway check` and `status`, word for word."""

from __future__ import annotations

import json

import pytest

from kube_gateway.checks.asking import Refusal
from kube_gateway.checks.cluster_pods import Enrolled
from kube_gateway.checks.enrolment import PodView
from kube_gateway.checks.model import Finding, Result
from kube_gateway.checks.reported import NoSummary
from kube_gateway.checks.runner import Report
from kube_gateway.cli import main
from kube_gateway.cli.check import Printer
from kube_gateway.cli.status import show
from kube_gateway.kube.refusals import Forbidden
from kube_gateway.watcher.summary import PodSummary, Summary

NOW = 1_800_000_000.0

RESULTS = (
    Result(category="kubernetes-api", description="can create the client", status="ok"),
    Result(
        category="kubernetes-api", description="can query the API", status="ok", message="https://10.0.0.1 as admin"
    ),
    Result(
        category="nodes",
        description="nodes give gateways what they need",
        status="failed",
        message="gateways cannot start on these",
        hint="kube-gateway install -- --privileged=when-needed | kubectl apply -f -",
        findings=tuple(Finding(about=f"node-{number}", message="exit code 77") for number in range(12)),
    ),
    Result(
        category="watcher",
        description="it may do what it has to",
        status="failed",
        message="kube-gateway-watcher lacks these",
        findings=(Finding(message='{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}'),),
        hint="kube-gateway install | kubectl apply -f -",
    ),
    Result(
        category="gateways",
        description="every enrolled pod has a gateway that does what was asked",
        status="failed",
        message="not so for 1 of 3",
        findings=(
            Finding(
                about="shop/web",
                message="gateway 1 ended with exit code 1: error: the kernel does not load the program of the hook "
                "that notes destinations; another is started",
                hint="kubectl logs -n shop web -c kube-gateway",
            ),
        ),
    ),
    Result(
        category="gateways",
        description="no certificate is past 80% of its life",
        status="warning",
        message="not known: you may not get configmaps/kube-gateway-status in the namespace kube-gateway",
        hint='have this rule added to a role of yours: {"apiGroups":[""],"resources":["configmaps"],"verbs":["get"]}',
    ),
)

TEXT = """\
kubernetes-api
  ok       can create the client
  ok       can query the API (https://10.0.0.1 as admin)

nodes
  failed   nodes give gateways what they need
           gateways cannot start on these
           - node-0: exit code 77
           - node-1: exit code 77
           - node-2: exit code 77
           - node-3: exit code 77
           - node-4: exit code 77
           - node-5: exit code 77
           - node-6: exit code 77
           - node-7: exit code 77
           - node-8: exit code 77
           - node-9: exit code 77
           and 2 more; --output json has all
           hint: kube-gateway install -- --privileged=when-needed | kubectl apply -f -

watcher
  failed   it may do what it has to
           kube-gateway-watcher lacks these
           - {"apiGroups":[""],"resources":["pods"],"verbs":["get"]}
           hint: kube-gateway install | kubectl apply -f -

gateways
  failed   every enrolled pod has a gateway that does what was asked
           not so for 1 of 3
           - shop/web: gateway 1 ended with exit code 1: error: the kernel does not load the program
             of the hook that notes destinations; another is started
             hint: kubectl logs -n shop web -c kube-gateway
  warning  no certificate is past 80% of its life
           not known: you may not get configmaps/kube-gateway-status in the namespace kube-gateway
           hint: have this rule added to a role of yours: \
{"apiGroups":[""],"resources":["configmaps"],"verbs":["get"]}

2 checks were not made, in gateways
2 ok, 1 with a warning, 3 failed
"""


def test_results_for_people(capsys):
    printer = Printer()
    for result in RESULTS:
        printer.result(result)
    printer.end(Report(results=RESULTS, not_checked=("gateways: one", "gateways: another")))
    told = capsys.readouterr()
    assert (told.out, told.err) == (TEXT, "")


NO_FILE = "/nonexistent/kubeconfig"
NO_CLIENT = f"no cluster to connect to from {NO_FILE}: Configuration file {NO_FILE} not found"


def test_a_check_without_a_cluster(capfd):
    assert main.run(["check", "--kubeconfig", NO_FILE]) == 1
    told = capfd.readouterr()
    assert told.err == ""
    assert told.out == (
        "kubernetes-api\n"
        "  failed   can create the client\n"
        f"           {NO_CLIENT.removesuffix(f' {NO_FILE} not found')}\n"
        f"           {NO_FILE} not found\n"
        "           hint: see that `kubectl cluster-info` works, or name a file and one of its contexts\n"
        "\n"
        "24 checks were not made, in kubernetes-api, authority, watcher, nodes, gateways\n"
        "1 failed\n"
    )


def test_a_check_as_data(capfd):
    assert main.run(["check", "--pre", "--kubeconfig", NO_FILE, "--output", "json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert list(found) == ["ok", "results", "not_checked"]
    assert found["ok"] is False
    assert found["results"] == [
        {
            "category": "kubernetes-api",
            "description": "can create the client",
            "status": "failed",
            "message": NO_CLIENT,
            "hint": "see that `kubectl cluster-info` works, or name a file and one of its contexts",
        }
    ]
    assert "pre-install: you may create what the manifest has" in found["not_checked"]


def pod(name, state="encrypting", *, mode="permissive", generation=1, said=None, why=("", "", ""), namespace="shop"):
    reason, message, hint = why
    return PodView(
        namespace=namespace,
        name=name,
        node="node1",
        wanted=True,
        mode=mode,
        state=state,
        reason=reason,
        message=message,
        hint=hint,
        generation=generation,
        image="gateway:1",
        privileged=False,
        exit_code=None,
        reported=said,
    )


def said(**more):
    values = {"key": "shop/web", "uid": "1", "generation": 1, "state": "ready", "connected": True, "version": "0.1.0"}
    numbers = {"mode": "permissive", "certificate_expires": NOW + 3000, "tunnelled": 97, "clear": 3}
    return PodSummary(**{**values, **numbers, **more})


def refused(name):
    hint = "kubectl label namespace shop --overwrite pod-security.kubernetes.io/enforce=privileged"
    why = ("PodSecurity", 'the namespace shop enforces Pod Security level "baseline", which admits no gateway', hint)
    return pod(name, "problem", generation=0, why=why)


DIED = (
    "GatewayDied",
    "gateway 3 ended with exit code 1: error: no; another is started",
    "kubectl logs -n shop db -c kube-gateway-3",
)
OFF = ("EncryptionOff", "the gateway runs with encryption off", "kubectl annotate pod -n shop old ...")
STANDING = {
    "clear_connections": 3,
    "encrypted_connections": 17,
    "clear_causes": {"comes-back-encrypted": 1, "peer-not-enrolled": 2},
    "clear_older": 1,
}
PODS = (
    pod("api", said=said(tunnelled=1203, clear=1, **STANDING)),
    refused("cache-0"),
    refused("cache-1"),
    pod("db", "died", mode="strict", generation=3, why=DIED),
    pod("old", "off", mode="off", said=said(mode="off", tunnelled=40, clear=0, certificate_expires=NOW - 1), why=OFF),
    pod("web", said=said(encrypted_connections=4)),
)
SUMMARY = Summary(
    time=NOW - 5, leader="watcher-1", version="0.1.0", image="gateway:1", certificate_life=3600.0, pods=()
)

TABLE = """\
NAMESPACE  POD      MODE        STATE       GATEWAY  CERTIFICATE  ENCRYPTED    NOW   WHY NOT
shop       api      permissive  encrypting  1        50m          99% of 1204  85%   -
shop       cache-0  permissive  problem     -        -            -            -     PodSecurity
shop       cache-1  permissive  problem     -        -            -            -     PodSecurity
shop       db       strict      died        3        -            -            -     GatewayDied
shop       old      off         off         1        ended        0% of 40     -     EncryptionOff
shop       web      permissive  encrypting  1        50m          97% of 100   100%  -
6 pods: 1 died, 2 encrypting, 1 off, 2 problem; 96% of 1344 connections encrypted
21 of 24 connections that stand are encrypted (87%)
  2 in clear: the peer does not encrypt
  1 in clear: made anew it is encrypted
  1 of them began before the gateway
  one by one: kube-gateway flush -n NAMESPACE POD --dry-run
"""

WARNINGS = """\
warning: shop/cache-0 and 1 more: the namespace shop enforces Pod Security level "baseline", which admits no gateway
hint: kubectl label namespace shop --overwrite pod-security.kubernetes.io/enforce=privileged
warning: shop/db: gateway 3 ended with exit code 1: error: no; another is started
hint: kubectl logs -n shop db -c kube-gateway-3
warning: shop/old: the gateway runs with encryption off
hint: kubectl annotate pod -n shop old ...
"""


def test_pods_for_people(capsys):
    assert show(Enrolled(pods=PODS, summary=SUMMARY), single=False, output="table", now=NOW) == 0
    told = capsys.readouterr()
    assert told.out == TABLE
    assert told.err == WARNINGS
    assert max(map(len, TABLE.splitlines())) <= 100


def test_pods_as_data(capsys):
    assert show(Enrolled(pods=PODS[:1], summary=SUMMARY), single=False, output="json", now=NOW) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["time"] == NOW - 5
    (first,) = found["pods"]
    assert (first["name"], first["state"], first["reported"]["tunnelled"]) == ("api", "encrypting", 1203)
    assert told.err == ""


@pytest.mark.parametrize(("number", "code"), [(0, 0), (1, 1), (3, 1), (4, 1)])
def test_the_exit_code_of_a_single_pod_says_whether_it_encrypts(number, code, capsys):
    assert show(Enrolled(pods=(PODS[number],), summary=SUMMARY), single=True, output="table", now=NOW) == code
    told = capsys.readouterr().out.splitlines()
    assert len(told) == {"api": 7, "old": 3}.get(PODS[number].name, 2)
    assert number > 0 or told[-1] == "  one by one: kube-gateway flush -n shop api --dry-run"


BYTES = """\
NAMESPACE  POD      MODE        SENT             TUNNEL   TLS     PLAIN  UDP   OTHER  REFUSED  UDP REFUSED
shop       api      strict      100% of 12.3 MB  12.3 MB  0 B     0 B    0 B   0 B    7        2
shop       cache-0  permissive  -                -        -       -      -     -      -        -
shop       web      permissive  99% of 1.0 MB    999 B    1.0 MB  512 B  80 B  0 B    0        0
3 pods: 2 encrypting, 1 problem; 98% of 200 connections encrypted; 99% of 13.3 MB sent encrypted, plain 512 B, udp 80 B \
in clear
2 of 3 connections that stand are encrypted (66%)
"""


def test_what_has_left_pods(capsys):
    api = said(
        tunnelled=100,
        clear=0,
        encrypted_connections=2,
        clear_connections=1,
        sent={"tunnel": 12_345_678},
        refused_in_clear=7,
        udp_refused=2,
    )
    web = said(sent={"tunnel": 999, "tls": 999_950, "plain": 512, "udp": 80, "other": 0})
    pods = (pod("api", mode="strict", said=api), refused("cache-0"), pod("web", said=web))
    assert show(Enrolled(pods=pods, summary=SUMMARY), single=False, output="bytes", now=NOW) == 0
    assert capsys.readouterr().out == BYTES


def test_nobody_is_enrolled(capsys):
    assert show(Enrolled(pods=(), summary=SUMMARY), single=False, output="table", now=NOW) == 0
    assert capsys.readouterr() == ("no pod is enrolled\n", "")


def test_what_is_not_known_is_said(capsys):
    blind = Refusal("you may not list namespaces", "have this rule added")
    missing = NoSummary("the ConfigMap is missing", "install again")
    show(Enrolled(pods=PODS[-1:], summary=missing, blind=blind), single=False, output="table", now=NOW)
    assert capsys.readouterr().err == (
        "warning: pods that their namespace enrols are not known: you may not list namespaces\n"
        "hint: have this rule added\n"
        "warning: what gateways carry is not known: the ConfigMap is missing\n"
        "hint: install again\n"
    )
    show(Enrolled(pods=PODS[-1:], summary=SUMMARY), single=False, output="table", now=NOW + 600)
    assert capsys.readouterr().err == ("warning: what gateways carry is as it was 10m ago\nhint: kube-gateway check\n")


def test_who_may_not_list_pods_is_told_so():
    with pytest.raises(Forbidden, match="you may not list pods"):
        show(Enrolled(pods=Refusal("you may not list pods"), summary=SUMMARY), single=False, output="table", now=NOW)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["-A", "web"], "error: -A is all namespaces, and a pod means one\n"),
        (["-A", "-n", "shop"], "error: -A is all namespaces, and -n means one\n"),
    ],
)
def test_contradictions(arguments, error, capfd):
    assert main.run(["status", *arguments]) == 2
    assert capfd.readouterr() == ("", error)
