/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel functions that are not exported to modules.
 *
 * OXBPF_UNEXPORTED(f) defines a static call of f's type that returns 0 until oxbpf_bind_f(address)
 * points it at the function. A static call becomes a direct call in the text: an entry without
 * ENDBR (sealed by the kernel, because nothing calls it through a pointer) can be reached that way
 * with IBT on, and no retpoline is needed. Rust calls the bind functions with what kallsyms says,
 * and looks whether that was done before it relies on a result.
 */
#ifndef OXBPF_HELPERS_SYMBOLS_H
#define OXBPF_HELPERS_SYMBOLS_H

#include <linux/static_call.h>

#define OXBPF_BIND(f)							\
	void oxbpf_bind_##f(unsigned long addr);			\
	void oxbpf_bind_##f(unsigned long addr)				\
	{								\
		static_call_update(oxbpf_##f, (typeof(&f))addr);	\
	}								\
	void oxbpf_bind_##f(unsigned long addr)

#define OXBPF_UNEXPORTED(f)						\
	DEFINE_STATIC_CALL_RET0(oxbpf_##f, f);				\
	OXBPF_BIND(f)

/* The same for functions without a result. */
#define OXBPF_UNEXPORTED_VOID(f)					\
	DEFINE_STATIC_CALL_NULL(oxbpf_##f, f);				\
	OXBPF_BIND(f)

/* Whether the function was found. */
#define OXBPF_FOUND(f)								\
	((void *)static_call_query(oxbpf_##f) != (void *)&__static_call_return0)
#define OXBPF_FOUND_VOID(f)	(static_call_query(oxbpf_##f) != NULL)

#endif
