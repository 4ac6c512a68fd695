#!/usr/bin/env bash
# Builds Ollama, a real model server, from its Go module into .cache/ollama/bin. Two to four minutes on two cores the first
# time, nothing when this version is there. Its inference engine is C++: needs g++.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(realpath -m "$here/../../../.cache/ollama")
module=github.com/ollama/ollama
version=0.9.6
# Its go.mod's.
go_wanted=1.24.0
# shellcheck source=tests/go.sh
. "$here/../../go.sh"

mkdir -p "$cache"
echo '*' >"$cache/.gitignore"
exec 9>"$cache/lock"
flock 9
if [ -x "$cache/bin/ollama" ] && [ "$(cat "$cache/version" 2>/dev/null)" = "$version" ]; then exit; fi
command -v g++ >/dev/null || fail "there is no C++ compiler, which Ollama needs" "apt-get install g++"
find_go "$go_wanted"
echo "building Ollama $version from its Go module (two to four minutes)"
rm -f "$cache/version"
# Its C++ has warnings, which would hide an error.
(cd / && GOBIN=$cache/bin GOFLAGS='' GOWORK=off CGO_ENABLED=1 CGO_CXXFLAGS='-O2 -w' CGO_CFLAGS='-O2 -w' nice "$go" install -trimpath \
  -ldflags "-s -w -X $module/version.Version=$version" "$module@v$version" 2> >(grep -v '^go: downloading ' >&2))
echo "$version" >"$cache/version"
