/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The per-CPU count that keeps probes' programs from entering themselves, each other, and the code
 * that they call.
 */
#ifndef OXBPF_HELPERS_CONTEXT_H
#define OXBPF_HELPERS_CONTEXT_H

#include <linux/percpu.h>

DECLARE_PER_CPU(int, oxbpf_nesting);

/* With preemption off. True when nothing of ours ran on this CPU; oxbpf_nest_end() either way. */
static __always_inline bool oxbpf_nest_begin(void)
{
	return this_cpu_inc_return(oxbpf_nesting) == 1;
}

/*
 * The same in two steps, for where nothing is to be done when it is false: then there is no
 * oxbpf_nest_end(). What interrupts in between is done when it returns.
 */
static __always_inline bool oxbpf_nest_try(void)
{
	if (unlikely(this_cpu_read(oxbpf_nesting)))
		return false;
	this_cpu_inc(oxbpf_nesting);
	return true;
}

static __always_inline void oxbpf_nest_end(void)
{
	this_cpu_dec(oxbpf_nesting);
}

#endif
