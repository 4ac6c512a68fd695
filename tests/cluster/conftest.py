"""The cluster that tests share. They do not start it: it is kept between runs, and `make test-cluster` sees to it."""

from __future__ import annotations

import itertools
import os

import pytest
from product import Product

from cluster import Cluster

_numbers = itertools.count()
_measured = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def cluster():
    """The running test cluster."""
    cluster = Cluster()
    if not cluster.running:
        pytest.fail(f"no test cluster runs in {cluster.directory}; start one with: make cluster", pytrace=False)
    return cluster


@pytest.fixture(scope="module")
def namespace(cluster):
    """A namespace of this file's own, in which pods can be made at once. Whether it has gone nobody waits for."""
    name = f"t{os.getpid()}x{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    cluster.wait("serviceaccount/default", "create", namespace=name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def product(cluster, tmp_path_factory):
    """The watcher, freshly installed."""
    product = Product(cluster, tmp_path_factory.mktemp("authority"))
    product.uninstall()
    product.authority_by_ourselves()
    product.install()
    yield product
    print(product.log())
    product.uninstall()


@pytest.fixture
def measured(request):
    """Notes a figure for the end of the run."""
    return lambda text: request.config.stash.setdefault(_measured, []).append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter, config):
    """Print the figures."""
    if figures := config.stash.get(_measured, []):
        terminalreporter.section("measured")
        for figure in figures:
            terminalreporter.write_line(figure)
