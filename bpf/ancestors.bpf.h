// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// In a cgroup namespace of its own, a container sees its own cgroup as the root and has no path to its pod's. The
// kernel tells a program that runs in a process of the container the ids of all ancestors; attached for a moment to the
// container's own cgroup, this one notes them when a socket is made.

#pragma once

SEC("cgroup/sock_create")
int kgw_ancestors(struct bpf_sock *ctx)
{
#pragma unroll
	for (int level = 0; level < ANCESTORS; level++) {
		__u64 index = pair_32(level, 0);
		__u64 *id = bpf_map_lookup_elem(&kgw_ancestor_ids, &index);

		if (id)
			*id = bpf_get_current_ancestor_cgroup_id(level);
	}
	return 1;
}
