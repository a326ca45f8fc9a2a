// SPDX-License-Identifier: GPL-2.0

//! Subprograms: where they start, who calls whom, and how much stack a chain of calls takes.

use super::error::refuse;
use super::log::Log;
use crate::abi::{MAX_FRAMES, MAX_STACK};
use crate::helper::TAIL_CALL;
use crate::isa::{Imm64, Insn};
use kernel::prelude::*;

/// Stack of the callers at most when a subprogram makes a tail call.
const MAX_TAIL_CALLER_STACK: u32 = 256;

/// What is known of one subprogram.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Subprog {
    /// First slot.
    pub(crate) start: u32,
    /// One past the last slot.
    pub(crate) end: u32,
    /// Bytes of stack that were used in it so far.
    pub(crate) stack: u32,
    /// Where, below the frame's top, the bytes start that loops made of helpers' calls use; 0 for none.
    pub(crate) loops: u32,
    /// The lowest eight bytes of `stack` are for rewritten context accesses.
    pub(crate) scratch: bool,
    /// It calls the tail call helper.
    pub(crate) tail_call: bool,
    /// Its address is taken.
    pub(crate) callback: bool,
}

/// The subprograms of a program, in order of their first slots.
#[derive(Debug, Default)]
pub(crate) struct Subprogs {
    /// In order.
    pub(crate) list: KVec<Subprog>,
}

impl Subprogs {
    /// Index of the subprogram that starts at `slot`.
    pub(crate) fn starting_at(&self, slot: u32) -> Option<usize> {
        self.list.binary_search_by_key(&slot, |s| s.start).ok()
    }

    fn insert(&mut self, start: u32) -> Result {
        let at = match self.list.binary_search_by_key(&start, |s| s.start) {
            Ok(_) => return Ok(()),
            Err(at) => at,
        };
        let new = Subprog {
            start,
            ..Subprog::default()
        };
        self.list.push(new, GFP_KERNEL)?;
        if let Some(tail @ [_, ..]) = self.list.get_mut(at..) {
            tail.rotate_right(1);
        }
        Ok(())
    }

    /// Finds the subprograms of `insns`, whose calls and jumps the decoder has checked.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EFAULT` when the decoder let something pass.
    pub(crate) fn find(insns: &[Insn], log: &mut Log) -> Result<Subprogs> {
        let mut subs = Subprogs::default();
        subs.insert(0)?;
        for insn in insns {
            match insn {
                Insn::CallSub { target }
                | Insn::LdImm64 {
                    imm: Imm64::Func(target),
                    ..
                } => subs.insert(*target)?,
                _ => {}
            }
        }
        let mut end = u32::try_from(insns.len()).map_err(|_| E2BIG)?;
        for s in subs.list.iter_mut().rev() {
            s.end = end;
            end = s.start;
        }
        if log.level2() {
            for (i, s) in subs.list.iter().enumerate() {
                log.line(format_args!("func#{} @{}", i, s.start));
            }
        }
        subs.look_inside(insns)?;
        Ok(subs)
    }

    /// Sets the flags, and makes sure of what all that follows relies on: control stays inside.
    fn look_inside(&mut self, insns: &[Insn]) -> Result {
        for i in 0..self.list.len() {
            let Some(&Subprog { start, end, .. }) = self.list.get(i) else {
                break;
            };
            for at in start..end {
                let insn = insns.get(at as usize).ok_or(EFAULT)?;
                match insn {
                    Insn::Ja { target, .. }
                    | Insn::Jmp { target, .. }
                    | Insn::MayGoto { target }
                        if !(start..end).contains(target) =>
                    {
                        return Err(EFAULT);
                    }
                    Insn::Call { helper: TAIL_CALL } => self.flag(i, |s| s.tail_call = true),
                    Insn::LdImm64 {
                        imm: Imm64::Func(target),
                        ..
                    } => {
                        if let Some(callee) = self.starting_at(*target) {
                            self.flag(callee, |s| s.callback = true);
                        }
                    }
                    _ => {}
                }
                if at.wrapping_add(1) == end && !matches!(insn, Insn::Exit | Insn::Ja { .. }) {
                    return Err(EFAULT);
                }
            }
        }
        Ok(())
    }

    fn flag(&mut self, i: usize, f: impl FnOnce(&mut Subprog)) {
        if let Some(s) = self.list.get_mut(i) {
            f(s);
        }
    }

    /// Refuses recursion, chains of more than 16 frames and of more than 512 bytes of stack.
    ///
    /// Returns the bytes of the deepest chain. Walks the calls with an explicit stack; a
    /// subprogram is walked again only when it is reached with more stack or more frames than
    /// before, so the work is bounded by subprograms times frames times calls.
    pub(crate) fn check_depth(&self, insns: &[Insn], log: &mut Log) -> Result<u16> {
        struct At {
            sub: usize,
            next: u32,
            depth: u32,
        }
        let mut max = 0;
        let mut path: KVec<At> = KVec::new();
        // Worst (stack, frames) each subprogram was walked with.
        let mut seen: KVec<(u32, usize)> = KVec::from_elem((0, 0), self.list.len(), GFP_KERNEL)?;
        let main = self.list.first().ok_or(EFAULT)?;
        let depth = round_stack(main.stack);
        path.push(
            At {
                sub: 0,
                next: 0,
                depth,
            },
            GFP_KERNEL,
        )?;
        let mut frame_check = Some((0usize, 0u32));
        loop {
            if let Some((sub, before)) = frame_check.take() {
                let s = self.list.get(sub).ok_or(EFAULT)?;
                if sub != 0 && s.tail_call && before >= MAX_TAIL_CALLER_STACK {
                    return refuse!(
                        log,
                        EACCES,
                        "tail_calls are not allowed when call stack of previous frames is {} \
                         bytes. Too large",
                        before
                    );
                }
                let depth = before.saturating_add(round_stack(s.stack));
                if depth > MAX_STACK {
                    return refuse!(
                        log,
                        EACCES,
                        "combined stack size of {} calls is {}. Too large",
                        path.len(),
                        depth
                    );
                }
                max = max.max(depth);
            }
            let frames = path.len();
            let Some(top) = path.last_mut() else {
                return u16::try_from(max).map_err(|_| EFAULT);
            };
            let end = self.list.get(top.sub).map_or(0, |s| s.end);
            let mut callee = None;
            while top.next < end {
                let insn = insns.get(top.next as usize);
                top.next = top.next.wrapping_add(1);
                if let Some(
                    Insn::CallSub { target }
                    | Insn::LdImm64 {
                        imm: Imm64::Func(target),
                        ..
                    },
                ) = insn
                {
                    callee = self.starting_at(*target);
                    break;
                }
            }
            let before = top.depth;
            let Some(sub) = callee else {
                path.pop();
                continue;
            };
            if path.iter().any(|a| a.sub == sub) {
                return refuse!(log, EINVAL, "recursive call from () to ()");
            }
            if frames >= MAX_FRAMES {
                return refuse!(
                    log,
                    E2BIG,
                    "the call stack of {} frames is too deep !",
                    frames
                );
            }
            let worst = seen.get_mut(sub).ok_or(EFAULT)?;
            if worst.1 > 0 && worst.0 >= before && worst.1 >= frames {
                continue;
            }
            *worst = (worst.0.max(before), worst.1.max(frames));
            let s = self.list.get(sub).ok_or(EFAULT)?;
            path.push(
                At {
                    sub,
                    next: s.start,
                    depth: before.saturating_add(round_stack(s.stack)),
                },
                GFP_KERNEL,
            )?;
            frame_check = Some((sub, before));
        }
    }

    /// Refuses tail calls below a callback: what they return to is a helper, which knows nothing
    /// of a callback's end by another program, and need not keep the counter of tail calls.
    ///
    /// # Errors
    ///
    /// `EINVAL`, `ENOMEM`
    pub(crate) fn check_tail_calls(&self, insns: &[Insn], log: &mut Log) -> Result {
        if !self.list.iter().any(|s| s.tail_call) {
            return Ok(());
        }
        let below = self.below_callbacks(insns)?;
        if self.list.iter().zip(below).any(|(s, b)| s.tail_call && b) {
            return refuse!(log, EINVAL, "cannot tail call within callback");
        }
        Ok(())
    }

    /// Refuses loads from the packet that may end a function below a callback, as in-tree. Exploration
    /// finds those that it comes by in a callback, but a global function is not explored there.
    ///
    /// # Errors
    ///
    /// `EINVAL`, `ENOMEM`
    pub(crate) fn check_packet_loads(&self, insns: &[Insn], log: &mut Log) -> Result {
        let below = self.below_callbacks(insns)?;
        for (s, _) in self.list.iter().zip(below).filter(|(_, b)| *b) {
            let own = insns.get(s.start as usize..s.end as usize);
            let loads = |insn: &Insn| matches!(insn, Insn::LdAbs { .. } | Insn::LdInd { .. });
            if own.ok_or(EFAULT)?.iter().any(loads) {
                return refuse!(log, EINVAL, "cannot use BPF_LD_[ABS|IND] within callback");
            }
        }
        Ok(())
    }

    /// Per subprogram, whether it is a callback or called by one.
    fn below_callbacks(&self, insns: &[Insn]) -> Result<KVec<bool>> {
        let mut below = KVec::from_elem(false, self.list.len(), GFP_KERNEL)?;
        let mut work = KVec::new();
        for (i, s) in self.list.iter().enumerate() {
            if s.callback {
                work.push(i, GFP_KERNEL)?;
            }
        }
        while let Some(i) = work.pop() {
            let s = self.list.get(i).ok_or(EFAULT)?;
            let seen = below.get_mut(i).ok_or(EFAULT)?;
            if core::mem::replace(seen, true) {
                continue;
            }
            for at in s.start..s.end {
                if let Some(Insn::CallSub { target }) = insns.get(at as usize) {
                    work.push(self.starting_at(*target).ok_or(EFAULT)?, GFP_KERNEL)?;
                }
            }
        }
        Ok(below)
    }

    /// Refuses recursion before exploration, which would not end.
    pub(crate) fn check_recursion(&self, insns: &[Insn], log: &mut Log) -> Result {
        // Colours of a depth-first walk: 0 new, 1 on the path, 2 done.
        let mut colour: KVec<u8> = KVec::from_elem(0, self.list.len(), GFP_KERNEL)?;
        let mut path: KVec<(usize, u32)> = KVec::new();
        for root in 0..self.list.len() {
            if colour.get(root) != Some(&0) {
                continue;
            }
            path.push(
                (root, self.list.get(root).map_or(0, |s| s.start)),
                GFP_KERNEL,
            )?;
            set(&mut colour, root, 1);
            while let Some(&(sub, at)) = path.last() {
                let end = self.list.get(sub).map_or(0, |s| s.end);
                if at >= end {
                    set(&mut colour, sub, 2);
                    path.pop();
                    continue;
                }
                if let Some(last) = path.last_mut() {
                    last.1 = at.wrapping_add(1);
                }
                let Some(Insn::CallSub { target }) = insns.get(at as usize) else {
                    continue;
                };
                let callee = self.starting_at(*target).ok_or(EFAULT)?;
                match colour.get(callee) {
                    Some(0) => {
                        set(&mut colour, callee, 1);
                        path.push(
                            (callee, self.list.get(callee).map_or(0, |s| s.start)),
                            GFP_KERNEL,
                        )?;
                    }
                    Some(1) => {
                        return refuse!(log, EINVAL, "recursive call from () to ()");
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn set(v: &mut [u8], i: usize, c: u8) {
    if let Some(x) = v.get_mut(i) {
        *x = c;
    }
}

/// What a frame of `bytes` takes: engines keep stacks 16-byte aligned.
fn round_stack(bytes: u32) -> u32 {
    bytes.checked_next_multiple_of(16).unwrap_or(u32::MAX)
}
