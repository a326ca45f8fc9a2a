// SPDX-License-Identifier: GPL-2.0

//! `struct __sk_buff`: the view of packets that filters, classifiers and actions have.
//!
//! Fields without a row cannot be accessed: `flow_keys` and the socket's own (`family` to `local_port`),
//! which nobody here may.

use super::field::{table, Field, Place, Rule};
use super::Value;
use crate::abi::{ProgType, ProgTypes};
use crate::helper::Cap;
use crate::isa::Size;

const ALL: ProgTypes = ProgTypes::SKB;
const NONE: ProgTypes = ProgTypes::of(&[]);
const TC: ProgTypes = ProgTypes::of(&[ProgType::SchedCls, ProgType::SchedAct]);
/// Types that see the packet's bytes through pointers.
const DIRECT: ProgTypes = TC.and(ProgTypes::of(&[ProgType::CgroupSkb]));

/// A u32 field.
const fn word(start: u32, load: ProgTypes, store: ProgTypes, place: Place) -> Field {
    Field {
        start,
        end: start + 4,
        value: Value::Scalar,
        rule: Rule::Narrow(Size::W),
        load,
        store,
        cgroup_load: Cap::None,
        cgroup_store: Cap::None,
        place,
    }
}

/// A u64 field.
const fn double(start: u32, load: ProgTypes, store: ProgTypes, place: Place) -> Field {
    Field {
        start,
        end: start + 8,
        value: Value::Scalar,
        rule: Rule::Whole(Size::Dw),
        load,
        store,
        cgroup_load: Cap::None,
        cgroup_store: Cap::None,
        place,
    }
}

/// A packet pointer.
const fn pointer(start: u32, value: Value, load: ProgTypes, place: Place) -> Field {
    Field {
        start,
        end: start + 4,
        value,
        rule: Rule::Exact(Size::W),
        load,
        store: NONE,
        cgroup_load: Cap::Bpf,
        cgroup_store: Cap::None,
        place,
    }
}

/// The fields, in the order of `<linux/bpf.h>`.
pub(super) static FIELDS: &[Field] = table(ROWS);

const ROWS: &[Field] = &[
    // len
    word(0, ALL, NONE, Place::Member(|l| l.skb_len, Size::W)),
    // pkt_type
    word(4, ALL, NONE, Place::PktType),
    // mark
    word(8, ALL, DIRECT, Place::Member(|l| l.skb_mark, Size::W)),
    // queue_mapping
    word(12, ALL, TC, Place::QueueMapping),
    // protocol
    word(16, ALL, NONE, Place::Member(|l| l.skb_protocol, Size::H)),
    // vlan_present
    word(20, ALL, NONE, Place::VlanPresent),
    // vlan_tci
    word(24, ALL, NONE, Place::Member(|l| l.skb_vlan_tci, Size::H)),
    // vlan_proto
    word(28, ALL, NONE, Place::Member(|l| l.skb_vlan_proto, Size::H)),
    // priority
    word(32, ALL, DIRECT, Place::Member(|l| l.skb_priority, Size::W)),
    // ingress_ifindex
    word(36, ALL, NONE, Place::Member(|l| l.skb_iif, Size::W)),
    // ifindex
    word(40, ALL, NONE, Place::IfIndex),
    // tc_index
    word(44, ALL, TC, Place::Member(|l| l.skb_tc_index, Size::H)),
    // cb[5]
    Field {
        start: 48,
        end: 68,
        value: Value::Scalar,
        rule: Rule::Any,
        load: ALL,
        store: ALL,
        cgroup_load: Cap::None,
        cgroup_store: Cap::None,
        place: Place::Bytes(|l| l.skb_cb_data),
    },
    // hash
    word(68, ALL, NONE, Place::Member(|l| l.skb_hash, Size::W)),
    // tc_classid
    word(72, TC, TC, Place::Member(|l| l.skb_cb_tc_classid, Size::H)),
    // data
    pointer(
        76,
        Value::PacketData,
        DIRECT,
        Place::Member(|l| l.skb_data, Size::Dw),
    ),
    // data_end
    pointer(
        80,
        Value::PacketEnd,
        DIRECT,
        Place::Member(|l| l.skb_cb_data_end, Size::Dw),
    ),
    // napi_id
    word(84, ALL, NONE, Place::NapiId),
    // data_meta
    pointer(
        140,
        Value::PacketMeta,
        TC,
        Place::Member(|l| l.skb_cb_data_meta, Size::Dw),
    ),
    // tstamp
    Field {
        cgroup_store: Cap::Bpf,
        ..double(152, DIRECT, DIRECT, Place::Tstamp)
    },
    // wire_len
    word(160, TC, NONE, Place::Member(|l| l.skb_cb_pkt_len, Size::W)),
    // gso_segs
    word(
        164,
        ALL,
        NONE,
        Place::Shared(|l| l.shinfo_gso_segs, Size::H),
    ),
    // sk
    Field {
        value: Value::SockOrNull,
        rule: Rule::Exact(Size::Dw),
        ..double(168, ALL, NONE, Place::Member(|l| l.skb_sk, Size::Dw))
    },
    // gso_size
    word(
        176,
        ALL,
        NONE,
        Place::Shared(|l| l.shinfo_gso_size, Size::H),
    ),
    // tstamp_type
    Field {
        start: 180,
        end: 181,
        value: Value::Scalar,
        rule: Rule::Whole(Size::B),
        load: TC,
        store: NONE,
        cgroup_load: Cap::None,
        cgroup_store: Cap::None,
        place: Place::TstampType,
    },
    // hwtstamp
    double(
        184,
        DIRECT,
        NONE,
        Place::Shared(|l| l.shinfo_hwtstamps, Size::Dw),
    ),
];
