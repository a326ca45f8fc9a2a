// SPDX-License-Identifier: GPL-2.0

//! An assembler for programs that depend on parameters: instruction by instruction, with labels.

use oxbpf::{Map, Slot};
use std::os::fd::{AsFd, AsRawFd};

/// Register numbers, for reading.
pub const R0: u8 = 0;
pub const R1: u8 = 1;
pub const R2: u8 = 2;
pub const R3: u8 = 3;
pub const R4: u8 = 4;
pub const R5: u8 = 5;
pub const R6: u8 = 6;
pub const R7: u8 = 7;
pub const R8: u8 = 8;
pub const R9: u8 = 9;
pub const R10: u8 = 10;

/// Operation bits of ALU instructions.
#[derive(Clone, Copy)]
pub enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    Lsh = 0x60,
    Rsh = 0x70,
    Mod = 0x90,
    Xor = 0xa0,
    Mov = 0xb0,
}

/// Operation bits of jumps.
#[derive(Clone, Copy)]
pub enum Cond {
    Eq = 0x10,
    Gt = 0x20,
    Ne = 0x50,
    Lt = 0xa0,
}

/// Size bits of loads and stores.
#[derive(Clone, Copy)]
pub enum Size {
    W = 0x00,
    H = 0x08,
    B = 0x10,
    Dw = 0x18,
}

/// A place in the program, known sooner or later.
#[derive(Clone, Copy)]
pub struct Label(usize);

/// What of a slot a label fills in.
enum Use {
    Jump,
    Call,
}

/// A program that is being written.
#[derive(Default)]
pub struct Asm {
    slots: Vec<Slot>,
    labels: Vec<Option<usize>>,
    uses: Vec<(usize, usize, Use)>,
}

fn slot(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Slot {
    let [o0, o1] = off.to_le_bytes();
    let [a, b, c, d] = imm.to_le_bytes();
    [code, dst | (src << 4), o0, o1, a, b, c, d]
}

impl Asm {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// A label for a place that is not reached yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label is here.
    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.slots.len());
    }

    /// A label for this place.
    pub fn here(&mut self) -> Label {
        let label = self.label();
        self.bind(label);
        label
    }

    fn push(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.slots.push(slot(code, dst, src, off, imm));
    }

    /// `dst op= imm`, 64 bits
    pub fn alu(&mut self, op: Alu, dst: u8, imm: i32) {
        self.push(0x07 | op as u8, dst, 0, 0, imm);
    }

    /// `dst op= src`, 64 bits
    pub fn alu_reg(&mut self, op: Alu, dst: u8, src: u8) {
        self.push(0x0f | op as u8, dst, src, 0, 0);
    }

    /// `dst op= src`, 32 bits
    pub fn alu32_reg(&mut self, op: Alu, dst: u8, src: u8) {
        self.push(0x0c | op as u8, dst, src, 0, 0);
    }

    /// `dst = imm`
    pub fn mov(&mut self, dst: u8, imm: i32) {
        self.alu(Alu::Mov, dst, imm);
    }

    /// `dst = src`
    pub fn mov_reg(&mut self, dst: u8, src: u8) {
        self.alu_reg(Alu::Mov, dst, src);
    }

    /// `dst += imm`
    pub fn add(&mut self, dst: u8, imm: i32) {
        self.alu(Alu::Add, dst, imm);
    }

    /// `dst += src`
    pub fn add_reg(&mut self, dst: u8, src: u8) {
        self.alu_reg(Alu::Add, dst, src);
    }

    /// `dst = be16(dst)`
    pub fn be16(&mut self, dst: u8) {
        self.push(0xdc, dst, 0, 0, 16);
    }

    /// `dst = be32(dst)`
    pub fn be32(&mut self, dst: u8) {
        self.push(0xdc, dst, 0, 0, 32);
    }

    /// `dst = *(size *)(src + off)`
    pub fn ldx(&mut self, size: Size, dst: u8, src: u8, off: i16) {
        self.push(0x61 | size as u8, dst, src, off, 0);
    }

    /// `*(size *)(dst + off) = src`
    pub fn stx(&mut self, size: Size, dst: u8, off: i16, src: u8) {
        self.push(0x63 | size as u8, dst, src, off, 0);
    }

    /// `*(size *)(dst + off) = imm`
    pub fn st(&mut self, size: Size, dst: u8, off: i16, imm: i32) {
        self.push(0x62 | size as u8, dst, 0, off, imm);
    }

    /// `if dst cond imm goto to`, 64 bits
    pub fn jmp(&mut self, cond: Cond, dst: u8, imm: i32, to: Label) {
        self.uses.push((self.slots.len(), to.0, Use::Jump));
        self.push(0x05 | cond as u8, dst, 0, 0, imm);
    }

    /// `if dst cond src goto to`, 64 bits
    pub fn jmp_reg(&mut self, cond: Cond, dst: u8, src: u8, to: Label) {
        self.uses.push((self.slots.len(), to.0, Use::Jump));
        self.push(0x0d | cond as u8, dst, src, 0, 0);
    }

    /// Calls a helper by number.
    pub fn call(&mut self, helper: i32) {
        self.push(0x85, 0, 0, 0, helper);
    }

    /// Calls a function of the program.
    pub fn call_sub(&mut self, to: Label) {
        self.uses.push((self.slots.len(), to.0, Use::Call));
        self.push(0x85, 0, 1, 0, 0);
    }

    /// `dst = map`
    pub fn ld_map(&mut self, dst: u8, map: &Map) {
        self.push(0x18, dst, 1, 0, map.as_fd().as_raw_fd());
        self.push(0, 0, 0, 0, 0);
    }

    /// `dst = &value of the map + off`
    pub fn ld_value(&mut self, dst: u8, map: &Map, off: i32) {
        self.push(0x18, dst, 2, 0, map.as_fd().as_raw_fd());
        self.push(0, 0, 0, 0, off);
    }

    /// `exit`
    pub fn exit(&mut self) {
        self.push(0x95, 0, 0, 0, 0);
    }

    /// The finished program.
    pub fn finish(mut self) -> Vec<Slot> {
        for (at, label, what) in &self.uses {
            let to = self.labels[*label].expect("a label without a place") as i64;
            let distance = to - *at as i64 - 1;
            let (off, imm) = match what {
                Use::Jump => (i16::try_from(distance).expect("a jump too far"), None),
                Use::Call => (0, Some(distance as i32)),
            };
            let slot = &mut self.slots[*at];
            slot[2..4].copy_from_slice(&off.to_le_bytes());
            if let Some(imm) = imm {
                slot[4..].copy_from_slice(&imm.to_le_bytes());
            }
        }
        self.slots
    }
}
