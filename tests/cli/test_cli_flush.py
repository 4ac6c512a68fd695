"""`kube-gateway flush --dry-run`, word for word."""

from __future__ import annotations

import json

import pytest

from kube_gateway.checks.asking import Refusal
from kube_gateway.checks.cluster_pods import Enrolled
from kube_gateway.checks.connections import Published
from kube_gateway.checks.enrolment import PodView
from kube_gateway.cli import main
from kube_gateway.cli.flush import show_published
from kube_gateway.cli.flush_output import show
from kube_gateway.control.flush_plan import FlushPlan, Standing
from kube_gateway.control.flushing import Verdict
from kube_gateway.errors import KubeGatewayError
from kube_gateway.model.flow import ClearConnection
from kube_gateway.watcher.summary import PodSummary


def verdict(number, fate, cause, *, remote="10.0.0.9", port=5432, **fields):
    connection = ClearConnection(
        cookie=number,
        local_address="10.0.0.1",
        local_port=40000 + number,
        remote_address=remote,
        remote_port=port,
        **{"relayed": False, "idle": 12.0, "age": 200.0, **fields},
    )
    return Verdict(connection=connection, fate=fate, cause=cause)


OWNED = {
    "container": "cri-containerd-0123.scope",
    "process": "postgres",
    "pid": 77,
    "process_age": 500.0,
    "older": True,
}
VERDICTS = (
    verdict(4, "stays", "peer-not-enrolled", remote="2001:db8::1", port=443, container="cri-containerd-0123.scope"),
    verdict(3, "waits", "busy", idle=0.2, uid=33, older=True),
    verdict(1, "ends", "comes-back-encrypted", **OWNED),
    verdict(2, "ends", "comes-back-encrypted", relayed=True),
)
PLAN = FlushPlan(
    pod="shop/web",
    flush="idle",
    state="ready",
    standing=Standing(encrypted=16, clear=5),
    verdicts=VERDICTS,
    left_out=1,
    names={"10.0.0.9": "shop/db"},
)
TABLE = """\
PORT   PEER               AGE   IDLE  OWNER              BECAUSE  WOULD          WHY
40001  shop/db:5432       >=3m  12s   app: postgres(77)  older    end            made anew it is encrypted
40002  shop/db:5432       >=3m  12s   gateway            relayed  end            made anew it is encrypted
40003  shop/db:5432       >=3m  0s    uid 33             older    end when idle  carries data; ends after 5 s without
40004  [2001:db8::1]:443  >=3m  12s   app: uid 0         outside  stay           the peer does not encrypt
shop/web: 16 of 21 connections that stand are encrypted (76%)
2 would end, 1 would end when idle, 1 would stay, one after the other within about 2s
1 more are not listed
"""


def test_a_plan_for_people(capsys):
    show(PLAN, output="table", containers={"0123": "app"})
    assert capsys.readouterr().out == TABLE


def test_a_plan_as_data(capsys):
    show(PLAN, output="json", containers={"0123": "app"})
    found = json.loads(capsys.readouterr().out)
    assert found["standing"] == {"encrypted": 16, "clear": 5, "percent": 76}
    assert (found["pod"], found["netflush"], found["gateway"]) == ("shop/web", "idle", "ready")
    assert (found["seconds"], found["left_out"]) == (2, 1)
    first = found["connections"][0]
    told = ("peer", "container", "process", "process_age", "older", "fate", "cause", "why")
    assert [first[name] for name in told] == [
        "shop/db", "app", "postgres", 500.0, True, "ends", "comes-back-encrypted", "made anew it is encrypted",
    ]  # fmt: skip
    assert found["connections"][2]["older"] is True, "what has its default value is told too"
    assert found["connections"][3]["process"] == ""


@pytest.mark.parametrize(
    ("plan", "last"),
    [
        (
            FlushPlan(pod="shop/web", flush="never", state="ready", standing=Standing(clear=1), verdicts=VERDICTS[:1]),
            "netflush is not set, so nothing is ended; this is what netflush=true would do",
        ),
        (
            FlushPlan(pod="shop/web", flush="all", state="starting", standing=Standing(clear=1), verdicts=VERDICTS[:1]),
            "its gateway is starting: nothing is ended before it is ready",
        ),
        (FlushPlan(pod="shop/web", flush=None, state="ready", standing=Standing()), "shop/web: no connection stands"),
    ],
)
def test_what_keeps_it_from_happening_is_said_last(plan, last, capsys):
    show(plan, output="table")
    assert capsys.readouterr().out.splitlines()[-1] == last


def enrolled(**said):
    summary = PodSummary(key="shop/web", uid="1", generation=1, state="ready", version="1", **said)
    view = PodView(
        namespace="shop",
        name="web",
        node="node1",
        wanted=True,
        mode="permissive",
        state="encrypting",
        reason="",
        message="",
        hint="",
        generation=1,
        image="",
        privileged=False,
        exit_code=None,
        reported=summary,
    )
    return Enrolled(pods=(view,), summary=Refusal("not asked"))


def published(plan=None, **fields):
    return Published(**{"time": 100.0, "plan": plan, "containers": {"0123": "app"}, "left_out": 0, **fields})


def shown(of, pods, *, now=105.0):
    show_published(of, pods, pod="shop/web", output="table", now=now)


def test_a_pod_with_nothing_in_clear_is_said_to_be_encrypted(capsys):
    shown(published(), enrolled(encrypted_connections=7))
    assert capsys.readouterr().out == "shop/web: 7 of 7 connections that stand are encrypted (100%)\n"


def test_what_is_old_is_said_to_be(capsys):
    shown(published(PLAN), enrolled(), now=400.0)
    told = capsys.readouterr()
    assert told.out == TABLE
    assert told.err == "warning: that is as it was 5m ago\nhint: kube-gateway check\n"


@pytest.mark.parametrize(
    ("of", "pods", "message"),
    [
        (published(), enrolled(clear_connections=1), "no gateway of shop/web has told of its connections"),
        (
            published(left_out=3),
            enrolled(clear_connections=1),
            "the watcher has no room to tell of all pods, and leaves out shop/web",
        ),
        (Refusal("you may not", "ask"), enrolled(), "you may not"),
    ],
)
def test_what_is_not_known_is_an_error(of, pods, message):
    with pytest.raises(KubeGatewayError) as error:
        shown(of, pods)
    assert error.value.message == message


def test_without_dry_run_the_way_to_have_it_done_is_told(capsys):
    assert main.run(["local", "flush", "web"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("error: this verb only says what flushing would do")
    assert told[1] == "hint: give --dry-run, or: kube-gateway local --instance local annotate web netflush=true"
