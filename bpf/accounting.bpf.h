// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What leaves the pod, how, and to whom: payload as it was sent, what was sent again included. Which kind a connection
// of the application is, its first payload tells, and its socket remembers; a packet from the middle tells nothing.

#pragma once

// Protocols that begin in clear and go on with TLS do so early.
#define SETTLED 1024

// RFC 8446 5.1: type, legacy version, length; content types 20 to 23, at most 2^14 + 2048 bytes (RFC 5246 6.2.3).
static __always_inline bool looks_like_tls(struct __sk_buff *skb, __u32 payload)
{
	__u32 record[2], first, length;

	if (payload < 5 || bpf_skb_load_bytes(skb, skb->len - payload, record, 5))
		return false;
	first = bpf_ntohl(record[0]);
	// The fourth byte is the upper half of the length.
	length = first & 0xff;
	return first >> 24 >= 20 && first >> 24 <= 23 && (first >> 16 & 0xff) == 3 && (first >> 8 & 0xff) <= 4 &&
	       length <= 0x48;
}

static __always_inline __u32 kind_of_stream(struct __sk_buff *skb, const struct packet *packet, bool gateway)
{
	struct bpf_sock *sk = skb->sk;
	bool tunnel = gateway && (packet->source_port == TUNNEL_PORT || packet->destination_port == TUNNEL_PORT);
	__u32 by_ports = tunnel ? KIND_TUNNEL : KIND_PLAIN;
	struct flow *flow;

	if (!sk)
		return by_ports;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->type != SOCK_STREAM)
		return by_ports;
	flow = bpf_sk_storage_get(&kgw_flow, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!flow)
		return by_ports;
	if (packet->tcp_flags & TCP_SYN)
		flow->begun = 1;
	if (packet->payload && flow->kind != KIND_TLS && flow->seen < SETTLED) {
		flow->kind = looks_like_tls(skb, packet->payload) ? KIND_TLS : KIND_PLAIN;
		flow->seen += packet->payload;
	}
	// To a stranger's port of that number the gateway relays what the application says, in clear.
	if (tunnel && (!flow->begun || !flow->seen || flow->kind == KIND_TLS))
		return KIND_TUNNEL;
	return flow->kind == KIND_TLS ? KIND_TLS : KIND_PLAIN;
}

static __always_inline void add_to_total(__u32 index, __u64 amount)
{
	__u64 key = pair_32(index, 0);
	__u64 *total = bpf_map_lookup_elem(&kgw_sent, &key);

	if (total)
		__sync_fetch_and_add(total, amount);
}

static __always_inline struct sent *peer_of(const struct packet *packet, __u32 kind)
{
	// A struct peer_key.
	__u64 key[] = {packet->destination.high, packet->destination.low, kind};
	__u64 nothing[2] = {0, 0};
	struct sent *sent = bpf_map_lookup_elem(&kgw_peers, key);

	if (sent)
		return sent;
	// Somebody else may be first; then it is there as well.
	bpf_map_update_elem(&kgw_peers, key, nothing, BPF_NOEXIST);
	sent = bpf_map_lookup_elem(&kgw_peers, key);
	if (sent)
		return sent;
	key[0] = 0;
	key[1] = 0;
	return bpf_map_lookup_elem(&kgw_peers, key);
}

static __always_inline void account(struct __sk_buff *skb, const struct packet *packet, bool gateway)
{
	__u32 kind = KIND_OTHER;
	struct sent *sent;

	if (packet->protocol == IPPROTO_TCP)
		kind = kind_of_stream(skb, packet, gateway);
	else if (packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_UDPLITE)
		kind = KIND_UDP;
	add_to_total(kind, packet->payload);
	add_to_total(KINDS + kind, 1);
	sent = peer_of(packet, kind);
	if (!sent)
		return;
	__sync_fetch_and_add(&sent->bytes, packet->payload);
	__sync_fetch_and_add(&sent->packets, 1);
}
