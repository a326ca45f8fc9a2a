// SPDX-License-Identifier: GPL-2.0

//! `struct bpf_perf_event_data`: registers, sample period and address of a perf event.

use super::field::{table, Field, Place, Rule};
use super::Value;
use crate::abi::{ProgType, ProgTypes};
use crate::helper::Cap;
use crate::isa::Size;

/// A field that only loads.
const fn field(start: u32, end: u32, rule: Rule, place: Place) -> Field {
    Field {
        start,
        end,
        value: Value::Scalar,
        rule,
        load: ProgTypes::of(&[ProgType::PerfEvent]),
        store: ProgTypes::of(&[]),
        cgroup_load: Cap::None,
        cgroup_store: Cap::None,
        place,
    }
}

/// The fields, in the order of `<linux/bpf_perf_event.h>`.
pub(super) static FIELDS: &[Field] = table(ROWS);

const ROWS: &[Field] = &[
    // regs: x86-64's struct pt_regs
    field(
        0,
        168,
        Rule::Whole(Size::Dw),
        Place::BehindSame(|l| l.pe_regs),
    ),
    // sample_period
    field(
        168,
        176,
        Rule::Narrow(Size::Dw),
        Place::Behind(&[|l| l.pe_data], |l| l.sample_period, Size::Dw),
    ),
    // addr
    field(
        176,
        184,
        Rule::Narrow(Size::Dw),
        Place::Behind(&[|l| l.pe_data], |l| l.sample_addr, Size::Dw),
    ),
];
