// SPDX-License-Identifier: GPL-2.0

//! One call frame: registers, stack, and where it returns to.

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
}

impl Frame {
    /// An empty frame.
    pub(crate) fn new() -> Frame {
        Frame {
            regs: Regs::new(),
            stack: Stack::new(),
            callsite: 0,
            subprog: 0,
        }
    }

    /// Takes over the content of `other`, reusing this one's memory.
    pub(crate) fn copy_from(&mut self, other: &Frame) -> Result {
        self.regs.clone_from(&other.regs);
        self.stack.copy_from(&other.stack)?;
        self.callsite = other.callsite;
        self.subprog = other.subprog;
        Ok(())
    }
}
