// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// getsockopt(SOL_IP, SO_ORIGINAL_DST), as netfilter answers it: on a connection that the gateway accepted, and on the
// application's own redirected socket. IPv6: getsockopt(SOL_IPV6, IP6T_SO_ORIGINAL_DST), the same number.
//
// And getsockopt(SOL_IP, KGW_PRESENT), an option that the kernel does not have: who gets the answer knows that the
// hooks on its pod are ours, without the privilege that looking programs up by id would need.

#pragma once

#define SOL_IP		0
#define SOL_IPV6	41
#define SO_ORIGINAL_DST 80
#define KGW_PRESENT	0x6b6777
#define KGW_MAGIC	0x18443018
#define PAGE		4096

// Older kernels answer EFAULT where the answer may be longer than a page, unless they are told to leave it as it is
// (Documentation/bpf/prog_cgroup_sockopt.rst, "Large optval").
static __always_inline int not_ours(struct bpf_sockopt *ctx)
{
	if (ctx->optlen > PAGE)
		*(volatile __s32 *)&ctx->optlen = 0;
	return 1;
}

SEC("cgroup/getsockopt")
int kgw_getsockopt(struct bpf_sockopt *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct endpoint *endpoint;
	__u8 *value = ctx->optval;

	if (ctx->level == SOL_IP && ctx->optname == KGW_PRESENT) {
		if (value + sizeof(__u32) > (__u8 *)ctx->optval_end)
			return 1;
		*(__u32 *)value = KGW_MAGIC;
		*(volatile __s32 *)&ctx->optlen = sizeof(__u32);
		*(volatile __s32 *)&ctx->retval = 0;
		return 1;
	}
	if (ctx->optname != SO_ORIGINAL_DST || (ctx->level != SOL_IP && ctx->level != SOL_IPV6))
		return not_ours(ctx);
	if (!sk)
		return 1;
	endpoint = bpf_sk_storage_get(&kgw_destination, sk, 0, 0);
	// An application's accepted socket holds its client there, which is no destination.
	if (!endpoint && sk->src_port == REDIRECT_PORT)
		endpoint = bpf_sk_storage_get(&kgw_accepted, sk, 0, 0);
	if (!endpoint)
		return 1;
	if (ctx->level == SOL_IP && endpoint->family == AF_INET) {
		struct sockaddr_in *answer = (void *)value;

		if (value + sizeof(*answer) > (__u8 *)ctx->optval_end)
			return 1;
		__builtin_memset(answer, 0, sizeof(*answer));
		answer->sin_family = AF_INET;
		answer->sin_port = endpoint->port;
		answer->sin_addr.s_addr = endpoint->address[3];
		// Through volatile: two plain stores would be merged into one that the verifier refuses.
		*(volatile __s32 *)&ctx->optlen = sizeof(*answer);
		*(volatile __s32 *)&ctx->retval = 0;
	} else if (ctx->level == SOL_IPV6 && endpoint->family == AF_INET6) {
		struct sockaddr_in6 *answer = (void *)value;

		if (value + sizeof(*answer) > (__u8 *)ctx->optval_end)
			return 1;
		__builtin_memset(answer, 0, sizeof(*answer));
		answer->sin6_family = AF_INET6;
		answer->sin6_port = endpoint->port;
		__builtin_memcpy(&answer->sin6_addr, endpoint->address, sizeof(answer->sin6_addr));
		*(volatile __s32 *)&ctx->optlen = sizeof(*answer);
		*(volatile __s32 *)&ctx->retval = 0;
	}
	return 1;
}
