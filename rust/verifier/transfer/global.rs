// SPDX-License-Identifier: GPL-2.0

//! Calls of global functions, which are verified by themselves.
//!
//! A call is no more than its prototype says: the arguments must be what the function takes for granted,
//! and afterwards everything may be that the function could have made of what it had. Why that is enough:
//!
//! - The function is verified from its first instruction for any numbers, the context, and memory of
//!   which nothing is known but its size. So it does no harm, ends, and leaves neither a reference nor
//!   a lock behind, whoever calls it.
//! - It has no other way to what its caller knows. The caller's frame it reaches only through memory that
//!   it was passed, whose bytes hold any data afterwards. Other memory has no content that anyone relies on, but
//!   values that never change, which cannot be passed. Registers that a call preserves are preserved by the
//!   engines, and references of the caller's it cannot give back, as it sees the memory and not what it is.
//! - The packet may move if it, or what it calls, has a helper that moves it, or goes on in another
//!   program: then no pointer into it is left, and none is passed ([`Effects`]).
//!
//! In three places in-tree believes more than this. Memory in a packet is written by the function though the
//! program may not write to packets, or has not made this one its own; and an atomic operation is done
//! on memory whose alignment nobody looked at, which can stop the machine where it crosses a cache line.
//! The former and the latter are refused here, and who passes a packet has made it his own.

use super::arg::ARGS;
use crate::isa::Reg;
use crate::verifier::access::Dir;
use crate::verifier::error::refuse;
use crate::verifier::explore::{Flow, Verifier};
use crate::verifier::global::Effects;
use crate::verifier::proto::{self, ArgKind, Proto};
use crate::verifier::state::reg::{Base, Ptr, Val};
use kernel::prelude::*;

impl Verifier<'_> {
    /// The prototype of the function that is subprogram `sub`.
    ///
    /// # Errors
    ///
    /// Those of [`Proto::of`].
    pub(in crate::verifier) fn proto(&mut self, sub: usize) -> Result<Proto> {
        if let Some(known) = self.globals.get(sub).and_then(|g| g.proto) {
            return Ok(known);
        }
        let env = &*self.env;
        let (Some(btf), Some(source)) = (env.btf(), env.source()) else {
            return Err(EFAULT);
        };
        let func = source.funcs.get(sub).ok_or(EFAULT)?;
        let new = Proto::of(btf, func.ty, self.options, self.log)?;
        if let Some(g) = self.globals.get_mut(sub) {
            g.proto = Some(new);
        }
        Ok(new)
    }

    /// Logs the name of the function that is subprogram `sub`.
    pub(in crate::verifier) fn put_name(&mut self, sub: usize) {
        let env = &*self.env;
        if let (Some(btf), Some(source)) = (env.btf(), env.source()) {
            if let Some(func) = source.funcs.get(sub) {
                self.log.put_bytes(proto::name(btf, func.ty));
            }
        }
    }

    /// Calls the global function that is subprogram `sub`.
    pub(super) fn call_global(&mut self, sub: usize) -> Result<Flow> {
        let effects = self.globals.get(sub).ok_or(EFAULT)?.effects;
        let checked = self.proto(sub).and_then(|proto| {
            for (kind, r) in proto.args().iter().zip(ARGS) {
                self.check_global_arg(*kind, r, sub, effects)?;
            }
            Ok(proto)
        });
        if let Err(e) = checked {
            if e == EFAULT || e == ENOMEM {
                return Err(e);
            }
        }
        // It would be verified as if none were held: it may take one, call helpers, and end the program.
        if self.cur.lock.is_some() {
            self.log.line(format_args!(
                "global function calls are not allowed while holding a lock,"
            ));
            return refuse!(self.log, EINVAL, "use static function instead");
        }
        let proto = match checked {
            Ok(proto) => proto,
            Err(e) => {
                self.log.put(format_args!(
                    "Caller passes invalid args into func#{sub} ('"
                ));
                self.put_name(sub);
                return refuse!(self.log, e, "')");
            }
        };
        if self.log.level1() {
            self.log.put(format_args!("Func#{sub} ('"));
            self.put_name(sub);
            self.log
                .line(format_args!("') is global and assumed valid."));
        }
        if effects.moves_packet {
            self.forget_packet()?;
        }
        if let Some(g) = self.globals.get_mut(sub) {
            g.called = true;
        }
        self.clobber_caller_saved();
        if !proto.void {
            self.set(Reg::R0, Val::unknown());
        }
        Ok(Flow::Next)
    }

    /// What is in `r` is what the function believes.
    fn check_global_arg(&mut self, kind: ArgKind, r: Reg, sub: usize, effects: Effects) -> Result {
        let v = *self.reg(r);
        let n = r.index();
        match kind {
            ArgKind::Scalar => match v {
                Val::Scalar(_) => Ok(()),
                Val::Ptr(_) | Val::NotInit => {
                    refuse!(self.log, EINVAL, "R{} is not a scalar", n)
                }
            },
            ArgKind::Ctx => {
                self.check_arg_offset(&v, r)?;
                match v {
                    Val::Ptr(Ptr {
                        base: Base::Ctx, ..
                    }) => Ok(()),
                    _ => refuse!(self.log, EINVAL, "R{} expects pointer to ctx", n),
                }
            }
            ArgKind::Mem { size, or_null } => {
                self.check_arg_offset(&v, r)?;
                self.check_global_memory(&v, r, size, sub, effects)?;
                let null = match v {
                    Val::Ptr(p) => p.base.or_null(),
                    Val::Scalar(_) | Val::NotInit => true,
                };
                if null && !or_null {
                    return refuse!(self.log, EINVAL, "R{} is expected to be non-NULL", n);
                }
                Ok(())
            }
        }
    }

    /// Only some pointers may be passed with an offset.
    fn check_arg_offset(&mut self, v: &Val, r: Reg) -> Result {
        let p = match v {
            Val::Scalar(_) => return Ok(()),
            Val::Ptr(p) => p,
            Val::NotInit => {
                return refuse!(
                    self.log,
                    EACCES,
                    "variable ? access var_off=(0x0; 0xffffffffffffffff) disallowed"
                );
            }
        };
        match p.base {
            Base::Stack { .. }
            | Base::Packet(_)
            | Base::PacketMeta(_)
            | Base::MapKey { .. }
            | Base::MapValue { or_null: false, .. }
            | Base::Mem { or_null: false, .. }
            | Base::RingMem { or_null: false, .. } => Ok(()),
            Base::Ctx
            | Base::ConstMap { .. }
            | Base::MapOrNull { .. }
            | Base::MapValue { or_null: true, .. }
            | Base::Mem { or_null: true, .. }
            | Base::RingMem { or_null: true, .. }
            | Base::Sock { .. }
            | Base::Func { .. }
            | Base::PacketEnd => self.check_unmodified(p, r),
        }
    }

    /// `v` is NULL, or memory of `size` bytes that the function may read and write. What of it is on the
    /// stack holds any data then.
    fn check_global_memory(
        &mut self,
        v: &Val,
        r: Reg,
        size: u32,
        sub: usize,
        effects: Effects,
    ) -> Result {
        if v.is_zero() {
            // Only because it is.
            return self.mark(v);
        }
        let n = r.index();
        if i32::try_from(size).is_err() {
            return refuse!(self.log, EINVAL, "R{} memory size {} is too large", n, size);
        }
        // What may be NULL is looked at as if it were not.
        let mut there = *v;
        if let Val::Ptr(p) = &mut there {
            if p.base.or_null() {
                p.base.set_not_null();
            }
        }
        for dir in [Dir::Read, Dir::Write] {
            self.helper_memory(&there, r, i64::from(size), dir, true, false)
                .map_err(|e| if e == EACCES { EINVAL } else { e })?;
        }
        let Val::Ptr(p) = &there else {
            return Ok(());
        };
        let packet = p.base.is_packet();
        if packet && effects.moves_packet {
            return refuse!(
                self.log,
                EINVAL,
                "R{} is a packet pointer, but func#{} may change packet data",
                n,
                sub
            );
        }
        if packet && !self.may_access_packet(Dir::Write) {
            return refuse!(
                self.log,
                EINVAL,
                "R{} is a packet pointer, but func#{} may write to it",
                n,
                sub
            );
        }
        if packet {
            self.learn(|l| l.writes_packet = true);
        }
        let word = u64::from(effects.atomic);
        if word > 0 && (packet || !p.offset().tnum().is_aligned(word)) {
            return refuse!(
                self.log,
                EINVAL,
                "R{} is not aligned to {} bytes, but func#{} has atomic operations",
                n,
                word,
                sub
            );
        }
        Ok(())
    }
}
