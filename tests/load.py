"""The load generator, as tests use it."""

from __future__ import annotations

from pathlib import Path

LOAD = str(Path(__file__).resolve().parents[1] / "target" / "release" / "kube-gateway-load")


def serve(pods, name: str, port: int) -> None:
    """Run the load server in a new pod, on all addresses."""
    pods.run(name, LOAD, "serve", "--listen", f"[::]:{port}")
    pods.wait_log(name, "ready", container="app")
