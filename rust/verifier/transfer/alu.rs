// SPDX-License-Identifier: GPL-2.0

//! Arithmetic on numbers, moves, and byte swaps.

use super::mask::Operands;
use crate::isa::{AluOp, Reg, Size, Src, SwapKind, Width};
use crate::verifier::domain::scalar::Scalar;
use crate::verifier::error::refuse;
use crate::verifier::explore::{Flow, Verifier};
use crate::verifier::precision::Node;
use crate::verifier::state::reg::{Delta, Link, Num, Val};
use kernel::prelude::*;

/// The log's sign for an operation.
pub(super) fn sign(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div | AluOp::Sdiv => "/=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Mod | AluOp::Smod => "%=",
        AluOp::Xor => "^=",
        AluOp::Arsh => "s>>=",
    }
}

impl Verifier<'_> {
    /// `dst = dst op src`
    pub(in crate::verifier) fn alu(
        &mut self,
        op: AluOp,
        width: Width,
        dst: Reg,
        src: Src,
    ) -> Result<Flow> {
        let b = self.read_src(src)?;
        let a = self.read(dst)?;
        if let Src::Imm(k) = src {
            self.check_imm(op, width, k)?;
        }
        self.writable(dst)?;
        match (a, b) {
            (Val::Scalar(x), Val::Scalar(y)) => {
                if matches!(op, AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod) {
                    self.learn_divisor(width, &y);
                }
                if let Src::Reg(_) = src {
                    self.mask_numbers(op, dst)?;
                }
                let same = src == Src::Reg(dst);
                let mut v = if same && matches!(op, AluOp::Sub | AluOp::Xor) {
                    Scalar::constant(0)
                } else {
                    Scalar::alu(op, width, &x.v, &y.v)
                };
                if width == Width::W32 {
                    v = v.zext32();
                }
                let mut n = self.derived(v, x.node, y.node)?;
                if !same {
                    n.link = moved_link(op, width, &x, &y.v);
                }
                self.set(dst, Val::Scalar(n));
            }
            (Val::Ptr(p), Val::Scalar(n)) => {
                self.mark(&b)?;
                let order = match src {
                    Src::Reg(r) => Operands::PointerFirst(r),
                    Src::Imm(_) => Operands::Immediate,
                };
                let v = self.ptr_math(op, width, dst, &p, &n, order)?;
                self.set(dst, v);
            }
            (Val::Scalar(n), Val::Ptr(p)) => {
                let Src::Reg(r) = src else {
                    return Err(EFAULT);
                };
                self.mark(&a)?;
                let order = Operands::NumberFirst(r);
                let v = self.ptr_math(op, width, dst, &p, &n, order)?;
                self.set(dst, v);
            }
            (Val::Ptr(_), Val::Ptr(_)) => {
                // The difference of two pointers is a number that says nothing here; to who may
                // see pointers as numbers it is one.
                if op != AluOp::Sub || !self.options.allow_ptr_leaks {
                    return refuse!(
                        self.log,
                        EACCES,
                        "R{} pointer {} pointer prohibited",
                        dst.index(),
                        sign(op)
                    );
                }
                self.set(dst, Val::unknown());
            }
            (Val::NotInit, _) | (_, Val::NotInit) => return Err(EFAULT),
        }
        Ok(Flow::Next)
    }

    /// Constants that an operation cannot have.
    fn check_imm(&mut self, op: AluOp, width: Width, k: i32) -> Result {
        match op {
            AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod if k == 0 => {
                refuse!(self.log, EINVAL, "div by zero")
            }
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
                let bits = match width {
                    Width::W32 => 32,
                    Width::W64 => 64,
                };
                if (0..bits).contains(&k) {
                    Ok(())
                } else {
                    refuse!(self.log, EINVAL, "invalid shift {}", k)
                }
            }
            AluOp::Add
            | AluOp::Sub
            | AluOp::Mul
            | AluOp::Div
            | AluOp::Sdiv
            | AluOp::Or
            | AluOp::And
            | AluOp::Mod
            | AluOp::Smod
            | AluOp::Xor => Ok(()),
        }
    }

    /// Records that the divisor is not zero, if that holds on pruned paths too: it does when the
    /// number was computed from nothing that a checkpoint holds, or a decision relied on it.
    fn learn_divisor(&mut self, width: Width, n: &Num) {
        let v = match width {
            Width::W32 => n.v.zext32(),
            Width::W64 => n.v,
        };
        let certain = n.node == Node::NONE || self.nodes.is_marked(n.node);
        let nonzero = !v.contains(0) && certain;
        self.learn(|l| l.nonzero.add(nonzero.then_some(())));
    }

    /// `dst = -dst`
    pub(in crate::verifier) fn neg(&mut self, width: Width, dst: Reg) -> Result<Flow> {
        self.unary(dst, |v| {
            let v = v.neg(width);
            match width {
                Width::W32 => v.zext32(),
                Width::W64 => v,
            }
        })
    }

    /// Byte swap or truncation.
    pub(in crate::verifier) fn swap(
        &mut self,
        kind: SwapKind,
        size: Size,
        dst: Reg,
    ) -> Result<Flow> {
        self.unary(dst, |v| v.swap(kind, size))
    }

    fn unary(&mut self, dst: Reg, f: impl FnOnce(&Scalar) -> Scalar) -> Result<Flow> {
        let a = self.read(dst)?;
        if self.leaks(&a) {
            return refuse!(
                self.log,
                EACCES,
                "R{} pointer arithmetic prohibited",
                dst.index()
            );
        }
        self.writable(dst)?;
        let v = match a {
            Val::Scalar(n) => Val::Scalar(self.derived(f(&n.v), n.node, Node::NONE)?),
            Val::Ptr(_) | Val::NotInit => Val::unknown(),
        };
        self.set(dst, v);
        Ok(Flow::Next)
    }

    /// `dst = src`
    pub(in crate::verifier) fn mov(&mut self, width: Width, dst: Reg, src: Src) -> Result<Flow> {
        let v = self.read_src(src)?;
        self.writable(dst)?;
        let new = match (width, src) {
            (Width::W64, Src::Imm(_)) => v,
            (Width::W32, Src::Imm(k)) => Val::constant(u64::from(k as u32)),
            (Width::W64, Src::Reg(r)) => self.linked(r, v),
            (Width::W32, Src::Reg(r)) => match v {
                // The copy equals the original only when that has no upper half.
                Val::Scalar(n) if n.fits_u32() => self.linked(r, v),
                Val::Scalar(n) => Val::Scalar(Num {
                    v: n.v.zext32(),
                    link: Link::NONE,
                    node: n.node,
                }),
                Val::Ptr(_) | Val::NotInit => {
                    if self.leaks(&v) {
                        return refuse!(self.log, EACCES, "R{} partial copy of pointer", r.index());
                    }
                    Val::Scalar(Num::fresh(Scalar::unknown().zext32()))
                }
            },
        };
        self.set(dst, new);
        Ok(Flow::Next)
    }

    /// `dst = sign_extend(src)`
    pub(in crate::verifier) fn mov_sx(
        &mut self,
        width: Width,
        from: Size,
        dst: Reg,
        src: Reg,
    ) -> Result<Flow> {
        let v = self.read(src)?;
        self.writable(dst)?;
        let new = match v {
            Val::Scalar(n) => {
                // A number whose sign bit is clear is its own extension.
                let limit = 1u64.checked_shl(from.bits().saturating_sub(1)).unwrap_or(0);
                if n.v.umax() < limit {
                    self.linked(src, v)
                } else {
                    let x = n.v.mov_sx(width, from);
                    Val::Scalar(self.derived(x, n.node, Node::NONE)?)
                }
            }
            Val::Ptr(_) | Val::NotInit => {
                if self.leaks(&v) {
                    let what = match width {
                        Width::W64 => "sign-extension part of pointer",
                        Width::W32 => "partial copy of pointer",
                    };
                    return refuse!(self.log, EACCES, "R{} {}", src.index(), what);
                }
                match width {
                    Width::W64 => Val::unknown(),
                    Width::W32 => Val::Scalar(Num::fresh(Scalar::unknown().zext32())),
                }
            }
        };
        self.set(dst, new);
        Ok(Flow::Next)
    }

    /// The value of register `r` for a copy of it: both are linked from now on.
    pub(in crate::verifier) fn linked(&mut self, r: Reg, v: Val) -> Val {
        let new = self.with_link(v);
        if new != v {
            self.cur.top.regs[r] = new;
        }
        new
    }

    /// The value, linked to nothing else unless it is already; constants need no link.
    pub(in crate::verifier) fn with_link(&mut self, v: Val) -> Val {
        let Val::Scalar(mut n) = v else {
            return v;
        };
        if n.link.delta != Delta::None {
            // Distances do not add up; the family is left.
            n.link = Link::NONE;
        }
        if n.link.id == 0 && n.v.is_const().is_none() {
            n.link.id = self.new_id();
        }
        Val::Scalar(n)
    }
}

/// The link of `x op y`: a family member plus a constant stays in the family, once.
///
/// In 32 bits that needs a member without upper half, else the sum's bits are not the member's.
fn moved_link(op: AluOp, width: Width, x: &Num, y: &Scalar) -> Link {
    if x.link.id == 0 || x.link.delta != Delta::None {
        return Link::NONE;
    }
    let by = match (op, width) {
        (AluOp::Add | AluOp::Sub, Width::W64) => {
            y.is_const().and_then(|c| i32::try_from(c as i64).ok())
        }
        (AluOp::Add | AluOp::Sub, Width::W32) if x.fits_u32() => {
            y.zext32().is_const().map(|c| c as u32 as i32)
        }
        _ => None,
    };
    let by = match op {
        AluOp::Sub => by.and_then(i32::checked_neg),
        _ => by,
    };
    match (by, width) {
        (Some(k), Width::W64) => Link {
            id: x.link.id,
            delta: Delta::Add64(k),
        },
        (Some(k), Width::W32) => Link {
            id: x.link.id,
            delta: Delta::Add32(k),
        },
        (None, _) => Link::NONE,
    }
}
