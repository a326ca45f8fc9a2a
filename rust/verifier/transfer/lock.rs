// SPDX-License-Identifier: GPL-2.0

//! Spin locks in values of maps.
//!
//! What must never happen is that a program waits for itself, for somebody who waits for it, or for ever.
//! So it holds one lock at a time, and from taking it to giving back that same one it calls no helper
//! ([`Verifier::call_helper`]) and does not end ([`Verifier::check_leak`]). Subprograms may be called and
//! return meanwhile: the lock belongs to the state, not to a frame. That all ways from it come to its end
//! is what is shown of any program. Its four bytes are out of reach of loads, stores and helpers
//! ([`Verifier::check_map_value`]), and programs that may interrupt a holder cannot have the map.

use crate::helper::{Helper, SPIN_LOCK};
use crate::isa::Reg;
use crate::verifier::error::refuse;
use crate::verifier::explore::Verifier;
use crate::verifier::state::refs::Lock;
use crate::verifier::state::reg::Val;
use kernel::prelude::*;

impl Verifier<'_> {
    /// `v` is the address of a lock; the helper takes it, or gives it back.
    pub(super) fn check_lock(&mut self, row: &Helper, v: &Val, r: Reg) -> Result {
        let Some((p, map)) = v.map_value() else {
            return self.wrong_type(v, r, "map_value, ptr_");
        };
        let Some(off) = p.const_offset() else {
            return refuse!(
                self.log,
                EINVAL,
                "R{} doesn't have constant offset. bpf_spin_lock has to be at the constant offset",
                r.index()
            );
        };
        let Some(at) = self.map(map)?.lock else {
            return refuse!(self.log, EINVAL, "map has no valid bpf_spin_lock");
        };
        if off != i64::from(at) {
            return refuse!(
                self.log,
                EINVAL,
                "off {} doesn't point to 'struct bpf_spin_lock' that is at {}",
                off,
                at
            );
        }
        let this = Lock { id: p.id, map };
        match (row.id == SPIN_LOCK, self.cur.lock) {
            (true, None) => self.cur.lock = Some(this),
            (false, Some(held)) if held == this => self.cur.lock = None,
            (true, Some(_)) => {
                return refuse!(
                    self.log,
                    EINVAL,
                    "Locking two bpf_spin_locks are not allowed"
                );
            }
            (false, Some(_)) => {
                return refuse!(self.log, EINVAL, "bpf_spin_unlock of different lock");
            }
            (false, None) => {
                return refuse!(self.log, EINVAL, "bpf_spin_unlock without taking a lock");
            }
        }
        Ok(())
    }
}
