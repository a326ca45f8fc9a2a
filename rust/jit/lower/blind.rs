// SPDX-License-Identifier: GPL-2.0

//! Constant blinding: no number that a program's author chose is in the image.
//!
//! Whoever can load programs could else put machine code of their own into the kernel, as the
//! immediates of harmless instructions, and jump into the middle of these. When the target asks for
//! it, a number is loaded as its difference (xor) to a random one, which is then taken away in the
//! register. So nothing but zero is a number at compile time: what the other files do with constants
//! they do not do here, and every use of a `Src::Imm` comes through [`Lower::load_blinded`]. Offsets
//! of memory accesses (16 bits) and counts of shifts (6 bits) stay as they are.

use super::alu::width_bits;
use super::*;
use crate::isa::AluOp;

impl Lower<'_> {
    /// Numbers must not be in the image.
    pub(super) fn blinds(&self) -> bool {
        self.target.blind.is_some()
    }

    /// A random number without a zero byte, so that it changes each byte.
    fn mask(&self) -> i32 {
        let random = self.target.blind.map_or(0, |random| random());
        let mut bytes = low32(random).to_le_bytes();
        for byte in &mut bytes {
            if *byte == 0 {
                *byte = 1;
            }
        }
        i32::from_le_bytes(bytes)
    }

    /// Sets `gpr` to `value` without having it in the image, and without another register.
    pub(super) fn load_blinded(&mut self, gpr: Gpr, value: u64) -> Done {
        if value == 0 {
            return self.load_const(gpr, 0, false);
        }
        let mask = self.mask();
        if let Ok(value) = u32::try_from(value) {
            let hidden = value ^ u32::from_ne_bytes(mask.to_ne_bytes());
            self.put(enc::o_i32(&inst::MOV_R_I32, gpr, hidden))?;
            self.put(enc::rm_i32(&inst::XOR_RM_I32, Width::W32, gpr, mask))?;
        } else if let Some(value) = imm32(value) {
            let hidden = value ^ mask;
            self.put(enc::rm_i32(&inst::MOV_RM_I32, Width::W64, gpr, hidden))?;
            self.put(enc::rm_i32(&inst::XOR_RM_I32, Width::W64, gpr, mask))?;
        } else {
            // An immediate reaches the low half only: once as the bytes are, once swapped.
            let second = self.mask();
            let hidden = value ^ sext(mask) ^ sext(second).swap_bytes();
            self.put(enc::o_i64(&inst::MOV_R_I64, gpr, hidden))?;
            self.put(enc::rm_i32(&inst::XOR_RM_I32, Width::W64, gpr, mask))?;
            self.put(enc::o(&inst::BSWAP_R, Width::W64, gpr))?;
            self.put(enc::rm_i32(&inst::XOR_RM_I32, Width::W64, gpr, second))?;
            self.put(enc::o(&inst::BSWAP_R, Width::W64, gpr))?;
        }
        self.wrote(gpr);
        Ok(())
    }

    /// `dst = value`
    pub(super) fn mov_blinded(&mut self, dst: Reg, value: u64) -> Done {
        if value == 0 || !self.is_live(dst) {
            return self.assign(dst, Expr::constant(0));
        }
        self.claim(dst)?;
        self.load_blinded(home(dst), value)?;
        self.wrote_home(dst, bit_len(value));
        Ok(())
    }

    /// `dst op= imm` for all but shifts and division.
    pub(super) fn alu_blinded(&mut self, op: AluOp, w: Width, dst: Reg, imm: i32) -> Done {
        let value = match w {
            Width::W64 => sext(imm),
            Width::W32 => u64::from(low32(sext(imm))),
        };
        let gpr = self.settle(dst)?;
        self.load_blinded(TMP1, value)?;
        let row = match op {
            AluOp::Add => &inst::ADD_RM_R,
            AluOp::Sub => &inst::SUB_RM_R,
            AluOp::And => &inst::AND_RM_R,
            AluOp::Or => &inst::OR_RM_R,
            AluOp::Xor => &inst::XOR_RM_R,
            AluOp::Mul => {
                self.put(enc::r_rm(&inst::IMUL_R_RM, w, gpr, TMP1))?;
                self.wrote_home(dst, width_bits(w));
                return Ok(());
            }
            AluOp::Div
            | AluOp::Sdiv
            | AluOp::Mod
            | AluOp::Smod
            | AluOp::Lsh
            | AluOp::Rsh
            | AluOp::Arsh => return Err(self.refuse("blinded operation")),
        };
        self.put(enc::rm_r(row, w, gpr, TMP1))?;
        self.wrote_home(dst, width_bits(w));
        self.flags_of(gpr, w);
        Ok(())
    }
}
