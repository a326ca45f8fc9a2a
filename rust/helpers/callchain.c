// SPDX-License-Identifier: GPL-2.0
/*
 * Call chains, as perf collects them.
 */

#include <linux/percpu.h>
#include <linux/perf_event.h>

#include "symbols.h"

int oxbpf_callchain_max(const int *max);
int oxbpf_callchain_take(const int *max);
void oxbpf_callchain_give(void);
const u64 *oxbpf_callchain(struct pt_regs *regs, bool user, u32 depth, u32 *nr);

OXBPF_UNEXPORTED(get_perf_callchain);
OXBPF_UNEXPORTED(get_callchain_buffers);
OXBPF_UNEXPORTED_VOID(put_callchain_buffers);

/* Registers of who asks without any: a level for each kind of context. */
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
 * The chain of the kernel or of the user, innermost first; NULL when there is none to be had. It is
 * in a buffer of the CPU and the kind of context: right until preemption is on again, or another
 * chain is asked for there. Then it may change, but it stays memory that can be read.
 */
const u64 *oxbpf_callchain(struct pt_regs *regs, bool user, u32 depth, u32 *nr)
{
	struct oxbpf_callers *callers = this_cpu_ptr(&oxbpf_callers);
	struct perf_callchain_entry *trace = NULL;
	int n = callers->used++;

	barrier();
	if (n < ARRAY_SIZE(callers->regs)) {
		if (!regs) {
			regs = &callers->regs[n];
			perf_fetch_caller_regs(regs);
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
