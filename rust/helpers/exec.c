// SPDX-License-Identifier: GPL-2.0
/*
 * Memory for machine code.
 */

#include <asm/set_memory.h>
#include <asm/text-patching.h>
#include <linux/execmem.h>
#include <linux/mutex.h>

#include "symbols.h"

void *oxbpf_exec_alloc(size_t size);
void oxbpf_exec_free(void *area);
int oxbpf_exec_protect(void *area, int pages);
bool oxbpf_text_copy(void *to, const void *from, size_t len);
bool oxbpf_text_fill(void *to, int byte, size_t len);
void oxbpf_text_poke(void *at, const void *insn, size_t len, unsigned long mutex);

OXBPF_UNEXPORTED(execmem_alloc);
OXBPF_UNEXPORTED(set_memory_rox);
OXBPF_UNEXPORTED(text_poke_copy);
OXBPF_UNEXPORTED(text_poke_set);

DEFINE_STATIC_CALL_NULL(oxbpf_execmem_free, execmem_free);
void oxbpf_bind_execmem_free(unsigned long addr);
void oxbpf_bind_execmem_free(unsigned long addr)
{
	static_call_update(oxbpf_execmem_free, (typeof(&execmem_free))addr);
}

DEFINE_STATIC_CALL_NULL(oxbpf_smp_text_poke_single, smp_text_poke_single);
void oxbpf_bind_smp_text_poke_single(unsigned long addr);
void oxbpf_bind_smp_text_poke_single(unsigned long addr)
{
	static_call_update(oxbpf_smp_text_poke_single, (typeof(&smp_text_poke_single))addr);
}

/*
 * Changes one instruction that other CPUs may be running: each sees the old one or the new one.
 * @mutex is the address of text_mutex. May sleep.
 */
void oxbpf_text_poke(void *at, const void *insn, size_t len, unsigned long mutex)
{
	mutex_lock((struct mutex *)mutex);
	static_call_cond(oxbpf_smp_text_poke_single)(at, insn, len, NULL);
	mutex_unlock((struct mutex *)mutex);
}

/* Near the kernel's text, writable, not executable. */
void *oxbpf_exec_alloc(size_t size)
{
	return static_call(oxbpf_execmem_alloc)(EXECMEM_BPF, size);
}

void oxbpf_exec_free(void *area)
{
	static_call_cond(oxbpf_execmem_free)(area);
}

/* Executable, and no longer writable. */
int oxbpf_exec_protect(void *area, int pages)
{
	return static_call(oxbpf_set_memory_rox)((unsigned long)area, pages);
}

/* Writes to executable memory through a mapping of its own, which no other CPU sees. */
bool oxbpf_text_copy(void *to, const void *from, size_t len)
{
	return static_call(oxbpf_text_poke_copy)(to, from, len);
}

bool oxbpf_text_fill(void *to, int byte, size_t len)
{
	return static_call(oxbpf_text_poke_set)(to, byte, len);
}
