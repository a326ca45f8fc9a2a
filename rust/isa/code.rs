// SPDX-License-Identifier: GPL-2.0

//! A whole program in typed form, as the execution engines read it.

use super::Insn;
use kernel::prelude::*;

/// One subprogram: the slots `start..end` and what it needs to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subprog {
    /// First slot.
    pub start: u32,
    /// One past the last slot.
    pub end: u32,
    /// Bytes of stack that it uses, 0 to 512, a multiple of 8.
    pub stack: u16,
    /// It makes a tail call itself.
    pub tail_call: bool,
    /// It is the callback of a helper (its address is taken), so it is entered by a C call.
    pub callback: bool,
}

/// What the verifier proved about one instruction on every path that reaches it.
///
/// The default says nothing; an engine may ignore any of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// Some path reaches the instruction.
    pub seen: bool,
    /// Helper calls with a map argument: index of the one used map that all paths pass.
    pub map: Option<u16>,
    /// Helper calls with a map key: the key's first four bytes when all paths pass the same.
    pub key: Option<u32>,
    /// Memory accesses: the address may fault and must be read through the fault-safe copy.
    pub may_fault: bool,
    /// Division and remainder: the divisor is never zero.
    pub nonzero: bool,
    /// Memory accesses: the address is in the program's stack on some path.
    pub stack: bool,
}

/// A program that the engines can run: instructions, subprograms, facts.
///
/// Slot 0 starts the main program, which is `subprogs[0]`; subprograms are in ascending order and
/// cover all slots. `facts` is as long as `insns`.
#[derive(Debug, Default)]
pub struct Code {
    /// Instruction slots.
    pub insns: KVVec<Insn>,
    /// Subprograms.
    pub subprogs: KVec<Subprog>,
    /// One fact an instruction slot.
    pub facts: KVVec<Fact>,
    /// Bytes of stack of the deepest call chain, at most 512.
    pub stack_depth: u16,
    /// There are barriers against speculation ([`Insn::Nospec`]). Who makes branches of his own out of an
    /// instruction has one put behind it, but for tail calls, where he puts it himself.
    pub barriers: bool,
}
