// SPDX-License-Identifier: GPL-2.0
/*
 * What a program can ask about where it runs: the current task, the CPU, the time.
 */

#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/jiffies.h>
#include <linux/nsfs.h>
#include <linux/percpu.h>
#include <linux/pid_namespace.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/topology.h>
#include <linux/uidgid.h>

#include "symbols.h"

OXBPF_UNEXPORTED(ns_match);

u64 oxbpf_current_task(void);
u64 oxbpf_current_pid_tgid(void);
u64 oxbpf_current_uid_gid(void);
void oxbpf_current_comm(char *buf, size_t size);
u64 oxbpf_cpu_id(void);
u64 oxbpf_numa_node_id(void);
u64 oxbpf_jiffies64(void);
u64 oxbpf_ktime_coarse_ns(void);
u64 oxbpf_cgroup_id(void);
u64 oxbpf_ancestor_cgroup_id(int level);
int oxbpf_ns_pid_tgid(u64 dev, u64 ino, u32 *pid, u32 *tgid);
u64 oxbpf_prandom_u32(void);
void oxbpf_prandom_seed(void);

u64 oxbpf_current_task(void)
{
	return (unsigned long)current;
}

u64 oxbpf_current_pid_tgid(void)
{
	const struct task_struct *task = current;

	return (u64)task->tgid << 32 | (u32)task->pid;
}

u64 oxbpf_current_uid_gid(void)
{
	kuid_t uid;
	kgid_t gid;

	current_uid_gid(&uid, &gid);
	return (u64)from_kgid(&init_user_ns, gid) << 32 | from_kuid(&init_user_ns, uid);
}

/* size is at least 1. */
void oxbpf_current_comm(char *buf, size_t size)
{
	strscpy_pad(buf, current->comm, size);
}

u64 oxbpf_cpu_id(void)
{
	return raw_smp_processor_id();
}

u64 oxbpf_numa_node_id(void)
{
	return numa_node_id();
}

u64 oxbpf_jiffies64(void)
{
	return get_jiffies_64();
}

u64 oxbpf_ktime_coarse_ns(void)
{
	return ktime_get_coarse_ns();
}

/* Of the default hierarchy. */
u64 oxbpf_cgroup_id(void)
{
	u64 id;

	rcu_read_lock();
	id = cgroup_id(task_dfl_cgroup(current));
	rcu_read_unlock();
	return id;
}

/* That of the current cgroup's ancestor at that level, or 0. */
u64 oxbpf_ancestor_cgroup_id(int level)
{
	struct cgroup *ancestor;
	u64 id = 0;

	rcu_read_lock();
	ancestor = cgroup_ancestor(task_dfl_cgroup(current), level);
	if (ancestor)
		id = cgroup_id(ancestor);
	rcu_read_unlock();
	return id;
}

/* The numbers that the current task has in its namespace, which must be the one given. */
int oxbpf_ns_pid_tgid(u64 dev, u64 ino, u32 *pid, u32 *tgid)
{
	struct pid_namespace *ns;

	/* A device's number has 32 bits. */
	if ((u64)(dev_t)dev != dev)
		return -EINVAL;
	ns = task_active_pid_ns(current);
	if (!ns)
		return -ENOENT;
	if (!static_call(oxbpf_ns_match)(&ns->ns, (dev_t)dev, ino))
		return -EINVAL;
	*pid = task_pid_nr_ns(current, ns);
	*tgid = task_tgid_nr_ns(current, ns);
	return 0;
}

/*
 * The pseudo-random numbers of programs: per CPU a counter that steps by an odd constant, and the
 * folded product of what it shows. One atomic step a number, so an interrupt in between takes
 * another number; no lock, since the caller may be a probe inside the kernel's own generator.
 */
static DEFINE_PER_CPU(u64, oxbpf_prandom_state);

u64 oxbpf_prandom_u32(void)
{
	u64 x = this_cpu_add_return(oxbpf_prandom_state, 0x9e3779b97f4a7c15ULL);
	unsigned __int128 product = (unsigned __int128)x * (x ^ 0xd6e8feb86659fd93ULL);

	return (u32)((u64)(product >> 64) ^ (u64)product);
}

void oxbpf_prandom_seed(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		per_cpu(oxbpf_prandom_state, cpu) = get_random_u64();
}
