"""The ports and names that are part of the product's interface."""

REDIRECT_PORT = 18000
"""In the pod, loopback only: captured connections arrive here."""

PLAIN_TUNNEL_PORT = 18001
"""On the pod's addresses: framed streams without TLS, open only while encryption is off."""

TLS_TUNNEL_PORT = 18443
"""On the pod's addresses: framed streams over mutual TLS."""

RESERVED_PORTS = (REDIRECT_PORT, PLAIN_TUNNEL_PORT, TLS_TUNNEL_PORT)

CONTAINER_NAME = "kube-gateway"
ANNOTATION_PREFIX = "kube-gateway.io/"
