// SPDX-License-Identifier: GPL-2.0

//! Division and remainder.
//!
//! By a register: `div` or `idiv`, with what BPF wants different (divisor 0, `MIN / -1`) behind the
//! subprogram. By a constant: a shift, a mask or a multiplication.

use super::alu::width_bits;
use super::magic::{self, Magic};
use super::*;
use crate::isa::AluOp;

/// What is done instead of a division that the processor would trap on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixup {
    op: AluOp,
    w: Width,
    divisor: Gpr,
}

impl Lower<'_> {
    pub(super) fn div(&mut self, op: AluOp, w: Width, dst: Reg, src: Src) -> Done {
        let number = match src {
            Src::Imm(imm) => Some(sext(imm)),
            Src::Reg(r) => self.expr(r).as_const(),
        };
        let number = number.map(|c| match w {
            Width::W64 => c,
            Width::W32 => u64::from(low32(c)),
        });
        match number {
            Some(0) => return self.div_by_zero(op, w, dst),
            Some(c) if !self.blinds() => {
                if self.div_const(op, w, dst, c)? {
                    return Ok(());
                }
            }
            Some(_) | None => {}
        }
        self.div_general(op, w, dst, src, number)
    }

    fn div_by_zero(&mut self, op: AluOp, w: Width, dst: Reg) -> Done {
        match (op, w) {
            (AluOp::Mod | AluOp::Smod, Width::W64) => Ok(()),
            (AluOp::Mod | AluOp::Smod, Width::W32) => self.alu_mask(dst, 0xffff_ffff),
            _ => self.assign(dst, Expr::constant(0)),
        }
    }

    /// Division by a constant that is not 0, if there is a way without `div` and `idiv`.
    pub(super) fn div_const(
        &mut self,
        op: AluOp,
        w: Width,
        dst: Reg,
        c: u64,
    ) -> Result<bool, Failure> {
        if matches!(op, AluOp::Sdiv | AluOp::Smod) {
            return self.sdiv_const(op, w, dst, c);
        }
        let bits = self.st.bits(dst).min(width_bits(w));
        match op {
            AluOp::Div if c.is_power_of_two() => {
                self.shift_const(AluOp::Rsh, w, dst, c.trailing_zeros())?;
                return Ok(true);
            }
            AluOp::Mod if c.is_power_of_two() => {
                let mask = c.wrapping_sub(1);
                let Ok(imm) = i32::try_from(mask) else {
                    return Ok(false);
                };
                self.alu(AluOp::And, w, dst, Src::Imm(imm))?;
                return Ok(true);
            }
            AluOp::Div | AluOp::Mod => {}
            _ => return Ok(false),
        }
        if bit_len(c) > bits {
            // The dividend is always the smaller one.
            match (op, w) {
                (AluOp::Div, _) => self.assign(dst, Expr::constant(0))?,
                (_, Width::W64) => {}
                (_, Width::W32) => self.alu_mask(dst, 0xffff_ffff)?,
            }
            return Ok(true);
        }
        // A remainder multiplies back, by a constant that must be an immediate.
        if op == AluOp::Mod && i32::try_from(c).is_err() {
            return Ok(false);
        }
        if bits <= 32 {
            if let Some(m) = magic::find(c, bits, 0, 32) {
                if m.shift < 64 {
                    self.div_narrow(op, dst, c, m)?;
                    return Ok(true);
                }
            }
        }
        let Some(m) = magic::find(c, bits, 64, 64) else {
            return Ok(false);
        };
        if !self.target.features.bmi2 {
            return Ok(false);
        }
        self.div_wide(op, w, dst, c, m)?;
        Ok(true)
    }

    /// The dividend and the multiplier have 32 bits at most: one 64-bit product holds it all.
    fn div_narrow(&mut self, op: AluOp, dst: Reg, c: u64, m: Magic) -> Done {
        if self.st.bits(dst) > 32 {
            self.alu_mask(dst, 0xffff_ffff)?;
        }
        let gpr = self.settle(dst)?;
        let to = if op == AluOp::Div { gpr } else { TMP1 };
        match i32::try_from(m.mul) {
            Ok(mul) => self.mul_imm(Width::W64, to, gpr, mul)?,
            Err(_) => {
                self.load_const(TMP1, m.mul, false)?;
                self.put(enc::r_rm(
                    &inst::IMUL_R_RM,
                    Width::W64,
                    to,
                    if op == AluOp::Div { TMP1 } else { gpr },
                ))?;
            }
        }
        self.shr(Width::W64, to, m.shift)?;
        self.finish_const(op, Width::W32, dst, c)
    }

    /// The high half of a 128-bit product.
    fn div_wide(&mut self, op: AluOp, w: Width, dst: Reg, c: u64, m: Magic) -> Done {
        if w == Width::W32 && self.st.bits(dst) > 32 {
            self.alu_mask(dst, 0xffff_ffff)?;
        }
        let gpr = self.settle(dst)?;
        let rdx = home(Reg::R3);
        let to = if op == AluOp::Div { gpr } else { TMP1 };
        let mov = |to: Gpr, from: Gpr| enc::rm_r(&inst::MOV_RM_R, Width::W64, to, from);
        if dst == Reg::R3 {
            self.load_const(TMP1, m.mul, false)?;
            self.put(enc::vex_r_v_rm(&inst::MULX, Width::W64, to, to, TMP1))?;
        } else {
            let save = self.is_live(Reg::R3);
            if save {
                self.force(Reg::R3, false)?;
                self.put(mov(TMP0, rdx))?;
            } else {
                self.evict(rdx, None)?;
                self.wrote_home(Reg::R3, 64);
            }
            self.load_const(rdx, m.mul, false)?;
            self.put(enc::vex_r_v_rm(&inst::MULX, Width::W64, to, to, gpr))?;
            if save {
                self.put(mov(rdx, TMP0))?;
            }
        }
        self.wrote(to);
        self.shr(Width::W64, to, m.shift.wrapping_sub(64))?;
        self.finish_const(op, w, dst, c)
    }

    /// The quotient is in `dst`; or in `TMP1`, and the remainder is wanted.
    fn finish_const(&mut self, op: AluOp, w: Width, dst: Reg, c: u64) -> Done {
        let gpr = home(dst);
        if op == AluOp::Div {
            let bits = self.st.bits(dst).min(width_bits(w));
            let bits = bits.wrapping_add(1).saturating_sub(bit_len(c));
            self.wrote_home(dst, bits);
            return Ok(());
        }
        let imm = i32::try_from(c).map_err(|_| self.refuse("remainder"))?;
        self.mul_imm(w, TMP1, TMP1, imm)?;
        self.put(enc::rm_r(&inst::SUB_RM_R, w, gpr, TMP1))?;
        self.wrote_home(dst, bit_len(c));
        self.flags_of(gpr, w);
        Ok(())
    }

    fn div_general(
        &mut self,
        op: AluOp,
        w: Width,
        dst: Reg,
        src: Src,
        number: Option<u64>,
    ) -> Done {
        let signed = matches!(op, AluOp::Sdiv | AluOp::Smod);
        let remainder = matches!(op, AluOp::Mod | AluOp::Smod);
        let (rax, rdx) = (home(Reg::R0), home(Reg::R3));
        let mov = |w: Width, to: Gpr, from: Gpr| enc::rm_r(&inst::MOV_RM_R, w, to, from);
        // Unsigned numbers of 32 bits divide faster in 32 bits.
        let src_bits = match (number, src) {
            (Some(c), _) => bit_len(c),
            (None, Src::Reg(r)) if r != Reg::R10 => self.st.bits(r),
            (None, _) => 64,
        };
        let w = if !signed && self.st.bits(dst) <= 32 && src_bits <= 32 {
            Width::W32
        } else {
            w
        };
        let divisor = match (number, src) {
            (Some(c), _) => {
                self.take_base()?;
                if self.blinds() {
                    self.load_blinded(BASE, c)?;
                } else {
                    self.load_const(BASE, c, false)?;
                }
                BASE
            }
            (None, Src::Reg(r)) => {
                let gpr = self.gpr(r, BASE)?;
                if gpr == rdx && dst != Reg::R3 && self.is_live(Reg::R3) {
                    // Where it is saved anyway.
                    TMP0
                } else if gpr == rax && dst != Reg::R0 && self.is_live(Reg::R0) {
                    TMP1
                } else if gpr == rax || gpr == rdx {
                    self.take_base()?;
                    self.put(mov(Width::W64, BASE, gpr))?;
                    BASE
                } else {
                    gpr
                }
            }
            (None, Src::Imm(_)) => return Err(self.refuse("division")),
        };
        self.claim(dst)?;
        let mut saved = [(Reg::R0, TMP1, false), (Reg::R3, TMP0, false)];
        for (reg, tmp, save) in &mut saved {
            if *reg == dst {
                continue;
            }
            if self.is_live(*reg) {
                self.force(*reg, false)?;
                self.put(mov(Width::W64, *tmp, home(*reg)))?;
                *save = true;
            } else {
                self.evict(home(*reg), Some(dst))?;
            }
        }
        let dividend = self.expr(dst);
        // rdx may be part of the dividend, so rax is set first.
        self.compute(rax, &dividend, w, true)?;
        self.st.flags = None;
        let back = self.out.buf.new_label()?;
        let known = match number {
            Some(c) if signed => c != fold_minus_one(w),
            Some(_) => true,
            None => false,
        };
        let known = known || (self.fact().nonzero && !signed);
        if !known {
            let entry = self.out.buf.new_label()?;
            let cc = if signed {
                // 0 and -1 are the two numbers that are at most 1 when one is added.
                self.put(enc::r_m(&inst::LEA_R_M, w, rdx, Mem::at(divisor, 1)))?;
                self.put(enc::rm_i8(&inst::CMP_RM_I8, w, rdx, 1))?;
                Cc::Be
            } else {
                self.put(enc::rm_r(&inst::TEST_RM_R, w, divisor, divisor))?;
                Cc::E
            };
            self.out.buf.jcc(cc, entry)?;
            self.cold.push(
                Cold {
                    entry,
                    back,
                    what: What::Division(Fixup { op, w, divisor }),
                },
                GFP_KERNEL,
            )?;
        }
        if signed {
            self.put(enc::zo(&inst::CDQ, w))?;
            self.put(enc::rm(&inst::IDIV_RM, w, divisor))?;
        } else {
            self.put(enc::rm_r(&inst::XOR_RM_R, Width::W32, rdx, rdx))?;
            self.put(enc::rm(&inst::DIV_RM, w, divisor))?;
        }
        self.out.buf.bind(back);
        let result = if remainder { rdx } else { rax };
        if result != home(dst) {
            self.put(mov(w, home(dst), result))?;
        }
        for (reg, tmp, save) in saved {
            if save {
                self.put(mov(Width::W64, home(reg), tmp))?;
            } else if reg != dst {
                self.wrote_home(reg, 64);
            }
        }
        self.wrote_home(dst, width_bits(w));
        self.st.flags = None;
        Ok(())
    }

    /// Emits what the subprogram's rare cases jump to.
    pub(super) fn cold_code(&mut self) -> Done {
        let (rax, rdx) = (home(Reg::R0), home(Reg::R3));
        while let Some(Cold { entry, back, what }) = self.cold.pop() {
            self.out.buf.bind(entry);
            let Fixup { op, w, divisor } = match what {
                What::Division(fixup) => fixup,
                What::End => {
                    self.load_const(rax, 0, false)?;
                    self.leave()?;
                    continue;
                }
                What::NoneLeft => {
                    self.none_left(back)?;
                    continue;
                }
                What::Look(longer) => {
                    self.longer_look(&longer, back)?;
                    continue;
                }
                What::Null => {
                    self.load_const(rax, 0, false)?;
                    self.out.buf.jmp(back)?;
                    continue;
                }
            };
            let zero = enc::rm_r(&inst::XOR_RM_R, Width::W32, rax, rax);
            let dividend = enc::rm_r(&inst::MOV_RM_R, w, rdx, rax);
            match op {
                AluOp::Div => self.put(zero)?,
                AluOp::Sdiv | AluOp::Smod => {
                    let minus_one = self.out.buf.new_label()?;
                    self.put(enc::rm_r(&inst::TEST_RM_R, w, divisor, divisor))?;
                    self.out.buf.jcc(Cc::Ne, minus_one)?;
                    self.put(if op == AluOp::Sdiv { zero } else { dividend })?;
                    self.out.buf.jmp(back)?;
                    self.out.buf.bind(minus_one);
                    self.put(if op == AluOp::Sdiv {
                        enc::rm(&inst::NEG_RM, w, rax)
                    } else {
                        enc::rm_r(&inst::XOR_RM_R, Width::W32, rdx, rdx)
                    })?;
                }
                _ => self.put(dividend)?,
            }
            self.out.buf.jmp(back)?;
        }
        Ok(())
    }
}

/// -1 as a number of width `w`.
fn fold_minus_one(w: Width) -> u64 {
    match w {
        Width::W64 => u64::MAX,
        Width::W32 => 0xffff_ffff,
    }
}
