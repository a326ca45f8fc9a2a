// SPDX-License-Identifier: GPL-2.0

//! Programs made from the tests by small random changes.

use crate::read::Test;
use oxbpf_core::isa::RawInsn;

/// A small generator of pseudo-random numbers (xorshift).
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const IMMS: [i32; 24] = [
    0,
    1,
    -1,
    2,
    4,
    7,
    8,
    16,
    31,
    32,
    40,
    41,
    47,
    48,
    63,
    64,
    255,
    256,
    0xffff,
    0x10000,
    0x1fff_ffff,
    i32::MAX,
    i32::MIN,
    -8,
];
const OFFS: [i16; 16] = [
    0, 1, 2, 3, -1, -2, -3, -4, -8, -16, -24, -32, 4, 8, 16, -512,
];
const REGS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
/// Arithmetic, moves, loads, stores and jumps in their common encodings.
const CODES: [u8; 62] = [
    0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x57, 0x5f, 0x67, 0x6f, 0x77, 0x7f,
    0x87, 0x97, 0x9f, 0xa7, 0xaf, 0xb7, 0xbf, 0xc7, 0xcf, 0x04, 0x0c, 0x14, 0x54, 0x5c, 0x64, 0x74,
    0xb4, 0xbc, 0xc4, 0x61, 0x69, 0x71, 0x79, 0x62, 0x6a, 0x72, 0x7a, 0x63, 0x6b, 0x73, 0x7b, 0x15,
    0x1d, 0x25, 0x2d, 0x35, 0x45, 0x55, 0x5d, 0x65, 0xa5, 0xc5, 0x16, 0x26, 0xa6, 0x66,
];

/// Changes one instruction somewhere.
fn change(insns: &mut [RawInsn], rng: &mut Rng, donors: &[&Test]) {
    let at = rng.below(insns.len());
    let donor = {
        let t = donors[rng.below(donors.len())];
        t.insns[rng.below(t.insns.len())]
    };
    let (imm, off, reg, code) = (
        rng.pick(&IMMS),
        rng.pick(&OFFS),
        rng.pick(&REGS),
        rng.pick(&CODES),
    );
    let other = insns[rng.below(insns.len())];
    let i = &mut insns[at];
    match rng.below(10) {
        0 => i.imm = imm,
        1 => i.imm = i.imm.wrapping_add(imm),
        2 => i.off = off,
        3 => i.off = i.off.wrapping_add(off),
        4 => i.regs = (i.regs & 0xf0) | reg,
        5 => i.regs = (i.regs & 0x0f) | (reg << 4),
        6 => i.code = code,
        7 => {
            *i = RawInsn {
                code,
                regs: reg | (rng.pick(&REGS) << 4),
                off: 0,
                imm: 0,
            };
            // Register forms have no immediate, memory forms have an offset.
            if code & 7 != 1 && code & 7 != 3 && code & 8 == 0 {
                i.imm = imm;
                i.regs &= 0x0f;
            }
            if code & 7 < 4 || code & 7 == 5 || code & 7 == 6 {
                i.off = off;
            }
            if code & 7 == 2 {
                i.imm = imm;
                i.regs &= 0x0f;
            }
        }
        8 => *i = other,
        _ => {
            if donor.code != 0x18 && donor.code != 0 {
                *i = donor;
            }
        }
    }
}

/// A changed copy of `t`.
pub fn mutate(t: &Test, rng: &mut Rng, donors: &[&Test]) -> Test {
    let mut new = t.clone();
    for _ in 0..=rng.below(4) {
        change(&mut new.insns, rng, donors);
    }
    new
}
