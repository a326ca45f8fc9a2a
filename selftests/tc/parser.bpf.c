// SPDX-License-Identifier: GPL-2.0
/*
 * A parser in three programs, one a layer; each jumps to the next. What one found, the next reads in
 * the packet's control block.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define DROP_PORT 7777

enum { L3, L4, LAYERS };
enum { SEEN_L2, SEEN_L3, SEEN_L4, DROPPED, COUNTS };

char _license[] SEC("license") = "GPL";

int parse_l3(struct __sk_buff *skb);
int parse_l4(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, LAYERS);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct __sk_buff *));
} layers SEC(".maps") = {
	.values = { [L3] = (void *)&parse_l3, [L4] = (void *)&parse_l4 },
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
} seen SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&seen, &what);

	if (n)
		__sync_fetch_and_add(n, 1);
}

SEC("t/parse_l2")
int parse_l2(struct __sk_buff *skb)
{
	count(SEEN_L2);
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;
	skb->cb[0] = ETH_HLEN;
	bpf_tail_call(skb, &layers, L3);
	return TC_ACT_SHOT;
}

SEC("t/parse_l3")
int parse_l3(struct __sk_buff *skb)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, skb->cb[0], &ip, sizeof(ip)))
		return TC_ACT_SHOT;
	count(SEEN_L3);
	skb->cb[1] = ip.protocol;
	skb->cb[2] = skb->cb[0] + ip.ihl * 4;
	bpf_tail_call(skb, &layers, L4);
	return TC_ACT_SHOT;
}

SEC("t/parse_l4")
int parse_l4(struct __sk_buff *skb)
{
	struct udphdr udp;

	if (skb->cb[1] != IPPROTO_UDP || bpf_skb_load_bytes(skb, skb->cb[2], &udp, sizeof(udp)))
		return TC_ACT_OK;
	count(SEEN_L4);
	if (udp.dest != bpf_htons(DROP_PORT))
		return TC_ACT_OK;
	count(DROPPED);
	return TC_ACT_SHOT;
}
