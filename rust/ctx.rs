// SPDX-License-Identifier: GPL-2.0

//! Contexts: per program type, what lies where, who may read or write it, and where the running
//! kernel keeps it.
//!
//! Two kinds. A *flat* context ([`flat`]: `pt_regs`, trace records) is what the program's `R1`
//! points to, and accesses stay as they are. A *view* (`__sk_buff`, `xdp_md`,
//! `bpf_perf_event_data`) exists on paper only: `R1` points to the kernel's own structure, each
//! field is a row of a table ([`field`]), and [`lower_load`] and [`lower_store`] turn a proved
//! access into accesses to that structure. A field that the tables do not name cannot be accessed.

mod field;
mod flat;
mod layout;
mod perf_event;
mod skb;
mod sock;
mod xdp;

pub use layout::{KernelLayout, SOCK_PARTS, TCP_FIELDS};
pub use sock::{check_sock, lower_sock_load, Sock};

use crate::abi::ProgType;
use crate::helper::Caps;
use crate::isa::{Insn, Reg, Size, Src};
use field::Field;
use kernel::prelude::*;

/// What a load from the context gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number of the access's size.
    Scalar,
    /// Start of the packet (`data`).
    PacketData,
    /// End of the packet (`data_end`).
    PacketEnd,
    /// Start of the packet's metadata (`data_meta`).
    PacketMeta,
    /// The packet's socket, or NULL (`sk`).
    SockOrNull,
}

/// What a program wants to do with its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Load.
    Load {
        /// Sign-extends.
        sx: bool,
    },
    /// Store of a register or an immediate. (Atomics on a context are not allowed at all.)
    Store,
}

/// How a program type's context is described.
enum Shape {
    Flat(flat::Region),
    View(&'static [Field]),
}

fn shape(prog: ProgType) -> Shape {
    match prog {
        ProgType::SocketFilter | ProgType::SchedCls | ProgType::SchedAct | ProgType::CgroupSkb => {
            Shape::View(skb::FIELDS)
        }
        ProgType::Xdp => Shape::View(xdp::FIELDS),
        ProgType::PerfEvent => Shape::View(perf_event::FIELDS),
        ProgType::Kprobe => Shape::Flat(flat::PT_REGS),
        ProgType::Tracepoint => Shape::Flat(flat::TRACE_RECORD),
        ProgType::RawTracepoint => Shape::Flat(flat::RAW_ARGS),
    }
}

/// Accesses stay as they are, and may go through a context pointer with a constant added.
///
/// For other types the context pointer must be unmodified.
pub fn is_flat(prog: ProgType) -> bool {
    matches!(shape(prog), Shape::Flat(_))
}

/// The verifier's question: may a program of type `prog`, loaded with `caps`, access `size` bytes
/// at byte `off`?
///
/// `Some` says what a load gives; `None` means "invalid bpf_context access".
pub fn check_access(
    prog: ProgType,
    caps: Caps,
    off: i32,
    size: Size,
    access: Access,
) -> Option<Value> {
    let off = u32::try_from(off).ok()?;
    if off % size.bytes() != 0 {
        return None;
    }
    match shape(prog) {
        Shape::Flat(region) => region.check(off, size, access),
        Shape::View(fields) => field::find(fields, off)?.check(prog, caps, off, size, access),
    }
}

/// A proved load from a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtxLoad {
    /// Access size.
    pub size: Size,
    /// Sign-extends.
    pub sx: bool,
    /// Result.
    pub dst: Reg,
    /// The context.
    pub src: Reg,
    /// Byte offset.
    pub off: i16,
}

/// A proved store to a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtxStore {
    /// Access size.
    pub size: Size,
    /// The context.
    pub dst: Reg,
    /// Byte offset.
    pub off: i16,
    /// What is stored.
    pub src: Src,
}

/// What lowering needs to know besides the access.
#[derive(Clone, Copy, Debug)]
pub struct Lowering<'a> {
    /// The program's type.
    pub prog: ProgType,
    /// The running kernel's structures.
    pub layout: &'a KernelLayout,
    /// Offset from `R10` of eight bytes of stack that only lowered accesses use; some need a
    /// second register, and save it there ([`needs_scratch`]).
    pub scratch: i16,
    /// The program looks at the type of the packet's time ([`reads_tstamp_type`]), so it is given
    /// the time as it is. Other programs expect the time of arrival, and see 0 where
    /// there is another.
    pub tstamp_as_is: bool,
}

/// Whether a proved access at `off` of the context uses [`Lowering::scratch`].
pub fn needs_scratch(prog: ProgType, off: i16) -> bool {
    match shape(prog) {
        Shape::Flat(_) => false,
        Shape::View(fields) => field::at(fields, off).is_ok_and(Field::needs_scratch),
    }
}

/// Whether a proved load at `off` of the context reads the type of the packet's time.
pub fn reads_tstamp_type(prog: ProgType, off: i16) -> bool {
    match shape(prog) {
        Shape::Flat(_) => false,
        Shape::View(fields) => field::at(fields, off).is_ok_and(Field::is_tstamp_type),
    }
}

/// Appends to `out` what a proved context load becomes on the running kernel's structures.
///
/// Of registers only `load.dst` (which may be `load.src`) changes. Targets of jumps among the
/// appended instructions are slot numbers in `out`; they are never beyond the slot after the last
/// one that is appended.
///
/// # Errors
///
/// `ENOMEM` when `out` cannot grow; `EINVAL` for an access that [`check_access`] refuses.
pub fn lower_load(lowering: &Lowering<'_>, load: &CtxLoad, out: &mut KVVec<Insn>) -> Result {
    match shape(lowering.prog) {
        Shape::Flat(_) => {
            let insn = Insn::Load {
                size: load.size,
                sx: load.sx,
                dst: load.dst,
                src: load.src,
                off: load.off,
            };
            out.push(insn, GFP_KERNEL)?;
            Ok(())
        }
        Shape::View(fields) => field::at(fields, load.off)?.lower_load(lowering, load, out),
    }
}

/// Appends to `out` what a proved context store becomes on the running kernel's structures.
///
/// No register changes. Jump targets are as for [`lower_load`].
///
/// # Errors
///
/// `ENOMEM` when `out` cannot grow; `EINVAL` for an access that [`check_access`] refuses.
pub fn lower_store(lowering: &Lowering<'_>, store: &CtxStore, out: &mut KVVec<Insn>) -> Result {
    match shape(lowering.prog) {
        Shape::Flat(_) => Err(EINVAL),
        Shape::View(fields) => field::at(fields, store.off)?.lower_store(lowering, store, out),
    }
}

#[cfg(test)]
mod tests;
