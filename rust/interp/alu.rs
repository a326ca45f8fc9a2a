// SPDX-License-Identifier: GPL-2.0

//! What arithmetic, byte order operations and conditions compute (RFC 9669, sections 4.1 to 4.3).
//!
//! Pure functions on numbers: the interpreter runs them, and tests of the JIT and of the
//! verifier's domains measure against them.

use crate::isa::{AluOp, Cond, Size, SwapKind, Width};

/// `a op b`; with `W32` both operands are cut to their low half and so is the result.
#[inline]
pub const fn alu(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    match width {
        Width::W64 => alu64(op, a, b),
        Width::W32 => alu32(op, a as u32, b as u32) as u64,
    }
}

/// Makes `alu32` and `alu64`, which differ in their types only.
macro_rules! alu_of {
    ($name:ident, $unsigned:ty, $signed:ty) => {
        #[inline(always)]
        const fn $name(op: AluOp, a: $unsigned, b: $unsigned) -> $unsigned {
            match op {
                AluOp::Add => a.wrapping_add(b),
                AluOp::Sub => a.wrapping_sub(b),
                AluOp::Mul => a.wrapping_mul(b),
                AluOp::Div => match a.checked_div(b) {
                    Some(quotient) => quotient,
                    None => 0,
                },
                AluOp::Sdiv => match b {
                    0 => 0,
                    _ => (a as $signed).wrapping_div(b as $signed) as $unsigned,
                },
                AluOp::Or => a | b,
                AluOp::And => a & b,
                AluOp::Lsh => a.wrapping_shl(b as u32),
                AluOp::Rsh => a.wrapping_shr(b as u32),
                AluOp::Mod => match a.checked_rem(b) {
                    Some(rest) => rest,
                    None => a,
                },
                AluOp::Smod => match b {
                    0 => a,
                    _ => (a as $signed).wrapping_rem(b as $signed) as $unsigned,
                },
                AluOp::Xor => a ^ b,
                AluOp::Arsh => (a as $signed).wrapping_shr(b as u32) as $unsigned,
            }
        }
    };
}

alu_of!(alu64, u64, i64);
alu_of!(alu32, u32, i32);

/// `-a`
#[inline]
pub const fn neg(width: Width, a: u64) -> u64 {
    match width {
        Width::W64 => a.wrapping_neg(),
        Width::W32 => (a as u32).wrapping_neg() as u64,
    }
}

/// The immediate operand of an operation of that width.
#[inline]
pub const fn imm(width: Width, imm: i32) -> u64 {
    match width {
        Width::W64 => imm as i64 as u64,
        Width::W32 => imm as u32 as u64,
    }
}

/// `a` cut to `width`.
#[inline]
pub const fn truncate(width: Width, a: u64) -> u64 {
    match width {
        Width::W64 => a,
        Width::W32 => a as u32 as u64,
    }
}

/// The low `from` bytes of `a`, sign-extended to 64 bits.
#[inline]
pub const fn sign_extend(from: Size, a: u64) -> u64 {
    match from {
        Size::B => a as i8 as i64 as u64,
        Size::H => a as i16 as i64 as u64,
        Size::W => a as i32 as i64 as u64,
        Size::Dw => a,
    }
}

/// The low `size` bytes of `a`.
#[inline]
pub const fn zero_extend(size: Size, a: u64) -> u64 {
    match size {
        Size::B => a as u8 as u64,
        Size::H => a as u16 as u64,
        Size::W => a as u32 as u64,
        Size::Dw => a,
    }
}

/// Byte order operation on the low `size` bytes, on a little-endian machine.
#[inline]
pub const fn swap(kind: SwapKind, size: Size, a: u64) -> u64 {
    match kind {
        SwapKind::ToLe => zero_extend(size, a),
        SwapKind::ToBe | SwapKind::Bswap => match size {
            Size::B => a as u8 as u64,
            Size::H => (a as u16).swap_bytes() as u64,
            Size::W => (a as u32).swap_bytes() as u64,
            Size::Dw => a.swap_bytes(),
        },
    }
}

/// Whether `a cond b`; with `W32` the low halves are compared.
#[inline]
pub const fn cond(cond: Cond, width: Width, a: u64, b: u64) -> bool {
    let (a, b, signed_a, signed_b) = match width {
        Width::W64 => (a, b, a as i64, b as i64),
        Width::W32 => (
            a as u32 as u64,
            b as u32 as u64,
            a as i32 as i64,
            b as i32 as i64,
        ),
    };
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Set => a & b != 0,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Sgt => signed_a > signed_b,
        Cond::Sge => signed_a >= signed_b,
        Cond::Slt => signed_a < signed_b,
        Cond::Sle => signed_a <= signed_b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN64: u64 = i64::MIN as u64;
    const MIN32: u64 = 0x8000_0000;
    const M1: u64 = u64::MAX;

    #[test]
    fn division_corners() {
        use AluOp::*;
        use Width::*;
        assert_eq!(alu(Div, W64, 7, 0), 0);
        assert_eq!(alu(Mod, W64, M1, 0), M1);
        assert_eq!(alu(Mod, W32, M1, 0), 0xffff_ffff);
        assert_eq!(alu(Mod, W32, M1, 1 << 32), 0xffff_ffff);
        assert_eq!(alu(Sdiv, W64, MIN64, M1), MIN64);
        assert_eq!(alu(Smod, W64, MIN64, M1), 0);
        assert_eq!(alu(Sdiv, W32, MIN32, M1), MIN32);
        assert_eq!(alu(Smod, W32, MIN32, M1), 0);
        assert_eq!(alu(Sdiv, W64, (-7i64) as u64, 2), (-3i64) as u64);
        assert_eq!(alu(Smod, W64, (-7i64) as u64, 2), M1);
        assert_eq!(alu(Smod, W32, (-7i64) as u64, 2), 0xffff_ffff);
        assert_eq!(alu(Div, W64, M1, 2), M1 >> 1);
    }

    #[test]
    fn shifts_take_the_count_modulo_the_width() {
        use AluOp::*;
        use Width::*;
        assert_eq!(alu(Lsh, W64, 1, 65), 2);
        assert_eq!(alu(Lsh, W32, 1, 33), 2);
        assert_eq!(alu(Rsh, W32, M1, 4), 0x0fff_ffff);
        assert_eq!(alu(Arsh, W32, MIN32, 31), 0xffff_ffff);
        assert_eq!(alu(Arsh, W64, MIN64, 63), M1);
    }

    #[test]
    fn swaps_and_extensions() {
        let v = 0x0102_0304_0506_0708;
        assert_eq!(swap(SwapKind::ToLe, Size::H, v), 0x0708);
        assert_eq!(swap(SwapKind::ToBe, Size::H, v), 0x0807);
        assert_eq!(swap(SwapKind::Bswap, Size::W, v), 0x0807_0605);
        assert_eq!(swap(SwapKind::Bswap, Size::Dw, v), 0x0807_0605_0403_0201);
        assert_eq!(sign_extend(Size::B, 0x180), M1 << 7);
        assert_eq!(zero_extend(Size::B, 0x180), 0x80);
    }

    #[test]
    fn conditions_by_width() {
        assert!(cond(Cond::Eq, Width::W32, 1 << 32, 0));
        assert!(!cond(Cond::Eq, Width::W64, 1 << 32, 0));
        assert!(cond(Cond::Slt, Width::W32, MIN32, 0));
        assert!(!cond(Cond::Slt, Width::W64, MIN32, 0));
        assert!(cond(Cond::Gt, Width::W64, M1, 0));
    }
}
