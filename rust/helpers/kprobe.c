// SPDX-License-Identifier: GPL-2.0
/*
 * Sets of probes that share one handler: a kprobe where one place is wanted or the place is inside
 * a function, one fprobe where it is the entry of many functions or the return from any.
 */

#include <linux/atomic.h>
#include <linux/bsearch.h>
#include <linux/fprobe.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "hook.h"

/* Where a probe goes: at addr, or when there is a symbol, so many bytes behind it. */
struct oxbpf_target {
	const char *symbol;
	unsigned int offset;
	unsigned long addr;
	u64 cookie;
};

/* What ftrace knows a function by, and the cookie there. */
struct oxbpf_cookie {
	unsigned long addr;
	u64 cookie;
};

struct oxbpf_kprobe {
	struct oxbpf_probes *set;
	u64 cookie;
	struct kprobe kp;
};

struct oxbpf_probes {
	struct oxbpf_hook hook;
	/* Hits for which nothing was run because something of ours ran already on that CPU. */
	atomic_long_t missed;
	bool is_return;
	bool has_cookies;
	/* For an fprobe with cookies, by address; until it is there no program runs. */
	struct oxbpf_cookie *cookies;
	/* Once registered: either the fprobe, or size kprobes and their addresses. */
	struct fprobe fp;
	struct oxbpf_kprobe *probe;
	struct kprobe **kps;
	/* How many of the size targets there are. */
	unsigned int count;
	unsigned int size;
	struct oxbpf_target target[] __counted_by(size);
};

struct oxbpf_probes *oxbpf_probes_alloc(unsigned int size, bool is_return, bool has_cookies,
					const struct oxbpf_hook *hook);
int oxbpf_probes_add(struct oxbpf_probes *set, const char *symbol, unsigned int offset,
		     unsigned long addr, u64 cookie);
int oxbpf_probes_register(struct oxbpf_probes *set);
void oxbpf_probes_unregister(struct oxbpf_probes *set);
void oxbpf_probes_free(struct oxbpf_probes *set);
unsigned long oxbpf_probes_missed(const struct oxbpf_probes *set);
unsigned long oxbpf_probes_addr(const struct oxbpf_probes *set, unsigned int index);
u64 oxbpf_probes_cookie(const struct oxbpf_probes *set, unsigned int index);
u64 oxbpf_event_cookie(void);
u64 oxbpf_event_func(void);

/* An fprobe allocates its list as one piece, which the page allocator must be able to give. */
#define OXBPF_FPROBE_MAX (KMALLOC_MAX_SIZE / sizeof(struct fprobe_hlist_node) - 64)

/* Kprobes are put in one by one, and nothing can stop that: so many take some seconds. */
#define OXBPF_KPROBES_MAX 4096

/* By itself, so that a hit has nothing to save for it. */
static noinline notrace void oxbpf_probe_missed(struct oxbpf_probes *set)
{
	set->hook.miss(set->hook.data);
	atomic_long_inc(&set->missed);
}
NOKPROBE_SYMBOL(oxbpf_probe_missed);

/*
 * Runs with preemption off, as all these probes do: ftrace and jump-optimised kprobes turn it off,
 * a breakpoint turns interrupts off.
 */
static __always_inline void oxbpf_probe_run(struct oxbpf_probes *set, struct pt_regs *regs,
					    u64 cookie, unsigned long ip)
{
	u64 ret;

	if (unlikely(!oxbpf_hook_try(&set->hook, regs, cookie, ip, &ret)))
		oxbpf_probe_missed(set);
}

static int notrace oxbpf_kprobe_hit(struct kprobe *kp, struct pt_regs *regs)
{
	struct oxbpf_kprobe *p = container_of(kp, struct oxbpf_kprobe, kp);

	oxbpf_probe_run(p->set, regs, p->cookie, OXBPF_IP_CURRENT);
	return 0;
}
NOKPROBE_SYMBOL(oxbpf_kprobe_hit);

static int oxbpf_cookie_cmp(const void *a, const void *b)
{
	const struct oxbpf_cookie *x = a, *y = b;

	if (x->addr == y->addr)
		return 0;
	return x->addr < y->addr ? -1 : 1;
}
NOKPROBE_SYMBOL(oxbpf_cookie_cmp);

static __always_inline void oxbpf_fprobe_hit(struct fprobe *fp, unsigned long ip,
					     struct ftrace_regs *fregs)
{
	struct oxbpf_probes *set = container_of(fp, struct oxbpf_probes, fp);
	struct oxbpf_cookie key = { .addr = ip };

	if (set->has_cookies) {
		/* Pairs with the store when all places are known. */
		const struct oxbpf_cookie *cookies = smp_load_acquire(&set->cookies), *at;

		if (unlikely(!cookies))
			return;
		at = __inline_bsearch(&key, cookies, set->count, sizeof(key), oxbpf_cookie_cmp);
		if (likely(at))
			key.cookie = at->cookie;
	}
	oxbpf_probe_run(set, ftrace_partial_regs(fregs, NULL), key.cookie, ip);
}

static int notrace oxbpf_fprobe_entry(struct fprobe *fp, unsigned long entry_ip,
				      unsigned long ret_ip, struct ftrace_regs *fregs,
				      void *entry_data)
{
	oxbpf_fprobe_hit(fp, entry_ip, fregs);
	return 0;
}
NOKPROBE_SYMBOL(oxbpf_fprobe_entry);

static void notrace oxbpf_fprobe_exit(struct fprobe *fp, unsigned long entry_ip,
				      unsigned long ret_ip, struct ftrace_regs *fregs,
				      void *entry_data)
{
	oxbpf_fprobe_hit(fp, entry_ip, fregs);
}
NOKPROBE_SYMBOL(oxbpf_fprobe_exit);

struct oxbpf_probes *oxbpf_probes_alloc(unsigned int size, bool is_return, bool has_cookies,
					const struct oxbpf_hook *hook)
{
	struct oxbpf_probes *set = kvzalloc(struct_size(set, target, size), GFP_KERNEL_ACCOUNT);

	if (!set)
		return NULL;
	set->size = size;
	set->is_return = is_return;
	set->has_cookies = has_cookies;
	set->hook = *hook;
	return set;
}

/* The symbol's text must outlive the set. */
int oxbpf_probes_add(struct oxbpf_probes *set, const char *symbol, unsigned int offset,
		     unsigned long addr, u64 cookie)
{
	if (set->count >= set->size)
		return -E2BIG;
	set->target[set->count] = (struct oxbpf_target) {
		.symbol = symbol,
		.offset = offset,
		.addr = symbol ? 0 : addr,
		.cookie = cookie,
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

static int oxbpf_target_cmp(const void *a, const void *b)
{
	const struct oxbpf_target *x = a, *y = b;

	return strcmp(x->symbol, y->symbol);
}

/* The cookies in the order of the addresses that the fprobe has. */
static struct oxbpf_cookie *oxbpf_probes_sort_cookies(const struct oxbpf_probes *set,
						      struct oxbpf_cookie *cookies)
{
	unsigned int i;

	for (i = 0; i < set->count; i++) {
		cookies[i].addr = set->fp.hlist_array->array[i].addr;
		cookies[i].cookie = set->target[i].cookie;
	}
	sort(cookies, set->count, sizeof(*cookies), oxbpf_cookie_cmp, NULL);
	return cookies;
}

static int oxbpf_probes_register_fprobe(struct oxbpf_probes *set)
{
	struct oxbpf_cookie *cookies = NULL;
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
	if (set->has_cookies) {
		cookies = kvmalloc_array(set->count, sizeof(*cookies), GFP_KERNEL_ACCOUNT);
		if (!cookies)
			return -ENOMEM;
		/* Registering sorts the names. */
		if (set->target[0].symbol)
			sort(set->target, set->count, sizeof(set->target[0]), oxbpf_target_cmp,
			     NULL);
	}
	addrs = kvmalloc_array(set->count, sizeof(*addrs), GFP_KERNEL);
	if (!addrs) {
		kvfree(cookies);
		return -ENOMEM;
	}
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
	if (err)
		kvfree(cookies);
	else if (cookies)
		smp_store_release(&set->cookies, oxbpf_probes_sort_cookies(set, cookies));
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
		p->cookie = t->cookie;
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
	kvfree(set->cookies);
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

/* The address of the function at whose start there is a probe at that one. */
static unsigned long oxbpf_function_at(unsigned long addr)
{
	u32 head;

	if (!get_kernel_nofault(head, (u32 *)(addr - sizeof(head))) &&
	    (head == OXBPF_ENDBR || head == OXBPF_ENDBR_SEALED))
		addr -= sizeof(head);
	return addr;
}

/*
 * Where the probe of that number stands; 0 when there is none. A probe at a function's start counts
 * as at its symbol, though it stands behind the ENDBR there.
 */
unsigned long oxbpf_probes_addr(const struct oxbpf_probes *set, unsigned int index)
{
	unsigned long addr;

	if (index >= set->count)
		return 0;
	if (set->kps) {
		addr = (unsigned long)set->kps[index]->addr;
		if (!(set->kps[index]->flags & KPROBE_FLAG_ON_FUNC_ENTRY))
			return addr;
	} else if (set->cookies) {
		addr = set->cookies[index].addr;
	} else {
		addr = set->fp.hlist_array->array[index].addr;
	}
	return oxbpf_function_at(addr);
}

/* Its cookie. */
u64 oxbpf_probes_cookie(const struct oxbpf_probes *set, unsigned int index)
{
	if (index >= set->count)
		return 0;
	if (set->kps)
		return set->probe[index].cookie;
	return set->cookies ? set->cookies[index].cookie : 0;
}

/* What the event of the running program was attached with. */
u64 oxbpf_event_cookie(void)
{
	return this_cpu_read(oxbpf_event.cookie);
}

/* The kernel's per-CPU variable, or NULL. */
static struct kprobe * __percpu *oxbpf_current_kprobe;

void oxbpf_bind_current_kprobe(unsigned long addr);
void oxbpf_bind_current_kprobe(unsigned long addr)
{
	oxbpf_current_kprobe = (struct kprobe * __percpu *)addr;
}

/* The function at whose start the running program's event is, or 0. */
u64 oxbpf_event_func(void)
{
	unsigned long ip = this_cpu_read(oxbpf_event.ip);
	const struct kprobe *kp;

	if (ip == OXBPF_IP_CURRENT) {
		kp = oxbpf_current_kprobe ? this_cpu_read(*oxbpf_current_kprobe) : NULL;
		if (!kp || !(kp->flags & KPROBE_FLAG_ON_FUNC_ENTRY))
			return 0;
		ip = (unsigned long)kp->addr;
	}
	return ip ? oxbpf_function_at(ip) : 0;
}
