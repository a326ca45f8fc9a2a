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

/* Compiled programs can be called as they are. */
typedef u64 (*oxbpf_tc_entry_t)(struct sk_buff *skb);

/* What the Rust side says of a program. */
struct oxbpf_tc_info {
	/* NULL when it is interpreted. */
	oxbpf_tc_entry_t entry;
	u32 id;
	/* It reads what the packet's route says. */
	bool needs_dst;
	/* It, what it calls or what it jumps to may look where the packet's bytes end. */
	bool needs_ends;
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
/* Not 0 while somebody wants to know how often programs run. */
extern const s64 *oxbpf_tc_counting;

u32 oxbpf_tc_nothing(const void *prog, struct sk_buff *skb);
DECLARE_STATIC_CALL(oxbpf_tc_run, oxbpf_tc_nothing);

/* The two families, under the name `oxbpf` and, when that is wanted, `bpf`. */
int oxbpf_cls_register(bool bpf);
void oxbpf_cls_unregister(bool bpf);
int oxbpf_act_register(bool bpf);
void oxbpf_act_unregister(bool bpf);

/*
 * Runs a program on a packet, with softirqs off (so preemption is): by its entry, or where there is
 * none or runs are counted, by the Rust side. The program sees the packet from its link-layer header
 * on. Where the packet's bytes end is noted in cb for a program that needs_ends, at a place that
 * belongs to the layer around.
 */
static __always_inline int oxbpf_tc_classify(const void *prog, oxbpf_tc_entry_t entry,
					     struct sk_buff *skb, const bool needs_ends)
{
	struct bpf_skb_data_end *ends = (struct bpf_skb_data_end *)skb->cb;
	void *meta, *end;
	int ret;

	if (skb_at_tc_ingress(skb))
		__skb_push(skb, skb->mac_len);
	if (needs_ends) {
		meta = ends->data_meta;
		end = ends->data_end;
		bpf_compute_data_pointers(skb);
	}
	if (likely(entry && !READ_ONCE(*oxbpf_tc_counting)))
		ret = entry(skb);
	else
		ret = static_call(oxbpf_tc_run)(prog, skb);
	if (needs_ends) {
		ends->data_meta = meta;
		ends->data_end = end;
	}
	/* No program changes that. Looking again is cheaper than remembering. */
	if (skb_at_tc_ingress(skb))
		__skb_pull(skb, skb->mac_len);

	/* A program that clears the time leaves none of another clock. */
	if (unlikely(!skb->tstamp && skb->tstamp_type))
		skb->tstamp_type = SKB_CLOCK_REALTIME;
	return ret;
}

#endif
