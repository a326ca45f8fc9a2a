// SPDX-License-Identifier: GPL-2.0

//! Liveness: which registers and stack bytes a subprogram may still read, found before simulation.
//!
//! States that are compared differ only in what is live. The pass is cheap because it is sparse: it
//! keeps a result for the leaders of blocks only. First a forward walk finds, per instruction,
//! which bytes of the frame's own stack it accesses; then a backward walk computes what is live.
//!
//! Nothing unsafe follows from a mistake here: the explorer makes what is not live unreadable, in
//! registers as in the stack, so a program that reads it all the same is refused.

use super::cfg::{self, Cfg, Flags};
use super::subprog::Subprogs;
use super::{Env, Options};
use crate::helper;
use crate::isa::{AluOp, AtomicOp, Insn, Reg, Src, Width};
use kernel::prelude::*;

/// Walks over the text at most before the pass gives up and calls everything live.
const MAX_WALKS: u32 = 48;

/// What is live at one point of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    /// Half slots of 4 bytes: bit 0 is the one just below the frame's top.
    pub(crate) stack: u128,
    /// Registers: bit `n` is `Rn`.
    pub(crate) regs: u16,
}

impl Live {
    const ALL: Live = Live {
        stack: u128::MAX,
        regs: 0x3ff,
    };

    fn join(self, o: Live) -> Live {
        Live {
            stack: self.stack | o.stack,
            regs: self.regs | o.regs,
        }
    }
}

/// The result: what is live before each leader.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// Per slot, index in `live` plus one.
    index: KVVec<u32>,
    live: KVVec<Live>,
    /// Per call of a subprogram, or of a helper that calls back, that is passed no pointer into the caller's stack: set.
    quiet: KVVec<u64>,
}

/// Where a register points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not into this frame's stack.
    Elsewhere,
    /// At this offset from this frame's top.
    At(i16),
    /// Perhaps somewhere in this frame's stack.
    Perhaps,
}

impl Place {
    fn join(self, o: Place) -> Place {
        if self == o {
            self
        } else {
            Place::Perhaps
        }
    }

    fn plus(self, k: i32) -> Place {
        match self {
            Place::At(off) => i32::from(off)
                .checked_add(k)
                .and_then(|o| i16::try_from(o).ok())
                .map_or(Place::Perhaps, Place::At),
            other => other,
        }
    }
}

type Places = [Place; 10];

/// What an instruction does to the frame's own stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    None,
    Read { off: i16, size: u8 },
    Write { off: i16, size: u8 },
    ReadAbove { off: i16 },
    ReadAll,
}

/// The half slots that `size` bytes at `off` touch.
fn halves(off: i64, size: i64) -> u128 {
    if !(-512..0).contains(&off) {
        return u128::MAX;
    }
    let last = off.saturating_add(size).saturating_sub(1).min(-1);
    // Bit of the byte at -1..-4 is 0.
    let lo = u32::try_from((-1i64).saturating_sub(last) / 4).unwrap_or(0);
    let hi = u32::try_from((-1i64).saturating_sub(off) / 4).unwrap_or(127);
    let upto = u128::MAX
        .checked_shr(127u32.saturating_sub(hi))
        .unwrap_or(u128::MAX);
    let from = u128::MAX.checked_shl(lo).unwrap_or(0);
    upto & from
}

const CALLER_SAVED: u16 = 0x3f;
const ARGS: u16 = 0x3e;

fn bit(r: Reg) -> u16 {
    1u16.checked_shl(r.index() as u32).unwrap_or(0)
}

fn src_bit(s: &Src) -> u16 {
    match s {
        Src::Reg(r) => bit(*r),
        Src::Imm(_) => 0,
    }
}

/// The argument registers of a helper whose content matters to the proof.
fn helper_args(id: i32, options: &Options) -> u16 {
    match helper::lookup(id, options.prog_type, options.caps()) {
        Some(row) => row
            .args
            .iter()
            .zip(1u32..)
            .filter(|(a, _)| !matches!(a, helper::Arg::None | helper::Arg::Unchecked))
            .fold(0, |m, (_, n)| m | 1u16.checked_shl(n).unwrap_or(0)),
        None => ARGS,
    }
}

/// Registers that an instruction reads, and registers that it overwrites.
fn use_def(insn: &Insn, options: &Options) -> (u16, u16) {
    match insn {
        Insn::Alu { dst, src, .. } => (bit(*dst) | src_bit(src), bit(*dst)),
        Insn::Neg { dst, .. } | Insn::Swap { dst, .. } => (bit(*dst), bit(*dst)),
        Insn::Mov { dst, src, .. } => (src_bit(src), bit(*dst)),
        Insn::MovSx { dst, src, .. } => (bit(*src), bit(*dst)),
        Insn::LdImm64 { dst, .. } => (0, bit(*dst)),
        Insn::Load { dst, src, .. } | Insn::LoadAcquire { dst, src, .. } => (bit(*src), bit(*dst)),
        Insn::Store { dst, src, .. } => (bit(*dst) | src_bit(src), 0),
        Insn::StoreRelease { dst, src, .. } => (bit(*dst) | bit(*src), 0),
        Insn::Atomic {
            op: AtomicOp::Cmpxchg,
            dst,
            src,
            ..
        } => (bit(*dst) | bit(*src) | bit(Reg::R0), bit(Reg::R0)),
        Insn::Atomic {
            fetch, dst, src, ..
        } => (bit(*dst) | bit(*src), if *fetch { bit(*src) } else { 0 }),
        Insn::LdAbs { .. } => (bit(Reg::R6), CALLER_SAVED),
        Insn::LdInd { src, .. } => (bit(Reg::R6) | bit(*src), CALLER_SAVED),
        Insn::Jmp { dst, src, .. } => (bit(*dst) | src_bit(src), 0),
        Insn::Call { helper } => (helper_args(*helper, options), CALLER_SAVED),
        Insn::CallSub { .. } | Insn::CallKfunc { .. } => (ARGS, CALLER_SAVED),
        Insn::Exit => (bit(Reg::R0), 0),
        Insn::Hole | Insn::Ja { .. } | Insn::MayGoto { .. } | Insn::Nospec => (0, 0),
    }
}

/// The forward walk: where registers point, and what each instruction does to the stack.
struct Forward<'a> {
    insns: &'a [Insn],
    options: &'a Options,
    index: &'a [u32],
    at: KVVec<Option<Places>>,
    effects: KVVec<Effect>,
    /// A pointer into the stack was stored somewhere, so any load may bring one back.
    escaped: bool,
    changed: bool,
}

impl Forward<'_> {
    fn flow(&mut self, to: u32, places: &Places) {
        let Some(slot) = self
            .index
            .get(to as usize)
            .and_then(|i| self.at.get_mut((*i as usize).wrapping_sub(1)))
        else {
            return;
        };
        match slot {
            None => {
                *slot = Some(*places);
                self.changed = true;
            }
            Some(old) => {
                for (o, n) in old.iter_mut().zip(places) {
                    let j = o.join(*n);
                    if j != *o {
                        *o = j;
                        self.changed = true;
                    }
                }
            }
        }
    }

    fn get(places: &Places, r: Reg) -> Place {
        places.get(r.index()).copied().unwrap_or(Place::At(0))
    }

    fn set(places: &mut Places, r: Reg, p: Place) {
        if let Some(x) = places.get_mut(r.index()) {
            *x = p;
        }
    }

    fn access(place: Place, off: i16, f: impl Fn(i16) -> Effect) -> Effect {
        match place.plus(i32::from(off)) {
            Place::Elsewhere => Effect::None,
            Place::At(o) => f(o),
            Place::Perhaps => Effect::ReadAll,
        }
    }

    fn step(&mut self, insn: &Insn, places: &mut Places) -> Effect {
        let loaded = if self.escaped {
            Place::Perhaps
        } else {
            Place::Elsewhere
        };
        match insn {
            Insn::Mov {
                width: Width::W64,
                dst,
                src: Src::Reg(src),
            } => {
                let p = Self::get(places, *src);
                Self::set(places, *dst, p);
                Effect::None
            }
            Insn::Alu {
                op: AluOp::Add,
                width: Width::W64,
                dst,
                src: Src::Imm(k),
            } => {
                let p = Self::get(places, *dst).plus(*k);
                Self::set(places, *dst, p);
                Effect::None
            }
            Insn::Alu {
                width: Width::W64,
                dst,
                src,
                ..
            } => {
                let other = match src {
                    Src::Reg(r) => Self::get(places, *r),
                    Src::Imm(_) => Place::Elsewhere,
                };
                if other != Place::Elsewhere || Self::get(places, *dst) != Place::Elsewhere {
                    Self::set(places, *dst, Place::Perhaps);
                }
                Effect::None
            }
            Insn::Alu { dst, .. }
            | Insn::Neg { dst, .. }
            | Insn::Mov { dst, .. }
            | Insn::MovSx { dst, .. }
            | Insn::Swap { dst, .. }
            | Insn::LdImm64 { dst, .. } => {
                Self::set(places, *dst, Place::Elsewhere);
                Effect::None
            }
            Insn::Load {
                size,
                dst,
                src,
                off,
                ..
            }
            | Insn::LoadAcquire {
                size,
                dst,
                src,
                off,
            } => {
                let size = size.bytes() as u8;
                let e = Self::access(Self::get(places, *src), *off, |off| Effect::Read {
                    off,
                    size,
                });
                Self::set(places, *dst, loaded);
                e
            }
            Insn::Store {
                size,
                dst,
                off,
                src,
            } => {
                if let Src::Reg(r) = src {
                    self.store(Self::get(places, *r));
                }
                let size = size.bytes() as u8;
                match Self::get(places, *dst).plus(i32::from(*off)) {
                    Place::At(off) => Effect::Write { off, size },
                    Place::Elsewhere | Place::Perhaps => Effect::None,
                }
            }
            Insn::StoreRelease {
                size,
                dst,
                off,
                src,
            } => {
                self.store(Self::get(places, *src));
                let size = size.bytes() as u8;
                match Self::get(places, *dst).plus(i32::from(*off)) {
                    Place::At(off) => Effect::Write { off, size },
                    Place::Elsewhere | Place::Perhaps => Effect::None,
                }
            }
            Insn::Atomic {
                op,
                fetch,
                size,
                dst,
                off,
                src,
            } => {
                let size = size.bytes() as u8;
                let e = Self::access(Self::get(places, *dst), *off, |off| Effect::Read {
                    off,
                    size,
                });
                self.store(Self::get(places, *src));
                if *op == AtomicOp::Cmpxchg {
                    Self::set(places, Reg::R0, loaded);
                } else if *fetch {
                    Self::set(places, *src, loaded);
                }
                e
            }
            Insn::Call { .. } | Insn::CallKfunc { .. } | Insn::CallSub { .. } => {
                // What a callback may do with a pointer into the stack is not known.
                let local = match insn {
                    Insn::Call { helper } => !helper::calls_back(*helper),
                    _ => !matches!(insn, Insn::CallSub { .. }),
                };
                let args = match insn {
                    Insn::Call { helper } => helper_args(*helper, self.options),
                    _ => ARGS,
                };
                let mut low: Option<i16> = None;
                let mut all = false;
                for r in [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5] {
                    if args & bit(r) == 0 {
                        continue;
                    }
                    match Self::get(places, r) {
                        Place::Elsewhere => {}
                        Place::At(o) if local => low = Some(low.map_or(o, |l| l.min(o))),
                        Place::At(_) | Place::Perhaps => all = true,
                    }
                }
                Self::clobber(places);
                match (all, low) {
                    (true, _) => Effect::ReadAll,
                    (false, Some(off)) => Effect::ReadAbove { off },
                    (false, None) => Effect::None,
                }
            }
            Insn::LdAbs { .. } | Insn::LdInd { .. } => {
                Self::clobber(places);
                Effect::None
            }
            Insn::Hole
            | Insn::Ja { .. }
            | Insn::MayGoto { .. }
            | Insn::Jmp { .. }
            | Insn::Nospec
            | Insn::Exit => Effect::None,
        }
    }

    fn store(&mut self, p: Place) {
        if p != Place::Elsewhere && !self.escaped {
            self.escaped = true;
            self.changed = true;
        }
    }

    fn clobber(places: &mut Places) {
        for r in [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5] {
            Self::set(places, r, Place::Elsewhere);
        }
    }

    /// One walk over subprogram `start..end`.
    fn walk(&mut self, start: u32, end: u32) -> Result {
        let mut places: Option<Places> = None;
        for at in start..end {
            let insn = self.insns.get(at as usize).ok_or(EFAULT)?;
            if matches!(insn, Insn::Hole) {
                continue;
            }
            if let Some(i) = self.index.get(at as usize).filter(|i| **i != 0) {
                if let Some(p) = places.take() {
                    self.flow(at, &p);
                }
                places = self
                    .at
                    .get((*i as usize).wrapping_sub(1))
                    .copied()
                    .flatten();
            }
            let Some(mut p) = places.take() else { continue };
            let e = self.step(insn, &mut p);
            if let Some(x) = self.effects.get_mut(at as usize) {
                *x = e;
            }
            let next = cfg::next(insn, at);
            if let Some(to) = next.jump {
                self.flow(to, &p);
            }
            if next.fall.is_some() {
                places = Some(p);
            }
        }
        Ok(())
    }
}

impl Liveness {
    /// Computes liveness of all subprograms.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EAGAIN` when interrupted.
    pub(crate) fn compute(
        insns: &[Insn],
        subs: &Subprogs,
        cfg: &Cfg,
        options: &Options,
        env: &mut dyn Env,
    ) -> Result<Liveness> {
        let mut index = KVVec::from_elem(0u32, insns.len(), GFP_KERNEL)?;
        let mut count = 0u32;
        for (at, i) in (0..u32::MAX).zip(index.iter_mut()) {
            if cfg.flags(at).has(Flags::LEADER) {
                count = count.saturating_add(1);
                *i = count;
            }
        }
        let mut fwd = Forward {
            insns,
            options,
            index: &index,
            at: KVVec::from_elem(None, count as usize, GFP_KERNEL)?,
            effects: KVVec::from_elem(Effect::ReadAll, insns.len(), GFP_KERNEL)?,
            escaped: false,
            changed: false,
        };
        for s in subs.list.iter() {
            fwd.escaped = false;
            let mut walks = 0;
            fwd.flow(s.start, &[Place::Elsewhere; 10]);
            loop {
                fwd.changed = false;
                fwd.walk(s.start, s.end)?;
                if !fwd.changed {
                    break;
                }
                if env.interrupted() {
                    return Err(EAGAIN);
                }
                walks += 1;
                if walks > MAX_WALKS {
                    // Give up on the subprogram: every instruction may read everything.
                    if let Some(e) = fwd.effects.get_mut(s.start as usize..s.end as usize) {
                        e.fill(Effect::ReadAll);
                    }
                    break;
                }
            }
        }
        let effects = fwd.effects;

        let mut quiet = KVVec::from_elem(0u64, insns.len().div_ceil(64), GFP_KERNEL)?;
        for (at, (insn, e)) in insns.iter().zip(effects.iter()).enumerate() {
            let enters = match insn {
                Insn::Call { helper } => helper::calls_back(*helper),
                _ => matches!(insn, Insn::CallSub { .. }),
            };
            if enters && *e == Effect::None {
                if let Some(w) = quiet.get_mut(at / 64) {
                    *w |= 1 << (at % 64);
                }
            }
        }

        let mut live = KVVec::from_elem(Live::default(), count as usize, GFP_KERNEL)?;
        for s in subs.list.iter() {
            let mut walks = 0;
            while Self::walk_back(insns, &index, &effects, options, &mut live, s.start, s.end)? {
                if env.interrupted() {
                    return Err(EAGAIN);
                }
                walks += 1;
                if walks > MAX_WALKS {
                    for at in s.start..s.end {
                        let i = index.get(at as usize).copied().unwrap_or(0);
                        if let Some(l) = live.get_mut((i as usize).wrapping_sub(1)) {
                            *l = Live::ALL;
                        }
                    }
                    break;
                }
            }
        }
        Ok(Liveness { index, live, quiet })
    }

    /// One backward walk over a subprogram; says whether a leader's result grew.
    fn walk_back(
        insns: &[Insn],
        index: &[u32],
        effects: &[Effect],
        options: &Options,
        live: &mut [Live],
        start: u32,
        end: u32,
    ) -> Result<bool> {
        let before = |live: &[Live], to: u32| {
            index
                .get(to as usize)
                .and_then(|i| live.get((*i as usize).wrapping_sub(1)))
                .copied()
                .unwrap_or(Live::ALL)
        };
        let mut changed = false;
        let mut below = Live::default();
        for at in (start..end).rev() {
            let insn = insns.get(at as usize).ok_or(EFAULT)?;
            if matches!(insn, Insn::Hole) {
                continue;
            }
            let next = cfg::next(insn, at);
            let mut l = if next.fall.is_some() {
                below
            } else {
                Live::default()
            };
            if let Some(to) = next.jump {
                l = l.join(before(live, to));
            }
            let (uses, defs) = use_def(insn, options);
            l.regs = (l.regs & !defs) | (uses & 0x3ff);
            match effects.get(at as usize).copied().unwrap_or(Effect::ReadAll) {
                Effect::None => {}
                Effect::Read { off, size } => l.stack |= halves(i64::from(off), i64::from(size)),
                Effect::ReadAbove { off } => l.stack |= halves(i64::from(off), 512),
                Effect::ReadAll => l.stack = u128::MAX,
                Effect::Write { off, size } => {
                    if size >= 4 && off % 4 == 0 && (-512..0).contains(&off) {
                        l.stack &= !halves(i64::from(off), i64::from(size));
                    }
                }
            }
            if let Some(old) = index
                .get(at as usize)
                .and_then(|i| live.get_mut((*i as usize).wrapping_sub(1)))
            {
                let new = old.join(l);
                if new != *old {
                    *old = new;
                    changed = true;
                }
                l = new;
            }
            below = l;
        }
        Ok(changed)
    }

    /// What is live before slot `at`; everything when `at` is no leader.
    pub(crate) fn before(&self, at: u32) -> Live {
        self.index
            .get(at as usize)
            .and_then(|i| self.live.get((*i as usize).wrapping_sub(1)))
            .copied()
            .unwrap_or(Live::ALL)
    }

    /// What is live in a frame that waits for the call at slot `at` to return.
    ///
    /// From a callback (`again`) the frame comes back to the call itself.
    pub(crate) fn during_call(&self, at: u32, again: bool) -> Live {
        let mut l = if again {
            self.before(at)
        } else {
            self.before(at.wrapping_add(1))
        };
        l.regs &= !bit(Reg::R0);
        let quiet = self
            .quiet
            .get(at as usize / 64)
            .is_some_and(|w| w & (1 << (at % 64)) != 0);
        if !quiet {
            l.stack = u128::MAX;
        }
        l
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_slots() {
        assert_eq!(halves(-4, 4), 1);
        assert_eq!(halves(-8, 8), 3);
        assert_eq!(halves(-8, 4), 2);
        assert_eq!(halves(-8, 1), 2);
        assert_eq!(halves(-512, 8), 3 << 126);
        assert_eq!(halves(-512, 512), u128::MAX);
        assert_eq!(halves(-16, 512), 0xf);
        assert_eq!(halves(0, 8), u128::MAX);
    }
}
