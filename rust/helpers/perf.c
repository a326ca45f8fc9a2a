// SPDX-License-Identifier: GPL-2.0
/*
 * Programs at perf events: the kernel runs them where it runs those of bpf(2), through a stand-in.
 *
 * So what the program's result means for the event is the kernel's doing: 0 drops it, anything else
 * lets it be stored in the event's ring buffer.
 */

#include <linux/bpf.h>
#include <linux/file.h>
#include <linux/filter.h>
#include <linux/kprobes.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/perf_event.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/trace_events.h>

#include "hook.h"
#include "stand_in.h"
#include "symbols.h"

OXBPF_UNEXPORTED(perf_event_get);
OXBPF_UNEXPORTED(perf_event_set_bpf_prog);
OXBPF_UNEXPORTED_VOID(perf_event_free_bpf_prog);
OXBPF_UNEXPORTED(bpf_get_perf_event_info);
/* Arrays of perf events have it, too (perf_map.c). */
DECLARE_STATIC_CALL(oxbpf_perf_event_read_local, perf_event_read_local);

/* What is known of a program; rust/sys/perf.rs has the same struct. */
struct oxbpf_perf_prog {
	u32 type;
	u32 attach_type;
	/* It reads its context up to this byte. */
	u32 ctx_end;
	/* It asks for stack traces. */
	bool stacks;
	/* It goes on in other programs, whose contexts may be read further. */
	bool tail_calls;
	/* It asks which function it is at. */
	bool asks_func;
};

/* Where a link is attached; rust/sys/perf.rs has the same struct. */
struct oxbpf_perf_info {
	const char *name;
	u64 offset;
	u64 addr;
	u64 missed;
	u64 config;
	u32 event_type;
	/* enum bpf_task_fd_type */
	u32 fd_type;
};

struct oxbpf_perf {
	struct oxbpf_hook hook;
	struct bpf_prog *prog;
	u64 cookie;
	/* For programs that may read behind the event's record: a copy with room. */
	void __percpu *record;
	/* A link's: the event, kept open. */
	struct file *file;
	/* Others live as long as the event. */
	struct list_head list;
	struct perf_event *event;
	void (*destroy)(struct perf_event *event);
	void (*gone)(const void *data);
	struct rcu_head rcu;
};

struct oxbpf_perf *oxbpf_perf_attach(unsigned int fd, const struct oxbpf_perf_prog *facts,
				     u64 cookie, const struct oxbpf_hook *hook);
void oxbpf_perf_detach(struct oxbpf_perf *p);
int oxbpf_perf_give(struct oxbpf_perf *p, void (*gone)(const void *data));
int oxbpf_perf_info(const struct oxbpf_perf *p, struct oxbpf_perf_info *info);
void oxbpf_perf_exit(void);
u64 oxbpf_perf_prog_read_value(struct bpf_perf_event_data_kern *ctx,
			       struct bpf_perf_event_value *to, u64 size);

/* Bytes of the record that programs see at a system call's tracepoint. */
#define OXBPF_SYSCALL_RECORD	64
/* How far a program may read in a record; the kernel's buffer for records has as much. */
#define OXBPF_RECORD_MAX	PERF_MAX_TRACE_SIZE

static unsigned int oxbpf_perf_hit(const void *ctx, const struct bpf_insn *insn)
{
	struct oxbpf_perf *p = oxbpf_stand_in_data(insn);
	u64 ret = 0;

	/* At a system call's tracepoint and in a uprobe it is on. */
	preempt_disable_notrace();
	if (unlikely(p->record)) {
		/* A system call does not interrupt another. */
		void *record = this_cpu_ptr(p->record);

		memcpy(record, ctx, OXBPF_SYSCALL_RECORD);
		ctx = record;
	}
	if (!oxbpf_hook_run(&p->hook, ctx, p->cookie, OXBPF_IP_CURRENT, &ret))
		ret = 0;
	preempt_enable_notrace();
	return ret;
}
NOKPROBE_SYMBOL(oxbpf_perf_hit);

static void oxbpf_perf_free(struct oxbpf_perf *p)
{
	if (p->prog)
		bpf_prog_free(p->prog);
	free_percpu(p->record);
	kfree(p);
}

/*
 * Attaches to the perf event behind descriptor fd. The functions above must have been found. The
 * errors are those of the kernel for its own programs; -EOPNOTSUPP for what a program asks at an
 * event that has no answer.
 */
struct oxbpf_perf *oxbpf_perf_attach(unsigned int fd, const struct oxbpf_perf_prog *facts,
				     u64 cookie, const struct oxbpf_hook *hook)
{
	struct perf_event *event;
	struct oxbpf_perf *p;
	struct file *file;
	int err;

	file = static_call(oxbpf_perf_event_get)(fd);
	if (IS_ERR(file))
		return ERR_CAST(file);
	event = file->private_data;
	/* An inherited event would have the stand-in too, and for longer than it lives. */
	err = -EOPNOTSUPP;
	if (event->attr.inherit)
		goto put;
	err = -ENOMEM;
	p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	if (!p)
		goto put;
	INIT_LIST_HEAD(&p->list);
	p->hook = *hook;
	p->cookie = cookie;
	p->prog = oxbpf_stand_in(facts->type, oxbpf_perf_hit, p);
	if (!p->prog)
		goto free;
	p->prog->expected_attach_type = facts->attach_type;
	p->prog->call_get_stack = facts->stacks;
	p->prog->aux->max_ctx_offset = facts->ctx_end;
	if (event->tp_event) {
		const struct trace_event_call *call = event->tp_event;

		err = -EOPNOTSUPP;
		if (call->flags & TRACE_EVENT_FL_UPROBE && facts->asks_func)
			goto free;
		/* Those records lie on the stack; all others in a buffer that is large enough. */
		err = -ENOMEM;
		if (facts->tail_calls && facts->type == BPF_PROG_TYPE_TRACEPOINT &&
		    !strcmp(call->class->system, "syscalls")) {
			p->record = __alloc_percpu(OXBPF_RECORD_MAX, sizeof(u64));
			if (!p->record)
				goto free;
		}
	}
	err = static_call(oxbpf_perf_event_set_bpf_prog)(event, p->prog, cookie);
	if (err)
		goto free;
	p->file = file;
	p->event = event;
	return p;
free:
	oxbpf_perf_free(p);
put:
	fput(file);
	return ERR_PTR(err);
}

/* For what is not given away. When it returns the program runs no more there, and never will. */
void oxbpf_perf_detach(struct oxbpf_perf *p)
{
	static_call_cond(oxbpf_perf_event_free_bpf_prog)(p->event);
	synchronize_rcu();
	fput(p->file);
	oxbpf_perf_free(p);
}

/* What is given to its event. */
static LIST_HEAD(oxbpf_perf_given);
static DEFINE_MUTEX(oxbpf_perf_mutex);

static void oxbpf_perf_gone(struct rcu_head *rcu)
{
	struct oxbpf_perf *p = container_of(rcu, struct oxbpf_perf, rcu);

	p->gone(p->hook.data);
	oxbpf_perf_free(p);
	module_put(THIS_MODULE);
}

/*
 * The event ends, and with it what it was given. The kernel has taken the stand-in off; who is in it
 * still, and who is in this function, is waited for.
 */
static void oxbpf_perf_destroy(struct perf_event *event)
{
	struct oxbpf_perf *p, *found = NULL;

	mutex_lock(&oxbpf_perf_mutex);
	list_for_each_entry(p, &oxbpf_perf_given, list)
		if (p->event == event)
			found = p;
	if (found)
		list_del_init(&found->list);
	mutex_unlock(&oxbpf_perf_mutex);
	if (WARN_ON_ONCE(!found))
		return;
	event->destroy = found->destroy;
	if (found->destroy)
		found->destroy(event);
	call_rcu_tasks(&found->rcu, oxbpf_perf_gone);
}

/*
 * Gives it to its event: from now on it ends with that, and gone is called with the hook's data when
 * nobody can be in the program any more. The event can have only one, for only one is attached.
 */
int oxbpf_perf_give(struct oxbpf_perf *p, void (*gone)(const void *data))
{
	struct file *file = p->file;

	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	p->gone = gone;
	p->file = NULL;
	mutex_lock(&oxbpf_perf_mutex);
	p->destroy = p->event->destroy;
	list_add(&p->list, &oxbpf_perf_given);
	/* The file keeps the event from ending meanwhile. */
	p->event->destroy = oxbpf_perf_destroy;
	mutex_unlock(&oxbpf_perf_mutex);
	fput(file);
	return 0;
}

/* Where a link is. -EOPNOTSUPP for an event that is no tracing event; then config is set all the same. */
int oxbpf_perf_info(const struct oxbpf_perf *p, struct oxbpf_perf_info *info)
{
	unsigned long missed = 0;
	u32 id;
	int err;

	info->event_type = p->event->attr.type;
	info->config = p->event->attr.config;
	err = static_call(oxbpf_bpf_get_perf_event_info)(p->event, &id, &info->fd_type, &info->name,
							 &info->offset, &info->addr, &missed);
	info->missed = missed;
	return err;
}

/* When it returns nobody runs oxbpf_perf_gone(). */
void oxbpf_perf_exit(void)
{
	rcu_barrier_tasks();
}

/* What the event that the program runs for has counted, and for how long. Any context. */
u64 oxbpf_perf_prog_read_value(struct bpf_perf_event_data_kern *ctx,
			       struct bpf_perf_event_value *to, u64 size)
{
	int err = -EINVAL;

	if (likely(size == sizeof(*to))) {
		err = -EOPNOTSUPP;
		if (OXBPF_FOUND(perf_event_read_local))
			err = static_call(oxbpf_perf_event_read_local)(ctx->event, &to->counter,
								       &to->enabled, &to->running);
	}
	if (unlikely(err))
		memset(to, 0, size);
	return err;
}
