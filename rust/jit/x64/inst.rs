// SPDX-License-Identifier: GPL-2.0

//! The instruction table: one row an instruction form, in the notation of Intel's manual.
//!
//! A row's type says which operands it takes, so that [`super::encode`] cannot be handed a row with
//! operands of another form. The host test `encodings` checks every row against a second
//! disassembler.

use core::marker::PhantomData;

/// Opcode maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// One-byte opcodes.
    One,
    /// `0F`
    M0f,
    /// `0F 38`
    M0f38,
    /// `0F 3A`
    M0f3a,
}

/// Mandatory and lock prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// None.
    No,
    /// `66`: 16-bit operands.
    P66,
    /// `F2`
    F2,
    /// `F3`
    F3,
    /// `F0`: lock.
    Lock,
    /// `F0 66`: lock, 16-bit operands.
    Lock66,
}

/// How the operand width is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wide {
    /// REX.W as the width argument says.
    Arg,
    /// Never REX.W.
    W0,
    /// Always REX.W.
    W1,
}

/// One form of an instruction.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Mnemonic.
    pub name: &'static str,
    /// Prefix.
    pub prefix: Prefix,
    /// Opcode map.
    pub map: Map,
    /// Opcode byte.
    pub op: u8,
    /// `/digit`, for forms that have no register operand in ModRM.reg.
    pub digit: u8,
    /// REX.W.
    pub wide: Wide,
    /// The register operand is a byte register.
    pub reg8: bool,
    /// The register-or-memory operand is a byte.
    pub rm8: bool,
    /// The register-or-memory operand is 16 bits wide though the register is not.
    pub rm16: bool,
    /// Leaves the arithmetic flags alone.
    pub keeps_flags: bool,
}

const BASE: Row = Row {
    name: "",
    prefix: Prefix::No,
    map: Map::One,
    op: 0,
    digit: 0,
    wide: Wide::Arg,
    reg8: false,
    rm8: false,
    rm16: false,
    keeps_flags: false,
};

/// Operand shapes, as type-level tags of [`Form`].
pub mod shape {
    macro_rules! shapes {
        ($($(#[$doc:meta])* $name:ident,)*) => {
            /// The shapes as values.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Kind { $($(#[$doc])* $name,)* }
            /// A shape as a type.
            pub trait Shape {
                /// The shape as a value.
                const KIND: Kind;
            }
            $(
                $(#[$doc])*
                #[derive(Clone, Copy, Debug)]
                pub enum $name {}
                impl Shape for $name {
                    const KIND: Kind = Kind::$name;
                }
            )*
        };
    }

    shapes! {
        /// `r/m, r`
        RmR,
        /// `r, r/m`
        RRm,
        /// `r, m`
        RM,
        /// `m, r`
        MR,
        /// `r/m`
        Rm,
        /// `r/m, cl`
        RmCl,
        /// `r/m, imm8`
        RmI8,
        /// `r/m, imm16`
        RmI16,
        /// `r/m, imm32`
        RmI32,
        /// `m, imm8`
        MI8,
        /// `m, imm32`
        MI32,
        /// `r, r/m, imm8`
        RRmI8,
        /// `r, r/m, imm32`
        RRmI32,
        /// `r`, in the opcode byte
        O,
        /// `r, imm32`, the register in the opcode byte
        OI32,
        /// `r, imm64`, the register in the opcode byte
        OI64,
        /// No operand.
        Zo,
        /// `r, r/m` with a condition in the opcode byte
        CcRRm,
        /// `r/m` with a condition in the opcode byte
        CcRm,
        /// `r, r/m, r` (VEX; the last operand in VEX.vvvv)
        VexRRmV,
        /// `r, r, r/m` (VEX; the middle operand in VEX.vvvv)
        VexRVRm,
        /// `r, r/m, imm8` (VEX)
        VexRRmI8,
    }
}

/// Bytes in the order of memory, the first in the lowest byte of `bytes`.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    /// The bytes.
    pub bytes: u32,
    /// Bits that they take.
    pub bits: u32,
}

impl Packed {
    const fn new(bytes: u32, bits: u32) -> Packed {
        Packed { bytes, bits }
    }
}

impl Row {
    /// The prefix.
    const fn prefix(&self) -> Packed {
        match self.prefix {
            Prefix::No => Packed::new(0, 0),
            Prefix::P66 => Packed::new(0x66, 8),
            Prefix::F2 => Packed::new(0xf2, 8),
            Prefix::F3 => Packed::new(0xf3, 8),
            Prefix::Lock => Packed::new(0xf0, 8),
            Prefix::Lock66 => Packed::new(0x66f0, 16),
        }
    }

    /// The opcode with its map.
    const fn opcode(&self) -> Packed {
        let op = self.op as u32;
        match self.map {
            Map::One => Packed::new(op, 8),
            Map::M0f => Packed::new(0x0f | (op << 8), 16),
            Map::M0f38 => Packed::new(0x380f | (op << 16), 24),
            Map::M0f3a => Packed::new(0x3a0f | (op << 16), 24),
        }
    }
}

/// A row and what its bytes are.
#[derive(Clone, Copy, Debug)]
pub struct Encoding {
    /// The row.
    pub row: Row,
    /// Its prefix.
    pub prefix: Packed,
    /// Its opcode.
    pub opcode: Packed,
}

/// A row whose operands have shape `S`.
#[derive(Clone, Copy, Debug)]
pub struct Form<S>(Encoding, PhantomData<S>);

impl<S: shape::Shape> Form<S> {
    const fn new(row: Row) -> Self {
        let (prefix, opcode) = (row.prefix(), row.opcode());
        Form(
            Encoding {
                row,
                prefix,
                opcode,
            },
            PhantomData,
        )
    }

    /// The row.
    pub const fn row(&self) -> &Row {
        &self.0.row
    }

    /// The row with its bytes.
    pub const fn encoding(&self) -> &Encoding {
        &self.0
    }
}

macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident: $shape:ident = $mnemonic:literal { $($field:ident: $value:expr),* };)*) => {
        $(
            $(#[$doc])*
            pub const $name: Form<shape::$shape> = Form::new(Row { name: $mnemonic, $($field: $value,)* ..BASE });
        )*
        /// Every row with its shape, for tests.
        pub const ALL: &[(&str, shape::Kind, Row)] = &[
            $((stringify!($name), shape::Kind::$shape, $name.0.row),)*
        ];
    };
}

use Map::{M0f, M0f38, M0f3a};
use Prefix::{Lock, Lock66, F2, F3, P66};
use Wide::{W0, W1};

rows! {
    /// `ADD r/m, r`
    ADD_RM_R: RmR = "add" { op: 0x01 };
    /// `OR r/m, r`
    OR_RM_R: RmR = "or" { op: 0x09 };
    /// `AND r/m, r`
    AND_RM_R: RmR = "and" { op: 0x21 };
    /// `SUB r/m, r`
    SUB_RM_R: RmR = "sub" { op: 0x29 };
    /// `XOR r/m, r`
    XOR_RM_R: RmR = "xor" { op: 0x31 };
    /// `CMP r/m, r`
    CMP_RM_R: RmR = "cmp" { op: 0x39 };
    /// `TEST r/m, r`
    TEST_RM_R: RmR = "test" { op: 0x85 };
    /// `MOV r/m, r`
    MOV_RM_R: RmR = "mov" { op: 0x89, keeps_flags: true };
    /// `MOV r/m8, r8`
    MOV_RM8_R8: RmR = "mov" { op: 0x88, wide: W0, reg8: true, rm8: true, keeps_flags: true };
    /// `MOV r/m16, r16`
    MOV_RM16_R16: RmR = "mov" { prefix: P66, op: 0x89, wide: W0, keeps_flags: true };
    /// `BT r/m, r`
    BT_RM_R: RmR = "bt" { map: M0f, op: 0xa3 };

    /// `ADD r, r/m`
    ADD_R_RM: RRm = "add" { op: 0x03 };
    /// `OR r, r/m`
    OR_R_RM: RRm = "or" { op: 0x0b };
    /// `AND r, r/m`
    AND_R_RM: RRm = "and" { op: 0x23 };
    /// `SUB r, r/m`
    SUB_R_RM: RRm = "sub" { op: 0x2b };
    /// `XOR r, r/m`
    XOR_R_RM: RRm = "xor" { op: 0x33 };
    /// `CMP r, r/m`
    CMP_R_RM: RRm = "cmp" { op: 0x3b };
    /// `MOV r, r/m`
    MOV_R_RM: RRm = "mov" { op: 0x8b, keeps_flags: true };
    /// `BSF r, r/m`: the place of the lowest bit that is set
    BSF_R_RM: RRm = "bsf" { map: M0f, op: 0xbc };
    /// `IMUL r, r/m`
    IMUL_R_RM: RRm = "imul" { map: M0f, op: 0xaf };
    /// `MOVZX r32, r/m8`
    MOVZX_R_RM8: RRm = "movzx" { map: M0f, op: 0xb6, wide: W0, rm8: true, keeps_flags: true };
    /// `MOVZX r32, r/m16`
    MOVZX_R_RM16: RRm = "movzx" { map: M0f, op: 0xb7, wide: W0, rm16: true, keeps_flags: true };
    /// `MOVSX r, r/m8`
    MOVSX_R_RM8: RRm = "movsx" { map: M0f, op: 0xbe, rm8: true, keeps_flags: true };
    /// `MOVSX r, r/m16`
    MOVSX_R_RM16: RRm = "movsx" { map: M0f, op: 0xbf, rm16: true, keeps_flags: true };
    /// `MOVSXD r64, r/m32`
    MOVSXD_R_RM32: RRm = "movsxd" { op: 0x63, wide: W1, keeps_flags: true };

    /// `LEA r, m`
    LEA_R_M: RM = "lea" { op: 0x8d, keeps_flags: true };
    /// `MOVBE r, m`
    MOVBE_R_M: RM = "movbe" { map: M0f38, op: 0xf0, keeps_flags: true };
    /// `MOVBE m, r`
    MOVBE_M_R: MR = "movbe" { map: M0f38, op: 0xf1, keeps_flags: true };
    /// `MOVBE m16, r16`
    MOVBE_M16_R16: MR = "movbe" { prefix: P66, map: M0f38, op: 0xf1, wide: W0, keeps_flags: true };

    /// `LOCK ADD m, r`
    LOCK_ADD_M_R: MR = "add" { prefix: Lock, op: 0x01 };
    /// `LOCK OR m, r`
    LOCK_OR_M_R: MR = "or" { prefix: Lock, op: 0x09 };
    /// `LOCK AND m, r`
    LOCK_AND_M_R: MR = "and" { prefix: Lock, op: 0x21 };
    /// `LOCK XOR m, r`
    LOCK_XOR_M_R: MR = "xor" { prefix: Lock, op: 0x31 };
    /// `LOCK XADD m, r`
    LOCK_XADD_M_R: MR = "xadd" { prefix: Lock, map: M0f, op: 0xc1 };
    /// `LOCK CMPXCHG m, r`
    LOCK_CMPXCHG_M_R: MR = "cmpxchg" { prefix: Lock, map: M0f, op: 0xb1 };
    /// `XCHG m, r` (locks by itself)
    XCHG_M_R: MR = "xchg" { op: 0x87, keeps_flags: true };
    /// `LOCK ADD m, imm8`
    LOCK_ADD_M_I8: MI8 = "add" { prefix: Lock, op: 0x83, digit: 0 };
    /// `LOCK ADD m, imm32`
    LOCK_ADD_M_I32: MI32 = "add" { prefix: Lock, op: 0x81, digit: 0 };

    /// `INC r/m`
    INC_RM: Rm = "inc" { op: 0xff, digit: 0 };
    /// `DEC r/m`
    DEC_RM: Rm = "dec" { op: 0xff, digit: 1 };
    /// `NOT r/m`
    NOT_RM: Rm = "not" { op: 0xf7, digit: 2, keeps_flags: true };
    /// `NEG r/m`
    NEG_RM: Rm = "neg" { op: 0xf7, digit: 3 };
    /// `MUL r/m`: `rdx:rax = rax * r/m`
    MUL_RM: Rm = "mul" { op: 0xf7, digit: 4 };
    /// `IMUL r/m`: `rdx:rax = rax * r/m`, signed
    IMUL_RM: Rm = "imul" { op: 0xf7, digit: 5 };
    /// `DIV r/m`
    DIV_RM: Rm = "div" { op: 0xf7, digit: 6 };
    /// `IDIV r/m`
    IDIV_RM: Rm = "idiv" { op: 0xf7, digit: 7 };

    /// `JMP r/m`
    JMP_RM: Rm = "jmp" { op: 0xff, digit: 4, wide: W1, keeps_flags: true };

    /// `SHL r/m, cl`
    SHL_RM_CL: RmCl = "shl" { op: 0xd3, digit: 4 };
    /// `SHR r/m, cl`
    SHR_RM_CL: RmCl = "shr" { op: 0xd3, digit: 5 };
    /// `SAR r/m, cl`
    SAR_RM_CL: RmCl = "sar" { op: 0xd3, digit: 7 };

    /// `ADD r/m, imm8`
    ADD_RM_I8: RmI8 = "add" { op: 0x83, digit: 0 };
    /// `OR r/m, imm8`
    OR_RM_I8: RmI8 = "or" { op: 0x83, digit: 1 };
    /// `AND r/m, imm8`
    AND_RM_I8: RmI8 = "and" { op: 0x83, digit: 4 };
    /// `SUB r/m, imm8`
    SUB_RM_I8: RmI8 = "sub" { op: 0x83, digit: 5 };
    /// `XOR r/m, imm8`
    XOR_RM_I8: RmI8 = "xor" { op: 0x83, digit: 6 };
    /// `CMP r/m, imm8`
    CMP_RM_I8: RmI8 = "cmp" { op: 0x83, digit: 7 };
    /// `CMP r/m8, imm8`
    CMP_RM8_I8: RmI8 = "cmp" { op: 0x80, digit: 7, wide: W0, rm8: true };
    /// `TEST r/m8, imm8`
    TEST_RM8_I8: RmI8 = "test" { op: 0xf6, digit: 0, wide: W0, rm8: true };
    /// `MOV r/m8, imm8`
    MOV_RM8_I8: RmI8 = "mov" { op: 0xc6, digit: 0, wide: W0, rm8: true, keeps_flags: true };
    /// `SHL r/m, imm8`
    SHL_RM_I8: RmI8 = "shl" { op: 0xc1, digit: 4 };
    /// `SHR r/m, imm8`
    SHR_RM_I8: RmI8 = "shr" { op: 0xc1, digit: 5 };
    /// `SAR r/m, imm8`
    SAR_RM_I8: RmI8 = "sar" { op: 0xc1, digit: 7 };
    /// `ROL r/m16, imm8`
    ROL_RM16_I8: RmI8 = "rol" { prefix: P66, op: 0xc1, digit: 0, wide: W0 };
    /// `BT r/m, imm8`
    BT_RM_I8: RmI8 = "bt" { map: M0f, op: 0xba, digit: 4 };

    /// `MOV r/m16, imm16`
    MOV_RM16_I16: RmI16 = "mov" { prefix: P66, op: 0xc7, digit: 0, wide: W0, keeps_flags: true };

    /// `ADD r/m, imm32`
    ADD_RM_I32: RmI32 = "add" { op: 0x81, digit: 0 };
    /// `OR r/m, imm32`
    OR_RM_I32: RmI32 = "or" { op: 0x81, digit: 1 };
    /// `AND r/m, imm32`
    AND_RM_I32: RmI32 = "and" { op: 0x81, digit: 4 };
    /// `SUB r/m, imm32`
    SUB_RM_I32: RmI32 = "sub" { op: 0x81, digit: 5 };
    /// `XOR r/m, imm32`
    XOR_RM_I32: RmI32 = "xor" { op: 0x81, digit: 6 };
    /// `CMP r/m, imm32`
    CMP_RM_I32: RmI32 = "cmp" { op: 0x81, digit: 7 };
    /// `TEST r/m, imm32`
    TEST_RM_I32: RmI32 = "test" { op: 0xf7, digit: 0 };
    /// `MOV r/m, imm32`, sign-extended
    MOV_RM_I32: RmI32 = "mov" { op: 0xc7, digit: 0, keeps_flags: true };

    /// `IMUL r, r/m, imm8`
    IMUL_R_RM_I8: RRmI8 = "imul" { op: 0x6b };
    /// `IMUL r, r/m, imm32`
    IMUL_R_RM_I32: RRmI32 = "imul" { op: 0x69 };

    /// `PUSH r64`
    PUSH_R: O = "push" { op: 0x50, wide: W0, keeps_flags: true };
    /// `POP r64`
    POP_R: O = "pop" { op: 0x58, wide: W0, keeps_flags: true };
    /// `BSWAP r`
    BSWAP_R: O = "bswap" { map: M0f, op: 0xc8, keeps_flags: true };
    /// `MOV r32, imm32`, zero-extended
    MOV_R_I32: OI32 = "mov" { op: 0xb8, wide: W0, keeps_flags: true };
    /// `MOV r64, imm64`
    MOV_R_I64: OI64 = "mov" { op: 0xb8, wide: W1, keeps_flags: true };

    /// `RET`
    RET: Zo = "ret" { op: 0xc3, wide: W0, keeps_flags: true };
    /// `INT3`
    INT3: Zo = "int3" { op: 0xcc, wide: W0, keeps_flags: true };
    /// `CDQ` or `CQO`: sign of `rax` to `rdx`
    CDQ: Zo = "cdq" { op: 0x99, keeps_flags: true };

    /// `CMOVcc r, r/m`
    CMOV_R_RM: CcRRm = "cmov" { map: M0f, op: 0x40, keeps_flags: true };
    /// `SETcc r/m8`
    SET_RM8: CcRm = "set" { map: M0f, op: 0x90, wide: W0, rm8: true, keeps_flags: true };

    /// `SHLX r, r/m, r`
    SHLX: VexRRmV = "shlx" { prefix: P66, map: M0f38, op: 0xf7, keeps_flags: true };
    /// `SHRX r, r/m, r`
    SHRX: VexRRmV = "shrx" { prefix: F2, map: M0f38, op: 0xf7, keeps_flags: true };
    /// `SARX r, r/m, r`
    SARX: VexRRmV = "sarx" { prefix: F3, map: M0f38, op: 0xf7, keeps_flags: true };
    /// `MULX r, r, r/m`: high and low half of `rdx * r/m`
    MULX: VexRVRm = "mulx" { prefix: F2, map: M0f38, op: 0xf6, keeps_flags: true };
    /// `RORX r, r/m, imm8`
    RORX: VexRRmI8 = "rorx" { prefix: F2, map: M0f3a, op: 0xf0, keeps_flags: true };

    /// `LOCK CMPXCHG m16, r16`
    LOCK_CMPXCHG_M16_R16: MR = "cmpxchg" { prefix: Lock66, map: M0f, op: 0xb1, wide: W0 };
}
