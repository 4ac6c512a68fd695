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
#define TCP_LISTEN   10
#define ECONNREFUSED 111

#define REDIRECT_PORT 18000

#define FLAG_CAPTURE (1 << 0) // the pod's own connections are captured at all
#define FLAG_STRICT  (1 << 1) // without a gateway: refuse, do not go direct
#define FLAG_IPV6    (1 << 2) // the pod has a global IPv6 address

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
	__u32 pod_ipv4;	   // network byte order, 0 if none
	__u32 pod_ipv6[4]; // all zero if none
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
	COUNTERS,
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

// Longest prefix decides: 1 capture, 0 leave alone. ::/0 is always present.
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

static __always_inline void count(__u32 which)
{
	__u64 key = pair_32(which, 0);
	__u64 *value = bpf_map_lookup_elem(&kgw_counters, &key);

	if (value)
		*value += 1;
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

static __always_inline bool is_mapped_ipv4(const __u32 address[4])
{
	return address[0] == 0 && address[1] == 0 && address[2] == bpf_htonl(0xffff);
}
