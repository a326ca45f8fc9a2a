// SPDX-License-Identifier: GPL-2.0
/*
 * Ids of objects, and where their release runs.
 */

#include <linux/refcount.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

int oxbpf_id_alloc(unsigned int kind, void *object);
void oxbpf_id_free(unsigned int kind, u32 id);
void *oxbpf_id_get(unsigned int kind, u32 id);
bool oxbpf_id_next(unsigned int kind, u32 *id);
int oxbpf_release_init(void);
void oxbpf_release_exit(void);
void oxbpf_release_flush(void);
void oxbpf_release_queue(struct work_struct *work, work_func_t func);

#define OXBPF_KINDS	4

struct oxbpf_ids {
	struct xarray objects;
	u32 next;
};

#define OXBPF_IDS_INIT(n)						\
	{ .objects = XARRAY_INIT(oxbpf_ids[n].objects,			\
				 XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ) }

static struct oxbpf_ids oxbpf_ids[OXBPF_KINDS] = {
	OXBPF_IDS_INIT(0), OXBPF_IDS_INIT(1), OXBPF_IDS_INIT(2),
	OXBPF_IDS_INIT(3),
};

static struct workqueue_struct *oxbpf_wq;

/*
 * Gives @object, whose first field is its refcount_t, a number from 1 to INT_MAX - 1 that was not
 * used for long. Returns it, or a negative errno.
 */
int oxbpf_id_alloc(unsigned int kind, void *object)
{
	struct oxbpf_ids *ids = &oxbpf_ids[kind];
	u32 id;
	int err;

	err = xa_alloc_cyclic_irq(&ids->objects, &id, object,
				  XA_LIMIT(1, INT_MAX - 1), &ids->next,
				  GFP_KERNEL_ACCOUNT);
	if (err < 0)
		return err == -EBUSY ? -ENOSPC : err;
	return id;
}

/* From then on nobody gets the object by @id. Any context. */
void oxbpf_id_free(unsigned int kind, u32 id)
{
	struct oxbpf_ids *ids = &oxbpf_ids[kind];
	unsigned long flags;

	xa_lock_irqsave(&ids->objects, flags);
	__xa_erase(&ids->objects, id);
	xa_unlock_irqrestore(&ids->objects, flags);
}

/* The object with a reference for the caller, or NULL when there is none or it is on its way out. */
void *oxbpf_id_get(unsigned int kind, u32 id)
{
	struct oxbpf_ids *ids = &oxbpf_ids[kind];
	unsigned long flags;
	void *object;

	xa_lock_irqsave(&ids->objects, flags);
	object = xa_load(&ids->objects, id);
	if (object && !refcount_inc_not_zero((refcount_t *)object))
		object = NULL;
	xa_unlock_irqrestore(&ids->objects, flags);
	return object;
}

/* The smallest id in use that is at least *@id. */
bool oxbpf_id_next(unsigned int kind, u32 *id)
{
	unsigned long index = *id;

	if (!xa_find(&oxbpf_ids[kind].objects, &index, INT_MAX - 1, XA_PRESENT))
		return false;
	*id = index;
	return true;
}

int oxbpf_release_init(void)
{
	oxbpf_wq = alloc_workqueue("oxbpf", WQ_UNBOUND, 0);
	return oxbpf_wq ? 0 : -ENOMEM;
}

void oxbpf_release_exit(void)
{
	unsigned int kind;

	destroy_workqueue(oxbpf_wq);
	for (kind = 0; kind < OXBPF_KINDS; kind++)
		xa_destroy(&oxbpf_ids[kind].objects);
}

void oxbpf_release_flush(void)
{
	flush_workqueue(oxbpf_wq);
}

/* Runs @func(@work) where it may sleep. Any context. */
void oxbpf_release_queue(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
	queue_work(oxbpf_wq, work);
}
