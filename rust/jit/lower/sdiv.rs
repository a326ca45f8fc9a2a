// SPDX-License-Identifier: GPL-2.0

//! Signed division and remainder by a constant, without `idiv`.
//!
//! With `m` and `k` as in [`super::magic`] for `n` bits, and `-2^n <= x < 2^n`: where `x` is not
//! negative, `x / d` is `x * m >> k`; where it is, `x * m >> k`, rounded down, is one less than the
//! quotient, because `e * -x <= 2^k`. So the quotient is the shifted product minus `x`'s sign as 0
//! or -1.

use super::alu::width_bits;
use super::magic;
use super::*;
use crate::isa::AluOp;

impl Lower<'_> {
    /// Lowers `SDIV` or `SMOD` by `c`, which is not 0, if there is a way without `idiv`.
    pub(super) fn sdiv_const(
        &mut self,
        op: AluOp,
        w: Width,
        dst: Reg,
        c: u64,
    ) -> Result<bool, Failure> {
        let (abs, negative) = match w {
            Width::W64 => {
                let c = i64::from_ne_bytes(c.to_ne_bytes());
                (c.unsigned_abs(), c < 0)
            }
            Width::W32 => {
                let c = i32::from_ne_bytes(low32(c).to_ne_bytes());
                (u64::from(c.unsigned_abs()), c < 0)
            }
        };
        let bits = width_bits(w);
        // The divisor whose absolute value is not a number of the width, and what multiplying back
        // or masking a remainder needs as an immediate.
        if bit_len(abs) >= bits || (op == AluOp::Smod && i32::try_from(abs).is_err()) {
            return Ok(false);
        }
        // A dividend that is not negative: as unsigned.
        if self.st.bits(dst) < bits && (op == AluOp::Smod || !negative) {
            let op = match op {
                AluOp::Smod => AluOp::Mod,
                _ => AluOp::Div,
            };
            return self.div_const(op, w, dst, abs);
        }
        if abs.is_power_of_two() {
            self.sdiv_power(op, w, dst, abs, negative)?;
            return Ok(true);
        }
        match w {
            Width::W32 => {
                let found = magic::find(abs, 31, 32, 31);
                let found = found.or_else(|| magic::find(abs, 31, 32, 32));
                let Some(m) = found.filter(|m| m.shift < 64) else {
                    return Ok(false);
                };
                self.sdiv_narrow(op, dst, abs, negative, m)?;
            }
            Width::W64 => {
                let found = magic::find(abs, 63, 64, 64);
                let Some(m) = found.filter(|_| self.target.features.bmi2) else {
                    return Ok(false);
                };
                self.sdiv_wide(op, dst, abs, negative, m)?;
            }
        }
        Ok(true)
    }

    /// Puts `to op= from`.
    fn op2(&mut self, row: &inst::Form<inst::shape::RmR>, w: Width, to: Gpr, from: Gpr) -> Done {
        self.put(enc::rm_r(row, w, to, from))?;
        self.wrote(to);
        Ok(())
    }

    /// By a power of two: a shift that rounds towards zero, since numbers below zero get one less
    /// than the divisor added first.
    fn sdiv_power(&mut self, op: AluOp, w: Width, dst: Reg, abs: u64, negative: bool) -> Done {
        let count = abs.trailing_zeros();
        let bits = width_bits(w);
        if count == 0 {
            return match (op, negative) {
                (AluOp::Smod, _) => self.assign(dst, Expr::constant(0)),
                (_, true) => self.neg(w, dst),
                (_, false) if w == Width::W32 => self.alu_mask(dst, 0xffff_ffff),
                (_, false) => Ok(()),
            };
        }
        let gpr = self.settle(dst)?;
        self.op2(&inst::MOV_RM_R, w, TMP1, gpr)?;
        if count > 1 {
            self.shift_imm(&inst::SAR_RM_I8, w, TMP1, bits.wrapping_sub(1))?;
        }
        self.shift_imm(&inst::SHR_RM_I8, w, TMP1, bits.wrapping_sub(count))?;
        self.op2(&inst::ADD_RM_R, w, gpr, TMP1)?;
        if op == AluOp::Smod {
            let mask = abs.wrapping_sub(1);
            let mask = i32::try_from(mask).map_err(|_| self.refuse("remainder"))?;
            self.put(match i8::try_from(mask) {
                Ok(mask) => enc::rm_i8(&inst::AND_RM_I8, w, gpr, mask),
                Err(_) => enc::rm_i32(&inst::AND_RM_I32, w, gpr, mask),
            })?;
            self.op2(&inst::SUB_RM_R, w, gpr, TMP1)?;
        } else {
            self.shift_imm(&inst::SAR_RM_I8, w, gpr, count)?;
            if negative {
                self.put(enc::rm(&inst::NEG_RM, w, gpr))?;
            }
        }
        self.wrote_home(dst, bits);
        self.flags_of(gpr, w);
        Ok(())
    }

    /// 32 bits: one product of 64 bits holds it all.
    fn sdiv_narrow(
        &mut self,
        op: AluOp,
        dst: Reg,
        abs: u64,
        negative: bool,
        m: magic::Magic,
    ) -> Done {
        let w = Width::W32;
        let gpr = self.settle(dst)?;
        self.put(enc::r_rm(&inst::MOVSXD_R_RM32, Width::W64, TMP1, gpr))?;
        match i32::try_from(m.mul) {
            Ok(mul) => self.mul_imm(Width::W64, TMP1, TMP1, mul)?,
            Err(_) => {
                self.load_const(TMP0, m.mul, false)?;
                self.put(enc::r_rm(&inst::IMUL_R_RM, Width::W64, TMP1, TMP0))?;
            }
        }
        self.shift_imm(&inst::SAR_RM_I8, Width::W64, TMP1, m.shift)?;
        match (op, negative) {
            (AluOp::Smod, _) => {
                let back = i32::try_from(abs).map_err(|_| self.refuse("remainder"))?;
                self.op2(&inst::MOV_RM_R, w, TMP0, gpr)?;
                self.shift_imm(&inst::SAR_RM_I8, w, TMP0, 31)?;
                self.op2(&inst::SUB_RM_R, w, TMP1, TMP0)?;
                self.mul_imm(w, TMP1, TMP1, back)?;
                self.op2(&inst::SUB_RM_R, w, gpr, TMP1)?;
            }
            // The sign as 0 or -1 with the negated quotient's sign, or as 0 or 1.
            (_, true) => {
                self.shift_imm(&inst::SAR_RM_I8, w, gpr, 31)?;
                self.op2(&inst::SUB_RM_R, w, gpr, TMP1)?;
            }
            (_, false) => {
                self.shift_imm(&inst::SHR_RM_I8, w, gpr, 31)?;
                self.op2(&inst::ADD_RM_R, w, gpr, TMP1)?;
            }
        }
        self.wrote_home(dst, 32);
        self.flags_of(gpr, w);
        Ok(())
    }

    /// 64 bits: the high half of the signed product is that of the unsigned one, minus the
    /// multiplier where the dividend is negative.
    fn sdiv_wide(
        &mut self,
        op: AluOp,
        dst: Reg,
        abs: u64,
        negative: bool,
        m: magic::Magic,
    ) -> Done {
        let w = Width::W64;
        let gpr = self.settle(dst)?;
        let rdx = home(Reg::R3);
        let own = dst == Reg::R3;
        let save = !own && self.is_live(Reg::R3);
        if save {
            self.force(Reg::R3, false)?;
            self.op2(&inst::MOV_RM_R, w, TMP0, rdx)?;
        } else if !own {
            self.evict(rdx, None)?;
            self.wrote_home(Reg::R3, 64);
        }
        let (mul, hi) = if own { (TMP1, TMP0) } else { (rdx, TMP1) };
        self.load_const(mul, m.mul, false)?;
        let by = if own { TMP1 } else { gpr };
        self.put(enc::vex_r_v_rm(&inst::MULX, w, hi, hi, by))?;
        // 0, or -1 where the dividend is negative.
        let sign = if op == AluOp::Smod {
            self.take_base()?;
            self.op2(&inst::MOV_RM_R, w, BASE, gpr)?;
            BASE
        } else {
            gpr
        };
        self.shift_imm(&inst::SAR_RM_I8, w, sign, 63)?;
        self.op2(&inst::AND_RM_R, w, mul, sign)?;
        self.op2(&inst::SUB_RM_R, w, hi, mul)?;
        let count = m.shift.wrapping_sub(64);
        if count != 0 {
            self.shift_imm(&inst::SAR_RM_I8, w, hi, count)?;
        }
        match (op, negative) {
            (AluOp::Smod, _) => {
                let back = i32::try_from(abs).map_err(|_| self.refuse("remainder"))?;
                self.op2(&inst::SUB_RM_R, w, hi, sign)?;
                self.mul_imm(w, hi, hi, back)?;
                self.op2(&inst::SUB_RM_R, w, gpr, hi)?;
            }
            (_, true) => self.op2(&inst::SUB_RM_R, w, gpr, hi)?,
            (_, false) => {
                self.op2(&inst::SUB_RM_R, w, hi, gpr)?;
                self.op2(&inst::MOV_RM_R, w, gpr, hi)?;
            }
        }
        if save {
            self.put(enc::rm_r(&inst::MOV_RM_R, w, rdx, TMP0))?;
        }
        self.wrote_home(dst, 64);
        self.st.flags = None;
        Ok(())
    }
}
