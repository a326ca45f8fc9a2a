// SPDX-License-Identifier: GPL-2.0
/*
 * Programs at raw tracepoints: a probe of our own on the kernel's tracepoint.
 *
 * A probe gets its arguments in registers, of which those narrower than 64 bits fill a part. How wide
 * each is only the C compiler knows that built the event's adaptor for bpf(2)
 * (bpf_raw_event_map::bpf_func), which widens them. It does nothing else, so once, when a program is
 * attached, it is called with all bits set for a stand-in that notes what arrives.
 */

#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/kprobes.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/trace_events.h>
#include <linux/tracepoint.h>

#include "hook.h"
#include "stand_in.h"
#include "symbols.h"

struct oxbpf_raw_tp;

struct oxbpf_raw_tp *oxbpf_raw_tp_attach(const char *name, u32 ctx_end, u64 cookie,
					 const struct oxbpf_hook *hook);
void oxbpf_raw_tp_detach(struct oxbpf_raw_tp *tp);
const char *oxbpf_raw_tp_name(const struct oxbpf_raw_tp *tp);

OXBPF_UNEXPORTED(bpf_get_raw_tracepoint);
OXBPF_UNEXPORTED_VOID(bpf_put_raw_tracepoint);

struct oxbpf_raw_tp {
	struct oxbpf_hook hook;
	u64 cookie;
	struct bpf_raw_event_map *btp;
	void *probe;
	/* The bits that each argument has. */
	u64 mask[MAX_BPF_FUNC_ARGS];
};

DEFINE_PER_CPU(const unsigned long *, oxbpf_raw_tp_frame);

/* A program sees as many words as there can be; those without an argument are 0. */
static __always_inline void oxbpf_raw_tp_hit(struct oxbpf_raw_tp *tp, unsigned int count, u64 *args)
{
	const unsigned long *before;
	unsigned int i;
	u64 ret;

	for (i = 0; i < count; i++)
		args[i] &= tp->mask[i];
	/* A tracepoint of system calls is hit with preemption on. */
	preempt_disable_notrace();
	before = this_cpu_read(oxbpf_raw_tp_frame);
	this_cpu_write(oxbpf_raw_tp_frame, __builtin_frame_address(0));
	oxbpf_hook_run(&tp->hook, args, tp->cookie, 0, &ret);
	this_cpu_write(oxbpf_raw_tp_frame, before);
	preempt_enable_notrace();
}

#define OXBPF_ARGS1(f)	f(0)
#define OXBPF_ARGS2(f)	OXBPF_ARGS1(f), f(1)
#define OXBPF_ARGS3(f)	OXBPF_ARGS2(f), f(2)
#define OXBPF_ARGS4(f)	OXBPF_ARGS3(f), f(3)
#define OXBPF_ARGS5(f)	OXBPF_ARGS4(f), f(4)
#define OXBPF_ARGS6(f)	OXBPF_ARGS5(f), f(5)
#define OXBPF_ARGS7(f)	OXBPF_ARGS6(f), f(6)
#define OXBPF_ARGS8(f)	OXBPF_ARGS7(f), f(7)
#define OXBPF_ARGS9(f)	OXBPF_ARGS8(f), f(8)
#define OXBPF_ARGS10(f)	OXBPF_ARGS9(f), f(9)
#define OXBPF_ARGS11(f)	OXBPF_ARGS10(f), f(10)
#define OXBPF_ARGS12(f)	OXBPF_ARGS11(f), f(11)
#define OXBPF_DECL(i)	u64 a##i
#define OXBPF_USE(i)	a##i
#define OXBPF_ONES(i)	~0ULL

/* The probe of tracepoints with that many arguments. */
#define OXBPF_RAW_TP(n)								\
	static notrace void oxbpf_raw_tp_##n(void *data, OXBPF_ARGS##n(OXBPF_DECL))	\
	{									\
		u64 args[MAX_BPF_FUNC_ARGS] = { OXBPF_ARGS##n(OXBPF_USE) };	\
										\
		oxbpf_raw_tp_hit(data, n, args);				\
	}									\
	NOKPROBE_SYMBOL(oxbpf_raw_tp_##n)

OXBPF_RAW_TP(1);
OXBPF_RAW_TP(2);
OXBPF_RAW_TP(3);
OXBPF_RAW_TP(4);
OXBPF_RAW_TP(5);
OXBPF_RAW_TP(6);
OXBPF_RAW_TP(7);
OXBPF_RAW_TP(8);
OXBPF_RAW_TP(9);
OXBPF_RAW_TP(10);
OXBPF_RAW_TP(11);
OXBPF_RAW_TP(12);

static void * const oxbpf_raw_tp_probes[MAX_BPF_FUNC_ARGS + 1] = {
	NULL, oxbpf_raw_tp_1, oxbpf_raw_tp_2, oxbpf_raw_tp_3, oxbpf_raw_tp_4, oxbpf_raw_tp_5,
	oxbpf_raw_tp_6, oxbpf_raw_tp_7, oxbpf_raw_tp_8, oxbpf_raw_tp_9, oxbpf_raw_tp_10,
	oxbpf_raw_tp_11, oxbpf_raw_tp_12,
};

/* What the stand-in runs: notes the arguments' bits. */
static unsigned int oxbpf_raw_tp_note(const void *ctx, const struct bpf_insn *insn)
{
	struct oxbpf_raw_tp *tp = oxbpf_stand_in_data(insn);

	memcpy(tp->mask, ctx, tp->btp->num_args * sizeof(u64));
	return 0;
}

static int oxbpf_raw_tp_widths(struct oxbpf_raw_tp *tp)
{
	void (*adaptor)(void *data, OXBPF_ARGS12(OXBPF_DECL)) = (void *)tp->btp->bpf_func;
	struct bpf_raw_tp_link *link;
	int err = -ENOMEM;

	link = kzalloc(sizeof(*link), GFP_KERNEL);
	if (!link)
		return err;
	link->link.prog = oxbpf_stand_in(BPF_PROG_TYPE_RAW_TRACEPOINT, oxbpf_raw_tp_note, tp);
	if (!link->link.prog)
		goto out;
	adaptor(link, OXBPF_ARGS12(OXBPF_ONES));
	bpf_prog_free(link->link.prog);
	/* No argument is without bits. */
	err = tp->mask[0] ? 0 : -EOPNOTSUPP;
out:
	kfree(link);
	return err;
}

/*
 * Attaches to the tracepoint of that name a program that reads its context up to byte ctx_end. Both
 * functions above must have been found. -ENOENT, -EINVAL when there are fewer arguments, -ENOMEM.
 */
struct oxbpf_raw_tp *oxbpf_raw_tp_attach(const char *name, u32 ctx_end, u64 cookie,
					 const struct oxbpf_hook *hook)
{
	struct oxbpf_raw_tp *tp;
	int err;

	/* Calls by another type than the function's would trap. */
	if (IS_ENABLED(CONFIG_CFI) || IS_ENABLED(CONFIG_CFI_CLANG))
		return ERR_PTR(-EOPNOTSUPP);
	tp = kzalloc(sizeof(*tp), GFP_KERNEL_ACCOUNT);
	if (!tp)
		return ERR_PTR(-ENOMEM);
	tp->hook = *hook;
	tp->cookie = cookie;
	/* Keeps the module that it is in, too. */
	tp->btp = static_call(oxbpf_bpf_get_raw_tracepoint)(name);
	if (!tp->btp) {
		err = -ENOENT;
		goto free;
	}
	err = -EINVAL;
	if (ctx_end > tp->btp->num_args * sizeof(u64))
		goto put;
	err = -EOPNOTSUPP;
	if (tp->btp->num_args > MAX_BPF_FUNC_ARGS || !oxbpf_raw_tp_probes[tp->btp->num_args])
		goto put;
	tp->probe = oxbpf_raw_tp_probes[tp->btp->num_args];
	err = oxbpf_raw_tp_widths(tp);
	if (err)
		goto put;
	err = tracepoint_probe_register(tp->btp->tp, tp->probe, tp);
	if (err)
		goto put;
	return tp;
put:
	static_call(oxbpf_bpf_put_raw_tracepoint)(tp->btp);
free:
	kfree(tp);
	return ERR_PTR(err);
}

/* When it returns the program runs no more there, and never will. */
void oxbpf_raw_tp_detach(struct oxbpf_raw_tp *tp)
{
	tracepoint_probe_unregister(tp->btp->tp, tp->probe, tp);
	tracepoint_synchronize_unregister();
	static_call(oxbpf_bpf_put_raw_tracepoint)(tp->btp);
	kfree(tp);
}

const char *oxbpf_raw_tp_name(const struct oxbpf_raw_tp *tp)
{
	return tp->btp->tp->name;
}
