// SPDX-License-Identifier: GPL-2.0

//! Rewriting after proof, in one pass: dead code goes, context accesses become accesses to the
//! kernel's structures, and what was learnt is handed on.

use super::explore::{Learnt, Proved, Target};
use super::watch::Watcher;
use super::{Options, Program};
use crate::abi::ProgTypes;
use crate::ctx;
use crate::helper::{FOR_EACH, LOOP};
use crate::isa::code::{Code, Fact, Subprog};
use crate::isa::{AluOp, Cond, Imm64, Insn, Reg, Size, Src, Width};
use kernel::prelude::*;

mod calls;
mod nospec;

pub(crate) use calls::loop_stack;

/// The output under construction.
struct Output<'a> {
    options: &'a Options,
    code: Code,
    /// Where the old slots are.
    moved: Moved,
    /// Slots whose targets are still old slot numbers.
    old_targets: KVVec<u32>,
    /// Where the current subprogram has room for rewritten context accesses.
    scratch: i16,
    /// Where it has room for what a loop made of a call of a helper keeps.
    loops: i16,
    /// The program looks at the type of the packet's time.
    tstamp_as_is: bool,
}

/// Where the slots of a program are after rewriting.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Per old slot, the slot where what became of it starts.
    slots: KVVec<u32>,
    /// Old and new first slots of subprograms that are still there, in order. What a subprogram's first
    /// slot became can have something new before it.
    starts: KVVec<(u32, u32)>,
}

impl Moved {
    /// What became of old slot `at`.
    pub(crate) fn slot(&self, at: u32) -> Option<u32> {
        self.slots.get(at as usize).copied()
    }

    /// Where the subprogram begins that began at `at`.
    pub(crate) fn start(&self, at: u32) -> Option<u32> {
        let found = self.starts.binary_search_by_key(&at, |(old, _)| *old);
        self.starts.get(found.ok()?).map(|(_, new)| *new)
    }

    /// The next old slot is at `to`.
    pub(crate) fn push(&mut self, to: u32) -> Result {
        Ok(self.slots.push(to, GFP_KERNEL)?)
    }

    /// A subprogram began at `old` and begins at `new`.
    pub(crate) fn add_start(&mut self, old: u32, new: u32) -> Result {
        Ok(self.starts.push((old, new), GFP_KERNEL)?)
    }
}

/// Rewrites an accepted program.
///
/// # Errors
///
/// `ERANGE` when a conditional jump goes too far then; `ENOMEM`; `EFAULT` when what was proved does not
/// fit the program.
pub(crate) fn rewrite(
    prog: &Program,
    proved: &Proved,
    options: &Options,
    watcher: Option<&mut dyn Watcher>,
) -> Result<(Code, Moved)> {
    let mut out = Output {
        options,
        code: Code {
            stack_depth: proved.stack_depth,
            ..Code::default()
        },
        moved: Moved {
            slots: KVVec::with_capacity(prog.insns.len(), GFP_KERNEL)?,
            starts: KVVec::new(),
        },
        old_targets: KVVec::new(),
        scratch: 0,
        loops: 0,
        tstamp_as_is: reads_tstamp_type(prog, proved, options),
    };
    out.code.insns.reserve(prog.insns.len(), GFP_KERNEL)?;
    out.code.facts.reserve(prog.insns.len(), GFP_KERNEL)?;
    let seen = |at: u32| proved.learnt.get(at as usize).is_some_and(|l| l.seen);
    for s in proved.subs.list.iter() {
        let start = out.here()?;
        if s.start == 0 {
            out.own_packet(proved)?;
        }
        if s.scratch {
            let bottom = i16::try_from(s.stack).map_err(|_| EFAULT)?;
            out.scratch = bottom.wrapping_neg();
        }
        let loops = i16::try_from(s.loops).map_err(|_| EFAULT)?;
        out.loops = loops.wrapping_neg();
        for at in s.start..s.end {
            let insn = prog.insns.get(at as usize).ok_or(EFAULT)?;
            let learnt = proved.learnt.get(at as usize).ok_or(EFAULT)?;
            let here = out.here()?;
            out.moved.push(here)?;
            if learnt.seen {
                out.insn(insn, at, s.end, learnt, &seen)?;
            }
        }
        let end = out.here()?;
        if end > start {
            let stack = u16::try_from(s.stack).map_err(|_| EFAULT)?;
            let new = Subprog {
                start,
                end,
                stack,
                tail_call: s.tail_call,
                callback: false,
            };
            out.code.subprogs.push(new, GFP_KERNEL)?;
            out.moved.add_start(s.start, start)?;
        }
    }
    out.retarget()?;
    check(&out.code)?;
    let Output {
        mut code,
        mut moved,
        ..
    } = out;
    if !options.allow_ptr_leaks {
        nospec::add(&mut code, &mut moved)?;
        check(&code)?;
    }
    if let Some(w) = watcher {
        w.moved(&moved.slots);
    }
    Ok((code, moved))
}

/// The helpers that take the address of a subprogram become calls of it, so any number does for the
/// address that is not NULL.
fn without_address(insn: &Insn, imm: Imm64) -> Insn {
    match (*insn, imm) {
        (Insn::LdImm64 { dst, .. }, Imm64::Func(_)) => Insn::LdImm64 {
            dst,
            imm: Imm64::Value(1),
        },
        (other, _) => other,
    }
}

/// Whether the program reads the type of the packet's time anywhere.
fn reads_tstamp_type(prog: &Program, proved: &Proved, options: &Options) -> bool {
    prog.insns.iter().zip(proved.learnt.iter()).any(|(i, l)| {
        let ctx = l.seen && l.target == Some(Target::Ctx);
        matches!(*i, Insn::Load { off, .. }
            if ctx && ctx::reads_tstamp_type(options.prog_type, off))
    })
}

impl<'a> Output<'a> {
    /// The next slot.
    fn here(&self) -> Result<u32> {
        u32::try_from(self.code.insns.len()).map_err(|_| E2BIG)
    }

    fn push(&mut self, insn: Insn, fact: Fact) -> Result {
        self.code.insns.push(insn, GFP_KERNEL)?;
        self.code.facts.push(fact, GFP_KERNEL)?;
        Ok(())
    }

    fn push_jump(&mut self, insn: Insn, fact: Fact) -> Result {
        let here = self.here()?;
        self.old_targets.push(here, GFP_KERNEL)?;
        self.push(insn, fact)
    }

    fn insn(
        &mut self,
        insn: &Insn,
        at: u32,
        end: u32,
        learnt: &Learnt,
        seen: &impl Fn(u32) -> bool,
    ) -> Result {
        let fact = Fact {
            seen: true,
            map: learnt.map.get(),
            key: learnt.key.get(),
            may_fault: false,
            nonzero: learnt.nonzero.get().is_some(),
            stack: learnt.stack,
        };
        // The first instruction behind this one that stays.
        let next = || (at.wrapping_add(1)..end).find(|a| seen(*a));
        match *insn {
            Insn::Ja { target, .. } => {
                if next() != Some(target) {
                    self.push_jump(*insn, fact)?;
                }
            }
            Insn::Jmp { target, .. } => {
                let fall = seen(at.wrapping_add(1));
                if !seen(target) {
                    return if fall { Ok(()) } else { Err(EFAULT) };
                }
                if fall {
                    self.push_jump(*insn, fact)?;
                } else if next() != Some(target) {
                    self.push_jump(
                        Insn::Ja {
                            target,
                            long: i16::try_from(i64::from(target) - i64::from(at) - 1).is_err(),
                        },
                        fact,
                    )?;
                }
            }
            Insn::MayGoto { .. } | Insn::CallSub { .. } => self.push_jump(*insn, fact)?,
            Insn::LdImm64 { imm, .. } => {
                self.push(without_address(insn, imm), fact)?;
                self.push(Insn::Hole, fact)?;
            }
            Insn::Load {
                size,
                sx,
                dst,
                src,
                off,
            } if learnt.target == Some(Target::Ctx) => {
                let load = ctx::CtxLoad {
                    size,
                    sx,
                    dst,
                    src,
                    off,
                };
                ctx::lower_load(&self.lowering(), &load, &mut self.code.insns)?;
                self.fill_facts(fact)?;
            }
            Insn::Load {
                size,
                sx,
                dst,
                src,
                off,
            } if matches!(learnt.target, Some(Target::Sock(_))) => {
                let Some(Target::Sock(sock)) = learnt.target else {
                    return Err(EFAULT);
                };
                let load = ctx::CtxLoad {
                    size,
                    sx,
                    dst,
                    src,
                    off,
                };
                ctx::lower_sock_load(sock, &self.lowering(), &load, &mut self.code.insns)?;
                self.fill_facts(fact)?;
            }
            Insn::Store {
                size,
                dst,
                off,
                src,
            } if learnt.target == Some(Target::Ctx) => {
                let store = ctx::CtxStore {
                    size,
                    dst,
                    off,
                    src,
                };
                ctx::lower_store(&self.lowering(), &store, &mut self.code.insns)?;
                self.fill_facts(fact)?;
            }
            Insn::Call { helper: LOOP } => {
                let callback = learnt.callback.get().ok_or(EFAULT)?;
                self.bpf_loop(seen(callback).then_some(callback), fact)?;
            }
            Insn::Call { helper: FOR_EACH } => {
                let callback = learnt.callback.get().filter(|c| seen(*c)).ok_or(EFAULT)?;
                self.for_each(callback, fact)?;
            }
            Insn::Hole
            | Insn::Alu { .. }
            | Insn::Neg { .. }
            | Insn::Mov { .. }
            | Insn::MovSx { .. }
            | Insn::Swap { .. }
            | Insn::Load { .. }
            | Insn::Store { .. }
            | Insn::Atomic { .. }
            | Insn::LoadAcquire { .. }
            | Insn::StoreRelease { .. }
            | Insn::LdAbs { .. }
            | Insn::LdInd { .. }
            | Insn::Call { .. }
            | Insn::CallKfunc { .. }
            | Insn::Nospec
            | Insn::Exit => self.push(*insn, fact)?,
        }
        Ok(())
    }

    /// A classifier that writes to its packet must not write to what others read too: it starts with
    /// making the packet its own, and where that fails, which takes lack of memory, drops it.
    fn own_packet(&mut self, proved: &Proved) -> Result {
        /// `BPF_FUNC_skb_pull_data`, of 0 bytes: what is linear becomes the packet's own.
        const PULL_DATA: i32 = 39;
        /// `TC_ACT_SHOT`
        const DROP: i32 = 2;

        let writes = proved.learnt.iter().any(|l| l.seen && l.writes_packet);
        if !writes || !ProgTypes::TC.contains(self.options.prog_type) {
            return Ok(());
        }
        let layout = &self.options.layout;
        let slot = |after: u32| Ok::<u32, Error>(self.here()?.wrapping_add(after));
        let (restore, end) = (slot(9)?, slot(10)?);
        let width = Width::W64;
        let skip_if_zero = |dst, target| Insn::Jmp {
            cond: Cond::Eq,
            width,
            dst,
            src: Src::Imm(0),
            target,
        };
        let mov = |dst, src| Insn::Mov { width, dst, src };
        let insns = [
            Insn::Load {
                size: Size::B,
                sx: false,
                dst: Reg::R6,
                src: Reg::R1,
                off: layout.skb_cloned,
            },
            Insn::Alu {
                op: AluOp::And,
                width: Width::W32,
                dst: Reg::R6,
                src: Src::Imm(layout.skb_cloned_mask.into()),
            },
            skip_if_zero(Reg::R6, end),
            mov(Reg::R6, Src::Reg(Reg::R1)),
            mov(Reg::R2, Src::Imm(0)),
            Insn::Call { helper: PULL_DATA },
            skip_if_zero(Reg::R0, restore),
            mov(Reg::R0, Src::Imm(DROP)),
            Insn::Exit,
            mov(Reg::R1, Src::Reg(Reg::R6)),
        ];
        let fact = Fact {
            seen: true,
            ..Fact::default()
        };
        for insn in insns {
            self.push(insn, fact)?;
        }
        Ok(())
    }

    /// What rewriting a context access needs to know.
    fn lowering(&self) -> ctx::Lowering<'a> {
        ctx::Lowering {
            prog: self.options.prog_type,
            layout: &self.options.layout,
            scratch: self.scratch,
            tstamp_as_is: self.tstamp_as_is,
        }
    }

    /// What a context access became has the access's facts.
    fn fill_facts(&mut self, fact: Fact) -> Result {
        let len = self.code.insns.len();
        self.code.facts.resize(len, fact, GFP_KERNEL)?;
        Ok(())
    }

    /// Old slot numbers in jumps and calls become new ones.
    fn retarget(&mut self) -> Result {
        for at in self.old_targets.iter() {
            let insn = self.code.insns.get_mut(*at as usize).ok_or(EFAULT)?;
            let target = match insn {
                Insn::Ja { target, .. }
                | Insn::Jmp { target, .. }
                | Insn::MayGoto { target }
                | Insn::CallSub { target } => target,
                _ => return Err(EFAULT),
            };
            *target = self.moved.slot(*target).ok_or(EFAULT)?;
        }
        // A short jump may have become a long one where context accesses grew.
        for (at, insn) in self.code.insns.iter_mut().enumerate() {
            if let Insn::Ja { target, long } = insn {
                let by = i64::from(*target) - at as i64 - 1;
                *long |= i16::try_from(by).is_err();
            }
        }
        Ok(())
    }
}

/// The result is well formed: control stays inside each subprogram and calls go to their starts.
fn check(code: &Code) -> Result {
    if code.subprogs.first().is_none_or(|s| s.start != 0) || code.facts.len() != code.insns.len() {
        return Err(EFAULT);
    }
    for s in code.subprogs.iter() {
        for at in s.start..s.end {
            let insn = code.insns.get(at as usize).ok_or(EFAULT)?;
            let ok = match insn {
                Insn::Ja { target, .. } | Insn::MayGoto { target } => {
                    (s.start..s.end).contains(target)
                }
                Insn::Jmp { target, .. } => {
                    i16::try_from(nospec::distance(at, *target)).map_err(|_| ERANGE)?;
                    (s.start..s.end).contains(target)
                }
                Insn::CallSub { target } => code
                    .subprogs
                    .binary_search_by_key(target, |s| s.start)
                    .is_ok(),
                _ => true,
            };
            let last = at.wrapping_add(1) == s.end;
            if !ok || (last && !matches!(insn, Insn::Ja { .. } | Insn::Exit)) {
                return Err(EFAULT);
            }
        }
    }
    Ok(())
}
