// SPDX-License-Identifier: GPL-2.0
/*
 * Packets: what programs' helpers do with a sk_buff, and packets made up for test runs.
 */

#include <linux/bpf.h>
#include <linux/etherdevice.h>
#include <linux/filter.h>
#include <linux/gfp.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <net/net_namespace.h>
#include <net/sch_generic.h>
#include <net/sock.h>

#define OXBPF_TEST_HEADROOM (NET_SKB_PAD + NET_IP_ALIGN)
#define OXBPF_TEST_TAILROOM SKB_DATA_ALIGN(sizeof(struct skb_shared_info))

/* A packet of a test run with the socket that it seems to belong to. */
struct oxbpf_test_skb {
	struct sk_buff *skb;
	struct sock *sk;
	struct net_device *dev;
};

int oxbpf_skb_load_bytes(const struct sk_buff *skb, u32 offset, void *to, u32 len);

size_t oxbpf_test_skb_linear_max(void);
int oxbpf_test_skb_alloc(struct oxbpf_test_skb *t, u32 linear);
void *oxbpf_test_skb_add_page(struct oxbpf_test_skb *t, u32 len);
int oxbpf_test_skb_prepare(struct oxbpf_test_skb *t, u32 ifindex, bool is_l2, bool pointers);
int oxbpf_test_skb_import(struct oxbpf_test_skb *t, const struct __sk_buff *ctx);
void oxbpf_test_skb_export(const struct oxbpf_test_skb *t, struct __sk_buff *ctx);
void oxbpf_test_skb_csum_set(struct oxbpf_test_skb *t);
bool oxbpf_test_skb_csum_ok(const struct oxbpf_test_skb *t);
int oxbpf_test_skb_push_l2(struct oxbpf_test_skb *t);
void oxbpf_test_skb_free(struct oxbpf_test_skb *t);
void *oxbpf_test_skb_head(const struct oxbpf_test_skb *t, u32 *len);
void *oxbpf_test_skb_frag(const struct oxbpf_test_skb *t, u32 index, u32 *len);
u32 oxbpf_test_skb_len(const struct oxbpf_test_skb *t);

/* -EFAULT, and to zeroed, when the packet does not have the bytes. */
int oxbpf_skb_load_bytes(const struct sk_buff *skb, u32 offset, void *to, u32 len)
{
	const void *from;

	if (likely(offset <= INT_MAX)) {
		from = skb_header_pointer(skb, offset, len, to);
		if (likely(from)) {
			if (from != to)
				memcpy(to, from, len);
			return 0;
		}
	}
	memset(to, 0, len);
	return -EFAULT;
}

static struct proto oxbpf_test_proto = {
	.name = "oxbpf_test",
	.owner = THIS_MODULE,
	.obj_size = sizeof(struct sock),
};

/* The most bytes of a test packet that lie in its linear part. */
size_t oxbpf_test_skb_linear_max(void)
{
	return PAGE_SIZE - OXBPF_TEST_HEADROOM - OXBPF_TEST_TAILROOM;
}

/* A packet of linear zero bytes. oxbpf_test_skb_free() follows, also when it fails. */
int oxbpf_test_skb_alloc(struct oxbpf_test_skb *t, u32 linear)
{
	size_t size = SKB_DATA_ALIGN(linear) + OXBPF_TEST_HEADROOM + OXBPF_TEST_TAILROOM;
	void *data;

	memset(t, 0, sizeof(*t));
	data = kzalloc(size, GFP_USER);
	if (!data)
		return -ENOMEM;
	t->skb = slab_build_skb(data);
	if (!t->skb) {
		kfree(data);
		return -ENOMEM;
	}
	skb_reserve(t->skb, OXBPF_TEST_HEADROOM);
	__skb_put(t->skb, linear);

	t->sk = sk_alloc(current->nsproxy->net_ns, AF_UNSPEC, GFP_USER, &oxbpf_test_proto, 1);
	if (!t->sk)
		return -ENOMEM;
	sock_init_data(NULL, t->sk);
	t->skb->sk = t->sk;
	return 0;
}

/* Makes the packet len bytes longer, at most a page; where they are, or NULL. */
void *oxbpf_test_skb_add_page(struct oxbpf_test_skb *t, u32 len)
{
	struct skb_shared_info *info = skb_shinfo(t->skb);
	struct page *page;

	if (info->nr_frags >= MAX_SKB_FRAGS || len > PAGE_SIZE)
		return NULL;
	page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!page)
		return NULL;
	skb_fill_page_desc(t->skb, info->nr_frags, page, 0, len);
	t->skb->len += len;
	t->skb->data_len += len;
	t->skb->truesize += PAGE_SIZE;
	return page_address(page);
}

/*
 * Makes the packet look received: device, link-layer header parsed and, but for is_l2, pulled off;
 * the socket has the addresses. pointers: where data and data_meta end is noted for the program.
 */
int oxbpf_test_skb_prepare(struct oxbpf_test_skb *t, u32 ifindex, bool is_l2, bool pointers)
{
	struct net *net = current->nsproxy->net_ns;
	struct net_device *dev = net->loopback_dev;
	struct sk_buff *skb = t->skb;

	if (ifindex > 1) {
		t->dev = dev_get_by_index(net, ifindex);
		if (!t->dev)
			return -ENODEV;
		dev = t->dev;
	}
	skb->protocol = eth_type_trans(skb, dev);
	skb_reset_network_header(skb);

	switch (skb->protocol) {
	case htons(ETH_P_IP):
		if (skb_headlen(skb) < sizeof(struct iphdr))
			return -EINVAL;
		t->sk->sk_family = AF_INET;
		t->sk->sk_rcv_saddr = ip_hdr(skb)->saddr;
		t->sk->sk_daddr = ip_hdr(skb)->daddr;
		break;
#if IS_ENABLED(CONFIG_IPV6)
	case htons(ETH_P_IPV6):
		if (skb_headlen(skb) < sizeof(struct ipv6hdr))
			return -EINVAL;
		t->sk->sk_family = AF_INET6;
		t->sk->sk_v6_rcv_saddr = ipv6_hdr(skb)->saddr;
		t->sk->sk_v6_daddr = ipv6_hdr(skb)->daddr;
		break;
#endif
	default:
		break;
	}

	if (is_l2)
		__skb_push(skb, ETH_HLEN);
	if (pointers)
		bpf_compute_data_pointers(skb);
	return 0;
}

/* True when bytes from..to of the context are all zero. */
static bool oxbpf_ctx_zero(const struct __sk_buff *ctx, size_t from, size_t to)
{
	return !memchr_inv((const char *)ctx + from, 0, to - from);
}

#define OXBPF_CTX_GAP(ctx, after, before)					\
	oxbpf_ctx_zero(ctx, offsetofend(struct __sk_buff, after),		\
		       offsetof(struct __sk_buff, before))

/* Takes over the fields that a test may choose; -EINVAL when it sets any other. */
int oxbpf_test_skb_import(struct oxbpf_test_skb *t, const struct __sk_buff *ctx)
{
	struct sk_buff *skb = t->skb;
	struct qdisc_skb_cb *cb = qdisc_skb_cb(skb);

	if (!oxbpf_ctx_zero(ctx, 0, offsetof(struct __sk_buff, mark)) ||
	    !OXBPF_CTX_GAP(ctx, mark, priority) ||
	    !OXBPF_CTX_GAP(ctx, ifindex, cb) ||
	    !OXBPF_CTX_GAP(ctx, cb, data_end) ||
	    !OXBPF_CTX_GAP(ctx, data_end, tstamp) ||
	    !OXBPF_CTX_GAP(ctx, gso_segs, gso_size) ||
	    !OXBPF_CTX_GAP(ctx, gso_size, hwtstamp) ||
	    !oxbpf_ctx_zero(ctx, offsetofend(struct __sk_buff, hwtstamp), sizeof(*ctx)))
		return -EINVAL;

	skb->mark = ctx->mark;
	skb->priority = ctx->priority;
	skb->skb_iif = ctx->ingress_ifindex;
	skb->tstamp = ctx->tstamp;
	BUILD_BUG_ON(sizeof(ctx->cb) != sizeof(cb->data));
	memcpy(cb->data, ctx->cb, sizeof(ctx->cb));

	if (!ctx->wire_len)
		cb->pkt_len = skb->len;
	else if (ctx->wire_len < skb->len || ctx->wire_len > GSO_LEGACY_MAX_SIZE)
		return -EINVAL;
	else
		cb->pkt_len = ctx->wire_len;

	if (ctx->gso_segs > GSO_MAX_SEGS)
		return -EINVAL;
	skb_shinfo(skb)->gso_segs = ctx->gso_segs;
	skb_shinfo(skb)->gso_size = ctx->gso_size;
	skb_shinfo(skb)->hwtstamps.hwtstamp = ctx->hwtstamp;
	return 0;
}

/* Gives those fields back as the program left them. */
void oxbpf_test_skb_export(const struct oxbpf_test_skb *t, struct __sk_buff *ctx)
{
	const struct sk_buff *skb = t->skb;
	const struct qdisc_skb_cb *cb = qdisc_skb_cb(skb);

	ctx->mark = skb->mark;
	ctx->priority = skb->priority;
	ctx->ingress_ifindex = skb->skb_iif;
	ctx->ifindex = skb->dev->ifindex;
	ctx->tstamp = skb->tstamp;
	memcpy(ctx->cb, cb->data, sizeof(ctx->cb));
	ctx->wire_len = cb->pkt_len;
	ctx->gso_segs = skb_shinfo(skb)->gso_segs;
	ctx->hwtstamp = skb_shinfo(skb)->hwtstamps.hwtstamp;
}

static __wsum oxbpf_test_csum(const struct sk_buff *skb)
{
	const int off = skb_network_offset(skb);

	return skb_checksum(skb, off, skb->len - off, 0);
}

/* As if the device had summed the packet up. */
void oxbpf_test_skb_csum_set(struct oxbpf_test_skb *t)
{
	t->skb->csum = oxbpf_test_csum(t->skb);
	t->skb->ip_summed = CHECKSUM_COMPLETE;
}

/* Did the program keep the sum right? */
bool oxbpf_test_skb_csum_ok(const struct oxbpf_test_skb *t)
{
	return csum_fold(t->skb->csum) == csum_fold(oxbpf_test_csum(t->skb));
}

/* Puts a zeroed link-layer header before the data again. */
int oxbpf_test_skb_push_l2(struct oxbpf_test_skb *t)
{
	struct sk_buff *skb = t->skb;

	if (skb_headroom(skb) < ETH_HLEN) {
		int more = HH_DATA_ALIGN(ETH_HLEN - skb_headroom(skb));

		if (pskb_expand_head(skb, more, 0, GFP_USER))
			return -ENOMEM;
	}
	memset(__skb_push(skb, ETH_HLEN), 0, ETH_HLEN);
	return 0;
}

void oxbpf_test_skb_free(struct oxbpf_test_skb *t)
{
	dev_put(t->dev);
	kfree_skb(t->skb);
	if (t->sk)
		sk_free(t->sk);
	memset(t, 0, sizeof(*t));
}

/* The linear part. */
void *oxbpf_test_skb_head(const struct oxbpf_test_skb *t, u32 *len)
{
	*len = skb_headlen(t->skb);
	return t->skb->data;
}

/* The page fragment of that number; NULL behind the last. */
void *oxbpf_test_skb_frag(const struct oxbpf_test_skb *t, u32 index, u32 *len)
{
	const struct skb_shared_info *info = skb_shinfo(t->skb);

	if (index >= info->nr_frags)
		return NULL;
	*len = skb_frag_size(&info->frags[index]);
	return skb_frag_address(&info->frags[index]);
}

u32 oxbpf_test_skb_len(const struct oxbpf_test_skb *t)
{
	return t->skb->len;
}
