"""What is decided on one request, one module a kind of rule; `kube_gateway.ai.engine` puts them in order."""
