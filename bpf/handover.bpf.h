// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// From the connecting socket to the accepted one, within the pod: the gateway learns the original destination of a
// connection that it accepts, and the application's accepted socket learns the real client. Storage lives and dies
// with its socket; only an entry in flight has a life of its own, from the SYN to the third packet.

#pragma once

// Volatile and with a barrier, or clang merges the branches into one access through a computed context pointer, which
// the verifier refuses.
#define CONTEXT(field)                                                                                                 \
	({                                                                                                             \
		__u32 value = *(volatile __u32 *)&ctx->field;                                                          \
		barrier_var(value);                                                                                    \
		value;                                                                                                 \
	})

static __always_inline void local_address(struct bpf_sock_ops *ctx, __u64 out[2])
{
	if (CONTEXT(family) == AF_INET) {
		out[0] = 0;
		out[1] = pair_32(bpf_htonl(0xffff), CONTEXT(local_ip4));
		return;
	}
	out[0] = pair_32(CONTEXT(local_ip6[0]), CONTEXT(local_ip6[1]));
	out[1] = pair_32(CONTEXT(local_ip6[2]), CONTEXT(local_ip6[3]));
}

static __always_inline void remote_address(struct bpf_sock_ops *ctx, __u64 out[2])
{
	if (CONTEXT(family) == AF_INET) {
		out[0] = 0;
		out[1] = pair_32(bpf_htonl(0xffff), CONTEXT(remote_ip4));
		return;
	}
	out[0] = pair_32(CONTEXT(remote_ip6[0]), CONTEXT(remote_ip6[1]));
	out[1] = pair_32(CONTEXT(remote_ip6[2]), CONTEXT(remote_ip6[3]));
}

// Before the SYN, and so before any accept(), with TCP Fast Open too.
static __always_inline void connecting(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct connection_key key = {};
	struct endpoint *endpoint;
	__u32 destination_port = bpf_ntohl(ctx->remote_port);

	key.ports = pair_32(ctx->local_port, destination_port);
	endpoint = bpf_sk_storage_get(&kgw_client, sk, 0, 0);
	if (!endpoint && destination_port == REDIRECT_PORT)
		endpoint = bpf_sk_storage_get(&kgw_destination, sk, 0, 0);
	if (!endpoint)
		return;
	local_address(ctx, key.source);
	bpf_map_update_elem(&kgw_in_flight, &key, endpoint, BPF_ANY);
}

static __always_inline void accepted(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct connection_key key = {};
	struct endpoint *in_flight, *endpoint;

	remote_address(ctx, key.source);
	key.ports = pair_32(bpf_ntohl(ctx->remote_port), ctx->local_port);
	in_flight = bpf_map_lookup_elem(&kgw_in_flight, &key);
	if (!in_flight)
		return;
	endpoint = bpf_sk_storage_get(&kgw_accepted, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (endpoint)
		*endpoint = *in_flight;
	bpf_map_delete_elem(&kgw_in_flight, &key);
}

SEC("sockops")
int kgw_sockops(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	sk = ctx->sk;
	if (!sk)
		return 1;
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		connecting(ctx, sk);
	else
		accepted(ctx, sk);
	return 1;
}
