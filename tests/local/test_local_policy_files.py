"""A change of a policy's file is noticed, whoever reads it first."""

from __future__ import annotations

import pytest

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
