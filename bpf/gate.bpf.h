// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Connections from outside come through the tunnel, or not at all. Two programs ask the same question:
//
// sk_lookup, on the network namespace, when the kernel looks for a listener: a refusal is a reset at once, and what
// stands already is never looked at. Its link ends with the gateway.
//
// cgroup_skb/ingress, on the pod's cgroup, for what reaches a listener all the same: it stays when the gateway is
// killed. All it can do is not to answer.

#pragma once

// Set by the loader: the field exists from Linux 5.17 on.
const volatile __u32 have_ingress_ifindex = 1;

enum admission {
	ADMIT,
	ADMIT_GATEWAY, // for the gateway itself
	ADMIT_EXEMPT,
	REFUSE_CLEAR,
};

static __always_inline bool is_gated(const struct config *config, __u32 port)
{
	__u64 index = pair_32(port / 64, 0);
	__u64 *bits;

	if (config->flags & FLAG_GATE)
		return true;
	if (!(config->flags & FLAG_GATED))
		return false;
	bits = bpf_map_lookup_elem(&kgw_gated, &index);
	return bits && *bits >> (port & 63) & 1;
}

static __always_inline bool is_loopback(struct address address)
{
	if (!address.high && first_32(address.low) == bpf_htonl(0xffff))
		return bpf_ntohl(second_32(address.low)) >> 24 == IN_LOOPBACKNET;
	return !address.high && address.low == pair_32(0, bpf_htonl(1));
}

// Addresses that nobody outside can have: the kernel drops what comes from outside and claims them.
static __always_inline bool is_of_the_pod(struct address remote, struct address local)
{
	__u64 key[] = ADDRESS_KEY(remote);
	__u8 *rule;

	// The look-up of our own listener, by a connect hook, has no source.
	if (is_loopback(local) || is_loopback(remote))
		return true;
	if (remote.high == local.high && remote.low == local.low)
		return true;
	rule = bpf_map_lookup_elem(&kgw_cidrs, key);
	return rule && *rule == CIDR_OWN;
}

static __always_inline bool is_exempt(struct address remote, __u64 port_key)
{
	__u64 key[] = ADDRESS_KEY(remote);
	__u8 *rule = bpf_map_lookup_elem(&kgw_exempt, key);

	if (!rule)
		return false;
	if (*rule == EXEMPT_ALL)
		return true;
	return bpf_map_lookup_elem(&kgw_probed, &port_key) != NULL;
}

static __always_inline enum admission admission(const struct config *config, struct address remote,
						struct address local, __u32 port)
{
	__u64 port_key = pair_32(pair_16(port, 0), 0);

	if (!is_gated(config, port))
		return ADMIT;
	if (port == TUNNEL_PORT || bpf_map_lookup_elem(&kgw_served, &port_key))
		return ADMIT_GATEWAY;
	if (is_of_the_pod(remote, local))
		return ADMIT;
	return is_exempt(remote, port_key) ? ADMIT_EXEMPT : REFUSE_CLEAR;
}

static __always_inline void note_refused(struct address remote, __u32 port)
{
	// A struct source_key.
	__u64 key[] = {remote.high, remote.low, port};
	__u64 one = 1;
	__u64 *times = bpf_map_lookup_elem(&kgw_refused, key);

	if (times)
		__sync_fetch_and_add(times, 1);
	else
		bpf_map_update_elem(&kgw_refused, key, &one, BPF_ANY);
}

SEC("sk_lookup")
int kgw_gate(struct bpf_sk_lookup *ctx)
{
	const struct config *config = current_config();
	struct address remote, local;

	if (!config || !(config->flags & (FLAG_GATE | FLAG_GATED)) || ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	if (have_ingress_ifindex && ctx->ingress_ifindex == LOOPBACK)
		return SK_PASS;
	if (CONTEXT(family) == AF_INET) {
		remote = from_ipv4(CONTEXT(remote_ip4));
		local = from_ipv4(CONTEXT(local_ip4));
	} else {
		remote.high = pair_32(CONTEXT(remote_ip6[0]), CONTEXT(remote_ip6[1]));
		remote.low = pair_32(CONTEXT(remote_ip6[2]), CONTEXT(remote_ip6[3]));
		local.high = pair_32(CONTEXT(local_ip6[0]), CONTEXT(local_ip6[1]));
		local.low = pair_32(CONTEXT(local_ip6[2]), CONTEXT(local_ip6[3]));
	}
	switch (admission(config, remote, local, ctx->local_port)) {
	case ADMIT_EXEMPT:
		count(COUNT_GATE_EXEMPT);
		return SK_PASS;
	case REFUSE_CLEAR:
		count(COUNT_GATE_REFUSED);
		note_refused(remote, ctx->local_port);
		return SK_DROP;
	default:
		return SK_PASS;
	}
}

// Everything that reaches a listener asks for a connection: SYN, the last packet of the handshake, a SYN cookie.
// Whatever the packet looks like; what cannot be read is not let in.
SEC("cgroup_skb/ingress")
int kgw_ingress(struct __sk_buff *skb)
{
	const struct config *config = current_config();
	struct bpf_sock *sk = skb->sk;
	enum admission verdict;
	struct packet packet;

	if (!config || !(config->flags & (FLAG_GATE | FLAG_GATED)) || skb->ifindex == LOOPBACK || !sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->state != TCP_LISTEN || sk->protocol != IPPROTO_TCP)
		return 1;
	verdict = REFUSE_CLEAR;
	if (read_packet(skb, &packet)) {
		if (packet.protocol == IPPROTO_TCP)
			verdict = admission(config, packet.source, packet.destination, packet.destination_port);
		if (verdict == REFUSE_CLEAR)
			note_refused(packet.source, packet.destination_port);
	}
	// Whoever listens there while the gateway is away.
	if (verdict == ADMIT || verdict == ADMIT_EXEMPT || (verdict == ADMIT_GATEWAY && of_gateway(skb)))
		return 1;
	count(COUNT_GATE_DROPPED);
	return 0;
}
