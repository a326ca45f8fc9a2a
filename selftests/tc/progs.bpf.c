// SPDX-License-Identifier: GPL-2.0
/*
 * Programs of the tc tests (selftests/tc/scenes.py), loaded into oxbpf and in-tree alike.
 */
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IP_OFF (ETH_HLEN + 0)
#define DROP_PORT 7777
#define WIRE_PORT 9000
#define REAL_PORT 9001

char _license[] SEC("license") = "GPL";

/* Tells the tests where to: element 0 is an ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} config SEC(".maps");

struct flow {
	__u32 saddr;
	__u32 daddr;
	__u16 sport;
	__u16 dport;
	__u32 proto;
};

struct count {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow);
	__type(value, struct count);
} flows SEC(".maps");

static __always_inline struct iphdr *ip_header(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;

	if (data + ETH_HLEN + sizeof(struct iphdr) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return NULL;
	return data + ETH_HLEN;
}

/* Classes by the TOS field: 1:10 for low delay, 1:20 for throughput, 1:30 for the rest. */
SEC("t/tos_class")
int tos_class(struct __sk_buff *skb)
{
	struct iphdr *ip = ip_header(skb);

	if (!ip)
		return 0;
	switch (ip->tos & 0x1e) {
	case 0x10:
		return 0x10010;
	case 0x08:
		return 0x10020;
	default:
		return 0x10030;
	}
}

/* The same by the class field of the context, as a direct action. */
SEC("t/tos_class_da")
int tos_class_da(struct __sk_buff *skb)
{
	struct iphdr *ip = ip_header(skb);

	if (!ip)
		return TC_ACT_UNSPEC;
	skb->tc_classid = (ip->tos & 0x1e) == 0x10 ? 0x10 : (ip->tos & 0x1e) == 0x08 ? 0x20 : 0x30;
	return TC_ACT_OK;
}

SEC("t/drop_port")
int drop_port(struct __sk_buff *skb)
{
	struct iphdr *ip = ip_header(skb);
	__u16 port;

	if (!ip || ip->protocol != IPPROTO_UDP || ip->ihl != 5)
		return TC_ACT_OK;
	/* by a helper, from wherever the packet has it */
	if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(*ip) + offsetof(struct udphdr, dest), &port,
			       sizeof(port)))
		return TC_ACT_OK;
	return port == bpf_htons(DROP_PORT) ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("t/count_flow")
int count_flow(struct __sk_buff *skb)
{
	struct iphdr *ip = ip_header(skb);
	struct flow key = {};
	struct count *c, one = { 1, skb->len };
	struct udphdr *l4;

	if (!ip || ip->ihl != 5)
		return TC_ACT_OK;
	key.saddr = ip->saddr;
	key.daddr = ip->daddr;
	key.proto = ip->protocol;
	if (ip->protocol == IPPROTO_UDP || ip->protocol == IPPROTO_TCP) {
		l4 = (void *)(ip + 1);
		if ((void *)(l4 + 1) > (void *)(long)skb->data_end)
			return TC_ACT_OK;
		key.sport = l4->source;
		key.dport = l4->dest;
	}
	c = bpf_map_lookup_elem(&flows, &key);
	if (c) {
		__sync_fetch_and_add(&c->packets, 1);
		__sync_fetch_and_add(&c->bytes, skb->len);
	} else {
		bpf_map_update_elem(&flows, &key, &one, BPF_ANY);
	}
	return TC_ACT_OK;
}

/* TCP to port WIRE_PORT goes to REAL_PORT, with its checksum, by helpers. */
SEC("t/port_in")
int port_in(struct __sk_buff *skb)
{
	struct iphdr *ip = ip_header(skb);
	__u16 real = bpf_htons(REAL_PORT), port;
	const int at = ETH_HLEN + sizeof(*ip);

	if (!ip || ip->protocol != IPPROTO_TCP || ip->ihl != 5 ||
	    bpf_skb_load_bytes(skb, at + offsetof(struct tcphdr, dest), &port, 2) ||
	    port != bpf_htons(WIRE_PORT))
		return TC_ACT_OK;
	if (bpf_l4_csum_replace(skb, at + offsetof(struct tcphdr, check), port, real, 2) ||
	    bpf_skb_store_bytes(skb, at + offsetof(struct tcphdr, dest), &real, 2,
				BPF_F_INVALIDATE_HASH))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* And its answers back, by writing to the packet, and the sum through its difference. */
SEC("t/port_out")
int port_out(struct __sk_buff *skb)
{
	struct iphdr *ip = ip_header(skb);
	struct tcphdr *tcp;
	__u32 from, to;
	__s64 diff;

	if (!ip || ip->protocol != IPPROTO_TCP || ip->ihl != 5)
		return TC_ACT_OK;
	tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > (void *)(long)skb->data_end || tcp->source != bpf_htons(REAL_PORT))
		return TC_ACT_OK;
	from = tcp->source;
	to = bpf_htons(WIRE_PORT);
	tcp->source = to;
	diff = bpf_csum_diff(&from, 4, &to, 4, 0);
	if (bpf_l4_csum_replace(skb, ETH_HLEN + sizeof(*ip) + offsetof(struct tcphdr, check), 0,
				diff, 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* The number of the sending socket, to elements 2 and 3 of config. */
SEC("t/cookie")
int cookie(struct __sk_buff *skb)
{
	struct iphdr *ip = ip_header(skb);
	__u64 number;
	__u32 slot = 2, part;

	if (!ip || ip->protocol != IPPROTO_UDP)
		return TC_ACT_OK;
	number = bpf_get_socket_cookie(skb);
	part = number;
	bpf_map_update_elem(&config, &slot, &part, BPF_ANY);
	slot = 3;
	part = number >> 32;
	bpf_map_update_elem(&config, &slot, &part, BPF_ANY);
	return TC_ACT_OK;
}

/* There is never anything in it. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} cgroups SEC(".maps");

/* What skb_under_cgroup says of no cgroup, to element 2 of config, and 3 for ARP. */
SEC("t/under")
int under(struct __sk_buff *skb)
{
	__u32 slot = skb->protocol == bpf_htons(ETH_P_ARP) ? 3 : 2, answer;

	answer = bpf_skb_under_cgroup(skb, &cgroups, 0);
	bpf_map_update_elem(&config, &slot, &answer, BPF_ANY);
	return TC_ACT_OK;
}

static __always_inline __u32 target(__u32 slot)
{
	__u32 *ifindex = bpf_map_lookup_elem(&config, &slot);

	return ifindex ? *ifindex : 0;
}

SEC("t/redirect_out")
int redirect_out(struct __sk_buff *skb)
{
	return bpf_redirect(target(0), 0);
}

SEC("t/redirect_in")
int redirect_in(struct __sk_buff *skb)
{
	return bpf_redirect(target(0), BPF_F_INGRESS);
}

SEC("t/redirect_peer")
int redirect_peer(struct __sk_buff *skb)
{
	return bpf_redirect_peer(target(0), 0);
}

SEC("t/clone_out")
int clone_out(struct __sk_buff *skb)
{
	bpf_clone_redirect(skb, target(0), 0);
	return TC_ACT_OK;
}

/* UDP to DROP_PORT + n: what an action gives for each result n. */
SEC("t/result")
int result(struct __sk_buff *skb)
{
	struct iphdr *ip = ip_header(skb);
	__u16 port;

	if (!ip || ip->protocol != IPPROTO_UDP ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(*ip) + 2, &port, 2))
		return TC_ACT_OK;
	return (int)bpf_ntohs(port) - DROP_PORT - 1;
}

/* Writes to the packet's bytes, and mends the header's sum. */
SEC("t/write_ttl")
int write_ttl(struct __sk_buff *skb)
{
	struct iphdr *ip = ip_header(skb);
	__u16 from, to;

	if (!ip || ip->protocol != IPPROTO_UDP)
		return TC_ACT_OK;
	from = *(__u16 *)&ip->ttl;
	ip->ttl = 33;
	to = *(__u16 *)&ip->ttl;
	bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), from, to, 2);
	return TC_ACT_OK;
}

/* What a packet of TCP is found to belong to: states, 0 for none. */
struct found {
	/* It comes from REAL_PORT. */
	__u32 out;
	/* Of the socket that a look-up gives, and whether that has the port. */
	__u32 looked_up;
	__u32 bound;
	/* Of the packet's own one, and of that as a full socket, and as TCP's. */
	__u32 own;
	__u32 full;
	__u32 tcp;
};

/* Bytes of the stream, with one for each end, by what was found for the first packet that had them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct found);
	__type(value, __u64);
} sockets SEC(".maps");

/* The stream's next byte that was not seen, from the packet on that begins it; both directions. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} streams SEC(".maps");

#define BEGUN (1ULL << 32)

/* To or from REAL_PORT: whose packet is it? Counts no byte twice, however often it is sent. */
SEC("t/socks")
int socks(struct __sk_buff *skb)
{
	struct iphdr *ip = ip_header(skb);
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk, *full;
	struct found found = {};
	__u64 *stream, *bytes, all;
	struct tcphdr tcp;
	__u32 next, fresh;

	if (!ip || ip->protocol != IPPROTO_TCP || ip->ihl != 5 ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(*ip), &tcp, sizeof(tcp)))
		return TC_ACT_OK;
	if (tcp.source == bpf_htons(REAL_PORT))
		found.out = 1;
	else if (tcp.dest != bpf_htons(REAL_PORT))
		return TC_ACT_OK;
	stream = bpf_map_lookup_elem(&streams, &found.out);
	if (!stream)
		return TC_ACT_OK;
	if (tcp.syn && !*stream)
		*stream = BEGUN | bpf_ntohl(tcp.seq);
	if (!*stream)
		return TC_ACT_OK;
	next = bpf_ntohl(tcp.seq) + tcp.syn + tcp.fin + bpf_ntohs(ip->tot_len) - sizeof(*ip) -
	       tcp.doff * 4;
	fresh = next - (__u32)*stream;
	if (!fresh || (__s32)fresh < 0)
		return TC_ACT_OK;
	*stream = BEGUN | next;

	/* As who receives the packet looks for it. */
	tuple.ipv4.saddr = found.out ? ip->daddr : ip->saddr;
	tuple.ipv4.daddr = found.out ? ip->saddr : ip->daddr;
	tuple.ipv4.sport = found.out ? tcp.dest : tcp.source;
	tuple.ipv4.dport = found.out ? tcp.source : tcp.dest;
	sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (sk) {
		found.looked_up = sk->state;
		found.bound = sk->src_port == REAL_PORT;
		bpf_sk_release(sk);
	}
	sk = skb->sk;
	if (sk) {
		found.own = sk->state;
		full = bpf_sk_fullsock(sk);
		if (full) {
			found.full = full->state;
			found.tcp = !!bpf_tcp_sock(full);
		}
	}
	all = fresh;
	bytes = bpf_map_lookup_elem(&sockets, &found);
	if (bytes)
		*bytes += fresh;
	else
		bpf_map_update_elem(&sockets, &found, &all, BPF_ANY);
	return TC_ACT_OK;
}
