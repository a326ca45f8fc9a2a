// SPDX-License-Identifier: GPL-2.0

//! Memory accesses: alignment, then the rules of what the pointer points into.

mod ctx;
mod helper;
mod map;
mod packet;
mod sock;
mod stack;

pub(crate) use helper::Overwrite;

use super::domain::scalar::Scalar;
use super::domain::tnum::Tnum;
use super::error::refuse;
use super::explore::{Target, Verifier};
use super::state::reg::{Base, Num, Ptr, Val};
use super::transfer::MAX_VAR_OFF;
use crate::ctx::Sock;
use crate::isa::{Reg, Size};
use kernel::prelude::*;

/// An access by an instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    /// Register that holds the address.
    pub(crate) reg: Reg,
    /// Constant that is added to it.
    pub(crate) off: i64,
    /// Bytes.
    pub(crate) size: Size,
    /// It must be aligned whatever the loader said.
    pub(crate) aligned: bool,
}

impl Access {
    /// Bytes.
    fn len(&self) -> i64 {
        i64::from(self.size.bytes())
    }
}

/// What is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    /// A register.
    Reg(Reg, Val),
    /// An immediate.
    Imm(i32),
    /// Some number.
    Unknown,
}

/// Reading or writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dir {
    /// The memory is read.
    Read,
    /// The memory is written.
    Write,
}

impl Verifier<'_> {
    /// Checks a load and returns what it gives.
    pub(crate) fn access_load(&mut self, p: &Val, a: &Access, sx: bool) -> Result<Val> {
        let Val::Ptr(ptr) = p else {
            return self.invalid_access(p, a.reg);
        };
        self.check_alignment(ptr, a)?;
        let any = Val::Scalar(Num::fresh(Scalar::load(a.size, sx)));
        self.reach(ptr, a.reg)?;
        match ptr.base {
            Base::Ctx => self.ctx_load(ptr, a, sx),
            Base::Stack { frame } => self.stack_load(ptr, usize::from(frame), a, sx),
            Base::MapValue {
                map,
                or_null: false,
            } => self.map_value_load(ptr, map, a, sx),
            Base::RingMem {
                size,
                or_null: false,
            }
            | Base::Mem {
                size,
                or_null: false,
            } => {
                self.check_memory(ptr, a.reg, a.off, a.len(), size, false)?;
                Ok(any)
            }
            Base::Sock {
                sock,
                or_null: false,
            } => {
                self.check_sock(ptr, sock, a)?;
                Ok(any)
            }
            Base::MapKey { map } => {
                let size = self.map(map)?.key_size;
                self.check_memory(ptr, a.reg, a.off, a.len(), size, false)?;
                Ok(any)
            }
            Base::Packet(_) | Base::PacketMeta(_) => {
                self.check_packet(ptr, a.reg, a.off, a.len(), false)?;
                Ok(any)
            }
            Base::ConstMap { .. }
            | Base::MapOrNull { .. }
            | Base::MapValue { or_null: true, .. }
            | Base::RingMem { or_null: true, .. }
            | Base::Mem { or_null: true, .. }
            | Base::Sock { or_null: true, .. }
            | Base::Func { .. }
            | Base::PacketEnd => self.invalid_access(p, a.reg),
        }
    }

    /// Checks a store and carries it out.
    pub(crate) fn access_store(&mut self, p: &Val, a: &Access, value: Value) -> Result {
        let Val::Ptr(ptr) = p else {
            return self.invalid_access(p, a.reg).map(|_| ());
        };
        self.check_alignment(ptr, a)?;
        self.reach(ptr, a.reg)?;
        match ptr.base {
            Base::Ctx => {
                self.no_leak(&value, "ctx")?;
                self.ctx_store(ptr, a)
            }
            Base::Stack { frame } => self.stack_store(ptr, usize::from(frame), a, value),
            Base::MapValue {
                map,
                or_null: false,
            } => {
                self.no_leak(&value, "map")?;
                self.check_map_value(ptr, map, a.reg, a.off, a.len(), false, Dir::Write)
            }
            Base::RingMem {
                size,
                or_null: false,
            }
            | Base::Mem {
                size,
                or_null: false,
            } => {
                self.no_leak(&value, "mem")?;
                self.check_memory(ptr, a.reg, a.off, a.len(), size, false)
            }
            Base::MapKey { .. } | Base::Sock { or_null: false, .. } => refuse!(
                self.log,
                EACCES,
                "R{} cannot write into {}",
                a.reg.index(),
                p.name()
            ),
            Base::Packet(_) | Base::PacketMeta(_) => {
                if !self.may_access_packet(Dir::Write) {
                    return refuse!(self.log, EACCES, "cannot write into packet");
                }
                self.no_leak(&value, "packet")?;
                self.learn(|l| l.writes_packet = true);
                self.check_packet(ptr, a.reg, a.off, a.len(), false)
            }
            Base::ConstMap { .. }
            | Base::MapOrNull { .. }
            | Base::MapValue { or_null: true, .. }
            | Base::RingMem { or_null: true, .. }
            | Base::Mem { or_null: true, .. }
            | Base::Sock { or_null: true, .. }
            | Base::Func { .. }
            | Base::PacketEnd => self.invalid_access(p, a.reg).map(|_| ()),
        }
    }

    fn no_leak(&mut self, value: &Value, what: &str) -> Result {
        match value {
            Value::Reg(r, v) => self.no_leak_into(v, *r, what),
            Value::Imm(_) | Value::Unknown => Ok(()),
        }
    }

    fn invalid_access(&mut self, p: &Val, r: Reg) -> Result<Val> {
        refuse!(
            self.log,
            EACCES,
            "R{} invalid mem access '{}'",
            r.index(),
            p.name()
        )
    }

    /// Accesses to the context and to sockets are rewritten, each in its way, so one instruction cannot
    /// access one of them and anything else.
    fn reach(&mut self, ptr: &Ptr, _reg: Reg) -> Result {
        let target = match ptr.base {
            Base::Ctx => Target::Ctx,
            Base::Sock { sock, .. } => Target::Sock(sock),
            Base::Stack { .. }
            | Base::ConstMap { .. }
            | Base::MapOrNull { .. }
            | Base::MapValue { .. }
            | Base::RingMem { .. }
            | Base::Mem { .. }
            | Base::MapKey { .. }
            | Base::Func { .. }
            | Base::Packet(_)
            | Base::PacketMeta(_)
            | Base::PacketEnd => Target::Plain,
        };
        let mut mixed = false;
        // Memory of a caller's may be in its frame.
        let stack = matches!(ptr.base, Base::Stack { .. } | Base::Mem { .. });
        self.learn(|l| {
            l.stack |= stack;
            mixed = l.target.is_some_and(|t| t != target);
            l.target = Some(target);
        });
        if mixed {
            return refuse!(
                self.log,
                EINVAL,
                "same insn cannot be used with different pointers"
            );
        }
        Ok(())
    }

    /// A helper takes the address for that of a word of 32 bits.
    pub(crate) fn check_word_alignment(&mut self, v: &Val, reg: Reg) -> Result {
        let Val::Ptr(ptr) = v else {
            return Err(EFAULT);
        };
        let word = Access {
            reg,
            off: 0,
            size: Size::W,
            aligned: true,
        };
        self.check_alignment(ptr, &word)
    }

    /// Alignment: always on the stack, whose tracking relies on it; in packets, map values and
    /// the context when the loader asked for it.
    fn check_alignment(&mut self, ptr: &Ptr, a: &Access) -> Result {
        let size = u64::from(a.size.bytes());
        let strict = self.options.strict_alignment || a.aligned;
        let (what, strict, ip) = match ptr.base {
            Base::Packet(_) | Base::PacketMeta(_) => ("packet ", strict, 2),
            Base::Stack { .. } => ("stack ", true, 0),
            Base::MapValue { .. } => ("value ", strict, 0),
            Base::MapKey { .. } => ("key ", strict, 0),
            Base::Ctx => ("context ", strict, 0),
            Base::Sock { sock, .. } => match sock {
                Sock::Common => ("sock_common ", strict, 0),
                Sock::Full => ("sock ", strict, 0),
                Sock::Tcp => ("tcp_sock ", strict, 0),
            },
            // Nothing is behind it yet, so it goes the way of a value.
            Base::MapOrNull { .. } => ("value ", strict, 0),
            Base::ConstMap { .. }
            | Base::RingMem { .. }
            | Base::Mem { .. }
            | Base::Func { .. }
            | Base::PacketEnd => ("", strict, 0),
        };
        if !strict || size == 1 {
            return Ok(());
        }
        let t: Tnum = ptr.offset_plus(a.off.wrapping_add(ip)).tnum();
        if t.is_aligned(size) {
            return Ok(());
        }
        let own = ptr.offset().tnum();
        if ip != 0 {
            return refuse!(
                self.log,
                EACCES,
                "misaligned packet access off {}+{}+{} size {}",
                ip,
                own,
                a.off,
                size
            );
        }
        refuse!(
            self.log,
            EACCES,
            "misaligned {}access off {}+{} size {}",
            what,
            own,
            a.off,
            size
        )
    }

    /// `len` bytes at `ptr + off` are within memory of `size` bytes.
    pub(crate) fn check_memory(
        &mut self,
        ptr: &Ptr,
        r: Reg,
        off: i64,
        len: i64,
        size: u32,
        zero_ok: bool,
    ) -> Result {
        self.check_region(ptr, r, off, len, i64::from(size), zero_ok, "memory")
    }

    /// `len` bytes at `ptr + off` are within a region of `size` bytes.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn check_region(
        &mut self,
        ptr: &Ptr,
        r: Reg,
        off: i64,
        len: i64,
        size: i64,
        zero_ok: bool,
        what: &str,
    ) -> Result {
        let whole = ptr.offset();
        let (smin, umax) = (whole.smin(), whole.umax());
        let lowest = smin.checked_add(off);
        if smin < 0 {
            let fine =
                smin != i64::MIN && lowest.is_some_and(|l| i32::try_from(l).is_ok() && l >= 0);
            if !fine {
                return refuse!(
                    self.log,
                    EACCES,
                    "R{} min value is negative, either use unsigned index or do a if (index >=0) \
                     check.",
                    r.index()
                );
            }
        }
        let lowest = lowest.ok_or(EFAULT)?;
        if !within(lowest, len, size, zero_ok) {
            self.outside(ptr, r, lowest, len, size, what);
            return refuse!(
                self.log,
                EACCES,
                "R{} min value is outside of the allowed memory range",
                r.index()
            );
        }
        if umax >= MAX_VAR_OFF as u64 {
            return refuse!(
                self.log,
                EACCES,
                "R{} unbounded memory access, make sure to bounds check any such access",
                r.index()
            );
        }
        let highest = (umax as i64).checked_add(off).ok_or(EFAULT)?;
        if !within(highest, len, size, zero_ok) {
            self.outside(ptr, r, highest, len, size, what);
            return refuse!(
                self.log,
                EACCES,
                "R{} max value is outside of the allowed memory range",
                r.index()
            );
        }
        Ok(())
    }

    fn outside(&mut self, ptr: &Ptr, r: Reg, at: i64, len: i64, size: i64, what: &str) {
        match what {
            "packet" => self.log.line(format_args!(
                "invalid access to packet, off={} size={}, R{}(id={},off={},r={})",
                at,
                len,
                r.index(),
                ptr.id,
                at,
                size
            )),
            "map value" => self.log.line(format_args!(
                "invalid access to map value, value_size={size} off={at} size={len}"
            )),
            _ => self.log.line(format_args!(
                "invalid access to memory, mem_size={size} off={at} size={len}"
            )),
        }
    }

    /// The pointer is as it was given: no offset at all.
    pub(crate) fn check_unmodified(&mut self, p: &Ptr, r: Reg) -> Result {
        self.check_fixed(p, r, false).map(|_| ())
    }

    /// The pointer's offset is constant and not negative, and zero unless `fixed_ok`.
    pub(crate) fn check_fixed(&mut self, p: &Ptr, r: Reg, fixed_ok: bool) -> Result<i64> {
        let name = p.base.name();
        let Some(off) = p.const_offset() else {
            return refuse!(
                self.log,
                EACCES,
                "variable {} access var_off={} disallowed",
                name,
                p.offset().tnum()
            );
        };
        if off < 0 {
            return refuse!(
                self.log,
                EACCES,
                "negative offset {} ptr R{} off={} disallowed",
                name,
                r.index(),
                off
            );
        }
        if off != 0 && !fixed_ok {
            return refuse!(
                self.log,
                EACCES,
                "dereference of modified {} ptr R{} off={} disallowed",
                name,
                r.index(),
                off
            );
        }
        Ok(off)
    }
}

/// `len` bytes at `at` are within `size` bytes.
fn within(at: i64, len: i64, size: i64, zero_ok: bool) -> bool {
    at >= 0
        && (len > 0 || (len == 0 && zero_ok))
        && at.checked_add(len).is_some_and(|end| end <= size)
}
