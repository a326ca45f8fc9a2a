// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a ring buffer: a page of the kernel's own, the consumer's page, the producer's page,
 * then the data, mapped twice in a row so that a record that wraps round is in one piece. And what
 * waits for records.
 */

#include <linux/irq_work.h>
#include <linux/kmemleak.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>

/* Starts the first page. Rust knows the first member. */
struct oxbpf_ring {
	u64 size;
	struct page **pages;
	unsigned int count;
	wait_queue_head_t wait;
	struct irq_work work;
};

/* The kernel's page, the consumer's and the producer's. */
#define OXBPF_RING_META	3

struct oxbpf_ring *oxbpf_ring_alloc(size_t size, int node);
void oxbpf_ring_free(struct oxbpf_ring *ring);
void oxbpf_ring_wake(struct oxbpf_ring *ring);
void oxbpf_ring_wait(struct oxbpf_ring *ring, struct file *file, struct poll_table_struct *table);

/* Interrupts are on or off, the lock of the queue is the kernel's: that is why it is deferred to here. */
static void oxbpf_ring_notify(struct irq_work *work)
{
	wake_up_all(&container_of(work, struct oxbpf_ring, work)->wait);
}

/*
 * @size bytes of data, a power of two and whole pages, charged to the current cgroup. NULL when there
 * is not so much memory. May sleep.
 */
struct oxbpf_ring *oxbpf_ring_alloc(size_t size, int node)
{
	const gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;
	unsigned int data = size >> PAGE_SHIFT, count = OXBPF_RING_META + data, n;
	struct oxbpf_ring *ring = NULL;
	struct page **pages;

	pages = kvmalloc_node((size_t)(count + data) * sizeof(*pages), gfp, node);
	if (!pages)
		return NULL;
	for (n = 0; n < count; n++) {
		pages[n] = alloc_pages_node(node, gfp | __GFP_ZERO, 0);
		if (!pages[n])
			goto fail;
		if (n >= OXBPF_RING_META)
			pages[n + data] = pages[n];
	}
	ring = vmap(pages, count + data, VM_MAP | VM_USERMAP, PAGE_KERNEL);
	if (!ring)
		goto fail;
	BUILD_BUG_ON(sizeof(*ring) > PAGE_SIZE);
	/* The only pointer to them is where kmemleak does not look. */
	kmemleak_not_leak(pages);
	ring->size = size;
	ring->pages = pages;
	ring->count = count;
	init_waitqueue_head(&ring->wait);
	init_irq_work(&ring->work, oxbpf_ring_notify);
	return ring;
fail:
	while (n--)
		__free_page(pages[n]);
	kvfree(pages);
	return NULL;
}

/* Nobody has it mapped, waits for it, or can write a record. May sleep. */
void oxbpf_ring_free(struct oxbpf_ring *ring)
{
	struct page **pages = ring->pages;
	unsigned int n = ring->count;

	irq_work_sync(&ring->work);
	vunmap(ring);
	while (n--)
		__free_page(pages[n]);
	kvfree(pages);
}

/* Wakes who waits. Any context. */
void oxbpf_ring_wake(struct oxbpf_ring *ring)
{
	irq_work_queue(&ring->work);
}

/* Lets poll(2) wait for it. */
void oxbpf_ring_wait(struct oxbpf_ring *ring, struct file *file, struct poll_table_struct *table)
{
	poll_wait(file, &ring->wait, table);
}
