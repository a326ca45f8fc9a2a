// SPDX-License-Identifier: GPL-2.0

/* Programs for tests/objects.rs: two that are right, and mistakes that people make. */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

const volatile __u32 limit = 8;

SEC("socket")
int count(struct __sk_buff *skb)
{
	__u32 key = skb->protocol;
	__u64 *value = bpf_map_lookup_elem(&counts, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
	return 0;
}

/* The limit is in a frozen map: the loop is that long, and ends. */
SEC("socket")
int sum(struct __sk_buff *skb)
{
	__u32 all = 0;

	for (__u32 i = 0; i < limit; i++)
		all = all * 31 + (skb->mark ^ i);
	return all;
}

SEC("socket")
int no_null_test(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&counts, &key);

	return *value;
}

SEC("xdp")
int too_short(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)eth + 8 > (void *)(long)ctx->data_end)
		return XDP_DROP;
	return eth->h_proto ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
