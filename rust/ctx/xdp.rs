// SPDX-License-Identifier: GPL-2.0

//! `struct xdp_md`: the view of packets before they have an skb.
//!
//! `egress_ifindex` has no row: only programs for a device map may read it.

use super::field::{table, Field, Place, Rule};
use super::Value;
use crate::abi::{ProgType, ProgTypes};
use crate::helper::Cap;
use crate::isa::Size;

const XDP: ProgTypes = ProgTypes::of(&[ProgType::Xdp]);

/// A field that is read whole.
const fn field(start: u32, value: Value, rule: Rule, place: Place) -> Field {
    Field {
        start,
        end: start + 4,
        value,
        rule,
        load: XDP,
        store: ProgTypes::of(&[]),
        cgroup_load: Cap::None,
        cgroup_store: Cap::None,
        place,
    }
}

const POINTER: Rule = Rule::Exact(Size::W);

/// The fields, in the order of `<linux/bpf.h>`.
pub(super) static FIELDS: &[Field] = table(ROWS);

const ROWS: &[Field] = &[
    // data
    field(
        0,
        Value::PacketData,
        POINTER,
        Place::Member(|l| l.xdp_data, Size::Dw),
    ),
    // data_end
    field(
        4,
        Value::PacketEnd,
        POINTER,
        Place::Member(|l| l.xdp_data_end, Size::Dw),
    ),
    // data_meta
    field(
        8,
        Value::PacketMeta,
        POINTER,
        Place::Member(|l| l.xdp_data_meta, Size::Dw),
    ),
    // ingress_ifindex
    field(
        12,
        Value::Scalar,
        Rule::Whole(Size::W),
        Place::Behind(&[|l| l.xdp_rxq, |l| l.rxq_dev], |l| l.dev_ifindex, Size::W),
    ),
    // rx_queue_index
    field(
        16,
        Value::Scalar,
        Rule::Whole(Size::W),
        Place::Behind(&[|l| l.xdp_rxq], |l| l.rxq_queue_index, Size::W),
    ),
];
