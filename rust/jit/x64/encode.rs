// SPDX-License-Identifier: GPL-2.0

//! Encodes a row of [`super::inst`] with its operands to bytes.

use super::inst::{shape, Encoding, Form, Map, Packed, Prefix, Row, Wide};
use super::reg::{Cc, Gpr, Mem, Rm};
use crate::isa::Width;

/// Bytes that [`Encoded::write`] writes, of which the longest instruction has 15.
pub const ROOM: usize = 16;

/// One encoded instruction.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    /// Prefixes, opcode, ModRM and SIB, the first in the lowest byte: at most eight.
    head: u64,
    /// Displacement and immediate, the same way.
    tail: u64,
    head_bits: u32,
    tail_bits: u32,
    /// The instruction leaves the arithmetic flags alone.
    pub keeps_flags: bool,
}

impl Encoded {
    const fn new(keeps_flags: bool) -> Self {
        Encoded {
            head: 0,
            tail: 0,
            head_bits: 0,
            tail_bits: 0,
            keeps_flags,
        }
    }

    /// Writes the instruction, and what is left with anything; returns its length.
    pub fn write(&self, to: &mut [u8; ROOM]) -> usize {
        let (head, tail) = (u128::from(self.head), u128::from(self.tail));
        *to = (head | tail.wrapping_shl(self.head_bits)).to_le_bytes();
        let bytes = self.head_bits.wrapping_add(self.tail_bits).wrapping_shr(3);
        usize::try_from(bytes).unwrap_or(0)
    }

    fn byte(&mut self, b: u8) {
        self.head |= u64::from(b).wrapping_shl(self.head_bits);
        self.head_bits = self.head_bits.wrapping_add(8);
    }

    /// Appends the low `bits` bits of a displacement or an immediate.
    fn number(&mut self, n: u64, bits: u32) {
        self.tail |= n.wrapping_shl(self.tail_bits);
        self.tail_bits = self.tail_bits.wrapping_add(bits);
    }

    fn imm8(&mut self, n: i8) {
        self.number(u64::from(u8::from_ne_bytes(n.to_ne_bytes())), 8);
    }

    fn imm32(&mut self, n: i32) {
        self.number(u64::from(u32::from_ne_bytes(n.to_ne_bytes())), 32);
    }

    /// ModRM, SIB and displacement for register field `reg`.
    fn modrm_mem(&mut self, reg: u8, mem: &Mem) {
        let reg = (reg & 7) << 3;
        let Some(base) = mem.base else {
            // SIB without base: always a 32-bit displacement.
            self.byte(reg | 4);
            let (index, scale) = match mem.index {
                Some((i, s)) => (i.gpr().low(), s.log2()),
                None => (4, 0),
            };
            self.byte((scale << 6) | (index << 3) | 5);
            return self.imm32(mem.disp);
        };
        // rbp and r13 without displacement would mean something else.
        let mode = if mem.disp == 0 && base.low() != 5 {
            0
        } else if i8::try_from(mem.disp).is_ok() {
            0x40
        } else {
            0x80
        };
        match mem.index {
            Some((i, s)) => {
                self.byte(mode | reg | 4);
                self.byte((s.log2() << 6) | (i.gpr().low() << 3) | base.low());
            }
            None if base.low() == 4 => {
                // rsp and r12 as base need a SIB byte.
                self.byte(mode | reg | 4);
                self.byte((4 << 3) | base.low());
            }
            None => self.byte(mode | reg | base.low()),
        }
        match mode {
            0 => {}
            0x40 => self.imm8(i8::try_from(mem.disp).unwrap_or(0)),
            _ => self.imm32(mem.disp),
        }
    }

    /// The opcode with `add` in its last byte.
    fn opcode(&mut self, p: Packed, add: u8) {
        self.packed(p);
        let last = self.head_bits.wrapping_sub(8);
        self.head = self.head.wrapping_add(u64::from(add).wrapping_shl(last));
    }

    fn packed(&mut self, p: Packed) {
        self.head |= u64::from(p.bytes).wrapping_shl(self.head_bits);
        self.head_bits = self.head_bits.wrapping_add(p.bits);
    }
}

fn wide(row: &Row, w: Width) -> bool {
    match row.wide {
        Wide::Arg => w == Width::W64,
        Wide::W0 => false,
        Wide::W1 => true,
    }
}

/// A register or memory operand. What encodes it is made for each type, so that a register's is short.
pub trait Operand: Copy {
    /// The REX bits that it needs: X (2) and B (1).
    fn rex_xb(self) -> u8;

    /// It needs the prefix of segment `gs`.
    fn gs(self) -> bool;

    /// As a byte it needs a REX prefix.
    fn byte_needs_rex(self) -> bool;

    /// Appends ModRM, SIB and displacement, with `reg` in the register field.
    fn modrm(self, e: &mut Encoded, reg: u8);
}

impl Operand for Gpr {
    fn rex_xb(self) -> u8 {
        u8::from(self.high())
    }

    fn gs(self) -> bool {
        false
    }

    fn byte_needs_rex(self) -> bool {
        Gpr::byte_needs_rex(self)
    }

    fn modrm(self, e: &mut Encoded, reg: u8) {
        e.byte(0xc0 | ((reg & 7) << 3) | self.low());
    }
}

impl Operand for Mem {
    fn rex_xb(self) -> u8 {
        let b = u8::from(self.base.is_some_and(Gpr::high));
        let x = u8::from(self.index.is_some_and(|(i, _)| i.gpr().high()));
        (x << 1) | b
    }

    fn gs(self) -> bool {
        self.gs
    }

    fn byte_needs_rex(self) -> bool {
        false
    }

    fn modrm(self, e: &mut Encoded, reg: u8) {
        e.modrm_mem(reg, &self);
    }
}

impl Operand for Rm {
    fn rex_xb(self) -> u8 {
        match self {
            Rm::Reg(r) => r.rex_xb(),
            Rm::Mem(m) => m.rex_xb(),
        }
    }

    fn gs(self) -> bool {
        matches!(self, Rm::Mem(m) if m.gs)
    }

    fn byte_needs_rex(self) -> bool {
        matches!(self, Rm::Reg(r) if r.byte_needs_rex())
    }

    fn modrm(self, e: &mut Encoded, reg: u8) {
        match self {
            Rm::Reg(r) => r.modrm(e, reg),
            Rm::Mem(m) => m.modrm(e, reg),
        }
    }
}

/// Prefixes, REX, opcode and ModRM of a legacy (non-VEX) form; `add` goes to the opcode.
fn legacy(f: &Encoding, w: Width, reg: Option<Gpr>, rm: impl Operand, add: u8) -> Encoded {
    let row = &f.row;
    let mut e = Encoded::new(row.keeps_flags);
    if rm.gs() {
        e.byte(0x65);
    }
    e.packed(f.prefix);
    let mut rex = rm.rex_xb();
    let mut force = false;
    if wide(row, w) {
        rex |= 8;
    }
    let mut field = row.digit;
    if let Some(r) = reg {
        rex |= u8::from(r.high()) << 2;
        force = row.reg8 && r.byte_needs_rex();
        field = r.low();
    }
    force |= row.rm8 && rm.byte_needs_rex();
    if rex != 0 || force {
        e.byte(0x40 | rex);
    }
    e.opcode(f.opcode, add);
    rm.modrm(&mut e, field);
    e
}

/// Like [`legacy`] for forms that have the register in the opcode byte.
fn opcode_reg(f: &Encoding, w: Width, reg: Gpr) -> Encoded {
    let row = &f.row;
    let mut e = Encoded::new(row.keeps_flags);
    e.packed(f.prefix);
    let rex = (u8::from(wide(row, w)) << 3) | u8::from(reg.high());
    if rex != 0 {
        e.byte(0x40 | rex);
    }
    e.opcode(f.opcode, reg.low());
    e
}

fn vex(row: &Row, w: Width, reg: Gpr, v: Option<Gpr>, rm: impl Operand) -> Encoded {
    let mut e = Encoded::new(row.keeps_flags);
    if rm.gs() {
        e.byte(0x65);
    }
    let map = match row.map {
        Map::One | Map::M0f => 1,
        Map::M0f38 => 2,
        Map::M0f3a => 3,
    };
    let pp = match row.prefix {
        Prefix::No | Prefix::Lock | Prefix::Lock66 => 0,
        Prefix::P66 => 1,
        Prefix::F3 => 2,
        Prefix::F2 => 3,
    };
    // R, X, B and vvvv are stored inverted.
    let rxb = (u8::from(reg.high()) << 2) | rm.rex_xb();
    let vvvv = v.map_or(0, |v| v as u8);
    e.byte(0xc4);
    e.byte(((!rxb & 7) << 5) | map);
    e.byte((u8::from(wide(row, w)) << 7) | ((!vvvv & 0xf) << 3) | pp);
    e.byte(row.op);
    rm.modrm(&mut e, reg.low());
    e
}

/// `op r/m, r`
pub fn rm_r(f: &Form<shape::RmR>, w: Width, rm: impl Operand, r: Gpr) -> Encoded {
    legacy(f.encoding(), w, Some(r), rm, 0)
}

/// `op r, r/m`
pub fn r_rm(f: &Form<shape::RRm>, w: Width, r: Gpr, rm: impl Operand) -> Encoded {
    legacy(f.encoding(), w, Some(r), rm, 0)
}

/// `op r, m`
pub fn r_m(f: &Form<shape::RM>, w: Width, r: Gpr, m: Mem) -> Encoded {
    legacy(f.encoding(), w, Some(r), m, 0)
}

/// `op m, r`
pub fn m_r(f: &Form<shape::MR>, w: Width, m: Mem, r: Gpr) -> Encoded {
    legacy(f.encoding(), w, Some(r), m, 0)
}

/// `op r/m`
pub fn rm(f: &Form<shape::Rm>, w: Width, rm: impl Operand) -> Encoded {
    legacy(f.encoding(), w, None, rm, 0)
}

/// `op r/m, cl`
pub fn rm_cl(f: &Form<shape::RmCl>, w: Width, rm: impl Operand) -> Encoded {
    legacy(f.encoding(), w, None, rm, 0)
}

/// `op r/m, imm8`
pub fn rm_i8(f: &Form<shape::RmI8>, w: Width, rm: impl Operand, imm: i8) -> Encoded {
    let mut e = legacy(f.encoding(), w, None, rm, 0);
    e.imm8(imm);
    e
}

/// `op r/m, imm16`
pub fn rm_i16(f: &Form<shape::RmI16>, w: Width, rm: impl Operand, imm: i16) -> Encoded {
    let mut e = legacy(f.encoding(), w, None, rm, 0);
    e.number(u64::from(u16::from_ne_bytes(imm.to_ne_bytes())), 16);
    e
}

/// `op r/m, imm32`
pub fn rm_i32(f: &Form<shape::RmI32>, w: Width, rm: impl Operand, imm: i32) -> Encoded {
    let mut e = legacy(f.encoding(), w, None, rm, 0);
    e.imm32(imm);
    e
}

/// `op m, imm8`
pub fn m_i8(f: &Form<shape::MI8>, w: Width, m: Mem, imm: i8) -> Encoded {
    let mut e = legacy(f.encoding(), w, None, m, 0);
    e.imm8(imm);
    e
}

/// `op m, imm32`
pub fn m_i32(f: &Form<shape::MI32>, w: Width, m: Mem, imm: i32) -> Encoded {
    let mut e = legacy(f.encoding(), w, None, m, 0);
    e.imm32(imm);
    e
}

/// `op r, r/m, imm8`
pub fn r_rm_i8(f: &Form<shape::RRmI8>, w: Width, r: Gpr, rm: impl Operand, imm: i8) -> Encoded {
    let mut e = legacy(f.encoding(), w, Some(r), rm, 0);
    e.imm8(imm);
    e
}

/// `op r, r/m, imm32`
pub fn r_rm_i32(f: &Form<shape::RRmI32>, w: Width, r: Gpr, rm: impl Operand, imm: i32) -> Encoded {
    let mut e = legacy(f.encoding(), w, Some(r), rm, 0);
    e.imm32(imm);
    e
}

/// `op r`
pub fn o(f: &Form<shape::O>, w: Width, r: Gpr) -> Encoded {
    opcode_reg(f.encoding(), w, r)
}

/// `op r, imm32`
pub fn o_i32(f: &Form<shape::OI32>, r: Gpr, imm: u32) -> Encoded {
    let mut e = opcode_reg(f.encoding(), Width::W32, r);
    e.number(u64::from(imm), 32);
    e
}

/// `op r, imm64`
pub fn o_i64(f: &Form<shape::OI64>, r: Gpr, imm: u64) -> Encoded {
    let mut e = opcode_reg(f.encoding(), Width::W64, r);
    e.number(imm, 64);
    e
}

/// `op`
pub fn zo(f: &Form<shape::Zo>, w: Width) -> Encoded {
    let row = f.row();
    let mut e = Encoded::new(row.keeps_flags);
    e.packed(f.encoding().prefix);
    if wide(row, w) {
        e.byte(0x48);
    }
    e.opcode(f.encoding().opcode, 0);
    e
}

/// `op<cc> r, r/m`
pub fn cc_r_rm(f: &Form<shape::CcRRm>, cc: Cc, w: Width, r: Gpr, rm: impl Operand) -> Encoded {
    legacy(f.encoding(), w, Some(r), rm, cc as u8)
}

/// `op<cc> r/m`
pub fn cc_rm(f: &Form<shape::CcRm>, cc: Cc, rm: impl Operand) -> Encoded {
    legacy(f.encoding(), Width::W32, None, rm, cc as u8)
}

/// `op r, r/m, v`
pub fn vex_r_rm_v(f: &Form<shape::VexRRmV>, w: Width, r: Gpr, rm: impl Operand, v: Gpr) -> Encoded {
    vex(f.row(), w, r, Some(v), rm)
}

/// `op r, v, r/m`
pub fn vex_r_v_rm(f: &Form<shape::VexRVRm>, w: Width, r: Gpr, v: Gpr, rm: impl Operand) -> Encoded {
    vex(f.row(), w, r, Some(v), rm)
}

/// `op r, r/m, imm8` (VEX)
pub fn vex_r_rm_i8(
    f: &Form<shape::VexRRmI8>,
    w: Width,
    r: Gpr,
    rm: impl Operand,
    imm: i8,
) -> Encoded {
    let mut e = vex(f.row(), w, r, None, rm);
    e.imm8(imm);
    e
}

/// `lea r64, [rip + rel32]` up to, and without, the four bytes of `rel32`.
pub fn lea_rip(r: Gpr) -> Encoded {
    let mut e = Encoded::new(true);
    e.byte(0x48 | (u8::from(r.high()) << 2));
    e.byte(0x8d);
    e.byte((r.low() << 3) | 5);
    e
}

/// `lfence`
pub fn lfence() -> Encoded {
    let mut e = Encoded::new(true);
    e.number(0xe8_ae0f, 24);
    e
}

/// `endbr64`
pub fn endbr64() -> Encoded {
    let mut e = Encoded::new(true);
    e.number(0xfa1e_0ff3, 32);
    e
}
