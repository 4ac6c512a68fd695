"""A change of a policy's file is noticed, whoever reads it first."""

from __future__ import annotations

import pytest

from kube_gateway.local import policies
from kube_gateway.local.instance import Instance
from kube_gateway.local.policies import PolicyFiles
from kube_gateway.model.settings import Settings

SETTINGS = Settings(wanted=True, ai=True)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBE_GATEWAY_RUN", str(tmp_path))
    instance = Instance(name="ofatest")
    instance.policies.mkdir(parents=True)
    return PolicyFiles(instance)


def test_a_file_that_is_being_written_anew_lifts_no_policy(files):
    path = files.path("pod", SETTINGS)
    path.write_text("version: 1")
    before = files.find("pod", SETTINGS)
    # As editors and shells do: cut to nothing, and written a moment later.
    with path.open("w") as file:
        assert files.find("pod", SETTINGS) == before
        assert files.changed()
        file.write("{}")
    assert files.find("pod", SETTINGS).policy.text == "{}"


def test_a_file_that_stays_empty_is_a_policy_without_rules(files, monkeypatch):
    path = files.path("pod", SETTINGS)
    path.write_text("version: 1")
    files.find("pod", SETTINGS)
    path.write_text("")
    monkeypatch.setattr(policies, "_WRITTEN_WITHIN", 0.0)
    assert files.find("pod", SETTINGS).policy.text == ""


def test_a_file_that_was_empty_from_the_start_and_one_that_is_given_empty_count_at_once(files):
    files.path("pod", SETTINGS).write_text("")
    assert files.find("pod", SETTINGS).policy.text == ""
    files.write("pod", SETTINGS, "version: 1")
    assert files.find("pod", SETTINGS).policy.text
    files.write("pod", SETTINGS, "")
    assert files.find("pod", SETTINGS).policy.text == ""


def test_what_nobody_has_read_is_no_news(files):
    assert not files.changed()
    files.find("pod", SETTINGS)
    assert not files.changed()


@pytest.mark.parametrize("read_by_another_first", [False, True])
def test_a_change_is_told_once(files, read_by_another_first):
    files.find("pod", SETTINGS)
    for text in ("{}", '{"debug": true}', None):
        files.write("pod", SETTINGS, text)
        if read_by_another_first:
            files.find("pod", SETTINGS)
        assert files.changed()
        files.find("pod", SETTINGS)
        files.changed()
        assert not files.changed()
