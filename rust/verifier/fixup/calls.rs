// SPDX-License-Identifier: GPL-2.0

//! `bpf_loop` becomes a loop around a call of its callback, so that no engine has to know it.
//!
//! The verifier made sure that one call instruction has one callback. `R6` to `R8` count and hold
//! the context meanwhile; what they held is kept in three stack slots of the subprogram's own, which
//! its frame is larger by.

use super::Output;
use crate::isa::code::Fact;
use crate::isa::{AluOp, Cond, Insn, Reg, Size, Src, Width};
use kernel::prelude::*;

/// Bytes of stack that a subprogram needs for all its loops.
pub(crate) const LOOP_STACK: u32 = 24;

/// Rounds at most (`BPF_MAX_LOOPS`).
const MAX_LOOPS: i32 = 8 << 20;
/// `EINVAL`
const BAD_FLAGS: i32 = -22;
/// `E2BIG`
const TOO_MANY: i32 = -7;

/// Where the round's number, the number of rounds and the context are.
const COUNT: Reg = Reg::R6;
const ROUNDS: Reg = Reg::R7;
const CTX: Reg = Reg::R8;
/// Their places in the stack, from the area's start.
const SAVED: [(Reg, i16); 3] = [(COUNT, 0), (ROUNDS, 8), (CTX, 16)];

fn mov(dst: Reg, src: Src) -> Insn {
    Insn::Mov {
        width: Width::W64,
        dst,
        src,
    }
}

impl Output<'_> {
    /// `R0 = bpf_loop(R1, callback, R3, R4)`; without a callback there are no rounds.
    pub(super) fn bpf_loop(&mut self, callback: Option<u32>, fact: Fact) -> Result {
        let start = self.here()?;
        let fact = Fact {
            seen: fact.seen,
            ..Fact::default()
        };
        let Some(callback) = callback else {
            let end = start.checked_add(3).ok_or(E2BIG)?;
            self.push(mov(Reg::R0, Src::Imm(0)), fact)?;
            self.push(jump(Cond::Eq, Reg::R4, Src::Imm(0), end), fact)?;
            return self.push(mov(Reg::R0, Src::Imm(BAD_FLAGS)), fact);
        };
        // Slots of the instructions below, from the start.
        let slot = |n: u32| start.checked_add(n).ok_or(E2BIG);
        let (head, done, bad_flags, too_many, end) =
            (slot(8)?, slot(14)?, slot(19)?, slot(21)?, slot(22)?);
        self.push(jump(Cond::Ne, Reg::R4, Src::Imm(0), bad_flags), fact)?;
        self.push(jump(Cond::Gt, Reg::R1, Src::Imm(MAX_LOOPS), too_many), fact)?;
        for (reg, at) in SAVED {
            let store = Insn::Store {
                size: Size::Dw,
                dst: Reg::R10,
                off: self.loops.checked_add(at).ok_or(EFAULT)?,
                src: Src::Reg(reg),
            };
            self.push(store, fact)?;
        }
        self.push(mov(ROUNDS, Src::Reg(Reg::R1)), fact)?;
        self.push(mov(COUNT, Src::Imm(0)), fact)?;
        self.push(mov(CTX, Src::Reg(Reg::R3)), fact)?;
        // head:
        self.push(jump(Cond::Ge, COUNT, Src::Reg(ROUNDS), done), fact)?;
        self.push(mov(Reg::R1, Src::Reg(COUNT)), fact)?;
        self.push(mov(Reg::R2, Src::Reg(CTX)), fact)?;
        self.push_jump(Insn::CallSub { target: callback }, fact)?;
        let count = Insn::Alu {
            op: AluOp::Add,
            width: Width::W64,
            dst: COUNT,
            src: Src::Imm(1),
        };
        self.push(count, fact)?;
        self.push(jump(Cond::Eq, Reg::R0, Src::Imm(0), head), fact)?;
        // done:
        self.push(mov(Reg::R0, Src::Reg(COUNT)), fact)?;
        for (reg, at) in SAVED {
            let load = Insn::Load {
                size: Size::Dw,
                sx: false,
                dst: reg,
                src: Reg::R10,
                off: self.loops.checked_add(at).ok_or(EFAULT)?,
            };
            self.push(load, fact)?;
        }
        let over = Insn::Ja {
            target: end,
            long: false,
        };
        self.push(over, fact)?;
        // bad_flags:
        self.push(mov(Reg::R0, Src::Imm(BAD_FLAGS)), fact)?;
        self.push(over, fact)?;
        // too_many:
        self.push(mov(Reg::R0, Src::Imm(TOO_MANY)), fact)?;
        match self.here()? == end {
            true => Ok(()),
            false => Err(EFAULT),
        }
    }
}

fn jump(cond: Cond, dst: Reg, src: Src, target: u32) -> Insn {
    Insn::Jmp {
        cond,
        width: Width::W64,
        dst,
        src,
        target,
    }
}
