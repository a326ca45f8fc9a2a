// SPDX-License-Identifier: GPL-2.0
/*
 * What programs may do to the current task: send it a signal, write to its memory.
 */

#include <linux/cpumask.h>
#include <linux/hardirq.h>
#include <linux/irq_work.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/uaccess.h>

int oxbpf_send_signal(u32 sig, bool thread);
int oxbpf_write_user(unsigned long to, const void *from, size_t size);
void oxbpf_signal_init(void);
void oxbpf_signal_exit(void);

/* A signal under way: one a CPU, for where a program runs none can be sent. */
struct oxbpf_signal {
	struct irq_work work;
	struct task_struct *task;
	u32 sig;
	bool thread;
};

static DEFINE_PER_CPU(struct oxbpf_signal, oxbpf_signal);

static void oxbpf_signal_send(struct irq_work *work)
{
	struct oxbpf_signal *s = container_of(work, struct oxbpf_signal, work);

	/* From the kernel, so nobody's rights are asked. Signal 0 is none, which only kill_pid() knows. */
	if (!s->thread)
		kill_pid(task_tgid(s->task), s->sig, 1);
	else if (s->sig)
		send_sig(s->sig, s->task, 1);
	put_task_struct(s->task);
}

/* To the current task or its process. With preemption off. */
int oxbpf_send_signal(u32 sig, bool thread)
{
	struct oxbpf_signal *s = this_cpu_ptr(&oxbpf_signal);
	struct task_struct *task = current;

	if (task->flags & (PF_KTHREAD | PF_EXITING))
		return -EPERM;
	/* Its end would be the machine's. */
	if (is_global_init(task))
		return -EPERM;
	if (!valid_signal(sig))
		return -EINVAL;
	if (irq_work_is_busy(&s->work))
		return -EBUSY;
	s->task = get_task_struct(task);
	s->sig = sig;
	s->thread = thread;
	irq_work_queue(&s->work);
	return 0;
}

int oxbpf_write_user(unsigned long to, const void *from, size_t size)
{
	char probe;

	if (in_interrupt() || current->flags & (PF_KTHREAD | PF_EXITING))
		return -EPERM;
	/* This asks too whether the task's memory can be reached at all just now. */
	if (copy_from_user_nofault(&probe, (const void __user *)to, 1))
		return -EFAULT;
	return copy_to_user_nofault((void __user *)to, from, size);
}

void oxbpf_signal_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		init_irq_work(&per_cpu(oxbpf_signal, cpu).work, oxbpf_signal_send);
}

/* When it returns no signal is under way. */
void oxbpf_signal_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		irq_work_sync(&per_cpu(oxbpf_signal, cpu).work);
}
