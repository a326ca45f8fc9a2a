// SPDX-License-Identifier: GPL-2.0

//! Loads, stores and atomic operations.

use crate::isa::{AtomicOp, Reg, Size, Src};
use crate::verifier::access::{Access, Value};
use crate::verifier::error::refuse;
use crate::verifier::explore::{Flow, Verifier};
use crate::verifier::state::reg::{Base, Val};
use kernel::prelude::*;

impl Verifier<'_> {
    /// `dst = *(size *)(src + off)`
    pub(in crate::verifier) fn load(
        &mut self,
        size: Size,
        sx: bool,
        dst: Reg,
        src: Reg,
        off: i16,
    ) -> Result<Flow> {
        self.load_checked(size, sx, dst, src, off, false)
    }

    fn load_checked(
        &mut self,
        size: Size,
        sx: bool,
        dst: Reg,
        src: Reg,
        off: i16,
        aligned: bool,
    ) -> Result<Flow> {
        let p = self.read(src)?;
        self.writable(dst)?;
        let access = Access {
            reg: src,
            off: i64::from(off),
            size,
            aligned,
        };
        let v = self.access_load(&p, &access, sx)?;
        self.set(dst, v);
        Ok(Flow::Next)
    }

    /// `*(size *)(dst + off) = src`
    pub(in crate::verifier) fn store(
        &mut self,
        size: Size,
        dst: Reg,
        off: i16,
        src: Src,
    ) -> Result<Flow> {
        let value = match src {
            Src::Reg(r) => Value::Reg(r, self.read(r)?),
            Src::Imm(k) => Value::Imm(k),
        };
        let p = self.read(dst)?;
        let access = Access {
            reg: dst,
            off: i64::from(off),
            size,
            aligned: false,
        };
        self.access_store(&p, &access, value)?;
        Ok(Flow::Next)
    }

    /// Atomic read-modify-write of `*(size *)(dst + off)`.
    pub(in crate::verifier) fn atomic(
        &mut self,
        op: AtomicOp,
        fetch: bool,
        size: Size,
        dst: Reg,
        off: i16,
        src: Reg,
    ) -> Result<Flow> {
        let operand = self.read(src)?;
        let p = self.read(dst)?;
        if op == AtomicOp::Cmpxchg {
            let expected = self.read(Reg::R0)?;
            self.no_leak_into(&expected, Reg::R0, "mem")?;
        }
        self.no_leak_into(&operand, src, "mem")?;
        self.atomic_target(&p, dst, "stores into")?;
        let access = Access {
            reg: dst,
            off: i64::from(off),
            size,
            aligned: true,
        };
        let result = match (op, fetch) {
            (AtomicOp::Cmpxchg, _) => Some(Reg::R0),
            (_, true) => Some(src),
            (_, false) => None,
        };
        if let Some(r) = result {
            self.writable(r)?;
        }
        if result == Some(dst) {
            // Engines may write the old value before they are done with the address.
            return self
                .access_load(&Val::unknown(), &access, false)
                .map(|_| Flow::Next);
        }
        let old = self.access_load(&p, &access, false)?;
        // A spilled pointer in the memory becomes a number by the operation.
        self.no_leak_from(&old, &p, off)?;
        if let Some(r) = result {
            self.set(r, old);
        }
        self.access_store(&p, &access, Value::Unknown)?;
        Ok(Flow::Next)
    }

    /// `dst = load_acquire(..)`
    pub(in crate::verifier) fn load_acquire(
        &mut self,
        size: Size,
        dst: Reg,
        src: Reg,
        off: i16,
    ) -> Result<Flow> {
        let p = self.read(src)?;
        self.atomic_target(&p, src, "loads from")?;
        self.load_checked(size, false, dst, src, off, true)
    }

    /// `store_release(.., src)`
    pub(in crate::verifier) fn store_release(
        &mut self,
        size: Size,
        dst: Reg,
        off: i16,
        src: Reg,
    ) -> Result<Flow> {
        let v = self.read(src)?;
        let p = self.read(dst)?;
        self.atomic_target(&p, dst, "stores into")?;
        let access = Access {
            reg: dst,
            off: i64::from(off),
            size,
            aligned: true,
        };
        self.access_store(&p, &access, Value::Reg(src, v))?;
        Ok(Flow::Next)
    }

    fn atomic_target(&mut self, p: &Val, r: Reg, what: &str) -> Result {
        let forbidden = match p {
            Val::Ptr(p) => match p.base {
                Base::Ctx
                | Base::Packet(_)
                | Base::PacketMeta(_)
                | Base::Sock { or_null: false, .. } => true,
                Base::Stack { .. }
                | Base::ConstMap { .. }
                | Base::MapOrNull { .. }
                | Base::MapValue { .. }
                | Base::RingMem { .. }
                | Base::Mem { .. }
                | Base::Sock { or_null: true, .. }
                | Base::MapKey { .. }
                | Base::Func { .. }
                | Base::PacketEnd => false,
            },
            Val::Scalar(_) | Val::NotInit => false,
        };
        if forbidden {
            return refuse!(
                self.log,
                EACCES,
                "BPF_ATOMIC {} R{} {} is not allowed",
                what,
                r.index(),
                p.name()
            );
        }
        Ok(())
    }

    /// A pointer may not be stored where user space or the network sees it.
    pub(in crate::verifier) fn no_leak_into(&mut self, v: &Val, r: Reg, what: &str) -> Result {
        if self.leaks(v) {
            return refuse!(self.log, EACCES, "R{} leaks addr into {}", r.index(), what);
        }
        Ok(())
    }

    fn no_leak_from(&mut self, old: &Val, p: &Val, off: i16) -> Result {
        if self.leaks(old) {
            let at = match p {
                Val::Ptr(p) => p.fixed.saturating_add(i64::from(off)),
                Val::Scalar(_) | Val::NotInit => i64::from(off),
            };
            return refuse!(self.log, EACCES, "leaking pointer from stack off {}", at);
        }
        Ok(())
    }
}
