// SPDX-License-Identifier: GPL-2.0

//! What the compiler must know before it emits: reachable slots, jump targets, live registers.

use super::{insn_at, refuse, Done, Failure, Why};
use crate::isa::code::{Code, Subprog};
use crate::isa::{AtomicOp, Imm64, Insn, Reg, Src};
use kernel::prelude::*;

/// A set of registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegSet(u16);

impl RegSet {
    /// No register.
    pub(crate) const NONE: RegSet = RegSet(0);
    /// What a call overwrites: `R0` to `R5`.
    pub(crate) const CALLER_SAVED: RegSet = RegSet(0x3f);

    /// Just `reg`.
    pub(crate) const fn one(reg: Reg) -> RegSet {
        RegSet(1 << reg as u16)
    }

    /// The first `n` argument registers, from `R1`.
    pub(crate) fn args(n: u8) -> RegSet {
        let n = u32::from(n.min(5));
        RegSet((1u16.wrapping_shl(n).wrapping_sub(1)) << 1)
    }

    /// Is `reg` in it?
    pub(crate) const fn has(self, reg: Reg) -> bool {
        self.0 & (1 << reg as u16) != 0
    }

    /// Those in either.
    pub(crate) const fn or(self, o: RegSet) -> RegSet {
        RegSet(self.0 | o.0)
    }

    /// Those in both.
    pub(crate) const fn and(self, o: RegSet) -> RegSet {
        RegSet(self.0 & o.0)
    }

    /// Those not in `o`.
    pub(crate) const fn without(self, o: RegSet) -> RegSet {
        RegSet(self.0 & !o.0)
    }

    /// Its registers, from `R0` on.
    pub(crate) fn iter(self) -> impl Iterator<Item = Reg> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let reg = *Reg::ALL.get(index(left.trailing_zeros()))?;
            left &= left.wrapping_sub(1);
            Some(reg)
        })
    }

    /// No register is in it.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What is known of one slot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    /// Registers whose value is used at the slot or later.
    pub(crate) live_in: RegSet,
    /// Registers whose value is used later, on any way out of the slot.
    pub(crate) live_out: RegSet,
    /// Some path reaches it.
    pub(crate) reached: bool,
    /// It is the target of a jump, or starts a subprogram.
    pub(crate) leader: bool,
    /// It starts a subprogram, and `live_in` is final.
    done: bool,
    /// It starts a subprogram whose address is taken.
    taken: bool,
}

/// The analysis of one subprogram.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    /// Registers that it writes.
    pub(crate) writes: RegSet,
    /// It calls something.
    pub(crate) calls: bool,
    /// Callers contain it instead of calling it.
    pub(crate) inline: bool,
}

/// Instructions of a subprogram that is inlined, at most.
const INLINE: u32 = 16;

/// The analysis of a whole program.
#[derive(Debug)]
pub(crate) struct Flow {
    slots: KVVec<Slot>,
    subs: KVec<Summary>,
}

/// What an instruction reads and writes, and where control goes after it.
struct Effects {
    /// Read.
    uses: RegSet,
    /// Written, or left with a value that nobody may use.
    defs: RegSet,
    /// Does nothing but write `defs`.
    pure_value: bool,
    /// Calls something.
    calls: bool,
    /// Control may go on behind it.
    falls: bool,
    /// Control may go there.
    jumps: Option<u32>,
}

impl Effects {
    /// Reads and writes these, and control goes on behind it.
    const fn new(uses: RegSet, defs: RegSet) -> Effects {
        Effects {
            uses,
            defs,
            pure_value: false,
            calls: false,
            falls: true,
            jumps: None,
        }
    }
}

fn src_set(src: Src) -> RegSet {
    match src {
        Src::Reg(r) => RegSet::one(r),
        Src::Imm(_) => RegSet::NONE,
    }
}

/// The effects of `insn`. Inlined, since most of what it says is used at once.
#[inline(always)]
fn effects(insn: &Insn) -> Effects {
    let value = |uses: RegSet, dst: Reg| Effects {
        pure_value: true,
        ..Effects::new(uses, RegSet::one(dst))
    };
    let call = |uses: RegSet| Effects {
        calls: true,
        ..Effects::new(uses, RegSet::CALLER_SAVED)
    };
    let other = Effects::new;
    match *insn {
        Insn::Alu { dst, src, .. } => value(RegSet::one(dst).or(src_set(src)), dst),
        Insn::Neg { dst, .. } | Insn::Swap { dst, .. } => value(RegSet::one(dst), dst),
        Insn::Mov { dst, src, .. } => value(src_set(src), dst),
        Insn::MovSx { dst, src, .. } => value(RegSet::one(src), dst),
        Insn::LdImm64 { dst, .. } => value(RegSet::NONE, dst),
        Insn::Load { dst, src, .. } => value(RegSet::one(src), dst),
        Insn::LoadAcquire { dst, src, .. } => other(RegSet::one(src), RegSet::one(dst)),
        Insn::Store { dst, src, .. } => other(RegSet::one(dst).or(src_set(src)), RegSet::NONE),
        Insn::StoreRelease { dst, src, .. } => {
            other(RegSet::one(dst).or(RegSet::one(src)), RegSet::NONE)
        }
        Insn::Atomic {
            op,
            fetch,
            dst,
            src,
            ..
        } => {
            let uses = RegSet::one(dst).or(RegSet::one(src));
            match op {
                AtomicOp::Cmpxchg => other(uses.or(RegSet::one(Reg::R0)), RegSet::one(Reg::R0)),
                AtomicOp::Xchg => other(uses, RegSet::one(src)),
                AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => other(
                    uses,
                    if fetch {
                        RegSet::one(src)
                    } else {
                        RegSet::NONE
                    },
                ),
            }
        }
        Insn::LdAbs { .. } => call(RegSet::one(Reg::R6)),
        Insn::LdInd { src, .. } => call(RegSet::one(Reg::R6).or(RegSet::one(src))),
        Insn::Hole | Insn::Nospec => other(RegSet::NONE, RegSet::NONE),
        Insn::Ja { target, .. } => Effects {
            falls: false,
            jumps: Some(target),
            ..other(RegSet::NONE, RegSet::NONE)
        },
        Insn::MayGoto { target } => Effects {
            jumps: Some(target),
            ..other(RegSet::NONE, RegSet::NONE)
        },
        Insn::Jmp {
            dst, src, target, ..
        } => Effects {
            jumps: Some(target),
            ..other(RegSet::one(dst).or(src_set(src)), RegSet::NONE)
        },
        Insn::Call { helper } => call(RegSet::args(crate::helper::arg_count(helper))),
        Insn::CallSub { .. } | Insn::CallKfunc { .. } => call(RegSet::args(5)),
        Insn::Exit => Effects {
            falls: false,
            ..other(RegSet::one(Reg::R0), RegSet::NONE)
        },
    }
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

/// What a subprogram has of what there is for each slot.
pub(crate) fn part<'a, T>(all: &'a [T], sub: &Subprog) -> Result<&'a [T], Failure> {
    let part = all.get(index(sub.start)..index(sub.end));
    part.ok_or(refuse(Some(sub.start), Why::Malformed))
}

impl Flow {
    /// Analyses `code`.
    ///
    /// # Errors
    ///
    /// [`Why::Malformed`] when a slot, jump or subprogram is out of place; `ENOMEM`.
    pub(crate) fn new(code: &Code) -> Result<Flow, Failure> {
        let n = u32::try_from(code.insns.len()).map_err(|_| refuse(None, Why::TooLarge))?;
        let mut flow = Flow {
            slots: KVVec::from_elem(Slot::default(), code.insns.len(), GFP_KERNEL)?,
            subs: KVec::new(),
        };
        let mut work = KVVec::new();
        flow.subs
            .resize(code.subprogs.len(), Summary::default(), GFP_KERNEL)?;
        // Callees mostly come later, so their use of arguments is mostly known at the call.
        for (i, sub) in code.subprogs.iter().enumerate().rev() {
            if sub.start >= sub.end || sub.end > n {
                return Err(refuse(Some(sub.start), Why::Malformed));
            }
            let loops = flow.reach(code, sub, &mut work)?;
            let mut summary = flow.liveness(code, sub, loops)?;
            summary.inline = i != 0 && flow.can_inline(code, sub);
            if let Some(slot) = flow.subs.get_mut(i) {
                *slot = summary;
            }
        }
        Ok(flow)
    }

    /// What is known of `slot`.
    pub(crate) fn slot(&self, slot: u32) -> Slot {
        self.slots.get(index(slot)).copied().unwrap_or_default()
    }

    /// Registers that an instruction of the program reads.
    pub(crate) fn uses(&self, insn: &Insn) -> RegSet {
        self.effects(insn).uses
    }

    /// The effects of an instruction of the program, with what is known of the subprogram that it
    /// calls.
    #[inline(always)]
    fn effects(&self, insn: &Insn) -> Effects {
        let mut eff = effects(insn);
        if let Insn::CallSub { target } = *insn {
            let callee = self.slot(target);
            if callee.done {
                eff.uses = eff.uses.and(callee.live_in);
            }
        }
        eff
    }

    /// The summary of subprogram `i`.
    pub(crate) fn summary(&self, i: usize) -> Summary {
        self.subs.get(i).copied().unwrap_or_default()
    }

    /// Subprogram `i` has no code of its own, since all that run it contain it.
    pub(crate) fn nowhere(&self, i: usize, sub: &Subprog) -> bool {
        self.summary(i).inline && !sub.callback && !self.slot(sub.start).taken
    }

    /// Is the subprogram a short straight line that leaves alone what its caller keeps: no jump, no
    /// call of another subprogram, no stack of its own, no register but `R0` to `R5`?
    fn can_inline(&self, code: &Code, sub: &Subprog) -> bool {
        /// `bpf_tail_call`: leaves the subprogram.
        const TAIL_CALL: i32 = 12;

        if sub.end.wrapping_sub(sub.start) > INLINE || sub.stack != 0 || sub.tail_call {
            return false;
        }
        for at in sub.start..sub.end {
            let Some(insn) = code.insns.get(index(at)) else {
                return false;
            };
            let eff = effects(insn);
            if !eff
                .uses
                .or(eff.defs)
                .without(RegSet::CALLER_SAVED)
                .is_empty()
            {
                return false;
            }
            match *insn {
                Insn::Exit => return at.wrapping_add(1) == sub.end,
                Insn::Call { helper } if helper != TAIL_CALL => {}
                Insn::Alu { .. }
                | Insn::Neg { .. }
                | Insn::Mov { .. }
                | Insn::MovSx { .. }
                | Insn::Swap { .. }
                | Insn::LdImm64 { .. }
                | Insn::Hole
                | Insn::Nospec
                | Insn::Load { .. }
                | Insn::Store { .. }
                | Insn::LoadAcquire { .. }
                | Insn::StoreRelease { .. }
                | Insn::Atomic { .. } => {}
                Insn::Call { .. }
                | Insn::LdAbs { .. }
                | Insn::LdInd { .. }
                | Insn::Ja { .. }
                | Insn::Jmp { .. }
                | Insn::MayGoto { .. }
                | Insn::CallSub { .. }
                | Insn::CallKfunc { .. } => return false,
            }
        }
        false
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index(slot))
    }

    /// Finds the slots of `sub` that some path reaches; does some jump go backwards?
    fn reach(
        &mut self,
        code: &Code,
        sub: &Subprog,
        work: &mut KVVec<u32>,
    ) -> Result<bool, Failure> {
        let mut loops = false;
        work.clear();
        if let Some(s) = self.slot_mut(sub.start) {
            s.leader = true;
        }
        // In order first: that leaves out only what nothing but jumps backwards lead to.
        let insns = part(&code.insns, sub)?;
        let mut falls = true;
        for (at, insn) in (sub.start..sub.end).zip(insns) {
            let slot = self.slot_mut(at);
            let slot = slot.ok_or(refuse(Some(at), Why::Malformed))?;
            slot.reached |= falls;
            falls = slot.reached
                && match *insn {
                    Insn::Ja { .. }
                    | Insn::Jmp { .. }
                    | Insn::MayGoto { .. }
                    | Insn::Exit
                    | Insn::LdImm64 { .. } => self.visit(insn, sub, at, at, &mut loops, work)?,
                    // As `visit` would say.
                    _ => true,
                };
        }
        while let Some(at) = work.pop() {
            // A call may be the last instruction when it never returns.
            let behind = at.wrapping_add(1);
            let insn = insn_at(code, at).ok_or(refuse(Some(at), Why::Malformed))?;
            if self.visit(insn, sub, at, u32::MAX, &mut loops, work)? && behind < sub.end {
                self.lead(behind, u32::MAX, work)?;
            }
        }
        Ok(loops)
    }

    /// Says whether control goes on behind `insn`, which is at `at`. Where else it goes is reached, and
    /// put on `work` when it was not before, unless it is behind `ahead`.
    fn visit(
        &mut self,
        insn: &Insn,
        sub: &Subprog,
        at: u32,
        ahead: u32,
        loops: &mut bool,
        work: &mut KVVec<u32>,
    ) -> Result<bool, Failure> {
        // As `effects` would say.
        let (to, falls) = match *insn {
            Insn::Jmp { target, .. } | Insn::MayGoto { target } => (target, true),
            Insn::Ja { target, .. } => (target, false),
            Insn::Exit => return Ok(false),
            Insn::LdImm64 {
                imm: Imm64::Func(start),
                ..
            } => {
                if let Some(s) = self.slot_mut(start) {
                    s.taken = true;
                }
                return Ok(true);
            }
            _ => return Ok(true),
        };
        if to < sub.start || to >= sub.end {
            return Err(refuse(Some(at), Why::Malformed));
        }
        *loops |= to <= at;
        if let Some(s) = self.slot_mut(to) {
            s.leader = true;
        }
        self.lead(to, ahead, work)?;
        Ok(falls)
    }

    fn lead(&mut self, to: u32, ahead: u32, work: &mut KVVec<u32>) -> Done {
        if let Some(s) = self.slot_mut(to) {
            if !s.reached {
                s.reached = true;
                if to <= ahead {
                    work.push(to, GFP_KERNEL)?;
                }
            }
        }
        Ok(())
    }

    /// Backwards over the slots: once without loops, else until nothing changes. Sums up what the
    /// reached instructions do.
    ///
    /// # Errors
    ///
    /// [`Why::Malformed`]
    fn liveness(&mut self, code: &Code, sub: &Subprog, loops: bool) -> Result<Summary, Failure> {
        let mut sum = Summary::default();
        let insns = part(&code.insns, sub)?;
        loop {
            let mut changed = false;
            let mut behind = RegSet::NONE;
            let mut at = sub.end;
            for insn in insns.iter().rev() {
                at = at.wrapping_sub(1);
                let slot = self.slot(at);
                if !slot.reached {
                    continue;
                }
                let eff = self.effects(insn);
                let mut live = if eff.falls { behind } else { RegSet::NONE };
                if let Some(to) = eff.jumps {
                    live = live.or(self.slot(to).live_in);
                }
                let live_out = live;
                sum.writes = sum.writes.or(eff.defs);
                sum.calls |= eff.calls;
                // What computes a dead value needs nothing.
                if !(eff.pure_value && live.and(eff.defs).is_empty()) {
                    live = live.without(eff.defs).or(eff.uses);
                }
                changed |= live != slot.live_in;
                if let Some(s) = self.slot_mut(at) {
                    (s.live_in, s.live_out) = (live, live_out);
                }
                behind = live;
            }
            if !changed || !loops {
                if let Some(s) = self.slot_mut(sub.start) {
                    s.done = true;
                }
                return Ok(sum);
            }
        }
    }
}
