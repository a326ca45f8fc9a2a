// SPDX-License-Identifier: GPL-2.0

//! Runs images of oxbpf's JIT in this process, on the host.
//!
//! Code runs unprotected: only what is right by construction may be passed.

pub mod exec;
pub mod reference;
pub mod rng;

use kernel::prelude::*;
use oxbpf_core::isa::code::{Code, Fact, Subprog};
use oxbpf_core::isa::{AluOp, Cond, Imm64, Insn, Reg, Size, Src, Width};

/// Makes code of instructions and `(start, stack)` of its subprograms.
pub fn code(insns: &[Insn], subs: &[(u32, u16)]) -> Code {
    let mut c = Code::default();
    c.insns.extend_from_slice(insns, GFP_KERNEL).unwrap();
    c.facts
        .resize(insns.len(), Fact::default(), GFP_KERNEL)
        .unwrap();
    for (i, (start, stack)) in subs.iter().enumerate() {
        let end = subs.get(i + 1).map_or(insns.len() as u32, |s| s.0);
        let sub = Subprog {
            start: *start,
            end,
            stack: *stack,
            ..Subprog::default()
        };
        c.subprogs.push(sub, GFP_KERNEL).unwrap();
    }
    c.stack_depth = 512;
    c
}

/// `dst op= src`, 64 bits.
pub fn alu64(op: AluOp, dst: Reg, src: Src) -> Insn {
    Insn::Alu {
        op,
        width: Width::W64,
        dst,
        src,
    }
}

/// `dst op= src`, 32 bits.
pub fn alu32(op: AluOp, dst: Reg, src: Src) -> Insn {
    Insn::Alu {
        op,
        width: Width::W32,
        dst,
        src,
    }
}

/// `dst = src`
pub fn mov(dst: Reg, src: Src) -> Insn {
    Insn::Mov {
        width: Width::W64,
        dst,
        src,
    }
}

/// `dst = imm ll`, both slots.
pub fn ld64(dst: Reg, imm: u64) -> [Insn; 2] {
    [
        Insn::LdImm64 {
            dst,
            imm: Imm64::Value(imm),
        },
        Insn::Hole,
    ]
}

/// `dst = *(size *)(src + off)`
pub fn ldx(size: Size, dst: Reg, src: Reg, off: i16) -> Insn {
    Insn::Load {
        size,
        sx: false,
        dst,
        src,
        off,
    }
}

/// `*(size *)(dst + off) = src`
pub fn stx(size: Size, dst: Reg, off: i16, src: Reg) -> Insn {
    Insn::Store {
        size,
        dst,
        off,
        src: Src::Reg(src),
    }
}

/// `if dst cond src goto target`, 64 bits.
pub fn jmp(cond: Cond, dst: Reg, src: Src, target: u32) -> Insn {
    Insn::Jmp {
        cond,
        width: Width::W64,
        dst,
        src,
        target,
    }
}
