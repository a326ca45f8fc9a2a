// SPDX-License-Identifier: GPL-2.0

//! Calls of helpers and subprograms, and returns.

use super::arg::{always_there, Call, ARGS};
use crate::abi::{MapType, ProgType, MAX_FRAMES};
use crate::ctx::Sock;
use crate::helper::{
    self, Helper, Ret, GET_FUNC_IP, KPROBE_SESSION, SNPRINTF, SPIN_UNLOCK, TAIL_CALL,
};
use crate::isa::Reg;
use crate::verifier::domain::scalar::Scalar;
use crate::verifier::error::refuse;
use crate::verifier::explore::{Flow, Verifier};
use crate::verifier::print::{Changed, Show};
use crate::verifier::state::reg::{Base, Num, Ptr, Val, FOUND_IN};
use kernel::prelude::*;

/// Registers that a call leaves without a value.
const CALLER_SAVED: [Reg; 6] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];
/// `BPF_FUNC_map_lookup_elem`
const MAP_LOOKUP_ELEM: i32 = 1;
/// `BPF_CGROUP_INET_EGRESS`
const CGROUP_INET_EGRESS: u32 = 1;
/// `BPF_TRACE_UPROBE_SESSION`
const UPROBE_SESSION: u32 = 57;
/// Greatest error number.
const MAX_ERRNO: i64 = 4095;

impl Verifier<'_> {
    /// Calls helper number `id`.
    pub(in crate::verifier) fn call_helper(&mut self, id: i32) -> Result<Flow> {
        self.changed.reg(Reg::R0);
        // What it called could wait for who waits for the lock, or take another one.
        if self.cur.lock.is_some() && id != SPIN_UNLOCK {
            return refuse!(
                self.log,
                EINVAL,
                "function calls are not allowed while holding a lock"
            );
        }
        let mut caps = self.options.caps();
        caps.sys_admin = self.env.sys_admin();
        let Some(row) = helper::lookup(id, self.options.prog_type, caps) else {
            return match helper::name(id) {
                Some(name) => refuse!(
                    self.log,
                    EINVAL,
                    "program of this type cannot use helper bpf_{}#{}",
                    name,
                    id
                ),
                None => refuse!(self.log, EINVAL, "invalid func unknown#{}", id),
            };
        };
        let o = self.options;
        if !o.gpl && row.gpl_only_in(o.prog_type, o.attach_type) {
            return refuse!(
                self.log,
                EINVAL,
                "cannot call GPL-restricted function from non-GPL compatible program"
            );
        }
        let mut call = Call::default();
        for i in 0..ARGS.len() {
            self.check_arg(row, i, &mut call)?;
        }
        self.check_map_write(row, &call)?;
        if id == TAIL_CALL && self.map(call.map.ok_or(EFAULT)?)?.ty != MapType::ProgArray {
            self.log
                .put(format_args!("expected prog array map for tail call"));
            return Err(EINVAL);
        }
        self.check_map_helper(row, &call)?;
        if id == TAIL_CALL {
            call.key = self.tail_index(&call)?;
            self.check_leak("tail_call")?;
        }
        if row.id == GET_FUNC_IP && self.options.prog_type != ProgType::Kprobe {
            return refuse!(
                self.log,
                ENOTSUPP,
                "func bpf_{}#{} not supported for program type {}",
                row.name,
                row.id,
                self.options.prog_type as u32
            );
        }
        if id == SNPRINTF {
            self.check_format(&call)?;
        }
        // The engines take a known map's address for granted.
        let map = call.map.filter(|map| map & FOUND_IN == 0);
        let key = call.key;
        self.learn(|l| {
            l.map.add(map);
            l.key.add(key);
        });
        for o in call.over.into_iter().flatten() {
            self.overwrite(o)?;
        }
        if let Some(id) = call.release {
            self.release(id)?;
        }
        if let Some(start) = call.func {
            self.call_back(row, &call, start)?;
        }
        if row.moves_packet {
            self.forget_packet()?;
        }
        self.clobber_caller_saved();
        let result = self.returned(row, &call)?;
        self.set(Reg::R0, result);
        if id == TAIL_CALL && self.depth() > 0 {
            return self.tail_call_taken();
        }
        Ok(Flow::Next)
    }

    /// The index of a tail call, if it is one number on this path and in the map's range.
    fn tail_index(&mut self, call: &Call) -> Result<Option<u32>> {
        let max = self.map(call.map.ok_or(EFAULT)?)?.max_entries;
        let v = *self.reg(Reg::R3);
        let Val::Scalar(n) = &v else { return Ok(None) };
        let index = n.v.is_const().and_then(|c| u32::try_from(c).ok());
        let Some(index) = index.filter(|i| *i < max) else {
            return Ok(None);
        };
        // The engines will rely on it, so a state with another number is not the same.
        self.mark(&v)?;
        Ok(Some(index))
    }

    /// A tail call that goes on in another program ends the subprogram: its caller goes on with
    /// whatever number that program returns, and with a packet that it may have moved. The path
    /// where the call was not made waits. In the main program there is nobody to return to, so only
    /// that path is of interest.
    fn tail_call_taken(&mut self) -> Result<Flow> {
        if self.cur.in_callback() {
            return refuse!(self.log, EINVAL, "cannot tail call within callback");
        }
        let next = self.at.wrapping_add(1);
        self.postpone(next, |_, _| Ok(()))?;
        self.forget_packet()?;
        self.set(Reg::R0, Val::unknown());
        self.exit()
    }

    fn returned(&mut self, row: &Helper, call: &Call) -> Result<Val> {
        Ok(match row.ret {
            Ret::Integer => Val::unknown(),
            Ret::Cpu => {
                let last = u64::from(self.env.cpus().saturating_sub(1));
                Val::Scalar(Num::fresh(Scalar::unsigned_range(0, last)))
            }
            Ret::LengthOrErrno => {
                Val::Scalar(Num::fresh(Scalar::signed_range(-MAX_ERRNO, call.max_size)))
            }
            Ret::Void => Val::NotInit,
            Ret::MapValueOrNull => {
                let map = call.map.ok_or(EFAULT)?;
                let facts = self.map(map)?;
                if facts.ty.is_of_maps() {
                    let mut p = Ptr::new(Base::MapOrNull { outer: map });
                    p.id = self.new_id();
                    return Ok(Val::Ptr(p));
                }
                // An array has a value for each index below its size, on this CPU; which other CPUs
                // there are is not known.
                let certain = row.id == MAP_LOOKUP_ELEM
                    && always_there(&facts)
                    && call.key.is_some_and(|k| k < facts.max_entries);
                let mut p = Ptr::new(Base::MapValue {
                    map,
                    or_null: !certain,
                });
                // A lock is known by the identity of the pointer, so each look-up has one.
                if !certain || facts.lock.is_some() {
                    p.id = self.new_id();
                }
                Val::Ptr(p)
            }
            Ret::RingMemOrNull => {
                let mut p = Ptr::new(Base::RingMem {
                    size: call.alloc,
                    or_null: true,
                });
                p.id = self.new_id();
                self.cur.refs.acquire(p.id, self.at)?;
                Val::Ptr(p)
            }
            Ret::SockOrNull => self.returned_sock(row, call, Sock::Full)?,
            Ret::SockCommonOrNull => self.returned_sock(row, call, Sock::Common)?,
            Ret::TcpSockOrNull => self.returned_sock(row, call, Sock::Tcp)?,
        })
    }

    /// A socket that the helper found, or the one that it was given as one of which more is known.
    ///
    /// The latter is not another reference but the same one: giving back either ends both, so both have one
    /// identity. It may be NULL though the first is not, which is a state of its own: an identity says of all
    /// its pointers that they are NULL or that none is. Of a socket that is no reference the result may just
    /// be NULL, by an identity that is new: it is there as long as the other one is, to the program's end.
    ///
    /// A listener is not held: it outlives the program, and so it does the reference to a socket of its.
    fn returned_sock(&mut self, row: &Helper, call: &Call, sock: Sock) -> Result<Val> {
        let mut p = Ptr::new(Base::Sock {
            sock,
            or_null: true,
        });
        if row.casts && self.cur.refs.holds(call.sock) {
            let next = self.at.wrapping_add(1);
            self.postpone(next, |_, s| {
                s.top.regs[Reg::R0] = Val::constant(0);
                Ok(())
            })?;
            p.base.set_not_null();
            p.id = call.sock;
            return Ok(Val::Ptr(p));
        }
        p.id = self.new_id();
        if row.acquires {
            self.cur.refs.acquire(p.id, self.at)?;
        }
        Ok(Val::Ptr(p))
    }

    /// What identity `id` stands for is given back: every pointer to it points nowhere.
    fn release(&mut self, id: u32) -> Result {
        if !self.cur.refs.release(id) {
            return Err(EFAULT);
        }
        self.forget_pointers(|p| p.id == id)
    }

    /// Nothing that must be given back is held where the program may end.
    ///
    /// In a subprogram that is no matter: the callers go on. But a lock may be held where it returns only,
    /// and not where it may end in the middle.
    pub(super) fn check_leak(&mut self, what: &str) -> Result {
        if self.cur.lock.is_some() {
            return refuse!(
                self.log,
                EINVAL,
                "{} cannot be used inside bpf_spin_lock-ed region",
                what
            );
        }
        if self.depth() > 0 || self.cur.refs.list().is_empty() {
            return Ok(());
        }
        for r in self.cur.refs.list() {
            self.log.line(format_args!(
                "Unreleased reference id={} alloc_insn={}",
                r.id, r.at
            ));
        }
        refuse!(self.log, EINVAL, "{} would lead to reference leak", what)
    }

    /// After a call `R0` to `R5` hold nothing.
    pub(super) fn clobber_caller_saved(&mut self) {
        for r in CALLER_SAVED {
            self.set(r, Val::NotInit);
        }
    }

    /// The packet may lie somewhere else now: pointers into it point nowhere.
    pub(super) fn forget_packet(&mut self) -> Result {
        self.forget_pointers(|p| p.base.is_packet_any())
    }

    /// Pointers of that kind are none any more: numbers for who may see pointers as such.
    fn forget_pointers(&mut self, gone: impl Fn(&Ptr) -> bool) -> Result {
        self.changed = Changed::ALL;
        let leaks = self.options.allow_ptr_leaks;
        let new = if leaks { Val::unknown() } else { Val::NotInit };
        let is_gone = |v: &Val| matches!(v, Val::Ptr(p) if gone(p));
        for depth in 0..=self.depth() {
            let f = self.cur.frame_mut(depth).ok_or(EFAULT)?;
            for v in f.regs.values_mut() {
                if is_gone(v) {
                    *v = new;
                }
            }
            for s in f.stack.slots_mut() {
                if s.is_spill() && is_gone(&s.val) {
                    s.invalidate(leaks);
                }
            }
        }
        Ok(())
    }

    /// Calls the subprogram at `target`: it gets a frame, the arguments, and nothing else.
    pub(in crate::verifier) fn call_sub(&mut self, target: u32) -> Result<Flow> {
        let subprog = self.subs.starting_at(target).ok_or(EFAULT)?;
        if self.globals.get(subprog).is_some_and(|g| g.global) {
            return self.call_global(subprog);
        }
        let depth = self.depth().saturating_add(1);
        if depth >= MAX_FRAMES {
            return refuse!(
                self.log,
                E2BIG,
                "the call stack of {} frames is too deep",
                depth.saturating_add(1)
            );
        }
        let mut callee = self.pool.frame()?;
        for r in ARGS {
            callee.regs[r] = *self.reg(r);
        }
        callee.regs[Reg::R10] = Val::Ptr(Ptr::new(Base::Stack {
            frame: u8::try_from(depth).map_err(|_| EFAULT)?,
        }));
        callee.callsite = self.at;
        callee.subprog = u32::try_from(subprog).map_err(|_| EFAULT)?;
        self.clobber_caller_saved();
        self.cur.callers.reserve(1, GFP_KERNEL)?;
        let caller = core::mem::replace(&mut self.cur.top, callee);
        self.cur.callers.push(caller, GFP_KERNEL)?;
        if self.log.level1() {
            self.log.line(format_args!("caller:"));
            self.print_current(depth.saturating_sub(1), Show::All);
            self.log.line(format_args!("callee:"));
            self.print_current(depth, Show::All);
        }
        Ok(Flow::To(target))
    }

    /// Returns to the caller, or ends the program.
    pub(in crate::verifier) fn exit(&mut self) -> Result<Flow> {
        if self.depth() > 0 {
            return self.return_to_caller();
        }
        self.check_leak("BPF_EXIT instruction in main prog")?;
        let sub = self.cur.top.subprog as usize;
        if sub != 0 && self.proto(sub)?.void {
            return Ok(Flow::End);
        }
        let v = self.read(Reg::R0)?;
        if self.leaks(&v) {
            return refuse!(self.log, EACCES, "R0 leaks addr as return value");
        }
        if sub != 0 {
            // Its callers take it for a number.
            if !matches!(v, Val::Scalar(_)) {
                return refuse!(
                    self.log,
                    EINVAL,
                    "At subprogram exit the register R0 is not a scalar value ({})",
                    v.name()
                );
            }
            return Ok(Flow::End);
        }
        if let Some(most) = self.greatest_result() {
            self.check_result(&v, "At program exit", 0, most)?;
        }
        Ok(Flow::End)
    }

    /// The greatest result that programs of this type may have, if it matters.
    fn greatest_result(&self) -> Option<i64> {
        match (self.options.prog_type, self.options.attach_type) {
            // Bit 1 says that the network is congested, which only who sends can make use of.
            (ProgType::CgroupSkb, CGROUP_INET_EGRESS) => Some(3),
            (ProgType::CgroupSkb, _) => Some(1),
            (ProgType::Kprobe, KPROBE_SESSION | UPROBE_SESSION) => Some(1),
            _ => None,
        }
    }

    /// The program's result is within `min..=max`.
    fn check_result(&mut self, v: &Val, when: &str, min: i64, max: i64) -> Result {
        let Val::Scalar(n) = v else {
            return refuse!(
                self.log,
                EINVAL,
                "{} the register R0 is not a known value ({})",
                when,
                v.name()
            );
        };
        self.mark(v)?;
        let (smin, smax) = (n.v.smin(), n.v.smax());
        if smin >= min && smax <= max {
            return Ok(());
        }
        self.log.put(format_args!("{when} the register R0 has"));
        let mut unknown = true;
        if smin > i64::MIN {
            self.log.put(format_args!(" smin={smin}"));
            unknown = false;
        }
        if smax < i64::MAX {
            self.log.put(format_args!(" smax={smax}"));
            unknown = false;
        }
        if unknown {
            self.log.put(format_args!(" unknown scalar value"));
        }
        refuse!(self.log, EINVAL, " should have been in [{}, {}]", min, max)
    }

    fn return_to_caller(&mut self) -> Result<Flow> {
        let r0 = *self.reg(Reg::R0);
        if let Val::Ptr(Ptr {
            base: Base::Stack { .. },
            ..
        }) = r0
        {
            return refuse!(
                self.log,
                EINVAL,
                "cannot return stack pointer to the caller"
            );
        }
        let callback = self.cur.top.callback;
        let mut to = self.cur.top.callsite;
        if callback {
            // The helper ends when a callback returns 1, and no other number means anything.
            if !matches!(r0, Val::Scalar(_)) {
                return refuse!(self.log, EACCES, "R0 not a scalar value");
            }
            self.check_result(&r0, "At callback return", 0, 1)?;
        } else {
            to = to.wrapping_add(1);
        }
        let depth = self.depth();
        if self.log.level1() {
            self.log.line(format_args!("returning from callee:"));
            self.print_current(depth, Show::All);
        }
        let caller = self.cur.callers.pop().ok_or(EFAULT)?;
        let callee = core::mem::replace(&mut self.cur.top, caller);
        self.pool.put_frame(callee);
        if !callback {
            self.set(Reg::R0, r0);
        }
        if self.log.level1() {
            self.log.line(format_args!("to caller at {to}:"));
            self.print_current(depth.saturating_sub(1), Show::All);
        }
        if callback {
            self.widen(to);
        }
        Ok(Flow::Return(to))
    }
}
