// SPDX-License-Identifier: GPL-2.0
/*
 * Writes numbered records into a ring buffer: by output, reserved, and some that are discarded.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct record {
	__u64 number;
	__u64 square;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} count SEC(".maps");

SEC("socket")
int records(struct __sk_buff *skb)
{
	struct record *reserved, here;
	__u32 zero = 0;
	__u64 *n;

	n = bpf_map_lookup_elem(&count, &zero);
	if (!n)
		return 1;
	if (*n & 1) {
		here.number = *n;
		here.square = *n * *n;
		if (bpf_ringbuf_output(&ring, &here, sizeof(here), 0))
			return 2;
	} else {
		reserved = bpf_ringbuf_reserve(&ring, sizeof(*reserved), 0);
		if (!reserved)
			return 2;
		reserved->number = *n;
		reserved->square = *n * *n;
		if (*n % 10 == 4)
			bpf_ringbuf_discard(reserved, 0);
		else
			bpf_ringbuf_submit(reserved, 0);
	}
	*n += 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
