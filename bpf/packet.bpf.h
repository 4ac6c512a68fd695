// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A packet as the programs on the cgroup see it: it begins with the IP header. Applications may put IPv6 extension
// headers before TCP and UDP, some of them without any privilege, so these are stepped over.

#pragma once

#define TCP_SYN 0x02
#define TCP_ACK 0x10

#define IPPROTO_HOP_BY_HOP  0
#define IPPROTO_V6_ROUTING  43
#define IPPROTO_V6_FRAGMENT 44
#define IPPROTO_V6_OPTIONS  60
#define IPPROTO_UNREADABLE  256 // what follows cannot be told

#define MOST_EXTENSIONS 4
#define IPV4_FRAGMENT	0x1fff
#define IPV6_FRAGMENT	0xfff8

struct packet {
	struct address source;
	struct address destination;
	__u32 protocol;
	__u32 source_port; // host byte order; 0 where there are none
	__u32 destination_port;
	__u32 tcp_flags;
	__u32 payload; // its length
};

static __always_inline __u32 word_at(struct __sk_buff *skb, __u32 offset)
{
	__u32 word[2];

	return bpf_skb_load_bytes(skb, offset, word, sizeof(word[0])) ? 0 : word[0];
}

static __always_inline __u32 skip_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	__u32 header[6];

	if (bpf_skb_load_bytes(skb, 0, header, 20))
		return 0;
	packet->source = from_ipv4(header[3]);
	packet->destination = from_ipv4(header[4]);
	packet->protocol = bpf_ntohl(header[2]) >> 16 & 0xff;
	if (bpf_ntohl(header[1]) & IPV4_FRAGMENT)
		packet->protocol = IPPROTO_UNREADABLE;
	return (bpf_ntohl(header[0]) >> 24 & 0xf) * 4;
}

static __always_inline bool is_extension(__u32 header)
{
	return header == IPPROTO_HOP_BY_HOP || header == IPPROTO_V6_ROUTING || header == IPPROTO_V6_OPTIONS ||
	       header == IPPROTO_V6_FRAGMENT;
}

static __always_inline __u32 skip_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	__u32 next, extension, at = 40;
	__u64 header[5];

	if (bpf_skb_load_bytes(skb, 0, header, sizeof(header)))
		return 0;
	packet->source = (struct address){header[1], header[2]};
	packet->destination = (struct address){header[3], header[4]};
	next = bpf_ntohl(second_32(header[0])) >> 8 & 0xff;
#pragma unroll
	for (int i = 0; i < MOST_EXTENSIONS; i++) {
		if (!is_extension(next))
			break;
		extension = bpf_ntohl(word_at(skb, at));
		if (next == IPPROTO_V6_FRAGMENT) {
			at += 8;
			next = extension & IPV6_FRAGMENT ? IPPROTO_UNREADABLE : extension >> 24;
		} else {
			at += ((extension >> 16 & 0xff) + 1) * 8;
			next = extension >> 24;
		}
	}
	packet->protocol = is_extension(next) ? IPPROTO_UNREADABLE : next;
	return at;
}

// Whether it is an IP packet. Of one that cannot be read to its ports, the protocol says so.
static __always_inline bool read_packet(struct __sk_buff *skb, struct packet *packet)
{
	bool ipv4 = skb->protocol == bpf_htons(ETH_P_IP);
	__u32 at, ports, word, head = 0;

	// All of it, also for packets that cannot be read: clang may look at it before it looks at the result.
	*packet = (struct packet){.protocol = IPPROTO_UNREADABLE};
	if (!ipv4 && skb->protocol != bpf_htons(ETH_P_IPV6))
		return false;
	at = ipv4 ? skip_ipv4(skb, packet) : skip_ipv6(skb, packet);
	if (!at)
		return false;
	if (packet->protocol == IPPROTO_TCP) {
		word = bpf_ntohl(word_at(skb, at + 12));
		head = (word >> 28) * 4;
		packet->tcp_flags = word >> 16 & 0xff;
		if (!head)
			packet->protocol = IPPROTO_UNREADABLE;
	} else if (packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_UDPLITE) {
		head = 8;
	}
	if (head) {
		ports = bpf_ntohl(word_at(skb, at));
		packet->source_port = ports >> 16;
		packet->destination_port = ports & 0xffff;
	}
	packet->payload = skb->len > at + head ? skb->len - at - head : 0;
	return true;
}

// Whether the packet's socket is of this type and protocol (0: any), however the packet looks.
static __always_inline bool of_socket(struct __sk_buff *skb, __u32 type, __u32 protocol)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return false;
	sk = bpf_sk_fullsock(sk);
	return sk && sk->type == type && (!protocol || sk->protocol == protocol);
}

// By the cgroup that the socket was made in, see kgw_gateways.
static __always_inline bool of_gateway(struct __sk_buff *skb)
{
	__u64 cgroup = bpf_skb_cgroup_id(skb);

	return bpf_map_lookup_elem(&kgw_gateways, &cgroup) != NULL;
}
