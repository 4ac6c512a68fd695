# Finds a Go that is new enough, for scripts that build from Go modules: source it, then `find_go WANTED` sets $go.
go=
# The Go that is fetched where none is new enough.
go_version=1.26.8

fail() { # WHAT [HINT]
  echo "error: $1" >&2
  [ -z "${2:-}" ] || echo "hint: $2" >&2
  exit 1
}

at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; } # WANTED HAVE

go_version_of() { "$1" version 2>/dev/null | sed -n 's/^go version go\([0-9.]*\).*/\1/p'; }

# Debian's own Go is too old for what is built here, but can fetch a newer one: each release of Go is also a module, which
# comes with the checksum database's word for it. Modules are stored without the mode to execute.
find_go() { # WANTED
  local candidate module
  [ -z "$go" ] || return 0
  for candidate in go /usr/local/go/bin/go /usr/lib/go*/bin/go; do
    if command -v "$candidate" >/dev/null && at_least "$1" "$(go_version_of "$candidate")"; then
      go=$candidate
      return
    fi
  done
  for candidate in go /usr/lib/go*/bin/go; do
    command -v "$candidate" >/dev/null || continue
    module=golang.org/toolchain@v0.0.1-go$go_version.linux-$("$candidate" env GOARCH)
    echo "fetching Go $go_version ($1 or later is needed, found: $(go_version_of "$candidate"))"
    (cd / && "$candidate" mod download "$module") || fail "Go $go_version could not be fetched" "install Go $1 or later"
    go=$("$candidate" env GOMODCACHE)/$module/bin/go
    chmod -R +x "$(dirname "$go")" "$(dirname "$go")/../pkg/tool"
    return
  done
  fail "there is no Go" "apt-get install golang-go, which is enough to fetch the version needed"
}
