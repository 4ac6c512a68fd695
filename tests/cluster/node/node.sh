#!/usr/bin/env bash
# A real one-node Kubernetes on this machine, for tests: the control plane and kubelet of Kubernetes itself (see build.sh)
# with Debian's etcd, containerd, runc and CNI plugins, IPv4 and IPv6.
#
# Everything it writes is in DIR. What must be outside (two network devices, firewall rules, cgroups, three settings of the
# kernel) is undone by `down`, which also clears up after an `up` that failed half-way, and ends only processes that are in
# DIR/pid with the start time noted there.
set -euo pipefail
shopt -s nullglob
export LC_ALL=C
# All of the cluster is on this machine.
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy KUBECONFIG

usage() {
  cat >&2 <<'TEXT'
usage: node.sh up DIR              start the cluster (about 10 s), or say that it runs
       node.sh down DIR            end it and remove DIR
       node.sh kubectl DIR ARGS    kubectl as the administrator
       node.sh kubeconfig DIR      print the path of the administrator's kubeconfig
       node.sh ctr DIR ARGS        ctr in the namespace of the kubelet's containers
       node.sh load DIR IMAGE.tar  make an image known to the node; use it with imagePullPolicy: Never
       node.sh stop-api DIR        end the API server as a crash would; etcd and all else stay
       node.sh start-api DIR       start it again
TEXT
  exit 2
}

[ $# -ge 2 ] || usage
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
verb=$1 dir=$(realpath -m "$2")
shift 2
bin=$(realpath -m "$here/../../../.cache/cluster/bin")
mark=$dir/.kube-gateway-cluster # says that DIR is ours to remove
socket=$dir/containerd.sock

node=node1
device=kgnode0
node_ip=10.243.0.1 node_ip6=fd00:10:243::1
pods=10.244.0.0/24 pods6=fd00:10:244::/64
pods_all=10.244.0.0/16 pods_all6=fd00:10:244::/56
services=10.96.0.0/16 services6=fd00:10:96::/112
api_ip=10.96.0.1 # the first address of the services
dns_ip=10.96.0.10
ports=(2379 2380 6443 10248 10249 10250 10256 10257 10259)
server=https://$node_ip:6443

fail() { # WHAT [HINT]
  echo "error: $1" >&2
  [ -z "${2:-}" ] || echo "hint: $2" >&2
  exit 1
}

# --- Processes ---

# Prints when process PID started, in ticks since boot: with its number that names one process for good.
start_time() { # PID
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${stat##*) }" # the name before may hold anything
  [ "${fields[0]}" != Z ] && echo "${fields[19]}"
}

# Starts a process that outlives this script. Its number and start time are noted before it becomes what it is to be, and
# until then the lock is held: whenever this script is killed, `down` finds all.
start() { # NAME COMMAND...
  local name=$1 pid
  shift
  (
    echo "--- $(date +%T) $*"
    pid=$BASHPID # within $() it would be another
    echo "$pid $(start_time $pid)" >"$dir/pid/$name"
    cd /
    exec setsid "$@" 9>&-
  ) </dev/null >>"$dir/log/$name" 2>&1 &
}

# Prints the number of process NAME if it runs.
running() { # NAME
  local pid started
  [ -f "$dir/pid/$1" ] && read -r pid started <"$dir/pid/$1" || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] && echo "$pid"
}

stop() { # SIGNAL NAME...
  local signal=$1 name pid
  shift
  for name in "$@"; do
    if pid=$(running "$name"); then kill -s "$signal" "$pid" 2>/dev/null || true; fi
  done
}

ended() { # NAME...
  local name
  for name in "$@"; do
    if running "$name" >/dev/null; then return 1; fi
  done
}

# Waits until a command succeeds; gives up early when one of the processes has ended.
wait_for() { # SECONDS WHAT COMMAND...
  local deadline=$((${EPOCHREALTIME/./} + $1 * 1000000)) what=$2 file name
  shift 2
  while ! "$@" >/dev/null 2>&1; do
    for file in "$dir"/pid/*; do
      name=${file##*/}
      if ! running "$name" >/dev/null; then
        tail -n 15 "$dir/log/$name" >&2
        fail "$name has ended while waiting for $what" "its log is $dir/log/$name"
      fi
    done
    ((${EPOCHREALTIME/./} < deadline)) || fail "gave up waiting for $what" "the logs are in $dir/log"
    sleep 0.1
  done
}

# --- What the machine must have ---

check_machine() {
  local tool port holder
  # It goes into arguments, configuration files and the addresses of sockets, which may be 107 characters long.
  [[ $dir =~ ^/[A-Za-z0-9_./-]+$ && ${#dir} -le 60 ]] || fail "$dir will not do as a directory" "name a short path without spaces"
  [ "$(id -u)" = 0 ] || fail "a node needs root" "run as root"
  for tool in etcd containerd runc ctr iptables conntrack openssl ip ss setsid; do
    command -v $tool >/dev/null || fail "$tool is not installed" \
      "apt-get install etcd-server containerd runc containernetworking-plugins iptables conntrack openssl iproute2 util-linux"
  done
  [ -x /usr/lib/cni/ptp ] || fail "the CNI plugins are not installed" "apt-get install containernetworking-plugins"
  for tool in kubernetes coredns pause.tar busybox.tar; do
    [ -e "$bin/$tool" ] || fail "$bin/$tool is missing" "$here/build.sh"
  done
  if ip link show $device >/dev/null 2>&1; then
    fail "a cluster is on this machine already: $(ip link show $device | sed -n 's/^ *alias //p')" "node.sh down it first"
  fi
  for port in "${ports[@]}"; do
    holder=$(ss -Hltnp "sport = :$port" | head -n 1)
    [ -z "$holder" ] || fail "port $port is in use: $(sed -n 's/.*users:((\(.*\)).*/\1/p' <<<"$holder")" \
      "end that process; the cluster needs the ports ${ports[*]}"
  done
}

# --- Keys ---

# One authority for all. Programs in pods find it as ca.crt beside their token.
make_keys() {
  local pki=$dir/pki san
  authority=$pki/ca.crt
  new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1" 2>/dev/null; }
  new_key "$pki/ca.key"
  openssl req -x509 -new -key "$pki/ca.key" -subj /CN=test-cluster -days 365 -out "$authority" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
  sign() { # NAME SUBJECT USAGE [SAN]
    new_key "$pki/$1.key"
    openssl req -new -key "$pki/$1.key" -subj "$2" | openssl x509 -req -CA "$authority" -CAkey "$pki/ca.key" -CAcreateserial \
      -days 365 -out "$pki/$1.crt" -extfile <(
        printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=%s\nauthorityKeyIdentifier=keyid\n' "$3"
        [ -z "${4:-}" ] || echo "subjectAltName=$4"
      ) 2>/dev/null
  }
  san=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
  sign apiserver /CN=kube-apiserver serverAuth "$san,DNS:localhost,IP:$api_ip,IP:$node_ip,IP:127.0.0.1"
  sign kubelet "/CN=$node" serverAuth "DNS:$node,IP:$node_ip"
  # The API server's own name at the kubelet: logs, exec and attach go through there.
  sign apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet clientAuth
  new_key "$pki/sa.key"
  openssl ec -in "$pki/sa.key" -pubout -out "$pki/sa.pub" 2>/dev/null
}

# The kubelet is system:node:..., so that the API server limits it as it does on a real cluster: it may read only the
# Secrets of its own pods, those that ephemeral containers name included.
make_users() {
  local user token groups
  : >"$dir/pki/tokens.csv"
  while read -r user groups; do
    token=$(openssl rand -hex 16)
    echo "$token,$user,$user,\"$groups\"" >>"$dir/pki/tokens.csv"
    cat >"$dir/${user##*:}.kubeconfig" <<TEXT
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "$server", certificate-authority-data: $(base64 -w 0 "$dir/pki/ca.crt")}}]
users: [{name: local, user: {token: "$token"}}]
contexts: [{name: local, context: {cluster: local, user: local}}]
current-context: local
TEXT
  done <<TEXT
admin system:masters
system:node:$node system:nodes
TEXT
  mv "$dir/admin.kubeconfig" "$dir/kubeconfig"
}

# --- Network ---

keep_kernel() { echo "$1 $(sysctl -n "$1")" >>"$dir/sysctl"; } # NAME: `down` sets it back

set_kernel() { # NAME VALUE
  keep_kernel "$1"
  sysctl -qw "$1=$2"
}

make_network() {
  local setting
  for setting in vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys \
    kernel.keys.root_maxbytes; do
    keep_kernel $setting # the kubelet sets these
  done
  set_kernel net.ipv4.ip_forward 1
  if $ipv6; then
    # A machine that learns its routes from router advertisements would lose them when it forwards.
    for setting in /proc/sys/net/ipv6/conf/*/accept_ra; do
      if [ "$(cat "$setting")" = 1 ]; then set_kernel "${setting#/proc/sys/}" 2; fi
    done
    set_kernel net.ipv6.conf.all.forwarding 1
  fi
  # A loopback address is refused as a node's address, and the machine's own may change.
  ip link add $device type bridge
  ip link set $device alias "$dir" up
  ip addr add $node_ip/32 dev $device
  # Without a carrier the check for duplicates would never end.
  if $ipv6; then ip addr add $node_ip6/128 dev $device nodad; fi

  # Where Docker is, what is forwarded is dropped unless a rule says otherwise.
  accept_pods iptables $pods_all
  if $ipv6; then accept_pods ip6tables $pods_all6; fi

  # ptp, not bridge: what pods of one node send each other through a Service passes the host's rules both ways, for which
  # a bridge needs br_netfilter. No address is masked, so that peers see who a pod is.
  local ranges="[{\"subnet\":\"$pods\"}]" routes='{"dst":"0.0.0.0/0"}'
  if $ipv6; then ranges+=",[{\"subnet\":\"$pods6\"}]" routes+=',{"dst":"::/0"}'; fi
  cat >"$dir/cni/conf/10-pods.conflist" <<TEXT
{"cniVersion": "0.4.0", "name": "kube-gateway-test", "plugins": [
  {"type": "ptp-at-once", "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "$dir/cni/addresses", "ranges": [$ranges], "routes": [$routes]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": false}]}
TEXT
  # Waiting for the check for duplicate IPv6 addresses costs each pod up to two seconds; a link of two needs none.
  cat >"$dir/cni/bin/ptp-at-once" <<'TEXT'
#!/bin/sh
if [ "$CNI_COMMAND" = ADD ] && [ -e /proc/net/if_inet6 ]; then
  nsenter --net="$CNI_NETNS" sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.dad_transmits=0
fi
exec /usr/lib/cni/ptp
TEXT
  chmod +x "$dir/cni/bin/ptp-at-once"
  for plugin in host-local loopback portmap ptp; do ln -s /usr/lib/cni/$plugin "$dir/cni/bin/"; done
}

accept_pods() { # IPTABLES ADDRESSES
  "$1" -w -I FORWARD -s "$2" -m comment --comment kube-gateway-test -j ACCEPT
  "$1" -w -I FORWARD -d "$2" -m comment --comment kube-gateway-test -j ACCEPT
}

refuse_pods() { # IPTABLES ADDRESSES
  while "$1" -w -D FORWARD -s "$2" -m comment --comment kube-gateway-test -j ACCEPT 2>/dev/null; do :; done
  while "$1" -w -D FORWARD -d "$2" -m comment --comment kube-gateway-test -j ACCEPT 2>/dev/null; do :; done
}

# --- Components ---

etcd_server() {
  start etcd etcd --data-dir "$dir/etcd" --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
}

api_server() {
  local pki=$dir/pki
  start apiserver "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --cert-dir="$pki" \
    --bind-address=$node_ip --secure-port=6443 --advertise-address=$node_ip \
    --service-cluster-ip-range="$(both $services $services6)" \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc --token-auth-file="$pki/tokens.csv" \
    --client-ca-file="$pki/ca.crt" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-client-certificate="$pki/apiserver-kubelet.crt" \
    --kubelet-client-key="$pki/apiserver-kubelet.key" --kubelet-preferred-address-types=InternalIP --allow-privileged=true
}

controllers() {
  # After an outage of the API server this and the kubelet may take a minute to look again, each for itself; meanwhile no
  # pod of the node would count as ready, and Services would have no backends. Pods of a node that there is not, which some
  # tests make, stay: the collector of garbage would delete them after a minute.
  start controller-manager "$bin/kube-controller-manager" --kubeconfig "$dir/kubeconfig" --leader-elect=false \
    --controllers='*,-pod-garbage-collector-controller' \
    --node-monitor-grace-period=5m --bind-address=127.0.0.1 --cert-dir="$dir/pki/controller-manager" \
    --allocate-node-cidrs=true --cluster-cidr="$(both $pods_all $pods_all6)" --service-cluster-ip-range="$(both $services $services6)" \
    --service-account-private-key-file="$dir/pki/sa.key" --root-ca-file="$dir/pki/ca.crt"
  start scheduler "$bin/kube-scheduler" --kubeconfig "$dir/kubeconfig" --leader-elect=false --bind-address=127.0.0.1 \
    --cert-dir="$dir/pki/scheduler"
}

container_runtime() {
  # runc, not crun, which refuses the mix of cgroup versions that some machines have. There, runc joins the tree of version
  # 2 too, so that a container is also at /sys/fs/cgroup/unified/kubepods/<class>/pod<uid>/<container>.
  # restrict_oom_score_adj, for machines where root has not CAP_SYS_RESOURCE.
  cat >"$dir/containerd.toml" <<TEXT
version = 2
root = "$dir/containerd/root"
state = "$dir/containerd/state"
[grpc]
  address = "$socket"
[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$dir/cni/bin"
    conf_dir = "$dir/cni/conf"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "$dir/containerd/runc"
TEXT
  start containerd containerd -c "$dir/containerd.toml"
}

node_agent() {
  # The API server is the only one who may call the kubelet, and is asked about everyone else, as kubeadm sets it up.
  # Images cannot be fetched again, so none is removed when the disk fills up.
  : >"$dir/resolv.conf" # pods look names up in the cluster only, whatever the machine uses
  cat >"$dir/kubelet.yaml" <<TEXT
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_ip
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$dir/pki/ca.crt"}}
authorization: {mode: Webhook}
tlsCertFile: "$dir/pki/kubelet.crt"
tlsPrivateKeyFile: "$dir/pki/kubelet.key"
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
enforceNodeAllocatable: []
evictionHard: {memory.available: 100Mi}
imageGCHighThresholdPercent: 100
serializeImagePulls: false
makeIPTablesUtilChains: false
syncFrequency: 10s
clusterDNS: [$dns_ip]
clusterDomain: cluster.local
resolvConf: "$dir/resolv.conf"
podLogsDir: "$dir/log/pods"
volumePluginDir: "$dir/kubelet/volume-plugins"
containerRuntimeEndpoint: unix://$socket
TEXT
  start kubelet "$bin/kubelet" --config "$dir/kubelet.yaml" --kubeconfig "$dir/$node.kubeconfig" \
    --root-dir "$dir/kubelet" --cert-dir "$dir/pki/kubelet-own" --hostname-override $node --node-ip "$(both $node_ip $node_ip6)"
}

service_proxy() {
  # The machine's own limits for connections stay. NodePorts at 127.0.0.1 would need route_localnet on the whole machine.
  start proxy "$bin/kube-proxy" --kubeconfig "$dir/kubeconfig" --hostname-override=$node --proxy-mode=iptables --iptables-localhost-nodeports=false \
    --cluster-cidr="$(both $pods_all $pods_all6)" --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 \
    --conntrack-tcp-timeout-close-wait=0
}

# CoreDNS runs beside the cluster, at the node's address, and is reached as in any cluster: Service kube-system/kube-dns.
names() {
  local families='[IPv4]' policy=SingleStack addresses=$node_ip
  if $ipv6; then families='[IPv4, IPv6]' policy=RequireDualStack addresses="$node_ip $node_ip6"; fi
  cat >"$dir/Corefile" <<TEXT
.:53 {
  bind $addresses
  errors
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig $dir/kubeconfig
    pods insecure
  }
}
TEXT
  start coredns "$bin/coredns" -conf "$dir/Corefile"
  {
    cat <<TEXT
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system, labels: {k8s-app: kube-dns, kubernetes.io/name: CoreDNS}}
spec:
  clusterIP: $dns_ip
  ipFamilies: $families
  ipFamilyPolicy: $policy
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
TEXT
    dns_endpoints IPv4 $node_ip
    if $ipv6; then dns_endpoints IPv6 $node_ip6; fi
  } | kubectl apply -f - >/dev/null
}

dns_endpoints() { # FAMILY ADDRESS
  cat <<TEXT
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-${1,,}, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: $1
endpoints: [{addresses: ["$2"], nodeName: $node, conditions: {ready: true}}]
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
TEXT
}

both() { if $ipv6; then echo "$1,$2"; else echo "$1"; fi; } # IPV4 IPV6

# --- The verbs ---

kubectl() { "$bin/kubectl" --kubeconfig "$dir/kubeconfig" --cache-dir "$dir/kubectl-cache" "$@"; }
containers() { ctr --address "$socket" --namespace k8s.io "$@"; }
api_ready() { kubectl get --raw /readyz --request-timeout=2s; }
node_ready() { [ "$(kubectl get node $node --request-timeout=2s -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
names_ready() { # as the busybox image, which resolves on its own
  local answer
  answer=$(busybox nslookup kubernetes.default.svc.cluster.local $node_ip 2>&1) && [[ $answer == *$api_ip* ]]
}

all_running() {
  local name
  for name in etcd apiserver controller-manager scheduler containerd kubelet proxy coredns; do
    running $name >/dev/null || return 1
  done
}

# Only one at a time may start or end the cluster in DIR. Whoever waited may find that it was another directory.
lock() {
  while [ -d "$dir" ]; do
    exec 9<"$dir"
    flock 9
    [ ! "/proc/$$/fd/9" -ef "$dir" ] || return 0
  done
  return 1
}

up() {
  until mkdir -p "$dir" && lock; do :; done
  if [ -e "$mark" ]; then
    if [ -e "$dir/complete" ] && all_running && node_ready 2>/dev/null; then
      echo "the cluster in $dir is running"
      return
    fi
    echo "clearing up what an earlier run left in $dir"
    remove
    until mkdir -p "$dir" && lock; do :; done
  fi
  [ -z "$(ls -A "$dir")" ] || fail "$dir is not empty and is not a cluster's" "name a directory that does not exist"
  trap 'rmdir "$dir" 2>/dev/null || true' EXIT
  check_machine
  ipv6=false
  # A link may refuse IPv6 even where the kernel has it.
  if [ -e /proc/net/if_inet6 ] && [ "$(sysctl -n net.ipv6.conf.default.disable_ipv6)" = 0 ]; then ipv6=true; fi
  echo "ipv6=$ipv6" >"$mark"
  mkdir -p "$dir"/{log,pid,pki,etcd,cni/conf,cni/bin,containerd,kubelet}
  trap '[ $? = 0 ] || echo "hint: the logs are in $dir/log; node.sh up starts afresh, node.sh down $dir clears up" >&2' EXIT

  (umask 077 && make_keys && make_users)
  make_network
  etcd_server
  container_runtime
  api_server
  wait_for 20 containerd containers version
  load "$bin/pause.tar" "$bin/busybox.tar"
  wait_for 60 "the API server" api_ready
  controllers
  node_agent
  service_proxy
  names
  wait_for 60 "the node" node_ready
  wait_for 30 "the default service account" kubectl get serviceaccount/default configmap/kube-root-ca.crt
  wait_for 30 "names" names_ready
  touch "$dir/complete"
  kubectl get node -o wide
}

load() { # IMAGE.tar...
  local image
  for image in "$@"; do containers images import --digests=false "$image" >/dev/null; done
}

stop_api() {
  stop KILL apiserver
  wait_for_end apiserver
  rm -f "$dir/pid/apiserver"
}

start_api() {
  if running apiserver >/dev/null; then
    echo "the API server is running"
    return
  fi
  api_server
  wait_for 60 "the API server" api_ready
}

wait_for_end() { # NAME...
  local i
  for ((i = 0; i < 100; i++)); do
    if ended "$@"; then return; fi
    sleep 0.05
  done
  return 1
}

down() {
  if [ ! -e "$mark" ]; then
    [ -z "$(ls -A "$dir" 2>/dev/null)" ] || fail "$dir is not a cluster's directory" "name the one that was given to up"
    [ ! -d "$dir" ] || rmdir "$dir"
    echo "there is no cluster in $dir"
    return
  fi
  lock || return 0
  remove
}

# Pods are not asked to end: the whole node goes. All of it can be done twice and on what is only half there.
remove() {
  local others=(apiserver controller-manager scheduler proxy coredns etcd)
  # The data is thrown away, so nothing needs to be written; the kubelet first, as it would start containers again.
  stop KILL kubelet "${others[@]}"
  end_containers
  stop TERM containerd
  wait_for_end containerd || stop KILL containerd
  wait_for_end kubelet containerd "${others[@]}" || fail "a process does not end; see $dir/pid"
  end_shims
  "$bin/kube-proxy" --cleanup >/dev/null 2>&1 || true
  refuse_pods iptables $pods_all
  refuse_pods ip6tables $pods_all6
  unmount
  remove_cgroups
  if ip link show $device 2>/dev/null | grep -qF "alias $dir"; then ip link del $device; fi
  [ ! -e "$dir/sysctl" ] || tac "$dir/sysctl" | while read -r name value; do sysctl -qw "$name=$value" 2>/dev/null || true; done
  remove_fixed_paths
  find "$dir" -mindepth 1 -maxdepth 1 ! -path "$mark" -exec rm -rf --one-file-system {} +
  rm -rf "$dir" # the mark last: a removal that was interrupted can be repeated
}

# Three paths that are fixed in the kubelet and the CNI library.
remove_fixed_paths() {
  local id plugins=/var/lib/kubelet/device-plugins
  for id in "$dir"/containerd/state/io.containerd.runtime.v2.task/k8s.io/*; do
    rm -f /var/lib/cni/results/*-"${id##*/}"-*
  done
  [ ! -d /var/log/containers ] || find /var/log/containers -maxdepth 1 -lname "$dir/*" -delete
  if [ -z "$(ss -Hlx src "$plugins/kubelet.sock")" ]; then rm -f $plugins/kubelet.sock; fi
  rmdir --ignore-fail-on-non-empty -p $plugins /var/log/containers /var/lib/cni/results 2>/dev/null || true
}

# Of all that the containers of this cluster run, also what has left a container's namespaces: by cgroup. The runtime has a
# directory for each container, which is there also when the runtime itself has ended.
end_containers() {
  local state=$dir/containerd/state/io.containerd.runtime.v2.task/k8s.io id groups=()
  [ -d /sys/fs/cgroup ] || return 0
  for id in "$state"/*; do
    groups+=(-o -path "*/kubepods/*/${id##*/}/cgroup.procs")
  done
  [ ${#groups[@]} -gt 0 ] || return 0
  # Twice: a process may have forked while the list was read.
  for _ in 1 2; do
    find /sys/fs/cgroup -name cgroup.procs \( -false "${groups[@]}" \) -exec cat {} + 2>/dev/null |
      sort -u | xargs -r kill -s KILL 2>/dev/null || true
  done
}

# The shims are containerd's, but outlive it; they have this cluster's socket as an argument. Their own sockets are in /run.
end_shims() {
  local file arguments address
  for file in "$dir"/containerd/state/io.containerd.runtime.v2.task/k8s.io/*/address; do
    address=$(cat "$file")
    [[ $address != unix:///run/containerd/s/* ]] || rm -f "${address#unix://}"
  done
  for file in /proc/[0-9]*/cmdline; do
    mapfile -d '' -t arguments <"$file" 2>/dev/null || continue
    if [[ ${arguments[0]:-} == *containerd-shim* && " ${arguments[*]} " == *" -address $socket "* ]]; then
      file=${file%/cmdline}
      kill -s KILL "${file#/proc/}" 2>/dev/null || true
    fi
  done
}

unmount() {
  local mounts
  for _ in 1 2 3; do
    mapfile -t mounts < <(awk -v dir="$dir/" 'index($2, dir) == 1 {print $2}' /proc/mounts | sort -r)
    [ ${#mounts[@]} -gt 0 ] || return 0
    umount -l "${mounts[@]}" 2>/dev/null || true
  done
}

# Waits for the last processes, which have been killed, to be gone.
remove_cgroups() {
  local roots
  for _ in {1..40}; do
    roots=(/sys/fs/cgroup/kubepod[s] /sys/fs/cgroup/*/kubepods)
    [ ${#roots[@]} -gt 0 ] || return 0
    find "${roots[@]}" -depth -type d -exec rmdir {} + 2>/dev/null && return 0
    sleep 0.05
  done
}

need_cluster() { [ -e "$mark" ] || fail "there is no cluster in $dir" "node.sh up $dir"; }

case $verb in
  up) up ;;
  down) down ;;
  kubectl | load) need_cluster && "$verb" "$@" ;;
  ctr) need_cluster && containers "$@" ;;
  kubeconfig) need_cluster && echo "$dir/kubeconfig" ;;
  stop-api | start-api)
    need_cluster
    lock || need_cluster
    ipv6=$(sed -n 's/^ipv6=//p' "$mark")
    "${verb/-/_}"
    ;;
  *) usage ;;
esac
