// SPDX-License-Identifier: GPL-2.0

//! The bits of an opcode byte, and the tables between them and the typed operations.
//!
//! Only the decoder and the encoder read this; each pair of directions comes from one table.

use super::{AluOp, AtomicOp, Cond, Size, Width};

/// Instruction class: the low three bits of the opcode.
pub const CLASS_MASK: u8 = 0x07;
/// Non-standard loads: `ld_imm64`, packet access.
pub const LD: u8 = 0x00;
/// Load into a register.
pub const LDX: u8 = 0x01;
/// Store of an immediate.
pub const ST: u8 = 0x02;
/// Store of a register.
pub const STX: u8 = 0x03;
/// 32-bit arithmetic.
pub const ALU: u8 = 0x04;
/// 64-bit jumps.
pub const JMP: u8 = 0x05;
/// 32-bit jumps.
pub const JMP32: u8 = 0x06;
/// 64-bit arithmetic.
pub const ALU64: u8 = 0x07;

/// Operation of arithmetic and jumps: the high four bits of the opcode.
pub const OP_MASK: u8 = 0xf0;
/// Source bit of arithmetic and jumps: register instead of immediate.
pub const X: u8 = 0x08;

/// `ALU` operation: negation.
pub const NEG: u8 = 0x80;
/// `ALU` operation: move.
pub const MOV: u8 = 0xb0;
/// `ALU` operation: byte order.
pub const END: u8 = 0xd0;

/// `JMP` operation: always.
pub const JA: u8 = 0x00;
/// `JMP` operation: call.
pub const CALL: u8 = 0x80;
/// `JMP` operation: return.
pub const EXIT: u8 = 0x90;
/// `JMP` operation: pseudo conditions (`may_goto`).
pub const JCOND: u8 = 0xe0;

/// Mode of a load or store: the high three bits of the opcode.
pub const MODE_MASK: u8 = 0xe0;
/// Mode: 64-bit immediate.
pub const IMM: u8 = 0x00;
/// Mode: packet, constant offset.
pub const ABS: u8 = 0x20;
/// Mode: packet, register offset.
pub const IND: u8 = 0x40;
/// Mode: plain memory.
pub const MEM: u8 = 0x60;
/// Mode: memory, sign-extending.
pub const MEMSX: u8 = 0x80;
/// Mode: atomic.
pub const ATOMIC: u8 = 0xc0;
/// Mode (`ST` only): no memory, a barrier against speculation; put in by the verifier.
pub const NOSPEC: u8 = 0xc0;

/// Size bits of a load or store.
pub const SIZE_MASK: u8 = 0x18;

/// The opcode of `ld_imm64`.
pub const LD_IMM64: u8 = LD | IMM | 0x18;

/// Source register of a call: subprogram.
pub const PSEUDO_CALL: u8 = 1;
/// Source register of a call: kernel function.
pub const PSEUDO_KFUNC: u8 = 2;

/// Source register of `ld_imm64`: map by fd.
pub const PSEUDO_MAP_FD: u8 = 1;
/// Source register of `ld_imm64`: map value by fd.
pub const PSEUDO_MAP_VALUE: u8 = 2;
/// Source register of `ld_imm64`: kernel variable.
pub const PSEUDO_BTF_ID: u8 = 3;
/// Source register of `ld_imm64`: subprogram.
pub const PSEUDO_FUNC: u8 = 4;
/// Source register of `ld_imm64`: map by index.
pub const PSEUDO_MAP_IDX: u8 = 5;
/// Source register of `ld_imm64`: map value by index.
pub const PSEUDO_MAP_IDX_VALUE: u8 = 6;

/// `atomic` immediate: gives the old value back.
pub const FETCH: i32 = 0x01;
/// `atomic` immediate: load-acquire.
pub const LOAD_ACQ: i32 = 0x100;
/// `atomic` immediate: store-release.
pub const STORE_REL: i32 = 0x110;

/// Makes the two directions between a type's variants and their code.
macro_rules! code_table {
    (
        $(#[$to_doc:meta])* $to:ident,
        $(#[$from_doc:meta])* $from:ident:
        $ty:ident <-> $code_ty:ty { $($variant:ident = $code:tt,)* }
    ) => {
        $(#[$to_doc])*
        pub const fn $to(v: $ty) -> $code_ty {
            match v { $($ty::$variant => $code,)* }
        }
        $(#[$from_doc])*
        pub const fn $from(code: $code_ty) -> Option<$ty> {
            match code {
                $($code => Some($ty::$variant),)*
                _ => None,
            }
        }
    };
}

code_table! {
    /// Operation bits and offset field of an arithmetic operation.
    alu_code,
    /// The arithmetic operation of those operation bits and that offset field.
    alu_op: AluOp <-> (u8, i16) {
        Add = (0x00, 0),
        Sub = (0x10, 0),
        Mul = (0x20, 0),
        Div = (0x30, 0),
        Sdiv = (0x30, 1),
        Or = (0x40, 0),
        And = (0x50, 0),
        Lsh = (0x60, 0),
        Rsh = (0x70, 0),
        Mod = (0x90, 0),
        Smod = (0x90, 1),
        Xor = (0xa0, 0),
        Arsh = (0xc0, 0),
    }
}

code_table! {
    /// Operation bits of a conditional jump.
    cond_code,
    /// The condition of those operation bits.
    cond: Cond <-> u8 {
        Eq = 0x10,
        Gt = 0x20,
        Ge = 0x30,
        Set = 0x40,
        Ne = 0x50,
        Sgt = 0x60,
        Sge = 0x70,
        Lt = 0xa0,
        Le = 0xb0,
        Slt = 0xc0,
        Sle = 0xd0,
    }
}

code_table! {
    /// Immediate of an atomic operation, without [`FETCH`] where that is a choice.
    atomic_code,
    /// The atomic operation of that immediate.
    atomic_op: AtomicOp <-> i32 {
        Add = 0x00,
        Or = 0x40,
        And = 0x50,
        Xor = 0xa0,
        Xchg = 0xe1,
        Cmpxchg = 0xf1,
    }
}

code_table! {
    /// Size bits of a load or store.
    size_code,
    /// The size of those size bits.
    size: Size <-> u8 {
        W = 0x00,
        H = 0x08,
        B = 0x10,
        Dw = 0x18,
    }
}

/// The class of arithmetic of that width.
pub const fn alu_class(width: Width) -> u8 {
    match width {
        Width::W32 => ALU,
        Width::W64 => ALU64,
    }
}

/// The class of comparisons of that width.
pub const fn jmp_class(width: Width) -> u8 {
    match width {
        Width::W32 => JMP32,
        Width::W64 => JMP,
    }
}
