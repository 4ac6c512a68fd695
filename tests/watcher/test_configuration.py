"""What the watcher is told at its start, from the command line to the configuration."""

from __future__ import annotations

import datetime
from pathlib import Path

import click
import pytest

from kube_gateway.cli.watch import _configuration, command
from kube_gateway.errors import UsageError
from kube_gateway.watcher.configuration import Configuration


def parsed(*arguments):
    context = command.make_context("watch", ["--name=w", "--address=10.0.0.9", *arguments])
    options = {key: value for key, value in context.params.items() if key not in ("kubeconfig", "context", "debug")}
    return _configuration(options)


def test_the_defaults_of_the_command_are_those_of_the_configuration():
    assert parsed() == Configuration(name="w", address="10.0.0.9", authority=Path("/etc/kube-gateway/authority"))


def test_every_option():
    assert parsed(
        "--namespace=kgw", "--port=1", "--control=tls:x:2", "--authority=/a", "--trust-domain=d", "--image=i",
        "--pull-policy=Never", "--certificate-life=90s", "--podcidr=10.0.0.0/8", "--privileged=always", "--share-processes",
        "--strict", "--metrics-port=9090",
    ) == Configuration(
        name="w",
        address="10.0.0.9",
        namespace="kgw",
        port=1,
        control="tls:x:2",
        authority=Path("/a"),
        trust_domain="d",
        image="i",
        pull_policy="Never",
        certificate_life=datetime.timedelta(seconds=90),
        capture_cidrs="10.0.0.0/8",
        privileged="always",
        target_first=True,
        strict=True,
        metrics_port=9090,
    )  # fmt: skip


@pytest.mark.parametrize("wrong", ["--control=10.0.0.1:1", "--control=tls:x", "--podcidr=10.0.0.1/8", "--podcidr=all"])
def test_a_value_that_would_fail_later_is_refused_at_once(wrong):
    with pytest.raises(UsageError):
        parsed(wrong)


@pytest.mark.parametrize(
    "wrong", ["--certificate-life=29s", "--certificate-life=1", "--port=65536", "--privileged=yes"]
)
def test_a_value_that_cannot_be_is_refused_by_the_command_line(wrong):
    with pytest.raises(click.UsageError):
        parsed(wrong)
