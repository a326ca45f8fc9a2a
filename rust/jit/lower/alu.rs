// SPDX-License-Identifier: GPL-2.0

//! Arithmetic, moves and byte swaps.

use super::*;
use crate::isa::{AluOp, SwapKind};
use crate::jit::value::fold;
use inst::{shape, Form};

/// The rows of a two-operand operation.
struct Rows {
    rm_r: Form<shape::RmR>,
    rm_i8: Form<shape::RmI8>,
    rm_i32: Form<shape::RmI32>,
}

/// The bits of a result of width `w`.
pub(super) fn width_bits(w: Width) -> u32 {
    match w {
        Width::W32 => 32,
        Width::W64 => 64,
    }
}

impl Lower<'_> {
    /// `dst = dst + imm`, 64 bits wide: mostly only what is known changes.
    #[inline(always)]
    pub(super) fn add(&mut self, dst: Reg, imm: i32) -> Done {
        match self.is_live(dst) && !self.blinds() && self.st.add(dst, imm) {
            true => Ok(()),
            false => self.alu(AluOp::Add, Width::W64, dst, Src::Imm(imm)),
        }
    }

    #[inline(never)]
    pub(super) fn alu(&mut self, op: AluOp, w: Width, dst: Reg, src: Src) -> Done {
        if let (Src::Imm(imm), true) = (src, self.blinds()) {
            match op {
                AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {}
                AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod => {}
                _ if !self.is_live(dst) => return Ok(()),
                _ => return self.alu_blinded(op, w, dst, imm),
            }
        } else if let (AluOp::And, Src::Imm(mask)) = (op, src) {
            if self.fuse_and(w, dst, mask)? {
                return Ok(());
            }
        }
        if !self.is_live(dst) {
            return Ok(());
        }
        let s = self.source_for(src, dst)?;
        let d = self.expr(dst);
        if let (Some(a), Some(b)) = (d.as_const(), s.as_const()) {
            return self.assign(dst, Expr::constant(fold(op, w, a, b)));
        }
        let number = s.as_const().map(|c| match w {
            Width::W64 => c,
            Width::W32 => u64::from(low32(c)),
        });
        match (op, number) {
            (AluOp::Add, _) => match self.sum(w, dst, &d, &s)? {
                true => Ok(()),
                false => self.two_operand(op, w, dst, src),
            },
            (AluOp::Sub, Some(c)) => {
                let minus = Expr::constant(c.wrapping_neg());
                match self.sum(w, dst, &d, &minus)? {
                    true => Ok(()),
                    false => self.two_operand(op, w, dst, src),
                }
            }
            (AluOp::Mul, Some(c)) => self.mul_const(w, dst, &d, c),
            (AluOp::Mul, None) => self.mul(w, dst, src),
            (AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod, _) => self.div(op, w, dst, src),
            (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Some(c)) => {
                self.shift_const(op, w, dst, low32(c))
            }
            (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, None) => self.shift(op, w, dst, src),
            (AluOp::And, Some(c)) => self.and_const(w, dst, &d, c, src),
            (AluOp::Sub | AluOp::And | AluOp::Or | AluOp::Xor, _) => {
                self.two_operand(op, w, dst, src)
            }
        }
    }

    /// `dst = d + s` if that is an expression: kept for later when 64 bits wide, else computed.
    fn sum(&mut self, w: Width, dst: Reg, d: &Expr, s: &Expr) -> Result<bool, Failure> {
        match w {
            Width::W64 => {
                let Some(e) = d.add(s) else {
                    return Ok(false);
                };
                self.assign(dst, e)?;
            }
            Width::W32 => {
                // Only the low halves matter, so any number fits.
                let low = |e: &Expr| match e.as_const() {
                    Some(c) => Expr::constant(sext(i32::from_ne_bytes(low32(c).to_ne_bytes()))),
                    None => *e,
                };
                let Some(e) = low(d).add(&low(s)) else {
                    return Ok(false);
                };
                self.low_half(dst, &e)?;
            }
        }
        Ok(true)
    }

    /// `dst = e as u32`
    fn low_half(&mut self, dst: Reg, e: &Expr) -> Done {
        self.claim(dst)?;
        self.compute(home(dst), e, Width::W32, false)?;
        let flags = self.st.flags;
        self.wrote_home(dst, 32);
        self.st.flags = flags;
        Ok(())
    }

    fn rows(op: AluOp) -> Rows {
        match op {
            AluOp::Sub => Rows {
                rm_r: inst::SUB_RM_R,
                rm_i8: inst::SUB_RM_I8,
                rm_i32: inst::SUB_RM_I32,
            },
            AluOp::And => Rows {
                rm_r: inst::AND_RM_R,
                rm_i8: inst::AND_RM_I8,
                rm_i32: inst::AND_RM_I32,
            },
            AluOp::Or => Rows {
                rm_r: inst::OR_RM_R,
                rm_i8: inst::OR_RM_I8,
                rm_i32: inst::OR_RM_I32,
            },
            AluOp::Xor => Rows {
                rm_r: inst::XOR_RM_R,
                rm_i8: inst::XOR_RM_I8,
                rm_i32: inst::XOR_RM_I32,
            },
            AluOp::Add
            | AluOp::Mul
            | AluOp::Div
            | AluOp::Sdiv
            | AluOp::Lsh
            | AluOp::Rsh
            | AluOp::Mod
            | AluOp::Smod
            | AluOp::Arsh => Rows {
                rm_r: inst::ADD_RM_R,
                rm_i8: inst::ADD_RM_I8,
                rm_i32: inst::ADD_RM_I32,
            },
        }
    }

    /// `add`, `sub`, `and`, `or` or `xor` in place.
    fn two_operand(&mut self, op: AluOp, w: Width, dst: Reg, src: Src) -> Done {
        let rows = Self::rows(op);
        let before = match src {
            Src::Reg(r) => self.st.bits(r),
            Src::Imm(i) => bit_len(sext(i)),
        };
        let bits = match op {
            AluOp::And => self.st.bits(dst).min(before),
            AluOp::Or | AluOp::Xor => self.st.bits(dst).max(before),
            _ => 64,
        };
        let operand = self.operand(src, w)?;
        let gpr = self.settle(dst)?;
        // Both operands fit in the low half: so does the result, and the prefix can go.
        let bitwise = matches!(op, AluOp::And | AluOp::Or | AluOp::Xor);
        let narrow = match (op, operand) {
            (AluOp::And, Operand::Imm(i)) => i >= 0,
            (_, Operand::Imm(i)) => bitwise && i >= 0 && bits <= 32,
            (AluOp::And, Operand::Gpr(_)) => bits <= 32,
            (_, Operand::Gpr(_)) => bitwise && bits <= 32,
        };
        let ew = if narrow { Width::W32 } else { w };
        match operand {
            Operand::Gpr(s) => self.put(enc::rm_r(&rows.rm_r, ew, gpr, s))?,
            Operand::Imm(-1) if op == AluOp::Xor => {
                self.put(enc::rm(&inst::NOT_RM, ew, gpr))?;
                self.wrote_home(dst, width_bits(w));
                return Ok(());
            }
            Operand::Imm(i) => match i8::try_from(i) {
                Ok(i) => self.put(enc::rm_i8(&rows.rm_i8, ew, gpr, i))?,
                Err(_) => self.put(enc::rm_i32(&rows.rm_i32, ew, gpr, i))?,
            },
        }
        self.wrote_home(dst, bits.min(width_bits(w)));
        self.flags_of(gpr, ew);
        Ok(())
    }

    /// `dst = d & mask`
    fn and_const(&mut self, w: Width, dst: Reg, d: &Expr, mask: u64, src: Src) -> Done {
        let bits = self.st.bits(dst);
        let ones = mask.trailing_ones();
        if mask == 0 {
            return self.assign(dst, Expr::constant(0));
        }
        // Nothing that can be set is cleared.
        if bits <= ones && bits <= width_bits(w) {
            return Ok(());
        }
        // In a 32-bit operation the mask has only 32 bits.
        let row = match mask {
            0xff => Some(&inst::MOVZX_R_RM8),
            0xffff => Some(&inst::MOVZX_R_RM16),
            0xffff_ffff => return self.low_half(dst, d),
            _ => None,
        };
        let Some(row) = row else {
            return self.two_operand(AluOp::And, w, dst, src);
        };
        let from = match d.as_reg() {
            Some(reg) => reg,
            None => self.settle(dst)?,
        };
        self.claim(dst)?;
        self.put(enc::r_rm(row, Width::W32, home(dst), from))?;
        self.wrote_home(dst, ones);
        Ok(())
    }

    fn mul_const(&mut self, w: Width, dst: Reg, d: &Expr, c: u64) -> Done {
        if c == 0 {
            return self.assign(dst, Expr::constant(0));
        }
        if c.is_power_of_two() {
            return self.shift_const(AluOp::Lsh, w, dst, c.trailing_zeros());
        }
        if let Some(e) = d.times(c) {
            return match w {
                Width::W64 => self.assign(dst, e),
                Width::W32 => self.low_half(dst, &e),
            };
        }
        let imm = match w {
            Width::W64 => imm32(c),
            Width::W32 => Some(i32::from_ne_bytes(low32(c).to_ne_bytes())),
        };
        let from = match d.as_reg() {
            Some(reg) => reg,
            None => self.settle(dst)?,
        };
        self.claim(dst)?;
        match imm {
            Some(imm) => self.mul_imm(w, home(dst), from, imm)?,
            None => {
                self.load_const(TMP1, c, false)?;
                let gpr = self.settle(dst)?;
                self.put(enc::r_rm(&inst::IMUL_R_RM, w, gpr, TMP1))?;
            }
        }
        self.wrote_home(dst, width_bits(w));
        Ok(())
    }

    /// `to = from * imm`
    pub(super) fn mul_imm(&mut self, w: Width, to: Gpr, from: Gpr, imm: i32) -> Done {
        match i8::try_from(imm) {
            Ok(imm) => self.put(enc::r_rm_i8(&inst::IMUL_R_RM_I8, w, to, from, imm)),
            Err(_) => self.put(enc::r_rm_i32(&inst::IMUL_R_RM_I32, w, to, from, imm)),
        }
    }

    fn mul(&mut self, w: Width, dst: Reg, src: Src) -> Done {
        let Src::Reg(src) = src else {
            return Err(self.refuse("multiplication"));
        };
        let s = self.gpr(src, TMP1)?;
        let gpr = self.settle(dst)?;
        self.put(enc::r_rm(&inst::IMUL_R_RM, w, gpr, s))?;
        self.wrote_home(dst, width_bits(w));
        Ok(())
    }

    pub(super) fn neg(&mut self, w: Width, dst: Reg) -> Done {
        if !self.is_live(dst) {
            return Ok(());
        }
        if let Some(c) = self.expr(dst).as_const() {
            return self.assign(dst, Expr::constant(fold(AluOp::Sub, w, 0, c)));
        }
        let gpr = self.settle(dst)?;
        self.put(enc::rm(&inst::NEG_RM, w, gpr))?;
        self.wrote_home(dst, width_bits(w));
        self.flags_of(gpr, w);
        Ok(())
    }

    pub(super) fn mov(&mut self, w: Width, dst: Reg, src: Src) -> Done {
        if !self.is_live(dst) {
            return Ok(());
        }
        if let (Src::Imm(imm), true) = (src, self.blinds()) {
            let value = match w {
                Width::W64 => sext(imm),
                Width::W32 => u64::from(low32(sext(imm))),
            };
            return self.mov_blinded(dst, value);
        }
        let e = self.source_for(src, dst)?;
        let narrow = match (w, src) {
            (Width::W64, _) => true,
            (Width::W32, Src::Imm(_)) => false,
            (Width::W32, Src::Reg(r)) => r != Reg::R10 && self.st.bits(r) <= 32,
        };
        if narrow {
            return self.assign(dst, e);
        }
        match e.as_const() {
            Some(c) => self.assign(dst, Expr::constant(u64::from(low32(c)))),
            None => self.low_half(dst, &e),
        }
    }

    pub(super) fn mov_sx(&mut self, w: Width, from: Size, dst: Reg, src: Reg) -> Done {
        if !self.is_live(dst) {
            return Ok(());
        }
        let e = self.source_for(Src::Reg(src), dst)?;
        if let Some(c) = e.as_const() {
            let shift = 64u32.wrapping_sub(from.bits());
            let v = i64::from_ne_bytes(c.wrapping_shl(shift).to_ne_bytes()).wrapping_shr(shift);
            let v = u64::from_ne_bytes(v.to_ne_bytes());
            let v = match w {
                Width::W64 => v,
                Width::W32 => u64::from(low32(v)),
            };
            return self.assign(dst, Expr::constant(v));
        }
        // The sign bit is known to be clear.
        if src != Reg::R10 && self.st.bits(src) < from.bits() {
            return self.assign(dst, e);
        }
        let s = self.gpr(src, TMP1)?;
        self.claim(dst)?;
        let (row, w) = match from {
            Size::B => (&inst::MOVSX_R_RM8, w),
            Size::H => (&inst::MOVSX_R_RM16, w),
            Size::W | Size::Dw => (&inst::MOVSXD_R_RM32, Width::W64),
        };
        self.put(enc::r_rm(row, w, home(dst), s))?;
        self.wrote_home(dst, width_bits(w));
        Ok(())
    }

    pub(super) fn swap(&mut self, kind: SwapKind, size: Size, dst: Reg) -> Done {
        if !self.is_live(dst) {
            return Ok(());
        }
        if kind == SwapKind::ToLe {
            let mask = match size {
                Size::B => 0xff,
                Size::H => 0xffff,
                Size::W => 0xffff_ffff,
                Size::Dw => return Ok(()),
            };
            return self.alu_mask(dst, mask);
        }
        if self.fuse_swap(size, dst)? {
            return Ok(());
        }
        if let Some(c) = self.expr(dst).as_const() {
            let shift = 64u32.wrapping_sub(size.bits());
            let v = c.swap_bytes().wrapping_shr(shift);
            return self.assign(dst, Expr::constant(v));
        }
        match size {
            Size::B => Err(self.refuse("byte swap of a byte")),
            Size::H => {
                let bits = self.st.bits(dst);
                let gpr = self.settle(dst)?;
                self.put(enc::rm_i8(&inst::ROL_RM16_I8, Width::W32, gpr, 8))?;
                if bits > 16 {
                    self.put(enc::r_rm(&inst::MOVZX_R_RM16, Width::W32, gpr, gpr))?;
                }
                self.wrote_home(dst, 16);
                Ok(())
            }
            Size::W | Size::Dw => {
                let w = if size == Size::W {
                    Width::W32
                } else {
                    Width::W64
                };
                let gpr = self.settle(dst)?;
                self.put(enc::o(&inst::BSWAP_R, w, gpr))?;
                self.wrote_home(dst, size.bits());
                Ok(())
            }
        }
    }

    /// `dst &= mask` for a mask of 8, 16 or 32 ones.
    pub(super) fn alu_mask(&mut self, dst: Reg, mask: u64) -> Done {
        let d = self.expr(dst);
        match d.as_const() {
            Some(c) => self.assign(dst, Expr::constant(c & mask)),
            None => self.and_const(Width::W64, dst, &d, mask, Src::Reg(dst)),
        }
    }
}
