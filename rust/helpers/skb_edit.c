// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers that read and write a packet's bytes, its checksums and what the kernel knows about it.
 */

#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/checksum.h>
#include <net/cls_cgroup.h>
#include <net/dst.h>
#include <net/inet_ecn.h>
#include <net/sock.h>

#include "packet.h"

s64 oxbpf_skb_store_bytes(struct sk_buff *skb, u32 offset, const void *from, u32 len, u64 flags);
s64 oxbpf_skb_load_bytes_relative(const struct sk_buff *skb, u32 offset, void *to, u32 len,
				  u32 start);
s64 oxbpf_skb_pull_data(struct sk_buff *skb, u32 len);
s64 oxbpf_l3_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags);
s64 oxbpf_l4_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags);
u64 oxbpf_csum_diff(const void *from, u32 from_size, const void *to, u32 to_size, u32 seed);
s64 oxbpf_csum_update(struct sk_buff *skb, u32 csum);
s64 oxbpf_csum_level(struct sk_buff *skb, u64 level);
s64 oxbpf_skb_vlan_push(struct sk_buff *skb, u16 proto, u16 tci);
s64 oxbpf_skb_vlan_pop(struct sk_buff *skb);
s64 oxbpf_skb_change_type(struct sk_buff *skb, u32 type);
u64 oxbpf_get_cgroup_classid(const struct sk_buff *skb);
u64 oxbpf_skb_cgroup_classid(const struct sk_buff *skb);
u64 oxbpf_get_route_realm(const struct sk_buff *skb);
u64 oxbpf_get_hash_recalc(struct sk_buff *skb);
u64 oxbpf_set_hash_invalid(struct sk_buff *skb);
u64 oxbpf_set_hash(struct sk_buff *skb, u32 hash);
u64 oxbpf_get_socket_uid(const struct sk_buff *skb);
u64 oxbpf_skb_ecn_set_ce(struct sk_buff *skb);
s64 oxbpf_skb_set_tstamp(struct sk_buff *skb, u64 tstamp, u32 clock);

s64 oxbpf_skb_store_bytes(struct sk_buff *skb, u32 offset, const void *from, u32 len, u64 flags)
{
	const bool sum = flags & BPF_F_RECOMPUTE_CSUM;
	u8 *to;

	if (unlikely(flags & ~(BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH)))
		return -EINVAL;
	/* The verifier bounds len far below 4 GiB, so that this does not wrap. */
	if (unlikely(offset > INT_MAX || oxbpf_skb_writable(skb, offset + len)))
		return -EFAULT;

	to = skb->data + offset;
	if (sum)
		__skb_postpull_rcsum(skb, to, len, offset);
	memcpy(to, from, len);
	if (sum)
		__skb_postpush_rcsum(skb, to, len, offset);
	if (flags & BPF_F_INVALIDATE_HASH)
		skb_clear_hash(skb);
	return 0;
}

/* Of the linear part only, from one of its headers on. */
s64 oxbpf_skb_load_bytes_relative(const struct sk_buff *skb, u32 offset, void *to, u32 len,
				  u32 start)
{
	const u8 *from = NULL;

	if (start == BPF_HDR_START_NET)
		from = skb_network_header(skb);
	else if (start == BPF_HDR_START_MAC && skb_mac_header_was_set(skb))
		from = skb_mac_header(skb);

	if (likely(from && offset <= U16_MAX && from + offset + len <= skb_tail_pointer(skb))) {
		memcpy(to, from + offset, len);
		return 0;
	}
	memset(to, 0, len);
	return -EFAULT;
}

s64 oxbpf_skb_pull_data(struct sk_buff *skb, u32 len)
{
	return oxbpf_skb_writable(skb, len ?: skb_headlen(skb));
}

/* The two bytes of a checksum at offset, made writable; NULL where none can be. */
static __sum16 *oxbpf_skb_sum_at(struct sk_buff *skb, u32 offset)
{
	if (unlikely(offset > U16_MAX || offset % sizeof(__sum16)))
		return NULL;
	if (unlikely(oxbpf_skb_writable(skb, offset + sizeof(__sum16))))
		return NULL;
	return (__sum16 *)(skb->data + offset);
}

s64 oxbpf_l3_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags)
{
	__sum16 *sum;

	if (unlikely(flags & ~BPF_F_HDR_FIELD_MASK))
		return -EINVAL;
	sum = oxbpf_skb_sum_at(skb, offset);
	if (unlikely(!sum))
		return -EFAULT;

	/* How wide the changed field is; 0: to is a difference that was computed already. */
	switch (flags) {
	case 0:
		if (unlikely(from))
			return -EINVAL;
		csum_replace_by_diff(sum, (__force __wsum)to);
		return 0;
	case 2:
		csum_replace2(sum, (__force __be16)from, (__force __be16)to);
		return 0;
	case 4:
		csum_replace4(sum, (__force __be32)from, (__force __be32)to);
		return 0;
	default:
		return -EINVAL;
	}
}

s64 oxbpf_l4_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags)
{
	const bool pseudo = flags & BPF_F_PSEUDO_HDR;
	/* In UDP a sum of 0 means that there is none. */
	const bool zero_is_none = flags & BPF_F_MARK_MANGLED_0;
	__sum16 *sum;

	if (unlikely(flags & ~(BPF_F_HDR_FIELD_MASK | BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 |
			       BPF_F_MARK_ENFORCE | BPF_F_IPV6)))
		return -EINVAL;
	sum = oxbpf_skb_sum_at(skb, offset);
	if (unlikely(!sum))
		return -EFAULT;
	if (zero_is_none && !(flags & BPF_F_MARK_ENFORCE) && !*sum)
		return 0;

	switch (flags & BPF_F_HDR_FIELD_MASK) {
	case 0:
		if (unlikely(from))
			return -EINVAL;
		inet_proto_csum_replace_by_diff(sum, skb, (__force __wsum)to, pseudo,
						flags & BPF_F_IPV6);
		break;
	case 2:
		inet_proto_csum_replace2(sum, skb, (__force __be16)from, (__force __be16)to,
					 pseudo);
		break;
	case 4:
		inet_proto_csum_replace4(sum, skb, (__force __be32)from, (__force __be32)to,
					 pseudo);
		break;
	default:
		return -EINVAL;
	}
	if (zero_is_none && !*sum)
		*sum = CSUM_MANGLED_0;
	return 0;
}

/* What replacing the bytes at from by those at to does to the sum seed, folded to 16 bits. */
u64 oxbpf_csum_diff(const void *from, u32 from_size, const void *to, u32 to_size, u32 seed)
{
	__wsum sum = (__force __wsum)seed;

	if (!to_size && from_size) {
		sum = ~csum_partial(from, from_size, ~sum);
	} else if (to_size) {
		sum = csum_partial(to, to_size, sum);
		if (from_size)
			sum = csum_sub(sum, csum_partial(from, from_size, 0));
	}
	return csum_from32to16((__force u32)sum);
}

s64 oxbpf_csum_update(struct sk_buff *skb, u32 csum)
{
	if (skb->ip_summed != CHECKSUM_COMPLETE)
		return -ENOTSUPP;
	skb->csum = csum_add(skb->csum, (__force __wsum)csum);
	return (__force u32)skb->csum;
}

s64 oxbpf_csum_level(struct sk_buff *skb, u64 level)
{
	switch (level) {
	case BPF_CSUM_LEVEL_QUERY:
		return skb->ip_summed == CHECKSUM_UNNECESSARY ? skb->csum_level : -EACCES;
	case BPF_CSUM_LEVEL_INC:
		__skb_incr_checksum_unnecessary(skb);
		return 0;
	case BPF_CSUM_LEVEL_DEC:
		__skb_decr_checksum_unnecessary(skb);
		return 0;
	case BPF_CSUM_LEVEL_RESET:
		__skb_reset_checksum_unnecessary(skb);
		return 0;
	default:
		return -EINVAL;
	}
}

/* proto is in network order. */
s64 oxbpf_skb_vlan_push(struct sk_buff *skb, u16 proto, u16 tci)
{
	__be16 type = (__force __be16)proto;
	int ret;

	if (type != htons(ETH_P_8021AD))
		type = htons(ETH_P_8021Q);
	oxbpf_skb_mac_into_sum(skb);
	ret = skb_vlan_push(skb, type, tci);
	oxbpf_skb_mac_out_of_sum(skb);
	skb_reset_mac_len(skb);
	bpf_compute_data_pointers(skb);
	return ret;
}

s64 oxbpf_skb_vlan_pop(struct sk_buff *skb)
{
	int ret;

	oxbpf_skb_mac_into_sum(skb);
	ret = skb_vlan_pop(skb);
	oxbpf_skb_mac_out_of_sum(skb);
	bpf_compute_data_pointers(skb);
	return ret;
}

/* Between the types of packets that came from a wire; from and to others: -EINVAL. */
s64 oxbpf_skb_change_type(struct sk_buff *skb, u32 type)
{
	if (unlikely(!skb_pkt_type_ok(skb->pkt_type) || !skb_pkt_type_ok(type)))
		return -EINVAL;
	skb->pkt_type = type;
	return 0;
}

/* The class that the sender's cgroup gives. */
u64 oxbpf_get_cgroup_classid(const struct sk_buff *skb)
{
	return task_get_classid(skb);
}

u64 oxbpf_skb_cgroup_classid(const struct sk_buff *skb)
{
#ifdef CONFIG_CGROUP_NET_CLASSID
	struct sock *sk = skb_to_full_sk(skb);

	if (sk && sk_fullsock(sk))
		return sock_cgroup_classid(&sk->sk_cgrp_data);
#endif
	return 0;
}

u64 oxbpf_get_route_realm(const struct sk_buff *skb)
{
	return dst_tclassid(skb);
}

u64 oxbpf_get_hash_recalc(struct sk_buff *skb)
{
	return skb_get_hash(skb);
}

u64 oxbpf_set_hash_invalid(struct sk_buff *skb)
{
	skb_clear_hash(skb);
	return 0;
}

u64 oxbpf_set_hash(struct sk_buff *skb, u32 hash)
{
	__skb_set_sw_hash(skb, hash, true);
	return 0;
}

/* The owner of the packet's socket; the overflow id without one. */
u64 oxbpf_get_socket_uid(const struct sk_buff *skb)
{
	struct sock *sk = sk_to_full_sk(skb->sk);

	if (!sk || !sk_fullsock(sk))
		return overflowuid;
	return from_kuid_munged(sock_net(sk)->user_ns, sock_net_uid(sock_net(sk), sk));
}

/* 1 when the packet says now that there was congestion; 0 when it cannot. */
u64 oxbpf_skb_ecn_set_ce(struct sk_buff *skb)
{
	const __be16 proto = skb_protocol(skb, true);
	unsigned int len;

	if (proto == htons(ETH_P_IP))
		len = sizeof(struct iphdr);
	else if (proto == htons(ETH_P_IPV6))
		len = sizeof(struct ipv6hdr);
	else
		return 0;
	/* Pointers into the packet stay as they are: nothing is moved for it. */
	if (skb_headlen(skb) < len || (skb_cloned(skb) && !skb_clone_writable(skb, len)))
		return 0;
	return INET_ECN_set_ce(skb);
}

s64 oxbpf_skb_set_tstamp(struct sk_buff *skb, u64 tstamp, u32 clock)
{
	u8 type;

	if (skb->protocol != htons(ETH_P_IP) && skb->protocol != htons(ETH_P_IPV6))
		return -EOPNOTSUPP;
	switch (clock) {
	case BPF_SKB_CLOCK_REALTIME:
		type = SKB_CLOCK_REALTIME;
		break;
	case BPF_SKB_CLOCK_MONOTONIC:
		type = SKB_CLOCK_MONOTONIC;
		break;
	case BPF_SKB_CLOCK_TAI:
		type = SKB_CLOCK_TAI;
		break;
	default:
		return -EINVAL;
	}
	if (!tstamp && type != SKB_CLOCK_REALTIME)
		return -EINVAL;
	skb->tstamp = tstamp;
	skb->tstamp_type = type;
	return 0;
}
