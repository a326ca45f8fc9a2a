// SPDX-License-Identifier: GPL-2.0

//! What loaders without CAP_PERFMON may not add to a pointer, though the result is in bounds.
//!
//! In-tree such sums are done under masks, so that a mispredicted number cannot take the pointer out of its
//! bounds, and refused where there is no one mask for them. Here barriers keep numbers from being
//! mispredicted (`fixup::nospec`), and nothing of this is needed for safety; but what is accepted must be
//! no more than in-tree. So this computes the masks, and nobody uses them.

use crate::abi::MAX_STACK;
use crate::isa::{AluOp, Reg};
use crate::verifier::error::refuse;
use crate::verifier::explore::Verifier;
use crate::verifier::state::reg::{Base, Num, Ptr};
use kernel::prelude::*;

/// Where the operands of a sum of a pointer and a number are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operands {
    /// The number is in the instruction.
    Immediate,
    /// The number is in that register.
    PointerFirst(Reg),
    /// The pointer is in that register, and the number in the one that gets the sum.
    NumberFirst(Reg),
}

/// What an addition or subtraction of registers is, which must be the same on all paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// Of two numbers.
    Numbers,
    /// Of a pointer and a number.
    Pointer(Window),
}

/// How far a pointer may be moved, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Bytes.
    limit: u32,
    /// The number may be negative.
    negative: bool,
    /// The number is constant.
    constant: bool,
    /// The pointer is the first operand.
    pointer_first: bool,
    /// The pointer moves towards its region's start.
    left: bool,
}

const ENDING: &str = "pointer arithmetic with it prohibited for !root";

fn name(op: AluOp) -> &'static str {
    if op == AluOp::Add {
        "add"
    } else {
        "sub"
    }
}

impl Verifier<'_> {
    /// Whether such sums are looked at.
    fn masks(&self, op: AluOp) -> bool {
        !self.options.allow_ptr_leaks && matches!(op, AluOp::Add | AluOp::Sub)
    }

    /// How far `ptr` may be moved by `n`; None when there is no mask because none is needed.
    ///
    /// # Errors
    ///
    /// `EACCES` when it may not.
    pub(super) fn mask_window(
        &mut self,
        op: AluOp,
        dst: Reg,
        ptr: &Ptr,
        n: &Num,
        operands: Operands,
    ) -> Result<Option<Window>> {
        let (number, pointer) = match operands {
            _ if !self.masks(op) => return Ok(None),
            Operands::Immediate => return Ok(None),
            Operands::PointerFirst(r) => (r, dst),
            Operands::NumberFirst(r) => (dst, r),
        };
        let constant = n.v.is_const().is_some();
        let negative = n.v.smin() < 0;
        if !constant && negative != (n.v.smax() < 0) {
            return refuse!(
                self.log,
                EACCES,
                "R{} has unknown scalar with mixed signed bounds, {}",
                number.index(),
                ENDING
            );
        }
        let left = negative == (op == AluOp::Add);
        let limit = self.mask_limit(op, dst, pointer, ptr, left)?;
        self.masked |= !constant;
        Ok(Some(Window {
            limit,
            negative,
            constant,
            pointer_first: pointer == dst,
            left,
        }))
    }

    /// How far from its region's start a pointer may be.
    fn mask_limit(
        &mut self,
        op: AluOp,
        dst: Reg,
        pointer: Reg,
        ptr: &Ptr,
        left: bool,
    ) -> Result<u32> {
        let (limit, max) = match ptr.base {
            // The top of the frame is no place in it, but one may start from there.
            Base::Stack { .. } => (
                ptr.const_offset().unwrap_or(0).wrapping_neg() as u32,
                MAX_STACK.saturating_add(u32::from(left)),
            ),
            Base::MapValue { map, .. } => {
                let offset = ptr.offset();
                let limit = if left {
                    offset.smin() as u32
                } else {
                    offset.umax() as u32
                };
                (limit, self.map(map)?.value_size)
            }
            _ => {
                return refuse!(
                    self.log,
                    EACCES,
                    "R{} has pointer with unsupported alu operation, {}",
                    pointer.index(),
                    ENDING
                );
            }
        };
        if limit >= max {
            return refuse!(
                self.log,
                EACCES,
                "R{} tried to {} beyond pointer bounds, {}",
                dst.index(),
                name(op),
                ENDING
            );
        }
        Ok(limit)
    }

    /// The pointer of `window` became `moved`.
    ///
    /// # Errors
    ///
    /// `EACCES` when it moved another way on another path.
    pub(super) fn mask(&mut self, op: AluOp, dst: Reg, moved: &Ptr, window: Window) -> Result {
        let limit = self.mask_limit(op, dst, dst, moved, window.left)?;
        let limit = window.limit.abs_diff(limit);
        self.one_mask(op, dst, Mask::Pointer(Window { limit, ..window }))
    }

    /// Two numbers in registers are added or subtracted.
    ///
    /// # Errors
    ///
    /// `EACCES` when one of them was a pointer on another path.
    pub(super) fn mask_numbers(&mut self, op: AluOp, dst: Reg) -> Result {
        if self.masks(op) {
            self.one_mask(op, dst, Mask::Numbers)?;
        }
        Ok(())
    }

    /// All paths must have the same mask.
    fn one_mask(&mut self, op: AluOp, dst: Reg, mask: Mask) -> Result {
        let mut same = true;
        self.learn(|l| {
            same = l.mask.is_none_or(|m| m == mask);
            l.mask = Some(mask);
        });
        if same {
            return Ok(());
        }
        refuse!(
            self.log,
            EACCES,
            "R{} tried to {} from different maps, paths or scalars, {}",
            dst.index(),
            name(op),
            ENDING
        )
    }
}
