// SPDX-License-Identifier: GPL-2.0

//! Decodes instruction slots to [`super::Insn`]s.
//!
//! Three passes, in the in-tree verifier's order, so that a program with several faults gets the
//! same answer: call targets, then jump targets subprogram by subprogram, then the fields of each
//! instruction. What the type [`Insn`] can hold is what passed; the checks that need a value
//! (division by a zero constant, shift counts) or a path (reachability) are the verifier's.

use super::opcode as op;
use super::{AluOp, Imm64, Insn, RawInsn, Reg, Size, Src, SwapKind, Width};
use core::fmt;
use kernel::prelude::*;

/// Subprograms of one program at most, the main one included.
pub const MAX_SUBPROGS: usize = 256;

/// What is wrong with an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A call or function address points outside of the program.
    CallTarget,
    /// More than [`MAX_SUBPROGS`].
    TooManySubprogs,
    /// Calls of subprograms and kernel functions need CAP_BPF.
    NotCapable,
    /// A jump leaves its subprogram; the slot it names.
    JumpRange(i32),
    /// Execution would run over the end of a subprogram.
    FallsOff,
    /// There is no such register, or it cannot be used here.
    Register(u8),
    /// The second slot of `ld_imm64` is missing or not empty.
    LdImm64,
    /// `ld_imm64` with an offset.
    LdImm64Reserved,
    /// `ld_imm64` with an unknown source.
    LdImm64Source,
    /// There is no such opcode.
    Opcode(u8),
    /// Fields that must be zero are not; the name of the instruction group.
    Reserved(&'static str),
    /// `addr_space_cast` between other spaces than 0 and 1.
    AddrSpace,
    /// `addr_space_cast`, but there are no arenas.
    NoArena,
    /// Malformed `may_goto`; its immediate.
    MayGoto(i32),
    /// There is no such atomic operation.
    AtomicOp(i32),
    /// Atomic read-modify-write of one or two bytes.
    AtomicSize,
    /// Indirect jump, but there are no jump tables; the subprogram's first slot.
    NoJumpTable(u32),
    /// Memory ended; nothing is wrong with the program.
    NoMemory,
}

/// Why a program could not be decoded.
///
/// Its `Display` is the line that the in-tree verifier logs (nothing for `NoMemory`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Slot of the instruction.
    pub at: u32,
    /// What is wrong.
    pub kind: ErrorKind,
}

impl DecodeError {
    /// The error number that a load answers with.
    pub fn errno(&self) -> Error {
        match self.kind {
            ErrorKind::TooManySubprogs => E2BIG,
            ErrorKind::NotCapable => EPERM,
            ErrorKind::NoMemory => ENOMEM,
            ErrorKind::CallTarget
            | ErrorKind::JumpRange(_)
            | ErrorKind::FallsOff
            | ErrorKind::Register(_)
            | ErrorKind::LdImm64
            | ErrorKind::LdImm64Reserved
            | ErrorKind::LdImm64Source
            | ErrorKind::Opcode(_)
            | ErrorKind::Reserved(_)
            | ErrorKind::AddrSpace
            | ErrorKind::NoArena
            | ErrorKind::MayGoto(_)
            | ErrorKind::AtomicOp(_)
            | ErrorKind::AtomicSize
            | ErrorKind::NoJumpTable(_) => EINVAL,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ErrorKind::CallTarget => f.write_str("call to invalid destination"),
            ErrorKind::TooManySubprogs => f.write_str("too many subprograms"),
            ErrorKind::NotCapable => f.write_str(
                "loading/calling other bpf or kernel functions are allowed for \
                 CAP_BPF and CAP_SYS_ADMIN",
            ),
            ErrorKind::JumpRange(to) => {
                write!(f, "jump out of range from insn {} to {}", self.at, to)
            }
            ErrorKind::FallsOff => f.write_str("last insn is not an exit or jmp"),
            ErrorKind::Register(n) => write!(f, "R{n} is invalid"),
            ErrorKind::LdImm64 => f.write_str("invalid bpf_ld_imm64 insn"),
            ErrorKind::LdImm64Reserved => f.write_str("BPF_LD_IMM64 uses reserved fields"),
            ErrorKind::LdImm64Source => f.write_str("unrecognized bpf_ld_imm64 insn"),
            ErrorKind::Opcode(code) => write!(f, "unknown opcode {code:02x}"),
            ErrorKind::Reserved(what) => write!(f, "{what} uses reserved fields"),
            ErrorKind::AddrSpace => {
                f.write_str("addr_space_cast insn can only convert between address space 1 and 0")
            }
            ErrorKind::NoArena => f.write_str(
                "addr_space_cast insn can only be used in a program that has an associated arena",
            ),
            ErrorKind::MayGoto(imm) => write!(f, "invalid may_goto imm {imm}"),
            ErrorKind::AtomicOp(imm) => {
                write!(f, "BPF_ATOMIC uses invalid atomic opcode {imm:02x}")
            }
            ErrorKind::AtomicSize => f.write_str("invalid atomic operand size"),
            ErrorKind::NoJumpTable(start) => {
                write!(f, "no jump tables found for subprog starting at {start}")
            }
            ErrorKind::NoMemory => Ok(()),
        }
    }
}

/// Decodes a whole program of a loader that has CAP_BPF.
///
/// # Errors
///
/// The first fault in the in-tree verifier's order.
pub fn decode(raw: &[RawInsn]) -> Result<KVVec<Insn>, DecodeError> {
    let mut out = KVVec::new();
    decode_into(raw, true, &mut out)?;
    Ok(out)
}

/// Decodes a whole program into the empty `out`.
///
/// When the fault is in an instruction's fields, `out` holds all instructions before it: the
/// in-tree verifier would have resolved their maps first, and may have failed there.
///
/// # Errors
///
/// The first fault in the in-tree verifier's order.
pub fn decode_into(
    raw: &[RawInsn],
    bpf_capable: bool,
    out: &mut KVVec<Insn>,
) -> Result<(), DecodeError> {
    let starts = subprog_starts(raw, bpf_capable)?;
    check_jumps(raw, &starts)?;
    out.reserve(raw.len(), GFP_KERNEL)
        .map_err(|_| no_memory(0))?;
    let mut at = 0u32;
    while let Some(insn) = raw.get(at as usize) {
        let fail = |kind| match kind {
            ErrorKind::NoJumpTable(_) => DecodeError {
                at,
                kind: ErrorKind::NoJumpTable(containing(&starts, at)),
            },
            kind => DecodeError { at, kind },
        };
        let next = raw.get((at as usize).wrapping_add(1));
        let decoded = decode_one(*insn, next.copied(), at).map_err(fail)?;
        out.push(decoded, GFP_KERNEL).map_err(|_| no_memory(at))?;
        at = at.wrapping_add(1);
        if matches!(decoded, Insn::LdImm64 { .. }) {
            out.push(Insn::Hole, GFP_KERNEL)
                .map_err(|_| no_memory(at))?;
            at = at.wrapping_add(1);
        }
    }
    Ok(())
}

const fn no_memory(at: u32) -> DecodeError {
    DecodeError {
        at,
        kind: ErrorKind::NoMemory,
    }
}

/// The slot `offset` behind the one after `at`, in the in-tree verifier's `int`.
fn relative(at: u32, offset: i32) -> i32 {
    (at as i32).wrapping_add(offset).wrapping_add(1)
}

/// First slots of all subprograms in ascending order, from the calls and function addresses.
fn subprog_starts(raw: &[RawInsn], bpf_capable: bool) -> Result<KVec<u32>, DecodeError> {
    let mut starts = KVec::new();
    let fail = |at, kind| DecodeError { at, kind };
    if raw.is_empty() {
        return Err(fail(0, ErrorKind::CallTarget));
    }
    starts.push(0, GFP_KERNEL).map_err(|_| no_memory(0))?;
    for (at, insn) in (0u32..).zip(raw) {
        let call = insn.code == op::JMP | op::CALL
            && matches!(insn.src(), op::PSEUDO_CALL | op::PSEUDO_KFUNC);
        let func = insn.code == op::LD_IMM64 && insn.src() == op::PSEUDO_FUNC;
        if !call && !func {
            continue;
        }
        if !bpf_capable {
            return Err(fail(at, ErrorKind::NotCapable));
        }
        if call && insn.src() == op::PSEUDO_KFUNC {
            continue;
        }
        let target = u32::try_from(relative(at, insn.imm))
            .ok()
            .filter(|t| (*t as usize) < raw.len())
            .ok_or(fail(at, ErrorKind::CallTarget))?;
        let Err(place) = starts.binary_search(&target) else {
            continue;
        };
        if starts.len() >= MAX_SUBPROGS {
            return Err(fail(at, ErrorKind::TooManySubprogs));
        }
        starts.push(target, GFP_KERNEL).map_err(|_| no_memory(at))?;
        if let Some(tail @ [_, ..]) = starts.get_mut(place..) {
            tail.rotate_right(1);
        }
    }
    Ok(starts)
}

/// First slot of the subprogram that slot `at` is in.
fn containing(starts: &[u32], at: u32) -> u32 {
    let end = starts.partition_point(|start| *start <= at);
    starts.get(end.wrapping_sub(1)).copied().unwrap_or_default()
}

/// Checks that no jump leaves its subprogram, and that no subprogram runs into the next.
fn check_jumps(raw: &[RawInsn], starts: &[u32]) -> Result<(), DecodeError> {
    for (i, &start) in starts.iter().enumerate() {
        let end = starts
            .get(i.wrapping_add(1))
            .map_or(raw.len(), |e| *e as usize);
        let body = raw.get(start as usize..end).unwrap_or(&[]);
        let range = i64::from(start)..end as i64;
        for (at, insn) in (start..).zip(body) {
            let class = insn.code & op::CLASS_MASK;
            let operation = insn.code & op::OP_MASK;
            let jumps = (class == op::JMP || class == op::JMP32)
                && operation != op::CALL
                && operation != op::EXIT
                && insn.code != op::JMP | op::JA | op::X;
            if jumps {
                let long = insn.code == op::JMP32 | op::JA;
                let offset = if long { insn.imm } else { i32::from(insn.off) };
                let to = relative(at, offset);
                if !range.contains(&i64::from(to)) {
                    let kind = ErrorKind::JumpRange(to);
                    return Err(DecodeError { at, kind });
                }
            }
        }
        let at = (end as u32).wrapping_sub(1);
        let ends = body.last().is_some_and(|last| {
            last.code == op::JMP | op::EXIT
                || last.code == op::JMP | op::JA
                || last.code == op::JMP32 | op::JA
                || last.code == op::JMP | op::JA | op::X
        });
        if !ends {
            let kind = ErrorKind::FallsOff;
            return Err(DecodeError { at, kind });
        }
    }
    Ok(())
}

fn reg(n: u8) -> Result<Reg, ErrorKind> {
    Reg::from_index(n).ok_or(ErrorKind::Register(n))
}

/// `Err(Reserved(what))` unless `ok`.
fn reserved(ok: bool, what: &'static str) -> Result<(), ErrorKind> {
    if ok {
        Ok(())
    } else {
        Err(ErrorKind::Reserved(what))
    }
}

/// Decodes the instruction at slot `at`; `next` is the slot after it.
fn decode_one(raw: RawInsn, next: Option<RawInsn>, at: u32) -> Result<Insn, ErrorKind> {
    let dst = reg(raw.dst())?;
    let src = reg(raw.src())?;
    if raw.code == op::LD_IMM64 {
        return ld_imm64(raw, next, at, dst);
    }
    let unknown = ErrorKind::Opcode(raw.code);
    match raw.code & op::CLASS_MASK {
        op::ALU => alu(raw, Width::W32, dst, src),
        op::ALU64 => alu(raw, Width::W64, dst, src),
        op::JMP => jump(raw, Width::W64, at, dst, src),
        op::JMP32 => jump(raw, Width::W32, at, dst, src),
        op::LDX => load(raw, dst, src),
        op::STX => store_reg(raw, dst, src),
        op::ST => {
            let size = op::size(raw.code & op::SIZE_MASK).ok_or(unknown)?;
            if raw.code & op::MODE_MASK != op::MEM {
                return Err(unknown);
            }
            reserved(src == Reg::R0, "BPF_ST")?;
            Ok(Insn::Store {
                size,
                dst,
                off: raw.off,
                src: Src::Imm(raw.imm),
            })
        }
        _ => packet_load(raw, dst, src),
    }
}

/// The absolute slot of a jump by `offset`; the range was checked before.
fn target(at: u32, offset: i32) -> Result<u32, ErrorKind> {
    let to = relative(at, offset);
    u32::try_from(to).map_err(|_| ErrorKind::JumpRange(to))
}

fn ld_imm64(raw: RawInsn, next: Option<RawInsn>, at: u32, dst: Reg) -> Result<Insn, ErrorKind> {
    let next = next
        .filter(|n| n.code == 0 && n.regs == 0 && n.off == 0)
        .ok_or(ErrorKind::LdImm64)?;
    if raw.off != 0 {
        return Err(ErrorKind::LdImm64Reserved);
    }
    let whole_map = next.imm == 0;
    let off = next.imm as u32;
    let imm = match raw.src() {
        0 => Imm64::Value(u64::from(raw.imm as u32) | (u64::from(off) << 32)),
        op::PSEUDO_MAP_FD if whole_map => Imm64::MapFd(raw.imm),
        op::PSEUDO_MAP_IDX if whole_map => Imm64::MapIdx(raw.imm),
        op::PSEUDO_MAP_VALUE => Imm64::MapValueFd { fd: raw.imm, off },
        op::PSEUDO_MAP_IDX_VALUE => Imm64::MapValueIdx { idx: raw.imm, off },
        op::PSEUDO_FUNC => Imm64::Func(target(at, raw.imm).map_err(|_| ErrorKind::CallTarget)?),
        op::PSEUDO_BTF_ID => Imm64::BtfId {
            id: raw.imm,
            fd: next.imm,
        },
        _ => return Err(ErrorKind::LdImm64Source),
    };
    Ok(Insn::LdImm64 { dst, imm })
}

fn alu(raw: RawInsn, width: Width, dst: Reg, src: Reg) -> Result<Insn, ErrorKind> {
    let by_reg = raw.code & op::X != 0;
    let no_src = src == Reg::R0;
    let operand = if by_reg {
        Src::Reg(src)
    } else {
        Src::Imm(raw.imm)
    };
    let unknown = ErrorKind::Opcode(raw.code);
    match raw.code & op::OP_MASK {
        op::NEG if by_reg => Err(unknown),
        op::NEG => {
            reserved(no_src && raw.off == 0 && raw.imm == 0, "BPF_NEG")?;
            Ok(Insn::Neg { width, dst })
        }
        op::END => {
            let kind = match (width, by_reg) {
                (Width::W32, false) => SwapKind::ToLe,
                (Width::W32, true) => SwapKind::ToBe,
                (Width::W64, false) => SwapKind::Bswap,
                (Width::W64, true) => return Err(unknown),
            };
            let size = match raw.imm {
                16 => Size::H,
                32 => Size::W,
                64 => Size::Dw,
                _ => return Err(ErrorKind::Reserved("BPF_END")),
            };
            reserved(no_src && raw.off == 0, "BPF_END")?;
            Ok(Insn::Swap { kind, size, dst })
        }
        op::MOV => mov(raw, width, dst, src, operand),
        operation => {
            // The fields are checked before the pair of operation and offset is looked up: an
            // offset of 1 is reserved on all but division and remainder.
            let op = op::alu_op((operation, 0)).ok_or(unknown)?;
            let other = if by_reg { raw.imm == 0 } else { no_src };
            let signed = raw.off == 1 && matches!(op, AluOp::Div | AluOp::Mod);
            reserved(other && (raw.off == 0 || signed), "BPF_ALU")?;
            let op = op::alu_op((operation, raw.off)).ok_or(unknown)?;
            Ok(Insn::Alu {
                op,
                width,
                dst,
                src: operand,
            })
        }
    }
}

fn mov(raw: RawInsn, width: Width, dst: Reg, src: Reg, operand: Src) -> Result<Insn, ErrorKind> {
    const WHAT: &str = "BPF_MOV";
    const ADDR_SPACE_CAST: i16 = 1;
    let plain = Insn::Mov {
        width,
        dst,
        src: operand,
    };
    if let Src::Imm(_) = operand {
        reserved(src == Reg::R0 && raw.off == 0, WHAT)?;
        return Ok(plain);
    }
    if width == Width::W64 && raw.off == ADDR_SPACE_CAST {
        return Err(if raw.imm == 1 || raw.imm == 1 << 16 {
            ErrorKind::NoArena
        } else {
            ErrorKind::AddrSpace
        });
    }
    reserved(raw.imm == 0, WHAT)?;
    let from = match (raw.off, width) {
        (0, _) => return Ok(plain),
        (8, _) => Size::B,
        (16, _) => Size::H,
        (32, Width::W64) => Size::W,
        _ => return Err(ErrorKind::Reserved(WHAT)),
    };
    Ok(Insn::MovSx {
        width,
        from,
        dst,
        src,
    })
}

fn jump(raw: RawInsn, width: Width, at: u32, dst: Reg, src: Reg) -> Result<Insn, ErrorKind> {
    let by_reg = raw.code & op::X != 0;
    let unknown = ErrorKind::Opcode(raw.code);
    let no_regs = raw.regs == 0;
    match (raw.code & op::OP_MASK, width, by_reg) {
        (op::JA, Width::W64, false) => {
            reserved(no_regs && raw.imm == 0, "BPF_JA")?;
            let target = target(at, i32::from(raw.off))?;
            let long = false;
            Ok(Insn::Ja { target, long })
        }
        (op::JA, Width::W32, false) => {
            reserved(no_regs && raw.off == 0, "BPF_JA")?;
            let target = target(at, raw.imm)?;
            let long = true;
            Ok(Insn::Ja { target, long })
        }
        (op::JA, Width::W64, true) => {
            let clean = src == Reg::R0 && raw.imm == 0 && raw.off == 0;
            reserved(clean, "BPF_JA|BPF_X")?;
            Err(ErrorKind::NoJumpTable(0))
        }
        (op::CALL, Width::W64, false) => call(raw, at, dst),
        (op::EXIT, Width::W64, false) => {
            reserved(no_regs && raw.imm == 0, "BPF_EXIT")?;
            Ok(Insn::Exit)
        }
        (op::JCOND, Width::W64, false) => {
            if !no_regs || raw.imm != 0 {
                return Err(ErrorKind::MayGoto(raw.imm));
            }
            let target = target(at, i32::from(raw.off))?;
            Ok(Insn::MayGoto { target })
        }
        (operation, _, _) => {
            let cond = op::cond(operation).ok_or(unknown)?;
            let other = if by_reg { raw.imm == 0 } else { src == Reg::R0 };
            reserved(other, "BPF_JMP/JMP32")?;
            Ok(Insn::Jmp {
                cond,
                width,
                dst,
                src: if by_reg {
                    Src::Reg(src)
                } else {
                    Src::Imm(raw.imm)
                },
                target: target(at, i32::from(raw.off))?,
            })
        }
    }
}

fn call(raw: RawInsn, at: u32, dst: Reg) -> Result<Insn, ErrorKind> {
    const WHAT: &str = "BPF_CALL";
    reserved(dst == Reg::R0, WHAT)?;
    reserved(raw.off == 0 || raw.src() == op::PSEUDO_KFUNC, WHAT)?;
    match raw.src() {
        0 => Ok(Insn::Call { helper: raw.imm }),
        op::PSEUDO_CALL => Ok(Insn::CallSub {
            target: target(at, raw.imm).map_err(|_| ErrorKind::CallTarget)?,
        }),
        op::PSEUDO_KFUNC => Ok(Insn::CallKfunc {
            id: raw.imm,
            off: raw.off,
        }),
        _ => Err(ErrorKind::Reserved(WHAT)),
    }
}

fn load(raw: RawInsn, dst: Reg, src: Reg) -> Result<Insn, ErrorKind> {
    let unknown = ErrorKind::Opcode(raw.code);
    let size = op::size(raw.code & op::SIZE_MASK).ok_or(unknown)?;
    let sx = match raw.code & op::MODE_MASK {
        op::MEM => false,
        op::MEMSX if size != Size::Dw => true,
        _ => return Err(unknown),
    };
    reserved(raw.imm == 0, "BPF_LDX")?;
    Ok(Insn::Load {
        size,
        sx,
        dst,
        src,
        off: raw.off,
    })
}

fn store_reg(raw: RawInsn, dst: Reg, src: Reg) -> Result<Insn, ErrorKind> {
    let unknown = ErrorKind::Opcode(raw.code);
    let size = op::size(raw.code & op::SIZE_MASK).ok_or(unknown)?;
    let off = raw.off;
    match raw.code & op::MODE_MASK {
        op::MEM => {
            reserved(raw.imm == 0, "BPF_STX")?;
            let src = Src::Reg(src);
            Ok(Insn::Store {
                size,
                dst,
                off,
                src,
            })
        }
        op::ATOMIC => atomic(raw, size, dst, src),
        _ => Err(unknown),
    }
}

fn atomic(raw: RawInsn, size: Size, dst: Reg, src: Reg) -> Result<Insn, ErrorKind> {
    let off = raw.off;
    match raw.imm {
        op::LOAD_ACQ => {
            return Ok(Insn::LoadAcquire {
                size,
                dst,
                src,
                off,
            })
        }
        op::STORE_REL => {
            return Ok(Insn::StoreRelease {
                size,
                dst,
                off,
                src,
            })
        }
        _ => {}
    }
    // Exchanges carry the fetch bit in their own code; the others may have it.
    let (op, fetch) = match (op::atomic_op(raw.imm), op::atomic_op(raw.imm & !op::FETCH)) {
        (Some(op), _) => (op, raw.imm & op::FETCH != 0),
        (None, Some(op)) => (op, true),
        (None, None) => return Err(ErrorKind::AtomicOp(raw.imm)),
    };
    if !matches!(size, Size::W | Size::Dw) {
        return Err(ErrorKind::AtomicSize);
    }
    Ok(Insn::Atomic {
        op,
        fetch,
        size,
        dst,
        off,
        src,
    })
}

fn packet_load(raw: RawInsn, dst: Reg, src: Reg) -> Result<Insn, ErrorKind> {
    let unknown = ErrorKind::Opcode(raw.code);
    let size = op::size(raw.code & op::SIZE_MASK)
        .filter(|size| *size != Size::Dw)
        .ok_or(unknown)?;
    let clean = dst == Reg::R0 && raw.off == 0;
    let imm = raw.imm;
    match raw.code & op::MODE_MASK {
        op::ABS => {
            reserved(clean && src == Reg::R0, "BPF_LD_[ABS|IND]")?;
            Ok(Insn::LdAbs { size, imm })
        }
        op::IND => {
            reserved(clean, "BPF_LD_[ABS|IND]")?;
            Ok(Insn::LdInd { size, src, imm })
        }
        _ => Err(unknown),
    }
}

#[cfg(test)]
mod tests;
