// SPDX-License-Identifier: GPL-2.0

//! Barriers against speculative execution, for programs of loaders without CAP_PERFMON.
//!
//! What the verifier proves holds for what a processor does, not for what it tries: it goes on past a
//! conditional jump before the operands are known (Spectre v1), and it loads from memory before the
//! stores ahead, whose addresses it does not know yet, have been done (v4). What it touches then shows in
//! its caches. A barrier ([`Insn::Nospec`]) is where it waits until all that is ahead is done.
//!
//! That every value is one of those proved, also where it is only tried, is shown by going through
//! where values come from, with the barriers that this pass adds to the rewritten program:
//!
//! - Arithmetic gives what it is proved to give if its operands are as proved. The exception is division
//!   by a register, of which engines make a jump around a divisor of 0 (or -1); *a barrier is behind it*.
//! - What is proved by a comparison is used behind the jump only, and *a barrier is on both sides of
//!   each conditional jump*: behind it, and ahead of its target. Those that rewriting has made are no
//!   other. Sides that are impossible have no jump. Unconditional jumps and calls of subprograms are
//!   direct, and need none.
//! - Loads from the context, packets, values of maps and the like give any number of their size, whenever
//!   what is there was stored; a constant value of a map never changes. Their addresses are as proved.
//! - Loads from the stack give what was stored there last. *A barrier is between a store to the stack
//!   and what may load from it*, or leads to where something may: a load from the stack, a call, an
//!   unconditional jump, the end of a subprogram. Which loads and stores access the stack is known of each
//!   (`Fact::stack`; pointers of other kinds are never the same as these, as states are compared), or
//!   they are by R10 and were made by rewriting.
//! - What helpers give, or write to the stack, and what `LD_ABS` and `LD_IND` load, comes out of code with
//!   branches of its own, also where a compiler puts something else in place of a call: *a barrier is
//!   behind them*. That goes for addresses of arrays' elements too, which are used without a
//!   comparison with NULL when the index is a constant.
//! - A tail call goes to what an index finds; there is no "behind" in the program, so engines put a
//!   barrier ahead of the jump themselves (`Code::barriers`).
//!
//! So ranges of pointers hold for what is tried, too, and it needs neither masks nor proofs of
//! mispredicted paths. Indirect jumps and returns are the machine's, who has retpolines for them.

use super::Moved;
use crate::isa::code::{Code, Fact};
use crate::isa::{AluOp, Insn, Reg, Src};
use kernel::prelude::*;

/// Adds the barriers, and moves all that slots are named by.
///
/// # Errors
///
/// `ENOMEM`; `EFAULT` when the program is not well formed.
pub(super) fn add(code: &mut Code, moved: &mut Moved) -> Result {
    let barriers = places(code)?;
    let count = barriers.iter().filter(|b| **b).count();
    // Where each old slot is found, and one past the last.
    let mut to = KVVec::with_capacity(barriers.len().saturating_add(1), GFP_KERNEL)?;
    let len = code.insns.len().saturating_add(count);
    let mut insns = KVVec::with_capacity(len, GFP_KERNEL)?;
    let mut facts = KVVec::with_capacity(len, GFP_KERNEL)?;
    for ((insn, fact), barrier) in code.insns.iter().zip(&code.facts).zip(&barriers) {
        to.push(slot(insns.len())?, GFP_KERNEL)?;
        if *barrier {
            insns.push(Insn::Nospec, GFP_KERNEL)?;
            facts.push(SEEN, GFP_KERNEL)?;
        }
        insns.push(*insn, GFP_KERNEL)?;
        facts.push(*fact, GFP_KERNEL)?;
    }
    to.push(slot(insns.len())?, GFP_KERNEL)?;
    let find = |old: u32| to.get(old as usize).copied().ok_or(EFAULT);
    for (at, insn) in (0..u32::MAX).zip(insns.iter_mut()) {
        match insn {
            Insn::Ja { target, long } => {
                *target = find(*target)?;
                *long |= i16::try_from(distance(at, *target)).is_err();
            }
            Insn::Jmp { target, .. } | Insn::MayGoto { target } | Insn::CallSub { target } => {
                *target = find(*target)?;
            }
            _ => {}
        }
    }
    for sub in code.subprogs.iter_mut() {
        (sub.start, sub.end) = (find(sub.start)?, find(sub.end)?);
    }
    for at in moved.slots.iter_mut() {
        *at = find(*at)?;
    }
    for (_, new) in moved.starts.iter_mut() {
        *new = find(*new)?;
    }
    (code.insns, code.facts) = (insns, facts);
    code.barriers = true;
    Ok(())
}

/// The fact of a barrier.
const SEEN: Fact = Fact {
    seen: true,
    map: None,
    key: None,
    may_fault: false,
    nonzero: false,
    stack: false,
};

fn slot(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_| E2BIG)
}

/// What a jump at `at` has to go to come to `target`.
pub(super) fn distance(at: u32, target: u32) -> i64 {
    i64::from(target)
        .wrapping_sub(i64::from(at))
        .wrapping_sub(1)
}

/// The slots ahead of which a barrier is.
fn places(code: &Code) -> Result<KVVec<bool>> {
    let mut barriers = KVVec::from_elem(false, code.insns.len(), GFP_KERNEL)?;
    for insn in &code.insns {
        if let Insn::Jmp { target, .. } | Insn::MayGoto { target } = insn {
            *barriers.get_mut(*target as usize).ok_or(EFAULT)? = true;
        }
    }
    for (i, sub) in code.subprogs.iter().enumerate() {
        // The instruction before wants one behind it.
        let mut behind = false;
        // Something was stored to the stack, and no barrier came since then.
        let mut stored = false;
        for at in sub.start..sub.end {
            let insn = code.insns.get(at as usize).ok_or(EFAULT)?;
            let fact = code.facts.get(at as usize).ok_or(EFAULT)?;
            let barrier = barriers.get_mut(at as usize).ok_or(EFAULT)?;
            let (stores, loads) = accesses(insn, fact, i == 0);
            *barrier |= behind || (stored && loads);
            stored = (stored && !*barrier) || stores;
            behind = wants_behind(insn, fact);
        }
    }
    Ok(barriers)
}

/// Whether an instruction stores to the stack, and whether something may load from it there, or where
/// it leads to; `main`: its end is the end of all.
fn accesses(insn: &Insn, fact: &Fact, main: bool) -> (bool, bool) {
    let on_stack = |base: Reg| fact.stack || base == Reg::R10;
    match *insn {
        Insn::Store { dst, .. } | Insn::StoreRelease { dst, .. } => (on_stack(dst), false),
        Insn::Load { src, .. } | Insn::LoadAcquire { src, .. } => (false, on_stack(src)),
        Insn::Atomic { dst, .. } => (on_stack(dst), on_stack(dst)),
        Insn::Call { .. }
        | Insn::CallSub { .. }
        | Insn::CallKfunc { .. }
        | Insn::LdAbs { .. }
        | Insn::LdInd { .. }
        | Insn::Ja { .. } => (false, true),
        Insn::Exit => (false, !main),
        // Barriers are on both sides of these.
        Insn::Jmp { .. } | Insn::MayGoto { .. } => (false, false),
        Insn::Alu { .. }
        | Insn::Neg { .. }
        | Insn::Mov { .. }
        | Insn::MovSx { .. }
        | Insn::Swap { .. }
        | Insn::LdImm64 { .. }
        | Insn::Hole
        | Insn::Nospec => (false, false),
    }
}

/// Whether a barrier is to be behind the instruction.
fn wants_behind(insn: &Insn, fact: &Fact) -> bool {
    match *insn {
        Insn::Jmp { .. }
        | Insn::MayGoto { .. }
        | Insn::Call { .. }
        | Insn::CallKfunc { .. }
        | Insn::LdAbs { .. }
        | Insn::LdInd { .. } => true,
        Insn::Alu {
            op,
            src: Src::Reg(_),
            ..
        } => match op {
            AluOp::Div | AluOp::Mod => !fact.nonzero,
            AluOp::Sdiv | AluOp::Smod => true,
            AluOp::Add
            | AluOp::Sub
            | AluOp::Mul
            | AluOp::Or
            | AluOp::Lsh
            | AluOp::Rsh
            | AluOp::And
            | AluOp::Xor
            | AluOp::Arsh => false,
        },
        Insn::Alu { .. }
        | Insn::Neg { .. }
        | Insn::Mov { .. }
        | Insn::MovSx { .. }
        | Insn::Swap { .. }
        | Insn::LdImm64 { .. }
        | Insn::Hole
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::LoadAcquire { .. }
        | Insn::StoreRelease { .. }
        | Insn::Ja { .. }
        | Insn::CallSub { .. }
        | Insn::Exit
        | Insn::Nospec => false,
    }
}
