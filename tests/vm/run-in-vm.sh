#!/bin/bash
# Runs a command under Debian's 6.1 kernel and pure cgroup v2, in a QEMU machine that needs no KVM.
#
#   run-in-vm.sh [--kernel DIR] [--share DIR] -- COMMAND...
#
# The guest has no disk image. It sees this machine's own root by virtiofs, under a tmpfs that takes the writes, so every
# tool and virtual environment of the host is there; only the shared directory is writable for good. COMMAND runs there as
# root with the host's PATH and no network. Its stdout and stderr come back on stdout, its exit status as ours.
# 124: time limit; 125: the machine ended without a status (why: on stderr); 2: wrong call.
#
#   --kernel DIR  an extracted kernel package, DIR/boot and DIR/lib/modules   (default: a Debian 6.1 cloud kernel, downloaded once)
#   --share DIR   the directory COMMAND runs in, at the same path             (default: the current one)
#   VM_CACHE      where the downloaded kernel is kept       (default: .cache/vm of the repository)
#   VM_TIMEOUT    seconds for boot and command              (default: 300)
#   VM_MODULES    modules to load before COMMAND; others load on demand
#   VM_MEMORY, VM_CPUS                                      (default: 2048 MiB, 2)
set -euo pipefail

VM_CACHE=${VM_CACHE:-$(realpath "$(dirname "$0")/../..")/.cache/vm}
VM_MODULES=${VM_MODULES-tls veth bridge tcp_diag sch_netem}
kernel='' share=$PWD

fail() { echo "${0##*/}: $1" >&2; exit 2; }
while [[ $# -gt 0 && $1 != -- ]]; do
    case $1 in --kernel) kernel=${2-} ;; --share) share=${2-} ;; *) fail "unknown option $1, or no -- before COMMAND" ;; esac
    shift; shift || fail "a value is missing"
done
[[ $# -ge 2 ]] || fail "usage: [--kernel DIR] [--share DIR] -- COMMAND..."
shift
[[ $EUID == 0 ]] || fail "virtiofsd needs root"

newest() { grep -E '^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' | sort -V | tail -n 1; }
# The package into $1; apt's lists may be missing, or older than what the mirror has.
download() {
    local package
    package=$(apt-cache pkgnames linux-image-6.1.0- | newest) || return 1
    (mkdir -p "$1/$package" && cd "$1/$package" && apt-get -qq -o APT::Sandbox::User=root download "$package" &&
        dpkg -x ./*.deb . && rm ./*.deb) >&2
}
if [[ ! $kernel ]]; then
    mkdir -p "$VM_CACHE"
    if ! package=$(find "$VM_CACHE" -maxdepth 1 -printf '%f\n' | newest); then
        downloads=$(mktemp -d -p "$VM_CACHE")
        trap 'rm -rf "$downloads"' EXIT
        download "$downloads" || { apt-get -qq update >&2 && rm -rf "${downloads:?}"/* && download "$downloads"; } ||
            fail "apt has no linux-image-6.1.0-*-cloud-amd64; use --kernel DIR"
        package=$(find "$downloads" -maxdepth 1 -printf '%f\n' | newest)
        mv -T "$downloads/$package" "$VM_CACHE/$package" || [[ -d $VM_CACHE/$package ]]
        rm -rf "$downloads"
    fi
    kernel=$VM_CACHE/$package
fi
kernel=$(realpath "$kernel") share=$(realpath "$share")
version=$(basename "$kernel"/lib/modules/*)
[[ -s $kernel/lib/modules/$version/modules.dep ]] || depmod -b "$kernel" "$version"

work=$(mktemp -d) pids=()
trap 'exec 3>&-; kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The initramfs: busybox, the modules that reach the root, and two scripts. `init` builds the root and enters it; `command`
# is process 1 there.
initramfs=$work/initramfs
mkdir -p "$initramfs"/{bin,modules,host,layer,root}
cp "$(command -v busybox)" "$initramfs/bin/"
modules=$(modprobe -d "$kernel" -S "$version" --show-depends -a virtio_pci virtio_console virtiofs overlay |
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }')
xargs cp -t "$initramfs/modules" <<<"$modules"
cat >"$initramfs/init" <<INIT
#!/bin/busybox sh
export PATH=/bin; /bin/busybox --install -s /bin; set -e; trap 'poweroff -f' EXIT
for module in $(sed 's,.*/,,' <<<"$modules" | tr '\n' ' '); do insmod /modules/\$module; done
mount -t virtiofs -o ro host /host
mount -t tmpfs layer /layer; mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root
mkdir -p /root/lib/modules/$version; mount -o bind '/host$kernel/lib/modules/$version' /root/lib/modules/$version
mount -t devtmpfs dev /root/dev; mkdir -p /root/dev/pts; mount -t devpts devpts /root/dev/pts
for directory in tmp run dev/shm; do mkdir -p /root/\$directory; mount -t tmpfs -o mode=1777 tmpfs /root/\$directory; done
mount -t proc proc /root/proc; mount -t sysfs sysfs /root/sys; mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t bpf bpf /root/sys/fs/bpf; mount -t debugfs debugfs /root/sys/kernel/debug
mkdir -p '/root$share'; mount -t virtiofs share '/root$share'
cp /command /root/run/command; exec switch_root /root /bin/bash /run/command
INIT
cat >"$initramfs/command" <<COMMAND
export PATH=$(printf %q "$PATH") HOME=$(printf %q "$HOME") LANG=C.UTF-8 IN_VM=1
ln -s /proc/self/fd /dev/fd; ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr
echo vm >/proc/sys/kernel/hostname; ip link set lo up; modprobe -a $VM_MODULES
# Through a pipe, for the port can be opened only once. A daemon that COMMAND leaves behind must not hold up the end.
{ cd $(printf %q "$share") && setsid -w $(printf '%q ' "$@"); } </dev/null > >(exec cat >/dev/vport0p1) 2>&1
status=\$?
for _ in {1..10}; do kill -0 \$! 2>/dev/null || break; sleep 0.1; done
echo \$status >/dev/vport0p2; sync; echo o >/proc/sysrq-trigger; sleep 60
COMMAND
chmod +x "$initramfs/init"
(cd "$initramfs" && find . | cpio --quiet -o -H newc) >"$work/initramfs.cpio"

virtiofsd=$(PATH=/usr/lib/qemu:/usr/libexec:$PATH command -v virtiofsd) || fail "no virtiofsd"
"$virtiofsd" --socket-path="$work/host" -o source=/,sandbox=chroot,cache=always &>"$work/host.log" & pids+=($!)
"$virtiofsd" --socket-path="$work/share" -o "source=$share,sandbox=chroot,cache=auto" &>"$work/share.log" & pids+=($!)
for _ in {1..50}; do [[ -S $work/host && -S $work/share ]] && break; sleep 0.1; done

# Output goes through a fifo, for QEMU would truncate a file; QEMU in the background, so that a signal ends everything.
mkfifo "$work/output"
cat "$work/output" & output=$!
exec 3>"$work/output"
timeout -k 5 "${VM_TIMEOUT:-300}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp "${VM_CPUS:-2}" \
    -machine pc,memory-backend=memory -m "${VM_MEMORY:-2048}M" \
    -object "memory-backend-memfd,id=memory,size=${VM_MEMORY:-2048}M,share=on" \
    -kernel "$kernel/boot/vmlinuz-$version" -initrd "$work/initramfs.cpio" -append "console=ttyS0 quiet panic=-1" \
    -nodefaults -no-reboot -display none -serial "file:$work/console" -device virtio-serial-pci \
    -chardev "file,id=output,path=$work/output" -device virtserialport,nr=1,chardev=output \
    -chardev "file,id=status,path=$work/status" -device virtserialport,nr=2,chardev=status \
    -chardev "socket,id=host,path=$work/host" -device vhost-user-fs-pci,chardev=host,tag=host \
    -chardev "socket,id=share,path=$work/share" -device vhost-user-fs-pci,chardev=share,tag=share \
    </dev/null &>"$work/qemu.log" & pids+=($!)
wait $! && result=0 || result=$?
exec 3>&-
wait $output
[[ $result != 124 ]] || exit 124
[[ ! -s $work/status ]] || exit "$(<"$work/status")"
tail -n 5 "$work"/{qemu,host,share}.log >&2
sed '/Call Trace/,$d' "$work/console" 2>/dev/null | tail -n 20 >&2 || true
exit 125
