// SPDX-License-Identifier: GPL-2.0
/*
 * Packets before they have an skb, made up for test runs.
 */

#include <linux/bpf.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <net/net_namespace.h>
#include <net/netdev_rx_queue.h>

#include "xdp.h"

#define OXBPF_XDP_TAILROOM SKB_DATA_ALIGN(sizeof(struct skb_shared_info))

/* All but the pages is one page, as with a driver. */
struct oxbpf_test_xdp {
	struct xdp_buff buff;
	/* A copy: nothing of a driver's is used for pages that are ours. */
	struct xdp_rxq_info rxq;
	struct net_device *dev;
};

bool oxbpf_test_xdp_meta_ok(u32 meta);
u32 oxbpf_test_xdp_linear_max(u32 meta);
struct oxbpf_test_xdp *oxbpf_test_xdp_alloc(u32 meta, u32 linear);
int oxbpf_test_xdp_receive(struct oxbpf_test_xdp *t, u32 ifindex, u32 queue);
void *oxbpf_test_xdp_add_page(struct oxbpf_test_xdp *t, u32 len);
void *oxbpf_test_xdp_head(const struct oxbpf_test_xdp *t, u32 *len, u32 *meta);
void *oxbpf_test_xdp_frag(const struct oxbpf_test_xdp *t, u32 index, u32 *len);
void oxbpf_test_xdp_free(struct oxbpf_test_xdp *t);

/* So many bytes of metadata can be before a packet. */
bool oxbpf_test_xdp_meta_ok(u32 meta)
{
	return !xdp_metalen_invalid(meta) &&
	       meta <= XDP_PACKET_HEADROOM - sizeof(struct xdp_frame);
}

/* The most bytes, metadata among them, that lie in the linear part. */
u32 oxbpf_test_xdp_linear_max(u32 meta)
{
	return PAGE_SIZE - (XDP_PACKET_HEADROOM - meta) - OXBPF_XDP_TAILROOM;
}

/*
 * A packet of linear zero bytes, of which the first are metadata: at most what the functions above
 * say. It seems received by the caller's loopback device. NULL without memory.
 */
struct oxbpf_test_xdp *oxbpf_test_xdp_alloc(u32 meta, u32 linear)
{
	struct oxbpf_test_xdp *t = kzalloc(sizeof(*t), GFP_KERNEL);
	void *page;

	if (!t)
		return NULL;
	page = kzalloc(PAGE_SIZE, GFP_USER);
	if (!page) {
		kfree(t);
		return NULL;
	}
	t->rxq.dev = current->nsproxy->net_ns->loopback_dev;
	t->rxq.frag_size = PAGE_SIZE;
	xdp_init_buff(&t->buff, PAGE_SIZE, &t->rxq);
	xdp_prepare_buff(&t->buff, page, XDP_PACKET_HEADROOM - meta, linear, true);
	t->buff.data += meta;
	return t;
}

/* It seems received by that queue of that device, of the caller's network namespace. */
int oxbpf_test_xdp_receive(struct oxbpf_test_xdp *t, u32 ifindex, u32 queue)
{
	struct net_device *dev = dev_get_by_index(current->nsproxy->net_ns, ifindex);
	struct xdp_rxq_info *rxq;

	if (!dev)
		return -ENODEV;
	if (queue >= READ_ONCE(dev->real_num_rx_queues))
		goto invalid;
	rxq = &__netif_get_rx_queue(dev, queue)->xdp_rxq;
	if (!xdp_rxq_info_is_reg(rxq))
		goto invalid;
	t->dev = dev;
	t->rxq.dev = dev;
	t->rxq.queue_index = READ_ONCE(rxq->queue_index);
	t->rxq.frag_size = READ_ONCE(rxq->frag_size);
	return 0;
invalid:
	dev_put(dev);
	return -EINVAL;
}

/* Makes the packet len bytes longer, at most a page; where they are, or NULL. */
void *oxbpf_test_xdp_add_page(struct oxbpf_test_xdp *t, u32 len)
{
	struct skb_shared_info *info = xdp_get_shared_info_from_buff(&t->buff);
	struct page *page;

	if (info->nr_frags >= MAX_SKB_FRAGS || len > PAGE_SIZE)
		return NULL;
	page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!page)
		return NULL;
	skb_frag_fill_page_desc(&info->frags[info->nr_frags++], page, 0, len);
	info->xdp_frags_size += len;
	xdp_buff_set_frags_flag(&t->buff);
	return page_address(page);
}

/* The linear part from the metadata on. */
void *oxbpf_test_xdp_head(const struct oxbpf_test_xdp *t, u32 *len, u32 *meta)
{
	*len = t->buff.data_end - t->buff.data_meta;
	*meta = t->buff.data - t->buff.data_meta;
	return t->buff.data_meta;
}

/* The page of that number; NULL behind the last. */
void *oxbpf_test_xdp_frag(const struct oxbpf_test_xdp *t, u32 index, u32 *len)
{
	const struct skb_shared_info *info = xdp_get_shared_info_from_buff(&t->buff);

	if (!xdp_buff_has_frags(&t->buff) || index >= info->nr_frags)
		return NULL;
	*len = skb_frag_size(&info->frags[index]);
	return skb_frag_address(&info->frags[index]);
}

void oxbpf_test_xdp_free(struct oxbpf_test_xdp *t)
{
	const struct skb_shared_info *info = xdp_get_shared_info_from_buff(&t->buff);
	u32 i;

	for (i = 0; i < info->nr_frags; i++)
		put_page(skb_frag_page(&info->frags[i]));
	dev_put(t->dev);
	kfree(t->buff.data_hard_start);
	kfree(t);
}
