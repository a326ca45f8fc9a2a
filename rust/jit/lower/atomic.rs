// SPDX-License-Identifier: GPL-2.0

//! Atomic read-modify-write operations.

use super::*;
use crate::isa::AtomicOp;
use inst::{shape, Form};

impl Lower<'_> {
    pub(super) fn atomic(
        &mut self,
        op: AtomicOp,
        fetch: bool,
        size: Size,
        dst: Reg,
        off: i16,
        src: Reg,
    ) -> Done {
        if self.fact().may_fault {
            return Err(self.refuse("an atomic operation that may fault"));
        }
        let w = match size {
            Size::W => Width::W32,
            Size::Dw => Width::W64,
            Size::B | Size::H => return Err(self.refuse("an atomic operation of this size")),
        };
        let bits = size.bits();
        self.st.stored = None;
        self.st.stored_number = None;
        match (op, fetch) {
            (AtomicOp::Xchg, _) => self.exchange(&inst::XCHG_M_R, w, dst, off, src, bits),
            (AtomicOp::Add, true) => self.exchange(&inst::LOCK_XADD_M_R, w, dst, off, src, bits),
            (AtomicOp::Cmpxchg, _) => self.cmpxchg(w, dst, off, src),
            (AtomicOp::Add, false) => self.update(&inst::LOCK_ADD_M_R, w, dst, off, src),
            (AtomicOp::Or, false) => self.update(&inst::LOCK_OR_M_R, w, dst, off, src),
            (AtomicOp::And, false) => self.update(&inst::LOCK_AND_M_R, w, dst, off, src),
            (AtomicOp::Xor, false) => self.update(&inst::LOCK_XOR_M_R, w, dst, off, src),
            (AtomicOp::Or, true) => self.fetch_loop(&inst::OR_RM_R, w, dst, off, src),
            (AtomicOp::And, true) => self.fetch_loop(&inst::AND_RM_R, w, dst, off, src),
            (AtomicOp::Xor, true) => self.fetch_loop(&inst::XOR_RM_R, w, dst, off, src),
        }
    }

    /// `lock op [m], src`
    fn update(&mut self, row: &Form<shape::MR>, w: Width, dst: Reg, off: i16, src: Reg) -> Done {
        let s = self.gpr(src, TMP1)?;
        let e = self.expr(dst);
        let mem = self.address(&e, off)?;
        self.put(enc::m_r(row, w, mem, s))
    }

    /// `src` gets the old value by the instruction itself.
    fn exchange(
        &mut self,
        row: &Form<shape::MR>,
        w: Width,
        dst: Reg,
        off: i16,
        src: Reg,
        bits: u32,
    ) -> Done {
        // An old value that nobody reads need not be fetched.
        if row.row().name == "xadd" && !self.is_live(src) {
            return self.update(&inst::LOCK_ADD_M_R, w, dst, off, src);
        }
        let e = self.source_for(Src::Reg(dst), src)?;
        let mem = if src == dst {
            let gpr = self.settle(src)?;
            self.address(&Expr::reg(gpr), off)?
        } else {
            self.address(&e, off)?
        };
        let gpr = self.settle(src)?;
        self.put(enc::m_r(row, w, mem, gpr))?;
        self.wrote_home(src, bits);
        Ok(())
    }

    fn cmpxchg(&mut self, w: Width, dst: Reg, off: i16, src: Reg) -> Done {
        let rax = home(Reg::R0);
        let s = self.gpr(src, TMP1)?;
        if dst == Reg::R0 {
            self.force(dst, false)?;
        }
        let e = self.source_for(Src::Reg(dst), Reg::R0)?;
        let mem = self.address(&e, off)?;
        self.settle(Reg::R0)?;
        self.put(enc::m_r(&inst::LOCK_CMPXCHG_M_R, w, mem, s))?;
        if w == Width::W32 {
            // Only a failed exchange writes eax.
            self.put(enc::rm_r(&inst::MOV_RM_R, w, rax, rax))?;
            self.wrote_home(Reg::R0, 32);
        } else {
            self.wrote_home(Reg::R0, 64);
        }
        self.st.flags = None;
        Ok(())
    }

    /// Operations that have no fetching instruction: a loop around `cmpxchg`, which needs `rax`.
    fn fetch_loop(
        &mut self,
        row: &Form<shape::RmR>,
        w: Width,
        dst: Reg,
        off: i16,
        src: Reg,
    ) -> Done {
        let rax = home(Reg::R0);
        let mov = |w: Width, to: Gpr, from: Gpr| enc::rm_r(&inst::MOV_RM_R, w, to, from);
        if src == Reg::R10 {
            return Err(self.refuse("write to R10"));
        }
        if src == dst {
            self.force(src, false)?;
        }
        let save = src == Reg::R0 || self.is_live(Reg::R0);
        if save {
            self.force(Reg::R0, false)?;
        }
        // The address must not change while rax does.
        let e = self.source_for(Src::Reg(dst), src)?;
        let mut mem = self.address(&e, off)?;
        if mem.uses(rax) {
            self.take_base()?;
            self.put(enc::r_m(&inst::LEA_R_M, Width::W64, BASE, mem))?;
            mem = Mem::at(BASE, 0);
        }
        self.settle(src)?;
        self.evict(rax, None)?;
        let operand = if src == Reg::R0 { TMP0 } else { home(src) };
        if save {
            self.put(mov(Width::W64, TMP0, rax))?;
        }
        let again = self.out.buf.new_label()?;
        self.put(enc::r_rm(&inst::MOV_R_RM, w, rax, mem))?;
        self.out.buf.bind(again);
        self.put(mov(w, TMP1, rax))?;
        self.put(enc::rm_r(row, w, TMP1, operand))?;
        self.put(enc::m_r(&inst::LOCK_CMPXCHG_M_R, w, mem, TMP1))?;
        self.out.buf.jcc(Cc::Ne, again)?;
        if src != Reg::R0 {
            self.put(mov(w, home(src), rax))?;
            if save {
                self.put(mov(Width::W64, rax, TMP0))?;
            } else {
                self.wrote_home(Reg::R0, 64);
            }
        }
        self.wrote_home(src, super::alu::width_bits(w));
        self.st.flags = None;
        Ok(())
    }
}
