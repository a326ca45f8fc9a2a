// SPDX-License-Identifier: GPL-2.0

//! Arithmetic on pointers: `pointer + number` and `pointer - number` in 64 bits.

use super::alu::sign;
use super::mask::Operands;
use crate::abi::MAX_STACK;
use crate::isa::{AluOp, Reg, Width};
use crate::verifier::domain::scalar::Scalar;
use crate::verifier::error::refuse;
use crate::verifier::explore::Verifier;
use crate::verifier::state::reg::{Base, Num, Ptr, Range, Val};
use kernel::prelude::*;

/// Offsets that a pointer may have, either way (`BPF_MAX_VAR_OFF`).
pub(crate) const MAX_VAR_OFF: i64 = 1 << 29;

impl Verifier<'_> {
    /// The result of `ptr op n` or `n op ptr`, as `src` says, to be put in `dst`.
    ///
    /// The caller has marked `n`: the pointer's offset decides accesses.
    pub(super) fn ptr_math(
        &mut self,
        op: AluOp,
        width: Width,
        dst: Reg,
        ptr: &Ptr,
        n: &Num,
        src: Operands,
    ) -> Result<Val> {
        let r = dst.index();
        if width == Width::W32 {
            if op == AluOp::Sub && self.options.allow_ptr_leaks {
                return Ok(Val::unknown());
            }
            return refuse!(
                self.log,
                EACCES,
                "R{} 32-bit pointer arithmetic prohibited",
                r
            );
        }
        let name = ptr.base.name();
        if ptr.base.or_null() {
            return refuse!(
                self.log,
                EACCES,
                "R{} pointer arithmetic on {} prohibited, null-check it first",
                r,
                name
            );
        }
        let known = n.v.is_const().map(|c| c as i64);
        let movable = match ptr.base {
            Base::Ctx
            | Base::Stack { .. }
            | Base::MapValue { .. }
            | Base::RingMem { .. }
            | Base::Mem { .. }
            | Base::MapKey { .. }
            | Base::Func { .. }
            | Base::Packet(_)
            | Base::PacketMeta(_) => true,
            Base::ConstMap { .. } => known == Some(0) && op == AluOp::Add,
            // Programs see a socket's fields and nothing else of it.
            Base::MapOrNull { .. } | Base::PacketEnd | Base::Sock { .. } => false,
        };
        if !movable {
            return refuse!(
                self.log,
                EACCES,
                "R{} pointer arithmetic on {} prohibited",
                r,
                name
            );
        }
        self.check_addend(name, known, &n.v)?;
        self.check_sum(name, ptr)?;
        let window = self.mask_window(op, dst, ptr, n, src)?;
        let mut new = *ptr;
        match op {
            AluOp::Add => match known {
                Some(k) => new.fixed = ptr.fixed.wrapping_add(k),
                None => new.var = Scalar::alu(AluOp::Add, Width::W64, &ptr.var, &n.v),
            },
            AluOp::Sub => {
                if let Operands::NumberFirst(_) = src {
                    return refuse!(
                        self.log,
                        EACCES,
                        "R{} tried to subtract pointer from scalar",
                        r
                    );
                }
                if matches!(ptr.base, Base::Stack { .. }) {
                    return refuse!(
                        self.log,
                        EACCES,
                        "R{} subtraction from stack pointer prohibited",
                        r
                    );
                }
                match known {
                    Some(k) => new.fixed = ptr.fixed.wrapping_sub(k),
                    None => new.var = Scalar::alu(AluOp::Sub, Width::W64, &ptr.var, &n.v),
                }
            }
            AluOp::And | AluOp::Or | AluOp::Xor => {
                return refuse!(
                    self.log,
                    EACCES,
                    "R{} bitwise operator {} on pointer prohibited",
                    r,
                    sign(op)
                );
            }
            AluOp::Mul
            | AluOp::Div
            | AluOp::Sdiv
            | AluOp::Lsh
            | AluOp::Rsh
            | AluOp::Mod
            | AluOp::Smod
            | AluOp::Arsh => {
                return refuse!(
                    self.log,
                    EACCES,
                    "R{} pointer arithmetic with {} operator prohibited",
                    r,
                    sign(op)
                );
            }
        }
        match &mut new.base {
            Base::Packet(range) | Base::PacketMeta(range) => {
                // What is known of the end holds for one variable part only; that the pointer
                // itself is at the end holds for this very pointer only.
                if known.is_none() || matches!(range, Range::AtEnd | Range::BeyondEnd) {
                    *range = Range::Unknown;
                }
                if known.is_none() {
                    new.id = self.new_id();
                }
            }
            Base::Ctx
            | Base::Stack { .. }
            | Base::ConstMap { .. }
            | Base::MapOrNull { .. }
            | Base::MapValue { .. }
            | Base::RingMem { .. }
            | Base::Mem { .. }
            | Base::Sock { .. }
            | Base::MapKey { .. }
            | Base::Func { .. }
            | Base::PacketEnd => {}
        }
        self.check_sum(name, &new)?;
        if !self.options.allow_ptr_leaks {
            self.check_unprivileged(dst, &new)?;
        }
        if let Some(window) = window {
            self.mask(op, dst, &new, window)?;
        }
        Ok(Val::Ptr(new))
    }

    /// The number may be added to a pointer: it cannot overflow the offset.
    fn check_addend(&mut self, name: &str, known: Option<i64>, v: &Scalar) -> Result {
        if let Some(k) = known {
            if k >= MAX_VAR_OFF || k <= -MAX_VAR_OFF {
                return refuse!(
                    self.log,
                    EINVAL,
                    "math between {} pointer and {} is not allowed",
                    name,
                    k
                );
            }
            return Ok(());
        }
        let smin = v.smin();
        if smin == i64::MIN {
            return refuse!(
                self.log,
                EINVAL,
                "math between {} pointer and register with unbounded min value is not allowed",
                name
            );
        }
        if smin >= MAX_VAR_OFF || smin <= -MAX_VAR_OFF {
            return refuse!(
                self.log,
                EINVAL,
                "value {} makes {} pointer be out of bounds",
                smin,
                name
            );
        }
        Ok(())
    }

    /// The offset is within limits, so that no later sum overflows.
    fn check_sum(&mut self, name: &str, ptr: &Ptr) -> Result {
        let at = match ptr.const_offset() {
            Some(off) => off,
            None => ptr.offset().smin(),
        };
        let parts_fit = ptr.fixed.saturating_abs() < MAX_VAR_OFF;
        if at >= MAX_VAR_OFF || at <= -MAX_VAR_OFF || !parts_fit {
            return refuse!(
                self.log,
                EINVAL,
                "{} pointer offset {} is not allowed",
                name,
                if parts_fit { at } else { ptr.fixed }
            );
        }
        Ok(())
    }

    /// Who may not see pointers may not have them point out of bounds either, nor at a value's lock.
    fn check_unprivileged(&mut self, dst: Reg, ptr: &Ptr) -> Result {
        let r = dst.index();
        match ptr.base {
            Base::Stack { .. } => match ptr.const_offset() {
                None => refuse!(
                    self.log,
                    EACCES,
                    "R{} variable stack access prohibited for !root, var_off={} off={}",
                    r,
                    ptr.offset().tnum(),
                    ptr.fixed
                ),
                Some(off) if off >= 0 || off < -i64::from(MAX_STACK) => refuse!(
                    self.log,
                    EACCES,
                    "R{} stack pointer arithmetic goes out of range, prohibited for !root; off={}",
                    r,
                    off
                ),
                Some(_) => Ok(()),
            },
            Base::MapValue { map, .. } => {
                if self.check_in_value(ptr, map, dst, 0, 1, false).is_err() {
                    return refuse!(
                        self.log,
                        EACCES,
                        "R{} pointer arithmetic of map value goes out of range, prohibited for \
                         !root",
                        r
                    );
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
