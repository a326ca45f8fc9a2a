/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Programs as the tc kinds see them. A program is a pointer that only the Rust side looks behind.
 */
#ifndef OXBPF_HELPERS_TC_H
#define OXBPF_HELPERS_TC_H

#include <linux/filter.h>
#include <linux/skbuff.h>
#include <linux/static_call.h>
#include <net/sch_generic.h>

/* What the Rust side says of a program. */
struct oxbpf_tc_info {
	u32 id;
	/* It reads what the packet's route says. */
	bool needs_dst;
	u8 tag[8];
};

/* rust/sys/tc.rs has the same struct. */
struct oxbpf_tc_calls {
	/*
	 * The program of that type behind a descriptor of the current task, or a negative errno. It
	 * is the caller's until put.
	 */
	int (*get)(u32 fd, u32 type, const void **prog);
	/* Any context; it may still run until a grace period has passed. */
	void (*put)(const void *prog);
	void (*info)(const void *prog, struct oxbpf_tc_info *info);
	/* With preemption off, under RCU. */
	u32 (*run)(const void *prog, struct sk_buff *skb);
};

extern const struct oxbpf_tc_calls *oxbpf_tc;

u32 oxbpf_tc_nothing(const void *prog, struct sk_buff *skb);
DECLARE_STATIC_CALL(oxbpf_tc_run, oxbpf_tc_nothing);

/* The two families, under the name `oxbpf` and, when that is wanted, `bpf`. */
int oxbpf_cls_register(bool bpf);
void oxbpf_cls_unregister(bool bpf);
int oxbpf_act_register(bool bpf);
void oxbpf_act_unregister(bool bpf);

/*
 * Runs a program on a packet, with softirqs off (so preemption is). The program sees the packet from
 * its link-layer header on. Where the packet's bytes end is noted in cb for it, at a place that
 * belongs to the layer around.
 */
static __always_inline int oxbpf_tc_classify(const void *prog, struct sk_buff *skb)
{
	struct bpf_skb_data_end *ends = (struct bpf_skb_data_end *)skb->cb;
	void *const meta = ends->data_meta;
	void *const end = ends->data_end;
	const bool pulled = skb_at_tc_ingress(skb);
	int ret;

	if (pulled)
		__skb_push(skb, skb->mac_len);
	bpf_compute_data_pointers(skb);
	ret = static_call(oxbpf_tc_run)(prog, skb);
	ends->data_meta = meta;
	ends->data_end = end;
	if (pulled)
		__skb_pull(skb, skb->mac_len);

	/* A program that clears the time leaves none of another clock. */
	if (unlikely(!skb->tstamp && skb->tstamp_type))
		skb->tstamp_type = SKB_CLOCK_REALTIME;
	return ret;
}

#endif
