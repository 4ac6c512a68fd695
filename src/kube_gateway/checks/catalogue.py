"""All categories, in the order in which they are checked: each makes sense only if those before it are well."""

from __future__ import annotations

from typing import Any

from kube_gateway.checks.authority import AUTHORITY
from kube_gateway.checks.gateways import GATEWAYS
from kube_gateway.checks.kubernetes_api import KUBERNETES_API
from kube_gateway.checks.model import Category
from kube_gateway.checks.nodes import NODES
from kube_gateway.checks.pre_install import PRE_INSTALL
from kube_gateway.checks.watcher import WATCHER

BEFORE_INSTALLATION: tuple[Category[Any], ...] = (KUBERNETES_API, PRE_INSTALL, NODES)
AFTER_INSTALLATION: tuple[Category[Any], ...] = (KUBERNETES_API, AUTHORITY, WATCHER, NODES, GATEWAYS)
