// SPDX-License-Identifier: GPL-2.0

//! Contexts: per program type, what lies where, who may read or write it, and where the running
//! kernel keeps it.

use crate::abi::ProgType;
use crate::isa::{Insn, Reg, Size};
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
}

/// The verifier's question: may a program of type `prog` access `size` bytes at byte `off`?
///
/// `Some` says what a load gives; `None` means "invalid bpf_context access".
pub fn check_access(_prog: ProgType, _off: i32, _size: Size, _write: bool) -> Option<Value> {
    None
}

/// Byte offsets inside the running kernel's structures, as the C compiler laid them out.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelLayout {
    /// `offsetof(struct sk_buff, len)`
    pub skb_len: i16,
}

/// Appends to `out` what a proved context load becomes on the running kernel's structures.
///
/// # Errors
///
/// `ENOMEM` when `out` cannot grow.
pub fn lower_load(
    _prog: ProgType,
    _layout: &KernelLayout,
    _dst: Reg,
    _src: Reg,
    _off: i16,
    _size: Size,
    _out: &mut KVVec<Insn>,
) -> Result {
    Err(EINVAL)
}
