// SPDX-License-Identifier: GPL-2.0

//! Control flow: what can follow an instruction, what is reachable, where states are compared.

use super::error::refuse;
use super::log::Log;
use super::subprog::Subprogs;
use super::{Env, Options};
use crate::helper;
use crate::isa::{Imm64, Insn};
use kernel::prelude::*;

/// The instructions that can run after one, inside its subprogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// The one that follows in the text.
    pub(crate) fall: Option<u32>,
    /// The one that is jumped to.
    pub(crate) jump: Option<u32>,
}

/// What can run after `insn` at slot `at`; a call falls through.
pub(crate) fn next(insn: &Insn, at: u32) -> Next {
    let fall = at.wrapping_add(1);
    match insn {
        Insn::Exit => Next {
            fall: None,
            jump: None,
        },
        Insn::Ja { target, .. } => Next {
            fall: None,
            jump: Some(*target),
        },
        Insn::Jmp { target, .. } | Insn::MayGoto { target } => Next {
            fall: Some(fall),
            jump: Some(*target),
        },
        Insn::LdImm64 { .. } => Next {
            fall: Some(fall.wrapping_add(1)),
            jump: None,
        },
        Insn::Alu { .. }
        | Insn::Neg { .. }
        | Insn::Mov { .. }
        | Insn::MovSx { .. }
        | Insn::Swap { .. }
        | Insn::Hole
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::LoadAcquire { .. }
        | Insn::StoreRelease { .. }
        | Insn::LdAbs { .. }
        | Insn::LdInd { .. }
        | Insn::Call { .. }
        | Insn::CallSub { .. }
        | Insn::CallKfunc { .. }
        | Insn::Nospec => Next {
            fall: Some(fall),
            jump: None,
        },
    }
}

/// What the control flow pass found out about one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    /// States are compared before this instruction.
    pub(crate) const PRUNE: u8 = 1;
    /// Something jumps here, or it starts a subprogram or follows a branch or a call.
    pub(crate) const LEADER: u8 = 2;
    /// A call of a helper that calls back.
    pub(crate) const CALLBACK: u8 = 4;

    /// Whether `flag` is set.
    pub(crate) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// The control flow of a program.
#[derive(Debug, Default)]
pub(crate) struct Cfg {
    flags: KVVec<Flags>,
}

/// Walk colours: not met, on the way, done.
const NEW: u8 = 0;
const OPEN: u8 = 1;
const DONE: u8 = 2;

impl Cfg {
    /// The flags of slot `at`.
    pub(crate) fn flags(&self, at: u32) -> Flags {
        self.flags.get(at as usize).copied().unwrap_or_default()
    }

    fn mark(&mut self, at: u32, flag: u8) {
        if let Some(f) = self.flags.get_mut(at as usize) {
            f.0 |= flag;
        }
    }

    /// Walks the program depth first from slot 0 through jumps and calls.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an instruction that cannot be reached, for a jump into a 16-byte instruction,
    /// and, without CAP_BPF, for a loop.
    pub(crate) fn build(
        insns: &[Insn],
        subs: &Subprogs,
        options: &Options,
        env: &mut dyn Env,
        log: &mut Log,
    ) -> Result<Cfg> {
        let mut cfg = Cfg {
            flags: KVVec::from_elem(Flags::default(), insns.len(), GFP_KERNEL)?,
        };
        let mut colour: KVVec<u8> = KVVec::from_elem(NEW, insns.len(), GFP_KERNEL)?;
        // (slot, edges already taken)
        let mut path: KVVec<(u32, u8)> = KVVec::new();
        for s in subs.list.iter() {
            cfg.mark(s.start, Flags::LEADER);
        }
        path.push((0, 0), GFP_KERNEL)?;
        let mut steps = 0u32;
        if let Some(c) = colour.first_mut() {
            *c = OPEN;
        }
        while let Some(last) = path.last_mut() {
            let (at, edge) = *last;
            last.1 = edge.saturating_add(1);
            steps = steps.wrapping_add(1);
            if steps % 4096 == 0 && env.interrupted() {
                return Err(EAGAIN);
            }
            let insn = insns.get(at as usize).ok_or(EFAULT)?;
            let succ = next(insn, at);
            if edge == 0 {
                cfg.mark_points(insn, at, succ);
            }
            let to = match (edge, succ) {
                (0, Next { fall: Some(f), .. }) => f,
                (1, Next { jump: Some(j), .. }) => j,
                (0 | 1, _) => match (edge, insn) {
                    (
                        1,
                        Insn::CallSub { target }
                        | Insn::LdImm64 {
                            imm: Imm64::Func(target),
                            ..
                        },
                    ) => *target,
                    _ => continue,
                },
                _ => {
                    if let Some(c) = colour.get_mut(at as usize) {
                        *c = DONE;
                    }
                    path.pop();
                    continue;
                }
            };
            let Some(c) = colour.get_mut(to as usize) else {
                return refuse!(log, EINVAL, "jump out of range from insn {} to {}", at, to);
            };
            match *c {
                NEW => {
                    *c = OPEN;
                    path.push((to, 0), GFP_KERNEL)?;
                }
                OPEN if !options.bpf_capable => {
                    return refuse!(log, EINVAL, "back-edge from insn {} to {}", at, to);
                }
                _ => {}
            }
        }
        let mut at = 0;
        while let Some(insn) = insns.get(at) {
            if colour.get(at) == Some(&NEW) {
                return refuse!(log, EINVAL, "unreachable insn {}", at);
            }
            at = at.wrapping_add(1);
            if matches!(insn, Insn::LdImm64 { .. }) {
                if colour.get(at) != Some(&NEW) {
                    return refuse!(
                        log,
                        EINVAL,
                        "jump into the middle of ldimm64 insn {}",
                        at.wrapping_sub(1)
                    );
                }
                at = at.wrapping_add(1);
            }
        }
        Ok(cfg)
    }

    /// Marks where states are compared: at conditional jumps, at the targets of all jumps, and
    /// around calls. Every cycle has one of the first two, or is a helper that calls back.
    fn mark_points(&mut self, insn: &Insn, at: u32, succ: Next) {
        match insn {
            Insn::Ja { target, .. } => self.mark(*target, Flags::PRUNE | Flags::LEADER),
            Insn::Jmp { target, .. } | Insn::MayGoto { target } => {
                self.mark(at, Flags::PRUNE | Flags::LEADER);
                self.mark(*target, Flags::PRUNE | Flags::LEADER);
                if let Some(to) = succ.fall {
                    self.mark(to, Flags::LEADER);
                }
            }
            Insn::CallSub { target } => {
                self.mark(at, Flags::PRUNE | Flags::LEADER);
                self.mark(*target, Flags::PRUNE | Flags::LEADER);
                if let Some(to) = succ.fall {
                    self.mark(to, Flags::PRUNE | Flags::LEADER);
                }
            }
            Insn::Call { helper } => {
                if helper::calls_back(*helper) {
                    self.mark(at, Flags::PRUNE | Flags::LEADER | Flags::CALLBACK);
                }
                if let Some(to) = succ.fall {
                    self.mark(to, Flags::PRUNE | Flags::LEADER);
                }
            }
            _ => {}
        }
    }
}
