// SPDX-License-Identifier: GPL-2.0

//! Where the running kernel's structures keep what contexts show.

/// What is shown of a socket: indices in [`KernelLayout::sock`], the order of its shim's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SockPart {
    /// `struct sock`: `sk_bound_dev_if` (u32)
    BoundDevIf,
    /// `struct sock_common`: `skc_family` (u16)
    Family,
    /// `struct sock`: `sk_type` (u16)
    Type,
    /// `struct sock`: `sk_protocol` (u16)
    Protocol,
    /// `struct sock`: `sk_mark` (u32)
    Mark,
    /// `struct sock`: `sk_priority` (u32)
    Priority,
    /// `struct sock_common`: `skc_rcv_saddr` (u32, network order)
    Source,
    /// `struct sock_common`: `skc_v6_rcv_saddr` (16 bytes), 0 in a kernel without IPv6
    Source6,
    /// `struct sock_common`: `skc_num` (u16)
    SourcePort,
    /// `struct sock_common`: `skc_dport` (u16, network order)
    DestPort,
    /// `struct sock_common`: `skc_daddr` (u32, network order)
    Dest,
    /// `struct sock_common`: `skc_v6_daddr` (16 bytes), 0 in a kernel without IPv6
    Dest6,
    /// `struct sock_common`: `skc_state` (u8)
    State,
    /// `struct sock`: `sk_rx_queue_mapping` (u16), 0 in a kernel that keeps none
    RxQueue,
}

/// How many of them there are.
pub const SOCK_PARTS: usize = SockPart::RxQueue as usize + 1;
/// Fields of `struct bpf_tcp_sock`.
pub const TCP_FIELDS: usize = 26;

/// Byte offsets inside the running kernel's structures, as the C compiler laid them out.
///
/// The module fills it in from C; host tests make one up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelLayout {
    /// `struct sk_buff`: `len` (u32)
    pub skb_len: i16,
    /// `struct sk_buff`: `mark` (u32)
    pub skb_mark: i16,
    /// `struct sk_buff`: `priority` (u32)
    pub skb_priority: i16,
    /// `struct sk_buff`: `protocol` (u16, network order)
    pub skb_protocol: i16,
    /// `struct sk_buff`: `queue_mapping` (u16)
    pub skb_queue_mapping: i16,
    /// `struct sk_buff`: `hash` (u32)
    pub skb_hash: i16,
    /// `struct sk_buff`: `tc_index` (u16)
    pub skb_tc_index: i16,
    /// `struct sk_buff`: `vlan_tci` (u16)
    pub skb_vlan_tci: i16,
    /// `struct sk_buff`: `vlan_proto` (u16, network order)
    pub skb_vlan_proto: i16,
    /// `struct sk_buff`: `vlan_all`, the two before together (u32)
    pub skb_vlan_all: i16,
    /// `struct sk_buff`: the byte that has `pkt_type` in its low bits
    pub skb_pkt_type: i16,
    /// The bits of `pkt_type` in that byte (`PKT_TYPE_MAX`).
    pub skb_pkt_type_mask: u8,
    /// `struct sk_buff`: `skb_iif` (u32)
    pub skb_iif: i16,
    /// `struct sk_buff`: `napi_id` (u32)
    pub skb_napi_id: i16,
    /// Smaller numbers in `napi_id` are no NAPI ids (`MIN_NAPI_ID`).
    pub min_napi_id: i32,
    /// `struct sk_buff`: `data` (pointer)
    pub skb_data: i16,
    /// `struct sk_buff`: `dev` (pointer)
    pub skb_dev: i16,
    /// `struct net_device`: `ifindex` (u32)
    pub dev_ifindex: i16,
    /// `struct sk_buff`: `cb`, in it `struct qdisc_skb_cb`'s `data` (20 bytes)
    pub skb_cb_data: i16,
    /// `struct sk_buff`: `cb`, in it `struct qdisc_skb_cb`'s `tc_classid` (u16)
    pub skb_cb_tc_classid: i16,
    /// `struct sk_buff`: `cb`, in it `struct qdisc_skb_cb`'s `pkt_len` (u32)
    pub skb_cb_pkt_len: i16,
    /// `struct sk_buff`: `cb`, in it `struct bpf_skb_data_end`'s `data_end` (pointer)
    pub skb_cb_data_end: i16,
    /// `struct sk_buff`: `cb`, in it `struct bpf_skb_data_end`'s `data_meta` (pointer)
    pub skb_cb_data_meta: i16,
    /// `struct sk_buff`: `head` (pointer)
    pub skb_head: i16,
    /// `struct sk_buff`: `end`, where `struct skb_shared_info` is, counted from `head` (u32)
    pub skb_end: i16,
    /// `struct skb_shared_info`: `gso_segs` (u16)
    pub shinfo_gso_segs: i16,
    /// `struct skb_shared_info`: `gso_size` (u16)
    pub shinfo_gso_size: i16,
    /// `struct skb_shared_info`: `hwtstamps` (u64)
    pub shinfo_hwtstamps: i16,
    /// `struct sk_buff`: `tstamp` (u64)
    pub skb_tstamp: i16,
    /// `struct sk_buff`: the byte that has `tstamp_type` in its low bits, and `tc_at_ingress`
    pub skb_tstamp_type: i16,
    /// The bits of `tstamp_type` in that byte (`SKB_TSTAMP_TYPE_MASK`).
    pub skb_tstamp_type_mask: u8,
    /// The bit of `tc_at_ingress` in that byte (`TC_AT_INGRESS_MASK`).
    pub skb_at_ingress_mask: u8,
    /// `struct sk_buff`: the byte that has `cloned`
    pub skb_cloned: i16,
    /// The bit of `cloned` in that byte (`CLONED_MASK`).
    pub skb_cloned_mask: u8,
    /// `struct sk_buff`: `sk` (pointer)
    pub skb_sk: i16,
    /// Sockets, by `SockPart`
    pub sock: [i16; SOCK_PARTS],
    /// `struct tcp_sock`: what `struct bpf_tcp_sock` shows of it, in that one's order
    pub tcp: [i16; TCP_FIELDS],
    /// Bytes that each of those has there
    pub tcp_size: [u8; TCP_FIELDS],
    /// `struct xdp_buff`: `data` (pointer)
    pub xdp_data: i16,
    /// `struct xdp_buff`: `data_end` (pointer)
    pub xdp_data_end: i16,
    /// `struct xdp_buff`: `data_meta` (pointer)
    pub xdp_data_meta: i16,
    /// `struct xdp_buff`: `rxq` (pointer)
    pub xdp_rxq: i16,
    /// `struct xdp_rxq_info`: `dev` (pointer)
    pub rxq_dev: i16,
    /// `struct xdp_rxq_info`: `queue_index` (u32)
    pub rxq_queue_index: i16,
    /// `struct bpf_perf_event_data_kern`: `regs` (pointer)
    pub pe_regs: i16,
    /// `struct bpf_perf_event_data_kern`: `data` (pointer)
    pub pe_data: i16,
    /// `struct perf_sample_data`: `period` (u64)
    pub sample_period: i16,
    /// `struct perf_sample_data`: `addr` (u64)
    pub sample_addr: i16,
}
