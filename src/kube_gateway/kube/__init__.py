"""The only place that speaks Kubernetes."""
