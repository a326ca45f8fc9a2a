// SPDX-License-Identifier: GPL-2.0

//! Instructions that become one together with those behind them.
//!
//! All of these need that nothing jumps between them, and most that the value which one hands to
//! the other is not used again.

use super::*;
use crate::isa::{AluOp, Cond, SwapKind};
use inst::{shape, Form};

/// A comparison with memory.
#[derive(Clone, Copy)]
enum Test {
    /// `cmp byte [m], imm`
    Cmp8(i8),
    /// `cmp [m], imm`
    Cmp(Width, i32),
    /// `cmp [m], reg`
    CmpReg(Width, Reg),
    /// `test byte [m], imm`
    Bits8(i8),
    /// `test dword [m], imm`
    Bits(i32),
}

/// The row that operates on a register and memory.
fn memory_row(op: AluOp) -> Option<Form<shape::RRm>> {
    match op {
        AluOp::Add => Some(inst::ADD_R_RM),
        AluOp::Sub => Some(inst::SUB_R_RM),
        AluOp::Or => Some(inst::OR_R_RM),
        AluOp::And => Some(inst::AND_R_RM),
        AluOp::Xor => Some(inst::XOR_R_RM),
        AluOp::Mul => Some(inst::IMUL_R_RM),
        AluOp::Div
        | AluOp::Sdiv
        | AluOp::Lsh
        | AluOp::Rsh
        | AluOp::Mod
        | AluOp::Smod
        | AluOp::Arsh => None,
    }
}

/// The comparison of a zero-extended value of `size` in memory, if there is one.
fn memory_test(size: Size, cond: Cond, w: Width, src: Src) -> Option<Test> {
    let signed = matches!(cond, Cond::Sgt | Cond::Sge | Cond::Slt | Cond::Sle);
    let bits = cond == Cond::Set;
    match (size, src) {
        (Size::B, Src::Imm(i)) if !signed => {
            let i = i8::from_le_bytes([u8::try_from(i).ok()?]);
            Some(if bits { Test::Bits8(i) } else { Test::Cmp8(i) })
        }
        (Size::W | Size::Dw, Src::Imm(i)) if bits => (i >= 0).then_some(Test::Bits(i)),
        (Size::W, Src::Imm(i)) => {
            let same = w == Width::W32 || (i >= 0 && !signed);
            same.then_some(Test::Cmp(Width::W32, i))
        }
        (Size::Dw, Src::Imm(i)) => Some(Test::Cmp(w, i)),
        (Size::W, Src::Reg(r)) if w == Width::W32 && !bits => Some(Test::CmpReg(w, r)),
        (Size::Dw, Src::Reg(r)) if !bits => Some(Test::CmpReg(w, r)),
        _ => None,
    }
}

impl Lower<'_> {
    /// The instruction `n` slots ahead, if it follows in a straight line.
    pub(super) fn ahead(&self, n: u32) -> Option<(u32, Insn)> {
        let mut slot = self.at;
        for _ in 0..n {
            slot = slot.wrapping_add(1);
            let info = self.flow.slot(slot);
            if info.leader || !info.reached {
                return None;
            }
        }
        Some((slot, *insn_at(self.code, slot)?))
    }

    /// Takes the instructions up to `slot` as lowered together with the current one.
    pub(super) fn fuse(&mut self, slot: u32) {
        self.live = self.flow.slot(slot).live_out.or(self.outer);
        self.fused = Some(slot);
    }

    /// Is the value of `reg` used behind `slot`?
    fn used_behind(&self, slot: u32, reg: Reg) -> bool {
        self.flow.slot(slot).live_out.has(reg)
    }

    /// Tries to make a load part of what follows it.
    pub(super) fn fuse_load(
        &mut self,
        size: Size,
        dst: Reg,
        src: Reg,
        off: i16,
    ) -> Result<bool, Failure> {
        let Some((slot, next)) = self.ahead(1).filter(|_| !self.blinds()) else {
            return Ok(false);
        };
        match next {
            Insn::Alu {
                op,
                width,
                dst: to,
                src: Src::Reg(from),
            } if from == dst && to != dst => {
                let used = |reg| self.used_behind(slot, reg);
                if used(dst) || !used(to) {
                    return Ok(false);
                }
                if let Some(number) = self.expr(to).as_const() {
                    // Nothing is added to what is loaded.
                    let sum = matches!(op, AluOp::Add | AluOp::Or | AluOp::Xor);
                    if !sum || number != 0 || (size == Size::Dw && width == Width::W32) {
                        return Ok(false);
                    }
                    self.fuse(slot);
                    self.load_always(size, false, to, src, off)?;
                    return Ok(true);
                }
                let fits = size == Size::Dw || (size == Size::W && width == Width::W32);
                let Some(row) = memory_row(op).filter(|_| fits) else {
                    return Ok(false);
                };
                self.fuse(slot);
                self.alu_memory(&row, op, width, to, src, off)?;
                Ok(true)
            }
            Insn::Alu {
                op: AluOp::And,
                dst: of,
                src: Src::Imm(mask),
                ..
            } if of == dst => {
                let Some((slot, jump)) = self.ahead(2) else {
                    return Ok(false);
                };
                let Insn::Jmp {
                    cond: cond @ (Cond::Eq | Cond::Ne),
                    dst: of,
                    src: Src::Imm(0),
                    target,
                    ..
                } = jump
                else {
                    return Ok(false);
                };
                if of != dst || mask < 0 || self.used_behind(slot, dst) {
                    return Ok(false);
                }
                let size = match size {
                    Size::H => Size::B,
                    other => other,
                };
                let Some(test) = memory_test(size, Cond::Set, Width::W32, Src::Imm(mask)) else {
                    return Ok(false);
                };
                self.fuse(slot);
                let cc = if cond == Cond::Eq { Cc::E } else { Cc::Ne };
                self.jump_memory(test, cc, src, off, target)?;
                Ok(true)
            }
            Insn::Jmp {
                cond,
                width,
                dst: of,
                src: with,
                target,
            } if of == dst && with != Src::Reg(dst) => {
                let Some(test) = memory_test(size, cond, width, with) else {
                    return Ok(false);
                };
                if self.used_behind(slot, dst) {
                    return Ok(false);
                }
                self.fuse(slot);
                self.jump_memory(test, super::jump::cc(cond), src, off, target)?;
                Ok(true)
            }
            Insn::Swap {
                kind: SwapKind::ToBe | SwapKind::Bswap,
                size: swapped,
                dst: of,
            } if of == dst && swapped == size => self.fuse_swapped_load(size, dst, src, off),
            _ => Ok(false),
        }
    }

    /// A load whose value is swapped: compared with a swapped number, or loaded by `movbe`.
    fn fuse_swapped_load(
        &mut self,
        size: Size,
        dst: Reg,
        src: Reg,
        off: i16,
    ) -> Result<bool, Failure> {
        if let (Size::W, Some((slot, jump))) = (size, self.ahead(2)) {
            if let Some((cc, imm, target)) = self.swapped_test(size, dst, slot, &jump) {
                self.fuse(slot);
                self.jump_memory(Test::Cmp(Width::W32, imm), cc, src, off, target)?;
                return Ok(true);
            }
        }
        let (w, bits) = match size {
            Size::W => (Width::W32, 32),
            Size::Dw => (Width::W64, 64),
            Size::B | Size::H => return Ok(false),
        };
        let Some((slot, _)) = self.ahead(1).filter(|_| self.target.features.movbe) else {
            return Ok(false);
        };
        self.fuse(slot);
        if self.is_live(dst) {
            let e = self.pointer(src, dst)?;
            let mem = self.address(&e, off)?;
            self.claim(dst)?;
            self.put(enc::r_m(&inst::MOVBE_R_M, w, home(dst), mem))?;
            self.wrote_home(dst, bits);
        }
        Ok(true)
    }

    /// If `jump` compares `dst`, which is not used behind it, with a number for equality: the
    /// condition, the number with its bytes swapped, and the target.
    fn swapped_test(&self, size: Size, dst: Reg, slot: u32, jump: &Insn) -> Option<(Cc, i32, u32)> {
        let Insn::Jmp {
            cond: cond @ (Cond::Eq | Cond::Ne),
            width,
            dst: of,
            src: Src::Imm(imm),
            target,
        } = *jump
        else {
            return None;
        };
        if of != dst || self.used_behind(slot, dst) {
            return None;
        }
        let swapped = match size {
            Size::H => i32::from(u16::try_from(imm).ok()?.swap_bytes()),
            Size::W if imm >= 0 || width == Width::W32 => imm.swap_bytes(),
            _ => return None,
        };
        Some((super::jump::cc(cond), swapped, target))
    }

    /// Tries to make a byte swap part of the comparison that follows it.
    pub(super) fn fuse_swap(&mut self, size: Size, dst: Reg) -> Result<bool, Failure> {
        let Some((slot, jump)) = self.ahead(1).filter(|_| !self.blinds()) else {
            return Ok(false);
        };
        let Some((cc, imm, target)) = self.swapped_test(size, dst, slot, &jump) else {
            return Ok(false);
        };
        if self.expr(dst).as_const().is_some() || (size == Size::H && self.st.bits(dst) > 16) {
            return Ok(false);
        }
        self.fuse(slot);
        let g = match self.expr(dst).as_reg() {
            Some(reg) => reg,
            None => self.gpr(dst, TMP1)?,
        };
        self.sync(self.flow.slot(target).live_in, false)?;
        self.compare_imm(Width::W32, g, imm)?;
        self.out.buf.jcc(cc, Label::Slot(target))?;
        Ok(true)
    }

    /// Tries to make `dst &= mask` and a comparison of the result with zero one test.
    pub(super) fn fuse_and(&mut self, w: Width, dst: Reg, mask: i32) -> Result<bool, Failure> {
        let Some((slot, jump)) = self.ahead(1) else {
            return Ok(false);
        };
        let Insn::Jmp {
            cond: cond @ (Cond::Eq | Cond::Ne),
            width,
            dst: of,
            src: Src::Imm(0),
            target,
        } = jump
        else {
            return Ok(false);
        };
        if of != dst || self.used_behind(slot, dst) {
            return Ok(false);
        }
        if self.expr(dst).as_const().is_some() {
            return Ok(false);
        }
        self.fuse(slot);
        let w = if w == Width::W64 { width } else { w };
        let cc = self.compare(Cond::Set, w, dst, Src::Imm(mask), target)?;
        let cc = if cond == Cond::Eq { cc.not() } else { cc };
        self.out.buf.jcc(cc, Label::Slot(target))?;
        Ok(true)
    }

    /// `to op= [src + off]`
    fn alu_memory(
        &mut self,
        row: &Form<shape::RRm>,
        op: AluOp,
        w: Width,
        to: Reg,
        src: Reg,
        off: i16,
    ) -> Done {
        if to == src {
            self.settle(to)?;
        }
        let e = self.pointer(src, to)?;
        let mem = self.address(&e, off)?;
        let gpr = self.settle(to)?;
        self.put(enc::r_rm(row, w, gpr, mem))?;
        self.wrote_home(to, super::alu::width_bits(w));
        if op != AluOp::Mul {
            self.flags_of(gpr, w);
        }
        Ok(())
    }

    /// Compares memory and jumps.
    fn jump_memory(&mut self, test: Test, cc: Cc, src: Reg, off: i16, target: u32) -> Done {
        // First what the target needs: computing it may change what the address is made of.
        self.sync(self.flow.slot(target).live_in, false)?;
        let with = match test {
            Test::CmpReg(_, r) => self.gpr(r, TMP1)?,
            _ => TMP1,
        };
        let e = self.expr(src);
        let mem = self.address(&e, off)?;
        self.put(match test {
            Test::Cmp8(i) => enc::rm_i8(&inst::CMP_RM8_I8, Width::W32, mem, i),
            Test::Cmp(w, i) => match i8::try_from(i) {
                Ok(i) => enc::rm_i8(&inst::CMP_RM_I8, w, mem, i),
                Err(_) => enc::rm_i32(&inst::CMP_RM_I32, w, mem, i),
            },
            Test::CmpReg(w, _) => enc::rm_r(&inst::CMP_RM_R, w, mem, with),
            Test::Bits8(i) => enc::rm_i8(&inst::TEST_RM8_I8, Width::W32, mem, i),
            Test::Bits(i) => match u8::try_from(i) {
                Ok(i) => {
                    let i = i8::from_le_bytes([i]);
                    enc::rm_i8(&inst::TEST_RM8_I8, Width::W32, mem, i)
                }
                Err(_) => enc::rm_i32(&inst::TEST_RM_I32, Width::W32, mem, i),
            },
        })?;
        self.out.buf.jcc(cc, Label::Slot(target))?;
        Ok(())
    }
}
