/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Facts about the CPU that code generation depends on; rust/sys/cpu.rs has the same struct.
 */
#ifndef OXBPF_HELPERS_CPU_H
#define OXBPF_HELPERS_CPU_H

#include <linux/types.h>

struct oxbpf_cpu {
	bool ibt;		/* indirect branches must land on ENDBR */
	bool rethunk;		/* returns go through a thunk */
	bool retpoline;		/* indirect branches go through a thunk */
	bool retpoline_lfence;	/* indirect branches come after an lfence */
	bool its_thunk;		/* indirect branches go through an ITS thunk */
	bool call_depth;	/* calls are counted */
	bool sls;		/* a trap follows returns and indirect jumps */
	bool bmi2;		/* rorx, shlx and so on */
	bool movbe;		/* swapping loads and stores */
	unsigned long indirect_thunk_rax;	/* of the kind that is wanted */
	unsigned long cpu_number;	/* relative to gs, 32 bits wide */
	unsigned long current_task;	/* relative to gs */
	unsigned long jiffies_64;
};

void oxbpf_cpu_facts(struct oxbpf_cpu *cpu);

#endif
