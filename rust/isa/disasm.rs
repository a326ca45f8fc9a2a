// SPDX-License-Identifier: GPL-2.0

//! Prints instructions in the in-tree verifier's notation, e.g. `(b7) r0 = 0`.

use super::encode::{distance, opcode, wire_imm64};
use super::{AluOp, AtomicOp, Cond, Imm64, Insn, Reg, Size, Src, SwapKind, Width};
use core::fmt;

/// Prints the instruction at slot `at`.
///
/// # Examples
///
/// ```
/// use oxbpf_core::isa::{disasm::Line, Insn};
/// assert_eq!(Line::new(0, &Insn::Exit).to_string(), "(95) exit");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    at: u32,
    insn: &'a Insn,
    pointer: u64,
}

impl<'a> Line<'a> {
    /// Pointers that `ld_imm64` loads are shown as 0, as to who may not know them.
    pub const fn new(at: u32, insn: &'a Insn) -> Self {
        Self {
            at,
            insn,
            pointer: 0,
        }
    }

    /// With the number that is shown for the map address, map value address or kernel variable
    /// that an `ld_imm64` loads.
    pub const fn with_pointer(at: u32, insn: &'a Insn, pointer: u64) -> Self {
        Self { at, insn, pointer }
    }

    /// `pc+1`: a jump's distance.
    fn pc(&self, target: u32) -> Pc {
        Pc(distance(self.at, target))
    }
}

/// A signed distance with its sign.
struct Pc(i32);

impl fmt::Display for Pc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pc{:+}", self.0)
    }
}

/// A register under the name of its width.
struct Named(Width, Reg);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.0 {
            Width::W32 => 'w',
            Width::W64 => 'r',
        };
        write!(f, "{letter}{}", self.1.index())
    }
}

/// `r3`
fn r(reg: Reg) -> Named {
    Named(Width::W64, reg)
}

/// An access to memory: `*(u32 *)(r1 +4)`.
struct Place(&'static str, Reg, i16);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} *)({} {:+})", self.0, r(self.1), self.2)
    }
}

/// The name of an unsigned number of that size.
const fn unsigned(size: Size) -> &'static str {
    match size {
        Size::B => "u8",
        Size::H => "u16",
        Size::W => "u32",
        Size::Dw => "u64",
    }
}

/// The name of a signed number of that size.
const fn signed(size: Size) -> &'static str {
    match size {
        Size::B => "s8",
        Size::H => "s16",
        Size::W => "s32",
        Size::Dw => "s64",
    }
}

/// The assignment operator of an operation.
const fn alu_sign(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div => "/=",
        AluOp::Sdiv => "s/=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Mod => "%=",
        AluOp::Smod => "s%=",
        AluOp::Xor => "^=",
        AluOp::Arsh => "s>>=",
    }
}

/// The comparison operator of a condition.
const fn cond_sign(cond: Cond) -> &'static str {
    match cond {
        Cond::Eq => "==",
        Cond::Ne => "!=",
        Cond::Set => "&",
        Cond::Gt => ">",
        Cond::Ge => ">=",
        Cond::Lt => "<",
        Cond::Le => "<=",
        Cond::Sgt => "s>",
        Cond::Sge => "s>=",
        Cond::Slt => "s<",
        Cond::Sle => "s<=",
    }
}

/// Name and, where it can go without fetching, operator of an atomic operation.
const fn atomic_name(op: AtomicOp) -> (&'static str, &'static str) {
    match op {
        AtomicOp::Add => ("fetch_add", "+="),
        AtomicOp::Or => ("fetch_or", "|="),
        AtomicOp::And => ("fetch_and", "&="),
        AtomicOp::Xor => ("fetch_xor", "^="),
        AtomicOp::Xchg => ("xchg", ""),
        AtomicOp::Cmpxchg => ("cmpxchg", ""),
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Insn::Hole = self.insn {
            return f.write_str("BUG_ld_00");
        }
        write!(f, "({:02x}) ", opcode(self.insn))?;
        match *self.insn {
            Insn::Alu {
                op,
                width,
                dst,
                src,
            } => self.assign(f, width, dst, alu_sign(op), src),
            Insn::Neg { width, dst } => {
                let dst = Named(width, dst);
                write!(f, "{dst} = -{dst}")
            }
            Insn::Mov { width, dst, src } => self.assign(f, width, dst, "=", src),
            Insn::MovSx {
                width,
                from,
                dst,
                src,
            } => {
                let (dst, src) = (Named(width, dst), Named(width, src));
                write!(f, "{dst} = ({}){src}", signed(from))
            }
            Insn::Swap { kind, size, dst } => {
                let name = match kind {
                    SwapKind::ToLe => "le",
                    SwapKind::ToBe => "be",
                    SwapKind::Bswap => "bswap",
                };
                write!(f, "{} = {name}{} {}", r(dst), size.bits(), r(dst))
            }
            Insn::LdImm64 { dst, imm } => write!(f, "{} = {:#x}", r(dst), self.shown(imm)),
            Insn::Hole => Ok(()),
            Insn::Load {
                size,
                sx,
                dst,
                src,
                off,
            } => {
                let name = if sx { signed(size) } else { unsigned(size) };
                write!(f, "{} = *{}", r(dst), Place(name, src, off))
            }
            Insn::Store {
                size,
                dst,
                off,
                src,
            } => {
                let place = Place(unsigned(size), dst, off);
                match src {
                    Src::Reg(src) => write!(f, "*{place} = {}", r(src)),
                    Src::Imm(imm) => write!(f, "*{place} = {imm}"),
                }
            }
            Insn::Atomic {
                op,
                fetch,
                size,
                dst,
                off,
                src,
            } => {
                let place = Place(unsigned(size), dst, off);
                let (name, sign) = atomic_name(op);
                let wide = if size == Size::Dw { "64" } else { "" };
                match op {
                    AtomicOp::Cmpxchg => {
                        write!(f, "r0 = atomic{wide}_{name}({place}, r0, {})", r(src))
                    }
                    AtomicOp::Xchg => {
                        write!(f, "{} = atomic{wide}_{name}({place}, {})", r(src), r(src))
                    }
                    _ if fetch => {
                        write!(f, "{} = atomic{wide}_{name}({place}, {})", r(src), r(src))
                    }
                    _ => write!(f, "lock *{place} {sign} {}", r(src)),
                }
            }
            Insn::LoadAcquire {
                size,
                dst,
                src,
                off,
            } => {
                let place = Place(unsigned(size), src, off);
                write!(f, "{} = load_acquire({place})", r(dst))
            }
            Insn::StoreRelease {
                size,
                dst,
                off,
                src,
            } => {
                let place = Place(unsigned(size), dst, off);
                write!(f, "store_release({place}, {})", r(src))
            }
            Insn::LdAbs { size, imm } => write!(f, "r0 = *({} *)skb[{imm}]", unsigned(size)),
            Insn::LdInd { size, src, imm } => {
                write!(f, "r0 = *({} *)skb[{} + {imm}]", unsigned(size), r(src))
            }
            Insn::Ja { target, long } => {
                let name = if long { "gotol" } else { "goto" };
                write!(f, "{name} {}", self.pc(target))
            }
            Insn::MayGoto { target } => write!(f, "may_goto {}", self.pc(target)),
            Insn::Jmp {
                cond,
                width,
                dst,
                src,
                target,
            } => {
                write!(f, "if {} {} ", Named(width, dst), cond_sign(cond))?;
                match src {
                    Src::Reg(src) => write!(f, "{}", Named(width, src))?,
                    Src::Imm(imm) => write!(f, "{:#x}", imm as u32)?,
                }
                write!(f, " goto {}", self.pc(target))
            }
            Insn::Call { helper } => match crate::helper::name(helper) {
                Some(name) => write!(f, "call bpf_{name}#{helper}"),
                None => write!(f, "call unknown#{helper}"),
            },
            Insn::CallSub { target } => write!(f, "call {}", self.pc(target)),
            Insn::CallKfunc { id, .. } => write!(f, "call kernel-function#{id}"),
            Insn::Exit => f.write_str("exit"),
            Insn::Nospec => f.write_str("nospec"),
        }
    }
}

impl Line<'_> {
    /// `r1 += r2`
    fn assign(
        &self,
        f: &mut fmt::Formatter<'_>,
        width: Width,
        dst: Reg,
        sign: &str,
        src: Src,
    ) -> fmt::Result {
        let dst = Named(width, dst);
        match src {
            Src::Reg(src) => write!(f, "{dst} {sign} {}", Named(width, src)),
            Src::Imm(imm) => write!(f, "{dst} {sign} {imm}"),
        }
    }

    /// The number that is shown for what an `ld_imm64` loads.
    fn shown(&self, imm: Imm64) -> u64 {
        match imm {
            Imm64::Value(v) => v,
            Imm64::Func(_) => {
                let raw = wire_imm64(self.at, imm);
                u64::from(raw.lo as u32) | (u64::from(raw.hi as u32) << 32)
            }
            Imm64::MapFd(_)
            | Imm64::MapValueFd { .. }
            | Imm64::MapIdx(_)
            | Imm64::MapValueIdx { .. }
            | Imm64::BtfId { .. }
            | Imm64::Map(_)
            | Imm64::MapValue { .. } => self.pointer,
        }
    }
}

#[cfg(test)]
mod tests;
