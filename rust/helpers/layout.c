// SPDX-License-Identifier: GPL-2.0
/*
 * Where the running kernel's structures keep what programs' contexts show.
 */

#include <linux/filter.h>
#include <linux/netdevice.h>
#include <linux/perf_event.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <net/busy_poll.h>
#include <net/sch_generic.h>
#include <net/sock.h>
#include <net/xdp.h>

/* rust/sys/layout.rs has the same struct. */
struct oxbpf_layout {
	s16 skb_len;
	s16 skb_mark;
	s16 skb_priority;
	s16 skb_protocol;
	s16 skb_queue_mapping;
	s16 skb_hash;
	s16 skb_tc_index;
	s16 skb_vlan_tci;
	s16 skb_vlan_proto;
	s16 skb_vlan_all;
	s16 skb_pkt_type;
	s16 skb_iif;
	s16 skb_napi_id;
	s16 skb_data;
	s16 skb_dev;
	s16 dev_ifindex;
	s16 skb_cb_data;
	s16 skb_cb_tc_classid;
	s16 skb_cb_pkt_len;
	s16 skb_cb_data_end;
	s16 skb_cb_data_meta;
	s16 skb_head;
	s16 skb_end;
	s16 shinfo_gso_segs;
	s16 shinfo_gso_size;
	s16 shinfo_hwtstamps;
	s16 skb_tstamp;
	s16 skb_tstamp_type;
	s16 skb_cloned;
	s16 xdp_data;
	s16 xdp_data_end;
	s16 xdp_data_meta;
	s16 xdp_rxq;
	s16 rxq_dev;
	s16 rxq_queue_index;
	s16 pe_regs;
	s16 pe_data;
	s16 sample_period;
	s16 sample_addr;
	s16 skb_sk;
	s16 sock[14];
	s16 tcp[26];
	s32 min_napi_id;
	u8 skb_pkt_type_mask;
	u8 skb_tstamp_type_mask;
	u8 skb_at_ingress_mask;
	u8 skb_cloned_mask;
	u8 tcp_size[26];
};

void oxbpf_layout(struct oxbpf_layout *layout);

/* A field of the structure that some layer keeps in the packet's cb. */
#define CB_OFF(type, field) (offsetof(struct sk_buff, cb) + offsetof(type, field))

/* What programs see of a socket, and how many bytes it has there. rust/ctx/layout.rs has the order. */
static void oxbpf_layout_sock(struct oxbpf_layout *layout)
{
	static const s16 sock[] = {
		offsetof(struct sock, sk_bound_dev_if),
		offsetof(struct sock_common, skc_family),
		offsetof(struct sock, sk_type),
		offsetof(struct sock, sk_protocol),
		offsetof(struct sock, sk_mark),
		offsetof(struct sock, sk_priority),
		offsetof(struct sock_common, skc_rcv_saddr),
#if IS_ENABLED(CONFIG_IPV6)
		offsetof(struct sock_common, skc_v6_rcv_saddr),
#else
		0,
#endif
		offsetof(struct sock_common, skc_num),
		offsetof(struct sock_common, skc_dport),
		offsetof(struct sock_common, skc_daddr),
#if IS_ENABLED(CONFIG_IPV6)
		offsetof(struct sock_common, skc_v6_daddr),
#else
		0,
#endif
		offsetof(struct sock_common, skc_state),
#ifdef CONFIG_SOCK_RX_QUEUE_MAPPING
		offsetof(struct sock, sk_rx_queue_mapping),
#else
		0,
#endif
	};

	BUILD_BUG_ON(ARRAY_SIZE(sock) != ARRAY_SIZE(layout->sock));
	BUILD_BUG_ON(sizeof_field(struct sock, sk_bound_dev_if) != 4);
	BUILD_BUG_ON(sizeof_field(struct sock_common, skc_family) != 2);
	BUILD_BUG_ON(sizeof_field(struct sock, sk_type) != 2);
	BUILD_BUG_ON(sizeof_field(struct sock, sk_protocol) != 2);
	BUILD_BUG_ON(sizeof_field(struct sock, sk_mark) != 4);
	BUILD_BUG_ON(sizeof_field(struct sock, sk_priority) != 4);
	BUILD_BUG_ON(sizeof_field(struct sock_common, skc_num) != 2);
	BUILD_BUG_ON(sizeof_field(struct sock_common, skc_dport) != 2);
	BUILD_BUG_ON(sizeof_field(struct sock_common, skc_state) != 1);
#ifdef CONFIG_SOCK_RX_QUEUE_MAPPING
	BUILD_BUG_ON(sizeof_field(struct sock, sk_rx_queue_mapping) != 2);
#endif
	memcpy(layout->sock, sock, sizeof(sock));
}

#define OXBPF_TCP(field)							\
	do {									\
		layout->tcp[n] = offsetof(struct tcp_sock, field);		\
		layout->tcp_size[n++] = sizeof_field(struct tcp_sock, field);	\
	} while (0)

/* The same of a TCP socket, in the order of struct bpf_tcp_sock. */
static void oxbpf_layout_tcp(struct oxbpf_layout *layout)
{
	unsigned int n = 0;

	BUILD_BUG_ON(sizeof(struct tcp_sock) > S16_MAX);
	OXBPF_TCP(snd_cwnd);
	OXBPF_TCP(srtt_us);
	/* Its first sample is the current one. */
	BUILD_BUG_ON(offsetof(struct minmax, s) != 0);
	layout->tcp[n] = offsetof(struct tcp_sock, rtt_min) + offsetof(struct minmax_sample, v);
	layout->tcp_size[n++] = sizeof_field(struct minmax_sample, v);
	OXBPF_TCP(snd_ssthresh);
	OXBPF_TCP(rcv_nxt);
	OXBPF_TCP(snd_nxt);
	OXBPF_TCP(snd_una);
	OXBPF_TCP(mss_cache);
	OXBPF_TCP(ecn_flags);
	OXBPF_TCP(rate_delivered);
	OXBPF_TCP(rate_interval_us);
	OXBPF_TCP(packets_out);
	OXBPF_TCP(retrans_out);
	OXBPF_TCP(total_retrans);
	OXBPF_TCP(segs_in);
	OXBPF_TCP(data_segs_in);
	OXBPF_TCP(segs_out);
	OXBPF_TCP(data_segs_out);
	OXBPF_TCP(lost_out);
	OXBPF_TCP(sacked_out);
	OXBPF_TCP(bytes_received);
	OXBPF_TCP(bytes_acked);
	OXBPF_TCP(dsack_dups);
	OXBPF_TCP(delivered);
	OXBPF_TCP(delivered_ce);
	layout->tcp[n] = offsetof(struct inet_connection_sock, icsk_retransmits);
	layout->tcp_size[n++] = sizeof_field(struct inet_connection_sock, icsk_retransmits);
	WARN_ON_ONCE(n != ARRAY_SIZE(layout->tcp));
}

void oxbpf_layout(struct oxbpf_layout *layout)
{
	BUILD_BUG_ON(sizeof_field(struct sk_buff, vlan_all) != sizeof(u32));
	BUILD_BUG_ON(offsetof(struct net_device, ifindex) > S16_MAX);
	/* The shared info is found by an offset. */
	BUILD_BUG_ON(sizeof_field(struct sk_buff, end) != sizeof(u32));
	/* Its low bits. */
	BUILD_BUG_ON(!(SKB_TSTAMP_TYPE_MASK & 1));
	*layout = (struct oxbpf_layout) {
		.skb_len = offsetof(struct sk_buff, len),
		.skb_mark = offsetof(struct sk_buff, mark),
		.skb_priority = offsetof(struct sk_buff, priority),
		.skb_protocol = offsetof(struct sk_buff, protocol),
		.skb_queue_mapping = offsetof(struct sk_buff, queue_mapping),
		.skb_hash = offsetof(struct sk_buff, hash),
		.skb_tc_index = offsetof(struct sk_buff, tc_index),
		.skb_vlan_tci = offsetof(struct sk_buff, vlan_tci),
		.skb_vlan_proto = offsetof(struct sk_buff, vlan_proto),
		.skb_vlan_all = offsetof(struct sk_buff, vlan_all),
		.skb_pkt_type = PKT_TYPE_OFFSET,
		.skb_iif = offsetof(struct sk_buff, skb_iif),
		.skb_napi_id = offsetof(struct sk_buff, napi_id),
		.skb_data = offsetof(struct sk_buff, data),
		.skb_dev = offsetof(struct sk_buff, dev),
		.dev_ifindex = offsetof(struct net_device, ifindex),
		.skb_cb_data = CB_OFF(struct qdisc_skb_cb, data),
		.skb_cb_tc_classid = CB_OFF(struct qdisc_skb_cb, tc_classid),
		.skb_cb_pkt_len = CB_OFF(struct qdisc_skb_cb, pkt_len),
		.skb_cb_data_end = CB_OFF(struct bpf_skb_data_end, data_end),
		.skb_cb_data_meta = CB_OFF(struct bpf_skb_data_end, data_meta),
		.skb_head = offsetof(struct sk_buff, head),
		.skb_end = offsetof(struct sk_buff, end),
		.shinfo_gso_segs = offsetof(struct skb_shared_info, gso_segs),
		.shinfo_gso_size = offsetof(struct skb_shared_info, gso_size),
		.shinfo_hwtstamps = offsetof(struct skb_shared_info, hwtstamps),
		.skb_tstamp = offsetof(struct sk_buff, tstamp),
		.skb_tstamp_type = SKB_BF_MONO_TC_OFFSET,
		.skb_cloned = CLONED_OFFSET,
		.skb_sk = offsetof(struct sk_buff, sk),
		.xdp_data = offsetof(struct xdp_buff, data),
		.xdp_data_end = offsetof(struct xdp_buff, data_end),
		.xdp_data_meta = offsetof(struct xdp_buff, data_meta),
		.xdp_rxq = offsetof(struct xdp_buff, rxq),
		.rxq_dev = offsetof(struct xdp_rxq_info, dev),
		.rxq_queue_index = offsetof(struct xdp_rxq_info, queue_index),
		.pe_regs = offsetof(struct bpf_perf_event_data_kern, regs),
		.pe_data = offsetof(struct bpf_perf_event_data_kern, data),
		.sample_period = offsetof(struct perf_sample_data, period),
		.sample_addr = offsetof(struct perf_sample_data, addr),
		.min_napi_id = MIN_NAPI_ID,
		.skb_pkt_type_mask = PKT_TYPE_MAX,
		.skb_tstamp_type_mask = SKB_TSTAMP_TYPE_MASK,
		.skb_at_ingress_mask = TC_AT_INGRESS_MASK,
		.skb_cloned_mask = CLONED_MASK,
	};
	oxbpf_layout_sock(layout);
	oxbpf_layout_tcp(layout);
}
