// SPDX-License-Identifier: GPL-2.0

//! Map values.

use super::{Access, Dir};
use crate::isa::Reg;
use crate::verifier::domain::scalar::Scalar;
use crate::verifier::error::refuse;
use crate::verifier::explore::Verifier;
use crate::verifier::state::reg::{Num, Ptr, Val, FOUND_IN};
use kernel::prelude::*;

impl Verifier<'_> {
    /// `len` bytes at `ptr + off` are within a value of the map, which may be accessed so.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn check_map_value(
        &mut self,
        ptr: &Ptr,
        map: u16,
        r: Reg,
        off: i64,
        len: i64,
        zero_ok: bool,
        dir: Dir,
    ) -> Result {
        let facts = self.map(map)?;
        let forbidden = match dir {
            Dir::Read if facts.wronly_prog => Some("read from"),
            Dir::Write if facts.rdonly_prog || facts.frozen => Some("write into"),
            Dir::Read | Dir::Write => None,
        };
        if let Some(what) = forbidden {
            return refuse!(
                self.log,
                EACCES,
                "{} map forbidden, value_size={} off={} size={}",
                what,
                facts.value_size,
                ptr.offset().smin().saturating_add(off),
                len
            );
        }
        self.check_in_value(ptr, map, r, off, len, zero_ok)
    }

    /// `len` bytes at `ptr + off` are within a value of the map, and none of its lock.
    pub(crate) fn check_in_value(
        &mut self,
        ptr: &Ptr,
        map: u16,
        r: Reg,
        off: i64,
        len: i64,
        zero_ok: bool,
    ) -> Result {
        let facts = self.map(map)?;
        self.check_region(
            ptr,
            r,
            off,
            len,
            i64::from(facts.value_size),
            zero_ok,
            "map value",
        )?;
        let Some(lock) = facts.lock.map(i64::from) else {
            return Ok(());
        };
        // Nobody but who takes it may touch a lock: no byte from the first to the last that the access
        // can come to is one of it.
        let (first, last) = (ptr.offset().smin(), ptr.offset().umax());
        let first = first.saturating_add(off);
        let end = i64::try_from(last)
            .unwrap_or(i64::MAX)
            .saturating_add(off)
            .saturating_add(len);
        if first < lock.saturating_add(4) && lock < end {
            return refuse!(
                self.log,
                EACCES,
                "bpf_spin_lock cannot be accessed directly by load/store"
            );
        }
        Ok(())
    }

    /// A load; from a value that never changes any more it gives what is there.
    pub(super) fn map_value_load(
        &mut self,
        ptr: &Ptr,
        map: u16,
        a: &Access,
        sx: bool,
    ) -> Result<Val> {
        self.check_map_value(ptr, map, a.reg, a.off, a.len(), false, Dir::Read)?;
        let facts = self.map(map)?;
        if let (true, true, Some(at)) = (facts.frozen, facts.direct_value, ptr.const_offset()) {
            let mut bytes = [0u8; 8];
            let len = a.size.bytes() as usize;
            let off = at
                .checked_add(a.off)
                .and_then(|o| u32::try_from(o).ok())
                .ok_or(EFAULT)?;
            let part = bytes.get_mut(..len).ok_or(EFAULT)?;
            if map & FOUND_IN == 0 && self.env.read_frozen(u32::from(map), off, part) {
                let raw = u64::from_le_bytes(bytes);
                let v = if sx {
                    let shift = 64u32.saturating_sub(a.size.bits());
                    ((raw << shift) as i64 >> shift) as u64
                } else {
                    raw
                };
                return Ok(Val::constant(v));
            }
        }
        Ok(Val::Scalar(Num::fresh(Scalar::load(a.size, sx))))
    }
}
