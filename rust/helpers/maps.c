// SPDX-License-Identifier: GPL-2.0
/*
 * What maps need of the kernel and only C can say: memory that may be large, the lock of a bucket,
 * and facts about CPUs and nodes.
 */

#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/kprobes.h>
#include <linux/nodemask.h>
#include <linux/percpu.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/vmalloc.h>

void *oxbpf_area_alloc(size_t size, int node);
void *oxbpf_area_alloc_pages(size_t size);
void oxbpf_area_free(void *area);
int __noendbr oxbpf_map_lock(u32 *word);
void __noendbr oxbpf_map_unlock(u32 *word, u32 flags);
void oxbpf_map_lock_nested(u32 *word);
void oxbpf_map_unlock_nested(u32 *word);
void oxbpf_value_lock(u32 *word);
void oxbpf_value_unlock(u32 *word);
unsigned int oxbpf_nr_cpu_ids(void);
bool oxbpf_cpu_possible(unsigned int cpu);
int oxbpf_cpu_node(unsigned int cpu);
bool oxbpf_node_online(unsigned int node);
u64 oxbpf_random_u64(void);

/*
 * Memory for a map, charged to the current cgroup: NULL rather than a killed process when it is
 * short. Past INT_MAX kvmalloc() refuses, so that vmalloc() is asked directly; without a node then,
 * which is a hint only.
 */
void *oxbpf_area_alloc(size_t size, int node)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;

	if (size > INT_MAX)
		return __vmalloc(size, gfp);
	return kvmalloc_node(size, gfp, node);
}

/* The same in whole pages that user space may map, and all zero, for it will see what is behind. */
void *oxbpf_area_alloc_pages(size_t size)
{
	if (size > LONG_MAX)
		return NULL;
	return __vmalloc(PAGE_ALIGN(size), GFP_KERNEL_ACCOUNT | __GFP_NOWARN |
					   __GFP_RETRY_MAYFAIL | __GFP_ZERO);
}

/* Frees what oxbpf_area_alloc() or oxbpf_area_alloc_pages() gave. May sleep. */
void oxbpf_area_free(void *area)
{
	kvfree(area);
}

/*
 * Map locks held by this CPU: 0 or 1. A program that interrupts the holder (a kprobe inside the
 * section, an NMI) must not wait for anything that the holder may have, and cannot tell, so it
 * gets no map lock at all.
 */
static DEFINE_PER_CPU(int, oxbpf_map_locks);

/*
 * Takes the lock at word, interrupts off. Returns the flags for oxbpf_map_unlock(), which are positive:
 * all that means anything there is in 22 bits; or -EBUSY when this CPU holds a map lock already. Not to
 * be probed: a probe's program would use maps in here.
 *
 * Only called directly, so no ENDBR is needed.
 *
 * What comes between looking at the mark and setting it can only be an NMI, which gives back what it
 * takes before we go on.
 */
int notrace __noendbr oxbpf_map_lock(u32 *word)
{
	unsigned long irq;

	local_irq_save(irq);
	if (unlikely(this_cpu_read(oxbpf_map_locks))) {
		local_irq_restore(irq);
		return -EBUSY;
	}
	this_cpu_write(oxbpf_map_locks, 1);
	while (unlikely(xchg(word, 1)))
		while (READ_ONCE(*word))
			cpu_relax();
	return irq;
}
NOKPROBE_SYMBOL(oxbpf_map_lock);

/* Gives back what oxbpf_map_lock() took. */
void notrace __noendbr oxbpf_map_unlock(u32 *word, u32 flags)
{
	unsigned long irq = flags;

	smp_store_release(word, 0);
	this_cpu_write(oxbpf_map_locks, 0);
	local_irq_restore(irq);
}
NOKPROBE_SYMBOL(oxbpf_map_unlock);

/* Takes a second lock inside the section of oxbpf_map_lock(). */
void notrace oxbpf_map_lock_nested(u32 *word)
{
	while (unlikely(xchg(word, 1)))
		while (READ_ONCE(*word))
			cpu_relax();
}
NOKPROBE_SYMBOL(oxbpf_map_lock_nested);

/* Gives back what oxbpf_map_lock_nested() took. */
void notrace oxbpf_map_unlock_nested(u32 *word)
{
	smp_store_release(word, 0);
}
NOKPROBE_SYMBOL(oxbpf_map_unlock_nested);

/* The flags of who holds a value's lock on this CPU: one at a time, since interrupts are off. */
static DEFINE_PER_CPU(unsigned long, oxbpf_value_flags);

/*
 * Takes the spin lock in a map's value, which programs and user space's copies share: interrupts and
 * preemption are off until it is given back. It is four bytes that are zero when nobody has it, and has no
 * lockdep: there may be millions, and programs that could take two are refused. Not to be probed, so that
 * nothing else of ours runs between the lock and its flags.
 */
void notrace oxbpf_value_lock(u32 *word)
{
	arch_spinlock_t *lock = (arch_spinlock_t *)word;
	unsigned long irq;

	BUILD_BUG_ON(sizeof(*lock) != sizeof(*word));
	local_irq_save(irq);
	preempt_disable();
	arch_spin_lock(lock);
	this_cpu_write(oxbpf_value_flags, irq);
}
NOKPROBE_SYMBOL(oxbpf_value_lock);

/* Gives back what oxbpf_value_lock() took. */
void notrace oxbpf_value_unlock(u32 *word)
{
	unsigned long irq = this_cpu_read(oxbpf_value_flags);

	arch_spin_unlock((arch_spinlock_t *)word);
	preempt_enable();
	local_irq_restore(irq);
}
NOKPROBE_SYMBOL(oxbpf_value_unlock);

/* One more than the highest CPU number. */
unsigned int oxbpf_nr_cpu_ids(void)
{
	return nr_cpu_ids;
}

/* Whether a CPU of that number can ever be there. */
bool oxbpf_cpu_possible(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu);
}

/* The node that the CPU's memory is nearest to. */
int oxbpf_cpu_node(unsigned int cpu)
{
	return cpu_to_node(cpu);
}

/* Whether memory can be asked of that node. */
bool oxbpf_node_online(unsigned int node)
{
	return node < nr_node_ids && node_online(node);
}

/* A number that nobody can guess. */
u64 oxbpf_random_u64(void)
{
	return get_random_u64();
}
