// SPDX-License-Identifier: GPL-2.0

//! Statements that read and write maps, packets and the stack, and calls of helpers.

use super::*;

impl Gen<'_> {
    /// Looks an entry up and checks the result.
    pub(super) fn lookup(&mut self) {
        let map = self.rng.below(2);
        let slot = self.rng.below(SLOTS);
        let off = (-8 * (slot as i32 + 1)) as i16;
        // Keys are as wide as their maps want them.
        let (imm, reg) = if map == 0 { (0x62, 0x63) } else { (0x7a, 0x7b) };
        if self.rng.one_in(2) {
            let key = self.rng.below(5) as i32;
            self.put(imm, 10, 0, off, key);
        } else {
            let key = self.number();
            self.put(reg, 10, key, off, 0);
        }
        self.now.slots[slot] = if map == 0 { Kind::Unset } else { Kind::Number };
        self.put(0xbf, 2, 10, 0, 0);
        self.alu_imm(ADD, 2, off.into());
        let at = self.put(0x18, 1, 1, 0, 0);
        self.put(0, 0, 0, 0, 0);
        self.relocs.push(MapReloc { slot: at, map });
        self.put(0x85, 0, 0, 0, 1);
        for reg in 1..6 {
            self.set(reg, Kind::Unset);
        }
        let left = self.maps[map].value_size as i32;
        if !self.rng.one_in(40) {
            let jump = self.put(0x15, 0, 0, 0, 0);
            self.bails.push(jump);
        }
        let keep = self.rng.pick(&[0, 7, 8, 9]);
        self.set(0, Kind::Value { left });
        if keep != 0 && !self.counters.contains(&keep) {
            self.put(0xbf, keep, 0, 0, 0);
            self.set(keep, Kind::Value { left });
        }
    }

    /// Makes the number in `reg` at most `limit`, mostly.
    pub(super) fn bound(&mut self, reg: u8, limit: i32) {
        let slip = if self.rng.one_in(12) {
            self.rng.pick(&[1, 1, 8, -1])
        } else {
            0
        };
        let limit = limit.saturating_add(slip).max(0);
        let jump = |gen: &mut Self, code: u8, imm: i32| {
            let jump = gen.put(code, reg, 0, 0, imm);
            gen.bails.push(jump);
        };
        match self.rng.below(8) {
            0 | 1 => {
                let ones = i32::MAX >> (limit.max(1).leading_zeros() - 1);
                let mask = if ones > limit { ones >> 1 } else { ones };
                let mask = if self.rng.one_in(3) { limit } else { mask };
                let code = self.rng.pick(&[0x57, 0x54]);
                self.put(code, reg, 0, 0, mask);
            }
            2 => {
                let code = self.rng.pick(&[0x97, 0x94]);
                self.put(code, reg, 0, 0, limit + 1);
            }
            3 => jump(self, 0x05 | JGT, limit),
            4 => {
                self.put(0xbc, reg, reg, 0, 0);
                jump(self, 0x06 | JGT, limit);
            }
            5 => {
                jump(self, 0x05 | JSGT, limit);
                jump(self, 0x05 | JSLT, 0);
            }
            6 => {
                self.put(0xbc, reg, reg, 0, 0);
                jump(self, 0x06 | JSGT, limit);
                jump(self, 0x06 | JSLT, 0);
            }
            _ => {
                let zeros = (i64::from(limit) + 1).leading_zeros() as i32 + 1;
                self.alu_imm(RSH, reg, zeros.min(63));
            }
        }
    }

    /// Adds a bounded number to a pointer and goes there.
    pub(super) fn bounded_access(&mut self) {
        let Some(base) = self.find(|k| matches!(k, Kind::Value { .. } | Kind::Stack { .. })) else {
            return self.lookup();
        };
        let left = room(self.kind(base));
        let index = self.variable();
        if index == base {
            return;
        }
        let (mut size, mut bytes) = self.rng.pick(&SIZES);
        if bytes > left {
            (size, bytes) = (0x10, 1);
        }
        let off = self.rng.below((left - bytes + 1) as usize) as i32;
        let scale = self.rng.pick(&[0, 0, 1, 2, 3]);
        self.bound(index, (left - bytes - off) >> scale);
        for _ in 0..self.rng.below(2) {
            // Something that keeps it about the same.
            match self.rng.below(4) {
                0 => self.alu_imm(AND, index, -1),
                1 => {
                    let k = self.rng.below(8) as i32;
                    self.alu_imm(ADD, index, k);
                    self.alu_imm(SUB, index, k);
                }
                2 => {
                    self.alu_imm(LSH, index, 32);
                    let op = self.rng.pick(&[RSH, ARSH]);
                    self.alu_imm(op, index, 32);
                }
                _ => {
                    self.put(0xbc, index, index, 0, 0);
                }
            }
        }
        if scale > 0 {
            if self.rng.one_in(2) {
                self.alu_imm(LSH, index, scale);
            } else {
                self.alu_imm(MUL, index, 1 << scale);
            }
        }
        let to = self.rng.pick(&[0, 1, 2, 3, 4, 5]);
        if to == index || self.counters.contains(&to) {
            return;
        }
        if to != base {
            self.put(0xbf, to, base, 0, 0);
        }
        self.alu_reg(ADD, to, index);
        self.set(to, Kind::Unset);
        match self.rng.below(3) {
            0 => {
                let from = self.number();
                if from != to {
                    self.put(0x63 | size, to, from, off as i16, 0);
                }
            }
            _ => {
                self.put(0x61 | size, to, to, off as i16, 0);
                self.set(to, Kind::Number);
            }
        }
    }

    /// Goes to the stack at a variable offset.
    pub(super) fn stack_access(&mut self) {
        let index = self.variable();
        let to = self.rng.pick(&[1, 2, 3, 4, 5]);
        if to == index || self.counters.contains(&to) {
            return;
        }
        for slot in 0..4 {
            let imm = self.immediate();
            self.put(0x7a, 10, 0, -8 * (slot + 1), imm);
            self.now.slots[slot as usize] = Kind::Number;
        }
        let (size, bytes) = self.rng.pick(&SIZES);
        self.bound(index, 32 - bytes);
        self.put(0xbf, to, 10, 0, 0);
        self.alu_imm(ADD, to, -32);
        self.alu_reg(ADD, to, index);
        self.set(to, Kind::Unset);
        if self.rng.one_in(2) {
            self.put(0x61 | size, to, to, 0, 0);
            self.set(to, Kind::Number);
        } else {
            let from = self.number();
            self.put(0x63 | size, to, from, 0, 0);
        }
    }

    /// Gets at the packet.
    pub(super) fn packet(&mut self) {
        let (start, end) = match self.ty {
            ProgType::Xdp => (0, 4),
            ProgType::SchedCls | ProgType::CgroupSkb => (76, 80),
            _ => return,
        };
        let Some(ctx) = self.find(|k| k == Kind::Ctx) else {
            return;
        };
        let [data, limit, moved] = [2, 3, 4];
        if [data, limit, moved]
            .iter()
            .any(|r| self.counters.contains(r) || *r == ctx)
        {
            return;
        }
        self.put(0x61, data, ctx, start, 0);
        self.put(0x61, limit, ctx, end, 0);
        let bytes = 1 + self.rng.below(60) as i32;
        let variable = self.rng.one_in(2);
        for reg in [data, limit, moved] {
            self.set(reg, Kind::Unset);
        }
        if variable {
            let index = self.number();
            if [data, limit, moved].contains(&index) || self.counters.contains(&index) {
                return;
            }
            let most = self.rng.pick(&[15, 63, 255, 0x7fff]);
            self.bound(index, most);
            self.alu_reg(ADD, data, index);
        }
        self.put(0xbf, moved, data, 0, 0);
        self.alu_imm(ADD, moved, bytes);
        let slip = i32::from(self.rng.one_in(20));
        let (code, dst, src, known) = self.rng.pick(&[
            (0x2d, moved, limit, bytes),
            (0xad, limit, moved, bytes),
            (0x3d, moved, limit, bytes - 1),
            (0xbd, limit, moved, bytes - 1),
        ]);
        let jump = self.put(code, dst, src, 0, 0);
        self.bails.push(jump);
        // `moved >= limit` bails out too when the packet ends right there.
        let left = if known < bytes { bytes } else { known } + slip;
        self.set(data, Kind::Packet { left });
        self.set(limit, Kind::PacketEnd);
        let (off, size, _) = self.place(data);
        let reg = self.rng.pick(&[0, 1, 5]);
        if !self.counters.contains(&reg) && self.kind(reg) != Kind::Ctx {
            self.put(0x61 | size, reg, data, off, 0);
            self.set(reg, Kind::Number);
        }
    }

    /// Updates or deletes an entry.
    pub(super) fn change_map(&mut self) {
        let map = self.rng.below(2);
        let value = self.maps[map].value_size as usize;
        // Key at -8, value from -8 - its size.
        if value > 96 {
            return;
        }
        let key = self.rng.below(6) as i32;
        self.put(0x7a, 10, 0, -8, key);
        self.now.slots[0] = Kind::Number;
        let words = value.div_ceil(8);
        for slot in 1..=words {
            let off = -8 * (slot as i16 + 1);
            if self.rng.one_in(2) {
                let imm = self.immediate();
                self.put(0x7a, 10, 0, off, imm);
            } else {
                let from = self.number();
                self.put(0x7b, 10, from, off, 0);
            }
            self.now.slots[slot] = Kind::Number;
        }
        if self.counters.iter().any(|r| *r < 6) {
            return;
        }
        self.put(0xbf, 2, 10, 0, 0);
        self.alu_imm(ADD, 2, -8);
        self.put(0xbf, 3, 10, 0, 0);
        self.alu_imm(ADD, 3, -8 * (words as i32 + 1));
        let flags = self.rng.below(4) as i32 / 2;
        self.put(0xb7, 4, 0, 0, flags);
        let at = self.put(0x18, 1, 1, 0, 0);
        self.put(0, 0, 0, 0, 0);
        self.relocs.push(MapReloc { slot: at, map });
        let id = self.rng.pick(&[2, 2, 3]);
        self.put(0x85, 0, 0, 0, id);
        for reg in 1..6 {
            self.set(reg, Kind::Unset);
        }
        self.set(0, Kind::Number);
    }

    pub(super) fn helper(&mut self) {
        if self.rng.one_in(2) {
            return self.change_map();
        }
        let id = self.rng.pick(&[5, 7, 8, 7]);
        self.put(0x85, 0, 0, 0, id);
        for reg in 1..6 {
            self.set(reg, Kind::Unset);
        }
        self.set(0, Kind::Number);
    }

    pub(super) fn atomic(&mut self) {
        let slot = self.rng.below(SLOTS);
        let (to, off) = if self.rng.one_in(2) {
            let from = self.number();
            let off = (-8 * (slot as i32 + 1)) as i16;
            self.put(0x7b, 10, from, off, 0);
            self.now.slots[slot] = Kind::Number;
            (10, off)
        } else {
            match self.find(|k| matches!(k, Kind::Value { left } if left >= 8)) {
                Some(reg) => {
                    let words = room(self.kind(reg)) as usize / 8;
                    (reg, 8 * self.rng.below(words) as i16)
                }
                None => return,
            }
        };
        let src = self.variable();
        if src == to {
            return;
        }
        let op = self
            .rng
            .pick(&[0x00, 0x40, 0x50, 0xa0, 0x01, 0x41, 0x51, 0xa1, 0xe1, 0xf1]);
        if op == 0xf1 && self.kind(0) != Kind::Number {
            return;
        }
        let code = self.rng.pick(&[0xdb, 0xc3]);
        self.put(code, to, src, off, op);
        if op == 0xf1 && self.counters.contains(&0) {
            self.set(0, Kind::Number);
        }
    }
}
