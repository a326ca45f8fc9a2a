// SPDX-License-Identifier: GPL-2.0

//! A field of a view: its row, its access rule, what accesses to it become.

use super::sock::tcp_member;
use super::{Access, CtxLoad, CtxStore, KernelLayout, Lowering, Value};
use crate::abi::{ProgType, ProgTypes};
use crate::helper::{Cap, Caps};
use crate::isa::{AluOp, Cond, Insn, Reg, Size, Src, Width};
use kernel::prelude::*;

/// Reads one offset of the layout.
pub(super) type At = fn(&KernelLayout) -> i16;

/// Which accesses inside a field's bytes are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Loads of up to the given size anywhere aligned; stores of exactly that size.
    Narrow(Size),
    /// Every aligned access that ends inside the field.
    Any,
    /// Exactly that size.
    Whole(Size),
    /// Exactly that size, and never sign-extending.
    Exact(Size),
    /// Loads of up to four bytes that begin where the field does.
    Start,
    /// Four bytes, or what lies in the first two of them.
    Port,
}

/// Where the running kernel keeps a field.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// A member of that size.
    Member(At, Size),
    /// Bytes that are shown as they are.
    Bytes(At),
    /// The low bits of a byte.
    PktType,
    /// Whether there is a vlan tag.
    VlanPresent,
    /// The device's index, 0 without a device.
    IfIndex,
    /// The NAPI id, 0 when what is there is none.
    NapiId,
    /// A queue number; storing one that is too large does nothing.
    QueueMapping,
    /// A member of that size behind the pointers at the offsets before.
    Behind(&'static [At], At, Size),
    /// Like `Behind`, at the field's own offset in the structure.
    BehindSame(At),
    /// A member of that size of the packet's shared info.
    Shared(At, Size),
    /// The packet's time.
    Tstamp,
    /// The low bits of a byte: what kind of time that is.
    TstampType,
    /// Bytes of an IPv6 address, 0 where there is none in the structure.
    Address6(At),
    /// A number of a queue that is all ones when there is none; nor is there one where nothing says so.
    RxQueue(At),
    /// A field of `struct tcp_sock`, by its number.
    Tcp(usize),
}

/// One row of a view's table.
#[derive(Clone, Copy)]
pub(super) struct Field {
    /// First byte in the view.
    pub(super) start: u32,
    /// One past the last byte.
    pub(super) end: u32,
    /// What a load gives.
    pub(super) value: Value,
    /// Allowed accesses.
    pub(super) rule: Rule,
    /// Program types that may load it.
    pub(super) load: ProgTypes,
    /// Program types that may store to it.
    pub(super) store: ProgTypes,
    /// What a loader must be allowed to whose `CGROUP_SKB` program loads it.
    pub(super) cgroup_load: Cap,
    /// What a loader must be allowed to whose `CGROUP_SKB` program stores to it.
    pub(super) cgroup_store: Cap,
    /// Where it is.
    pub(super) place: Place,
}

/// The field that byte `off` belongs to. Rows are in ascending order.
pub(super) fn find(fields: &'static [Field], off: u32) -> Option<&'static Field> {
    let index = fields.partition_point(|field| field.end <= off);
    fields.get(index).filter(|field| field.start <= off)
}

/// As `find`, for an access that was checked.
pub(super) fn at(fields: &'static [Field], off: i16) -> Result<&'static Field> {
    let off = u32::try_from(off).map_err(|_| EINVAL)?;
    find(fields, off).ok_or(EINVAL)
}

/// `NO_QUEUE_MAPPING`: queue numbers are smaller.
const NO_QUEUE_MAPPING: i32 = 0xffff;

impl Field {
    /// Whether the aligned access is allowed, and what a load gives.
    pub(super) fn check(
        &self,
        prog: ProgType,
        caps: Caps,
        off: u32,
        size: Size,
        access: Access,
    ) -> Option<Value> {
        let (types, cgroup) = match access {
            Access::Load { .. } => (self.load, self.cgroup_load),
            Access::Store => (self.store, self.cgroup_store),
        };
        let end = off.checked_add(size.bytes())?;
        let fits = match (self.rule, access) {
            (Rule::Narrow(whole), Access::Load { .. }) => size <= whole,
            (Rule::Narrow(whole), Access::Store) => size == whole,
            (Rule::Any, _) => true,
            (Rule::Whole(whole), _) => size == whole,
            (Rule::Exact(whole), Access::Load { sx: false } | Access::Store) => size == whole,
            (Rule::Exact(_), Access::Load { sx: true }) => false,
            (Rule::Start, Access::Load { .. }) => off == self.start && size <= Size::W,
            (Rule::Port, Access::Load { .. }) => {
                let within = end.saturating_sub(self.start);
                (off == self.start && size == Size::W) || within <= 2
            }
            (Rule::Start | Rule::Port, Access::Store) => false,
        };
        let capable = prog != ProgType::CgroupSkb || caps.has(cgroup);
        (fits && end <= self.end && types.contains(prog) && capable).then_some(self.value)
    }

    /// Lowered accesses need a second register.
    pub(super) fn needs_scratch(&self) -> bool {
        matches!(self.place, Place::Shared(..) | Place::Tstamp)
    }

    /// The kind of the packet's time.
    pub(super) fn is_tstamp_type(&self) -> bool {
        matches!(self.place, Place::TstampType)
    }

    /// Appends what a checked load becomes.
    pub(super) fn lower_load(
        &self,
        lowering: &Lowering<'_>,
        load: &CtxLoad,
        out: &mut KVVec<Insn>,
    ) -> Result {
        let layout = lowering.layout;
        let CtxLoad { dst, src, .. } = *load;
        let mut emit = |insn| out.push(insn, GFP_KERNEL);
        // A load narrower than a member reads only the bytes it asks for. One that is as wide as
        // the member, but not as the view's field, reads the member wherever in the field it is:
        // the in-tree verifier's conversion does so.
        let within = self.within(load.off)?;
        let part = |member: Size| match self.rule {
            Rule::Narrow(_) | Rule::Start | Rule::Port if load.size < member => (load.size, within),
            _ => (member, 0),
        };
        let read = |size, src, off| Insn::Load {
            size,
            sx: false,
            dst,
            src,
            off,
        };
        let alu = |op, width, imm| Insn::Alu {
            op,
            width,
            dst,
            src: Src::Imm(imm),
        };
        let constant = |imm| Insn::Mov {
            width: Width::W32,
            dst,
            src: Src::Imm(imm),
        };
        // What is narrower than the member and behind it is where the view is wider, and zero.
        let narrow = matches!(self.rule, Rule::Narrow(_));
        let behind =
            |member: Size| load.size < member && i64::from(within) >= member.bytes().into();
        if narrow && self.member().is_some_and(behind) {
            emit(constant(0))?;
            return Ok(());
        }
        // What the last member that is read holds besides the wanted part.
        let mut rest = None;
        match self.place {
            Place::Member(at, member) => {
                let (size, skip) = part(member);
                emit(read(size, src, add(at(layout), skip)?))?;
            }
            Place::Bytes(at) => emit(read(load.size, src, add(at(layout), within)?))?,
            Place::PktType => {
                emit(read(Size::B, src, layout.skb_pkt_type))?;
                let mask = i32::from(layout.skb_pkt_type_mask);
                emit(alu(AluOp::And, Width::W32, mask))?;
            }
            Place::VlanPresent => {
                // Of a number in 1..2^32 the negative has its top bit set, of 0 it has not.
                emit(read(Size::W, src, layout.skb_vlan_all))?;
                let width = Width::W64;
                emit(Insn::Neg { width, dst })?;
                emit(alu(AluOp::Rsh, width, 63))?;
                rest = Some(Size::W);
            }
            Place::IfIndex => {
                emit(read(Size::Dw, src, layout.skb_dev))?;
                // The slot of this instruction is known to be the last one.
                let target = jump_over(out, 1)?;
                out.push(skip_if(Cond::Eq, dst, 0, target), GFP_KERNEL)?;
                out.push(read(Size::W, dst, layout.dev_ifindex), GFP_KERNEL)?;
                rest = Some(Size::W);
            }
            Place::NapiId => {
                emit(read(Size::W, src, layout.skb_napi_id))?;
                let target = jump_over(out, 1)?;
                let min = layout.min_napi_id;
                out.push(skip_if(Cond::Ge, dst, min, target), GFP_KERNEL)?;
                let zero = Insn::Mov {
                    width: Width::W64,
                    dst,
                    src: Src::Imm(0),
                };
                out.push(zero, GFP_KERNEL)?;
                rest = Some(Size::W);
            }
            Place::QueueMapping => {
                let (size, skip) = part(Size::H);
                emit(read(size, src, add(layout.skb_queue_mapping, skip)?))?;
            }
            Place::Behind(pointers, at, member) => {
                let mut base = src;
                for pointer in pointers {
                    emit(read(Size::Dw, base, pointer(layout)))?;
                    base = dst;
                }
                let (size, skip) = part(member);
                emit(read(size, base, add(at(layout), skip)?))?;
            }
            Place::BehindSame(pointer) => {
                emit(read(Size::Dw, src, pointer(layout)))?;
                emit(read(load.size, dst, load.off))?;
            }
            Place::Shared(at, member) => {
                let second = Second::other_than(&[dst, src], lowering.scratch);
                second.save(out)?;
                out.push(second.read(Size::Dw, src, layout.skb_head), GFP_KERNEL)?;
                out.push(read(Size::W, src, layout.skb_end), GFP_KERNEL)?;
                let sum = Insn::Alu {
                    op: AluOp::Add,
                    width: Width::W64,
                    dst,
                    src: Src::Reg(second.reg),
                };
                out.push(sum, GFP_KERNEL)?;
                second.restore(out)?;
                let (size, skip) = part(member);
                out.push(read(size, dst, add(at(layout), skip)?), GFP_KERNEL)?;
            }
            Place::Tstamp if lowering.tstamp_as_is => {
                emit(read(Size::Dw, src, layout.skb_tstamp))?;
            }
            Place::Tstamp => {
                let second = Second::other_than(&[dst, src], lowering.scratch);
                second.save(out)?;
                out.push(
                    second.read(Size::B, src, layout.skb_tstamp_type),
                    GFP_KERNEL,
                )?;
                out.push(read(Size::Dw, src, layout.skb_tstamp), GFP_KERNEL)?;
                // 0 when both masks have a bit set.
                let both = [layout.skb_at_ingress_mask, layout.skb_tstamp_type_mask];
                let end = jump_over(out, 4)?;
                for mask in both {
                    let on = jump_over(out, 1)?;
                    let set = skip_if(Cond::Set, second.reg, i32::from(mask), on);
                    out.push(set, GFP_KERNEL)?;
                    let (target, long) = (end, false);
                    out.push(Insn::Ja { target, long }, GFP_KERNEL)?;
                }
                let zero = Insn::Mov {
                    width: Width::W64,
                    dst,
                    src: Src::Imm(0),
                };
                out.push(zero, GFP_KERNEL)?;
                second.restore(out)?;
            }
            Place::TstampType => {
                emit(read(Size::B, src, layout.skb_tstamp_type))?;
                let mask = i32::from(layout.skb_tstamp_type_mask);
                emit(alu(AluOp::And, Width::W32, mask))?;
            }
            Place::Address6(at) => match at(layout) {
                0 => emit(constant(0))?,
                at => emit(read(load.size, src, add(at, within)?))?,
            },
            Place::RxQueue(at) => {
                // All ones of 32 bits.
                let none = constant(-1);
                match at(layout) {
                    0 => out.push(none, GFP_KERNEL)?,
                    at => {
                        out.push(read(Size::H, src, at), GFP_KERNEL)?;
                        let target = jump_over(out, 1)?;
                        let some = skip_if(Cond::Ne, dst, NO_QUEUE_MAPPING, target);
                        out.push(some, GFP_KERNEL)?;
                        out.push(none, GFP_KERNEL)?;
                    }
                }
                rest = Some(Size::W);
            }
            Place::Tcp(index) => {
                let (at, size) = tcp_member(layout, index)?;
                emit(read(size, src, at))?;
            }
        }
        if rest.is_some_and(|member| load.size < member) {
            let bits = i32::from(within).wrapping_mul(8);
            if bits != 0 {
                out.push(alu(AluOp::Rsh, Width::W32, bits), GFP_KERNEL)?;
            }
            let mask = match load.size {
                Size::B => 0xff,
                Size::H => 0xffff,
                Size::W | Size::Dw => return Err(EINVAL),
            };
            out.push(alu(AluOp::And, Width::W32, mask), GFP_KERNEL)?;
        }
        if load.sx {
            let insn = Insn::MovSx {
                width: Width::W64,
                from: load.size,
                dst,
                src: dst,
            };
            out.push(insn, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Appends what a checked store becomes.
    pub(super) fn lower_store(
        &self,
        lowering: &Lowering<'_>,
        store: &CtxStore,
        out: &mut KVVec<Insn>,
    ) -> Result {
        let layout = lowering.layout;
        let CtxStore { dst, src, .. } = *store;
        let write = |size, off| Insn::Store {
            size,
            dst,
            off,
            src,
        };
        match self.place {
            Place::Member(at, member) => out.push(write(member, at(layout)), GFP_KERNEL)?,
            Place::Bytes(at) => {
                let off = add(at(layout), self.within(store.off)?)?;
                out.push(write(store.size, off), GFP_KERNEL)?;
            }
            Place::QueueMapping => {
                match src {
                    Src::Imm(imm) if imm >= NO_QUEUE_MAPPING => {
                        let target = jump_over(out, 0)?;
                        let long = false;
                        out.push(Insn::Ja { target, long }, GFP_KERNEL)?;
                        return Ok(());
                    }
                    Src::Imm(_) => {}
                    Src::Reg(src) => {
                        let target = jump_over(out, 1)?;
                        let skip = skip_if(Cond::Ge, src, NO_QUEUE_MAPPING, target);
                        out.push(skip, GFP_KERNEL)?;
                    }
                }
                out.push(write(Size::H, layout.skb_queue_mapping), GFP_KERNEL)?;
            }
            Place::Tstamp if lowering.tstamp_as_is => {
                out.push(write(Size::Dw, layout.skb_tstamp), GFP_KERNEL)?;
            }
            Place::Tstamp => {
                // At ingress the new time is one of arrival: its kind is cleared.
                let used = match src {
                    Src::Reg(src) => src,
                    Src::Imm(_) => dst,
                };
                let second = Second::other_than(&[dst, used], lowering.scratch);
                second.save(out)?;
                out.push(
                    second.read(Size::B, dst, layout.skb_tstamp_type),
                    GFP_KERNEL,
                )?;
                let on = jump_over(out, 1)?;
                let ingress = i32::from(layout.skb_at_ingress_mask);
                let set = skip_if(Cond::Set, second.reg, ingress, on);
                out.push(set, GFP_KERNEL)?;
                let (target, long) = (jump_over(out, 2)?, false);
                out.push(Insn::Ja { target, long }, GFP_KERNEL)?;
                let clear = Insn::Alu {
                    op: AluOp::And,
                    width: Width::W32,
                    dst: second.reg,
                    src: Src::Imm(!i32::from(layout.skb_tstamp_type_mask)),
                };
                out.push(clear, GFP_KERNEL)?;
                let kind = Insn::Store {
                    size: Size::B,
                    dst,
                    off: layout.skb_tstamp_type,
                    src: Src::Reg(second.reg),
                };
                out.push(kind, GFP_KERNEL)?;
                out.push(write(Size::Dw, layout.skb_tstamp), GFP_KERNEL)?;
                second.restore(out)?;
            }
            Place::PktType
            | Place::Shared(..)
            | Place::TstampType
            | Place::VlanPresent
            | Place::IfIndex
            | Place::NapiId
            | Place::Behind(..)
            | Place::BehindSame(_)
            | Place::Address6(_)
            | Place::RxQueue(_)
            | Place::Tcp(_) => return Err(EINVAL),
        }
        Ok(())
    }

    /// The size of the one member that has it, if it is one and shown as it is.
    fn member(&self) -> Option<Size> {
        match self.place {
            Place::Member(_, size) | Place::Behind(_, _, size) | Place::Shared(_, size) => {
                Some(size)
            }
            Place::QueueMapping => Some(Size::H),
            _ => None,
        }
    }

    /// Bytes between the start of the field and `off`.
    fn within(&self, off: i16) -> Result<i16> {
        let start = i16::try_from(self.start).map_err(|_| EINVAL)?;
        Ok(off.wrapping_sub(start))
    }
}

/// A register that a lowered access borrows: saved on the stack before, restored after.
struct Second {
    reg: Reg,
    scratch: i16,
}

impl Second {
    /// One that the access does not use itself.
    fn other_than(used: &[Reg], scratch: i16) -> Self {
        let free = [Reg::R0, Reg::R1, Reg::R2]
            .into_iter()
            .find(|reg| !used.contains(reg));
        Second {
            // Two registers are used at most.
            reg: free.unwrap_or(Reg::R3),
            scratch,
        }
    }

    fn save(&self, out: &mut KVVec<Insn>) -> Result {
        let insn = Insn::Store {
            size: Size::Dw,
            dst: Reg::R10,
            off: self.scratch,
            src: Src::Reg(self.reg),
        };
        out.push(insn, GFP_KERNEL)?;
        Ok(())
    }

    fn restore(&self, out: &mut KVVec<Insn>) -> Result {
        out.push(self.read(Size::Dw, Reg::R10, self.scratch), GFP_KERNEL)?;
        Ok(())
    }

    fn read(&self, size: Size, src: Reg, off: i16) -> Insn {
        Insn::Load {
            size,
            sx: false,
            dst: self.reg,
            src,
            off,
        }
    }
}

/// Offset plus offset.
fn add(a: i16, b: i16) -> Result<i16> {
    a.checked_add(b).ok_or(EINVAL)
}

/// The slot after the `n` instructions that follow the next one.
fn jump_over(out: &KVVec<Insn>, n: u32) -> Result<u32> {
    let next = u32::try_from(out.len()).map_err(|_| EINVAL)?;
    Ok(next.wrapping_add(1).wrapping_add(n))
}

/// Goes to `target` if `dst cond imm`.
fn skip_if(cond: Cond, dst: Reg, imm: i32, target: u32) -> Insn {
    Insn::Jmp {
        cond,
        width: Width::W64,
        dst,
        src: Src::Imm(imm),
        target,
    }
}

/// A table whose rows are in ascending order, do not overlap, and start aligned; a constant that
/// has another does not compile.
pub(super) const fn table(fields: &'static [Field]) -> &'static [Field] {
    let mut end = 0;
    let mut rest = fields;
    while let [field, tail @ ..] = rest {
        assert!(field.start >= end && field.end > field.start && field.start % 4 == 0);
        end = field.end;
        rest = tail;
    }
    fields
}
