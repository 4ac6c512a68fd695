// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The hooks on a pod's cgroup and on its network. One object, so that the programs share their maps; one header a
// concern:
//
//   maps.bpf.h                  what the programs and user space share
//   connect.bpf.h               connect(): to the gateway, direct, or refused
//   handover.bpf.h              sockops: original destination and real client travel to the accepted socket
//   names.bpf.h                 getpeername(), getsockname(), accept(): the application sees true addresses
//   original_destination.bpf.h  getsockopt(SO_ORIGINAL_DST), for other tools
//   packet.bpf.h                reads a packet as far as the three below need it
//   gate.bpf.h                  a connection from outside comes through the tunnel, or not at all
//   egress.bpf.h                what may not leave the pod in clear
//   accounting.bpf.h            what leaves it, how, and to whom
//   ancestors.bpf.h             which cgroup is the pod's, for a gateway that cannot see the tree
//
// Only the stable user API of the kernel is used (no kernel structures), so the object needs no relocation and loads
// from Linux 5.10 on.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.bpf.h"

#include "connect.bpf.h"
#include "handover.bpf.h"
#include "names.bpf.h"
#include "original_destination.bpf.h"
#include "packet.bpf.h"
#include "gate.bpf.h"
#include "accounting.bpf.h"
#include "egress.bpf.h"
#include "ancestors.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
