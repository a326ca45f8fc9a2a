// SPDX-License-Identifier: GPL-2.0
/*
 * Bringing up and taking down what tc knows of this module.
 */

#include <linux/module.h>
#include <linux/moduleparam.h>

#include "tc.h"

int oxbpf_tc_register(const struct oxbpf_tc_calls *calls, const s64 *counting, bool bpf);
void oxbpf_tc_unregister(bool bpf);
bool oxbpf_param_tc_bpf(void);

const struct oxbpf_tc_calls *oxbpf_tc;
const s64 *oxbpf_tc_counting;

static bool oxbpf_tc_bpf;
module_param_named(tc_bpf, oxbpf_tc_bpf, bool, 0444);
MODULE_PARM_DESC(tc_bpf, "serve tc's kind bpf too, where the kernel's own is not loaded (default: no)");

bool oxbpf_param_tc_bpf(void)
{
	return oxbpf_tc_bpf;
}

DEFINE_STATIC_CALL_RET0(oxbpf_tc_run, oxbpf_tc_nothing);

/* The kinds `oxbpf`, or with bpf the kinds `bpf`. The first call sets the way to programs up. */
int oxbpf_tc_register(const struct oxbpf_tc_calls *calls, const s64 *counting, bool bpf)
{
	int err;

	/* Softirqs that can be preempted would need more around a program than there is. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return -EOPNOTSUPP;
	oxbpf_tc = calls;
	oxbpf_tc_counting = counting;
	static_call_update(oxbpf_tc_run, calls->run);

	err = oxbpf_cls_register(bpf);
	if (err)
		return err;
	err = oxbpf_act_register(bpf);
	if (err)
		oxbpf_cls_unregister(bpf);
	return err;
}

/* No filter or action of the kinds is left: each holds the module. Waits for those on their way. */
void oxbpf_tc_unregister(bool bpf)
{
	oxbpf_act_unregister(bpf);
	oxbpf_cls_unregister(bpf);
}
