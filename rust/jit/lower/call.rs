// SPDX-License-Identifier: GPL-2.0

//! Calls.

use super::lookup::MAP_LOOKUP_ELEM;
use super::*;

impl Lower<'_> {
    /// Puts arguments where a called function expects them and saves what it may overwrite.
    fn before_call(&mut self, args: RegSet) -> Done {
        // R0 gets the result, so its value from before is not needed.
        self.st.set(Reg::R0, Val::Home);
        self.sync(args, false)?;
        for reg in Reg::ALL {
            if RegSet::CALLER_SAVED.has(reg) {
                self.evict(home(reg), Some(reg))?;
            }
        }
        self.take_base()
    }

    fn after_call(&mut self) {
        for reg in Reg::ALL {
            if RegSet::CALLER_SAVED.has(reg) {
                self.st.set(reg, Val::Home);
                self.st.set_bits(reg, 64);
            }
        }
        self.st.flags = None;
        self.st.stored = None;
    }

    pub(super) fn call_helper(&mut self, helper: i32) -> Done {
        if helper == MAP_LOOKUP_ELEM && self.array_lookup()? {
            return Ok(());
        }
        let Some(addr) = (self.target.helper)(helper) else {
            return Err(refuse(Some(self.at), Why::NoHelper(helper)));
        };
        self.before_call(self.flow.effects(&Insn::Call { helper }).uses)?;
        self.out.buf.call_absolute(addr)?;
        self.after_call();
        Ok(())
    }

    /// The label of the subprogram that starts at `slot`.
    fn subprog(&self, slot: u32) -> Result<Label, Failure> {
        let i = self.code.subprogs.iter().position(|s| s.start == slot);
        entry_label(self.code, i.ok_or(refuse(Some(self.at), Why::Malformed))?)
    }

    pub(super) fn call_sub(&mut self, target: u32) -> Done {
        let label = self.subprog(target)?;
        self.before_call(self.flow.effects(&Insn::CallSub { target }).uses)?;
        self.out.buf.call(label)?;
        self.after_call();
        Ok(())
    }

    /// The address of a subprogram that a helper is going to call.
    pub(super) fn func_address(&mut self, dst: Reg, slot: u32) -> Done {
        let label = self.subprog(slot)?;
        self.claim(dst)?;
        self.put(enc::lea_rip(home(dst)))?;
        self.out.buf.rel32(label)?;
        self.wrote_home(dst, 64);
        Ok(())
    }
}
