// SPDX-License-Identifier: GPL-2.0
/*
 * Where the running kernel's structures keep what programs' contexts show.
 */

#include <linux/filter.h>
#include <linux/netdevice.h>
#include <linux/perf_event.h>
#include <linux/skbuff.h>
#include <net/busy_poll.h>
#include <net/sch_generic.h>
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
	s32 min_napi_id;
	u8 skb_pkt_type_mask;
	u8 skb_tstamp_type_mask;
	u8 skb_at_ingress_mask;
	u8 skb_cloned_mask;
};

void oxbpf_layout(struct oxbpf_layout *layout);

/* A field of the structure that some layer keeps in the packet's cb. */
#define CB_OFF(type, field) (offsetof(struct sk_buff, cb) + offsetof(type, field))

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
}
