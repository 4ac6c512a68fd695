#!/usr/bin/env bash
# Builds what a test cluster needs and Debian does not have into .cache/cluster/bin: Kubernetes (all in one binary, from
# kubernetes/), CoreDNS (from coredns/) and two small images. Ten minutes on two cores the first time, nothing when the
# results are of the present sources.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(realpath -m "$here/../../../.cache/cluster")
bin=$cache/bin
# shellcheck source=tests/go.sh
. "$here/../../go.sh"

wanted_go() { sed -n 's/^go //p' "$here"/kubernetes/go.mod "$here"/coredns/go.mod | sort -V | tail -n 1; }

# Runs a command that makes $bin/NAME unless that is there and made from the same: by a hash of the files and commands.
make_from() { # NAME FILES... -- COMMAND...
  local name=$1 files=() hash
  shift
  while [ "$1" != -- ]; do
    files+=("$1")
    shift
  done
  shift
  hash=$( (printf '%s\n' "$@" && declare -f "$1" build && cat "${files[@]}") | sha256sum | cut -d' ' -f1)
  if [ -e "$bin/$name" ] && [ "$(cat "$cache/$name.made-from" 2>/dev/null)" = "$hash" ]; then return; fi
  echo "building $name"
  rm -f "$cache/$name.made-from"
  "$@" "$cache/$name.new"
  mv "$cache/$name.new" "$bin/$name" # a cluster that runs keeps the old file
  echo "$hash" >"$cache/$name.made-from"
}

# Kubernetes must know its version: kubectl and kubelet refuse an API server that has none, and the reverse.
build_kubernetes() { # OUT
  local version minor in=k8s.io/component-base/version
  find_go "$(wanted_go)"
  version=$(sed -n 's/.*k8s.io\/kubernetes \(v[0-9.]*\)$/\1/p' "$here/kubernetes/go.mod")
  minor=$(cut -d. -f2 <<<"$version")
  build kubernetes "$1" "-X $in.gitVersion=$version -X $in.gitMajor=1 -X $in.gitMinor=$minor \
    -X k8s.io/client-go/pkg/version.gitVersion=$version"
}

build_coredns() { # OUT
  find_go "$(wanted_go)"
  build coredns "$1" ''
}

build() { # MODULE OUT FLAGS
  (cd "$here/$1" && CGO_ENABLED=0 GOFLAGS='' GOWORK=off "$go" build -trimpath -buildvcs=false -mod=readonly -ldflags "-s -w $3" -o "$2" . \
    2> >(grep -v '^go: downloading ' >&2))
}

pack_pause() { # OUT
  local root
  root=$(mktemp -d)
  cc -static -O2 -o "$root/pause" "$here/pause.c"
  python3 "$here/image.py" localhost/pause:1 "$1" "$root" /pause
  rm -r "$root"
}

# Enough for most tests. (Its `wget -T` ends with a segmentation fault; without -T it works.)
pack_busybox() { # OUT
  local root applet
  root=$(mktemp -d)
  mkdir "$root"/{bin,dev,etc,proc,root,sys,tmp}
  chmod 755 "$root"
  chmod 1777 "$root/tmp"
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  cp "$busybox" "$root/bin/busybox"
  for applet in $("$busybox" --list); do
    [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
  done
  python3 "$here/image.py" localhost/busybox:1 "$1" "$root" /bin/sh
  rm -r "$root"
}

busybox=$(command -v busybox) || fail "busybox is not installed" "apt-get install busybox-static"
mkdir -p "$bin"
echo '*' >"$cache/.gitignore"
exec 9>"$cache/lock"
flock 9
for module in kubernetes coredns; do
  make_from $module "$here/$module"/{main.go,go.mod,go.sum} -- build_$module
done
make_from pause.tar "$here"/{pause.c,image.py} -- pack_pause
make_from busybox.tar "$here/image.py" "$busybox" -- pack_busybox
for component in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
  ln -sfn kubernetes "$bin/$component"
done
