// SPDX-License-Identifier: GPL-2.0

//! Encodes [`super::Insn`]s back to instruction slots.

use super::opcode as op;
use super::{Imm64, Insn, RawInsn, Reg, Src, SwapKind};
use kernel::prelude::*;

/// What the two slots of an encoded `ld_imm64` hold besides opcode and destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawImm64 {
    /// Source register field.
    pub src: u8,
    /// Immediate of the first slot.
    pub lo: i32,
    /// Immediate of the second slot.
    pub hi: i32,
}

impl RawImm64 {
    /// A plain number.
    pub const fn value(v: u64) -> Self {
        Self {
            src: 0,
            lo: v as i32,
            hi: (v >> 32) as i32,
        }
    }
}

/// The wire form of what an `ld_imm64` at slot `at` loads: what the decoder made it of.
///
/// The verified forms, which have no wire form, become used map index and offset under the
/// sources that take an index.
pub fn wire_imm64(at: u32, imm: Imm64) -> RawImm64 {
    let raw = |src, lo, hi| RawImm64 { src, lo, hi };
    match imm {
        Imm64::Value(v) => RawImm64::value(v),
        Imm64::MapFd(fd) => raw(op::PSEUDO_MAP_FD, fd, 0),
        Imm64::MapValueFd { fd, off } => raw(op::PSEUDO_MAP_VALUE, fd, off as i32),
        Imm64::MapIdx(idx) => raw(op::PSEUDO_MAP_IDX, idx, 0),
        Imm64::MapValueIdx { idx, off } => raw(op::PSEUDO_MAP_IDX_VALUE, idx, off as i32),
        Imm64::Func(target) => raw(op::PSEUDO_FUNC, distance(at, target), 0),
        Imm64::BtfId { id, fd } => raw(op::PSEUDO_BTF_ID, id, fd),
        Imm64::Map(map) => raw(op::PSEUDO_MAP_IDX, map as i32, 0),
        Imm64::MapValue { map, off } => raw(op::PSEUDO_MAP_IDX_VALUE, map as i32, off as i32),
    }
}

/// Appends the slots of `insns` to `out`; `resolve` says what each `ld_imm64` (its slot and what
/// it loads) is written as, and [`wire_imm64`] is the plain answer.
///
/// An unconditional jump whose distance does not fit becomes a `gotol`.
///
/// # Errors
///
/// `ERANGE` when a conditional jump's distance does not fit its 16 bits, `EINVAL` for an
/// [`Insn::Hole`] that does not follow an `ld_imm64` or is missing after one, `ENOMEM`.
pub fn encode(
    insns: &[Insn],
    mut resolve: impl FnMut(u32, Imm64) -> RawImm64,
    out: &mut KVVec<RawInsn>,
) -> Result {
    out.reserve(insns.len(), GFP_KERNEL)?;
    let mut hole = false;
    for (at, insn) in (0..u32::MAX).zip(insns) {
        if hole != matches!(insn, Insn::Hole) {
            return Err(EINVAL);
        }
        hole = false;
        match *insn {
            Insn::LdImm64 { dst, imm } => {
                let raw = resolve(at, imm);
                let lo = RawInsn::new(op::LD_IMM64, dst as u8, raw.src, 0, raw.lo);
                out.push(lo, GFP_KERNEL)?;
                out.push(RawInsn::new(0, 0, 0, 0, raw.hi), GFP_KERNEL)?;
                hole = true;
            }
            Insn::Hole => {}
            _ => out.push(encode_one(at, insn)?, GFP_KERNEL)?,
        }
    }
    if hole {
        return Err(EINVAL);
    }
    Ok(())
}

/// The opcode byte of an instruction (0 for a hole).
pub fn opcode(insn: &Insn) -> u8 {
    let source = |src: &Src| match src {
        Src::Reg(_) => op::X,
        Src::Imm(_) => 0,
    };
    match insn {
        Insn::Alu { op, width, src, .. } => {
            op::alu_class(*width) | op::alu_code(*op).0 | source(src)
        }
        Insn::Neg { width, .. } => op::alu_class(*width) | op::NEG,
        Insn::Mov { width, src, .. } => op::alu_class(*width) | op::MOV | source(src),
        Insn::MovSx { width, .. } => op::alu_class(*width) | op::MOV | op::X,
        Insn::Swap { kind, .. } => match kind {
            SwapKind::ToLe => op::ALU | op::END,
            SwapKind::ToBe => op::ALU | op::END | op::X,
            SwapKind::Bswap => op::ALU64 | op::END,
        },
        Insn::LdImm64 { .. } => op::LD_IMM64,
        Insn::Hole => 0,
        Insn::Load { size, sx, .. } => {
            op::LDX | op::size_code(*size) | if *sx { op::MEMSX } else { op::MEM }
        }
        Insn::Store { size, src, .. } => {
            let class = match src {
                Src::Reg(_) => op::STX,
                Src::Imm(_) => op::ST,
            };
            class | op::size_code(*size) | op::MEM
        }
        Insn::Atomic { size, .. }
        | Insn::LoadAcquire { size, .. }
        | Insn::StoreRelease { size, .. } => op::STX | op::size_code(*size) | op::ATOMIC,
        Insn::LdAbs { size, .. } => op::LD | op::size_code(*size) | op::ABS,
        Insn::LdInd { size, .. } => op::LD | op::size_code(*size) | op::IND,
        Insn::Ja { long, .. } => op::JA | if *long { op::JMP32 } else { op::JMP },
        Insn::MayGoto { .. } => op::JMP | op::JCOND,
        Insn::Jmp {
            cond, width, src, ..
        } => op::jmp_class(*width) | op::cond_code(*cond) | source(src),
        Insn::Call { .. } | Insn::CallSub { .. } | Insn::CallKfunc { .. } => op::JMP | op::CALL,
        Insn::Exit => op::JMP | op::EXIT,
        Insn::Nospec => op::ST | op::NOSPEC,
    }
}

/// Slots between the one after `at` and `target`.
pub fn distance(at: u32, target: u32) -> i32 {
    target.wrapping_sub(at).wrapping_sub(1) as i32
}

/// The offset field of a jump, when it fits.
fn short(at: u32, target: u32) -> Result<i16> {
    i16::try_from(distance(at, target)).map_err(|_| ERANGE)
}

/// Encodes one instruction of one slot.
fn encode_one(at: u32, insn: &Insn) -> Result<RawInsn> {
    let code = opcode(insn);
    let operand = |dst: Reg, src: Src, off| match src {
        Src::Reg(src) => RawInsn::new(code, dst as u8, src as u8, off, 0),
        Src::Imm(imm) => RawInsn::new(code, dst as u8, 0, off, imm),
    };
    Ok(match *insn {
        Insn::Alu { op, dst, src, .. } => operand(dst, src, op::alu_code(op).1),
        Insn::Neg { dst, .. } => RawInsn::new(code, dst as u8, 0, 0, 0),
        Insn::Mov { dst, src, .. } => operand(dst, src, 0),
        Insn::MovSx { from, dst, src, .. } => {
            RawInsn::new(code, dst as u8, src as u8, from.bits() as i16, 0)
        }
        Insn::Swap { size, dst, .. } => RawInsn::new(code, dst as u8, 0, 0, size.bits() as i32),
        Insn::LdImm64 { .. } | Insn::Hole => return Err(EINVAL),
        Insn::Load { dst, src, off, .. } => RawInsn::new(code, dst as u8, src as u8, off, 0),
        Insn::Store { dst, off, src, .. } => operand(dst, src, off),
        Insn::Atomic {
            op,
            fetch,
            dst,
            off,
            src,
            ..
        } => {
            let fetch = if fetch { op::FETCH } else { 0 };
            let imm = op::atomic_code(op) | fetch;
            RawInsn::new(code, dst as u8, src as u8, off, imm)
        }
        Insn::LoadAcquire { dst, src, off, .. } => {
            RawInsn::new(code, dst as u8, src as u8, off, op::LOAD_ACQ)
        }
        Insn::StoreRelease { dst, off, src, .. } => {
            RawInsn::new(code, dst as u8, src as u8, off, op::STORE_REL)
        }
        Insn::LdAbs { imm, .. } => RawInsn::new(code, 0, 0, 0, imm),
        Insn::LdInd { src, imm, .. } => RawInsn::new(code, 0, src as u8, 0, imm),
        Insn::Ja { target, long } => match short(at, target) {
            Ok(off) if !long => RawInsn::new(code, 0, 0, off, 0),
            _ => RawInsn::new(op::JMP32 | op::JA, 0, 0, 0, distance(at, target)),
        },
        Insn::MayGoto { target } => RawInsn::new(code, 0, 0, short(at, target)?, 0),
        Insn::Jmp {
            dst, src, target, ..
        } => operand(dst, src, short(at, target)?),
        Insn::Call { helper } => RawInsn::new(code, 0, 0, 0, helper),
        Insn::CallSub { target } => RawInsn::new(code, 0, op::PSEUDO_CALL, 0, distance(at, target)),
        Insn::CallKfunc { id, off } => RawInsn::new(code, 0, op::PSEUDO_KFUNC, off, id),
        Insn::Exit | Insn::Nospec => RawInsn::new(code, 0, 0, 0, 0),
    })
}
