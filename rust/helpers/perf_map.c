// SPDX-License-Identifier: GPL-2.0
/*
 * Perf events in maps: what programs write to, and counters that they read.
 */

#include <linux/file.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/rcupdate.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include "symbols.h"
#include "xdp.h"

/* An event in a map. Programs that found it may use it until the end of their grace period. */
struct oxbpf_held_event {
	struct perf_event *event;
	struct file *file;
	struct rcu_head rcu;
};

/* How much of which packet goes with a record; rust/sys/perf_map.rs has the same struct. */
struct oxbpf_event_packet {
	/* struct sk_buff, or struct xdp_buff with xdp set. */
	void *packet;
	u32 size;
	bool xdp;
};

struct oxbpf_held_event *oxbpf_held_event_get(int fd);
void oxbpf_held_event_put(struct oxbpf_held_event *e);
long oxbpf_held_event_output(struct oxbpf_held_event *e, struct pt_regs *regs,
			     const struct oxbpf_event_packet *packet, const void *data, u64 size);
int oxbpf_held_event_read(struct oxbpf_held_event *e, u64 *counter, u64 *enabled, u64 *running);
u32 oxbpf_skb_size(const struct sk_buff *skb);
u32 oxbpf_xdp_size(const struct xdp_buff *xdp);

/* Links to perf events have it, too (perf.c). */
DECLARE_STATIC_CALL(oxbpf_perf_event_get, perf_event_get);
OXBPF_UNEXPORTED(perf_event_output);
OXBPF_UNEXPORTED(perf_event_read_local);

/* A record's size is a 16-bit number, which counts what else the event wants in it. */
#define OXBPF_RAW_MAX (60u << 10)

/* Task, softirq, hardirq, NMI: one of each kind on a CPU. */
#define OXBPF_SAMPLES 4

struct oxbpf_samples {
	struct perf_sample_data data[OXBPF_SAMPLES];
	struct pt_regs regs[OXBPF_SAMPLES];
	int used;
};

static DEFINE_PER_CPU(struct oxbpf_samples, oxbpf_samples);

struct oxbpf_held_event *oxbpf_held_event_get(int fd)
{
	struct oxbpf_held_event *e;
	struct file *file;
	u64 value;

	file = static_call(oxbpf_perf_event_get)(fd);
	if (IS_ERR(file))
		return ERR_CAST(file);
	/* Whatever else it answers depends on who asks, and where. */
	if (static_call(oxbpf_perf_event_read_local)(file->private_data, &value, NULL, NULL) ==
	    -EOPNOTSUPP) {
		fput(file);
		return ERR_PTR(-EOPNOTSUPP);
	}
	e = kzalloc(sizeof(*e), GFP_KERNEL_ACCOUNT);
	if (!e) {
		fput(file);
		return ERR_PTR(-ENOMEM);
	}
	e->event = file->private_data;
	e->file = file;
	return e;
}

static void oxbpf_held_event_free(struct rcu_head *rcu)
{
	struct oxbpf_held_event *e = container_of(rcu, struct oxbpf_held_event, rcu);

	fput(e->file);
	kfree(e);
}

/* It is in no map any more. */
void oxbpf_held_event_put(struct oxbpf_held_event *e)
{
	call_rcu(&e->rcu, oxbpf_held_event_free);
}

static unsigned long oxbpf_held_event_copy_skb(void *to, const void *skb, unsigned long off,
					  unsigned long len)
{
	return skb_copy_bits(skb, off, to, len) ? len : 0;
}

static unsigned long oxbpf_held_event_copy_xdp(void *to, const void *xdp, unsigned long off,
					  unsigned long len)
{
	oxbpf_xdp_copy(xdp, off, to, len, false);
	return 0;
}

/*
 * Writes a record of size bytes at data, and the first bytes of the packet behind them. The
 * registers are those of the caller if none are given. With preemption off, in any context.
 */
long oxbpf_held_event_output(struct oxbpf_held_event *e, struct pt_regs *regs,
			     const struct oxbpf_event_packet *packet, const void *data, u64 size)
{
	struct perf_raw_frag more = {
		.copy = packet->xdp ? oxbpf_held_event_copy_xdp : oxbpf_held_event_copy_skb,
		.data = packet->packet,
		.size = packet->size,
	};
	struct perf_raw_record raw = { };
	struct oxbpf_samples *samples = this_cpu_ptr(&oxbpf_samples);
	struct perf_event *event = e->event;
	struct perf_sample_data *sample;
	long err = -EBUSY;
	int n;

	if (event->attr.type != PERF_TYPE_SOFTWARE ||
	    event->attr.config != PERF_COUNT_SW_BPF_OUTPUT)
		return -EINVAL;
	if (READ_ONCE(event->oncpu) != smp_processor_id())
		return -EOPNOTSUPP;
	if (size > OXBPF_RAW_MAX || packet->size > OXBPF_RAW_MAX - size)
		return -E2BIG;

	raw.frag.size = size;
	raw.frag.data = (void *)data;
	if (packet->size)
		raw.frag.next = &more;
	/* Who interrupts gives back before the one that was interrupted goes on. */
	n = samples->used++;
	barrier();
	if (n < OXBPF_SAMPLES) {
		sample = &samples->data[n];
		if (!regs) {
			regs = &samples->regs[n];
			perf_fetch_caller_regs(regs);
		}
		perf_sample_data_init(sample, 0, 0);
		perf_sample_save_raw_data(sample, event, &raw);
		err = static_call(oxbpf_perf_event_output)(event, sample, regs);
	}
	barrier();
	samples->used--;
	return err;
}

/* With preemption off, in any context. */
int oxbpf_held_event_read(struct oxbpf_held_event *e, u64 *counter, u64 *enabled, u64 *running)
{
	return static_call(oxbpf_perf_event_read_local)(e->event, counter, enabled, running);
}

u32 oxbpf_skb_size(const struct sk_buff *skb)
{
	return skb->len;
}

u32 oxbpf_xdp_size(const struct xdp_buff *xdp)
{
	return xdp_get_buff_len(xdp);
}
