// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What may not leave the pod in clear, whoever sends it and whether or not a gateway is there. connect() is where a
// connection is redirected or refused; this is for what gets past it. A connection begins with a SYN, so without one
// none comes to be; those that stand go on, to end them is user space's.

#pragma once

static __always_inline bool may_go(const struct packet *packet)
{
	return !is_captured(packet->destination, bpf_htons(packet->destination_port));
}

static __always_inline bool refuses_stream(struct __sk_buff *skb, const struct config *config,
					   const struct packet *packet, bool gateway)
{
	if (!(config->flags & FLAG_STRICT) || !(config->flags & FLAG_CAPTURE))
		return false;
	// An answer to a SYN was let in by the gate. A socket of another type that sends TCP makes it up itself.
	if ((packet->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN && !of_socket(skb, SOCK_RAW, 0))
		return false;
	if (gateway && (packet->destination_port == TUNNEL_PORT || config->flags & FLAG_ERRANDS ||
			(config->control_port && packet->destination_port == config->control_port)))
		return false;
	return !may_go(packet);
}

static __always_inline bool refuses_datagram(const struct config *config, const struct packet *packet, bool gateway)
{
	if (!(config->flags & (FLAG_UDP_DNS | FLAG_NO_UDP)) || gateway)
		return false;
	if (config->flags & FLAG_UDP_DNS && packet->destination_port == DNS_PORT)
		return false;
	return !may_go(packet);
}

// Behind more headers than are stepped over, or in a fragment that a program made itself.
static __always_inline bool refuses_unreadable(struct __sk_buff *skb, const struct config *config)
{
	if (config->flags & FLAG_STRICT && config->flags & FLAG_CAPTURE)
		return true;
	return config->flags & (FLAG_UDP_DNS | FLAG_NO_UDP) && !of_socket(skb, SOCK_STREAM, 0);
}

SEC("cgroup_skb/egress")
int kgw_egress(struct __sk_buff *skb)
{
	const struct config *config = current_config();
	struct packet packet;
	bool gateway;

	if (!config || skb->ifindex == LOOPBACK || !read_packet(skb, &packet))
		return 1;
	gateway = of_gateway(skb);
	if (packet.protocol == IPPROTO_TCP) {
		if (refuses_stream(skb, config, &packet, gateway)) {
			count(COUNT_EGRESS_REFUSED);
			return 0;
		}
	} else if (packet.protocol == IPPROTO_UDP || packet.protocol == IPPROTO_UDPLITE) {
		count(COUNT_UDP_PACKETS);
		if (refuses_datagram(config, &packet, gateway)) {
			count(COUNT_UDP_REFUSED);
			return 0;
		}
	} else if (packet.protocol == IPPROTO_UNREADABLE && refuses_unreadable(skb, config)) {
		count(COUNT_EGRESS_REFUSED);
		return 0;
	}
	account(skb, &packet, gateway);
	return 1;
}
