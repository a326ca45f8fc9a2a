// SPDX-License-Identifier: GPL-2.0
/*
 * What the running kernel wants of generated code on this CPU.
 */

#include <asm/alternative.h>
#include <asm/cpufeature.h>
#include <asm/current.h>
#include <asm/nospec-branch.h>
#include <asm/smp.h>
#include <linux/jiffies.h>

#include "cpu.h"
#include "symbols.h"

OXBPF_UNEXPORTED(its_static_thunk);

/* Exported; the address of the first of 16 thunks in register order. */
extern retpoline_thunk_t __x86_indirect_thunk_rax;

void oxbpf_cpu_facts(struct oxbpf_cpu *cpu)
{
	*cpu = (struct oxbpf_cpu) {
		.ibt = cpu_feature_enabled(X86_FEATURE_IBT),
		.rethunk = cpu_feature_enabled(X86_FEATURE_RETHUNK),
		.retpoline = cpu_feature_enabled(X86_FEATURE_RETPOLINE),
		.retpoline_lfence = cpu_feature_enabled(X86_FEATURE_RETPOLINE_LFENCE),
		.its_thunk = cpu_feature_enabled(X86_FEATURE_INDIRECT_THUNK_ITS),
		.call_depth = cpu_feature_enabled(X86_FEATURE_CALL_DEPTH),
		.sls = IS_ENABLED(CONFIG_MITIGATION_SLS),
		.bmi2 = boot_cpu_has(X86_FEATURE_BMI2),
		.movbe = boot_cpu_has(X86_FEATURE_MOVBE),
		.indirect_thunk_rax = (unsigned long)&__x86_indirect_thunk_rax,
		.cpu_number = (__force unsigned long)&cpu_number,
		.current_task = (__force unsigned long)&current_task,
		.jiffies_64 = (unsigned long)&jiffies_64,
	};
	/* 0 when it was not found. */
	if (cpu->its_thunk)
		cpu->indirect_thunk_rax = (unsigned long)static_call(oxbpf_its_static_thunk)(0);
}
