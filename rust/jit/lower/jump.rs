// SPDX-License-Identifier: GPL-2.0

//! Jumps and the end of a subprogram.

use super::*;
use crate::isa::Cond;

/// Does `a cond b` hold?
fn decide(cond: Cond, w: Width, a: u64, b: u64) -> bool {
    let (a, b) = match w {
        Width::W64 => (a, b),
        Width::W32 => (u64::from(low32(a)), u64::from(low32(b))),
    };
    let shift = 64u32.wrapping_sub(super::alu::width_bits(w));
    let signed = |v: u64| i64::from_ne_bytes(v.wrapping_shl(shift).to_ne_bytes());
    let (sa, sb) = (signed(a), signed(b));
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Set => a & b != 0,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Sgt => sa > sb,
        Cond::Sge => sa >= sb,
        Cond::Slt => sa < sb,
        Cond::Sle => sa <= sb,
    }
}

/// The condition code after a comparison.
pub(super) fn cc(cond: Cond) -> Cc {
    match cond {
        Cond::Eq => Cc::E,
        Cond::Ne | Cond::Set => Cc::Ne,
        Cond::Gt => Cc::A,
        Cond::Ge => Cc::Ae,
        Cond::Lt => Cc::B,
        Cond::Le => Cc::Be,
        Cond::Sgt => Cc::G,
        Cond::Sge => Cc::Ge,
        Cond::Slt => Cc::L,
        Cond::Sle => Cc::Le,
    }
}

/// The condition code for a comparison with zero when only the zero and sign flags are right.
fn zero_cc(cond: Cond) -> Option<Cc> {
    match cond {
        Cond::Eq | Cond::Le => Some(Cc::E),
        Cond::Ne | Cond::Gt => Some(Cc::Ne),
        Cond::Slt => Some(Cc::S),
        Cond::Sge => Some(Cc::Ns),
        Cond::Set | Cond::Ge | Cond::Lt | Cond::Sgt | Cond::Sle => None,
    }
}

impl Lower<'_> {
    pub(super) fn goto(&mut self, target: u32) -> Done {
        let live = self.flow.slot(target).live_in;
        self.sync(live, false)?;
        self.out.buf.jmp(Label::Slot(target))?;
        self.reached = false;
        Ok(())
    }

    pub(super) fn branch(&mut self, cond: Cond, w: Width, dst: Reg, src: Src, target: u32) -> Done {
        let d = self.expr(dst);
        let s = match src {
            Src::Imm(imm) => Expr::constant(sext(imm)),
            Src::Reg(r) => self.expr(r),
        };
        if let (Some(a), Some(b)) = (d.as_const(), s.as_const()) {
            return match decide(cond, w, a, b) {
                true => self.goto(target),
                false => Ok(()),
            };
        }
        let cc = self.compare(cond, w, dst, src, target)?;
        self.out.buf.jcc(cc, Label::Slot(target))?;
        Ok(())
    }

    /// Emits a comparison, and before it what the jump's target needs.
    pub(super) fn compare(
        &mut self,
        cond: Cond,
        w: Width,
        dst: Reg,
        src: Src,
        target: u32,
    ) -> Result<Cc, Failure> {
        let target_live = self.flow.slot(target).live_in;
        let bits = |st: &State, r: Reg| if r == Reg::R10 { 64 } else { st.bits(r) };
        let d_bits = bits(&self.st, dst);
        let s_bits = match src {
            Src::Imm(imm) => bit_len(sext(imm)),
            Src::Reg(r) => bits(&self.st, r),
        };
        // Small numbers compare the same in 32 bits.
        let signed = matches!(cond, Cond::Sgt | Cond::Sge | Cond::Slt | Cond::Sle);
        let limit = if signed { 31 } else { 32 };
        let narrow = match cond {
            Cond::Set => d_bits <= 32 || s_bits <= 32,
            _ => d_bits <= limit && s_bits <= limit,
        };
        let cw = if narrow { Width::W32 } else { w };
        let number = match src {
            Src::Imm(imm) => Some(sext(imm)),
            Src::Reg(r) => self.expr(r).as_const(),
        };
        let number = number.map(|c| match w {
            Width::W64 => c,
            Width::W32 => u64::from(low32(c)),
        });
        // A number that must not be seen comes in a register, as if it were not known.
        let number = number.filter(|c| *c == 0 || !self.blinds());
        let g = self.gpr(dst, BASE)?;
        if number == Some(0) && cond != Cond::Set {
            let ours = match self.st.flags {
                Some((reg, fw)) => {
                    let sign = matches!(cond, Cond::Slt | Cond::Sge);
                    reg == g && (fw == cw || (d_bits <= 32 && !sign))
                }
                None => false,
            };
            if let (true, Some(cc)) = (ours, zero_cc(cond)) {
                self.sync(target_live, true)?;
                return Ok(cc);
            }
            self.sync(target_live, false)?;
            self.put(enc::rm_r(&inst::TEST_RM_R, cw, g, g))?;
            self.flags_of(g, cw);
            return Ok(cc(cond));
        }
        let bit = number.filter(|c| cond == Cond::Set && c.is_power_of_two());
        if let Some(c) = bit.filter(|c| *c > 0xff) {
            let n = i8::try_from(c.trailing_zeros()).unwrap_or(0);
            let bw = if c > 0xffff_ffff {
                Width::W64
            } else {
                Width::W32
            };
            self.sync(target_live, false)?;
            self.put(enc::rm_i8(&inst::BT_RM_I8, bw, g, n))?;
            return Ok(Cc::B);
        }
        let operand = self.operand(src, cw)?;
        self.sync(target_live, false)?;
        let insn = match (cond, operand) {
            (Cond::Set, Operand::Gpr(s)) => enc::rm_r(&inst::TEST_RM_R, cw, g, s),
            (Cond::Set, Operand::Imm(i)) => match u8::try_from(i) {
                Ok(m) => enc::rm_i8(&inst::TEST_RM8_I8, cw, g, i8::from_le_bytes([m])),
                // A mask without the upper half needs only the lower.
                Err(_) if i >= 0 => enc::rm_i32(&inst::TEST_RM_I32, Width::W32, g, i),
                Err(_) => enc::rm_i32(&inst::TEST_RM_I32, cw, g, i),
            },
            (_, Operand::Gpr(s)) => enc::rm_r(&inst::CMP_RM_R, cw, g, s),
            (_, Operand::Imm(i)) => {
                self.compare_imm(cw, g, i)?;
                return Ok(cc(cond));
            }
        };
        self.put(insn)?;
        Ok(cc(cond))
    }

    /// Emits `cmp gpr, imm`; a blinded number goes through `TMP1`.
    pub(super) fn compare_imm(&mut self, w: Width, gpr: Gpr, imm: i32) -> Done {
        if imm != 0 && self.blinds() {
            self.load_blinded(TMP1, sext(imm))?;
            return self.put(enc::rm_r(&inst::CMP_RM_R, w, gpr, TMP1));
        }
        self.put(match i8::try_from(imm) {
            Ok(imm) => enc::rm_i8(&inst::CMP_RM_I8, w, gpr, imm),
            Err(_) => enc::rm_i32(&inst::CMP_RM_I32, w, gpr, imm),
        })
    }

    pub(super) fn exit(&mut self) -> Done {
        self.force(Reg::R0, false)?;
        self.leave()?;
        self.reached = false;
        Ok(())
    }

    /// Emits the epilogue and the return.
    pub(super) fn leave(&mut self) -> Done {
        self.frame.leave(&mut self.out.buf)?;
        frame::ret(&mut self.out.buf, &self.target.mitigations)?;
        Ok(())
    }
}
