// SPDX-License-Identifier: GPL-2.0

//! Helpers that are the C shims themselves: programs call them without anything in between.
//!
//! What a shim must be able to rely on is in its parameters' types, which only a verified call makes
//! ([`super::args`]): so declaring one is the unsafe act, and it is safe to have as a helper's body.
//! A number arrives in a whole register, of which the shim takes as much as its C type has.

use super::args::{CtxArg, HeldSockArg, ReadArg, SockArg, UpdateArg, WordArg, WriteArg};
use super::skb::SkBuff;
use super::xdp::XdpBuff;

/// The context of packet programs.
type Skb = CtxArg<SkBuff>;
/// The context of XDP programs.
type Xdp = CtxArg<XdpBuff>;

// What makes them safe: each shim (rust/helpers/skb_*.c, xdp.c) takes these arguments in this order, memory
// as its address and size, and returns a 64-bit number; it requires of them what the types say, and
// no more than a program that runs on a packet has around it.
unsafe extern "C" {
    /// `skb_store_bytes(skb, offset, from, len, flags)`
    #[link_name = "oxbpf_skb_store_bytes"]
    pub(crate) safe fn skb_store_bytes(skb: Skb, offset: u64, from: ReadArg, flags: u64) -> u64;
    /// `skb_load_bytes_relative(skb, offset, to, len, start_header)`
    #[link_name = "oxbpf_skb_load_bytes_relative"]
    pub(crate) safe fn skb_load_bytes_relative(
        skb: Skb,
        offset: u64,
        to: WriteArg,
        start: u64,
    ) -> u64;
    /// `skb_pull_data(skb, len)`
    #[link_name = "oxbpf_skb_pull_data"]
    pub(crate) safe fn skb_pull_data(skb: Skb, len: u64) -> u64;
    /// `l3_csum_replace(skb, offset, from, to, size)`
    #[link_name = "oxbpf_l3_csum_replace"]
    pub(crate) safe fn l3_csum_replace(
        skb: Skb,
        offset: u64,
        from: u64,
        to: u64,
        flags: u64,
    ) -> u64;
    /// `l4_csum_replace(skb, offset, from, to, flags)`
    #[link_name = "oxbpf_l4_csum_replace"]
    pub(crate) safe fn l4_csum_replace(
        skb: Skb,
        offset: u64,
        from: u64,
        to: u64,
        flags: u64,
    ) -> u64;
    /// `csum_diff(from, from_size, to, to_size, seed)`
    #[link_name = "oxbpf_csum_diff"]
    pub(crate) safe fn csum_diff(from: ReadArg, to: ReadArg, seed: u64) -> u64;
    /// `csum_update(skb, csum)`
    #[link_name = "oxbpf_csum_update"]
    pub(crate) safe fn csum_update(skb: Skb, csum: u64) -> u64;
    /// `csum_level(skb, level)`
    #[link_name = "oxbpf_csum_level"]
    pub(crate) safe fn csum_level(skb: Skb, level: u64) -> u64;
    /// `skb_vlan_push(skb, vlan_proto, vlan_tci)`
    #[link_name = "oxbpf_skb_vlan_push"]
    pub(crate) safe fn skb_vlan_push(skb: Skb, proto: u64, tci: u64) -> u64;
    /// `skb_vlan_pop(skb)`
    #[link_name = "oxbpf_skb_vlan_pop"]
    pub(crate) safe fn skb_vlan_pop(skb: Skb) -> u64;
    /// `skb_change_type(skb, type)`
    #[link_name = "oxbpf_skb_change_type"]
    pub(crate) safe fn skb_change_type(skb: Skb, ty: u64) -> u64;
    /// `skb_change_proto(skb, proto, flags)`
    #[link_name = "oxbpf_skb_change_proto"]
    pub(crate) safe fn skb_change_proto(skb: Skb, proto: u64, flags: u64) -> u64;
    /// `skb_change_tail(skb, len, flags)`
    #[link_name = "oxbpf_skb_change_tail"]
    pub(crate) safe fn skb_change_tail(skb: Skb, len: u64, flags: u64) -> u64;
    /// `skb_change_head(skb, len, flags)`
    #[link_name = "oxbpf_skb_change_head"]
    pub(crate) safe fn skb_change_head(skb: Skb, room: u64, flags: u64) -> u64;
    /// `skb_adjust_room(skb, len_diff, mode, flags)`
    #[link_name = "oxbpf_skb_adjust_room"]
    pub(crate) safe fn skb_adjust_room(skb: Skb, diff: u64, mode: u64, flags: u64) -> u64;
    /// `get_cgroup_classid(skb)`
    #[link_name = "oxbpf_get_cgroup_classid"]
    pub(crate) safe fn get_cgroup_classid(skb: Skb) -> u64;
    /// `skb_cgroup_classid(skb)`
    #[link_name = "oxbpf_skb_cgroup_classid"]
    pub(crate) safe fn skb_cgroup_classid(skb: Skb) -> u64;
    /// `get_route_realm(skb)`
    #[link_name = "oxbpf_get_route_realm"]
    pub(crate) safe fn get_route_realm(skb: Skb) -> u64;
    /// `get_hash_recalc(skb)`
    #[link_name = "oxbpf_get_hash_recalc"]
    pub(crate) safe fn get_hash_recalc(skb: Skb) -> u64;
    /// `set_hash_invalid(skb)`
    #[link_name = "oxbpf_set_hash_invalid"]
    pub(crate) safe fn set_hash_invalid(skb: Skb) -> u64;
    /// `set_hash(skb, hash)`
    #[link_name = "oxbpf_set_hash"]
    pub(crate) safe fn set_hash(skb: Skb, hash: u64) -> u64;
    /// `get_socket_uid(skb)`
    #[link_name = "oxbpf_get_socket_uid"]
    pub(crate) safe fn get_socket_uid(skb: Skb) -> u64;
    /// `skb_ecn_set_ce(skb)`
    #[link_name = "oxbpf_skb_ecn_set_ce"]
    pub(crate) safe fn skb_ecn_set_ce(skb: Skb) -> u64;
    /// `skb_set_tstamp(skb, tstamp, tstamp_type)`
    #[link_name = "oxbpf_skb_set_tstamp"]
    pub(crate) safe fn skb_set_tstamp(skb: Skb, tstamp: u64, clock: u64) -> u64;
    /// `redirect(ifindex, flags)`
    #[link_name = "oxbpf_redirect"]
    pub(crate) safe fn redirect(ifindex: u64, flags: u64) -> u64;
    /// `redirect_peer(ifindex, flags)`
    #[link_name = "oxbpf_redirect_peer"]
    pub(crate) safe fn redirect_peer(ifindex: u64, flags: u64) -> u64;
    /// `redirect_neigh(ifindex, params, plen, flags)`
    #[link_name = "oxbpf_redirect_neigh"]
    pub(crate) safe fn redirect_neigh(ifindex: u64, params: ReadArg, flags: u64) -> u64;
    /// `clone_redirect(skb, ifindex, flags)`
    #[link_name = "oxbpf_clone_redirect"]
    pub(crate) safe fn clone_redirect(skb: Skb, ifindex: u64, flags: u64) -> u64;
    /// `skb_get_tunnel_key(skb, key, size, flags)`
    #[link_name = "oxbpf_skb_get_tunnel_key"]
    pub(crate) safe fn skb_get_tunnel_key(skb: Skb, key: WriteArg, flags: u64) -> u64;
    /// `skb_set_tunnel_key(skb, key, size, flags)`
    #[link_name = "oxbpf_skb_set_tunnel_key"]
    pub(crate) safe fn skb_set_tunnel_key(skb: Skb, key: ReadArg, flags: u64) -> u64;
    /// `skb_get_tunnel_opt(skb, opt, size)`
    #[link_name = "oxbpf_skb_get_tunnel_opt"]
    pub(crate) safe fn skb_get_tunnel_opt(skb: Skb, opt: WriteArg) -> u64;
    /// `skb_set_tunnel_opt(skb, opt, size)`
    #[link_name = "oxbpf_skb_set_tunnel_opt"]
    pub(crate) safe fn skb_set_tunnel_opt(skb: Skb, opt: ReadArg) -> u64;
    /// `skb_cgroup_id(skb)`
    #[link_name = "oxbpf_skb_cgroup_id"]
    pub(crate) safe fn skb_cgroup_id(skb: Skb) -> u64;
    /// `skb_ancestor_cgroup_id(skb, level)`
    #[link_name = "oxbpf_skb_ancestor_cgroup_id"]
    pub(crate) safe fn skb_ancestor_cgroup_id(skb: Skb, level: u64) -> u64;
    /// `get_netns_cookie(skb)`
    #[link_name = "oxbpf_get_netns_cookie"]
    pub(crate) safe fn get_netns_cookie(skb: Skb) -> u64;
    /// `fib_lookup(skb, params, plen, flags)`
    #[link_name = "oxbpf_fib_lookup"]
    pub(crate) safe fn fib_lookup(skb: Skb, params: UpdateArg, flags: u64) -> u64;
    /// `check_mtu(skb, ifindex, mtu_len, len_diff, flags)`
    #[link_name = "oxbpf_check_mtu"]
    pub(crate) safe fn check_mtu(
        skb: Skb,
        ifindex: u64,
        mtu_len: WordArg,
        diff: u64,
        flags: u64,
    ) -> u64;
    /// `get_socket_cookie(skb)`
    #[link_name = "oxbpf_get_socket_cookie"]
    pub(crate) safe fn get_socket_cookie(skb: Skb) -> u64;

    /// `xdp_adjust_head(xdp, offset)`
    #[link_name = "oxbpf_xdp_adjust_head"]
    pub(crate) safe fn xdp_adjust_head(xdp: Xdp, offset: u64) -> u64;
    /// `xdp_adjust_meta(xdp, offset)`
    #[link_name = "oxbpf_xdp_adjust_meta"]
    pub(crate) safe fn xdp_adjust_meta(xdp: Xdp, offset: u64) -> u64;
    /// `xdp_adjust_tail(xdp, offset)`
    #[link_name = "oxbpf_xdp_adjust_tail"]
    pub(crate) safe fn xdp_adjust_tail(xdp: Xdp, offset: u64) -> u64;
    /// `xdp_get_buff_len(xdp)`
    #[link_name = "oxbpf_xdp_get_buff_len"]
    pub(crate) safe fn xdp_get_buff_len(xdp: Xdp) -> u64;
    /// `xdp_load_bytes(xdp, offset, to, len)`
    #[link_name = "oxbpf_xdp_load_bytes"]
    pub(crate) safe fn xdp_load_bytes(xdp: Xdp, offset: u64, to: WriteArg) -> u64;
    /// `xdp_store_bytes(xdp, offset, from, len)`
    #[link_name = "oxbpf_xdp_store_bytes"]
    pub(crate) safe fn xdp_store_bytes(xdp: Xdp, offset: u64, from: ReadArg) -> u64;
    /// `redirect(ifindex, flags)` of XDP
    #[link_name = "oxbpf_xdp_redirect"]
    pub(crate) safe fn xdp_redirect(ifindex: u64, flags: u64) -> u64;
    /// `fib_lookup(xdp, params, plen, flags)`
    #[link_name = "oxbpf_xdp_fib_lookup"]
    pub(crate) safe fn xdp_fib_lookup(xdp: Xdp, params: UpdateArg, flags: u64) -> u64;
    /// `check_mtu(xdp, ifindex, mtu_len, len_diff, flags)`
    #[link_name = "oxbpf_xdp_check_mtu"]
    pub(crate) safe fn xdp_check_mtu(
        xdp: Xdp,
        ifindex: u64,
        mtu_len: WordArg,
        diff: u64,
        flags: u64,
    ) -> u64;

    /// `sk_lookup_tcp(skb, tuple, len, netns, flags)`
    #[link_name = "oxbpf_tc_sk_lookup_tcp"]
    pub(crate) safe fn tc_sk_lookup_tcp(skb: Skb, tuple: ReadArg, netns: u64, flags: u64) -> u64;
    /// `sk_lookup_udp(skb, tuple, len, netns, flags)`
    #[link_name = "oxbpf_tc_sk_lookup_udp"]
    pub(crate) safe fn tc_sk_lookup_udp(skb: Skb, tuple: ReadArg, netns: u64, flags: u64) -> u64;
    /// `skc_lookup_tcp(skb, tuple, len, netns, flags)`
    #[link_name = "oxbpf_tc_skc_lookup_tcp"]
    pub(crate) safe fn tc_skc_lookup_tcp(skb: Skb, tuple: ReadArg, netns: u64, flags: u64) -> u64;
    /// `sk_lookup_tcp(skb, tuple, len, netns, flags)` of a cgroup's filter
    #[link_name = "oxbpf_cg_sk_lookup_tcp"]
    pub(crate) safe fn cg_sk_lookup_tcp(skb: Skb, tuple: ReadArg, netns: u64, flags: u64) -> u64;
    /// `sk_lookup_udp(skb, tuple, len, netns, flags)` of a cgroup's filter
    #[link_name = "oxbpf_cg_sk_lookup_udp"]
    pub(crate) safe fn cg_sk_lookup_udp(skb: Skb, tuple: ReadArg, netns: u64, flags: u64) -> u64;
    /// `skc_lookup_tcp(skb, tuple, len, netns, flags)` of a cgroup's filter
    #[link_name = "oxbpf_cg_skc_lookup_tcp"]
    pub(crate) safe fn cg_skc_lookup_tcp(skb: Skb, tuple: ReadArg, netns: u64, flags: u64) -> u64;
    /// `sk_lookup_tcp(xdp, tuple, len, netns, flags)` of XDP
    #[link_name = "oxbpf_xdp_sk_lookup_tcp"]
    pub(crate) safe fn xdp_sk_lookup_tcp(xdp: Xdp, tuple: ReadArg, netns: u64, flags: u64) -> u64;
    /// `sk_lookup_udp(xdp, tuple, len, netns, flags)` of XDP
    #[link_name = "oxbpf_xdp_sk_lookup_udp"]
    pub(crate) safe fn xdp_sk_lookup_udp(xdp: Xdp, tuple: ReadArg, netns: u64, flags: u64) -> u64;
    /// `skc_lookup_tcp(xdp, tuple, len, netns, flags)` of XDP
    #[link_name = "oxbpf_xdp_skc_lookup_tcp"]
    pub(crate) safe fn xdp_skc_lookup_tcp(xdp: Xdp, tuple: ReadArg, netns: u64, flags: u64) -> u64;
    /// `sk_release(sk)`
    #[link_name = "oxbpf_sk_release"]
    pub(crate) safe fn sk_release(sk: HeldSockArg) -> u64;
    /// `sk_fullsock(sk)`
    #[link_name = "oxbpf_sk_fullsock"]
    pub(crate) safe fn sk_fullsock(sk: SockArg) -> u64;
    /// `tcp_sock(sk)`
    #[link_name = "oxbpf_tcp_sock"]
    pub(crate) safe fn tcp_sock(sk: SockArg) -> u64;
    /// `get_listener_sock(sk)`
    #[link_name = "oxbpf_get_listener_sock"]
    pub(crate) safe fn get_listener_sock(sk: SockArg) -> u64;

    fn oxbpf_tunnel_exit();
}

/// While it lives, programs can say which tunnel a packet shall go through.
pub(crate) struct Tunnels(());

impl Tunnels {
    /// Once, when the module is loaded.
    pub(crate) fn start() -> Self {
        Tunnels(())
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        // SAFETY: the module goes, so that nobody runs programs any more.
        unsafe { oxbpf_tunnel_exit() };
    }
}
