// SPDX-License-Identifier: GPL-2.0
/*
 * Names of machine code in the kernel's symbol table, beside those of in-tree programs.
 */

#include <linux/bpf.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "symbols.h"

void *oxbpf_ksym_add(unsigned long start, unsigned long len, const char *name);
void oxbpf_ksym_del(void *symbol);

struct oxbpf_ksym {
	struct bpf_ksym ksym;
	struct rcu_head rcu;
};

OXBPF_UNEXPORTED_VOID(bpf_ksym_add);
OXBPF_UNEXPORTED_VOID(bpf_ksym_del);

/*
 * Names the code from @start on. Both functions above must have been found. May sleep; returns NULL
 * when there is no memory. That it is no in-tree program's code stands in ->prog, which is false:
 * nobody looks for a struct bpf_prog around it.
 */
void *oxbpf_ksym_add(unsigned long start, unsigned long len, const char *name)
{
	struct oxbpf_ksym *symbol = kzalloc(sizeof(*symbol), GFP_KERNEL_ACCOUNT);

	if (!symbol)
		return NULL;
	symbol->ksym.start = start;
	symbol->ksym.end = start + len;
	strscpy(symbol->ksym.name, name, sizeof(symbol->ksym.name));
	INIT_LIST_HEAD(&symbol->ksym.lnode);
	static_call_cond(oxbpf_bpf_ksym_add)(&symbol->ksym);
	return symbol;
}

/* Who reads the table under RCU may still hold the symbol, so its memory stays a while. */
void oxbpf_ksym_del(void *ptr)
{
	struct oxbpf_ksym *symbol = ptr;

	static_call_cond(oxbpf_bpf_ksym_del)(&symbol->ksym);
	kfree_rcu(symbol, rcu);
}
