// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The application sees whom it really talks to. Outbound, getpeername() is the original destination and getsockname()
// the pod's own address; inbound, getpeername() and accept() name the real client. The gateway sees the bare sockets.

#pragma once

static __always_inline struct endpoint *true_peer(struct bpf_sock *sk)
{
	const struct config *config = current_config();
	struct endpoint *endpoint;

	if (!config || is_gateway(config))
		return NULL;
	endpoint = bpf_sk_storage_get(&kgw_destination, sk, 0, 0);
	if (endpoint)
		return endpoint;
	return bpf_sk_storage_get(&kgw_accepted, sk, 0, 0);
}

// Only for a connection that was redirected: its local address is a loopback one unless the application bound it.
static __always_inline const struct config *redirected_from_loopback(struct bpf_sock *sk)
{
	const struct config *config = current_config();

	if (!config || is_gateway(config))
		return NULL;
	return bpf_sk_storage_get(&kgw_destination, sk, 0, 0) ? config : NULL;
}

SEC("cgroup/getpeername4")
int kgw_getpeername4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct endpoint *peer = sk ? true_peer(sk) : NULL;

	if (peer && peer->family == AF_INET) {
		ctx->user_ip4 = peer->address[3];
		ctx->user_port = peer->port;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int kgw_getpeername6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct endpoint *peer = sk ? true_peer(sk) : NULL;

	if (peer) {
		ctx->user_ip6[0] = peer->address[0];
		ctx->user_ip6[1] = peer->address[1];
		ctx->user_ip6[2] = peer->address[2];
		ctx->user_ip6[3] = peer->address[3];
		ctx->user_port = peer->port;
	}
	return 1;
}

SEC("cgroup/getsockname4")
int kgw_getsockname4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	const struct config *config = sk ? redirected_from_loopback(sk) : NULL;

	if (config && config->pod_ipv4 && ctx->user_ip4 == bpf_htonl(INADDR_LOOPBACK))
		ctx->user_ip4 = config->pod_ipv4;
	return 1;
}

SEC("cgroup/getsockname6")
int kgw_getsockname6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	const struct config *config = sk ? redirected_from_loopback(sk) : NULL;
	__u32 address[4];

	if (!config)
		return 1;
	address[0] = ctx->user_ip6[0];
	address[1] = ctx->user_ip6[1];
	address[2] = ctx->user_ip6[2];
	address[3] = ctx->user_ip6[3];
	if (is_mapped_ipv4(address)) {
		if (config->pod_ipv4 && address[3] == bpf_htonl(INADDR_LOOPBACK))
			ctx->user_ip6[3] = config->pod_ipv4;
		return 1;
	}
	if (address[0] || address[1] || address[2] || address[3] != bpf_htonl(1) || !config->pod_ipv6[0])
		return 1;
	ctx->user_ip6[0] = config->pod_ipv6[0];
	ctx->user_ip6[1] = config->pod_ipv6[1];
	ctx->user_ip6[2] = config->pod_ipv6[2];
	ctx->user_ip6[3] = config->pod_ipv6[3];
	return 1;
}
