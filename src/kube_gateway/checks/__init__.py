"""What `kube-gateway check` looks at: checks as data, a module a category, each judging facts that were fetched before."""
