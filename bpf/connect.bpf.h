// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// connect(): hand a TCP connection to the gateway on loopback, leave it alone, or refuse it.

#pragma once

// Set by the loader: bpf_set_retval() exists from Linux 5.18 on. Before, a refusal is EPERM.
const volatile __u32 have_set_retval = 1;

enum verdict {
	LEAVE_ALONE,
	REDIRECT,
	REFUSE,
};

static __always_inline bool is_gateway(const struct config *config)
{
	__u64 cgroup = bpf_get_current_cgroup_id();

	// By cgroup and nothing else: a mark or a process id can be forged by the application.
#pragma unroll
	for (int i = 0; i < GATEWAY_CGROUPS; i++)
		if (config->gateway_cgroups[i] == cgroup)
			return true;
	return false;
}

static __always_inline bool is_captured(struct address address, __u16 port)
{
	__u64 key[] = ADDRESS_KEY(address);
	__u8 *rule = bpf_map_lookup_elem(&kgw_cidrs, key);

	__u64 port_key = pair_32(pair_16(bpf_ntohs(port), 0), 0);

	if (!rule || *rule != CIDR_CAPTURE)
		return false;
	return !bpf_map_lookup_elem(&kgw_ports, &port_key);
}

// Is our listener there? A gateway that died is noticed at the very next connect, a squatter on the port is not ours,
// and a stamp that has grown old shows a gateway that hangs.
static __always_inline bool somebody_home(struct bpf_sock_addr *ctx, const struct config *config, bool ipv4)
{
	// A struct bpf_sock_tuple of either family: addresses, then ports, of source and destination. Values depend on
	// the family, not places, for without CAP_PERFMON the verifier wants to know every place on the stack.
	const struct bpf_sock_tuple *tuple;
	__u64 words[] = {
	    ipv4 ? pair_32(0, bpf_htonl(INADDR_LOOPBACK)) : 0,
	    ipv4 ? pair_32(pair_16(0, bpf_htons(REDIRECT_PORT)), 0) : 0,
	    0,
	    pair_32(0, bpf_htonl(1)),
	    pair_32(pair_16(0, bpf_htons(REDIRECT_PORT)), 0),
	};
	struct bpf_sock *listener;
	bool ours = false;
	__u64 zero = 0;
	__u64 seen, now;
	__u64 *stamp;

	stamp = bpf_map_lookup_elem(&kgw_stamp, &zero);
	if (!stamp)
		return false;
	// Read before the clock is, and perhaps ahead of it all the same, as it is written at any time.
	seen = *(volatile __u64 *)stamp;
	now = bpf_ktime_get_ns();
	if (now > seen && now - seen > config->stale_after)
		return false;
	listener = bpf_sk_lookup_tcp(ctx, (struct bpf_sock_tuple *)words,
				     ipv4 ? sizeof(tuple->ipv4) : sizeof(tuple->ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!listener)
		return false;
	if (listener->state == TCP_LISTEN)
		ours = bpf_sk_storage_get(&kgw_listener, listener, 0, 0) != NULL;
	bpf_sk_release(listener);
	return ours;
}

static __always_inline enum verdict decide(struct bpf_sock_addr *ctx, struct bpf_sock *sk, const __u32 address[4],
					   bool ipv4)
{
	const struct config *config = current_config();
	struct endpoint *destination;

	if (!config || is_gateway(config))
		return LEAVE_ALONE;
	if (!(config->flags & FLAG_CAPTURE) || (!ipv4 && !(config->flags & FLAG_IPV6)))
		return LEAVE_ALONE;
	if (!is_captured(from_words(address), ctx->user_port)) {
		count(COUNT_EXCLUDED);
		return LEAVE_ALONE;
	}
	// Bound to a device, the socket cannot reach loopback.
	if (sk->bound_dev_if) {
		count(COUNT_DEVICE_BOUND);
		return config->flags & FLAG_STRICT ? REFUSE : LEAVE_ALONE;
	}
	if (!somebody_home(ctx, config, ipv4)) {
		if (config->flags & FLAG_STRICT) {
			count(COUNT_REFUSED_NO_GATEWAY);
			return REFUSE;
		}
		count(COUNT_DIRECT_NO_GATEWAY);
		return LEAVE_ALONE;
	}
	destination = bpf_sk_storage_get(&kgw_destination, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!destination)
		return config->flags & FLAG_STRICT ? REFUSE : LEAVE_ALONE;
	__builtin_memcpy(destination->address, address, sizeof(destination->address));
	destination->port = ctx->user_port;
	destination->family = ipv4 ? AF_INET : AF_INET6;
	count(COUNT_REDIRECTED);
	return REDIRECT;
}

// A connect() that is not redirected must not leave the destination of an earlier, failed one on its socket.
static __always_inline int not_redirected(struct bpf_sock *sk, enum verdict verdict)
{
	bpf_sk_storage_delete(&kgw_destination, sk);
	if (verdict != REFUSE)
		return 1;
	if (have_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return 0;
}

SEC("cgroup/connect4")
int kgw_connect4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	enum verdict verdict;
	__u32 address[4];

	if (!sk || ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP)
		return 1;
	map_ipv4(address, ctx->user_ip4);
	verdict = decide(ctx, sk, address, true);
	if (verdict != REDIRECT)
		return not_redirected(sk, verdict);
	ctx->user_ip4 = bpf_htonl(INADDR_LOOPBACK);
	ctx->user_port = bpf_htons(REDIRECT_PORT);
	return 1;
}

SEC("cgroup/connect6")
int kgw_connect6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	enum verdict verdict;
	__u32 address[4];
	bool ipv4;

	if (!sk || ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP)
		return 1;
	address[0] = ctx->user_ip6[0];
	address[1] = ctx->user_ip6[1];
	address[2] = ctx->user_ip6[2];
	address[3] = ctx->user_ip6[3];
	ipv4 = is_mapped_ipv4(address);
	verdict = decide(ctx, sk, address, ipv4);
	if (verdict != REDIRECT)
		return not_redirected(sk, verdict);
	ctx->user_ip6[0] = 0;
	ctx->user_ip6[1] = 0;
	ctx->user_ip6[2] = ipv4 ? bpf_htonl(0xffff) : 0;
	ctx->user_ip6[3] = ipv4 ? bpf_htonl(INADDR_LOOPBACK) : bpf_htonl(1);
	ctx->user_port = bpf_htons(REDIRECT_PORT);
	return 1;
}
