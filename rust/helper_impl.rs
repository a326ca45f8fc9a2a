// SPDX-License-Identifier: GPL-2.0

//! The bodies of the helper functions that programs call.
//!
//! A body is a safe `extern "C" fn` whose parameter types say what the verifier proved about the
//! arguments ([`crate::sys::args`]). Each row of [`crate::helper::HELPERS`] has one body, of
//! matching types: checked when this is compiled. Only the tail call has none.
//!
//! Bodies run in whatever context the program runs in: with interrupts off, in the middle of any
//! kernel function that a probe can be put on. None sleeps, and what probes and tracepoints can call takes no
//! lock of the kernel's but those made for NMIs; packets' helpers may, in the softirq that they run in.

mod base;
mod cgroup;
mod events;
mod map;
mod printk;
mod ringbuf;
mod skb;
mod stack;
mod trace;

use crate::abi::{ProgType, ProgTypes};
use crate::helper::{Arg, Helper, HELPERS, MAP_NEXT, NUMBERS, TAIL_CALL};
use crate::sys::args::{Body, Kind};
use crate::sys::{event, packet};
use kernel::prelude::*;

/// Makes the table: `number constructor path;`.
macro_rules! bodies {
    ($($id:literal $new:ident $module:ident::$body:ident;)*) => {
        /// Bodies in ascending order of the helpers' numbers.
        static BODIES: &[(i32, Body)] = &[$(($id, Body::$new($module::$body))),*];
    };
}

bodies! {
    1 new2 map::map_lookup_elem;
    2 new4 map::map_update_elem;
    3 new2 map::map_delete_elem;
    4 new2 trace::probe_read;
    5 new0 base::ktime_get_ns;
    6 new4 printk::trace_printk;
    7 new0 base::get_prandom_u32;
    8 new0 base::get_smp_processor_id;
    9 new4 packet::skb_store_bytes;
    10 new5 packet::l3_csum_replace;
    11 new5 packet::l4_csum_replace;
    13 new3 packet::clone_redirect;
    14 new0 base::get_current_pid_tgid;
    15 new0 base::get_current_uid_gid;
    16 new1 base::get_current_comm;
    17 new1 packet::get_cgroup_classid;
    18 new3 packet::skb_vlan_push;
    19 new1 packet::skb_vlan_pop;
    20 new3 packet::skb_get_tunnel_key;
    21 new3 packet::skb_set_tunnel_key;
    22 new2 events::read;
    23 new2 packet::redirect;
    24 new1 packet::get_route_realm;
    25 new4 events::of_regs;
    26 new3 skb::skb_load_bytes;
    27 new3 stack::id_of_regs;
    28 new3 packet::csum_diff;
    29 new2 packet::skb_get_tunnel_opt;
    30 new2 packet::skb_set_tunnel_opt;
    31 new3 packet::skb_change_proto;
    32 new2 packet::skb_change_type;
    33 new3 cgroup::skb_under_cgroup;
    34 new1 packet::get_hash_recalc;
    35 new0 base::get_current_task;
    36 new2 base::probe_write_user;
    37 new2 cgroup::current_task_under_cgroup;
    38 new3 packet::skb_change_tail;
    39 new2 packet::skb_pull_data;
    40 new2 packet::csum_update;
    41 new1 packet::set_hash_invalid;
    42 new0 base::get_numa_node_id;
    43 new3 packet::skb_change_head;
    44 new2 packet::xdp_adjust_head;
    45 new2 trace::probe_read_str;
    46 new1 packet::get_socket_cookie;
    47 new1 packet::get_socket_uid;
    48 new2 packet::set_hash;
    50 new4 packet::skb_adjust_room;
    54 new2 packet::xdp_adjust_meta;
    55 new3 events::read_value;
    56 new2 event::perf_prog_read_value;
    65 new2 packet::xdp_adjust_tail;
    67 new3 stack::of_regs;
    68 new4 packet::skb_load_bytes_relative;
    69 new3 packet::fib_lookup;
    79 new1 packet::skb_cgroup_id;
    80 new0 base::get_current_cgroup_id;
    83 new2 packet::skb_ancestor_cgroup_id;
    84 new4 packet::tc_sk_lookup_tcp;
    85 new4 packet::tc_sk_lookup_udp;
    86 new1 packet::sk_release;
    87 new3 map::map_push_elem;
    88 new2 map::map_pop_elem;
    89 new2 map::map_peek_elem;
    93 new1 map::spin_lock;
    94 new1 map::spin_unlock;
    95 new1 packet::sk_fullsock;
    96 new1 packet::tcp_sock;
    97 new1 packet::skb_ecn_set_ce;
    98 new1 packet::get_listener_sock;
    99 new4 packet::tc_skc_lookup_tcp;
    109 new1 base::send_signal;
    112 new2 trace::probe_read_user;
    113 new2 trace::probe_read_kernel;
    114 new2 trace::probe_read_user_str;
    115 new2 trace::probe_read_kernel_str;
    117 new1 base::send_signal_thread;
    118 new0 base::jiffies64;
    120 new3 base::get_ns_current_pid_tgid;
    122 new1 packet::get_netns_cookie;
    123 new1 base::get_current_ancestor_cgroup_id;
    125 new0 base::ktime_get_boot_ns;
    130 new3 ringbuf::ringbuf_output;
    131 new3 ringbuf::ringbuf_reserve;
    132 new2 ringbuf::ringbuf_submit;
    133 new2 ringbuf::ringbuf_discard;
    134 new2 ringbuf::ringbuf_query;
    135 new2 packet::csum_level;
    151 new1 packet::skb_cgroup_classid;
    152 new3 packet::redirect_neigh;
    155 new2 packet::redirect_peer;
    160 new0 base::ktime_get_coarse_ns;
    163 new5 packet::check_mtu;
    165 new3 printk::snprintf;
    173 new1 trace::get_func_ip;
    174 new1 trace::get_attach_cookie;
    182 new2 base::strncmp;
    188 new1 packet::xdp_get_buff_len;
    189 new3 packet::xdp_load_bytes;
    190 new3 packet::xdp_store_bytes;
    192 new3 packet::skb_set_tstamp;
    195 new3 map::map_lookup_percpu_elem;
    208 new0 base::ktime_get_tai_ns;
}

const RECORD: ProgTypes = ProgTypes::of(&[ProgType::Tracepoint]);
/// Types whose context has no registers.
const NO_REGS: ProgTypes = ProgTypes::of(&[ProgType::RawTracepoint]);

/// Filters of cgroups, some of whose packets have no device.
const CGROUP: ProgTypes = ProgTypes::of(&[ProgType::CgroupSkb]);

/// Bodies that programs of some types have instead.
static BY_TYPE: &[(i32, ProgTypes, Body)] = &[
    (23, ProgTypes::XDP, Body::new2(packet::xdp_redirect)),
    (25, ProgTypes::PERF_EVENT, Body::new4(events::of_counter)),
    (25, RECORD, Body::new4(events::of_record)),
    (25, NO_REGS, Body::new4(events::of_caller)),
    (25, ProgTypes::SKB, Body::new4(events::of_packet)),
    (25, ProgTypes::XDP, Body::new4(events::of_frame)),
    (27, ProgTypes::PERF_EVENT, Body::new3(stack::id_of_counter)),
    (27, RECORD, Body::new3(stack::id_of_record)),
    (27, NO_REGS, Body::new3(stack::id_of_caller)),
    (67, ProgTypes::PERF_EVENT, Body::new3(stack::of_counter)),
    (67, RECORD, Body::new3(stack::of_record)),
    (67, NO_REGS, Body::new3(stack::of_caller)),
    (69, ProgTypes::XDP, Body::new3(packet::xdp_fib_lookup)),
    (84, ProgTypes::XDP, Body::new4(packet::xdp_sk_lookup_tcp)),
    (84, CGROUP, Body::new4(packet::cg_sk_lookup_tcp)),
    (85, ProgTypes::XDP, Body::new4(packet::xdp_sk_lookup_udp)),
    (85, CGROUP, Body::new4(packet::cg_sk_lookup_udp)),
    (99, ProgTypes::XDP, Body::new4(packet::xdp_skc_lookup_tcp)),
    (99, CGROUP, Body::new4(packet::cg_skc_lookup_tcp)),
    (163, ProgTypes::XDP, Body::new5(packet::xdp_check_mtu)),
];

/// The body of [`MAP_NEXT`], which only the rewriting of programs makes calls of.
static NEXT: Body = Body::new2(map::map_next);

/// Do the parameters of `body` fit the arguments that the verifier checks for `row`?
// Called in a constant, which the lint does not see.
#[allow(dead_code)]
const fn fits(row: &Helper, body: &Body) -> bool {
    let mut args: &[Arg] = &row.args;
    let mut kinds: &[Kind] = body.kinds();
    while let [kind, more_kinds @ ..] = kinds {
        let rest = match (*kind, args) {
            (Kind::None, []) => args,
            (Kind::None, [Arg::None, rest @ ..])
            | (Kind::Number, [Arg::Anything | Arg::Unchecked | Arg::AllocSize, rest @ ..])
            | (Kind::Room, [Arg::MapValueOut, rest @ ..])
            | (Kind::Record, [Arg::ReleaseRingMem, rest @ ..])
            | (Kind::Map, [Arg::ConstMap, rest @ ..])
            | (Kind::Key, [Arg::MapKey, rest @ ..])
            | (Kind::Value, [Arg::MapValue, rest @ ..])
            | (Kind::Str, [Arg::ConstStr, rest @ ..])
            | (Kind::Lock, [Arg::SpinLock, rest @ ..])
            | (Kind::Sock, [Arg::Sock, rest @ ..])
            | (Kind::HeldSock, [Arg::ReleaseSock, rest @ ..])
            | (Kind::Word, [Arg::WordUpdate, rest @ ..])
            | (Kind::Ctx, [Arg::Ctx, rest @ ..]) => rest,
            (
                Kind::Read,
                [Arg::MemRead | Arg::MemReadOrNull, Arg::Size | Arg::SizeOrZero, rest @ ..],
            )
            | (Kind::Write, [Arg::MemWrite, Arg::Size | Arg::SizeOrZero, rest @ ..])
            | (
                Kind::Update,
                [Arg::MemUpdate | Arg::MemWriteOrNull, Arg::Size | Arg::SizeOrZero, rest @ ..],
            ) => rest,
            _ => return false,
        };
        args = rest;
        kinds = more_kinds;
    }
    true
}

// Each row that says so has a body of its kind, and each body a row.
const _: () = {
    let mut rows = HELPERS;
    let mut bodies = BODIES;
    while let [row, more_rows @ ..] = rows {
        if row.body && !row.rewritten && row.id != TAIL_CALL {
            assert!(!bodies.is_empty(), "a helper without a body");
            if let [(id, body), more_bodies @ ..] = bodies {
                assert!(
                    row.id == *id,
                    "a helper without a body, or a body without a helper"
                );
                assert!(
                    fits(row, body),
                    "a body takes other arguments than its helper"
                );
                bodies = more_bodies;
            }
        }
        rows = more_rows;
    }
    assert!(bodies.is_empty(), "a body without a helper");

    let mut others = BY_TYPE;
    while let [(id, _, body), more @ ..] = others {
        let mut rows = HELPERS;
        let mut fit = false;
        while let [row, more_rows @ ..] = rows {
            fit |= row.id == *id && fits(row, body);
            rows = more_rows;
        }
        assert!(fit, "a body takes other arguments than its helper");
        others = more;
    }
};

/// What there is for one helper: the compiler asks for each call, so nothing is searched for.
#[derive(Clone, Copy)]
struct Place {
    /// Its body's place in [`BODIES`]; 255 if it has none.
    body: u8,
    /// [`BY_TYPE`] has bodies of it, too.
    by_type: bool,
}

// The number that stands for none is no body's.
const _: () = assert!(BODIES.len() < 255);

/// The places of the bodies by number.
static PLACES: [Place; NUMBERS] = {
    let none = Place {
        body: 255,
        by_type: false,
    };
    let mut places = [none; NUMBERS];
    let mut at = 0;
    while at < BODIES.len() {
        places[BODIES[at].0 as usize].body = at as u8;
        at += 1;
    }
    let mut at = 0;
    while at < BY_TYPE.len() {
        places[BY_TYPE[at].0 as usize].by_type = true;
        at += 1;
    }
    places
};

/// Address of the body of helper number `id` for programs of type `ty`.
pub(crate) fn address(id: i32, ty: ProgType) -> Option<usize> {
    if id == MAP_NEXT {
        return Some(NEXT.address());
    }
    let place = PLACES.get(usize::try_from(id).ok()?)?;
    if place.by_type {
        let of_type = |(i, types, _): &&(i32, ProgTypes, Body)| *i == id && types.contains(ty);
        if let Some((_, _, body)) = BY_TYPE.iter().find(of_type) {
            return Some(body.address());
        }
    }
    let (_, body) = BODIES.get(usize::from(place.body))?;
    Some(body.address())
}

/// Once, when the module is loaded.
pub(crate) fn init() {
    crate::sys::task::prandom_seed();
}

/// A result as programs get it: the number, or the negative errno.
fn errno(result: Result<u64>) -> u64 {
    match result {
        Ok(value) => value,
        Err(error) => i64::from(error.to_errno()) as u64,
    }
}
