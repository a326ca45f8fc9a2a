// SPDX-License-Identifier: GPL-2.0
/*
 * Finding kernel symbols that are not exported to modules.
 */

#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/uaccess.h>

#include "symbols.h"

unsigned long oxbpf_lookup_init(void);
unsigned long oxbpf_lookup(const char *name);

OXBPF_UNEXPORTED(kallsyms_lookup_name);

/* Little-endian bytes of ENDBR64, and of what the kernel writes over it in a function that
 * nothing calls through a pointer.
 */
#define OXBPF_ENDBR		0xfa1e0ff3U
#define OXBPF_ENDBR_SEALED	0xd6401f0fU

/*
 * Finds kallsyms_lookup_name by the address that a kprobe on it gets. Returns 0 and leaves
 * oxbpf_lookup() answering 0 when that does not work.
 */
unsigned long oxbpf_lookup_init(void)
{
	static const char self[] = "kallsyms_lookup_name";
	struct kprobe kp = { .symbol_name = self };
	unsigned long addr;
	u32 head;

	if (register_kprobe(&kp))
		return 0;
	addr = (unsigned long)kp.addr;
	unregister_kprobe(&kp);

	/* A probe at a function's start is put behind its ENDBR. */
	if (!get_kernel_nofault(head, (u32 *)(addr - 4)) &&
	    (head == OXBPF_ENDBR || head == OXBPF_ENDBR_SEALED))
		addr -= 4;

	oxbpf_bind_kallsyms_lookup_name(addr);
	return addr;
}

unsigned long oxbpf_lookup(const char *name)
{
	return static_call(oxbpf_kallsyms_lookup_name)(name);
}
