"""kube-gateway beside no proxy and beside Envoy, in one run on one machine. Figures of two runs do not compare."""
