// SPDX-License-Identifier: GPL-2.0

//! Conditional jumps: which sides are possible, and what each of them teaches.

use crate::isa::{AluOp, Cond, Reg, Src, Width};
use crate::verifier::domain::scalar::Scalar;
use crate::verifier::error::refuse;
use crate::verifier::explore::{Flow, Verifier};
use crate::verifier::precision::Nodes;
use crate::verifier::state::reg::{Base, Delta, Link, Num, Ptr, Range, Val};
use crate::verifier::state::State;
use kernel::prelude::*;

use super::pointer::MAX_VAR_OFF;

/// Packet offsets beyond this are never within a packet (`MAX_PACKET_OFF`).
const MAX_PACKET_OFF: u64 = 0xffff;

/// The condition with its operands exchanged.
fn flipped(cond: Cond) -> Cond {
    match cond {
        Cond::Eq | Cond::Ne | Cond::Set => cond,
        Cond::Gt => Cond::Lt,
        Cond::Ge => Cond::Le,
        Cond::Lt => Cond::Gt,
        Cond::Le => Cond::Ge,
        Cond::Sgt => Cond::Slt,
        Cond::Sge => Cond::Sle,
        Cond::Slt => Cond::Sgt,
        Cond::Sle => Cond::Sge,
    }
}

/// A packet pointer to the packet's very start, which ends the metadata.
fn is_packet_start(v: &Val) -> bool {
    matches!(
        v,
        Val::Ptr(Ptr {
            base: Base::Packet(_),
            id: 0,
            fixed: 0,
            var,
        }) if var.is_const() == Some(0)
    )
}

/// The pointer whose distance to its end `a cond b` tells, and the condition seen from it.
fn packet_comparison(cond: Cond, a: &Val, b: &Val) -> Option<(bool, Cond)> {
    let against = |p: &Val, end: &Val| match (p, end) {
        (
            Val::Ptr(Ptr {
                base: Base::Packet(_),
                ..
            }),
            Val::Ptr(Ptr {
                base: Base::PacketEnd,
                ..
            }),
        ) => true,
        (
            Val::Ptr(Ptr {
                base: Base::PacketMeta(_),
                ..
            }),
            _,
        ) => is_packet_start(end),
        _ => false,
    };
    if against(a, b) {
        Some((true, cond))
    } else if against(b, a) {
        Some((false, flipped(cond)))
    } else {
        None
    }
}

impl Verifier<'_> {
    /// `if dst cond src goto target`
    pub(in crate::verifier) fn branch(
        &mut self,
        cond: Cond,
        width: Width,
        dst: Reg,
        src: Src,
        target: u32,
    ) -> Result<Flow> {
        let a = self.read(dst)?;
        let b = self.read_src(src)?;
        let both_packet = matches!(
            (&a, &b),
            (Val::Ptr(p), Val::Ptr(q)) if p.base.is_packet_any() && q.base.is_packet_any()
        );
        if let Src::Reg(r) = src {
            if !both_packet && self.leaks(&b) {
                return refuse!(
                    self.log,
                    EACCES,
                    "R{} pointer comparison prohibited",
                    r.index()
                );
            }
        }
        let outcome = match (&a, &b) {
            (Val::Scalar(x), Val::Scalar(y)) => {
                return self.branch_numbers(cond, width, dst, src, target, x, y);
            }
            _ if width == Width::W32 => None,
            (Val::Ptr(p), Val::Ptr(q)) if both_packet => packet_outcome(cond, p, q),
            (Val::Ptr(p), Val::Scalar(y)) => null_outcome(cond, p, y),
            (Val::Scalar(x), Val::Ptr(q)) => null_outcome(cond, q, x),
            _ => None,
        };
        if let Some(taken) = outcome {
            self.mark(&a)?;
            self.mark(&b)?;
            return Ok(self.follow(taken, target));
        }

        let taught = self.taught(cond, width, dst, src, &a, &b)?;
        if matches!(taught, Taught::Nothing) && self.leaks(&a) {
            return refuse!(
                self.log,
                EACCES,
                "R{} pointer comparison prohibited",
                dst.index()
            );
        }
        self.postpone(target, |_, s| {
            taught.apply(s, true);
            Ok(())
        })?;
        taught.apply(&mut self.cur, false);
        self.log_branch();
        Ok(Flow::Next)
    }

    fn log_branch(&mut self) {
        if self.log.level1() {
            self.print_after();
        }
    }

    /// Goes one way only.
    fn follow(&mut self, taken: bool, target: u32) -> Flow {
        self.log_branch();
        if taken {
            Flow::To(target)
        } else {
            Flow::Next
        }
    }

    /// A comparison of two numbers.
    #[allow(clippy::too_many_arguments)]
    fn branch_numbers(
        &mut self,
        cond: Cond,
        width: Width,
        dst: Reg,
        src: Src,
        target: u32,
        x: &Num,
        y: &Num,
    ) -> Result<Flow> {
        let (yes, no) = if src == Src::Reg(dst) {
            // A register against itself: the operands are one number, not two independent ones.
            let holds = match cond {
                Cond::Eq | Cond::Ge | Cond::Le | Cond::Sge | Cond::Sle => Some(true),
                Cond::Ne | Cond::Gt | Cond::Lt | Cond::Sgt | Cond::Slt => Some(false),
                Cond::Set => None,
            };
            (
                (holds != Some(false)).then_some((x.v, y.v)),
                (holds != Some(true)).then_some((x.v, y.v)),
            )
        } else {
            (
                Scalar::branch(cond, width, &x.v, &y.v, true),
                Scalar::branch(cond, width, &x.v, &y.v, false),
            )
        };
        let (yes, no) = match (yes, no) {
            (Some(yes), Some(no)) => (yes, no),
            (None, None) => {
                // No value is left, so nothing runs here; going on is safe.
                self.nodes.mark(x.node)?;
                self.nodes.mark(y.node)?;
                return Ok(self.follow(false, target));
            }
            (yes, _) => {
                // One side is impossible because of the numbers' values.
                self.nodes.mark(x.node)?;
                self.nodes.mark(y.node)?;
                return Ok(self.follow(yes.is_some(), target));
            }
        };
        let src_reg = match src {
            Src::Reg(r) if r != dst => Some(r),
            Src::Reg(_) | Src::Imm(_) => None,
        };
        let node = self.nodes.join(x.node, y.node)?;
        let side = |s: &mut State, nodes: &mut Nodes, v: (Scalar, Scalar)| -> Result {
            let new_a = Num { v: v.0, node, ..*x };
            let new_b = Num { v: v.1, node, ..*y };
            // When nothing was learnt of a number it is left alone.
            if v.0 != x.v {
                s.top.regs[dst] = Val::Scalar(new_a);
                if x.link.id != 0 {
                    sync_linked(s, nodes, &new_a)?;
                }
            }
            if let Some(r) = src_reg {
                if v.1 != y.v {
                    s.top.regs[r] = Val::Scalar(new_b);
                    if y.link.id != 0 {
                        sync_linked(s, nodes, &new_b)?;
                    }
                }
            }
            Ok(())
        };
        self.postpone(target, |this, s| side(s, &mut this.nodes, yes))?;
        side(&mut self.cur, &mut self.nodes, no)?;
        self.changed.reg(dst);
        if let Some(r) = src_reg {
            self.changed.reg(r);
        }
        self.log_branch();
        Ok(Flow::Next)
    }

    /// What a comparison with a pointer teaches.
    fn taught(
        &mut self,
        cond: Cond,
        width: Width,
        dst: Reg,
        src: Src,
        a: &Val,
        b: &Val,
    ) -> Result<Taught> {
        if width == Width::W32 {
            return Ok(Taught::Nothing);
        }
        if let (Cond::Eq | Cond::Ne, Val::Ptr(p)) = (cond, a) {
            if p.base.or_null() && b.is_zero() {
                // The zero holds on this path only.
                self.mark(b)?;
                return Ok(Taught::Null {
                    id: p.id,
                    when: cond == Cond::Eq,
                });
            }
        }
        let Src::Reg(src) = src else {
            return Ok(Taught::Nothing);
        };
        if let Some((first, cond)) = packet_comparison(cond, a, b) {
            let (r, v) = if first { (dst, a) } else { (src, b) };
            if let (Val::Ptr(p), Cond::Gt | Cond::Ge | Cond::Lt | Cond::Le) = (v, cond) {
                return Ok(Taught::Packet {
                    reg: r,
                    ptr: *p,
                    cond,
                });
            }
            return Ok(Taught::Nothing);
        }
        if let (Cond::Eq | Cond::Ne, Val::Ptr(p), Val::Ptr(q)) = (cond, a, b) {
            let when = cond == Cond::Eq;
            if p.base.or_null() && never_null(q) {
                return Ok(Taught::NotNull { reg: dst, when });
            }
            if q.base.or_null() && never_null(p) {
                return Ok(Taught::NotNull { reg: src, when });
            }
        }
        Ok(Taught::Nothing)
    }
}

/// What a comparison with a pointer teaches.
enum Taught {
    /// Nothing.
    Nothing,
    /// Pointers of identity `id` are NULL if the condition's outcome is `when`, else not.
    Null { id: u32, when: bool },
    /// The register is not NULL if the outcome is `when`.
    NotNull { reg: Reg, when: bool },
    /// `ptr cond end` where `end` is the end of what `ptr` points into.
    Packet { reg: Reg, ptr: Ptr, cond: Cond },
}

impl Taught {
    /// Applies what is known on the side where the condition's outcome is `holds`.
    fn apply(&self, s: &mut State, holds: bool) {
        match self {
            Taught::Nothing => {}
            Taught::Null { id, when } => mark_null(s, *id, holds == *when),
            Taught::NotNull { reg, when } => {
                if holds == *when {
                    if let Val::Ptr(p) = &mut s.top.regs[*reg] {
                        p.base.set_not_null();
                    }
                }
            }
            Taught::Packet { reg, ptr, cond } => {
                // `inside`: ptr <= end, or ptr < end when `strict`.
                let (inside, strict) = match (cond, holds) {
                    (Cond::Gt, false) | (Cond::Le, true) => (true, false),
                    (Cond::Ge, false) | (Cond::Lt, true) => (true, true),
                    (Cond::Gt, true) | (Cond::Le, false) => (false, true),
                    _ => (false, false),
                };
                if inside {
                    mark_range(s, ptr, strict);
                } else if let Val::Ptr(Ptr {
                    base: Base::Packet(range),
                    ..
                }) = &mut s.top.regs[*reg]
                {
                    *range = if strict {
                        Range::BeyondEnd
                    } else {
                        Range::AtEnd
                    };
                }
            }
        }
    }
}

/// Never NULL, whatever its offset within the limits.
fn never_null(p: &Ptr) -> bool {
    let off = p.offset();
    if off.smin() <= -MAX_VAR_OFF || off.smax() >= MAX_VAR_OFF {
        return false;
    }
    match p.base {
        Base::MapValue { or_null, .. }
        | Base::RingMem { or_null, .. }
        | Base::Mem { or_null, .. }
        | Base::Sock { or_null, .. } => !or_null,
        Base::ConstMap { .. } | Base::MapKey { .. } => true,
        Base::Func { .. }
        | Base::MapOrNull { .. }
        | Base::Ctx
        | Base::Stack { .. }
        | Base::Packet(_)
        | Base::PacketMeta(_) => false,
        Base::PacketEnd => false,
    }
}

/// Whether a comparison of a pointer with a number can only go one way.
fn null_outcome(cond: Cond, p: &Ptr, n: &Num) -> Option<bool> {
    if !n.is_zero() || !never_null(p) {
        return None;
    }
    match cond {
        Cond::Eq => Some(false),
        Cond::Ne => Some(true),
        _ => None,
    }
}

/// Whether a comparison with the packet's end can only go one way.
fn packet_outcome(cond: Cond, p: &Ptr, q: &Ptr) -> Option<bool> {
    let (ptr, cond) = match (p.base, q.base) {
        (_, Base::PacketEnd) => (p, cond),
        (Base::PacketEnd, _) => (q, flipped(cond)),
        _ => return None,
    };
    let Base::Packet(range) = ptr.base else {
        return None;
    };
    match (cond, range) {
        (Cond::Gt, Range::BeyondEnd) => Some(true),
        (Cond::Le, Range::BeyondEnd) => Some(false),
        (Cond::Ge, Range::BeyondEnd | Range::AtEnd) => Some(true),
        (Cond::Lt, Range::BeyondEnd | Range::AtEnd) => Some(false),
        _ => None,
    }
}

/// Every copy of the nullable pointer `id` is NULL, or is not.
fn mark_null(s: &mut State, id: u32, null: bool) {
    if null {
        // What is NULL need not be given back.
        s.refs.release(id);
    }
    // The closure never fails.
    let _ = s.for_each(|v| {
        if let Val::Ptr(p) = v {
            if p.base.or_null() && p.id == id {
                if null {
                    *v = Val::constant(0);
                } else {
                    p.base.set_not_null();
                }
            }
        }
        Ok(())
    });
}

/// `ptr` is at most (below, when `strict`) the end: all pointers of its variable part may go there.
fn mark_range(s: &mut State, ptr: &Ptr, strict: bool) {
    let umax = ptr.offset().umax();
    if umax > MAX_PACKET_OFF || (umax == 0 && strict) {
        // The former may have wrapped around; the latter is the one byte behind "start below
        // end", which in-tree does not count.
        return;
    }
    let Ok(fixed) = i32::try_from(ptr.fixed) else {
        return;
    };
    let bytes = fixed.saturating_add(i32::from(strict));
    let meta = matches!(ptr.base, Base::PacketMeta(_));
    // The closure never fails.
    let _ = s.for_each(|v| {
        let Val::Ptr(p) = v else { return Ok(()) };
        if p.id != ptr.id {
            return Ok(());
        }
        let range = match &mut p.base {
            Base::Packet(r) if !meta => r,
            Base::PacketMeta(r) if meta => r,
            _ => return Ok(()),
        };
        *range = match *range {
            Range::Bytes(old) => Range::Bytes(old.max(bytes)),
            Range::Unknown | Range::AtEnd | Range::BeyondEnd => Range::Bytes(bytes),
        };
        Ok(())
    });
}

/// All numbers linked to `known` learn what it has learnt.
///
/// Their nodes then descend from both.
fn sync_linked(s: &mut State, nodes: &mut Nodes, known: &Num) -> Result {
    s.for_each(|v| {
        let Val::Scalar(n) = v else { return Ok(()) };
        if n.link.id != known.link.id || n.node == known.node && n.v == known.v {
            return Ok(());
        }
        let (Some(to), Some(from)) = (distance(&n.link), distance(&known.link)) else {
            return Ok(());
        };
        let narrow = match (n.link.delta, known.link.delta) {
            // A distance in one width means nothing in the other.
            (Delta::Add32(_), Delta::Add64(_)) | (Delta::Add64(_), Delta::Add32(_)) => {
                return Ok(());
            }
            (Delta::Add32(_), _) | (_, Delta::Add32(_)) => true,
            _ => false,
        };
        let mut new = known.v;
        if to != from {
            let by = i64::from(to).wrapping_sub(i64::from(from));
            new = Scalar::alu(
                AluOp::Add,
                Width::W64,
                &known.v,
                &Scalar::constant(by as u64),
            );
            if narrow {
                new = new.zext32();
            }
        }
        n.node = nodes.join(n.node, known.node)?;
        n.v = new;
        Ok(())
    })
}

fn distance(l: &Link) -> Option<i32> {
    match l.delta {
        Delta::None => Some(0),
        Delta::Add32(d) | Delta::Add64(d) => Some(d),
    }
}
