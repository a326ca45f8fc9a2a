// SPDX-License-Identifier: GPL-2.0
/*
 * What a loop that runs a program many times needs to know of its task.
 */

#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/thread_info.h>
#include <linux/timekeeping.h>

void oxbpf_testrun_enter(void);
void oxbpf_testrun_leave(void);
const unsigned long *oxbpf_testrun_flags(unsigned long *mask);
bool oxbpf_testrun_signal(void);
void oxbpf_testrun_yield(void);
u64 oxbpf_testrun_clock(void);

/* A program may run: under RCU, on one CPU. */
void oxbpf_testrun_enter(void)
{
	rcu_read_lock();
	preempt_disable();
}

void oxbpf_testrun_leave(void)
{
	preempt_enable();
	rcu_read_unlock();
}

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

/* Outside of enter and leave. */
void oxbpf_testrun_yield(void)
{
	if (need_resched() || tif_test_bit(TIF_NEED_RESCHED_LAZY))
		schedule();
}

u64 oxbpf_testrun_clock(void)
{
	return ktime_get_ns();
}
