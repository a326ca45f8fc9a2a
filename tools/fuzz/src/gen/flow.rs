// SPDX-License-Identifier: GPL-2.0

//! Statements that branch, loop, call subprograms, and idioms of compiled code.

use super::*;

impl Gen<'_> {
    pub(super) fn branch(&mut self) {
        if self.nesting >= 4 {
            return self.arithmetic();
        }
        let dst = self.number();
        let cond = self.rng.pick(&CONDS);
        let class = self.rng.pick(&[0x05, 0x06]);
        let jump = if self.rng.one_in(2) {
            let src = self.number();
            self.put(class | 0x08 | cond, dst, src, 0, 0)
        } else {
            let imm = self.immediate();
            self.put(class | cond, dst, 0, 0, imm)
        };
        if self.rng.one_in(3) {
            self.bails.push(jump);
            return;
        }
        self.nesting += 1;
        let before = self.now.clone();
        let n = self.rng.below(5);
        self.block(n);
        if self.rng.one_in(2) {
            let over = self.put(0x05, 0, 0, 0, 0);
            self.land(jump);
            let then = std::mem::replace(&mut self.now, before);
            let n = self.rng.below(5);
            self.block(n);
            self.land(over);
            self.now.meet(&then);
        } else {
            self.land(jump);
            self.now.meet(&before);
        }
        self.nesting -= 1;
    }

    pub(super) fn loops(&mut self) {
        if self.nesting >= 3 {
            return;
        }
        let counter = self.rng.pick(&[7, 8, 9]);
        if self.counters.contains(&counter) {
            return;
        }
        let times = 1 + self.rng.below(12) as i32;
        let step = 1 + self.rng.below(3) as i32;
        let down = self.rng.one_in(4);
        self.put(0xb7, counter, 0, 0, if down { times } else { 0 });
        self.set(counter, Kind::Number);
        self.counters.push(counter);
        self.nesting += 1;
        let start = self.insns.len();
        let keep = self.now.clone();
        let n = 1 + self.rng.below(4);
        self.block(n);
        self.now.meet(&keep);
        let back = |gen: &Self| (start as i64 - gen.insns.len() as i64 - 1) as i16;
        if down {
            self.alu_imm(SUB, counter, 1);
            let off = back(self);
            self.put(0x55, counter, 0, off, 0);
        } else {
            self.alu_imm(ADD, counter, step);
            let off = back(self);
            let (code, limit) =
                self.rng
                    .pick(&[(0xa5, times), (0xb5, times), (0xc5, times), (0xa6, times)]);
            self.put(code, counter, 0, off, limit);
        }
        // The body's start may read a register that its end lost: then the program is refused.
        self.nesting -= 1;
        self.counters.pop();
    }

    pub(super) fn call_sub(&mut self) {
        if self.functions >= 3 {
            return;
        }
        self.functions += 1;
        if self.rng.one_in(4) {
            return self.walk();
        }
        let pointer = self.rng.one_in(2);
        if pointer {
            for slot in 0..2 {
                let imm = self.immediate();
                self.put(0x7a, 10, 0, -8 * (slot + 1), imm);
                self.now.slots[slot as usize] = Kind::Number;
            }
        }
        for reg in [1, 2] {
            let from = self.number();
            if from != reg {
                self.put(0xbf, reg, from, 0, 0);
            }
            self.set(reg, Kind::Number);
        }
        if pointer {
            self.put(0xbf, 3, 10, 0, 0);
            self.alu_imm(ADD, 3, -16);
        }
        let call = self.put(0x85, 0, 1, 0, 0);
        self.pending.push(Pending {
            call,
            pointer,
            walked: None,
        });
        for reg in 1..6 {
            self.set(reg, Kind::Unset);
        }
        self.set(0, Kind::Number);
    }

    /// Walks over a map's elements with a callback, which gets 16 bytes of the stack.
    fn walk(&mut self) {
        for slot in 0..2 {
            let imm = self.immediate();
            self.put(0x7a, 10, 0, -8 * (slot + 1), imm);
            self.now.slots[slot as usize] = Kind::Number;
        }
        let map = self.rng.below(2);
        let at = self.put(0x18, 1, 1, 0, 0);
        self.put(0, 0, 0, 0, 0);
        self.relocs.push(MapReloc { slot: at, map });
        let call = self.put(0x18, 2, 4, 0, 0);
        self.put(0, 0, 0, 0, 0);
        self.pending.push(Pending {
            call,
            pointer: false,
            walked: Some(map),
        });
        self.put(0xbf, 3, 10, 0, 0);
        self.alu_imm(ADD, 3, -16);
        let flags = i32::from(self.rng.one_in(20));
        self.put(0xb7, 4, 0, 0, flags);
        self.put(0x85, 0, 0, 0, 164);
        for reg in 1..6 {
            self.set(reg, Kind::Unset);
        }
        self.set(0, Kind::Number);
    }

    /// What a callback of a walk over map `map` starts with: the key is read at once.
    pub(super) fn callback(&mut self, map: usize) {
        let wide = self.maps[map].key_size == 8;
        if self.rng.one_in(8) {
            // Where the key is, for later, or for longer than it is there.
            let (to, off) = self.rng.pick(&[(4, 0), (10, -8), (10, -8)]);
            self.put(0x7b, to, 2, off, 0);
        }
        self.put(if wide { 0x79 } else { 0x61 }, 2, 2, 0, 0);
        self.set(1, Kind::Unset);
        self.set(2, Kind::Number);
        let left = self.maps[map].value_size as i32;
        self.set(3, Kind::Value { left });
        self.set(4, Kind::Stack { left: 16 });
    }

    /// Shapes that compilers make and that need relations between numbers.
    pub(super) fn idiom(&mut self) {
        let a = self.variable();
        match self.rng.below(5) {
            // A copy is compared, the original is used.
            0 => {
                let b = self.target();
                if b == a || self.counters.contains(&b) {
                    return;
                }
                self.put(0xbf, b, a, 0, 0);
                self.set(b, Kind::Number);
                let k = self.rng.below(64) as i32;
                self.alu_imm(ADD, b, k - 16);
                let limit = self.rng.below(200) as i32;
                let code = self.rng.pick(&[0x25, 0x65, 0x26, 0x66, 0xa5]);
                let jump = self.put(code, b, 0, 0, limit);
                self.bails.push(jump);
            }
            // The difference of two.
            1 => {
                let b = self.number();
                if b != a {
                    self.alu_reg(SUB, a, b);
                }
            }
            // Sign extension by shifts.
            2 => {
                let bits = self.rng.pick(&[32, 48, 56]);
                self.alu_imm(LSH, a, bits);
                let op = self.rng.pick(&[ARSH, RSH]);
                self.alu_imm(op, a, bits);
            }
            // A test of one bit.
            3 => {
                let bit = 1 << self.rng.below(31);
                let code = self.rng.pick(&[0x45, 0x46]);
                let jump = self.put(code, a, 0, 0, bit);
                self.bails.push(jump);
            }
            // Align.
            _ => self.alu_imm(AND, a, -8),
        }
    }
}
