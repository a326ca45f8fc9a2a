// SPDX-License-Identifier: GPL-2.0

//! Packet data and metadata, within what comparisons with their end have shown.

use super::Dir;
use crate::abi::ProgType;
use crate::isa::Reg;
use crate::verifier::error::refuse;
use crate::verifier::explore::Verifier;
use crate::verifier::state::reg::{Base, Ptr, Range};
use kernel::prelude::*;

impl Verifier<'_> {
    /// Whether programs of this type may access the packet directly.
    pub(crate) fn may_access_packet(&self, dir: Dir) -> bool {
        match self.options.prog_type {
            ProgType::CgroupSkb => dir == Dir::Read,
            ProgType::SchedCls | ProgType::SchedAct | ProgType::Xdp => true,
            ProgType::SocketFilter
            | ProgType::Kprobe
            | ProgType::Tracepoint
            | ProgType::PerfEvent
            | ProgType::RawTracepoint => false,
        }
    }

    /// `len` bytes at `ptr + off` are within the packet.
    ///
    /// All pointers of one identity share their variable part `v`. A comparison showed that
    /// `base + v + n` is not beyond the end, so `base + v + fixed + off` up to that is inside,
    /// and it is not before the start when its least value is not negative.
    pub(crate) fn check_packet(
        &mut self,
        ptr: &Ptr,
        r: Reg,
        off: i64,
        len: i64,
        zero_ok: bool,
    ) -> Result {
        let (Base::Packet(range) | Base::PacketMeta(range)) = ptr.base else {
            return Err(EFAULT);
        };
        let room = match range {
            Range::AtEnd | Range::BeyondEnd => {
                return refuse!(
                    self.log,
                    EINVAL,
                    "R{} offset is outside of the packet",
                    r.index()
                );
            }
            Range::Unknown => 0,
            // Seen from the pointer's base the range is longer by the variable part's greatest
            // value, and so is the access that is checked against it.
            Range::Bytes(n) => i64::from(n)
                .checked_add(i64::try_from(ptr.var.umax()).unwrap_or(i64::MAX))
                .unwrap_or(0),
        };
        self.check_region(ptr, r, off, len, room, zero_ok, "packet")?;
        let reach = ptr.fixed.checked_add(off).and_then(|o| o.checked_add(len));
        match range {
            // The same without the variable part, whose bounds need not be exact.
            Range::Bytes(n) if reach.is_none_or(|e| e > i64::from(n)) => refuse!(
                self.log,
                EACCES,
                "R{} max value is outside of the allowed memory range",
                r.index()
            ),
            _ => Ok(()),
        }
    }
}
