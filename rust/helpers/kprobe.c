// SPDX-License-Identifier: GPL-2.0
/*
 * Sets of kprobes or kretprobes that share one handler: struct kprobe's layout depends on the
 * kernel's configuration, so it stays in C.
 */

#include <linux/atomic.h>
#include <linux/kprobes.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include "context.h"

typedef void (*oxbpf_probe_run_t)(const void *data, struct pt_regs *regs);

struct oxbpf_probe {
	struct oxbpf_probes *set;
	union {
		struct kprobe kp;
		struct kretprobe rp;
	};
};

struct oxbpf_probes {
	oxbpf_probe_run_t run;
	const void *data;
	/* Hits for which the program was not started because one ran already on that CPU. */
	atomic_long_t missed;
	/* How many of the size probes have a target. */
	unsigned int count;
	unsigned int size;
	bool is_return;
	union {
		struct kprobe **kps;
		struct kretprobe **rps;
	};
	struct oxbpf_probe probe[] __counted_by(size);
};

struct oxbpf_probes *oxbpf_probes_alloc(unsigned int size, bool is_return, oxbpf_probe_run_t run,
					const void *data);
int oxbpf_probes_add(struct oxbpf_probes *set, const char *symbol, unsigned int offset,
		     unsigned long addr);
int oxbpf_probes_register(struct oxbpf_probes *set);
void oxbpf_probes_unregister(struct oxbpf_probes *set);
void oxbpf_probes_free(struct oxbpf_probes *set);
unsigned long oxbpf_probes_missed(const struct oxbpf_probes *set);
unsigned long oxbpf_probes_addr(const struct oxbpf_probes *set, unsigned int index);

/*
 * Runs with preemption off, as every kind of kprobe does: ftrace and jump-optimised ones turn it
 * off, a breakpoint turns interrupts off.
 */
static __always_inline void oxbpf_probe_run(struct oxbpf_probes *set, struct pt_regs *regs)
{
	if (likely(oxbpf_nest_begin())) {
		rcu_read_lock();
		set->run(set->data, regs);
		rcu_read_unlock();
	} else {
		atomic_long_inc(&set->missed);
	}
	oxbpf_nest_end();
}

static int oxbpf_kprobe_hit(struct kprobe *kp, struct pt_regs *regs)
{
	oxbpf_probe_run(container_of(kp, struct oxbpf_probe, kp)->set, regs);
	return 0;
}
NOKPROBE_SYMBOL(oxbpf_kprobe_hit);

static int oxbpf_kretprobe_hit(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	struct kretprobe *rp = get_kretprobe(ri);

	/* No kretprobe: it is being unregistered. */
	if (likely(rp))
		oxbpf_probe_run(container_of(rp, struct oxbpf_probe, rp)->set, regs);
	return 0;
}
NOKPROBE_SYMBOL(oxbpf_kretprobe_hit);

struct oxbpf_probes *oxbpf_probes_alloc(unsigned int size, bool is_return, oxbpf_probe_run_t run,
					const void *data)
{
	struct oxbpf_probes *set = kvzalloc(struct_size(set, probe, size), GFP_KERNEL_ACCOUNT);

	if (!set)
		return NULL;
	set->kps = kvcalloc(size, sizeof(*set->kps), GFP_KERNEL_ACCOUNT);
	if (!set->kps) {
		kvfree(set);
		return NULL;
	}
	set->size = size;
	set->is_return = is_return;
	set->run = run;
	set->data = data;
	return set;
}

/* The symbol's text must outlive the set. */
int oxbpf_probes_add(struct oxbpf_probes *set, const char *symbol, unsigned int offset,
		     unsigned long addr)
{
	unsigned int i = set->count;
	struct oxbpf_probe *p;
	struct kprobe *kp;

	if (i >= set->size)
		return -E2BIG;
	p = &set->probe[i];
	p->set = set;
	if (set->is_return) {
		p->rp.handler = oxbpf_kretprobe_hit;
		kp = &p->rp.kp;
		set->rps[i] = &p->rp;
	} else {
		p->kp.pre_handler = oxbpf_kprobe_hit;
		kp = &p->kp;
		set->kps[i] = &p->kp;
	}
	kp->symbol_name = symbol;
	kp->offset = offset;
	if (!symbol)
		kp->addr = (kprobe_opcode_t *)addr;
	set->count = i + 1;
	return 0;
}

/* All of them, or none. */
int oxbpf_probes_register(struct oxbpf_probes *set)
{
	if (set->is_return)
		return register_kretprobes(set->rps, set->count);
	return register_kprobes(set->kps, set->count);
}

/* When it returns no handler runs any more, and none will. */
void oxbpf_probes_unregister(struct oxbpf_probes *set)
{
	if (set->is_return)
		unregister_kretprobes(set->rps, set->count);
	else
		unregister_kprobes(set->kps, set->count);
}

void oxbpf_probes_free(struct oxbpf_probes *set)
{
	kvfree(set->kps);
	kvfree(set);
}

/* Hits that did not run the program, by whatever cause. */
unsigned long oxbpf_probes_missed(const struct oxbpf_probes *set)
{
	unsigned long sum = atomic_long_read(&set->missed);
	unsigned int i;

	for (i = 0; i < set->count; i++) {
		const struct oxbpf_probe *p = &set->probe[i];

		if (set->is_return)
			sum += READ_ONCE(p->rp.kp.nmissed) + READ_ONCE(p->rp.nmissed);
		else
			sum += READ_ONCE(p->kp.nmissed);
	}
	return sum;
}

/* Where the probe of that number stands; 0 when there is none. */
unsigned long oxbpf_probes_addr(const struct oxbpf_probes *set, unsigned int index)
{
	if (index >= set->count)
		return 0;
	return (unsigned long)(set->is_return ? set->probe[index].rp.kp.addr :
						set->probe[index].kp.addr);
}
