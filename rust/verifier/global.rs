// SPDX-License-Identifier: GPL-2.0

//! Global functions: which subprograms are, and their turn to be verified.
//!
//! A subprogram whose function record names a function of global linkage is verified by itself, once, and
//! only if some path that is followed calls it. `transfer/global.rs` says what a call is then. It is no
//! callback, as in-tree.

use super::explore::Verifier;
use super::proto::{ArgKind, Proto};
use super::state::refs::Refs;
use super::state::reg::{Base, Ptr, Val};
use super::state::State;
use super::subprog::Subprogs;
use super::{Env, Options};
use crate::btf::{Btf, Kind};
use crate::helper::{self, TAIL_CALL};
use crate::isa::{Imm64, Insn, Reg};
use kernel::prelude::*;

/// `BTF_FUNC_GLOBAL`
const GLOBAL: u32 = 1;

/// What a subprogram, or one that it calls, may do, dead code included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Pointers into the packet are none afterwards.
    pub(crate) moves_packet: bool,
    /// Bytes of its widest atomic operation, 0 without one.
    pub(crate) atomic: u8,
}

impl Effects {
    fn of(insn: &Insn, options: &Options) -> Effects {
        let mut own = Effects::default();
        match insn {
            // What goes on may call any helper.
            Insn::Call { helper: TAIL_CALL } => own.moves_packet = true,
            Insn::Call { helper } => {
                // More than the loader may call is no harm.
                let mut caps = options.caps();
                caps.sys_admin = true;
                let row = helper::lookup(*helper, options.prog_type, caps);
                own.moves_packet = row.is_some_and(|row| row.moves_packet);
            }
            Insn::Atomic { size, .. } => own.atomic = size.bytes() as u8,
            _ => {}
        }
        own
    }

    fn join(self, o: Effects) -> Effects {
        Effects {
            moves_packet: self.moves_packet || o.moves_packet,
            atomic: self.atomic.max(o.atomic),
        }
    }
}

/// One subprogram.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Global {
    /// It is a global function.
    pub(crate) global: bool,
    /// Some path calls it.
    pub(crate) called: bool,
    /// It was its turn.
    verified: bool,
    /// Instructions that were simulated then.
    insns: u32,
    /// What it may do.
    pub(crate) effects: Effects,
    /// Its prototype, once somebody asked.
    pub(crate) proto: Option<Proto>,
}

/// Per subprogram; empty when none is a global function.
pub(crate) type Globals = KVec<Global>;

/// The function is a global one.
fn is_global(btf: &Btf, func: u32) -> bool {
    btf.ty(func)
        .is_some_and(|t| t.kind == Kind::Func && t.vlen == GLOBAL)
}

/// Finds the global functions among `subs`.
///
/// # Errors
///
/// `ENOMEM`; `EFAULT` when the program is not as it was checked.
pub(crate) fn find(
    env: &dyn Env,
    subs: &Subprogs,
    insns: &[Insn],
    options: &Options,
) -> Result<Globals> {
    let (Some(btf), Some(source)) = (env.btf(), env.source()) else {
        return Ok(Globals::new());
    };
    let mut all = Globals::with_capacity(source.funcs.len(), GFP_KERNEL)?;
    for func in &source.funcs {
        let new = Global {
            global: is_global(btf, func.ty),
            ..Global::default()
        };
        all.push(new, GFP_KERNEL)?;
    }
    if !all.iter().skip(1).any(|g| g.global) {
        return Ok(Globals::new());
    }
    // Who calls whom: a row of bits for each callee.
    let words = all.len().div_ceil(64);
    let mut callers = KVec::from_elem(0u64, all.len().saturating_mul(words), GFP_KERNEL)?;
    let mut work = KVec::new();
    for (i, (s, g)) in subs.list.iter().zip(all.iter_mut()).enumerate() {
        for at in s.start..s.end {
            let insn = insns.get(at as usize).ok_or(EFAULT)?;
            g.effects = g.effects.join(Effects::of(insn, options));
            if let Insn::CallSub { target }
            | Insn::LdImm64 {
                imm: Imm64::Func(target),
                ..
            } = insn
            {
                let callee = subs.starting_at(*target).ok_or(EFAULT)?;
                let word = callee.saturating_mul(words).saturating_add(i / 64);
                *callers.get_mut(word).ok_or(EFAULT)? |= 1 << (i % 64);
            }
        }
        work.push(i, GFP_KERNEL)?;
    }
    // What a callee does its callers do. Effects only grow, so this ends.
    while let Some(callee) = work.pop() {
        let effects = all.get(callee).ok_or(EFAULT)?.effects;
        for (i, g) in all.iter_mut().enumerate() {
            let word = callee.saturating_mul(words).saturating_add(i / 64);
            let calls = callers.get(word).is_some_and(|w| (w >> (i % 64)) & 1 != 0);
            let joined = g.effects.join(effects);
            if calls && joined != g.effects {
                g.effects = joined;
                work.push(i, GFP_KERNEL)?;
            }
        }
    }
    Ok(all)
}

impl Verifier<'_> {
    /// Follows all paths of the main program, and of the global functions that are called.
    ///
    /// # Errors
    ///
    /// Those of [`Verifier::run`].
    pub(crate) fn run_all(&mut self) -> Result {
        let main = self.env.source().and_then(|s| s.funcs.first());
        if let (Some(main), Some(btf)) = (main, self.env.btf()) {
            if is_global(btf, main.ty) {
                // Only for what is said of it: the main program's argument is the context anyhow.
                let _ = Proto::of(btf, main.ty, self.options, self.log);
            }
        }
        self.run_quietly()?;
        self.figures.main_insns = self.figures.insns;
        // One may call others, before and behind it.
        loop {
            let mut found = false;
            for sub in 1..self.globals.len() {
                let due = |g: &&Global| g.global && g.called && !g.verified;
                if self.globals.get(sub).filter(due).is_some() {
                    self.run_global(sub)?;
                    found = true;
                }
            }
            if !found {
                return Ok(());
            }
        }
    }

    /// What was said of paths that are safe is not of interest.
    fn run_quietly(&mut self) -> Result {
        self.run()?;
        if !self.log.level2() {
            self.log.reset(0);
        }
        Ok(())
    }

    /// Verifies the global function that is subprogram `sub`.
    fn run_global(&mut self, sub: usize) -> Result {
        if self.log.level1() {
            self.log.put(format_args!("Validating "));
            self.put_name(sub);
            self.log.line(format_args!("() func#{sub}..."));
        }
        let start = self.subs.list.get(sub).ok_or(EFAULT)?.start;
        let proto = self.proto(sub)?;
        let mut top = self.pool.frame()?;
        top.subprog = u32::try_from(sub).map_err(|_| EFAULT)?;
        top.regs[Reg::R10] = Val::Ptr(Ptr::new(Base::Stack { frame: 0 }));
        let regs = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];
        for (kind, r) in proto.args().iter().zip(regs) {
            top.regs[r] = match *kind {
                ArgKind::Scalar => Val::unknown(),
                ArgKind::Ctx => Val::Ptr(Ptr::new(Base::Ctx)),
                ArgKind::Mem { size, or_null } => {
                    let mut p = Ptr::new(Base::Mem { size, or_null });
                    if or_null {
                        p.id = self.new_id();
                    }
                    Val::Ptr(p)
                }
            };
        }
        let state = State {
            callers: KVec::new(),
            top,
            refs: Refs::default(),
            lock: None,
            rounds: 0,
        };
        self.restart(state, start)?;
        let before = self.figures.insns;
        self.run_quietly()?;
        if self.log.level1() {
            self.log.put(format_args!("Func#{sub} ('"));
            self.put_name(sub);
            self.log.line(format_args!(
                "') is safe for any args that match its prototype"
            ));
        }
        let g = self.globals.get_mut(sub).ok_or(EFAULT)?;
        g.verified = true;
        g.insns = self.figures.insns.saturating_sub(before);
        Ok(())
    }

    /// Logs how many instructions were simulated, of the main program and of each global function.
    pub(crate) fn print_insns(&mut self) {
        let main = match self.figures.main_insns {
            0 => self.figures.insns,
            main => main,
        };
        self.log.put(format_args!("insns processed {main}"));
        for g in self.globals.iter().skip(1).filter(|g| g.global) {
            self.log.put(format_args!("+{}", g.insns));
        }
        self.log.put(format_args!("\n"));
    }
}
