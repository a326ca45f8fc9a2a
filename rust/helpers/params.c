// SPDX-License-Identifier: GPL-2.0
/*
 * The module's parameters.
 */

#include <linux/moduleparam.h>
#include <linux/module.h>
#include <linux/string.h>

#include "cpu.h"

unsigned int oxbpf_param_jit(void);
bool oxbpf_param_debug(void);
unsigned int oxbpf_param_harden(void);
void oxbpf_announce_codegen(void);

static const char *const oxbpf_jit_words[] = { "off", "on", "required", NULL };
static unsigned int oxbpf_jit = 1;

static int oxbpf_jit_set(const char *val, const struct kernel_param *kp)
{
	int n = sysfs_match_string(oxbpf_jit_words, val);

	if (n < 0)
		return n;
	WRITE_ONCE(oxbpf_jit, n);
	return 0;
}

static int oxbpf_jit_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", oxbpf_jit_words[READ_ONCE(oxbpf_jit)]);
}

static const struct kernel_param_ops oxbpf_jit_ops = {
	.set = oxbpf_jit_set,
	.get = oxbpf_jit_get,
};

module_param_cb(jit, &oxbpf_jit_ops, NULL, 0644);
MODULE_PARM_DESC(jit, "compile programs: off, on (the default; interpret what cannot be compiled), required");

/* 0 off, 1 on, 2 required. */
unsigned int oxbpf_param_jit(void)
{
	return READ_ONCE(oxbpf_jit);
}

static bool oxbpf_debug;
module_param_named(debug, oxbpf_debug, bool, 0644);
MODULE_PARM_DESC(debug, "commands for tests (off by default)");

bool oxbpf_param_debug(void)
{
	return READ_ONCE(oxbpf_debug);
}

static unsigned int oxbpf_harden;

static int oxbpf_harden_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 0, 2);
}

static const struct kernel_param_ops oxbpf_harden_ops = {
	.set = oxbpf_harden_set,
	.get = param_get_uint,
};

module_param_cb(harden, &oxbpf_harden_ops, &oxbpf_harden, 0644);
MODULE_PARM_DESC(harden, "blind the constants of compiled programs: 0 no (the default), 1 those of loaders without CAP_BPF, 2 all");

unsigned int oxbpf_param_harden(void)
{
	return READ_ONCE(oxbpf_harden);
}

/* What compiled programs do because of this CPU and how the kernel protects itself on it. */
static int oxbpf_codegen_text(char *buf, size_t size)
{
	const char *jumps = "plain";
	struct oxbpf_cpu cpu;

	oxbpf_cpu_facts(&cpu);
	if (cpu.retpoline_lfence)
		jumps = "lfence";
	else if (cpu.its_thunk)
		jumps = "its-thunk";
	else if (cpu.retpoline)
		jumps = "retpoline";
	return scnprintf(buf, size, "entries=%s returns=%s%s indirect-jumps=%s bmi2=%d movbe=%d",
			 cpu.ibt ? "endbr" : "plain",
			 cpu.rethunk ? "thunk" : "plain", cpu.sls ? "+trap" : "",
			 jumps, cpu.bmi2, cpu.movbe);
}

static int oxbpf_codegen_get(char *buf, const struct kernel_param *kp)
{
	int n = oxbpf_codegen_text(buf, PAGE_SIZE - 1);

	return n + sysfs_emit_at(buf, n, "\n");
}

static const struct kernel_param_ops oxbpf_codegen_ops = {
	.get = oxbpf_codegen_get,
};

module_param_cb(codegen, &oxbpf_codegen_ops, NULL, 0444);
MODULE_PARM_DESC(codegen, "what compiled programs do for this CPU's and kernel's sake (read only)");

void oxbpf_announce_codegen(void)
{
	char text[128];

	oxbpf_codegen_text(text, sizeof(text));
	pr_info("oxbpf: machine code: %s\n", text);
}
