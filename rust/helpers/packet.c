// SPDX-License-Identifier: GPL-2.0
/*
 * LD_ABS and LD_IND: loads from a packet, with the negative offsets that classic filters know.
 */

#include <linux/filter.h>
#include <linux/skbuff.h>
#include <linux/unaligned.h>

bool oxbpf_packet_load(const struct sk_buff *skb, int offset, unsigned int size, u64 *value);

/* Bytes relative to the network or link layer header, when all of them are in the linear part. */
static const void *oxbpf_packet_header(const struct sk_buff *skb, int offset, unsigned int size)
{
	const u8 *at;

	if (offset >= SKF_NET_OFF) {
		at = skb_network_header(skb) + (offset - SKF_NET_OFF);
	} else if (offset >= SKF_LL_OFF) {
		if (!skb_mac_header_was_set(skb))
			return NULL;
		at = skb_mac_header(skb) + (offset - SKF_LL_OFF);
	} else {
		return NULL;
	}
	if (at < skb->head || at + size > skb_tail_pointer(skb))
		return NULL;
	return at;
}

/* The big-endian number of 1, 2 or 4 bytes at @offset; false when it is not in the packet. */
bool oxbpf_packet_load(const struct sk_buff *skb, int offset, unsigned int size, u64 *value)
{
	const void *at;
	u8 copy[4];

	if (offset >= 0)
		at = skb_header_pointer(skb, offset, size, copy);
	else
		at = oxbpf_packet_header(skb, offset, size);
	if (!at)
		return false;

	switch (size) {
	case 1:
		*value = *(const u8 *)at;
		return true;
	case 2:
		*value = get_unaligned_be16(at);
		return true;
	case 4:
		*value = get_unaligned_be32(at);
		return true;
	}
	return false;
}
