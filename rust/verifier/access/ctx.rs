// SPDX-License-Identifier: GPL-2.0

//! The context, by the rows of [`crate::ctx`].

use super::Access;
use crate::ctx::{self, Sock, Value};
use crate::verifier::domain::scalar::Scalar;
use crate::verifier::error::refuse;
use crate::verifier::explore::Verifier;
use crate::verifier::state::reg::{Base, Num, Ptr, Range, Val};
use kernel::prelude::*;

impl Verifier<'_> {
    /// A load; fields that hold packet pointers give those.
    pub(super) fn ctx_load(&mut self, ptr: &Ptr, a: &Access, sx: bool) -> Result<Val> {
        Ok(match self.check_ctx(ptr, a, ctx::Access::Load { sx })? {
            Value::Scalar => Val::Scalar(Num::fresh(Scalar::load(a.size, sx))),
            Value::PacketData => Val::Ptr(Ptr::new(Base::Packet(Range::Unknown))),
            Value::PacketMeta => Val::Ptr(Ptr::new(Base::PacketMeta(Range::Unknown))),
            Value::PacketEnd => Val::Ptr(Ptr::new(Base::PacketEnd)),
            // It may be a request, or wait for its end.
            Value::SockOrNull => {
                let mut p = Ptr::new(Base::Sock {
                    sock: Sock::Common,
                    or_null: true,
                });
                p.id = self.new_id();
                Val::Ptr(p)
            }
        })
    }

    /// A store.
    pub(super) fn ctx_store(&mut self, ptr: &Ptr, a: &Access) -> Result {
        self.check_ctx(ptr, a, ctx::Access::Store).map(|_| ())
    }

    fn check_ctx(&mut self, ptr: &Ptr, a: &Access, access: ctx::Access) -> Result<Value> {
        let prog = self.options.prog_type;
        // Accesses that are rewritten are so by their own offset, so the pointer must be the
        // context itself.
        let own = self.check_fixed(ptr, a.reg, ctx::is_flat(prog))?;
        let off = own.saturating_add(a.off);
        let value = i32::try_from(off)
            .ok()
            .and_then(|off| ctx::check_access(prog, self.options.caps(), off, a.size, access));
        match value {
            Some(v) => {
                let end = u32::try_from(off)
                    .unwrap_or(0)
                    .saturating_add(a.size.bytes());
                self.figures.ctx_end = self.figures.ctx_end.max(end);
                Ok(v)
            }
            None => refuse!(
                self.log,
                EACCES,
                "invalid bpf_context access off={} size={}",
                off,
                a.size.bytes()
            ),
        }
    }
}
