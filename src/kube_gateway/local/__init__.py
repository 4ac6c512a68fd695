"""Pods on this machine: network namespaces, cgroups and processes, with the real decisions, gateways and hooks."""
