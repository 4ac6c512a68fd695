#!/usr/bin/env bash
# Writes go.mod and go.sum for another version of Kubernetes: update.sh v1.34.4
# k8s.io/kubernetes names its own parts by relative path, which does not hold outside its repository: each needs a replace.
set -euo pipefail
[ $# = 1 ] || { echo "usage: update.sh VERSION" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")"
version=$1
parts=v0.${version#v1.}
rm -f go.mod go.sum
go mod init kube-gateway/tests/cluster/kubernetes
mod=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
sed -n 's/^\s*\(k8s.io\/[a-z0-9-]*\) => .\/staging.*/\1/p' "$mod" | while read -r part; do
  go mod edit -replace "$part=$part@$parts"
done
# As old as Kubernetes allows, not as new as the Go at hand.
go mod edit -go="$(sed -n 's/^go //p' "$mod")" -require "k8s.io/kubernetes@$version"
go mod tidy
