"""`kube-gateway ai`, compared in full with what is in `golden/`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def command(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Exit code, stdout, stderr, among the golden files; ids that are new each time are dots."""
    done = subprocess.run(
        [sys.executable, "-m", "kube_gateway", "ai", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=GOLDEN,
        input=stdin,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, re.sub("req_kg-[0-9a-f]+", "req_kg-...", done.stdout), done.stderr


@pytest.mark.parametrize(
    ("line", "code", "golden"),
    [
        ("policy lint lint.yaml", 1, "lint.txt"),
        ("policy lint lint.yaml -o json", 1, "lint.json"),
        ("policy explain trial.yaml --model gpt-4o", 0, "explain.txt"),
        ("policy test trial.yaml requests.jsonl raw.http", 1, "trial.txt"),
        ("detectors", 0, "detectors.txt"),
    ],
)
def test_output(line, code, golden):
    assert command(*line.split()) == (code, (GOLDEN / golden).read_text(), "")


def test_a_policy_without_remarks():
    assert command("policy", "lint", "trial.yaml") == (0, "7 rules, all well\n", "")
    assert command("policy", "lint", "-", stdin="") == (0, "0 rules, all well\n", "")


def test_the_first_json_is_linted_too():
    stdin = '{"request": {"maxTokens": 5, "later": true}}'
    told = "request.later: no such member, it is ignored\n1 rule, 1 remark\n"
    assert command("policy", "lint", "-", stdin=stdin) == (1, told, "")


def test_a_wrong_policy():
    said = "error: rules[0].maxTokens: it is missing\nhint: kube-gateway ai policy schema prints what there is\n"
    for verb in ("lint", "explain"):
        assert command("policy", verb, "-", stdin="version: 1\nrules: [{kind: limit, name: a}]") == (2, "", said)
    assert command("policy", "test", "-", "raw.http", stdin="rules: 3")[0] == 2


def test_files_that_are_not_there(tmp_path):
    assert command("policy", "lint", "nowhere.yaml") == (
        2,
        "",
        "error: nowhere.yaml cannot be read: No such file or directory\n",
    )
    (tmp_path / "latin.yaml").write_bytes(b"version: 1 # \xe9")
    assert command("policy", "lint", str(tmp_path / "latin.yaml"))[2].startswith(
        f"error: {tmp_path}/latin.yaml is no text"
    )


def test_a_model_that_is_refused_is_explained_in_one_line():
    assert command("policy", "explain", "trial.yaml", "--model", "gpt-3") == (0, "gpt-3: rule old refuses it\n", "")


def test_explained_as_data():
    code, out, _ = command("policy", "explain", "trial.yaml", "-o", "json")
    assert code == 0
    assert [step["title"] for step in json.loads(out)["steps"]][:3] == ["kind of call", "body", "model"]


@pytest.mark.parametrize(("expect", "code"), [("changed", 0), ("pass", 1), ("blocked", 1)])
def test_what_is_expected_decides_on_the_exit_code(expect, code):
    assert command("policy", "test", "trial.yaml", "raw.http", "--expect", expect)[0] == code


def test_a_trial_as_data_and_with_the_annotation():
    code, out, _ = command("policy", "test", "-", "raw.http", "--ai-model", "other", "-o", "json", stdin="{}")
    (one,) = json.loads(out)
    assert (code, one["result"], one["model"], one["sent_model"], one["expected"]) == (
        0,
        "changed",
        "gpt-4",
        "other",
        True,
    )


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"path": 3}', "Expected str, got int - at $.path"),
        ('{"pth": ""}', "Object contains unknown field pth"),
        ("[", "Input data was truncated"),
        ("3", "Expected object, got int"),
        ('{"path": "\xff"}', "the line is no text in UTF-8"),
        (
            '{"path": "/x", "body": ' + "[" * 5000 + "]" * 5000 + "}",
            "the line is nested too deeply to be read; a body may also be given as text",
        ),
    ],
)
def test_requests_that_cannot_be_read(tmp_path, line, error):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(f"\n{line}\n".encode("latin-1"))
    assert command("policy", "test", "trial.yaml", str(path)) == (
        2,
        "",
        f"error: {path}:2: {error}\n"
        'hint: a line is {"path": "/v1/chat/completions", "body": {...}}, a file one HTTP request otherwise\n',
    )


def test_a_length_that_is_none(tmp_path):
    path = tmp_path / "request.http"
    path.write_text(f"POST /api/chat HTTP/1.1\nContent-Length: {'1' * 5000}\n\n{{}}")
    said = f"error: {path}: the Content-Length '{'1' * 20}' is no length\n"
    assert command("policy", "test", "trial.yaml", str(path)) == (2, "", said)


def test_the_schema_is_one():
    code, out, _ = command("policy", "schema")
    assert code == 0
    assert json.loads(out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    "verb", ["", "policy", "policy lint", "policy explain", "policy test", "policy schema", "detectors"]
)
def test_every_verb_has_help(verb):
    code, shown, error = command(*verb.split(), "--help")
    assert (code, error) == (0, "")
    assert shown.startswith("Usage: kube-gateway ai")
