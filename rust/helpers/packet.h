/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the helpers of packet programs share.
 *
 * Programs call these helpers as they are: arguments come in the registers of a C call, a size and
 * its memory were checked by the verifier, and the result is a number or a negative errno. All run
 * with softirqs or at least preemption off; rust/sys/packet.rs declares them.
 */
#ifndef OXBPF_HELPERS_PACKET_H
#define OXBPF_HELPERS_PACKET_H

#include <linux/filter.h>
#include <linux/skbuff.h>
#include <net/sch_generic.h>

/* The first len bytes of the packet are linear and nobody else's. Programs look where the data is. */
static inline int oxbpf_skb_writable(struct sk_buff *skb, unsigned int len)
{
	int err;

	/* No packet is so long, and a kernel that debugs its network warns of such a number. */
	if (IS_ENABLED(CONFIG_DEBUG_NET) && len > INT_MAX)
		return -EINVAL;
	err = skb_ensure_writable(skb, len);
	bpf_compute_data_pointers(skb);
	return err;
}

/*
 * At ingress a sum over the packet that the device made does not contain the link-layer header,
 * which the program sees. Around an operation that expects the header in the sum.
 */
static inline void oxbpf_skb_mac_into_sum(struct sk_buff *skb)
{
	if (skb_at_tc_ingress(skb))
		skb_postpush_rcsum(skb, skb_mac_header(skb), skb->mac_len);
}

static inline void oxbpf_skb_mac_out_of_sum(struct sk_buff *skb)
{
	if (skb_at_tc_ingress(skb))
		skb_postpull_rcsum(skb, skb_mac_header(skb), skb->mac_len);
}

#endif
