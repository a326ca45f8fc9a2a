// SPDX-License-Identifier: GPL-2.0
/*
 * Module parameters whose values are words.
 */

#include <linux/moduleparam.h>
#include <linux/module.h>
#include <linux/string.h>

unsigned int oxbpf_param_jit(void);
bool oxbpf_param_debug(void);

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
