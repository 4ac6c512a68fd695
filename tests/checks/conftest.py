"""An API server that answers as a test says."""

from __future__ import annotations

from serving import serve

__all__ = ["serve"]
