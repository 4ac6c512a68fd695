"""The AI control of kube-gateway beside no proxy and beside a LiteLLM proxy, in one run on one machine."""
