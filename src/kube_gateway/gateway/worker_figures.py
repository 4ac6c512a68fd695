"""Figures in the worker: answers whoever asks with what the supervisor said last, and what is counted here."""

from __future__ import annotations

from collections.abc import Callable

from kube_gateway.gateway.figures_server import FiguresServer
from kube_gateway.model.exposition import CONTENT_TYPE


class WorkerFigures:
    """The page, and the server of it while there are listeners. `more` is what is counted here, empty for nothing."""

    def __init__(self, *, more: Callable[[], bytes]) -> None:
        self._more = more
        self._said = b""
        self._server: FiguresServer | None = None

    def serve(self, listeners: list[int]) -> None:
        """Answer on these listeners, and on no others."""
        if self._server is not None:
            self._server.close()
        self._server = FiguresServer(listeners, page=self._page, content_type=CONTENT_TYPE) if listeners else None

    def show(self, page: str) -> None:
        """Take what the supervisor says."""
        self._said = page.encode()

    def _page(self) -> bytes:
        return self._said + self._more()
