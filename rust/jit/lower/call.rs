// SPDX-License-Identifier: GPL-2.0

//! Calls.

use super::lookup::MAP_LOOKUP_ELEM;
use super::*;
use crate::helper::TAIL_CALL;

/// `bpf_get_smp_processor_id`
const GET_SMP_PROCESSOR_ID: i32 = 8;
/// `bpf_get_current_task`
const GET_CURRENT_TASK: i32 = 35;
/// `bpf_jiffies64`
const JIFFIES64: i32 = 118;

/// The memory operand of a variable of the kernel; its address must be a sign-extended number of 32
/// bits, as those of the kernel's image are.
pub(super) fn fixed(place: u64, gs: bool) -> Option<Mem> {
    Some(Mem {
        base: None,
        index: None,
        disp: imm32(place)?,
        gs,
    })
}

impl Lower<'_> {
    /// Puts arguments where a called function expects them and saves what it may overwrite.
    pub(super) fn before_call(&mut self, args: RegSet) -> Done {
        // R0 gets the result, so its value from before is not needed.
        self.st.set(Reg::R0, Val::Home);
        if !self.st.lazy().is_empty() {
            self.sync(args, false)?;
            self.evict_caller_saved()?;
        }
        self.take_base()
    }

    /// Registers that the call `insn` reads and that are not at home.
    fn waiting(&self, insn: &Insn) -> RegSet {
        match self.st.lazy() {
            lazy if lazy.is_empty() => lazy,
            lazy => lazy.and(self.flow.uses(insn)),
        }
    }

    pub(super) fn after_call(&mut self) {
        self.st.called();
    }

    pub(super) fn call_helper(&mut self, insn: &Insn, helper: i32) -> Done {
        if helper == TAIL_CALL {
            return self.tail_call();
        }
        if helper == MAP_LOOKUP_ELEM && self.lookup()? || self.variable(helper)? {
            return Ok(());
        }
        let Some(addr) = (self.target.helper)(helper) else {
            return Err(refuse(Some(self.at), Why::NoHelper(helper)));
        };
        self.before_call(self.waiting(insn))?;
        self.out.buf.call_absolute(addr)?;
        self.after_call();
        Ok(())
    }

    /// Lowers a call of a helper that only reads a variable of the kernel.
    fn variable(&mut self, helper: i32) -> Result<bool, Failure> {
        let vars = &self.target.variables;
        let (place, gs, w) = match helper {
            GET_SMP_PROCESSOR_ID => (vars.cpu_number, true, Width::W32),
            GET_CURRENT_TASK => (vars.current_task, true, Width::W64),
            JIFFIES64 => (vars.jiffies, false, Width::W64),
            _ => return Ok(false),
        };
        let Some(mem) = place.and_then(|place| fixed(place, gs)) else {
            return Ok(false);
        };
        if self.is_live(Reg::R0) {
            self.claim(Reg::R0)?;
            self.put(enc::r_rm(&inst::MOV_R_RM, w, home(Reg::R0), mem))?;
            self.wrote_home(Reg::R0, super::alu::width_bits(w));
        }
        Ok(true)
    }

    /// Number of the subprogram that starts at `slot`.
    fn subprog(&self, slot: u32) -> Result<usize, Failure> {
        let subs = &self.code.subprogs;
        let found = subs.binary_search_by_key(&slot, |sub| sub.start);
        found.map_err(|_| refuse(Some(self.at), Why::Malformed))
    }

    pub(super) fn call_sub(&mut self, insn: &Insn, target: u32) -> Done {
        let i = self.subprog(target)?;
        if let (true, Some(sub)) = (self.flow.summary(i).inline, self.code.subprogs.get(i)) {
            return self.inline(sub);
        }
        let label = entry_label(i)?;
        self.before_call(self.waiting(insn))?;
        self.out.buf.call(label)?;
        self.after_call();
        Ok(())
    }

    /// The address of a subprogram that a helper is going to call.
    pub(super) fn func_address(&mut self, dst: Reg, slot: u32) -> Done {
        let label = entry_label(self.subprog(slot)?)?;
        self.claim(dst)?;
        self.put(enc::lea_rip(home(dst)))?;
        self.out.buf.rel32(label)?;
        self.wrote_home(dst, 64);
        Ok(())
    }

    /// `LD_ABS`, `LD_IND`: `R6` holds the context. Bytes that are not there end the subprogram.
    pub(super) fn load_packet(&mut self, size: Size, src: Option<Reg>, imm: i32) -> Done {
        let Some(addr) = self.target.packet else {
            return Err(self.refuse("LD_ABS/LD_IND"));
        };
        if self.blinds() {
            if let Some(src) = src {
                self.force(src, false)?;
            }
        }
        let offset = match src {
            _ if self.blinds() => Expr::constant(0),
            Some(src) => {
                let gpr = self.gpr(src, TMP1)?;
                Expr::plus(gpr, imm)
            }
            None => Expr::constant(sext(imm)),
        };
        self.force(Reg::R6, false)?;
        self.before_call(RegSet::NONE)?;
        let (rdi, rsi, rdx) = (home(Reg::R1), home(Reg::R2), home(Reg::R3));
        if self.blinds() {
            self.load_blinded(TMP1, u64::from(low32(sext(imm))))?;
            match src {
                Some(src) => {
                    if home(src) != rsi {
                        self.put(enc::rm_r(&inst::MOV_RM_R, Width::W32, rsi, home(src)))?;
                    }
                    self.put(enc::rm_r(&inst::ADD_RM_R, Width::W32, rsi, TMP1))?;
                }
                None => self.put(enc::rm_r(&inst::MOV_RM_R, Width::W32, rsi, TMP1))?,
            }
            self.wrote(rsi);
        } else {
            self.compute(rsi, &offset, Width::W32, false)?;
        }
        let r6 = Expr::reg(home(Reg::R6));
        self.compute(rdi, &r6, Width::W64, false)?;
        self.load_const(rdx, u64::from(size.bytes()), false)?;
        self.out.buf.call_absolute(addr)?;
        self.after_call();
        let rax = home(Reg::R0);
        self.put(enc::rm_r(&inst::TEST_RM_R, Width::W64, rax, rax))?;
        let end = match self.end {
            Some(end) => end,
            None => {
                let entry = self.out.buf.new_label()?;
                let (back, what) = (entry, What::End);
                self.cold.push(Cold { entry, back, what }, GFP_KERNEL)?;
                self.end = Some(entry);
                entry
            }
        };
        self.out.buf.jcc(Cc::S, end)?;
        self.wrote_home(Reg::R0, size.bits());
        Ok(())
    }
}
