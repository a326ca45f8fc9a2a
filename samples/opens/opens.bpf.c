// SPDX-License-Identifier: GPL-2.0
/*
 * Counts file opens per process name, and how large the opened files are.
 *
 * Runs at the entry of vfs_open(const struct path *path, struct file *file), through which every
 * open of a file goes. The same object is loaded into oxbpf and into the kernel's own bpf(2).
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "opens.h"

/* The few fields that are read; user space moves the offsets to the running kernel's (CO-RE). */
struct inode {
	long long i_size;
} __attribute__((preserve_access_index));

struct dentry {
	struct inode *d_inode;
} __attribute__((preserve_access_index));

struct path {
	struct dentry *dentry;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct process);
	__type(value, struct usage);
} processes SEC(".maps");

/* sizes[n]: opens of files of 2^(n-1) to 2^n - 1 bytes; sizes[0]: of empty ones */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SIZE_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} sizes SEC(".maps");

/* bits needed to write x, 0 to 63 */
static __always_inline __u32 bit_length(__u64 x)
{
	__u32 n = 0;

	if (x >> 32) {
		n += 32;
		x >>= 32;
	}
	if (x >> 16) {
		n += 16;
		x >>= 16;
	}
	if (x >> 8) {
		n += 8;
		x >>= 8;
	}
	if (x >> 4) {
		n += 4;
		x >>= 4;
	}
	if (x >> 2) {
		n += 2;
		x >>= 2;
	}
	if (x >> 1) {
		n += 1;
		x >>= 1;
	}
	return n + (x & 1);
}

SEC("kprobe")
int count_open(struct pt_regs *ctx)
{
	const struct path *path = (const struct path *)PT_REGS_PARM1(ctx);
	struct process process = {};
	struct usage first = {};
	struct usage *usage;
	__u64 *opens;
	__u64 size;
	__u32 slot;

	size = (__u64)BPF_CORE_READ(path, dentry, d_inode, i_size);
	bpf_get_current_comm(process.name, sizeof(process.name));

	usage = bpf_map_lookup_elem(&processes, &process);
	if (!usage) {
		bpf_map_update_elem(&processes, &process, &first, BPF_NOEXIST);
		usage = bpf_map_lookup_elem(&processes, &process);
		if (!usage)
			return 0;
	}
	__sync_fetch_and_add(&usage->opens, 1);
	__sync_fetch_and_add(&usage->bytes, size);

	slot = bit_length(size);
	if (slot >= SIZE_SLOTS)
		slot = SIZE_SLOTS - 1;
	opens = bpf_map_lookup_elem(&sizes, &slot);
	if (opens)
		__sync_fetch_and_add(opens, 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
