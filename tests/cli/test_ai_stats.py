"""What `kube-gateway ai stats` shows."""

from __future__ import annotations

import json

import pytest

from kube_gateway.cli.ai_stats import show
from kube_gateway.model.ai_report import AiReport, BudgetCount, BudgetPart, ModelCounts, shortened

REPORT = AiReport(
    policy="0123456789ab",
    revision=3,
    source="ConfigMap web-kube-gateway",
    model="gemma2:2b",
    models=(
        ModelCounts(model="gemma2:2b", calls=12, blocked=2, failed=1, input=1200, output=3400, estimated=17),
        ModelCounts(model="", calls=1),
    ),
    hits={"email": 4},
    shadow_hits={"iban": 2, "email": 1},
    blocked={"budget_exhausted": 2},
    changed=5,
    budgets=(
        BudgetCount(
            rule="day",
            window=86400,
            tokens=5000,
            used=4000,
            reserved=500,
            made=12,
            parts=(BudgetPart(start=0, tokens=4500, requests=12),),
        ),
        BudgetCount(rule="calls", kind="rate", model="gemma2:2b", window=60, requests=10, made=12),
    ),
)


def shown(capsys, found, *, single, output="table"):
    show(found, single=single, output=output, now=0.0)
    return capsys.readouterr().out


def test_one_pod_in_full(capsys):
    assert shown(capsys, {"shop/web": REPORT}, single=True) == (
        "shop/web: policy 0123456789ab (revision 3, from ConfigMap web-kube-gateway), all calls go to gemma2:2b\n"
        "\n"
        "MODEL      CALLS  BLOCKED  FAILED  INPUT  OUTPUT  ESTIMATED\n"
        "gemma2:2b  12     2        1       1200   3400    17\n"
        "-          1      0        0       0      0       0\n"
        "\n"
        "blocked: 2 budget_exhausted; changed: 5\n"
        "\n"
        "RULE   HITS  IN SHADOW\n"
        "email  4     1\n"
        "iban   0     2\n"
        "\n"
        "BUDGET  MODEL      WINDOW  TOKENS USED  RESERVED  LEFT  REQUESTS  LEFT\n"
        "day     (all)      24h     4000         500       500   12        -\n"
        "calls   gemma2:2b  60s     0            0         -     12        0\n"
    )


def test_many_pods_in_a_row_each(capsys):
    out = shown(capsys, {"shop/web": REPORT, "shop/new": AiReport()}, single=False)
    assert out.splitlines() == [
        "POD       POLICY        CALLS  BLOCKED  CHANGED  INPUT  OUTPUT",
        "shop/web  0123456789ab  13     2        5        1200   3400",
        "shop/new  none yet      0      0        0        0      0",
    ]


def test_a_policy_that_is_not_used_is_named(capsys):
    report = AiReport(policy="a" * 12, refused="b" * 12, problem="rules[0].regex: it does not compile")
    out = shown(capsys, {"shop/web": report}, single=True)
    assert "policy bbbbbbbbbbbb is not used: rules[0].regex: it does not compile" in out


@pytest.mark.parametrize("single", [True, False])
def test_as_data_with_every_field(capsys, single):
    (found,) = json.loads(shown(capsys, {"shop/web": REPORT}, single=single, output="json"))
    assert found["pod"] == "shop/web"
    assert found["ai"]["models"][1]["calls"] == 1
    assert found["ai"]["models"][1]["blocked"] == 0
    assert found["ai"]["budgets"][0]["used"] == 4000
    assert "parts" not in found["ai"]["budgets"][0]


def test_no_pod_at_all(capsys):
    assert shown(capsys, {}, single=False) == "no pod's LLM calls pass a policy\n"


def test_what_is_published_of_a_report_is_short():
    many = AiReport(
        models=tuple(ModelCounts(model=f"m{number}", calls=number) for number in range(64)),
        hits={f"r{number}": number for number in range(200)},
        budgets=tuple(
            BudgetCount(rule=f"b{number}", window=60, used=number, parts=REPORT.budgets[0].parts)
            for number in range(100)
        ),
    )
    short = shortened(many)
    assert [one.model for one in short.models] == [f"m{number}" for number in range(63, 53, -1)]
    assert list(short.hits) == [f"r{number}" for number in range(199, 189, -1)]
    assert len(short.budgets) == 10
    assert all(not one.parts for one in short.budgets)
