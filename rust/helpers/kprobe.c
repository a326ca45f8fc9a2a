// SPDX-License-Identifier: GPL-2.0
/*
 * Sets of probes that share one handler: a kprobe where one place is wanted or the place is inside
 * a function, one fprobe where it is the entry of many functions or the return from any.
 */

#include <linux/atomic.h>
#include <linux/fprobe.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "context.h"

typedef void (*oxbpf_probe_run_t)(const void *data, struct pt_regs *regs);
typedef void (*oxbpf_probe_missed_t)(const void *data);

/* Where a probe goes: at addr, or when there is a symbol, so many bytes behind it. */
struct oxbpf_target {
	const char *symbol;
	unsigned int offset;
	unsigned long addr;
};

struct oxbpf_kprobe {
	struct oxbpf_probes *set;
	struct kprobe kp;
};

struct oxbpf_probes {
	oxbpf_probe_run_t run;
	oxbpf_probe_missed_t miss;
	const void *data;
	/* Hits for which nothing was run because something of ours ran already on that CPU. */
	atomic_long_t missed;
	bool is_return;
	/* Once registered: either the fprobe, or size kprobes and their addresses. */
	struct fprobe fp;
	struct oxbpf_kprobe *probe;
	struct kprobe **kps;
	/* How many of the size targets there are. */
	unsigned int count;
	unsigned int size;
	struct oxbpf_target target[] __counted_by(size);
};

struct oxbpf_probes *oxbpf_probes_alloc(unsigned int size, bool is_return, oxbpf_probe_run_t run,
					oxbpf_probe_missed_t miss, const void *data);
int oxbpf_probes_add(struct oxbpf_probes *set, const char *symbol, unsigned int offset,
		     unsigned long addr);
int oxbpf_probes_register(struct oxbpf_probes *set);
void oxbpf_probes_unregister(struct oxbpf_probes *set);
void oxbpf_probes_free(struct oxbpf_probes *set);
unsigned long oxbpf_probes_missed(const struct oxbpf_probes *set);
unsigned long oxbpf_probes_addr(const struct oxbpf_probes *set, unsigned int index);

/* An fprobe allocates its list as one piece, which the page allocator must be able to give. */
#define OXBPF_FPROBE_MAX (KMALLOC_MAX_SIZE / sizeof(struct fprobe_hlist_node) - 64)

/* Kprobes are put in one by one, and nothing can stop that: so many take some seconds. */
#define OXBPF_KPROBES_MAX 4096

/*
 * Runs with preemption off, as all these probes do: ftrace and jump-optimised kprobes turn it off,
 * a breakpoint turns interrupts off.
 */
static __always_inline void oxbpf_probe_run(struct oxbpf_probes *set, struct pt_regs *regs)
{
	if (likely(oxbpf_nest_begin())) {
		set->run(set->data, regs);
	} else {
		atomic_long_inc(&set->missed);
		set->miss(set->data);
	}
	oxbpf_nest_end();
}

static int oxbpf_kprobe_hit(struct kprobe *kp, struct pt_regs *regs)
{
	oxbpf_probe_run(container_of(kp, struct oxbpf_kprobe, kp)->set, regs);
	return 0;
}
NOKPROBE_SYMBOL(oxbpf_kprobe_hit);

static int oxbpf_fprobe_entry(struct fprobe *fp, unsigned long entry_ip, unsigned long ret_ip,
			      struct ftrace_regs *fregs, void *entry_data)
{
	oxbpf_probe_run(container_of(fp, struct oxbpf_probes, fp),
			ftrace_partial_regs(fregs, NULL));
	return 0;
}
NOKPROBE_SYMBOL(oxbpf_fprobe_entry);

static void oxbpf_fprobe_exit(struct fprobe *fp, unsigned long entry_ip, unsigned long ret_ip,
			      struct ftrace_regs *fregs, void *entry_data)
{
	oxbpf_probe_run(container_of(fp, struct oxbpf_probes, fp),
			ftrace_partial_regs(fregs, NULL));
}
NOKPROBE_SYMBOL(oxbpf_fprobe_exit);

struct oxbpf_probes *oxbpf_probes_alloc(unsigned int size, bool is_return, oxbpf_probe_run_t run,
					oxbpf_probe_missed_t miss, const void *data)
{
	struct oxbpf_probes *set = kvzalloc(struct_size(set, target, size), GFP_KERNEL_ACCOUNT);

	if (!set)
		return NULL;
	set->size = size;
	set->is_return = is_return;
	set->run = run;
	set->miss = miss;
	set->data = data;
	return set;
}

/* The symbol's text must outlive the set. */
int oxbpf_probes_add(struct oxbpf_probes *set, const char *symbol, unsigned int offset,
		     unsigned long addr)
{
	if (set->count >= set->size)
		return -E2BIG;
	set->target[set->count] = (struct oxbpf_target) {
		.symbol = symbol,
		.offset = offset,
		.addr = symbol ? 0 : addr,
	};
	set->count++;
	return 0;
}

/* All targets are entries of functions, and all named the same way. */
static bool oxbpf_probes_plain(const struct oxbpf_probes *set)
{
	unsigned int i;

	for (i = 0; i < set->count; i++)
		if (set->target[i].offset || !set->target[i].symbol != !set->target[0].symbol)
			return false;
	return true;
}

static int oxbpf_probes_register_fprobe(struct oxbpf_probes *set)
{
	const char **symbols;
	unsigned long *addrs;
	unsigned int i;
	int err;

	if (set->count > OXBPF_FPROBE_MAX)
		return -E2BIG;
	if (set->is_return)
		set->fp.exit_handler = oxbpf_fprobe_exit;
	else
		set->fp.entry_handler = oxbpf_fprobe_entry;

	BUILD_BUG_ON(sizeof(*symbols) != sizeof(*addrs));
	addrs = kvmalloc_array(set->count, sizeof(*addrs), GFP_KERNEL);
	if (!addrs)
		return -ENOMEM;
	symbols = (const char **)addrs;
	for (i = 0; i < set->count; i++) {
		if (set->target[i].symbol)
			symbols[i] = set->target[i].symbol;
		else
			addrs[i] = set->target[i].addr;
	}
	if (set->target[0].symbol)
		err = register_fprobe_syms(&set->fp, symbols, set->count);
	else
		err = register_fprobe_ips(&set->fp, addrs, set->count);
	kvfree(addrs);
	return err;
}

static int oxbpf_probes_register_kprobes(struct oxbpf_probes *set)
{
	unsigned int i;
	int err;

	if (set->count > OXBPF_KPROBES_MAX)
		return -E2BIG;
	set->probe = kvcalloc(set->count, sizeof(*set->probe), GFP_KERNEL_ACCOUNT);
	set->kps = kvcalloc(set->count, sizeof(*set->kps), GFP_KERNEL_ACCOUNT);
	if (!set->probe || !set->kps) {
		err = -ENOMEM;
		goto fail;
	}
	for (i = 0; i < set->count; i++) {
		const struct oxbpf_target *t = &set->target[i];
		struct oxbpf_kprobe *p = &set->probe[i];

		p->set = set;
		p->kp.pre_handler = oxbpf_kprobe_hit;
		p->kp.symbol_name = t->symbol;
		p->kp.offset = t->offset;
		p->kp.addr = (kprobe_opcode_t *)t->addr;
		set->kps[i] = &p->kp;
	}
	err = register_kprobes(set->kps, set->count);
	if (!err)
		return 0;
fail:
	kvfree(set->kps);
	kvfree(set->probe);
	set->kps = NULL;
	set->probe = NULL;
	return err;
}

/*
 * All of them, or none. One place gets a kprobe, which sees all registers; but where that must not
 * be, the function's entry may still be open to ftrace.
 */
int oxbpf_probes_register(struct oxbpf_probes *set)
{
	bool plain = oxbpf_probes_plain(set);
	int err;

	if (!set->count)
		return -EINVAL;
	/* Only a function as a whole returns. */
	if (set->is_return)
		return plain ? oxbpf_probes_register_fprobe(set) : -EINVAL;
	if (plain && set->count > 1)
		return oxbpf_probes_register_fprobe(set);
	err = oxbpf_probes_register_kprobes(set);
	if (err == -EINVAL && plain)
		err = oxbpf_probes_register_fprobe(set);
	return err;
}

/* When it returns no handler runs any more, and none will. */
void oxbpf_probes_unregister(struct oxbpf_probes *set)
{
	if (set->kps) {
		unregister_kprobes(set->kps, set->count);
		return;
	}
	/* It waits by itself, unless it finds nothing to do. */
	if (unregister_fprobe(&set->fp))
		synchronize_rcu();
}

void oxbpf_probes_free(struct oxbpf_probes *set)
{
	kvfree(set->kps);
	kvfree(set->probe);
	kvfree(set);
}

/* Hits that did not run the program, by whatever cause. */
unsigned long oxbpf_probes_missed(const struct oxbpf_probes *set)
{
	unsigned long sum = atomic_long_read(&set->missed) + READ_ONCE(set->fp.nmissed);
	unsigned int i;

	for (i = 0; set->kps && i < set->count; i++)
		sum += READ_ONCE(set->kps[i]->nmissed);
	return sum;
}

/* Little-endian bytes of ENDBR64, and of what the kernel may write over it. */
#define OXBPF_ENDBR		0xfa1e0ff3U
#define OXBPF_ENDBR_SEALED	0xd6401f0fU

/*
 * Where the probe of that number stands; 0 when there is none. A probe at a function's start counts
 * as at its symbol, though it stands behind the ENDBR there.
 */
unsigned long oxbpf_probes_addr(const struct oxbpf_probes *set, unsigned int index)
{
	unsigned long addr;
	u32 head;

	if (index >= set->count)
		return 0;
	if (set->kps) {
		addr = (unsigned long)set->kps[index]->addr;
		if (!(set->kps[index]->flags & KPROBE_FLAG_ON_FUNC_ENTRY))
			return addr;
	} else {
		addr = set->fp.hlist_array->array[index].addr;
	}
	if (!get_kernel_nofault(head, (u32 *)(addr - sizeof(head))) &&
	    (head == OXBPF_ENDBR || head == OXBPF_ENDBR_SEALED))
		addr -= sizeof(head);
	return addr;
}
