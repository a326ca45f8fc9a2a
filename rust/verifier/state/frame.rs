// SPDX-License-Identifier: GPL-2.0

//! One call frame: registers, stack, and where it returns to.
//!
//! A helper that calls back is simulated by coming to the same call again and again: each time one
//! path takes the helper for done, and one enters the callback, whose return leads back to the
//! call. What is one run of the helper has one number in the frame that made the call
//! ([`Frame::run`]).

use super::reg::Regs;
use super::stack::Stack;
use kernel::prelude::*;

/// A call frame.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Registers.
    pub(crate) regs: Regs,
    /// Stack.
    pub(crate) stack: Stack,
    /// Slot of the call instruction in the caller.
    pub(crate) callsite: u32,
    /// Index of the subprogram that runs in it.
    pub(crate) subprog: u32,
    /// The run of a helper that calls back which is under way in this frame, 0 for none.
    pub(crate) run: u32,
    /// How often the callback was entered in that run.
    pub(crate) rounds: u32,
    /// A helper called it.
    pub(crate) callback: bool,
}

impl Frame {
    /// An empty frame.
    pub(crate) fn new() -> Frame {
        Frame {
            regs: Regs::new(),
            stack: Stack::new(),
            callsite: 0,
            subprog: 0,
            run: 0,
            rounds: 0,
            callback: false,
        }
    }

    /// Takes over the content of `other`, reusing this one's memory.
    pub(crate) fn copy_from(&mut self, other: &Frame) -> Result {
        self.regs.clone_from(&other.regs);
        self.stack.copy_from(&other.stack)?;
        self.callsite = other.callsite;
        self.subprog = other.subprog;
        self.run = other.run;
        self.rounds = other.rounds;
        self.callback = other.callback;
        Ok(())
    }
}
