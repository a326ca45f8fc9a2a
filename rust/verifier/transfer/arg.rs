// SPDX-License-Identifier: GPL-2.0

//! Arguments of helpers: each against the row's kind.

use crate::abi::MapType;
use crate::ctx::Sock;
use crate::format;
use crate::helper::{Arg, Helper};
use crate::isa::Reg;
use crate::verifier::access::{Dir, Overwrite};
use crate::verifier::error::refuse;
use crate::verifier::explore::Verifier;
use crate::verifier::state::reg::{Base, Ptr, Val, FOUND_IN};
use crate::verifier::MapFacts;
use kernel::prelude::*;

/// Registers that arguments are passed in.
pub(super) const ARGS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

/// Pointers that may be passed as memory, as the log lists them.
const MEMORY_TYPES: &str =
    "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_, ctx";

/// Pointers that may be passed as a socket, as the log lists them.
const SOCK_TYPES: &str = "sock_common, sock, tcp_sock, xdp_sock";

/// The same of helpers that know sockets by their type information, too.
const RELEASED_SOCK_TYPES: &str = "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_";

/// The pointer, if it is one to a socket, and not NULL.
fn sock(v: &Val) -> Option<&Ptr> {
    match v {
        Val::Ptr(p) => match p.base {
            Base::Sock {
                sock: Sock::Common | Sock::Full | Sock::Tcp,
                or_null: false,
            } => Some(p),
            _ => None,
        },
        Val::Scalar(_) | Val::NotInit => None,
    }
}

/// What the arguments checked so far said.
#[derive(Default)]
pub(super) struct Call {
    /// The map.
    pub(super) map: Option<u16>,
    /// First four bytes of the key, if they are known.
    pub(super) key: Option<u32>,
    /// What the helper overwrites on the stack.
    pub(super) over: [Option<Overwrite>; 5],
    /// The greatest size of the last memory argument.
    pub(super) max_size: i64,
    /// The size of the memory that it returns.
    pub(super) alloc: u32,
    /// What is given back.
    pub(super) release: Option<u32>,
    /// Identity of the socket.
    pub(super) sock: u32,
    /// First slot of the callback.
    pub(super) func: Option<u32>,
    /// The constant string with its NUL, and what follows in the map's value.
    pub(super) str: KVVec<u8>,
}

/// Arrays have a value for each index below their size, if that is certain.
pub(super) fn always_there(facts: &MapFacts) -> bool {
    matches!(facts.ty, MapType::Array | MapType::PercpuArray) && !facts.any_size
}

impl Verifier<'_> {
    /// Checks argument number `i`.
    pub(super) fn check_arg(&mut self, row: &Helper, i: usize, call: &mut Call) -> Result {
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
                if always_there(&facts) && size == 4 {
                    call.key = self.constant_key(&v)?;
                }
                Ok(())
            }
            Arg::MapValue | Arg::MapValueOut => {
                self.check_memory_type(&v, r)?;
                let facts = self.map(call.map.ok_or(EFAULT)?)?;
                let size = i64::from(facts.value_size);
                let out = arg == Arg::MapValueOut && facts.ty != MapType::BloomFilter;
                let dir = if out { Dir::Write } else { Dir::Read };
                let over = self.helper_memory(&v, r, size, dir, false, out)?;
                if let Some(o) = call.over.get_mut(i) {
                    *o = over;
                }
                Ok(())
            }
            // The access is checked with the size, which is the next argument.
            Arg::MemRead | Arg::MemWrite | Arg::MemUpdate => self.check_memory_type(&v, r),
            Arg::WordUpdate => {
                self.check_memory_type(&v, r)?;
                self.helper_memory(&v, r, 4, Dir::Write, false, false)?;
                self.check_word_alignment(&v, r)
            }
            Arg::MemReadOrNull | Arg::MemWriteOrNull => {
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
                let raw = memory_arg == Arg::MemWrite;
                let dir = match memory_arg {
                    Arg::MemWrite | Arg::MemWriteOrNull | Arg::MemUpdate => Dir::Write,
                    _ => Dir::Read,
                };
                let (over, most) = self.helper_sized(
                    &memory,
                    memory_reg,
                    &v,
                    r,
                    dir,
                    arg == Arg::SizeOrZero,
                    raw,
                )?;
                if let Some(o) = call.over.get_mut(i) {
                    *o = over;
                }
                call.max_size = most;
                Ok(())
            }
            Arg::Scalar => match &v {
                Val::Scalar(_) => Ok(()),
                Val::Ptr(_) | Val::NotInit => self.wrong_type(&v, r, "scalar"),
            },
            Arg::AllocSize => {
                let Val::Scalar(n) = &v else {
                    return self.wrong_type(&v, r, "scalar");
                };
                let Some(size) = n.v.is_const() else {
                    return refuse!(self.log, EACCES, "R{} is not a known constant'", r.index());
                };
                // A size of more than 32 bits gets no memory; less of it is no harm.
                call.alloc = size as u32;
                self.mark(&v)
            }
            Arg::ConstStr => {
                call.str = self.const_str(&v, r)?;
                Ok(())
            }
            Arg::ReleaseRingMem => match &v {
                Val::Ptr(p) if matches!(p.base, Base::RingMem { or_null: false, .. }) => {
                    call.release = Some(self.check_release(row, p, r)?);
                    Ok(())
                }
                _ => self.wrong_type(&v, r, "ringbuf_mem"),
            },
            Arg::Sock => match sock(&v) {
                Some(p) => {
                    call.sock = p.id;
                    self.check_unmodified(p, r)
                }
                None => self.wrong_type(&v, r, SOCK_TYPES),
            },
            Arg::ReleaseSock => match sock(&v) {
                Some(p) => {
                    call.release = Some(self.check_release(row, p, r)?);
                    Ok(())
                }
                None => self.wrong_type(&v, r, RELEASED_SOCK_TYPES),
            },
            Arg::Func => match &v {
                Val::Ptr(
                    p @ Ptr {
                        base: Base::Func { start },
                        ..
                    },
                ) => {
                    call.func = Some(*start);
                    self.check_unmodified(p, r)
                }
                _ => self.wrong_type(&v, r, "func"),
            },
            Arg::SpinLock => self.check_lock(row, &v, r),
            Arg::StackOrNull => {
                if v.is_zero() {
                    return self.mark(&v);
                }
                match &v {
                    Val::Ptr(p) if matches!(p.base, Base::Stack { .. }) => Ok(()),
                    _ => self.wrong_type(&v, r, "fp"),
                }
            }
        }
    }

    /// What is given back: the very pointer that was got, or one that was made of it, and still held.
    ///
    /// A socket that is in a packet, or a listener that somebody else holds, is no reference of the program's.
    fn check_release(&mut self, row: &Helper, p: &Ptr, r: Reg) -> Result<u32> {
        if p.const_offset() != Some(0) {
            return refuse!(
                self.log,
                EINVAL,
                "R{} must have zero offset when passed to release func or trusted arg to kfunc",
                r.index()
            );
        }
        if !self.cur.refs.holds(p.id) {
            return refuse!(
                self.log,
                EINVAL,
                "release helper bpf_{} expects referenced PTR_TO_BTF_ID passed to R{}",
                row.name,
                r.index()
            );
        }
        Ok(p.id)
    }

    /// A string that ends within a map's value, and that nobody can change: with what follows it there.
    fn const_str(&mut self, v: &Val, r: Reg) -> Result<KVVec<u8>> {
        let Some((p, map)) = v.map_value() else {
            self.wrong_type(v, r, "map_value")?;
            return Err(EFAULT);
        };
        let facts = self.map(map)?;
        if !facts.frozen {
            return refuse!(
                self.log,
                EACCES,
                "R{} does not point to a readonly map'",
                r.index()
            );
        }
        let Some(off) = p.const_offset() else {
            return refuse!(
                self.log,
                EACCES,
                "R{} is not a constant address'",
                r.index()
            );
        };
        if !facts.direct_value && facts.ty != MapType::Array {
            return refuse!(
                self.log,
                EACCES,
                "no direct value access support for this map type"
            );
        }
        let rest = i64::from(facts.value_size).saturating_sub(off);
        self.check_map_value(p, map, r, 0, rest, false, Dir::Read)?;
        // An array of more than one value has addresses, but gives none away.
        if !facts.direct_value && facts.ty == MapType::Array {
            return refuse!(self.log, ENOTSUPP, "direct value access on string failed");
        }
        let at = u32::try_from(off).map_err(|_| EFAULT)?;
        let rest = usize::try_from(rest).map_err(|_| EFAULT)?;
        let mut str = KVVec::from_elem(0u8, rest, GFP_KERNEL)?;
        if map & FOUND_IN != 0 || !self.env.read_frozen(u32::from(map), at, &mut str) {
            return refuse!(self.log, EFAULT, "direct value access on string failed");
        }
        if !str.contains(&0) {
            return refuse!(self.log, EINVAL, "string is not zero-terminated");
        }
        Ok(str)
    }

    /// What a format has of conversions is known, and there is an argument for each.
    ///
    /// Nothing of memory relies on that: the helper reads the format again, and no more of its
    /// arguments than there are. So a size that is not constant is taken for what is known of its bits, as
    /// in-tree.
    pub(super) fn check_format(&mut self, call: &Call) -> Result {
        let Val::Scalar(n) = *self.reg(Reg::R5) else {
            return Err(EFAULT);
        };
        let size = n.v.known_ones();
        if size % 8 != 0 {
            return Err(EINVAL);
        }
        let args = usize::try_from(size / 8).map_err(|_| EINVAL)?;
        format::check(&call.str, args)
            .or_else(|_| refuse!(self.log, EINVAL, "Invalid format string"))
    }

    /// The value is of a type that can be memory.
    fn check_memory_type(&mut self, v: &Val, r: Reg) -> Result {
        match v {
            Val::Ptr(p) => match p.base {
                Base::Stack { .. }
                | Base::MapValue { or_null: false, .. }
                | Base::RingMem { or_null: false, .. }
                | Base::Mem { or_null: false, .. }
                | Base::MapKey { .. }
                | Base::Packet(_)
                | Base::PacketMeta(_) => Ok(()),
                Base::Ctx => self.check_unmodified(p, r),
                Base::ConstMap { .. }
                | Base::MapOrNull { .. }
                | Base::MapValue { or_null: true, .. }
                | Base::RingMem { or_null: true, .. }
                | Base::Mem { or_null: true, .. }
                | Base::Sock { .. }
                | Base::Func { .. }
                | Base::PacketEnd => self.wrong_type(v, r, MEMORY_TYPES),
            },
            Val::Scalar(_) | Val::NotInit => self.wrong_type(v, r, MEMORY_TYPES),
        }
    }

    pub(super) fn wrong_type(&mut self, v: &Val, r: Reg, expected: &str) -> Result {
        refuse!(
            self.log,
            EACCES,
            "R{} type={} expected={}",
            r.index(),
            v.name(),
            expected
        )
    }

    /// Nobody may change what is in a map that programs may not write: values that never change are
    /// taken for constants.
    pub(super) fn check_map_write(&mut self, row: &Helper, call: &Call) -> Result {
        let Some(map) = call.map.filter(|_| row.writes_map) else {
            return Ok(());
        };
        let facts = self.map(map)?;
        if facts.rdonly_prog || facts.frozen {
            return refuse!(self.log, EACCES, "write into map forbidden");
        }
        Ok(())
    }

    /// Maps of some types are for some helpers only, and some helpers for some maps only.
    pub(super) fn check_map_helper(&mut self, row: &Helper, call: &Call) -> Result {
        let Some(map) = call.map else { return Ok(()) };
        let ty = self.map(map)?.ty;
        if row.maps.contains(ty as u32) {
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
}
