// SPDX-License-Identifier: GPL-2.0

//! Loads and stores.

use super::*;

impl Lower<'_> {
    pub(super) fn load(&mut self, size: Size, sx: bool, dst: Reg, src: Reg, off: i16) -> Done {
        if self.fact().may_fault {
            return Err(self.refuse("a load that may fault"));
        }
        if !self.is_live(dst) || (!sx && self.fuse_load(size, dst, src, off)?) {
            return Ok(());
        }
        self.load_always(size, sx, dst, src, off)
    }

    pub(super) fn load_ordered(&mut self, size: Size, dst: Reg, src: Reg, off: i16) -> Done {
        if self.fact().may_fault {
            return Err(self.refuse("a load that may fault"));
        }
        self.load_always(size, false, dst, src, off)
    }

    pub(super) fn load_always(
        &mut self,
        size: Size,
        sx: bool,
        dst: Reg,
        src: Reg,
        off: i16,
    ) -> Done {
        let e = self.pointer(src, dst)?;
        let mem = self.address(&e, off)?;
        if let (Some(reg), false) = (self.stored(&mem, size), sx) {
            let e = self.expr(reg);
            if self.st.bits(reg) <= size.bits() {
                return self.assign(dst, e);
            }
        }
        self.claim(dst)?;
        let (row, w) = match (size, sx) {
            (Size::B, false) => (&inst::MOVZX_R_RM8, Width::W32),
            (Size::H, false) => (&inst::MOVZX_R_RM16, Width::W32),
            (Size::W, false) => (&inst::MOV_R_RM, Width::W32),
            (Size::B, true) => (&inst::MOVSX_R_RM8, Width::W64),
            (Size::H, true) => (&inst::MOVSX_R_RM16, Width::W64),
            (Size::W, true) => (&inst::MOVSXD_R_RM32, Width::W64),
            (Size::Dw, _) => (&inst::MOV_R_RM, Width::W64),
        };
        self.put(enc::r_rm(row, w, home(dst), mem))?;
        self.wrote_home(dst, if sx { 64 } else { size.bits() });
        Ok(())
    }

    pub(super) fn store(&mut self, size: Size, dst: Reg, off: i16, src: Src) -> Done {
        if self.fact().may_fault {
            return Err(self.refuse("a store that may fault"));
        }
        let number = match src {
            Src::Imm(imm) => Some(sext(imm)),
            Src::Reg(r) => self.expr(r).as_const(),
        };
        let blinded = self.blinds() && number.is_some_and(|c| c != 0);
        let imm = number.filter(|_| !blinded).and_then(|c| match size {
            Size::Dw => imm32(c),
            Size::B | Size::H | Size::W => Some(i32::from_ne_bytes(low32(c).to_ne_bytes())),
        });
        let reg = match (imm, src) {
            (None, Src::Reg(r)) => Some(self.gpr(r, TMP1)?),
            (None, Src::Imm(imm)) => {
                self.load_blinded(TMP1, sext(imm))?;
                Some(TMP1)
            }
            _ => None,
        };
        let e = self.expr(dst);
        let mem = self.address(&e, off)?;
        let insn = match (size, reg) {
            (Size::B, Some(r)) => enc::rm_r(&inst::MOV_RM8_R8, Width::W32, mem, r),
            (Size::H, Some(r)) => enc::rm_r(&inst::MOV_RM16_R16, Width::W32, mem, r),
            (Size::W, Some(r)) => enc::rm_r(&inst::MOV_RM_R, Width::W32, mem, r),
            (Size::Dw, Some(r)) => enc::rm_r(&inst::MOV_RM_R, Width::W64, mem, r),
            (_, None) => {
                let imm = imm.unwrap_or(0);
                let [a, b, ..] = imm.to_le_bytes();
                match size {
                    Size::B => {
                        let imm = i8::from_le_bytes([a]);
                        enc::rm_i8(&inst::MOV_RM8_I8, Width::W32, mem, imm)
                    }
                    Size::H => {
                        let imm = i16::from_le_bytes([a, b]);
                        enc::rm_i16(&inst::MOV_RM16_I16, Width::W32, mem, imm)
                    }
                    Size::W => enc::rm_i32(&inst::MOV_RM_I32, Width::W32, mem, imm),
                    Size::Dw => enc::rm_i32(&inst::MOV_RM_I32, Width::W64, mem, imm),
                }
            }
        };
        self.put(insn)?;
        // Any other store might have hit the place that was noted before.
        self.st.stored = match src {
            Src::Reg(r) if reg.is_some() && r != Reg::R10 && self.frame.owns(&mem) => {
                Some((mem, size, r))
            }
            _ => None,
        };
        self.st.stored_number = number
            .filter(|_| reg.is_none() && self.frame.owns(&mem))
            .map(|number| (mem, size, number));
        Ok(())
    }
}
