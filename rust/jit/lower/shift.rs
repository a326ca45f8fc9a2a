// SPDX-License-Identifier: GPL-2.0

//! Shifts.

use super::alu::width_bits;
use super::*;
use crate::isa::AluOp;
use inst::{shape, Form};

struct Rows {
    imm: Form<shape::RmI8>,
    cl: Form<shape::RmCl>,
    bmi2: Form<shape::VexRRmV>,
}

fn rows(op: AluOp) -> Rows {
    match op {
        AluOp::Lsh => Rows {
            imm: inst::SHL_RM_I8,
            cl: inst::SHL_RM_CL,
            bmi2: inst::SHLX,
        },
        AluOp::Arsh => Rows {
            imm: inst::SAR_RM_I8,
            cl: inst::SAR_RM_CL,
            bmi2: inst::SARX,
        },
        AluOp::Rsh
        | AluOp::Add
        | AluOp::Sub
        | AluOp::Mul
        | AluOp::Div
        | AluOp::Sdiv
        | AluOp::Or
        | AluOp::And
        | AluOp::Mod
        | AluOp::Smod
        | AluOp::Xor => Rows {
            imm: inst::SHR_RM_I8,
            cl: inst::SHR_RM_CL,
            bmi2: inst::SHRX,
        },
    }
}

impl Lower<'_> {
    /// `dst` shifted by a number of bits that is taken modulo the width.
    pub(super) fn shift_const(&mut self, op: AluOp, w: Width, dst: Reg, count: u32) -> Done {
        let width = width_bits(w);
        let count = count & width.wrapping_sub(1);
        if count == 0 {
            return match w {
                Width::W64 => Ok(()),
                Width::W32 => self.alu_mask(dst, 0xffff_ffff),
            };
        }
        if op == AluOp::Lsh && w == Width::W64 {
            if let Some(done) = self.extension(dst, count)? {
                return Ok(done);
            }
            if let Some(e) = self.expr(dst).shl(count) {
                return self.assign(dst, e);
            }
        }
        let bits = self.st.bits(dst);
        // A number whose sign bit is clear is shifted like an unsigned one.
        let op = match op {
            AluOp::Arsh if bits < width => AluOp::Rsh,
            _ => op,
        };
        if op == AluOp::Rsh && bits <= count {
            return self.assign(dst, Expr::constant(0));
        }
        let (ew, left) = match op {
            AluOp::Rsh if bits <= 32 => (Width::W32, bits.saturating_sub(count)),
            AluOp::Rsh => (w, width.saturating_sub(count)),
            AluOp::Lsh => (w, bits.saturating_add(count).min(width)),
            _ => (w, width),
        };
        let gpr = self.settle(dst)?;
        if op == AluOp::Lsh && count == 1 {
            self.put(enc::rm_r(&inst::ADD_RM_R, ew, gpr, gpr))?;
        } else {
            self.shift_imm(&rows(op).imm, ew, gpr, count)?;
        }
        self.wrote_home(dst, left);
        self.flags_of(gpr, ew);
        Ok(())
    }

    /// Emits a shift of `gpr` by `count` below 64.
    pub(super) fn shift_imm(
        &mut self,
        row: &Form<shape::RmI8>,
        w: Width,
        gpr: Gpr,
        count: u32,
    ) -> Done {
        let count = i8::try_from(count & 63).unwrap_or(0);
        self.put(enc::rm_i8(row, w, gpr, count))?;
        self.wrote(gpr);
        Ok(())
    }

    /// Shifts `gpr` right by `count`, unless that is nothing.
    pub(super) fn shr(&mut self, w: Width, gpr: Gpr, count: u32) -> Done {
        if count == 0 {
            return Ok(());
        }
        self.shift_imm(&inst::SHR_RM_I8, w, gpr, count)
    }

    /// A shift left and the same shift right behind it extend the low bits: one move.
    fn extension(&mut self, dst: Reg, count: u32) -> Result<Option<()>, Failure> {
        let from = match count {
            32 => Size::W,
            48 => Size::H,
            56 => Size::B,
            _ => return Ok(None),
        };
        let Some((
            slot,
            Insn::Alu {
                op,
                width: Width::W64,
                dst: again,
                src: Src::Imm(imm),
            },
        )) = self.ahead(1)
        else {
            return Ok(None);
        };
        if again != dst || u32::try_from(imm) != Ok(count) {
            return Ok(None);
        }
        match op {
            AluOp::Rsh => {
                self.fuse(slot);
                let mask = u64::MAX.wrapping_shr(count);
                if self.is_live(dst) {
                    self.alu_mask(dst, mask)?;
                }
                Ok(Some(()))
            }
            AluOp::Arsh => {
                self.fuse(slot);
                self.mov_sx(Width::W64, from, dst, dst)?;
                Ok(Some(()))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn shift(&mut self, op: AluOp, w: Width, dst: Reg, src: Src) -> Done {
        let Src::Reg(src) = src else {
            return Err(self.refuse("shift"));
        };
        let rows = rows(op);
        let count = self.gpr(src, BASE)?;
        if self.target.features.bmi2 {
            let from = match self.expr(dst).as_reg() {
                Some(reg) => reg,
                None => self.settle(dst)?,
            };
            self.claim(dst)?;
            self.put(enc::vex_r_rm_v(&rows.bmi2, w, home(dst), from, count))?;
            self.wrote_home(dst, width_bits(w));
            return Ok(());
        }
        let rcx = home(Reg::R4);
        let gpr = self.settle(dst)?;
        let mov = |to: Gpr, from: Gpr| enc::rm_r(&inst::MOV_RM_R, Width::W64, to, from);
        if dst == Reg::R4 {
            self.put(mov(TMP1, gpr))?;
            if count != rcx {
                self.put(mov(rcx, count))?;
            }
            self.put(enc::rm_cl(&rows.cl, w, TMP1))?;
            self.put(mov(rcx, TMP1))?;
        } else if count == rcx {
            self.put(enc::rm_cl(&rows.cl, w, gpr))?;
        } else {
            let save = self.is_live(Reg::R4);
            if save {
                self.force(Reg::R4, false)?;
                self.put(mov(TMP1, rcx))?;
            } else {
                self.evict(rcx, None)?;
                self.wrote_home(Reg::R4, 64);
            }
            self.put(mov(rcx, count))?;
            self.put(enc::rm_cl(&rows.cl, w, gpr))?;
            if save {
                self.put(mov(rcx, TMP1))?;
            }
        }
        self.wrote_home(dst, width_bits(w));
        // A shift by zero leaves the flags alone.
        self.st.flags = None;
        Ok(())
    }
}
