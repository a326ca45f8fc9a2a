// SPDX-License-Identifier: GPL-2.0

//! The stack: spills, fills and raw data, byte by byte.

use super::{Access, Dir, Value};
use crate::abi::{MapType, MAX_STACK};
use crate::isa::{AluOp, Reg, Size, Width};
use crate::verifier::domain::scalar::Scalar;
use crate::verifier::error::refuse;
use crate::verifier::explore::Verifier;
use crate::verifier::precision::Node;
use crate::verifier::state::reg::{Base, Link, Num, Ptr, Val};
use crate::verifier::state::stack::{byte_of, slot_of, Byte, Slot};
use crate::verifier::transfer::MAX_VAR_OFF;
use kernel::prelude::*;

/// The low `size` bytes of `v`, extended to 64 bits.
fn narrow(v: &Scalar, size: Size, sx: bool) -> Scalar {
    if sx {
        return v.mov_sx(Width::W64, size);
    }
    match size {
        Size::Dw => *v,
        Size::W => v.zext32(),
        Size::B | Size::H => {
            let mask = (1u64 << size.bits()) - 1;
            Scalar::alu(AluOp::And, Width::W64, v, &Scalar::constant(mask))
        }
    }
}

/// The number fits in `bytes` bytes.
fn fits(v: &Scalar, bytes: usize) -> bool {
    let bits = u32::try_from(bytes).unwrap_or(0).saturating_mul(8);
    v.umax().checked_shr(bits).unwrap_or(0) == 0
}

impl Verifier<'_> {
    /// The bytes that `len` bytes at `ptr + off` may be are all within the frame.
    ///
    /// Returns the first and one past the last.
    pub(crate) fn stack_bounds(
        &mut self,
        ptr: &Ptr,
        frame: usize,
        r: Reg,
        off: i64,
        len: i64,
        dir: Dir,
    ) -> Result<(i64, i64)> {
        let what = match dir {
            Dir::Read => "read from",
            Dir::Write => "write to",
        };
        let (min, max) = match ptr.const_offset() {
            Some(at) => (at, at),
            None => {
                let o = ptr.offset();
                if o.smax() >= MAX_VAR_OFF || o.smin() <= -MAX_VAR_OFF {
                    return refuse!(
                        self.log,
                        EACCES,
                        "invalid unbounded variable-offset {} stack R{}",
                        what,
                        r.index()
                    );
                }
                (o.smin(), o.smax())
            }
        };
        let min = min.saturating_add(off);
        let end = max.saturating_add(off).saturating_add(len);
        let lowest = if dir == Dir::Write || self.options.allow_ptr_leaks {
            -i64::from(MAX_STACK)
        } else {
            let slots = self.cur.frame(frame).map_or(0, |f| f.stack.slots().len());
            0i64.saturating_sub((slots as i64).saturating_mul(8))
        };
        let errno = if min < lowest || min > -1 {
            Some(EACCES)
        } else if end > 0 {
            Some(EINVAL)
        } else {
            None
        };
        if let Some(errno) = errno {
            if ptr.const_offset().is_some() {
                return refuse!(
                    self.log,
                    errno,
                    "invalid {} stack R{} off={} size={}",
                    what,
                    r.index(),
                    min,
                    len
                );
            }
            return refuse!(
                self.log,
                errno,
                "invalid variable-offset {} stack R{} var_off={} off={} size={}",
                what,
                r.index(),
                ptr.offset().tnum(),
                off,
                len
            );
        }
        let bytes = u32::try_from(min.saturating_neg()).map_err(|_| EFAULT)?;
        self.use_stack(frame, bytes);
        let f = self.cur.frame_mut(frame).ok_or(EFAULT)?;
        f.stack.grow(min)?;
        Ok((min, end))
    }

    /// A byte that a load may read as data.
    fn readable(&self, b: Byte) -> bool {
        match b {
            Byte::Misc | Byte::Zero => true,
            Byte::Invalid => self.options.allow_ptr_leaks,
            Byte::Spill | Byte::Poison => false,
        }
    }

    fn unreadable<T>(&mut self, b: Byte, at: i64, i: i64, len: i64) -> Result<T> {
        if b == Byte::Poison {
            return refuse!(
                self.log,
                EACCES,
                "reading from stack off {}+{} size {}, slot poisoned by dead code elimination",
                at,
                i,
                len
            );
        }
        refuse!(
            self.log,
            EACCES,
            "invalid read from stack off {}+{} size {}",
            at,
            i,
            len
        )
    }

    /// A load.
    pub(super) fn stack_load(
        &mut self,
        ptr: &Ptr,
        frame: usize,
        a: &Access,
        sx: bool,
    ) -> Result<Val> {
        let (min, end) = self.stack_bounds(ptr, frame, a.reg, a.off, a.len(), Dir::Read)?;
        let v = if ptr.const_offset().is_some() {
            self.stack_fill(frame, min, a)?
        } else {
            self.stack_range(ptr, frame, a.reg, (min, end), Dir::Read)?;
            self.raw_data(frame, min, end)
        };
        Ok(match v {
            Val::Scalar(n) if a.size != Size::Dw => {
                let x = narrow(&n.v, a.size, sx);
                Val::Scalar(Num {
                    v: x,
                    link: if x == n.v { n.link } else { Link::NONE },
                    node: n.node,
                })
            }
            other => other,
        })
    }

    /// What data at `min..end` are: zero when all bytes are, else any number.
    fn raw_data(&mut self, frame: usize, min: i64, end: i64) -> Val {
        let zero = self
            .cur
            .frame(frame)
            .is_some_and(|f| (min..end).all(|at| f.stack.byte(at) == Byte::Zero));
        if zero {
            Val::constant(0)
        } else {
            Val::unknown()
        }
    }

    /// A load from a constant offset, before it is narrowed to its size.
    fn stack_fill(&mut self, frame: usize, at: i64, a: &Access) -> Result<Val> {
        let slot = self.cur.frame(frame).ok_or(EFAULT)?.stack.slot(at);
        let len = a.len();
        let size = a.size.bytes() as usize;
        let first = byte_of(at);
        self.changed_slot(frame, at);
        let bytes = slot
            .bytes
            .get(first..first.saturating_add(size))
            .ok_or(EFAULT)?;
        if !slot.is_spill() {
            for (i, b) in (0i64..).zip(bytes) {
                if !self.readable(*b) {
                    return self.unreadable(*b, at, i, len);
                }
            }
            return Ok(self.raw_data(frame, at, at.saturating_add(len)));
        }
        let spill = slot.spill_size();
        if size == 8 && spill == 8 {
            let v = self.with_link(slot.val);
            self.set_slot_val(frame, at, v);
            return Ok(v);
        }
        let Val::Scalar(n) = slot.val else {
            return refuse!(self.log, EACCES, "invalid size of register fill");
        };
        if first == 0 && size <= spill {
            let mut v = Val::Scalar(n);
            if size == 4 && spill == 4 && n.fits_u32() {
                v = self.with_link(v);
                self.set_slot_val(frame, at, v);
            }
            return Ok(match v {
                // A part is not equal to the whole.
                Val::Scalar(n) if !fits(&n.v, size) => Val::Scalar(Num {
                    link: Link::NONE,
                    ..n
                }),
                other => other,
            });
        }
        for (i, b) in (0i64..).zip(bytes) {
            if *b != Byte::Spill && !self.readable(*b) {
                return self.unreadable(*b, at, i, len);
            }
        }
        if bytes.iter().all(|b| *b == Byte::Spill) && n.is_zero() {
            return Ok(Val::Scalar(Num {
                link: Link::NONE,
                ..n
            }));
        }
        Ok(self.raw_data(frame, at, at.saturating_add(len)))
    }

    fn changed_slot(&mut self, frame: usize, at: i64) {
        if frame == self.depth() {
            self.changed.slot(slot_of(at));
        }
    }

    fn set_slot_val(&mut self, frame: usize, at: i64, v: Val) {
        if let Some(s) = self.cur.frame_mut(frame).and_then(|f| f.stack.slot_mut(at)) {
            s.val = v;
        }
    }

    /// A store.
    pub(super) fn stack_store(
        &mut self,
        ptr: &Ptr,
        frame: usize,
        a: &Access,
        value: Value,
    ) -> Result {
        let (min, end) = self.stack_bounds(ptr, frame, a.reg, a.off, a.len(), Dir::Write)?;
        if ptr.const_offset().is_some() {
            self.stack_store_at(frame, min, a.size, value)
        } else {
            self.stack_store_somewhere(frame, min, end, value)
        }
    }

    /// Whether the value is zero, and its node.
    fn zero(value: &Value) -> Option<Node> {
        match value {
            Value::Reg(_, Val::Scalar(n)) if n.is_zero() => Some(n.node),
            Value::Imm(0) => Some(Node::NONE),
            Value::Reg(..) | Value::Imm(_) | Value::Unknown => None,
        }
    }

    /// A store at a constant offset.
    fn stack_store_at(&mut self, frame: usize, at: i64, size: Size, value: Value) -> Result {
        let len = size.bytes() as usize;
        let first = byte_of(at);
        let old = self.cur.frame(frame).ok_or(EFAULT)?.stack.slot(at);
        if let (false, Some(Val::Ptr(_)), true) =
            (self.options.allow_ptr_leaks, old.spilled(), len != 8)
        {
            return refuse!(
                self.log,
                EACCES,
                "attempt to corrupt spilled pointer on stack"
            );
        }
        self.changed_slot(frame, at);
        let spilled = match value {
            Value::Reg(_, Val::Ptr(p)) => {
                if len != 8 {
                    return refuse!(self.log, EACCES, "invalid size of register spill");
                }
                if matches!(p.base, Base::Stack { .. }) && frame != self.depth() {
                    return refuse!(
                        self.log,
                        EINVAL,
                        "cannot spill pointers to stack into stack frame of the caller"
                    );
                }
                self.check_key_stays(&p, frame)?;
                Some(Val::Ptr(p))
            }
            Value::Reg(r, Val::Scalar(n)) if first == 0 => Some(if fits(&n.v, len) {
                self.linked(r, Val::Scalar(n))
            } else {
                Val::Scalar(Num {
                    link: Link::NONE,
                    ..n
                })
            }),
            Value::Imm(k) if first == 0 => Some(Val::constant(i64::from(k) as u64)),
            Value::Reg(..) | Value::Imm(_) | Value::Unknown => None,
        };
        let zero = Self::zero(&value);
        if let (None, Some(node)) = (spilled, zero) {
            // Bytes that are zero are compared as such, whatever the number's precision.
            self.nodes.mark(node)?;
        }
        let slot = self
            .cur
            .frame_mut(frame)
            .and_then(|f| f.stack.slot_mut(at))
            .ok_or(EFAULT)?;
        match spilled {
            Some(v) => {
                for (i, b) in slot.bytes.iter_mut().enumerate() {
                    if i < len {
                        *b = Byte::Spill;
                    } else if *b == Byte::Spill {
                        *b = Byte::Misc;
                    }
                }
                slot.val = v;
            }
            None => {
                slot.scrub();
                let new = if zero.is_some() {
                    Byte::Zero
                } else {
                    Byte::Misc
                };
                slot.bytes
                    .get_mut(first..first.saturating_add(len))
                    .ok_or(EFAULT)?
                    .fill(new);
            }
        }
        Ok(())
    }

    /// A pointer to the key of an array's element, `p`, does not get into frames below those of the
    /// callbacks that may have it.
    ///
    /// That key is no part of the map. It is in the frame of whoever walks over the array
    /// (`fixup::calls`), and is another one or none when the callback has returned. Only what a
    /// callback stores in its callers' frames is left of it then, as what it returns must be a number.
    /// In-tree, where such a key is in the kernel's stack, does not look.
    fn check_key_stays(&mut self, p: &Ptr, frame: usize) -> Result {
        let Base::MapKey { map } = p.base else {
            return Ok(());
        };
        let leaves = (frame.saturating_add(1)..=self.depth())
            .any(|depth| self.cur.frame(depth).is_some_and(|f| f.callback));
        let ty = self.map(map)?.ty;
        if leaves && matches!(ty, MapType::Array | MapType::PercpuArray) {
            return refuse!(
                self.log,
                EINVAL,
                "cannot spill pointers to keys of arrays into stack frame of the caller"
            );
        }
        Ok(())
    }

    /// A store somewhere in `min..end`.
    fn stack_store_somewhere(&mut self, frame: usize, min: i64, end: i64, value: Value) -> Result {
        let zero = Self::zero(&value);
        let mut zero_used = false;
        for at in min..end {
            let slot = self.cur.frame(frame).ok_or(EFAULT)?.stack.slot(at);
            let b = slot.bytes.get(byte_of(at)).copied().ok_or(EFAULT)?;
            if !self.options.allow_ptr_leaks && !matches!(b, Byte::Misc | Byte::Zero) {
                return refuse!(
                    self.log,
                    EINVAL,
                    "spilled ptr in range of var-offset stack write; insn {}, ptr off: {}",
                    self.at,
                    at
                );
            }
            self.changed_slot(frame, at);
            if zero.is_some() && b == Byte::Spill && slot.val.is_zero() {
                zero_used = true;
                if let Val::Scalar(n) = slot.val {
                    self.nodes.mark(n.node)?;
                }
                continue;
            }
            let keep = zero.is_some() && b == Byte::Zero;
            zero_used |= keep;
            let slot = self
                .cur
                .frame_mut(frame)
                .and_then(|f| f.stack.slot_mut(at))
                .ok_or(EFAULT)?;
            slot.scrub();
            if !keep {
                if let Some(x) = slot.bytes.get_mut(byte_of(at)) {
                    *x = Byte::Misc;
                }
            }
        }
        if let (true, Some(node)) = (zero_used, zero) {
            self.nodes.mark(node)?;
        }
        Ok(())
    }

    /// `min..end` is data that may be read, or written by something that may leave it as it is.
    pub(super) fn stack_range(
        &mut self,
        ptr: &Ptr,
        frame: usize,
        r: Reg,
        (min, end): (i64, i64),
        dir: Dir,
    ) -> Result {
        if ptr.const_offset().is_none() && !self.options.allow_ptr_leaks {
            return refuse!(
                self.log,
                EACCES,
                "R{} variable offset stack access prohibited for !root, var_off={}",
                r.index(),
                ptr.offset().tnum()
            );
        }
        for at in min..end {
            let slot: Slot = self.cur.frame(frame).ok_or(EFAULT)?.stack.slot(at);
            let b = slot.bytes.get(byte_of(at)).copied().ok_or(EFAULT)?;
            let fine = match b {
                Byte::Misc | Byte::Zero => true,
                Byte::Invalid => self.options.allow_ptr_leaks,
                Byte::Spill => self.options.allow_ptr_leaks || slot.val.num().is_some(),
                Byte::Poison => dir == Dir::Write,
            };
            if !fine {
                let i = at.saturating_sub(min);
                let len = end.saturating_sub(min);
                if b == Byte::Poison {
                    return refuse!(
                        self.log,
                        EACCES,
                        "reading from stack R{} off {}+{} size {}, slot poisoned by dead code \
                         elimination",
                        r.index(),
                        min,
                        i,
                        len
                    );
                }
                if ptr.const_offset().is_some() {
                    return refuse!(
                        self.log,
                        EACCES,
                        "invalid read from stack R{} off {}+{} size {}",
                        r.index(),
                        min,
                        i,
                        len
                    );
                }
                return refuse!(
                    self.log,
                    EACCES,
                    "invalid read from stack R{} var_off {}+{} size {}",
                    r.index(),
                    ptr.offset().tnum(),
                    i,
                    len
                );
            }
            if dir == Dir::Write && b != Byte::Poison {
                self.changed_slot(frame, at);
                if let Some(s) = self.cur.frame_mut(frame).and_then(|f| f.stack.slot_mut(at)) {
                    if b == Byte::Spill {
                        s.scrub();
                    }
                    if let Some(x) = s.bytes.get_mut(byte_of(at)) {
                        *x = Byte::Misc;
                    }
                }
            }
        }
        Ok(())
    }

    /// A helper overwrites `len` bytes at `at` with data.
    pub(super) fn stack_overwrite(&mut self, frame: usize, at: i64, len: i64) -> Result {
        for i in at..at.saturating_add(len) {
            self.stack_store_at(frame, i, Size::B, Value::Unknown)?;
        }
        Ok(())
    }
}
