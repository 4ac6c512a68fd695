"""kube-gateway: mutual TLS for pods that are already running."""

__version__ = "0.1.0"
