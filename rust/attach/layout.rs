// SPDX-License-Identifier: GPL-2.0

//! The running kernel's structures, for the verifier's context rewrites.

use crate::ctx::KernelLayout;
use crate::sys::layout;

/// Where the running kernel keeps what contexts show.
pub(crate) fn running() -> KernelLayout {
    let l = layout::running();
    KernelLayout {
        skb_len: l.skb_len,
        skb_mark: l.skb_mark,
        skb_priority: l.skb_priority,
        skb_protocol: l.skb_protocol,
        skb_queue_mapping: l.skb_queue_mapping,
        skb_hash: l.skb_hash,
        skb_tc_index: l.skb_tc_index,
        skb_vlan_tci: l.skb_vlan_tci,
        skb_vlan_proto: l.skb_vlan_proto,
        skb_vlan_all: l.skb_vlan_all,
        skb_pkt_type: l.skb_pkt_type,
        skb_iif: l.skb_iif,
        skb_napi_id: l.skb_napi_id,
        skb_data: l.skb_data,
        skb_dev: l.skb_dev,
        dev_ifindex: l.dev_ifindex,
        skb_cb_data: l.skb_cb_data,
        skb_cb_tc_classid: l.skb_cb_tc_classid,
        skb_cb_pkt_len: l.skb_cb_pkt_len,
        skb_cb_data_end: l.skb_cb_data_end,
        skb_cb_data_meta: l.skb_cb_data_meta,
        skb_head: l.skb_head,
        skb_end: l.skb_end,
        shinfo_gso_segs: l.shinfo_gso_segs,
        shinfo_gso_size: l.shinfo_gso_size,
        shinfo_hwtstamps: l.shinfo_hwtstamps,
        skb_tstamp: l.skb_tstamp,
        skb_tstamp_type: l.skb_tstamp_type,
        skb_cloned: l.skb_cloned,
        xdp_data: l.xdp_data,
        xdp_data_end: l.xdp_data_end,
        xdp_data_meta: l.xdp_data_meta,
        xdp_rxq: l.xdp_rxq,
        rxq_dev: l.rxq_dev,
        rxq_queue_index: l.rxq_queue_index,
        pe_regs: l.pe_regs,
        pe_data: l.pe_data,
        sample_period: l.sample_period,
        sample_addr: l.sample_addr,
        skb_sk: l.skb_sk,
        sock: l.sock,
        tcp: l.tcp,
        tcp_size: l.tcp_size,
        min_napi_id: l.min_napi_id,
        skb_pkt_type_mask: l.skb_pkt_type_mask,
        skb_tstamp_type_mask: l.skb_tstamp_type_mask,
        skb_at_ingress_mask: l.skb_at_ingress_mask,
        skb_cloned_mask: l.skb_cloned_mask,
    }
}
