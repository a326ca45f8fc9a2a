// SPDX-License-Identifier: GPL-2.0

//! Encodes a row of [`super::inst`] with its operands to bytes.

use super::inst::{shape, Form, Map, Prefix, Row, Wide};
use super::reg::{Cc, Gpr, Mem, Rm};
use crate::isa::Width;

/// Longest instruction that can exist.
pub const MAX_LEN: usize = 15;

/// One encoded instruction.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    bytes: [u8; MAX_LEN],
    len: u8,
    /// The instruction leaves the arithmetic flags alone.
    pub keeps_flags: bool,
}

impl Encoded {
    const fn new(keeps_flags: bool) -> Self {
        Encoded {
            bytes: [0; MAX_LEN],
            len: 0,
            keeps_flags,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    fn byte(&mut self, b: u8) {
        if let Some(slot) = self.bytes.get_mut(usize::from(self.len)) {
            *slot = b;
            self.len = self.len.wrapping_add(1);
        }
    }

    fn all(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.byte(*b);
        }
    }

    /// ModRM, SIB and displacement for register field `reg`.
    fn modrm(&mut self, reg: u8, rm: &Rm) {
        let reg = (reg & 7) << 3;
        let mem = match rm {
            Rm::Reg(r) => return self.byte(0xc0 | reg | r.low()),
            Rm::Mem(mem) => mem,
        };
        let Some(base) = mem.base else {
            // SIB without base: always a 32-bit displacement.
            self.byte(reg | 4);
            let (index, scale) = match mem.index {
                Some((i, s)) => (i.gpr().low(), s.log2()),
                None => (4, 0),
            };
            self.byte((scale << 6) | (index << 3) | 5);
            return self.all(&mem.disp.to_le_bytes());
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
            0x40 => self.all(mem.disp.to_le_bytes().get(..1).unwrap_or(&[])),
            _ => self.all(&mem.disp.to_le_bytes()),
        }
    }

    fn prefixes(&mut self, row: &Row, gs: bool) {
        if gs {
            self.byte(0x65);
        }
        match row.prefix {
            Prefix::No => {}
            Prefix::P66 => self.byte(0x66),
            Prefix::F2 => self.byte(0xf2),
            Prefix::F3 => self.byte(0xf3),
            Prefix::Lock => self.byte(0xf0),
            Prefix::Lock66 => self.all(&[0xf0, 0x66]),
        }
    }

    fn opcode(&mut self, row: &Row, add: u8) {
        match row.map {
            Map::One => {}
            Map::M0f => self.byte(0x0f),
            Map::M0f38 => self.all(&[0x0f, 0x38]),
            Map::M0f3a => self.all(&[0x0f, 0x3a]),
        }
        self.byte(row.op.wrapping_add(add));
    }
}

fn wide(row: &Row, w: Width) -> bool {
    match row.wide {
        Wide::Arg => w == Width::W64,
        Wide::W0 => false,
        Wide::W1 => true,
    }
}

/// The REX bits that `rm` needs: X (2) and B (1).
fn rex_xb(rm: &Rm) -> u8 {
    match rm {
        Rm::Reg(r) => u8::from(r.high()),
        Rm::Mem(m) => {
            let b = u8::from(m.base.is_some_and(Gpr::high));
            let x = u8::from(m.index.is_some_and(|(i, _)| i.gpr().high()));
            (x << 1) | b
        }
    }
}

fn gs(rm: &Rm) -> bool {
    matches!(rm, Rm::Mem(m) if m.gs)
}

/// Prefixes, REX, opcode and ModRM of a legacy (non-VEX) form.
fn legacy(row: &Row, w: Width, reg: Option<Gpr>, rm: &Rm, add: u8) -> Encoded {
    let mut e = Encoded::new(row.keeps_flags);
    e.prefixes(row, gs(rm));
    let mut rex = rex_xb(rm);
    let mut force = false;
    if wide(row, w) {
        rex |= 8;
    }
    if let Some(r) = reg {
        if r.high() {
            rex |= 4;
        }
        force |= row.reg8 && r.byte_needs_rex();
    }
    if let Rm::Reg(r) = rm {
        force |= row.rm8 && r.byte_needs_rex();
    }
    if rex != 0 || force {
        e.byte(0x40 | rex);
    }
    e.opcode(row, add);
    let field = match reg {
        Some(r) => r.low(),
        None => row.digit,
    };
    e.modrm(field, rm);
    e
}

/// Like [`legacy`] for forms that have the register in the opcode byte.
fn opcode_reg(row: &Row, w: Width, reg: Gpr) -> Encoded {
    let mut e = Encoded::new(row.keeps_flags);
    e.prefixes(row, false);
    let rex = (u8::from(wide(row, w)) << 3) | u8::from(reg.high());
    if rex != 0 {
        e.byte(0x40 | rex);
    }
    e.opcode(row, reg.low());
    e
}

fn vex(row: &Row, w: Width, reg: Gpr, v: Option<Gpr>, rm: &Rm) -> Encoded {
    let mut e = Encoded::new(row.keeps_flags);
    if gs(rm) {
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
    let rxb = (u8::from(reg.high()) << 2) | rex_xb(rm);
    let vvvv = v.map_or(0, |v| v as u8);
    e.byte(0xc4);
    e.byte(((!rxb & 7) << 5) | map);
    e.byte((u8::from(wide(row, w)) << 7) | ((!vvvv & 0xf) << 3) | pp);
    e.byte(row.op);
    e.modrm(reg.low(), rm);
    e
}

/// `op r/m, r`
pub fn rm_r(f: &Form<shape::RmR>, w: Width, rm: impl Into<Rm>, r: Gpr) -> Encoded {
    legacy(f.row(), w, Some(r), &rm.into(), 0)
}

/// `op r, r/m`
pub fn r_rm(f: &Form<shape::RRm>, w: Width, r: Gpr, rm: impl Into<Rm>) -> Encoded {
    legacy(f.row(), w, Some(r), &rm.into(), 0)
}

/// `op r, m`
pub fn r_m(f: &Form<shape::RM>, w: Width, r: Gpr, m: Mem) -> Encoded {
    legacy(f.row(), w, Some(r), &Rm::Mem(m), 0)
}

/// `op m, r`
pub fn m_r(f: &Form<shape::MR>, w: Width, m: Mem, r: Gpr) -> Encoded {
    legacy(f.row(), w, Some(r), &Rm::Mem(m), 0)
}

/// `op r/m`
pub fn rm(f: &Form<shape::Rm>, w: Width, rm: impl Into<Rm>) -> Encoded {
    legacy(f.row(), w, None, &rm.into(), 0)
}

/// `op r/m, cl`
pub fn rm_cl(f: &Form<shape::RmCl>, w: Width, rm: impl Into<Rm>) -> Encoded {
    legacy(f.row(), w, None, &rm.into(), 0)
}

/// `op r/m, imm8`
pub fn rm_i8(f: &Form<shape::RmI8>, w: Width, rm: impl Into<Rm>, imm: i8) -> Encoded {
    let mut e = legacy(f.row(), w, None, &rm.into(), 0);
    e.all(&imm.to_le_bytes());
    e
}

/// `op r/m, imm16`
pub fn rm_i16(f: &Form<shape::RmI16>, w: Width, rm: impl Into<Rm>, imm: i16) -> Encoded {
    let mut e = legacy(f.row(), w, None, &rm.into(), 0);
    e.all(&imm.to_le_bytes());
    e
}

/// `op r/m, imm32`
pub fn rm_i32(f: &Form<shape::RmI32>, w: Width, rm: impl Into<Rm>, imm: i32) -> Encoded {
    let mut e = legacy(f.row(), w, None, &rm.into(), 0);
    e.all(&imm.to_le_bytes());
    e
}

/// `op m, imm8`
pub fn m_i8(f: &Form<shape::MI8>, w: Width, m: Mem, imm: i8) -> Encoded {
    let mut e = legacy(f.row(), w, None, &Rm::Mem(m), 0);
    e.all(&imm.to_le_bytes());
    e
}

/// `op m, imm32`
pub fn m_i32(f: &Form<shape::MI32>, w: Width, m: Mem, imm: i32) -> Encoded {
    let mut e = legacy(f.row(), w, None, &Rm::Mem(m), 0);
    e.all(&imm.to_le_bytes());
    e
}

/// `op r, r/m, imm8`
pub fn r_rm_i8(f: &Form<shape::RRmI8>, w: Width, r: Gpr, rm: impl Into<Rm>, imm: i8) -> Encoded {
    let mut e = legacy(f.row(), w, Some(r), &rm.into(), 0);
    e.all(&imm.to_le_bytes());
    e
}

/// `op r, r/m, imm32`
pub fn r_rm_i32(f: &Form<shape::RRmI32>, w: Width, r: Gpr, rm: impl Into<Rm>, imm: i32) -> Encoded {
    let mut e = legacy(f.row(), w, Some(r), &rm.into(), 0);
    e.all(&imm.to_le_bytes());
    e
}

/// `op r`
pub fn o(f: &Form<shape::O>, w: Width, r: Gpr) -> Encoded {
    opcode_reg(f.row(), w, r)
}

/// `op r, imm32`
pub fn o_i32(f: &Form<shape::OI32>, r: Gpr, imm: u32) -> Encoded {
    let mut e = opcode_reg(f.row(), Width::W32, r);
    e.all(&imm.to_le_bytes());
    e
}

/// `op r, imm64`
pub fn o_i64(f: &Form<shape::OI64>, r: Gpr, imm: u64) -> Encoded {
    let mut e = opcode_reg(f.row(), Width::W64, r);
    e.all(&imm.to_le_bytes());
    e
}

/// `op`
pub fn zo(f: &Form<shape::Zo>, w: Width) -> Encoded {
    let row = f.row();
    let mut e = Encoded::new(row.keeps_flags);
    e.prefixes(row, false);
    if wide(row, w) {
        e.byte(0x48);
    }
    e.opcode(row, 0);
    e
}

/// `op<cc> r, r/m`
pub fn cc_r_rm(f: &Form<shape::CcRRm>, cc: Cc, w: Width, r: Gpr, rm: impl Into<Rm>) -> Encoded {
    legacy(f.row(), w, Some(r), &rm.into(), cc as u8)
}

/// `op<cc> r/m`
pub fn cc_rm(f: &Form<shape::CcRm>, cc: Cc, rm: impl Into<Rm>) -> Encoded {
    legacy(f.row(), Width::W32, None, &rm.into(), cc as u8)
}

/// `op r, r/m, v`
pub fn vex_r_rm_v(
    f: &Form<shape::VexRRmV>,
    w: Width,
    r: Gpr,
    rm: impl Into<Rm>,
    v: Gpr,
) -> Encoded {
    vex(f.row(), w, r, Some(v), &rm.into())
}

/// `op r, v, r/m`
pub fn vex_r_v_rm(
    f: &Form<shape::VexRVRm>,
    w: Width,
    r: Gpr,
    v: Gpr,
    rm: impl Into<Rm>,
) -> Encoded {
    vex(f.row(), w, r, Some(v), &rm.into())
}

/// `op r, r/m, imm8` (VEX)
pub fn vex_r_rm_i8(
    f: &Form<shape::VexRRmI8>,
    w: Width,
    r: Gpr,
    rm: impl Into<Rm>,
    imm: i8,
) -> Encoded {
    let mut e = vex(f.row(), w, r, None, &rm.into());
    e.all(&imm.to_le_bytes());
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
    e.all(&[0x0f, 0xae, 0xe8]);
    e
}

/// `endbr64`
pub fn endbr64() -> Encoded {
    let mut e = Encoded::new(true);
    e.all(&[0xf3, 0x0f, 0x1e, 0xfa]);
    e
}
