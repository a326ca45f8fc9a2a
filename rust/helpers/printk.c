// SPDX-License-Identifier: GPL-2.0
/*
 * trace_printk for programs: per-CPU text buffers, pointers, and a line in the trace buffer.
 */

#include <linux/ftrace.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/percpu.h>
#include <linux/string.h>

#define OXBPF_PRINTK_SCRATCH 512
#define OXBPF_PRINTK_TEXT 1024

/* rust/sys/printk.rs has the same struct. */
struct oxbpf_printk_buffers {
	char scratch[OXBPF_PRINTK_SCRATCH];
	/* Two more than what is formatted, for a newline and a NUL. */
	char text[OXBPF_PRINTK_TEXT + 2];
};

/* A task's program, one in a softirq and one in an interrupt can print at once on a CPU. */
#define OXBPF_PRINTK_NEST 3

struct oxbpf_printk_nest {
	struct oxbpf_printk_buffers level[OXBPF_PRINTK_NEST];
	unsigned int used;
};

static DEFINE_PER_CPU(struct oxbpf_printk_nest, oxbpf_printk_nest);

struct oxbpf_printk_buffers *oxbpf_printk_get(void);
void oxbpf_printk_put(void);
void oxbpf_printk_emit(struct oxbpf_printk_buffers *b, size_t len, unsigned long ip);
size_t oxbpf_printk_pointer(char *buf, size_t size, const char *fmt, unsigned long addr);

/* NULL when too many programs print at once on this CPU; else oxbpf_printk_put() follows. */
struct oxbpf_printk_buffers *oxbpf_printk_get(void)
{
	unsigned int n;

	preempt_disable();
	n = this_cpu_inc_return(oxbpf_printk_nest.used);
	if (unlikely(n > OXBPF_PRINTK_NEST)) {
		this_cpu_dec(oxbpf_printk_nest.used);
		preempt_enable();
		return NULL;
	}
	return this_cpu_ptr(&oxbpf_printk_nest.level[n - 1]);
}

void oxbpf_printk_put(void)
{
	this_cpu_dec(oxbpf_printk_nest.used);
	preempt_enable();
}

/* Writes the first len bytes of the text, or those before a NUL, as a line that ip said. */
void oxbpf_printk_emit(struct oxbpf_printk_buffers *b, size_t len, unsigned long ip)
{
	size_t end = strnlen(b->text, min_t(size_t, len, OXBPF_PRINTK_TEXT - 1));

	/* The in-tree event ends each line itself, also one that ends in a newline already. */
	b->text[end] = '\n';
	b->text[end + 1] = '\0';
	__trace_puts(ip ?: _THIS_IP_, b->text);
}

/* fmt has one conversion, for a pointer. Returns the length without cuts. */
size_t oxbpf_printk_pointer(char *buf, size_t size, const char *fmt, unsigned long addr)
{
	return snprintf(buf, size, fmt, (void *)addr);
}
