"""Counts once a second what leaves the pod, and shows it where the settings say."""

from __future__ import annotations

from kube_gateway.control.messages import Configure
from kube_gateway.gateway.accounting import Accounting
from kube_gateway.gateway.figures_page import FiguresPage
from kube_gateway.gateway.figures_port import FiguresPort, Send
from kube_gateway.gateway.reporting import Reporter
from kube_gateway.model.flow import GatewaySnapshot


class Counting:
    """`send` tells the worker, which shows the figures; `reporter` knows what else is in them."""

    def __init__(self, send: Send, *, accounting: Accounting, reporter: Reporter) -> None:
        self._accounting = accounting
        self._reporter = reporter
        self._page = FiguresPage()
        self.port = FiguresPort(send)

    def count(self, settings: Configure | None, snapshot: GatewaySnapshot) -> None:
        """Read the counters; `snapshot` is what the worker said last."""
        if settings is None:
            return
        self._accounting.in_force(settings.settings)
        self._accounting.look(clear=self._reporter.standing(settings))
        if self.port.is_open:
            shown = self._reporter.shown(settings.settings, snapshot, sent=self._accounting.read)
            if shown is not None:
                self.port.show(self._page.page(shown))
