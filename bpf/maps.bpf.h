// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the programs and user space share. native/src/hooks/layout.rs mirrors every structure; a test compares sizes
// with the BTF of the object.
//
// A gateway that takes over from one of another version goes on with its maps if this file is the same, byte for byte,
// in both. So what a field means is said here, and a new meaning is a change of this file.

#pragma once

#define AF_INET	     2
#define AF_INET6     10
#define SOCK_STREAM  1
#define SOCK_RAW     3
#define TCP_LISTEN   10
#define ECONNREFUSED 111

#define REDIRECT_PORT 18000
#define TUNNEL_PORT   18443
#define DNS_PORT      53
#define LOOPBACK      1 // the index of `lo` in every network namespace

#define FLAG_CAPTURE (1 << 0) // the pod's own connections are captured at all
#define FLAG_STRICT  (1 << 1) // without a gateway: refuse, do not go direct
#define FLAG_IPV6    (1 << 2) // the pod has a global IPv6 address
#define FLAG_GATE    (1 << 3) // connections to the pod come through the tunnel, or not at all
#define FLAG_GATED   (1 << 4) // the same, for the ports of kgw_gated alone
#define FLAG_UDP_DNS (1 << 5) // of the pod's UDP only what goes to port 53 leaves it
#define FLAG_NO_UDP  (1 << 6) // none does
#define FLAG_ERRANDS (1 << 7) // the gateway connects to others of its own accord, as policies for LLM calls may ask for

#define GATEWAY_CGROUPS 4
#define ANCESTORS	16

// An address as the wire has it; IPv4 is kept v4-mapped so that one structure serves both families.
struct endpoint {
	__u32 address[4]; // network byte order
	__u16 port;	  // network byte order
	__u16 family;	  // AF_INET or AF_INET6: of the traffic, not of the socket
};

// Names one connection between its two sockets in this namespace while it is being set up. Both ports take part: the
// same source may be in use towards another listener.
struct connection_key {
	__u64 source[2]; // v4-mapped, network byte order
	__u64 ports;	 // of the source and of the destination, host byte order, as sockops has them
};

struct config {
	__u64 gateway_cgroups[GATEWAY_CGROUPS]; // sockets made there are the gateway's own; 0 is unused
	__u64 stale_after;			// nanoseconds without a stamp after which the gateway counts as hung
	__u32 flags;
	__u32 pod_ipv4;	    // network byte order, 0 if none
	__u32 pod_ipv6[4];  // all zero if none
	__u32 control_port; // where the watcher listens, host byte order; 0 if not by TCP
	__u32 unused;
};

struct cidr_key {
	__u32 prefix_length; // 0 to 128, v4-mapped
	__u32 address[4];
};

enum counter {
	COUNT_REDIRECTED,	  // handed to the gateway
	COUNT_EXCLUDED,		  // by CIDR or port, loopback, or the pod's own address
	COUNT_DIRECT_NO_GATEWAY,  // permissive and nobody home
	COUNT_REFUSED_NO_GATEWAY, // strict and nobody home
	COUNT_DEVICE_BOUND,	  // SO_BINDTODEVICE: cannot reach loopback
	COUNT_GATE_REFUSED,	  // inbound, in clear: reset
	COUNT_GATE_DROPPED,	  // inbound, in clear, nobody home: no answer; a client that tries again counts again
	COUNT_GATE_EXEMPT,	  // inbound, in clear, from a source that may
	COUNT_EGRESS_REFUSED,	  // TCP of the pod that would have left it in clear; a packet that is sent again counts
				  // again
	COUNT_UDP_PACKETS,	  // UDP of the pod, let through or not
	COUNT_UDP_REFUSED,	  // of these, not let through
	COUNTERS,
};

// What a rule of kgw_cidrs says.
#define CIDR_DIRECT  0
#define CIDR_CAPTURE 1
#define CIDR_OWN     2 // the pod's own address: direct, and known as a source

// What kgw_exempt says of a source.
#define EXEMPT_ALL    1
#define EXEMPT_PROBES 2 // for the ports of kgw_probed alone

// What leaves the pod, by what can be told from outside.
enum kind {
	KIND_TUNNEL, // TLS between gateways
	KIND_TLS,    // looks like it: the application's own, and the gateway's line to the watcher
	KIND_PLAIN,  // other TCP
	KIND_UDP,
	KIND_OTHER,
	KINDS,
};

struct peer_key {
	__u64 address[2]; // v4-mapped, network byte order; zero: all for which there was no room
	__u64 kind;
};

struct sent {
	__u64 bytes; // payload: without headers of IP, TCP and UDP
	__u64 packets;
};

struct source_key {
	__u64 address[2]; // v4-mapped, network byte order
	__u64 port;	  // of the pod, host byte order
};

// What is known of a TCP connection of the pod.
struct flow {
	__u32 kind;
	__u32 seen;  // payload bytes, up to where its kind is settled
	__u32 begun; // whether it was there from the SYN on
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} kgw_config SEC(".maps");

// CLOCK_MONOTONIC nanoseconds, written by the worker each second.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} kgw_stamp SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} kgw_counters SEC(".maps");

// Longest prefix decides, see CIDR_. ::/0 is always present.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct cidr_key);
	__type(value, __u8);
} kgw_cidrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16); // host byte order
	__type(value, __u8);
} kgw_ports SEC(".maps");

// On a listener of ours: the redirect port is not somebody else's.
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} kgw_listener SEC(".maps");

// On the application's socket: where it wanted to go.
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct endpoint);
} kgw_destination SEC(".maps");

// On the gateway's socket before it dials the application: on whose behalf.
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct endpoint);
} kgw_client SEC(".maps");

// On accepted sockets: for the gateway's, the original destination; for the application's, the real client.
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct endpoint);
} kgw_accepted SEC(".maps");

// Between connect() and accept(). An entry of a connect that failed is overwritten or evicted.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct connection_key);
	__type(value, struct endpoint);
} kgw_in_flight SEC(".maps");

// Cgroups whose sockets are a gateway's: those of kgw_config, and those of earlier gateways that made listeners which
// are still in use, as what is accepted counts as made there. The value means nothing.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u8);
} kgw_gateways SEC(".maps");

// Sources that reach a gated pod in clear. Longest prefix decides, see EXEMPT_.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct cidr_key);
	__type(value, __u8);
} kgw_exempt SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16); // host byte order
	__type(value, __u8);
} kgw_probed SEC(".maps");

// Ports, a bit each, that are gated where not all are.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32); // port / 64
	__type(value, __u64);
} kgw_gated SEC(".maps");

// Ports of the gateway itself that are open in clear.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u16); // host byte order
	__type(value, __u8);
} kgw_served SEC(".maps");

// How often a source was refused since user space last looked. Forgets those that were refused least lately.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct source_key);
	__type(value, __u64);
} kgw_refused SEC(".maps");

// Payload bytes of each kind, then packets of each kind.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * KINDS);
	__type(key, __u32);
	__type(value, __u64);
} kgw_sent SEC(".maps");

// The same by peer. Never forgets, or what was sent could be made unseen; what finds no room counts for the zero
// address.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct peer_key);
	__type(value, struct sent);
} kgw_peers SEC(".maps");

// When counting began, nanoseconds since the epoch.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} kgw_began SEC(".maps");

// On a socket of the pod that has sent something.
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct flow);
} kgw_flow SEC(".maps");

// Ids of the cgroups above a process, from the root on; 0 beyond its own.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ANCESTORS);
	__type(key, __u32);
	__type(value, __u64);
} kgw_ancestor_ids SEC(".maps");

// Whatever goes onto the stack, keys of 2 and 4 bytes too, is written 8 bytes at a time, put together by these two.
// From Linux 5.16 on the verifier follows values on the stack, and up to 6.7 it takes a smaller one that is written
// over or beside one of them for an attack on a stored pointer, unless the loader has CAP_PERFMON.
static __always_inline __u32 pair_16(__u16 first, __u16 second)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? first | (__u32)second << 16 : (__u32)first << 16 | second;
}

static __always_inline __u64 pair_32(__u32 first, __u32 second)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? first | (__u64)second << 32 : (__u64)first << 32 | second;
}

static __always_inline __u32 first_32(__u64 pair)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? pair : pair >> 32;
}

static __always_inline __u32 second_32(__u64 pair)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? pair >> 32 : pair;
}

static __always_inline void count(__u32 which)
{
	__u64 key = pair_32(which, 0);
	__u64 *value = bpf_map_lookup_elem(&kgw_counters, &key);

	// Sending may be interrupted by receiving, on the same CPU.
	if (value)
		__sync_fetch_and_add(value, 1);
}

static __always_inline const struct config *current_config(void)
{
	__u64 zero = 0;

	return bpf_map_lookup_elem(&kgw_config, &zero);
}

static __always_inline void map_ipv4(__u32 out[4], __u32 address)
{
	out[0] = 0;
	out[1] = 0;
	out[2] = bpf_htonl(0xffff);
	out[3] = address;
}

// An address, v4-mapped as in struct endpoint, in two registers instead of four: so none has to go onto the stack by
// half.
struct address {
	__u64 high;
	__u64 low;
};

static __always_inline struct address from_ipv4(__u32 address)
{
	return (struct address){0, pair_32(bpf_htonl(0xffff), address)};
}

static __always_inline struct address from_words(const __u32 words[4])
{
	return (struct address){pair_32(words[0], words[1]), pair_32(words[2], words[3])};
}

// The struct cidr_key of this address alone.
#define ADDRESS_KEY(address)                                                                                           \
	{                                                                                                              \
		pair_32(128, first_32((address).high)), pair_32(second_32((address).high), first_32((address).low)),   \
		    pair_32(second_32((address).low), 0),                                                              \
	}

static __always_inline bool is_mapped_ipv4(const __u32 address[4])
{
	return address[0] == 0 && address[1] == 0 && address[2] == bpf_htonl(0xffff);
}
