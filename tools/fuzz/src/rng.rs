// SPDX-License-Identifier: GPL-2.0

//! Random numbers that a seed determines.

/// Xorshift.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of that seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d | 1);
        for _ in 0..4 {
            rng.u64();
        }
        rng
    }

    /// Any number.
    pub fn u64(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        ((self.u64() >> 32) as usize) % end
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A number that is likely to lie next to a power of two, a boundary, or zero.
    pub fn edge(&mut self) -> u64 {
        let x = self.u64();
        let near = (self.below(7) as u64).wrapping_sub(3);
        let bit = 1u64 << self.below(64);
        match self.below(9) {
            0 => near,
            1 => bit.wrapping_add(near),
            2 => bit.wrapping_neg().wrapping_add(near),
            3 => 0xffff_ffffu64.wrapping_add(near) ^ (x << 32),
            4 => x >> self.below(64),
            5 => ((x as i64) >> self.below(64)) as u64,
            6 => x & self.u64() & self.u64(),
            7 => self.below(64) as u64,
            _ => x,
        }
    }

    /// Bytes full of such numbers.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        let style = self.below(6);
        while bytes.len() < len {
            match style {
                0 => bytes.push(0),
                1 => bytes.push(0xff),
                2 => bytes.extend((self.below(66) as u64).to_le_bytes()),
                _ if self.one_in(4) => bytes.push(self.u64() as u8),
                _ if self.one_in(4) => bytes.extend([0; 8]),
                _ => bytes.extend(self.edge().to_le_bytes()),
            }
        }
        bytes.truncate(len);
        bytes
    }
}
