// SPDX-License-Identifier: GPL-2.0
/*
 * Where the current code runs: preemption, per-CPU nesting, signals.
 */

#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "context.h"
#include "hook.h"

void oxbpf_run_enter(void);
void oxbpf_run_exit(void);
bool oxbpf_nest_enter(void);
void oxbpf_nest_exit(void);
void oxbpf_event_none(struct oxbpf_event *before);
void oxbpf_event_back(const struct oxbpf_event *before);
bool oxbpf_breathe(void);

/* Greater than 0 while a program or a map operation runs on the CPU. */
DEFINE_PER_CPU(int, oxbpf_nesting);

DEFINE_PER_CPU(struct oxbpf_event, oxbpf_event);

/* A program may run: under RCU, on one CPU. */
void oxbpf_run_enter(void)
{
	rcu_read_lock();
	preempt_disable();
}

void oxbpf_run_exit(void)
{
	preempt_enable();
	rcu_read_unlock();
}

/* With preemption off. True when nothing of ours ran on this CPU; oxbpf_nest_exit() either way. */
bool oxbpf_nest_enter(void)
{
	return oxbpf_nest_begin();
}

void oxbpf_nest_exit(void)
{
	oxbpf_nest_end();
}

/* On one of our levels: a program is about to run for no event. oxbpf_event_back() when it has. */
void oxbpf_event_none(struct oxbpf_event *before)
{
	before->cookie = this_cpu_read(oxbpf_event.cookie);
	before->ip = this_cpu_read(oxbpf_event.ip);
	this_cpu_write(oxbpf_event.cookie, 0);
	this_cpu_write(oxbpf_event.ip, 0);
}

void oxbpf_event_back(const struct oxbpf_event *before)
{
	this_cpu_write(oxbpf_event.cookie, before->cookie);
	this_cpu_write(oxbpf_event.ip, before->ip);
}

/* Lets others run; true when the current task is about to be killed or has a signal to handle. */
bool oxbpf_breathe(void)
{
	cond_resched();
	return signal_pending(current);
}
