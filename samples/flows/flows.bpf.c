// SPDX-License-Identifier: GPL-2.0
/*
 * Counts the IPv4 packets of each flow, puts them into classes by their type of service, and drops UDP
 * to one port. Runs where tc puts it; the same object is loaded into oxbpf and in-tree.
 */
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flows.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow);
	__type(value, struct count);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

/* Element 0: the port whose packets are dropped. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} settings SEC(".maps");

static __always_inline void add(struct count *c, __u32 bytes)
{
	__sync_fetch_and_add(&c->packets, 1);
	__sync_fetch_and_add(&c->bytes, bytes);
}

static __always_inline void add_to(__u32 slot, __u32 bytes)
{
	struct count *c = bpf_map_lookup_elem(&counts, &slot);

	if (c)
		add(c, bytes);
}

SEC("classifier")
int count_flows(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct flow flow = {};
	struct count first = {};
	struct count *count;
	__u32 class = CLASS_OTHER, zero = 0;
	__u32 *port;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;

	flow.saddr = ip->saddr;
	flow.daddr = ip->daddr;
	flow.proto = ip->protocol;
	if (ip->protocol == IPPROTO_UDP || ip->protocol == IPPROTO_TCP)
		/* wherever the header ends, and in whatever piece of the packet */
		bpf_skb_load_bytes(skb, sizeof(*eth) + ip->ihl * 4 + offsetof(struct udphdr, dest),
				   &flow.dport, sizeof(flow.dport));

	port = bpf_map_lookup_elem(&settings, &zero);
	if (port && flow.proto == IPPROTO_UDP && bpf_ntohs(flow.dport) == *port) {
		add_to(DROPPED, skb->len);
		return TC_ACT_SHOT;
	}

	if ((ip->tos & 0x1e) == 0x10)
		class = CLASS_DELAY;
	else if ((ip->tos & 0x1e) == 0x08)
		class = CLASS_THROUGHPUT;
	skb->priority = class;
	add_to(class, skb->len);

	count = bpf_map_lookup_elem(&flows, &flow);
	if (!count) {
		bpf_map_update_elem(&flows, &flow, &first, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&flows, &flow);
		if (!count)
			return TC_ACT_OK;
	}
	add(count, skb->len);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
