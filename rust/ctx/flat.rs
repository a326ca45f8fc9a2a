// SPDX-License-Identifier: GPL-2.0

//! Flat contexts: memory that programs read as it is.

use super::{Access, Value};
use crate::isa::Size;

/// The readable bytes of a flat context.
///
/// Writing is refused everywhere: what a kprobe's program would write into `pt_regs` changes the
/// probed function.
#[derive(Clone, Copy)]
pub(super) struct Region {
    start: u32,
    end: u32,
}

/// x86-64's `struct pt_regs`: 21 registers of eight bytes.
pub(super) const PT_REGS: Region = Region { start: 0, end: 168 };

/// A tracepoint's record (`PERF_MAX_TRACE_SIZE`); the first eight bytes are the kernel's own.
pub(super) const TRACE_RECORD: Region = Region {
    start: 8,
    end: 8192,
};

/// A raw tracepoint's arguments (`MAX_BPF_FUNC_ARGS` of eight bytes).
pub(super) const RAW_ARGS: Region = Region { start: 0, end: 96 };

impl Region {
    /// Whether the aligned access lies inside. (All ends are multiples of eight, so an aligned
    /// access that starts inside ends inside.)
    pub(super) fn check(self, off: u32, _size: Size, access: Access) -> Option<Value> {
        let inside = off >= self.start && off < self.end;
        let load = matches!(access, Access::Load { .. });
        (inside && load).then_some(Value::Scalar)
    }
}

const _: () = assert!(PT_REGS.end % 8 == 0 && TRACE_RECORD.end % 8 == 0 && RAW_ARGS.end % 8 == 0);
