/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packets before they have an skb. The module attaches no program to a device, so all that there are
 * belong to test runs (xdp_test.c).
 */
#ifndef OXBPF_HELPERS_XDP_H
#define OXBPF_HELPERS_XDP_H

#include <net/xdp.h>

/* How far a linear part reaches. */
static inline s64 oxbpf_xdp_linear(const struct xdp_buff *xdp)
{
	return xdp->data_end - xdp->data;
}

/* Copies len bytes at off, which the packet has, to or from mem. */
void oxbpf_xdp_copy(const struct xdp_buff *xdp, u32 off, void *mem, u32 len, bool store);

#endif
