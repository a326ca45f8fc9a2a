// SPDX-License-Identifier: GPL-2.0
/*
 * What a loop that runs a program many times needs to know of its task.
 */

#include <linux/bottom_half.h>
#include <linux/cpumask.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/thread_info.h>
#include <linux/timekeeping.h>

const unsigned long *oxbpf_testrun_flags(unsigned long *mask);
bool oxbpf_testrun_signal(void);
void oxbpf_testrun_yield(void);
u64 oxbpf_testrun_clock(void);
void *oxbpf_testrun_alloc(void);
void oxbpf_testrun_free(void *net);
void oxbpf_testrun_enter(void *net);
void oxbpf_testrun_exit(void *net);
int oxbpf_testrun_on(bool any, unsigned int cpu, void (*run)(void *data), void *data);

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

/* What a program has around it where packets are: softirqs off, and a place to note redirects. */
struct oxbpf_testrun {
	struct bpf_net_context net;
	struct bpf_net_context *set;
};

void *oxbpf_testrun_alloc(void)
{
	return kzalloc(sizeof(struct oxbpf_testrun), GFP_KERNEL);
}

void oxbpf_testrun_free(void *net)
{
	kfree(net);
}

void oxbpf_testrun_enter(void *net)
{
	struct oxbpf_testrun *t = net;

	local_bh_disable();
	t->set = bpf_net_ctx_set(&t->net);
}

void oxbpf_testrun_exit(void *net)
{
	struct oxbpf_testrun *t = net;

	bpf_net_ctx_clear(t->set);
	local_bh_enable();
}

/*
 * Calls run with preemption off on that CPU, or the current one if it may be any, and waits for its
 * end. -ENXIO when there is no such CPU, or it is offline.
 */
int oxbpf_testrun_on(bool any, unsigned int cpu, void (*run)(void *data), void *data)
{
	unsigned int here = get_cpu();
	int err = 0;

	if (any || cpu == here)
		run(data);
	else if (cpu >= nr_cpu_ids || !cpu_online(cpu))
		err = -ENXIO;
	else
		err = smp_call_function_single(cpu, run, data, 1);
	put_cpu();
	return err;
}
