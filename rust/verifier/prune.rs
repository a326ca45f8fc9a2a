// SPDX-License-Identifier: GPL-2.0

//! Pruning: states that were proved safe, and whether the current one is among them.
//!
//! A checkpoint is complete when all paths from it have been followed to their end. The current
//! state may end its path at a complete checkpoint of the same instruction that contains it: each
//! value of the current state is one that the checkpoint allows. Two exceptions make that useful:
//! what is not live is not compared, and numbers that no decision relied on may be anything
//! ([`super::precision`] says why).
//!
//! A checkpoint that is not complete is on the current path or on one put aside. Meeting one that
//! equals the current state exactly is an infinite loop.

use super::explore::Verifier;
use super::liveness::Live;
use super::print::Show;
use super::state::frame::Frame;
use super::state::reg::{Base, Num, Ptr, Range, Val};
use super::state::stack::{Byte, Slot};
use super::state::State;
use crate::isa::Reg;
use kernel::prelude::*;

/// Checkpoints of one instruction at most without CAP_BPF.
const MAX_STATES_UNPRIVILEGED: u32 = 64;

const NO: u32 = u32::MAX;

/// What a look at the checkpoints says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// The rest of the path is known to be safe.
    Safe,
    /// It must be followed.
    New,
}

struct Checkpoint {
    /// None when the checkpoint was given up; it still counts the paths from it.
    state: Option<State>,
    parent: Option<u32>,
    /// Paths from it that have not ended.
    open: u32,
    next: u32,
    hits: u32,
    misses: u32,
}

/// All checkpoints.
pub(crate) struct Checkpoints {
    all: KVVec<Checkpoint>,
    /// Per instruction, the first of its list.
    heads: KVVec<u32>,
    kept: u32,
    /// Figures at the time of the last checkpoint.
    insns_then: u32,
    jumps_then: u32,
}

impl Checkpoints {
    /// For a program of `len` instructions.
    pub(crate) fn new(len: usize) -> Result<Checkpoints> {
        Ok(Checkpoints {
            all: KVVec::new(),
            heads: KVVec::from_elem(NO, len, GFP_KERNEL)?,
            kept: 0,
            insns_then: 0,
            jumps_then: 0,
        })
    }

    /// One more path starts from the checkpoint.
    pub(crate) fn path_added(&mut self, from: Option<u32>) {
        if let Some(c) = from.and_then(|i| self.all.get_mut(i as usize)) {
            c.open = c.open.saturating_add(1);
        }
    }

    /// A path that started from the checkpoint ended.
    pub(crate) fn path_ended(&mut self, from: Option<u32>) {
        let mut at = from;
        while let Some(c) = at.and_then(|i| self.all.get_mut(i as usize)) {
            c.open = c.open.saturating_sub(1);
            if c.open > 0 {
                break;
            }
            at = c.parent;
        }
    }
}

/// How strictly states are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strict {
    /// Contained, imprecise numbers ignored.
    Contained,
    /// The same in everything.
    Same,
}

/// Which identity of the checkpoint stands for which one now.
#[derive(Default)]
pub(crate) struct IdMap {
    pairs: KVec<(u32, u32)>,
    temporary: u32,
}

impl IdMap {
    fn clear(&mut self) {
        self.pairs.clear();
        self.temporary = 1 << 31;
    }

    /// Two registers of one identity must have one identity again, and of two, two.
    fn same(&mut self, old: u32, cur: u32) -> bool {
        if (old == 0) != (cur == 0) {
            return false;
        }
        if old == 0 {
            return true;
        }
        for (o, c) in self.pairs.iter() {
            if *o == old {
                return *c == cur;
            }
            if *c == cur {
                return false;
            }
        }
        // Without memory the states count as different, which is safe.
        self.pairs.push((old, cur), GFP_KERNEL).is_ok()
    }

    /// Numbers that were linked must be linked; unlinked ones may be.
    fn same_link(&mut self, old: u32, cur: u32) -> bool {
        if old == 0 {
            return true;
        }
        let cur = if cur == 0 {
            self.temporary = self.temporary.saturating_add(1);
            self.temporary
        } else {
            cur
        };
        self.same(old, cur)
    }
}

impl Verifier<'_> {
    /// Looks whether the current state was proved safe already, and remembers it where that is
    /// likely to help.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an infinite loop; `ENOMEM`.
    pub(crate) fn visit(&mut self) -> Result<Visit> {
        let force = self.options.test_state_freq;
        let jumps = self.figures.jumps.wrapping_sub(self.checkpoints.jumps_then);
        let insns = self.figures.insns.wrapping_sub(self.checkpoints.insns_then);
        let mut add = force || (jumps >= 2 && insns >= 8);
        let mut index = self
            .checkpoints
            .heads
            .get(self.at as usize)
            .copied()
            .unwrap_or(NO);
        if index == NO && !add && !self.log.level2() {
            // Nothing to compare with and nothing to remember; what is dead can stay for now.
            return Ok(Visit::New);
        }
        self.forget_dead();

        let mut states = 0u32;
        let mut before = NO;
        let mut ids = IdMap::default();
        while let Some(c) = self.checkpoints.all.get_mut(index as usize) {
            let next = c.next;
            states = states.saturating_add(1);
            let open = c.open;
            // Taken out while it is compared, and put back.
            let Some(state) = c.state.take() else {
                return Err(EFAULT);
            };
            let strict = if open > 0 {
                Strict::Same
            } else {
                Strict::Contained
            };
            let equal = self.equal(&state, strict, &mut ids);
            let done = if !equal {
                None
            } else if open > 0 {
                self.log
                    .line(format_args!("infinite loop detected at insn {}", self.at));
                self.log.put(format_args!("cur state:"));
                let depth = self.depth();
                self.print_current(depth, Show::All);
                self.log.put(format_args!("old state:"));
                self.print_state(&state, depth, Show::All);
                Some(Err(EINVAL))
            } else {
                Some(self.inherit_marks(&state).map(|()| Visit::Safe))
            };
            if open > 0 && !force && jumps < 20 && insns < 100 {
                add = false;
            }
            let Some(c) = self.checkpoints.all.get_mut(index as usize) else {
                return Err(EFAULT);
            };
            c.state = Some(state);
            if let Some(done) = done {
                c.hits = c.hits.saturating_add(1);
                return done;
            }
            if add {
                c.misses = c.misses.saturating_add(1);
            }
            if c.misses > c.hits.saturating_mul(3).saturating_add(3) {
                // It is unlikely to help: give its memory back.
                if let Some(s) = c.state.take() {
                    self.pool.put(s);
                }
                self.checkpoints.kept = self.checkpoints.kept.saturating_sub(1);
                match self.checkpoints.all.get_mut(before as usize) {
                    Some(b) => b.next = next,
                    None => {
                        if let Some(h) = self.checkpoints.heads.get_mut(self.at as usize) {
                            *h = next;
                        }
                    }
                }
            } else {
                before = index;
            }
            index = next;
        }
        let f = &mut self.figures;
        f.max_states_per_insn = f.max_states_per_insn.max(states);
        if !add || (!self.options.bpf_capable && states > MAX_STATES_UNPRIVILEGED) {
            return Ok(Visit::New);
        }
        self.checkpoint()?;
        Ok(Visit::New)
    }

    /// Remembers the current state.
    fn checkpoint(&mut self) -> Result {
        let nodes = &mut self.nodes;
        self.cur.for_each(|v| {
            if let Val::Scalar(n) = v {
                n.node = nodes.checkpoint(n.node)?;
            }
            Ok(())
        })?;
        self.drop_single_links()?;
        let state = self.pool.copy(&self.cur)?;
        let index = u32::try_from(self.checkpoints.all.len()).map_err(|_| ENOMEM)?;
        let head = self
            .checkpoints
            .heads
            .get_mut(self.at as usize)
            .ok_or(EFAULT)?;
        self.checkpoints.all.push(
            Checkpoint {
                state: Some(state),
                parent: self.parent,
                open: 1,
                next: *head,
                hits: 0,
                misses: 0,
            },
            GFP_KERNEL,
        )?;
        *head = index;
        self.parent = Some(index);
        self.checkpoints.kept = self.checkpoints.kept.saturating_add(1);
        self.checkpoints.insns_then = self.figures.insns;
        self.checkpoints.jumps_then = self.figures.jumps;
        let f = &mut self.figures;
        f.total_states = f.total_states.saturating_add(1);
        f.peak_states = f.peak_states.max(self.checkpoints.kept);
        Ok(())
    }

    /// A number that is the only one left of its link is not linked.
    fn drop_single_links(&mut self) -> Result {
        let mut ids: KVec<(u32, bool)> = KVec::new();
        self.cur.for_each(|v| {
            if let Val::Scalar(n) = v {
                if n.link.id != 0 {
                    match ids.iter_mut().find(|(i, _)| *i == n.link.id) {
                        Some((_, many)) => *many = true,
                        None => ids.push((n.link.id, false), GFP_KERNEL)?,
                    }
                }
            }
            Ok(())
        })?;
        if ids.iter().all(|(_, many)| *many) {
            return Ok(());
        }
        self.cur.for_each(|v| {
            if let Val::Scalar(n) = v {
                if ids.iter().any(|(i, many)| *i == n.link.id && !many) {
                    n.link = super::state::reg::Link::NONE;
                }
            }
            Ok(())
        })
    }

    /// What is live in frame `depth` of the current state.
    fn live(&self, depth: usize) -> Live {
        match depth.checked_add(1).and_then(|d| self.cur.frame(d)) {
            Some(callee) => self.prog.live.during_call(callee.callsite),
            None => self.prog.live.before(self.at),
        }
    }

    /// Makes everything unreadable that nobody reads.
    fn forget_dead(&mut self) {
        for depth in 0..=self.cur.depth() {
            let live = self.live(depth);
            let Some(f) = self.cur.frame_mut(depth) else {
                return;
            };
            for r in Reg::ALL {
                if r != Reg::R10 && live.regs & (1 << r.index()) == 0 {
                    f.regs[r] = Val::NotInit;
                }
            }
            if live.stack != u128::MAX {
                let mut mask = live.stack;
                for s in f.stack.slots_mut() {
                    forget_slot(s, mask & 1 != 0, mask & 2 != 0);
                    mask >>= 2;
                }
            }
        }
    }

    /// Whether the current state is contained in (or the same as) `old`.
    fn equal(&self, old: &State, strict: Strict, ids: &mut IdMap) -> bool {
        let (held, now) = (old.refs.list(), self.cur.refs.list());
        if old.callers.len() != self.cur.callers.len() || held.len() != now.len() {
            return false;
        }
        ids.clear();
        if !held.iter().zip(now).all(|(o, c)| ids.same(o.id, c.id)) {
            return false;
        }
        old.frames()
            .zip(self.cur.frames())
            .all(|(o, c)| self.frames_equal(o, c, strict, ids))
    }

    fn frames_equal(&self, old: &Frame, cur: &Frame, strict: Strict, ids: &mut IdMap) -> bool {
        if old.callsite != cur.callsite || old.subprog != cur.subprog {
            return false;
        }
        for ((_, o), (_, c)) in old.regs.iter().zip(cur.regs.iter()) {
            if !self.vals_equal(o, c, strict, ids) {
                return false;
            }
        }
        let mut now = cur.stack.slots().iter();
        for o in old.stack.slots() {
            let c = now.next().unwrap_or(&Slot::EMPTY);
            if !self.slots_equal(o, c, strict, ids) {
                return false;
            }
        }
        true
    }

    fn vals_equal(&self, old: &Val, cur: &Val, strict: Strict, ids: &mut IdMap) -> bool {
        match (old, cur) {
            (Val::NotInit, Val::NotInit) => true,
            // Nobody behind the checkpoint read it.
            (Val::NotInit, _) => strict == Strict::Contained,
            (Val::Scalar(o), Val::Scalar(c)) => self.nums_equal(o, c, strict, ids),
            (Val::Ptr(o), Val::Ptr(c)) => ptrs_equal(o, c, strict, ids),
            _ => false,
        }
    }

    fn nums_equal(&self, old: &Num, cur: &Num, strict: Strict, ids: &mut IdMap) -> bool {
        if strict == Strict::Same {
            return old.v == cur.v
                && old.link.delta == cur.link.delta
                && ids.same(old.link.id, cur.link.id);
        }
        if self.watcher.is_none() && !self.nodes.is_marked(old.node) {
            return true;
        }
        if old.link.id != 0 && old.link.delta != cur.link.delta {
            return false;
        }
        cur.v.is_subset_of(&old.v) && ids.same_link(old.link.id, cur.link.id)
    }

    fn slots_equal(&self, old: &Slot, cur: &Slot, strict: Strict, ids: &mut IdMap) -> bool {
        if strict == Strict::Same {
            for (o, c) in old.bytes.iter().zip(&cur.bytes) {
                if o != c && !(o.is_empty() && c.is_empty()) {
                    return false;
                }
            }
            return !old.is_spill() || self.vals_equal(&old.val, &cur.val, strict, ids);
        }
        // A spilled number against raw data: a load of the data gives any number.
        let any = Num::fresh(super::domain::scalar::Scalar::unknown());
        if let (Some(o), Some(c)) = (self.as_number(old), self.as_number(cur)) {
            return self.nums_equal(o.unwrap_or(&any), c.unwrap_or(&any), strict, ids);
        }
        for (o, c) in old.bytes.iter().zip(&cur.bytes) {
            let fine = match o {
                Byte::Invalid | Byte::Poison => true,
                Byte::Misc => {
                    self.options.allow_ptr_leaks
                        || matches!(c, Byte::Misc | Byte::Zero)
                        || (matches!(c, Byte::Spill) && cur.val.num().is_some())
                }
                Byte::Zero => matches!(c, Byte::Zero),
                Byte::Spill => matches!(c, Byte::Spill),
            };
            if !fine {
                return false;
            }
        }
        match old.spilled() {
            Some(o) => cur.is_spill() && self.vals_equal(o, &cur.val, strict, ids),
            None => true,
        }
    }

    /// The number that a load of the whole slot gives: a spilled one, or any (`Some(None)`).
    fn as_number<'s>(&self, s: &'s Slot) -> Option<Option<&'s Num>> {
        if s.spill_size() == 8 {
            return s.val.num().map(Some);
        }
        let raw = s.bytes.iter().all(|b| match b {
            Byte::Misc => true,
            Byte::Invalid | Byte::Poison => self.options.allow_ptr_leaks,
            Byte::Zero | Byte::Spill => false,
        });
        if raw {
            Some(None)
        } else {
            None
        }
    }

    /// The current state ends at checkpoint `old`: what was relied on there is relied on here.
    fn inherit_marks(&mut self, old: &State) -> Result {
        for (depth, o) in old.frames().enumerate() {
            for (r, v) in o.regs.iter() {
                let cur = self.cur.frame(depth).map(|f| f.regs[r]);
                self.inherit(v, cur)?;
            }
            for (i, s) in o.stack.slots().iter().enumerate() {
                if let Some(v) = s.spilled() {
                    let cur = self
                        .cur
                        .frame(depth)
                        .and_then(|f| f.stack.slots().get(i))
                        .and_then(Slot::spilled)
                        .copied();
                    self.inherit(v, cur)?;
                }
            }
        }
        Ok(())
    }

    fn inherit(&mut self, old: &Val, cur: Option<Val>) -> Result {
        if let (Val::Scalar(o), Some(Val::Scalar(c))) = (old, cur) {
            if self.nodes.is_marked(o.node) {
                return self.nodes.mark(c.node);
            }
        }
        Ok(())
    }
}

/// Makes the dead halves of a slot unreadable: `high` is the half nearer to the frame's top.
fn forget_slot(s: &mut Slot, high: bool, low: bool) {
    if (high && low) || s.bytes.iter().all(|b| b.is_empty()) {
        return;
    }
    if !high && !low {
        for b in &mut s.bytes {
            if !b.is_empty() {
                *b = Byte::Poison;
            }
        }
        s.val = Val::NotInit;
        return;
    }
    if s.is_spill() {
        // Half of a pointer or of a zero must not be taken for data.
        if s.val.num().is_none_or(Num::is_zero) {
            return;
        }
        if s.spill_size() == 8 || !low {
            s.scrub();
        }
    }
    for (i, b) in s.bytes.iter_mut().enumerate() {
        let dead = if i < 4 { !low } else { !high };
        if dead && !b.is_empty() {
            *b = Byte::Poison;
        }
    }
}

fn ptrs_equal(old: &Ptr, cur: &Ptr, strict: Strict, ids: &mut IdMap) -> bool {
    if strict == Strict::Same {
        return old.base == cur.base
            && old.fixed == cur.fixed
            && old.var == cur.var
            && ids.same(old.id, cur.id);
    }
    match (old.base, cur.base) {
        (Base::Packet(o), Base::Packet(c)) | (Base::PacketMeta(o), Base::PacketMeta(c)) => {
            let enough = match (o, c) {
                (Range::Unknown, Range::Unknown | Range::Bytes(_)) => true,
                (Range::Bytes(o), Range::Bytes(c)) => o <= c,
                _ => o == c,
            };
            // Pointers of one identity are compared by their fixed parts.
            enough
                && old.fixed == cur.fixed
                && cur.var.is_subset_of(&old.var)
                && ids.same(old.id, cur.id)
        }
        (Base::MapValue { .. }, Base::MapValue { .. })
        | (Base::RingMem { .. }, Base::RingMem { .. })
        | (Base::MapKey { .. }, Base::MapKey { .. }) => {
            old.base == cur.base
                && (if old.fixed == cur.fixed {
                    cur.var.is_subset_of(&old.var)
                } else {
                    cur.offset().is_subset_of(&old.offset())
                })
                && ids.same(old.id, cur.id)
        }
        (
            Base::Ctx
            | Base::Stack { .. }
            | Base::ConstMap { .. }
            | Base::MapValue { .. }
            | Base::RingMem { .. }
            | Base::MapKey { .. }
            | Base::Func { .. }
            | Base::Packet(_)
            | Base::PacketMeta(_)
            | Base::PacketEnd,
            _,
        ) => {
            old.base == cur.base
                && old.fixed == cur.fixed
                && old.var == cur.var
                && ids.same(old.id, cur.id)
        }
    }
}
