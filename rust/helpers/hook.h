/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Running a program at a hook: one at a time on a CPU, and what its helpers can tell of the event.
 */
#ifndef OXBPF_HELPERS_HOOK_H
#define OXBPF_HELPERS_HOOK_H

#include <linux/percpu.h>
#include <linux/preempt.h>

#include "context.h"

/* What is called at an event; rust/sys/hook.rs has the same struct. */
struct oxbpf_hook {
	/* Runs the program on the context; its result. */
	u64 (*run)(const void *data, const void *ctx);
	/* Something of ours ran on that CPU already, so the program did not. */
	void (*miss)(const void *data);
	const void *data;
};

/* Instead of an address: that of the kprobe that the CPU is in. */
#define OXBPF_IP_CURRENT	1UL

/* The event that a CPU's program runs for. */
struct oxbpf_event {
	/* What user space attached it with. */
	u64 cookie;
	/* Where the probe at the start of a function stands, or 0. */
	unsigned long ip;
};

DECLARE_PER_CPU(struct oxbpf_event, oxbpf_event);

/*
 * While a program runs at a raw tracepoint, the frame of the function that the tracepoint called: its
 * caller's frame pointer and its return address. Otherwise NULL.
 */
DECLARE_PER_CPU(const unsigned long *, oxbpf_raw_tp_frame);

/*
 * With preemption off. True when the program ran, and then *ret is its result; false when something of
 * ours ran on that CPU already. Nobody else writes the event meanwhile, for what comes in between runs no
 * program.
 */
static __always_inline bool oxbpf_hook_try(const struct oxbpf_hook *hook, const void *ctx,
					   u64 cookie, unsigned long ip, u64 *ret)
{
	if (unlikely(!oxbpf_nest_try()))
		return false;
	this_cpu_write(oxbpf_event.cookie, cookie);
	this_cpu_write(oxbpf_event.ip, ip);
	*ret = hook->run(hook->data, ctx);
	oxbpf_nest_end();
	return true;
}

/* The same, and counts what did not run. */
static __always_inline bool oxbpf_hook_run(const struct oxbpf_hook *hook, const void *ctx,
					   u64 cookie, unsigned long ip, u64 *ret)
{
	bool ran = oxbpf_hook_try(hook, ctx, cookie, ip, ret);

	if (unlikely(!ran))
		hook->miss(hook->data);
	return ran;
}

#endif
