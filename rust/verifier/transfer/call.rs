// SPDX-License-Identifier: GPL-2.0

//! Calls of helpers and subprograms, and returns.

use crate::abi::{MapType, ProgType, MAX_FRAMES};
use crate::helper::{self, Arg, Helper, Ret, TAIL_CALL};
use crate::isa::Reg;
use crate::verifier::access::{Dir, Overwrite};
use crate::verifier::domain::scalar::Scalar;
use crate::verifier::error::refuse;
use crate::verifier::explore::{Flow, Verifier};
use crate::verifier::print::{Changed, Show};
use crate::verifier::state::reg::{Base, Num, Ptr, Val};
use kernel::prelude::*;

/// Registers that a call leaves without a value.
const CALLER_SAVED: [Reg; 6] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];
/// Registers that arguments are passed in.
const ARGS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

/// Greatest error number.
const MAX_ERRNO: i64 = 4095;

/// Pointers that may be passed as memory, as the log lists them.
const MEMORY_TYPES: &str =
    "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_, ctx";

/// What the arguments checked so far said.
#[derive(Default)]
struct Call {
    map: Option<u16>,
    key: Option<u32>,
    over: [Option<Overwrite>; 5],
    max_size: i64,
}

/// Helpers that may move or change the packet, so that what was known of it no longer holds.
fn moves_packet(name: &str) -> bool {
    matches!(
        name,
        "clone_redirect"
            | "l3_csum_replace"
            | "l4_csum_replace"
            | "lwt_push_encap"
            | "lwt_seg6_action"
            | "lwt_seg6_adjust_srh"
            | "lwt_seg6_store_bytes"
            | "msg_pop_data"
            | "msg_pull_data"
            | "msg_push_data"
            | "skb_adjust_room"
            | "skb_change_head"
            | "skb_change_proto"
            | "skb_change_tail"
            | "skb_pull_data"
            | "skb_store_bytes"
            | "skb_vlan_pop"
            | "skb_vlan_push"
            | "store_hdr_opt"
            | "xdp_adjust_head"
            | "xdp_adjust_meta"
            | "xdp_adjust_tail"
    )
}

/// Whether the helper of that name takes maps of that type.
fn map_fits(ty: MapType, helper: &str) -> bool {
    match ty {
        MapType::ProgArray => helper == "tail_call",
        MapType::Queue | MapType::Stack => {
            matches!(helper, "map_push_elem" | "map_pop_elem" | "map_peek_elem")
        }
        MapType::BloomFilter => matches!(helper, "map_push_elem" | "map_peek_elem"),
        MapType::PercpuHash | MapType::PercpuArray | MapType::LruPercpuHash => {
            is_general(helper) || helper == "map_lookup_percpu_elem"
        }
        MapType::Hash | MapType::Array | MapType::LruHash | MapType::LpmTrie => is_general(helper),
    }
}

/// Helpers that take maps of all types which have keys and values.
fn is_general(helper: &str) -> bool {
    matches!(
        helper,
        "map_lookup_elem" | "map_update_elem" | "map_delete_elem" | "for_each_map_elem"
    )
}

/// Arrays have a value for each index below their size.
fn always_there(ty: MapType) -> bool {
    matches!(ty, MapType::Array | MapType::PercpuArray)
}

fn is_packet(v: &Val) -> bool {
    matches!(v, Val::Ptr(p) if p.base.is_packet_any())
}

impl Verifier<'_> {
    /// Calls helper number `id`.
    pub(in crate::verifier) fn call_helper(&mut self, id: i32) -> Result<Flow> {
        self.changed.reg(Reg::R0);
        let Some(row) = helper::lookup(id, self.options.prog_type, self.options.caps()) else {
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
        if row.gpl_only && !self.options.gpl {
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
        if id == TAIL_CALL && self.map(call.map.ok_or(EFAULT)?)?.ty != MapType::ProgArray {
            self.log
                .put(format_args!("expected prog array map for tail call"));
            return Err(EINVAL);
        }
        self.check_map_helper(row, &call)?;
        if id == TAIL_CALL {
            call.key = self.tail_index(&call)?;
        }
        let (map, key) = (call.map, call.key);
        self.learn(|l| {
            l.map.add(map);
            l.key.add(key);
        });
        for o in call.over.into_iter().flatten() {
            self.overwrite(o)?;
        }
        if moves_packet(row.name) {
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
        let next = self.at.wrapping_add(1);
        self.postpone(next, |_, _| Ok(()))?;
        self.forget_packet()?;
        self.set(Reg::R0, Val::unknown());
        self.exit()
    }

    fn returned(&mut self, row: &Helper, call: &Call) -> Result<Val> {
        Ok(match row.ret {
            Ret::Integer => match row.name {
                "probe_read_str" | "probe_read_kernel_str" | "probe_read_user_str" => {
                    Val::Scalar(Num::fresh(Scalar::signed_range(-MAX_ERRNO, call.max_size)))
                }
                _ => Val::unknown(),
            },
            Ret::Void => Val::NotInit,
            Ret::MapValueOrNull => {
                let map = call.map.ok_or(EFAULT)?;
                let facts = self.map(map)?;
                // An array has a value for each index below its size.
                let certain =
                    always_there(facts.ty) && call.key.is_some_and(|k| k < facts.max_entries);
                let mut p = Ptr::new(Base::MapValue {
                    map,
                    or_null: !certain,
                });
                if !certain {
                    p.id = self.new_id();
                }
                Val::Ptr(p)
            }
        })
    }

    /// Checks argument number `i`.
    fn check_arg(&mut self, row: &Helper, i: usize, call: &mut Call) -> Result {
        let Some((&arg, &r)) = row.args.get(i).zip(ARGS.get(i)) else {
            return Err(EFAULT);
        };
        if matches!(arg, Arg::None | Arg::Unchecked) {
            return Ok(());
        }
        let v = self.read(r)?;
        if arg == Arg::Anything {
            if self.leaks(&v) {
                return refuse!(
                    self.log,
                    EACCES,
                    "R{} leaks addr into helper function",
                    r.index()
                );
            }
            return Ok(());
        }
        if let Val::Ptr(p) = &v {
            if p.base.is_packet() && !(row.pkt_access && self.may_access_packet(Dir::Read)) {
                return refuse!(
                    self.log,
                    EACCES,
                    "helper access to the packet is not allowed"
                );
            }
        }
        match arg {
            Arg::None | Arg::Anything | Arg::Unchecked => Ok(()),
            Arg::Ctx => match &v {
                Val::Ptr(p) if p.base == Base::Ctx => self.check_unmodified(p, r),
                _ => self.wrong_type(&v, r, "ctx"),
            },
            Arg::ConstMap => match &v {
                Val::Ptr(p) => match p.base {
                    Base::ConstMap { map } => {
                        call.map = Some(map);
                        self.check_unmodified(p, r)
                    }
                    _ => self.wrong_type(&v, r, "map_ptr"),
                },
                Val::Scalar(_) | Val::NotInit => self.wrong_type(&v, r, "map_ptr"),
            },
            Arg::MapKey => {
                self.check_memory_type(&v, r)?;
                let facts = self.map(call.map.ok_or(EFAULT)?)?;
                let size = i64::from(facts.key_size);
                self.helper_memory(&v, r, size, Dir::Read, false, false)?;
                if always_there(facts.ty) && size == 4 {
                    call.key = self.constant_key(&v)?;
                }
                Ok(())
            }
            Arg::MapValue => {
                self.check_memory_type(&v, r)?;
                let size = i64::from(self.map(call.map.ok_or(EFAULT)?)?.value_size);
                self.helper_memory(&v, r, size, Dir::Read, false, false)?;
                Ok(())
            }
            // The access is checked with the size, which is the next argument.
            Arg::MemRead | Arg::MemWrite => self.check_memory_type(&v, r),
            Arg::MemReadOrNull => {
                if v.is_zero() {
                    return self.mark(&v);
                }
                self.check_memory_type(&v, r)
            }
            Arg::Size | Arg::SizeOrZero => {
                if !matches!(v, Val::Scalar(_)) {
                    return self.wrong_type(&v, r, "scalar");
                }
                let before = i.checked_sub(1).ok_or(EFAULT)?;
                let (Some(&memory_arg), Some(&memory_reg)) =
                    (row.args.get(before), ARGS.get(before))
                else {
                    return Err(EFAULT);
                };
                let memory = *self.reg(memory_reg);
                let write = memory_arg == Arg::MemWrite;
                let dir = if write { Dir::Write } else { Dir::Read };
                let (over, most) = self.helper_sized(
                    &memory,
                    memory_reg,
                    &v,
                    r,
                    dir,
                    arg == Arg::SizeOrZero,
                    write,
                )?;
                if let Some(o) = call.over.get_mut(i) {
                    *o = over;
                }
                call.max_size = most;
                Ok(())
            }
        }
    }

    /// The value is of a type that can be memory.
    fn check_memory_type(&mut self, v: &Val, r: Reg) -> Result {
        match v {
            Val::Ptr(p) => match p.base {
                Base::Stack { .. }
                | Base::MapValue { or_null: false, .. }
                | Base::Packet(_)
                | Base::PacketMeta(_) => Ok(()),
                Base::Ctx => self.check_unmodified(p, r),
                Base::ConstMap { .. } | Base::MapValue { or_null: true, .. } | Base::PacketEnd => {
                    self.wrong_type(v, r, MEMORY_TYPES)
                }
            },
            Val::Scalar(_) | Val::NotInit => self.wrong_type(v, r, MEMORY_TYPES),
        }
    }

    fn wrong_type(&mut self, v: &Val, r: Reg, expected: &str) -> Result {
        refuse!(
            self.log,
            EACCES,
            "R{} type={} expected={}",
            r.index(),
            v.name(),
            expected
        )
    }

    /// Maps of some types are for some helpers only, and some helpers for some maps only.
    fn check_map_helper(&mut self, row: &Helper, call: &Call) -> Result {
        let Some(map) = call.map else { return Ok(()) };
        let ty = self.map(map)?.ty;
        if map_fits(ty, row.name) {
            return Ok(());
        }
        refuse!(
            self.log,
            EINVAL,
            "cannot pass map_type {} into func bpf_{}#{}",
            ty as u32,
            row.name,
            row.id
        )
    }

    /// After a call `R0` to `R5` hold nothing.
    pub(super) fn clobber_caller_saved(&mut self) {
        for r in CALLER_SAVED {
            self.set(r, Val::NotInit);
        }
    }

    /// The packet may lie somewhere else now: pointers into it point nowhere.
    fn forget_packet(&mut self) -> Result {
        self.changed = Changed::ALL;
        let gone = if self.options.allow_ptr_leaks {
            Val::unknown()
        } else {
            Val::NotInit
        };
        for depth in 0..=self.depth() {
            let f = self.cur.frame_mut(depth).ok_or(EFAULT)?;
            for v in f.regs.values_mut() {
                if is_packet(v) {
                    *v = gone;
                }
            }
            for s in f.stack.slots_mut() {
                if s.is_spill() && is_packet(&s.val) {
                    s.scrub();
                }
            }
        }
        Ok(())
    }

    /// Calls the subprogram at `target`: it gets a frame, the arguments, and nothing else.
    pub(in crate::verifier) fn call_sub(&mut self, target: u32) -> Result<Flow> {
        let depth = self.depth().saturating_add(1);
        if depth >= MAX_FRAMES {
            return refuse!(
                self.log,
                E2BIG,
                "the call stack of {} frames is too deep",
                depth.saturating_add(1)
            );
        }
        let subprog = self.subs.starting_at(target).ok_or(EFAULT)?;
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
        let v = self.read(Reg::R0)?;
        if self.leaks(&v) {
            return refuse!(self.log, EACCES, "R0 leaks addr as return value");
        }
        if self.options.prog_type == ProgType::CgroupSkb {
            self.check_result(&v, 0, 1)?;
        }
        Ok(Flow::End)
    }

    /// The program's result is within `min..=max`.
    fn check_result(&mut self, v: &Val, min: i64, max: i64) -> Result {
        let Val::Scalar(n) = v else {
            return refuse!(
                self.log,
                EINVAL,
                "At program exit the register R0 is not a known value ({})",
                v.name()
            );
        };
        self.mark(v)?;
        let (smin, smax) = (n.v.smin(), n.v.smax());
        if smin >= min && smax <= max {
            return Ok(());
        }
        self.log
            .put(format_args!("At program exit the register R0 has"));
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
        let to = self.cur.top.callsite.wrapping_add(1);
        let depth = self.depth();
        if self.log.level1() {
            self.log.line(format_args!("returning from callee:"));
            self.print_current(depth, Show::All);
        }
        let caller = self.cur.callers.pop().ok_or(EFAULT)?;
        let callee = core::mem::replace(&mut self.cur.top, caller);
        self.pool.put_frame(callee);
        self.set(Reg::R0, r0);
        if self.log.level1() {
            self.log.line(format_args!("to caller at {to}:"));
            self.print_current(depth.saturating_sub(1), Show::All);
        }
        Ok(Flow::Return(to))
    }
}
