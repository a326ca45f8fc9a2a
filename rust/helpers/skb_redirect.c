// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers that send a packet, or a copy of it, to another device.
 */

#include <linux/etherdevice.h>
#include <linux/if_arp.h>
#include <linux/netdevice.h>
#include <net/net_namespace.h>

#include "packet.h"

s64 oxbpf_redirect(u32 ifindex, u64 flags);
s64 oxbpf_redirect_peer(u32 ifindex, u64 flags);
s64 oxbpf_redirect_neigh(u32 ifindex, const void *params, u32 len, u64 flags);
s64 oxbpf_clone_redirect(struct sk_buff *skb, u32 ifindex, u64 flags);

/* What the kernel's own helpers tell its redirecting of packets besides the ABI's flags. */
#define OXBPF_REDIRECT_NEIGH	BIT(16)
#define OXBPF_REDIRECT_PEER	BIT(17)
#define OXBPF_REDIRECT_NEXTHOP	BIT(18)

/*
 * Notes where the packet goes if the program's verdict is to redirect it: who called the classifier
 * does it then. Only some hooks do, and they have a place for the note.
 */
static struct bpf_redirect_info *oxbpf_redirect_note(u32 ifindex, u32 flags)
{
	struct bpf_redirect_info *ri;

	if (unlikely(!bpf_net_ctx_get()))
		return NULL;
	ri = bpf_net_ctx_get_ri();
	ri->tgt_index = ifindex;
	ri->flags = flags;
	return ri;
}

s64 oxbpf_redirect(u32 ifindex, u64 flags)
{
	if (unlikely(flags & ~(u64)BPF_F_INGRESS || !oxbpf_redirect_note(ifindex, flags)))
		return TC_ACT_SHOT;
	return TC_ACT_REDIRECT;
}

s64 oxbpf_redirect_peer(u32 ifindex, u64 flags)
{
	if (unlikely(flags || !oxbpf_redirect_note(ifindex, OXBPF_REDIRECT_PEER)))
		return TC_ACT_SHOT;
	return TC_ACT_REDIRECT;
}

/* params is a struct bpf_redir_neigh, or with len 0 nothing. */
s64 oxbpf_redirect_neigh(u32 ifindex, const void *params, u32 len, u64 flags)
{
	struct bpf_redirect_info *ri;

	BUILD_BUG_ON(sizeof(struct bpf_redir_neigh) != sizeof(ri->nh));
	if (unlikely(flags || (len && len < sizeof(ri->nh))))
		return TC_ACT_SHOT;
	ri = oxbpf_redirect_note(ifindex, OXBPF_REDIRECT_NEIGH | (len ? OXBPF_REDIRECT_NEXTHOP : 0));
	if (unlikely(!ri))
		return TC_ACT_SHOT;
	if (len)
		memcpy(&ri->nh, params, sizeof(ri->nh));
	return TC_ACT_REDIRECT;
}

/* As if the device had received it. l2: the packet has a link-layer header. */
static int oxbpf_receive(struct sk_buff *skb, struct net_device *dev, bool l2)
{
	int ret = ____dev_forward_skb(dev, skb, false);

	if (unlikely(ret))
		return ret;
	if (l2) {
		skb->protocol = eth_type_trans(skb, dev);
		skb_postpull_rcsum(skb, eth_hdr(skb), ETH_HLEN);
	} else {
		skb->dev = dev;
	}
	return netif_rx(skb);
}

static int oxbpf_transmit(struct sk_buff *skb, struct net_device *dev)
{
	int ret;

	if (dev_xmit_recursion()) {
		net_crit_ratelimited("oxbpf: a program's packets come back to it without end\n");
		kfree_skb(skb);
		return -ENETDOWN;
	}
	skb->dev = dev;
	skb_set_redirected_noclear(skb, skb_at_tc_ingress(skb));
	skb_clear_tstamp(skb);

	dev_xmit_recursion_inc();
	ret = dev_queue_xmit(skb);
	dev_xmit_recursion_dec();
	return ret;
}

/* For a device without link-layer headers: the packet must start at its network header. */
static int oxbpf_drop_mac(struct sk_buff *skb)
{
	const unsigned int mac = skb_network_offset(skb);

	if (unlikely(skb->len <= mac))
		return -ERANGE;
	if (mac) {
		__skb_pull(skb, mac);
		/* At ingress the sum does not have it. */
		if (!skb_at_tc_ingress(skb))
			skb_postpull_rcsum(skb, skb_mac_header(skb), mac);
	}
	skb_pop_mac_header(skb);
	skb_reset_mac_len(skb);
	return 0;
}

/* Takes the packet. */
static int oxbpf_send(struct sk_buff *skb, struct net_device *dev, u64 flags)
{
	const bool l2 = dev_is_mac_header_xmit(dev);
	int err = 0;

	if (!l2)
		err = oxbpf_drop_mac(skb);
	else if (unlikely(skb->mac_header >= skb->network_header || !skb->len))
		err = -ERANGE;
	if (unlikely(err)) {
		kfree_skb(skb);
		return err;
	}
	if (l2)
		oxbpf_skb_mac_into_sum(skb);
	return flags & BPF_F_INGRESS ? oxbpf_receive(skb, dev, l2) : oxbpf_transmit(skb, dev);
}

s64 oxbpf_clone_redirect(struct sk_buff *skb, u32 ifindex, u64 flags)
{
	struct net_device *dev;
	struct sk_buff *clone;

	if (unlikely(flags & ~(u64)BPF_F_INGRESS))
		return -EINVAL;
	/* A test run can make up packets to be segmented that say not how. */
	if (unlikely(skb_is_gso(skb) && !skb_shinfo(skb)->gso_type))
		return -EBADMSG;
	dev = dev_get_by_index_rcu(dev_net(skb->dev), ifindex);
	if (unlikely(!dev))
		return -EINVAL;

	clone = skb_clone(skb, GFP_ATOMIC);
	if (unlikely(!clone))
		return -ENOMEM;
	/* Programs write to their packet directly, so it has no other owner. */
	if (unlikely(oxbpf_skb_writable(skb, skb_headlen(skb)))) {
		kfree_skb(clone);
		return -ENOMEM;
	}
	return oxbpf_send(clone, dev, flags);
}
