// SPDX-License-Identifier: GPL-2.0

//! Where the running kernel's structures keep what programs' contexts show, as the C compiler laid
//! them out.

/// `struct oxbpf_layout`; `ctx::KernelLayout` says what each field is.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Layout {
    pub(crate) skb_len: i16,
    pub(crate) skb_mark: i16,
    pub(crate) skb_priority: i16,
    pub(crate) skb_protocol: i16,
    pub(crate) skb_queue_mapping: i16,
    pub(crate) skb_hash: i16,
    pub(crate) skb_tc_index: i16,
    pub(crate) skb_vlan_tci: i16,
    pub(crate) skb_vlan_proto: i16,
    pub(crate) skb_vlan_all: i16,
    pub(crate) skb_pkt_type: i16,
    pub(crate) skb_iif: i16,
    pub(crate) skb_napi_id: i16,
    pub(crate) skb_data: i16,
    pub(crate) skb_dev: i16,
    pub(crate) dev_ifindex: i16,
    pub(crate) skb_cb_data: i16,
    pub(crate) skb_cb_tc_classid: i16,
    pub(crate) skb_cb_pkt_len: i16,
    pub(crate) skb_cb_data_end: i16,
    pub(crate) skb_cb_data_meta: i16,
    pub(crate) skb_head: i16,
    pub(crate) skb_end: i16,
    pub(crate) shinfo_gso_segs: i16,
    pub(crate) shinfo_gso_size: i16,
    pub(crate) shinfo_hwtstamps: i16,
    pub(crate) skb_tstamp: i16,
    pub(crate) skb_tstamp_type: i16,
    pub(crate) skb_cloned: i16,
    pub(crate) xdp_data: i16,
    pub(crate) xdp_data_end: i16,
    pub(crate) xdp_data_meta: i16,
    pub(crate) xdp_rxq: i16,
    pub(crate) rxq_dev: i16,
    pub(crate) rxq_queue_index: i16,
    pub(crate) pe_regs: i16,
    pub(crate) pe_data: i16,
    pub(crate) sample_period: i16,
    pub(crate) sample_addr: i16,
    pub(crate) skb_sk: i16,
    pub(crate) sock: [i16; 14],
    pub(crate) tcp: [i16; 26],
    pub(crate) min_napi_id: i32,
    pub(crate) skb_pkt_type_mask: u8,
    pub(crate) skb_tstamp_type_mask: u8,
    pub(crate) skb_at_ingress_mask: u8,
    pub(crate) skb_cloned_mask: u8,
    pub(crate) tcp_size: [u8; 26],
}

extern "C" {
    fn oxbpf_layout(layout: *mut Layout);
}

/// The running kernel's layout.
pub(crate) fn running() -> Layout {
    let mut layout = Layout::default();
    // SAFETY: `layout` can be written, and the shim's structure is the same.
    unsafe { oxbpf_layout(&mut layout) };
    layout
}
