// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers that make a packet longer or shorter, in front, in the middle or at its end.
 */

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/dst.h>
#include <net/dst_metadata.h>

#include "packet.h"

s64 oxbpf_skb_change_proto(struct sk_buff *skb, u16 proto, u64 flags);
s64 oxbpf_skb_adjust_room(struct sk_buff *skb, s32 diff, u32 mode, u64 flags);
s64 oxbpf_skb_change_tail(struct sk_buff *skb, u32 len, u64 flags);
s64 oxbpf_skb_change_head(struct sk_buff *skb, u32 room, u64 flags);

/* A packet of a program's making is at most so long. */
#define OXBPF_SKB_MAX		SKB_MAX_ALLOC
/* Room is added and taken in steps below this. */
#define OXBPF_ROOM_MAX		0xfff

#define OXBPF_ENCAP_L3		(BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6)
#define OXBPF_ENCAP_L4		(BPF_F_ADJ_ROOM_ENCAP_L4_GRE | BPF_F_ADJ_ROOM_ENCAP_L4_UDP)
#define OXBPF_DECAP_L3		(BPF_F_ADJ_ROOM_DECAP_L3_IPV4 | BPF_F_ADJ_ROOM_DECAP_L3_IPV6)
#define OXBPF_SHRINK_FLAGS	(BPF_F_ADJ_ROOM_FIXED_GSO | OXBPF_DECAP_L3 |		\
				 BPF_F_ADJ_ROOM_NO_CSUM_RESET)
#define OXBPF_ROOM_FLAGS	(OXBPF_SHRINK_FLAGS | OXBPF_ENCAP_L3 | OXBPF_ENCAP_L4 |	\
				 BPF_F_ADJ_ROOM_ENCAP_L2_ETH |				\
				 BPF_F_ADJ_ROOM_ENCAP_L2(BPF_ADJ_ROOM_ENCAP_L2_MASK))

/* The headers in front of the room moved by so many bytes (up when negative). */
static void oxbpf_skb_headers_moved(struct sk_buff *skb, int by)
{
	const bool no_transport = skb->transport_header == skb->network_header;

	skb->mac_header += by;
	skb->network_header += by;
	if (no_transport)
		skb->transport_header = skb->network_header;
}

/* len zero bytes at off. There is headroom for them and for the metadata. */
static void oxbpf_skb_insert(struct sk_buff *skb, u32 off, u32 len)
{
	skb_push(skb, len);
	skb_postpush_data_move(skb, len, off);
	/* Zeroes do not change a sum over the packet. */
	memset(skb->data + off, 0, len);
	oxbpf_skb_headers_moved(skb, -(int)len);
}

/* Takes the len bytes at off out. The packet is nobody else's. */
static int oxbpf_skb_remove(struct sk_buff *skb, u32 off, u32 len)
{
	void *start;

	if (unlikely(!pskb_may_pull(skb, off + len)))
		return -ENOMEM;
	start = skb->data;
	__skb_pull(skb, len);
	skb_postpull_rcsum(skb, start + off, len);
	skb_postpull_data_move(skb, len, off);
	oxbpf_skb_headers_moved(skb, len);
	return 0;
}

static void oxbpf_skb_forget_route(struct sk_buff *skb)
{
	if (skb_valid_dst(skb))
		skb_dst_drop(skb);
}

/* The packet will be cut into segments: of the other protocol from now on, and with care. */
static void oxbpf_skb_gso_proto(struct sk_buff *skb, u32 from, u32 to)
{
	struct skb_shared_info *info = skb_shinfo(skb);

	if (!skb_is_gso(skb))
		return;
	if (info->gso_type & from)
		info->gso_type = (info->gso_type & ~from) | to;
	info->gso_type |= SKB_GSO_DODGY;
}

static int oxbpf_skb_to_proto(struct sk_buff *skb, __be16 to)
{
	const u32 diff = sizeof(struct ipv6hdr) - sizeof(struct iphdr);
	const __be16 from = skb->protocol;
	int err;

	if (from == htons(ETH_P_IP) && to == htons(ETH_P_IPV6)) {
		err = skb_cow(skb, skb_metadata_len(skb) + diff);
		if (unlikely(err))
			return err;
		oxbpf_skb_insert(skb, skb_mac_header_len(skb), diff);
		oxbpf_skb_gso_proto(skb, SKB_GSO_TCPV4, SKB_GSO_TCPV6);
	} else if (from == htons(ETH_P_IPV6) && to == htons(ETH_P_IP)) {
		err = skb_unclone(skb, GFP_ATOMIC);
		if (likely(!err))
			err = oxbpf_skb_remove(skb, skb_mac_header_len(skb), diff);
		if (unlikely(err))
			return err;
		oxbpf_skb_gso_proto(skb, SKB_GSO_TCPV6, SKB_GSO_TCPV4);
	} else {
		return -ENOTSUPP;
	}
	skb->protocol = to;
	skb_clear_hash(skb);
	return 0;
}

/* Room for the other IP version's header, which the program then writes. proto: network order. */
s64 oxbpf_skb_change_proto(struct sk_buff *skb, u16 proto, u64 flags)
{
	int err;

	if (unlikely(flags))
		return -EINVAL;
	err = oxbpf_skb_to_proto(skb, (__force __be16)proto);
	bpf_compute_data_pointers(skb);
	if (!err)
		oxbpf_skb_forget_route(skb);
	return err;
}

/* Of a packet to be cut into datagrams the length of one must not change unasked. */
static bool oxbpf_room_gso_ok(const struct sk_buff *skb, u64 flags)
{
	if (!skb_is_gso(skb) || skb_is_gso_tcp(skb))
		return true;
	return skb_shinfo(skb)->gso_type & SKB_GSO_UDP_L4 && flags & BPF_F_ADJ_ROOM_FIXED_GSO;
}

/* The outer headers that the room is for are plausible. */
static int oxbpf_room_encap_check(const struct sk_buff *skb, u32 len, u64 flags)
{
	const u8 inner_mac = flags >> BPF_ADJ_ROOM_ENCAP_L2_SHIFT;

	if (skb->protocol != htons(ETH_P_IP) && skb->protocol != htons(ETH_P_IPV6))
		return -ENOTSUPP;
	if ((flags & OXBPF_ENCAP_L3) == OXBPF_ENCAP_L3 ||
	    (flags & OXBPF_ENCAP_L4) == OXBPF_ENCAP_L4)
		return -EINVAL;
	if (flags & BPF_F_ADJ_ROOM_ENCAP_L2_ETH && inner_mac < ETH_HLEN)
		return -EINVAL;
	if (skb->encapsulation)
		return -EALREADY;
	if (inner_mac > len)
		return -EINVAL;
	return 0;
}

/* How segments of what is in the tunnel are made. */
static u32 oxbpf_room_encap_gso(u64 flags)
{
	if (flags & BPF_F_ADJ_ROOM_ENCAP_L4_UDP)
		return SKB_GSO_UDP_TUNNEL;
	if (flags & BPF_F_ADJ_ROOM_ENCAP_L4_GRE)
		return SKB_GSO_GRE;
	if (flags & BPF_F_ADJ_ROOM_ENCAP_L3_IPV6)
		return SKB_GSO_IPXIP6;
	return SKB_GSO_IPXIP4;
}

/* The headers from before are the inner ones now. */
static void oxbpf_room_encap(struct sk_buff *skb, u16 net, u16 transport, u16 mac_len, u64 flags)
{
	const u8 inner_mac = flags >> BPF_ADJ_ROOM_ENCAP_L2_SHIFT;
	const bool v6 = flags & BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;

	skb->inner_mac_header = net - inner_mac;
	skb->inner_network_header = net;
	skb->inner_transport_header = transport;
	skb_set_inner_protocol(skb, flags & BPF_F_ADJ_ROOM_ENCAP_L2_ETH ? htons(ETH_P_TEB) :
									  skb->protocol);
	skb->encapsulation = 1;
	skb_set_network_header(skb, mac_len);
	if (flags & OXBPF_ENCAP_L4)
		skb_set_transport_header(skb, mac_len + (v6 ? sizeof(struct ipv6hdr) :
							      sizeof(struct iphdr)));
	skb->protocol = v6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP);
	oxbpf_skb_forget_route(skb);
}

static int oxbpf_room_grow(struct sk_buff *skb, u32 off, u32 len, u64 flags)
{
	struct skb_shared_info *info;
	u16 mac_len, net, transport;
	int err;

	if (!oxbpf_room_gso_ok(skb, flags))
		return -ENOTSUPP;
	err = skb_cow_head(skb, skb_metadata_len(skb) + len);
	if (unlikely(err))
		return err;
	if (flags & OXBPF_ENCAP_L3) {
		err = oxbpf_room_encap_check(skb, len, flags);
		if (err)
			return err;
	}

	mac_len = skb->network_header - skb->mac_header;
	net = skb->network_header;
	transport = skb->transport_header;
	oxbpf_skb_insert(skb, off, len);
	if (flags & OXBPF_ENCAP_L3)
		oxbpf_room_encap(skb, net, transport, mac_len, flags);

	if (!skb_is_gso(skb))
		return 0;
	info = skb_shinfo(skb);
	info->gso_type |= SKB_GSO_DODGY;
	if (flags & OXBPF_ENCAP_L3)
		info->gso_type |= oxbpf_room_encap_gso(flags);
	info->gso_segs = 0;
	if (flags & BPF_F_ADJ_ROOM_FIXED_GSO)
		return 0;
	/* Longer headers leave each segment less; a list of packets cannot be cut so. */
	skb_decrease_gso_size(info, len);
	return info->frag_list ? skb_linearize(skb) : 0;
}

static int oxbpf_room_shrink(struct sk_buff *skb, u32 off, u32 len, u64 flags)
{
	struct skb_shared_info *info;
	int err;

	if (unlikely(flags & ~OXBPF_SHRINK_FLAGS))
		return -EINVAL;
	if (!oxbpf_room_gso_ok(skb, flags))
		return -ENOTSUPP;
	err = skb_unclone(skb, GFP_ATOMIC);
	if (likely(!err))
		err = oxbpf_skb_remove(skb, off, len);
	if (unlikely(err))
		return err;

	if (flags & OXBPF_DECAP_L3) {
		skb->protocol = flags & BPF_F_ADJ_ROOM_DECAP_L3_IPV6 ? htons(ETH_P_IPV6) :
								       htons(ETH_P_IP);
		oxbpf_skb_forget_route(skb);
	}
	if (skb_is_gso(skb)) {
		info = skb_shinfo(skb);
		if (!(flags & BPF_F_ADJ_ROOM_FIXED_GSO))
			skb_increase_gso_size(info, len);
		info->gso_type |= SKB_GSO_DODGY;
		info->gso_segs = 0;
	}
	return 0;
}

/* diff bytes more (or less) behind the link-layer header, or behind the network header. */
s64 oxbpf_skb_adjust_room(struct sk_buff *skb, s32 diff, u32 mode, u64 flags)
{
	const u32 len = diff < 0 ? -(u32)diff : diff;
	const bool shrink = diff < 0;
	u32 off, have, base;
	int err;

	if (unlikely(flags & ~OXBPF_ROOM_FLAGS))
		return -EINVAL;
	if (unlikely(len > OXBPF_ROOM_MAX))
		return -EFAULT;
	if (skb->protocol == htons(ETH_P_IP))
		base = sizeof(struct iphdr);
	else if (skb->protocol == htons(ETH_P_IPV6))
		base = sizeof(struct ipv6hdr);
	else
		return -ENOTSUPP;

	off = skb_mac_header_len(skb);
	if (mode == BPF_ADJ_ROOM_NET)
		off += base;
	else if (mode != BPF_ADJ_ROOM_MAC)
		return -ENOTSUPP;

	/* What must be left: the header of what was in the tunnel. */
	switch (flags & OXBPF_DECAP_L3) {
	case 0:
		break;
	case BPF_F_ADJ_ROOM_DECAP_L3_IPV4:
		base = sizeof(struct iphdr);
		break;
	case BPF_F_ADJ_ROOM_DECAP_L3_IPV6:
		base = sizeof(struct ipv6hdr);
		break;
	default:
		return -EINVAL;
	}
	if (flags & OXBPF_DECAP_L3 && !shrink)
		return -EINVAL;

	have = skb->len - skb_network_offset(skb);
	if (shrink && (len >= have || have - len < base))
		return -ENOTSUPP;
	if (!shrink && skb->len + len > OXBPF_SKB_MAX && !skb_is_gso(skb))
		return -ENOTSUPP;

	err = shrink ? oxbpf_room_shrink(skb, off, len, flags) :
		       oxbpf_room_grow(skb, off, len, flags);
	if (!err && !(flags & BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		__skb_reset_checksum_unnecessary(skb);
	bpf_compute_data_pointers(skb);
	return err;
}

/* A packet is not cut inside of its headers. */
static u32 oxbpf_skb_len_min(const struct sk_buff *skb)
{
	int min = 0;

	if (skb_transport_header_was_set(skb))
		min = skb_transport_offset(skb);
	if (min <= 0)
		min = skb_network_offset(skb);
	return max(min, 0);
}

static int oxbpf_skb_set_len(struct sk_buff *skb, u32 len)
{
	const u32 old = skb->len;
	int err = oxbpf_skb_writable(skb, old);

	if (err)
		return err;
	if (len > old) {
		err = __skb_grow_rcsum(skb, len);
		if (!err)
			memset(skb->data + old, 0, len - old);
	} else if (len < old) {
		/* Where the sum would go may be cut off. */
		if (skb->ip_summed == CHECKSUM_PARTIAL &&
		    len < skb_checksum_start_offset(skb) + skb->csum_offset + sizeof(__sum16))
			skb->ip_summed = CHECKSUM_NONE;
		err = __skb_trim_rcsum(skb, len);
	}
	if (!err && skb_is_gso(skb))
		skb_gso_reset(skb);
	return err;
}

s64 oxbpf_skb_change_tail(struct sk_buff *skb, u32 len, u64 flags)
{
	int err;

	if (unlikely(flags || len > OXBPF_SKB_MAX || len < oxbpf_skb_len_min(skb)))
		err = -EINVAL;
	else if (skb->encapsulation)
		err = -ENOTSUPP;
	else
		err = oxbpf_skb_set_len(skb, len);
	bpf_compute_data_pointers(skb);
	return err;
}

/* room zero bytes in front, as a link-layer header. */
s64 oxbpf_skb_change_head(struct sk_buff *skb, u32 room, u64 flags)
{
	const u32 len = skb->len + room;
	int err;

	if (unlikely(flags || room > INT_MAX || len < skb->len ||
		     (len > OXBPF_SKB_MAX && !skb_is_gso(skb))))
		err = -EINVAL;
	else
		err = skb_cow(skb, skb_metadata_len(skb) + room);
	if (likely(!err)) {
		__skb_push(skb, room);
		skb_postpush_data_move(skb, room, 0);
		memset(skb->data, 0, room);
		skb_reset_mac_header(skb);
		skb_reset_mac_len(skb);
	}
	bpf_compute_data_pointers(skb);
	return err;
}
