// SPDX-License-Identifier: GPL-2.0
/*
 * Call chains, as perf collects them.
 */

#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/uaccess.h>

#include "hook.h"
#include "symbols.h"

int oxbpf_callchain_max(const int *max);
int oxbpf_callchain_take(const int *max);
void oxbpf_callchain_give(void);
const u64 *oxbpf_callchain(struct pt_regs *regs, bool probe, bool user, u32 depth, u32 *nr);
bool oxbpf_callchain_given(const struct bpf_perf_event_data_kern *ctx, const u64 **ips, u32 *nr);

OXBPF_UNEXPORTED(get_perf_callchain);
OXBPF_UNEXPORTED(get_callchain_buffers);
OXBPF_UNEXPORTED_VOID(put_callchain_buffers);

/* Registers where no probe gives them: a level for each kind of context. */
struct oxbpf_callers {
	struct pt_regs regs[4];
	int used;
};

static DEFINE_PER_CPU(struct oxbpf_callers, oxbpf_callers);

/* How deep chains may be: the kernel's setting. */
int oxbpf_callchain_max(const int *max)
{
	return READ_ONCE(*max);
}

/* Takes part in the kernel's buffers; while anybody does, the setting does not change. May sleep. */
int oxbpf_callchain_take(const int *max)
{
	return static_call(oxbpf_get_callchain_buffers)(READ_ONCE(*max));
}

void oxbpf_callchain_give(void)
{
	static_call(oxbpf_put_callchain_buffers)();
}

/*
 * Registers as a probe would give them at the return from the function that fetched regs, or that
 * was called by the raw tracepoint, or else from here. From what perf_fetch_caller_regs() leaves, the
 * unwinder starts at itself and looks for that function; but it does not come past a program, which
 * has no frame that it knows.
 */
static __always_inline void oxbpf_callers_regs(struct pt_regs *own, const struct pt_regs *regs)
{
	const unsigned long *frame = this_cpu_read(oxbpf_raw_tp_frame);

	if (regs) {
		own->ip = regs->ip;
		own->sp = regs->sp;
	} else if (frame) {
		own->ip = frame[1];
		own->sp = (unsigned long)frame;
	} else {
		perf_fetch_caller_regs(own);
	}
	/* Where sp points now is the caller's frame pointer, then the return address. */
	if (get_kernel_nofault(own->bp, (unsigned long *)own->sp))
		own->bp = 0;
	own->sp += 2 * sizeof(unsigned long);
	own->cs = __KERNEL_CS;
	own->flags = X86_EFLAGS_FIXED;
}

/*
 * The chain of the kernel or of the user, innermost first; NULL when there is none to be had. It is
 * in a buffer of the CPU and the kind of context: right until preemption is on again, or another
 * chain is asked for there. Then it may change, but it stays memory that can be read. The registers
 * are a probe's, or those of a perf event, or NULL. Of a perf event they are all there when an
 * exception made them, and only place and stack when perf_fetch_caller_regs() did.
 */
const u64 *oxbpf_callchain(struct pt_regs *regs, bool probe, bool user, u32 depth, u32 *nr)
{
	struct oxbpf_callers *callers = this_cpu_ptr(&oxbpf_callers);
	struct perf_callchain_entry *trace = NULL;
	int n = callers->used++;

	barrier();
	if (n < ARRAY_SIZE(callers->regs)) {
		if (!probe && !(regs && regs->flags & X86_EFLAGS_FIXED)) {
			oxbpf_callers_regs(&callers->regs[n], regs);
			regs = &callers->regs[n];
		}
		trace = static_call(oxbpf_get_perf_callchain)(regs, !user, user, depth, false,
							      false, 0);
	}
	barrier();
	callers->used--;
	if (!trace)
		return NULL;
	*nr = min_t(u64, READ_ONCE(trace->nr), depth);
	return trace->ip;
}

/*
 * False when the event collects no chain of its own; else its words, the kernel's before the user's,
 * or NULL. They are good while the program runs.
 */
bool oxbpf_callchain_given(const struct bpf_perf_event_data_kern *ctx, const u64 **ips, u32 *nr)
{
	const struct perf_callchain_entry *trace;

	if (!(ctx->event->attr.sample_type & PERF_SAMPLE_CALLCHAIN))
		return false;
	trace = ctx->data->callchain;
	*ips = trace ? trace->ip : NULL;
	*nr = trace ? READ_ONCE(trace->nr) : 0;
	return true;
}
