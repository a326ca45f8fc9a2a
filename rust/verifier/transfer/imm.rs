// SPDX-License-Identifier: GPL-2.0

//! `ld_imm64`: numbers, maps and addresses of map values.

use crate::isa::{Imm64, Reg};
use crate::verifier::error::refuse;
use crate::verifier::explore::{Flow, Verifier};
use crate::verifier::state::reg::{Base, Ptr, Val};
use kernel::prelude::*;

impl Verifier<'_> {
    /// `dst = imm`; map references were resolved before exploration.
    pub(in crate::verifier) fn ld_imm64(&mut self, dst: Reg, imm: Imm64) -> Result<Flow> {
        self.writable(dst)?;
        let v = match imm {
            Imm64::Value(c) => Val::constant(c),
            Imm64::Map(map) => Val::Ptr(Ptr::new(Base::ConstMap {
                map: u16::try_from(map).map_err(|_| EFAULT)?,
            })),
            Imm64::MapValue { map, off } => {
                let mut p = Ptr::new(Base::MapValue {
                    map: u16::try_from(map).map_err(|_| EFAULT)?,
                    or_null: false,
                });
                p.fixed = i64::from(off);
                Val::Ptr(p)
            }
            Imm64::Func(start) => {
                // Callbacks are verified with what their callers know, in-tree and here.
                let sub = self.subs.starting_at(start).ok_or(EFAULT)?;
                if self.globals.get(sub).is_some_and(|g| g.global) {
                    return refuse!(self.log, EINVAL, "callback function not static");
                }
                Val::Ptr(Ptr::new(Base::Func { start }))
            }
            Imm64::BtfId { .. } => {
                return refuse!(
                    self.log,
                    EINVAL,
                    "kernel is missing BTF, make sure CONFIG_DEBUG_INFO_BTF=y is specified in \
                     Kconfig."
                );
            }
            Imm64::MapFd(_)
            | Imm64::MapIdx(_)
            | Imm64::MapValueFd { .. }
            | Imm64::MapValueIdx { .. } => return Err(EFAULT),
        };
        self.set(dst, v);
        Ok(Flow::To(self.at.wrapping_add(2)))
    }
}
