// SPDX-License-Identifier: GPL-2.0

//! `bpf_loop` and `bpf_for_each_map_elem` become loops around a call of their callback, so that no
//! engine has to know them.
//!
//! The verifier made sure that one call instruction has one callback. `R6` to `R8` hold meanwhile what
//! the loop needs; what they held is kept in stack slots of the subprogram's own, which its frame is larger
//! by. One area serves all loops of a subprogram: in a frame no loop runs inside of another, since
//! what the callback does it does in a frame of its own.

use super::Output;
use crate::helper::{Walk, FOR_EACH, LOOP, MAP_NEXT};
use crate::isa::code::Fact;
use crate::isa::{AluOp, Cond, Insn, Reg, Size, Src, Width};
use kernel::prelude::*;

/// Bytes of stack that a subprogram with this instruction needs for a loop.
pub(crate) fn loop_stack(insn: &Insn) -> u32 {
    match insn {
        Insn::Call { helper: LOOP } => 24,
        Insn::Call { helper: FOR_EACH } => 16 + Walk::SIZE as u32,
        _ => 0,
    }
}

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
            self.push(self.keep(at, Src::Reg(reg))?, fact)?;
        }
        self.push(mov(ROUNDS, Src::Reg(Reg::R1)), fact)?;
        self.push(mov(COUNT, Src::Imm(0)), fact)?;
        self.push(mov(CTX, Src::Reg(Reg::R3)), fact)?;
        // head:
        self.push(jump(Cond::Ge, COUNT, Src::Reg(ROUNDS), done), fact)?;
        self.push(mov(Reg::R1, Src::Reg(COUNT)), fact)?;
        self.push(mov(Reg::R2, Src::Reg(CTX)), fact)?;
        self.push_jump(Insn::CallSub { target: callback }, fact)?;
        self.push(add(COUNT, 1), fact)?;
        self.push(jump(Cond::Eq, Reg::R0, Src::Imm(0), head), fact)?;
        // done:
        self.push(mov(Reg::R0, Src::Reg(COUNT)), fact)?;
        for (reg, at) in SAVED {
            self.push(self.kept(reg, at)?, fact)?;
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

    /// `R0 = bpf_for_each_map_elem(R1, callback, R3, R4)`: as long as [`MAP_NEXT`] finds an element,
    /// the callback gets the map, the addresses of key and value, and the context.
    ///
    /// The loop ends, as no walk meets more elements than a map can hold; and the addresses stay good
    /// whatever happens to the elements, as a map's memory is not freed before the map, which lives
    /// until the program has ended (`Map::prog_next`).
    pub(super) fn for_each(&mut self, callback: u32, fact: Fact) -> Result {
        /// Places in the stack, from the area's start.
        const SAVED_MAP: i16 = 0;
        const SAVED_CTX: i16 = 8;
        const WALK: i16 = 16;
        /// Where the map and the context are meanwhile.
        const MAP: Reg = Reg::R6;
        const CTX: Reg = Reg::R7;

        let start = self.here()?;
        let fact = Fact {
            seen: fact.seen,
            ..Fact::default()
        };
        // Slots of the instructions below, from the start.
        let slot = |n: u32| start.checked_add(n).ok_or(E2BIG);
        let (head, done, bad_flags, end) = (slot(7)?, slot(18)?, slot(22)?, slot(23)?);
        let walk = i32::from(self.loops.checked_add(WALK).ok_or(EFAULT)?);
        let insns = [
            jump(Cond::Ne, Reg::R4, Src::Imm(0), bad_flags),
            self.keep(SAVED_MAP, Src::Reg(MAP))?,
            self.keep(SAVED_CTX, Src::Reg(CTX))?,
            mov(MAP, Src::Reg(Reg::R1)),
            mov(CTX, Src::Reg(Reg::R3)),
            self.keep(WALK + Walk::CURSOR, Src::Imm(0))?,
            self.keep(WALK + Walk::COUNT, Src::Imm(0))?,
            // head:
            mov(Reg::R1, Src::Reg(MAP)),
            mov(Reg::R2, Src::Reg(Reg::R10)),
            add(Reg::R2, walk),
            Insn::Call { helper: MAP_NEXT },
            jump(Cond::Eq, Reg::R0, Src::Imm(0), done),
            mov(Reg::R1, Src::Reg(MAP)),
            self.kept(Reg::R2, WALK + Walk::KEY)?,
            self.kept(Reg::R3, WALK + Walk::VALUE)?,
            mov(Reg::R4, Src::Reg(CTX)),
        ];
        for insn in insns {
            self.push(insn, fact)?;
        }
        self.push_jump(Insn::CallSub { target: callback }, fact)?;
        let insns = [
            jump(Cond::Eq, Reg::R0, Src::Imm(0), head),
            // done:
            self.kept(Reg::R0, WALK + Walk::COUNT)?,
            self.kept(MAP, SAVED_MAP)?,
            self.kept(CTX, SAVED_CTX)?,
            Insn::Ja {
                target: end,
                long: false,
            },
            // bad_flags:
            mov(Reg::R0, Src::Imm(BAD_FLAGS)),
        ];
        for insn in insns {
            self.push(insn, fact)?;
        }
        match self.here()? == end {
            true => Ok(()),
            false => Err(EFAULT),
        }
    }

    /// Stores eight bytes in the area for loops.
    fn keep(&self, at: i16, src: Src) -> Result<Insn> {
        Ok(Insn::Store {
            size: Size::Dw,
            dst: Reg::R10,
            off: self.loops.checked_add(at).ok_or(EFAULT)?,
            src,
        })
    }

    /// Loads eight bytes from there.
    fn kept(&self, dst: Reg, at: i16) -> Result<Insn> {
        Ok(Insn::Load {
            size: Size::Dw,
            sx: false,
            dst,
            src: Reg::R10,
            off: self.loops.checked_add(at).ok_or(EFAULT)?,
        })
    }
}

fn add(dst: Reg, by: i32) -> Insn {
    Insn::Alu {
        op: AluOp::Add,
        width: Width::W64,
        dst,
        src: Src::Imm(by),
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
