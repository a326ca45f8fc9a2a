// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers of XDP programs that move the packet's ends, and copy what of it is not linear.
 */

#include <linux/bpf.h>
#include <linux/etherdevice.h>
#include <linux/mm.h>
#include <linux/skbuff.h>

#include "xdp.h"

u64 oxbpf_xdp_adjust_head(struct xdp_buff *xdp, s32 offset);
u64 oxbpf_xdp_adjust_meta(struct xdp_buff *xdp, s32 offset);
u64 oxbpf_xdp_adjust_tail(struct xdp_buff *xdp, s32 offset);
u64 oxbpf_xdp_get_buff_len(const struct xdp_buff *xdp);
u64 oxbpf_xdp_load_bytes(const struct xdp_buff *xdp, u32 offset, void *to, u64 len);
u64 oxbpf_xdp_store_bytes(struct xdp_buff *xdp, u32 offset, void *from, u64 len);
u64 oxbpf_xdp_redirect(u32 ifindex, u64 flags);

/* Bytes before data_meta that a program may take: those of a frame's description are the driver's. */
static s64 oxbpf_xdp_headroom(const struct xdp_buff *xdp)
{
	return xdp->data_meta - xdp->data_hard_start - (s64)sizeof(struct xdp_frame);
}

/* Metadata goes with the packet. */
u64 oxbpf_xdp_adjust_head(struct xdp_buff *xdp, s32 offset)
{
	const s64 meta = xdp->data - xdp->data_meta;

	if (offset < -oxbpf_xdp_headroom(xdp) || offset > oxbpf_xdp_linear(xdp) - ETH_HLEN)
		return -EINVAL;
	if (meta)
		memmove(xdp->data_meta + offset, xdp->data_meta, meta);
	xdp->data_meta += offset;
	xdp->data += offset;
	return 0;
}

u64 oxbpf_xdp_adjust_meta(struct xdp_buff *xdp, s32 offset)
{
	const s64 meta = xdp->data - xdp->data_meta - (s64)offset;

	if (offset < -oxbpf_xdp_headroom(xdp) || meta < 0)
		return -EINVAL;
	if (xdp_metalen_invalid(meta))
		return -EACCES;
	xdp->data_meta += offset;
	return 0;
}

/* Longer by the room that the last page has, zeroed. */
static int oxbpf_xdp_grow_pages(struct xdp_buff *xdp, s32 more)
{
	struct skb_shared_info *info = xdp_get_shared_info_from_buff(xdp);
	skb_frag_t *last = &info->frags[info->nr_frags - 1];
	const u32 size = xdp->rxq->frag_size;

	if (!size || size > xdp->frame_sz)
		return -EOPNOTSUPP;
	if (more > (s64)size - skb_frag_size(last) - skb_frag_off(last) % size)
		return -EINVAL;
	memset(skb_frag_address(last) + skb_frag_size(last), 0, more);
	skb_frag_size_add(last, more);
	info->xdp_frags_size += more;
	return 0;
}

/* Shorter: pages that are empty then go, and when all are, the linear part gives the rest. */
static int oxbpf_xdp_shrink_pages(struct xdp_buff *xdp, s64 less)
{
	struct skb_shared_info *info = xdp_get_shared_info_from_buff(xdp);

	if (less > (s64)xdp_get_buff_len(xdp) - ETH_HLEN)
		return -EINVAL;
	while (info->nr_frags && less > 0) {
		skb_frag_t *last = &info->frags[info->nr_frags - 1];
		const s64 size = skb_frag_size(last);
		const s64 cut = min(less, size);

		less -= cut;
		info->xdp_frags_size -= cut;
		if (cut < size) {
			skb_frag_size_sub(last, cut);
		} else {
			info->nr_frags--;
			put_page(skb_frag_page(last));
		}
	}
	if (!info->nr_frags) {
		xdp_buff_clear_frags_flag(xdp);
		xdp->data_end -= less;
	}
	return 0;
}

u64 oxbpf_xdp_adjust_tail(struct xdp_buff *xdp, s32 offset)
{
	if (xdp_buff_has_frags(xdp)) {
		/* In-tree the number without an opposite is no length, and changes nothing. */
		if (offset == S32_MIN)
			return 0;
		return offset < 0 ? oxbpf_xdp_shrink_pages(xdp, -(s64)offset) :
				    oxbpf_xdp_grow_pages(xdp, offset);
	}
	if (offset > xdp_data_hard_end(xdp) - xdp->data_end ||
	    offset < ETH_HLEN - oxbpf_xdp_linear(xdp))
		return -EINVAL;
	if (offset > 0)
		memset(xdp->data_end, 0, offset);
	xdp->data_end += offset;
	return 0;
}

u64 oxbpf_xdp_get_buff_len(const struct xdp_buff *xdp)
{
	return xdp_get_buff_len(xdp);
}

static void oxbpf_xdp_copy_part(void *packet, void *mem, u32 len, bool store)
{
	if (store)
		memcpy(packet, mem, len);
	else
		memcpy(mem, packet, len);
}

void oxbpf_xdp_copy(const struct xdp_buff *xdp, u32 off, void *mem, u32 len, bool store)
{
	const struct skb_shared_info *info = xdp_get_shared_info_from_buff(xdp);
	u32 size = oxbpf_xdp_linear(xdp);
	void *part = xdp->data;
	u32 next = 0;

	while (len) {
		if (off < size) {
			const u32 now = min(len, size - off);

			oxbpf_xdp_copy_part(part + off, mem, now, store);
			mem += now;
			len -= now;
			off = 0;
		} else {
			off -= size;
		}
		/* The shared info is none before there are pages. */
		if (!len || !xdp_buff_has_frags(xdp) || next >= info->nr_frags)
			break;
		part = skb_frag_address(&info->frags[next]);
		size = skb_frag_size(&info->frags[next]);
		next++;
	}
}

/* The packet has those bytes. */
static int oxbpf_xdp_within(const struct xdp_buff *xdp, u32 offset, u64 len)
{
	if (offset > 0xffff || len > 0xffff)
		return -EFAULT;
	return offset + len > xdp_get_buff_len(xdp) ? -EINVAL : 0;
}

u64 oxbpf_xdp_load_bytes(const struct xdp_buff *xdp, u32 offset, void *to, u64 len)
{
	int err = oxbpf_xdp_within(xdp, offset, len);

	/* The program takes this memory for written. */
	if (err)
		memset(to, 0, len);
	else
		oxbpf_xdp_copy(xdp, offset, to, len, false);
	return err;
}

u64 oxbpf_xdp_store_bytes(struct xdp_buff *xdp, u32 offset, void *from, u64 len)
{
	int err = oxbpf_xdp_within(xdp, offset, len);

	if (!err)
		oxbpf_xdp_copy(xdp, offset, from, len, true);
	return err;
}

/* Where to is for the driver to take note of: a test run has none, and no packet leaves it. */
u64 oxbpf_xdp_redirect(u32 ifindex, u64 flags)
{
	return flags ? XDP_ABORTED : XDP_REDIRECT;
}
