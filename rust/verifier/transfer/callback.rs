// SPDX-License-Identifier: GPL-2.0

//! Helpers that call subprograms of the program.
//!
//! A helper calls back any number of times, each time with other arguments, and then is done. So
//! there are two paths from the call: the helper is done, and the callback runs once more and
//! comes back to the same call. The state there is remembered each time, and a state that is
//! contained in one of the same run of the helper needs no more rounds: what follows from it follows
//! from that one ([`crate::verifier::prune`] says why that may be believed before the other is done).
//! Numbers that changed in a round and decided nothing (after many rounds: all that changed) are taken
//! for any number, so that a counter does not keep the states apart.

use super::arg::Call;
use crate::abi::MAX_FRAMES;
use crate::helper::{Helper, LOOP};
use crate::isa::Reg;
use crate::verifier::error::refuse;
use crate::verifier::explore::{Agreed, Verifier};
use crate::verifier::state::reg::{Base, Num, Ptr, Val};
use crate::verifier::state::{Pool, State};
use kernel::prelude::*;

/// Rounds on one path in which numbers that something relied on are followed one by one.
const EXACT_ROUNDS: u32 = 1024;

/// What a callback is called with.
enum Args {
    /// A number, and the context.
    Loop,
    /// The map, a key of it, a value of it, and the context. The value's pointer has an identity if
    /// there is a lock in it.
    Element { map: u16, id: u32 },
}

impl Args {
    /// The same for one more round, which has another value.
    fn with_id(&self, v: &mut Verifier<'_>) -> Result<Args> {
        Ok(match *self {
            Args::Loop => Args::Loop,
            Args::Element { map, .. } => Args::Element {
                map,
                id: match v.map(map)?.lock {
                    Some(_) => v.new_id(),
                    None => 0,
                },
            },
        })
    }
}

impl Verifier<'_> {
    /// Follows the path on which `row` calls the subprogram at `start` once more; the current one
    /// goes on behind the call.
    pub(super) fn call_back(&mut self, row: &Helper, call: &Call, start: u32) -> Result {
        let mut many = false;
        self.learn(|l| {
            l.callback.add(Some(start));
            many = l.callback == Agreed::Many;
        });
        if many && row.rewritten {
            return refuse!(
                self.log,
                ENOTSUPP,
                "calling bpf_{}#{} with different callbacks at one place is not supported",
                row.name,
                row.id
            );
        }
        let mut more = true;
        let args = match call.map {
            Some(map) => Args::Element { map, id: 0 },
            None => Args::Loop,
        };
        if row.id == LOOP {
            let v = *self.reg(Reg::R1);
            self.mark(&v)?;
            more = v
                .num()
                .is_some_and(|n| u64::from(self.cur.top.rounds) < n.v.umax());
        }
        if more {
            let depth = self.depth().saturating_add(1);
            if depth >= MAX_FRAMES {
                return refuse!(
                    self.log,
                    E2BIG,
                    "the call stack of {} frames is too deep",
                    depth.saturating_add(1)
                );
            }
            let subprog = self.subs.starting_at(start).ok_or(EFAULT)?;
            let subprog = u32::try_from(subprog).map_err(|_| EFAULT)?;
            let at = self.at;
            self.postpone(start, |this, s| {
                let args = args.with_id(this)?;
                enter(&mut this.pool, s, at, subprog, &args)
            })?;
        } else if self.log.level2() {
            let depth = self.depth();
            self.log.line(format_args!(
                "frame{depth} bpf_loop iteration limit reached"
            ));
        }
        self.cur.top.run = 0;
        self.cur.top.rounds = 0;
        Ok(())
    }

    /// Back at the call at `at`: numbers that are others than the last time and that nothing relied
    /// on are any number now.
    ///
    /// A state that allows more than can be is never wrong. So after many rounds on a path numbers that
    /// something relied on become any number, too: of a helper in a callback of another, the end of the
    /// inner rounds relies on all numbers, and a counter would go on for ever.
    pub(super) fn widen(&mut self, at: u32) {
        let Some(before) = self.checkpoints.take_last_round(at, self.cur.top.run) else {
            return;
        };
        let patient = self.cur.rounds < EXACT_ROUNDS;
        for (depth, old) in before.state.frames().enumerate() {
            let Some(cur) = self.cur.frame_mut(depth) else {
                break;
            };
            for ((_, o), c) in old.regs.iter().zip(cur.regs.values_mut()) {
                self.nodes.widen(o, c, patient);
            }
            for (o, c) in old.stack.slots().iter().zip(cur.stack.slots_mut()) {
                if o.is_spill() && o.spill_size() == c.spill_size() {
                    self.nodes.widen(&o.val, &mut c.val, patient);
                }
            }
        }
        self.checkpoints.put_back(before);
    }
}

/// Makes `s` a state at the start of a callback that the helper called at `at` runs.
fn enter(pool: &mut Pool, s: &mut State, at: u32, subprog: u32, args: &Args) -> Result {
    let mut callee = pool.frame()?;
    let caller = &s.top.regs;
    match args {
        Args::Loop => {
            callee.regs[Reg::R1] = Val::unknown();
            callee.regs[Reg::R2] = caller[Reg::R3];
        }
        Args::Element { map, id } => {
            callee.regs[Reg::R1] = caller[Reg::R1];
            callee.regs[Reg::R2] = Val::Ptr(Ptr::new(Base::MapKey { map: *map }));
            let mut value = Ptr::new(Base::MapValue {
                map: *map,
                or_null: false,
            });
            value.id = *id;
            callee.regs[Reg::R3] = Val::Ptr(value);
            callee.regs[Reg::R4] = caller[Reg::R3];
        }
    }
    let depth = s.depth().saturating_add(1);
    callee.regs[Reg::R10] = Val::Ptr(Ptr::new(Base::Stack {
        frame: u8::try_from(depth).map_err(|_| EFAULT)?,
    }));
    callee.callsite = at;
    callee.subprog = subprog;
    callee.callback = true;
    s.top.rounds = s.top.rounds.saturating_add(1);
    s.rounds = s.rounds.saturating_add(1);
    s.callers.reserve(1, GFP_KERNEL)?;
    let caller = core::mem::replace(&mut s.top, callee);
    s.callers.push(caller, GFP_KERNEL)?;
    Ok(())
}

impl crate::verifier::precision::Nodes {
    /// `cur` becomes any number when it is another one than `old`, and nothing relied on either, or
    /// who asks is not `patient` any more.
    fn widen(&self, old: &Val, cur: &mut Val, patient: bool) {
        let (Val::Scalar(o), Val::Scalar(c)) = (old, &*cur) else {
            return;
        };
        let relied = |n: &Num| patient && self.is_marked(n.node);
        if o.v != c.v && !relied(o) && !relied(c) {
            *cur = Val::unknown();
        }
    }
}
