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
//!
//! Rounds of a helper that calls back
//! ==================================
//!
//! At the call of such a helper the current state S may also end its path at an incomplete
//! checkpoint C, if C was made in the same run of the helper and contains S, no number excepted. What
//! can follow from S can follow from C, and is followed there. Two things need care.
//!
//! *Precision*: checkpoints between C and S may become complete before all marks are known that C
//! will get. So all numbers of S are marked when its path ends at C; whatever they were computed from
//! in those checkpoints must then be the same for a state that ends at one of them.
//!
//! *Termination*: a checkpoint D between C and S is complete only under the condition that C will be
//! ([`Checkpoints::depends_on`]). Until then only states in the same runs of helpers may end at it.
//! Why all runs end then: suppose one does not. Callbacks and helpers end if what they call does, so
//! there is an outermost frame that lives for ever and in which infinitely many instructions run, and
//! in it infinitely many runs of helpers are left. The paths behind a call are followed in a subtree
//! of their own, and from there no path ends at a checkpoint of the run that was left: not at an
//! incomplete one, because a new call is another run, and not at a conditional one, because its
//! frame is in another run or in none. So each time a run is left, the way goes on in a smaller
//! subtree, or at a checkpoint that was complete without condition before; neither can be
//! repeated for ever.

use super::cfg::Flags;
use super::explore::Verifier;
use super::liveness::Live;
use super::print::Show;
use super::state::frame::Frame;
use super::state::reg::{Base, Num, Ptr, Range, Val};
use super::state::stack::{Byte, Slot};
use super::state::State;
use crate::isa::Reg;
use core::cell::Cell;
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
    /// The oldest checkpoint that it is complete on the condition of, `NO` for none.
    condition: u32,
    next: u32,
    hits: u32,
    misses: u32,
}

/// The state of a checkpoint, taken out to be looked at.
pub(crate) struct Taken {
    index: u32,
    /// The state.
    pub(crate) state: State,
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
    /// The register in which two states differed last. States of one instruction that differ mostly do
    /// so in the same register, so it is compared before all else.
    differed: Cell<Reg>,
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
            differed: Cell::new(Reg::R0),
        })
    }

    /// The incomplete checkpoint on the condition of which checkpoint `index` is complete.
    ///
    /// Conditions point to older checkpoints, whose own condition is the one that is left when they
    /// become complete.
    fn depends_on(&mut self, index: u32) -> Option<u32> {
        let mut at = index;
        let found = loop {
            let on = self.all.get(at as usize).map_or(NO, |c| c.condition);
            match self.all.get(on as usize) {
                None => break NO,
                Some(c) if c.open > 0 => break on,
                Some(_) => at = on,
            }
        };
        if let Some(c) = self.all.get_mut(index as usize) {
            c.condition = found;
        }
        (found != NO).then_some(found)
    }

    /// The path behind `from` ended on the condition that `on`, which it came from, will be complete.
    fn depend(&mut self, from: Option<u32>, on: u32) {
        let mut at = from;
        while let Some(i) = at.filter(|i| *i > on) {
            let Some(c) = self.all.get_mut(i as usize) else {
                return;
            };
            if c.condition <= on {
                // So have those before it.
                return;
            }
            c.condition = on;
            at = c.parent;
        }
    }

    /// Takes out the last state that was remembered in run `run` of the helper called at `at`.
    pub(crate) fn take_last_round(&mut self, at: u32, run: u32) -> Option<Taken> {
        let mut index = self.heads.get(at as usize).copied()?;
        loop {
            let c = self.all.get_mut(index as usize)?;
            if c.open > 0 && c.state.as_ref().is_some_and(|s| s.top.run == run) {
                return c.state.take().map(|state| Taken { index, state });
            }
            index = c.next;
        }
    }

    /// Puts back what was taken out.
    pub(crate) fn put_back(&mut self, taken: Taken) {
        if let Some(c) = self.all.get_mut(taken.index as usize) {
            c.state = Some(taken.state);
        }
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
    /// Contained, with all numbers.
    Within,
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
        let calls_back = self.prog.cfg.flags(self.at).has(Flags::CALLBACK);
        let force = self.options.test_state_freq || calls_back;
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
            let round = open > 0 && calls_back && state.top.run == self.cur.top.run;
            let mut condition = None;
            let (strict, usable) = if round {
                condition = Some(index);
                (Strict::Within, true)
            } else if open > 0 {
                // After another round of a callback nothing is a loop without end.
                (Strict::Same, state.rounds == self.cur.rounds)
            } else {
                condition = self.checkpoints.depends_on(index);
                let usable = condition.is_none() || state.same_runs(&self.cur);
                (Strict::Contained, usable)
            };
            let equal = usable && self.equal(&state, strict, &mut ids);
            if let (true, Some(on)) = (equal, condition) {
                self.checkpoints.depend(self.parent, on);
            }
            let done = if !equal {
                None
            } else if round {
                Some(self.mark_all().map(|()| Visit::Safe))
            } else if open > 0 {
                self.print_line();
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
            // Rounds of a callback may take a while to become the same.
            let patience = if calls_back && open > 0 { 64 } else { 3u32 };
            if c.misses > c.hits.saturating_mul(patience).saturating_add(patience) {
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
                condition: NO,
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
            Some(callee) => self.prog.live.during_call(callee.callsite, callee.callback),
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
        if old.callers.len() != self.cur.callers.len()
            || held.len() != now.len()
            || old.lock.is_some() != self.cur.lock.is_some()
        {
            return false;
        }
        ids.clear();
        // What identities stand for is not known yet, which excludes nothing: states that differ here
        // also differ below.
        let first = self.checkpoints.differed.get();
        let (o, c) = (&old.top.regs[first], &self.cur.top.regs[first]);
        if !self.vals_equal(o, c, strict, ids) {
            return false;
        }
        ids.clear();
        if !held.iter().zip(now).all(|(o, c)| ids.same(o.id, c.id)) {
            return false;
        }
        // The lock that is held now must be the one that was held: what follows gives that one back.
        if let (Some(o), Some(c)) = (&old.lock, &self.cur.lock) {
            if o.map != c.map || !ids.same(o.id, c.id) {
                return false;
            }
        }
        old.frames()
            .zip(self.cur.frames())
            .all(|(o, c)| self.frames_equal(o, c, strict, ids))
    }

    fn frames_equal(&self, old: &Frame, cur: &Frame, strict: Strict, ids: &mut IdMap) -> bool {
        if old.callsite != cur.callsite || old.subprog != cur.subprog {
            return false;
        }
        for ((r, o), (_, c)) in old.regs.iter().zip(cur.regs.iter()) {
            if !self.vals_equal(o, c, strict, ids) {
                self.checkpoints.differed.set(r);
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
            (Val::NotInit, _) => strict != Strict::Same,
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
        if self.masked && old.v != cur.v {
            // What a mask would be must be found on every path, see transfer/mask.rs.
            return false;
        }
        if strict == Strict::Contained && self.watcher.is_none() && !self.nodes.is_marked(old.node)
        {
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

    /// All numbers of the current state are relied on.
    fn mark_all(&mut self) -> Result {
        let nodes = &mut self.nodes;
        self.cur.for_each(|v| match v {
            Val::Scalar(n) => nodes.mark(n.node),
            Val::NotInit | Val::Ptr(_) => Ok(()),
        })
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
        | (Base::Mem { .. }, Base::Mem { .. })
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
            | Base::MapOrNull { .. }
            | Base::MapValue { .. }
            | Base::RingMem { .. }
            | Base::Mem { .. }
            | Base::Sock { .. }
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
