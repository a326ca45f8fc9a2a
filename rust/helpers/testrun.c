// SPDX-License-Identifier: GPL-2.0
/*
 * What a loop that runs a program many times needs to know of its task.
 */

#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/thread_info.h>
#include <linux/timekeeping.h>

const unsigned long *oxbpf_testrun_flags(unsigned long *mask);
bool oxbpf_testrun_signal(void);
void oxbpf_testrun_yield(void);
u64 oxbpf_testrun_clock(void);

/* The current task's flags; a bit of mask is set when the loop should look around. */
const unsigned long *oxbpf_testrun_flags(unsigned long *mask)
{
	*mask = _TIF_SIGPENDING | _TIF_NOTIFY_SIGNAL | _TIF_NEED_RESCHED | _TIF_NEED_RESCHED_LAZY;
	return &current_thread_info()->flags;
}

bool oxbpf_testrun_signal(void)
{
	return signal_pending(current);
}

/* Where sleeping is allowed. */
void oxbpf_testrun_yield(void)
{
	if (need_resched() || tif_test_bit(TIF_NEED_RESCHED_LAZY))
		schedule();
}

u64 oxbpf_testrun_clock(void)
{
	return ktime_get_ns();
}
