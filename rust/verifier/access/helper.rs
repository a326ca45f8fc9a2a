// SPDX-License-Identifier: GPL-2.0

//! Memory that is passed to a helper.

use super::Dir;
use crate::isa::Reg;
use crate::verifier::error::refuse;
use crate::verifier::explore::Verifier;
use crate::verifier::state::reg::{Base, Val};
use crate::verifier::state::stack::{byte_of, Byte};
use kernel::prelude::*;

/// Sizes that may be passed are below this (`BPF_MAX_VAR_SIZ`).
const MAX_VAR_SIZE: u64 = 1 << 29;

/// Stack bytes that a helper overwrites for certain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overwrite {
    frame: usize,
    at: i64,
    len: i64,
}

impl Verifier<'_> {
    /// `len` bytes at `v` may be read (or written) by a helper.
    ///
    /// With `raw` the helper writes all of them and reads none, so they need not be initialised;
    /// what it overwrites on the stack is returned and takes effect after all arguments are
    /// checked.
    pub(crate) fn helper_memory(
        &mut self,
        v: &Val,
        r: Reg,
        len: i64,
        dir: Dir,
        zero_ok: bool,
        raw: bool,
    ) -> Result<Option<Overwrite>> {
        let Val::Ptr(p) = v else {
            if zero_ok && len == 0 && v.is_zero() {
                self.mark(v)?;
                return Ok(None);
            }
            return self.not_memory(v, r);
        };
        match p.base {
            Base::Packet(_) | Base::PacketMeta(_) => {
                self.check_packet(p, r, 0, len, zero_ok)?;
            }
            Base::MapValue {
                map,
                or_null: false,
            } => self.check_map_value(p, map, r, 0, len, zero_ok, dir)?,
            Base::RingMem {
                size,
                or_null: false,
            }
            | Base::Mem {
                size,
                or_null: false,
            } => self.check_memory(p, r, 0, len, size, zero_ok)?,
            Base::MapKey { map } => {
                if dir == Dir::Write {
                    return refuse!(
                        self.log,
                        EACCES,
                        "R{} cannot write into {}",
                        r.index(),
                        v.name()
                    );
                }
                let size = self.map(map)?.key_size;
                self.check_memory(p, r, 0, len, size, false)?;
            }
            Base::Stack { frame } => {
                return self.helper_stack(v, r, usize::from(frame), len, dir, zero_ok, raw);
            }
            Base::Ctx
            | Base::ConstMap { .. }
            | Base::MapOrNull { .. }
            | Base::MapValue { or_null: true, .. }
            | Base::RingMem { or_null: true, .. }
            | Base::Mem { or_null: true, .. }
            | Base::Sock { .. }
            | Base::Func { .. }
            | Base::PacketEnd => return self.not_memory(v, r),
        }
        Ok(None)
    }

    fn not_memory<T>(&mut self, v: &Val, r: Reg) -> Result<T> {
        refuse!(
            self.log,
            EACCES,
            "R{} type={} expected=fp",
            r.index(),
            v.name()
        )
    }

    #[allow(clippy::too_many_arguments)]
    fn helper_stack(
        &mut self,
        v: &Val,
        r: Reg,
        frame: usize,
        len: i64,
        dir: Dir,
        zero_ok: bool,
        raw: bool,
    ) -> Result<Option<Overwrite>> {
        let Val::Ptr(p) = v else { return Err(EFAULT) };
        if len == 0 && !zero_ok {
            return refuse!(self.log, EACCES, "invalid zero-sized read");
        }
        let (min, end) = self.stack_bounds(p, frame, r, 0, len, dir)?;
        if raw && p.const_offset().is_some() {
            return Ok(Some(Overwrite {
                frame,
                at: min,
                len,
            }));
        }
        self.stack_range(p, frame, r, (min, end), dir)?;
        Ok(None)
    }

    /// Lets a helper's overwriting take effect.
    pub(crate) fn overwrite(&mut self, o: Overwrite) -> Result {
        self.stack_overwrite(o.frame, o.at, o.len)
    }

    /// `memory` and the size of it in `size`, as the two arguments of a helper.
    ///
    /// Returns the overwriting and the greatest size.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn helper_sized(
        &mut self,
        memory: &Val,
        memory_reg: Reg,
        size: &Val,
        size_reg: Reg,
        dir: Dir,
        zero_ok: bool,
        raw: bool,
    ) -> Result<(Option<Overwrite>, i64)> {
        let Val::Scalar(n) = size else {
            return Err(EFAULT);
        };
        let r = size_reg.index();
        if n.v.smin() < 0 {
            return refuse!(
                self.log,
                EACCES,
                "R{} min value is negative, either use unsigned or 'var &= const'",
                r
            );
        }
        if n.v.umin() == 0 && !zero_ok {
            return refuse!(
                self.log,
                EACCES,
                "R{} invalid zero-sized read: u64=[{},{}]",
                r,
                n.v.umin() as i64,
                n.v.umax() as i64
            );
        }
        if n.v.umax() >= MAX_VAR_SIZE {
            return refuse!(
                self.log,
                EACCES,
                "R{} unbounded memory access, use 'var &= const' or 'if (var < const)'",
                r
            );
        }
        let most = n.v.umax() as i64;
        // Of a size that varies, the helper may leave a part unwritten.
        let raw = raw && n.v.is_const().is_some();
        self.mark(size)?;
        let over = self.helper_memory(memory, memory_reg, most, dir, zero_ok, raw)?;
        Ok((over, most))
    }

    /// The four bytes of an array's key, when they are known for certain.
    pub(crate) fn constant_key(&mut self, v: &Val) -> Result<Option<u32>> {
        let Val::Ptr(p) = v else { return Ok(None) };
        let (Base::Stack { frame }, Some(at)) = (p.base, p.const_offset()) else {
            return Ok(None);
        };
        let first = byte_of(at);
        let slot = self
            .cur
            .frame(usize::from(frame))
            .ok_or(EFAULT)?
            .stack
            .slot(at);
        let Some(bytes) = slot.bytes.get(first..first.saturating_add(4)) else {
            return Ok(None);
        };
        if bytes.iter().all(|b| *b == Byte::Zero) {
            return Ok(Some(0));
        }
        if first == 0 && slot.spill_size() == 4 {
            if let Val::Scalar(n) = slot.val {
                if let Some(c) = n.v.is_const() {
                    self.nodes.mark(n.node)?;
                    return Ok(Some(c as u32));
                }
            }
        }
        Ok(None)
    }
}
