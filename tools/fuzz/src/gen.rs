// SPDX-License-Identifier: GPL-2.0

//! Programs that are mostly acceptable, out of the grammar of what programs do.
//!
//! The generator keeps what it believes each register and stack slot to hold, so that most
//! statements make sense; bounds that it puts before an access are wrong now and then.

use crate::rng::Rng;
use oxbpf_core::abi::ProgType;
use oxbpf_core::isa::RawInsn;
use oxbpf_fixtures::{Fixture, MapDecl, MapReloc, Verdict};

/// What a register is believed to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Unset,
    /// A number.
    Number,
    /// The context.
    Ctx,
    /// A pointer to `left` writable bytes of a map's value.
    Value { left: i32 },
    /// A pointer to `left` bytes of a caller's stack, initialised.
    Stack { left: i32 },
    /// Start of the packet, with so many bytes known to be there.
    Packet { left: i32 },
    /// End of the packet.
    PacketEnd,
}

/// A subprogram to be made: the call that goes there, and whether `R3` is a pointer.
struct Pending {
    call: usize,
    pointer: bool,
}

/// What is believed at a place in the program.
#[derive(Clone)]
struct Belief {
    regs: [Kind; 11],
    /// Slot `i` is at `-8 * (i + 1)`.
    slots: [Kind; SLOTS],
}

const SLOTS: usize = 16;

struct Gen<'a> {
    rng: &'a mut Rng,
    ty: ProgType,
    insns: Vec<RawInsn>,
    relocs: Vec<MapReloc>,
    maps: Vec<MapDecl>,
    now: Belief,
    /// Jumps to the end of the function.
    bails: Vec<usize>,
    pending: Vec<Pending>,
    functions: usize,
    nesting: usize,
    /// Registers that a loop counts in.
    counters: Vec<u8>,
}

const ADD: u8 = 0x00;
const SUB: u8 = 0x10;
const MUL: u8 = 0x20;
const AND: u8 = 0x50;
const LSH: u8 = 0x60;
const RSH: u8 = 0x70;
const MOD: u8 = 0x90;
const ARSH: u8 = 0xc0;
const OPS: [u8; 13] = [
    ADD, SUB, MUL, 0x30, 0x40, AND, LSH, RSH, MOD, 0xa0, ARSH, ADD, SUB,
];
const CONDS: [u8; 11] = [
    0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0,
];
const JGT: u8 = 0x20;
const JSGT: u8 = 0x60;
const JSLT: u8 = 0xc0;
/// Sizes: word, half, byte, double word.
const SIZES: [(u8, i32); 4] = [(0x00, 4), (0x08, 2), (0x10, 1), (0x18, 8)];

/// Makes the program of `seed`.
pub fn program(seed: u64) -> Fixture {
    let rng = &mut Rng::new(seed);
    let ty = rng.pick(&[
        ProgType::SocketFilter,
        ProgType::SchedCls,
        ProgType::SchedCls,
        ProgType::Xdp,
        ProgType::Kprobe,
        ProgType::CgroupSkb,
    ]);
    let maps = vec![
        map(rng, "array", 2, 4),
        map(rng, "hash", 1, 8),
        map(rng, "data", 2, 4),
    ];
    let mut gen = Gen {
        rng,
        ty,
        insns: Vec::new(),
        relocs: Vec::new(),
        maps,
        now: Belief::entry(),
        bails: Vec::new(),
        pending: Vec::new(),
        functions: 0,
        nesting: 0,
        counters: Vec::new(),
    };
    gen.main();
    Fixture {
        name: format!("seed {seed}"),
        prog_type: ty,
        license: "GPL".to_string(),
        flags: if gen.rng.one_in(3) { 8 } else { 0 },
        insns: gen.insns,
        relocs: gen.relocs,
        maps: gen.maps,
        verdict: Verdict::Accept,
        runs: Vec::new(),
        difference: None,
        since: (0, 0),
    }
}

fn map(rng: &mut Rng, name: &str, ty: u32, key_size: u32) -> MapDecl {
    let value_size = rng.pick(&[8, 16, 24, 48, 63, 64, 128, 256]);
    let array = ty == 2;
    let entries = if name == "data" { 1 } else { 4 };
    let init = (0..if array { entries } else { 2 })
        .map(|key: u64| {
            let key = key.to_le_bytes()[..key_size as usize].to_vec();
            (key, rng.bytes(value_size as usize))
        })
        .collect();
    MapDecl {
        name: name.to_string(),
        ty,
        key_size,
        value_size,
        max_entries: entries as u32,
        flags: 0,
        frozen: false,
        init,
    }
}

impl Belief {
    fn entry() -> Self {
        let mut regs = [Kind::Unset; 11];
        regs[1] = Kind::Ctx;
        Belief {
            regs,
            slots: [Kind::Unset; SLOTS],
        }
    }

    /// What is believed where two paths meet.
    fn meet(&mut self, other: &Belief) {
        let meet = |a: &mut Kind, b: Kind| {
            *a = match (*a, b) {
                (a, b) if a == b => a,
                (Kind::Packet { left: a }, Kind::Packet { left: b }) => {
                    Kind::Packet { left: a.min(b) }
                }
                (Kind::Value { left: a }, Kind::Value { left: b }) => {
                    Kind::Value { left: a.min(b) }
                }
                _ => Kind::Unset,
            }
        };
        for (a, b) in self.regs.iter_mut().zip(other.regs) {
            meet(a, b);
        }
        for (a, b) in self.slots.iter_mut().zip(other.slots) {
            meet(a, b);
        }
    }
}

impl Gen<'_> {
    fn put(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) -> usize {
        self.insns.push(RawInsn::new(code, dst, src, off, imm));
        self.insns.len() - 1
    }

    /// `dst op= imm`
    fn alu_imm(&mut self, op: u8, dst: u8, imm: i32) {
        self.put(0x07 | op, dst, 0, 0, imm);
    }

    /// `dst op= src`
    fn alu_reg(&mut self, op: u8, dst: u8, src: u8) {
        self.put(0x0f | op, dst, src, 0, 0);
    }

    fn set(&mut self, reg: u8, kind: Kind) {
        self.now.regs[reg as usize] = kind;
    }

    fn kind(&self, reg: u8) -> Kind {
        self.now.regs[reg as usize]
    }

    /// Makes the jump at `jump` go to the next instruction.
    fn land(&mut self, jump: usize) {
        let off = self.insns.len() as i64 - jump as i64 - 1;
        self.insns[jump].off = off as i16;
    }

    fn immediate(&mut self) -> i32 {
        match self.rng.below(3) {
            0 => self.rng.below(300) as i32 - 20,
            _ => self.rng.edge() as i32,
        }
    }

    /// A register that holds a number, made if there is none.
    fn number(&mut self) -> u8 {
        let all: Vec<u8> = (0..10).filter(|r| self.kind(*r) == Kind::Number).collect();
        if all.is_empty() || self.rng.one_in(12) {
            let reg = self.target();
            self.make_number(reg);
            return reg;
        }
        self.rng.pick(&all)
    }

    /// A register that may be overwritten.
    fn target(&mut self) -> u8 {
        for _ in 0..20 {
            let reg = self.rng.below(10) as u8;
            if self.counters.contains(&reg) || self.kind(reg) == Kind::Ctx {
                continue;
            }
            if self.kind(reg) == Kind::Unset || self.rng.one_in(3) {
                return reg;
            }
        }
        0
    }

    /// A register with a number that may be changed.
    fn variable(&mut self) -> u8 {
        for _ in 0..4 {
            let reg = self.number();
            if !self.counters.contains(&reg) {
                return reg;
            }
        }
        let reg = self.target();
        self.make_number(reg);
        reg
    }

    fn find(&mut self, want: impl Fn(Kind) -> bool) -> Option<u8> {
        let all: Vec<u8> = (0..10).filter(|r| want(self.kind(*r))).collect();
        if all.is_empty() {
            return None;
        }
        Some(self.rng.pick(&all))
    }

    /// Fills a register with a number from somewhere.
    fn make_number(&mut self, reg: u8) {
        match self.rng.below(7) {
            0 => {
                let imm = self.immediate();
                let code = self.rng.pick(&[0xb7, 0xb4]);
                self.put(code, reg, 0, 0, imm);
            }
            1 => {
                let x = self.rng.edge();
                self.put(0x18, reg, 0, 0, x as i32);
                self.put(0, 0, 0, 0, (x >> 32) as i32);
            }
            2 => self.load_ctx(reg),
            3 => self.load_stack(reg),
            _ => self.load_pointer(reg),
        }
        self.set(reg, Kind::Number);
    }

    fn load_ctx(&mut self, reg: u8) {
        let Some(ctx) = self.find(|k| k == Kind::Ctx) else {
            return self.load_data(reg);
        };
        match self.ty {
            ProgType::Kprobe => {
                let off = 8 * self.rng.below(21) as i16;
                self.put(0x79, reg, ctx, off, 0);
            }
            ProgType::Xdp => {
                let off = self.rng.pick(&[12, 16]);
                self.put(0x61, reg, ctx, off, 0);
            }
            _ => {
                let off = self.rng.pick(&[0, 4, 8, 16, 20, 32, 40, 48, 52, 68]);
                if self.rng.one_in(3) {
                    let skip = self.rng.below(4) as i16;
                    self.put(0x71, reg, ctx, off + skip, 0);
                } else {
                    self.put(0x61, reg, ctx, off, 0);
                }
            }
        }
    }

    fn load_stack(&mut self, reg: u8) {
        let all: Vec<usize> = (0..SLOTS)
            .filter(|i| self.now.slots[*i] == Kind::Number)
            .collect();
        if all.is_empty() {
            return self.load_data(reg);
        }
        let slot = self.rng.pick(&all);
        let (size, bytes) = self.rng.pick(&SIZES);
        let skip = self.rng.below((9 - bytes) as usize) as i32;
        let skip = if self.rng.one_in(2) { 0 } else { skip };
        let sx = bytes < 8 && self.rng.one_in(3);
        let off = -8 * (slot as i32 + 1) + skip;
        self.put(mode(size, sx), reg, 10, off as i16, 0);
    }

    /// Loads from the one value of the data map.
    fn load_data(&mut self, reg: u8) {
        let size = self.maps[2].value_size as usize;
        let off = self.rng.below(size / 8) as i32 * 8;
        let slot = self.put(0x18, reg, 2, 0, 0);
        self.put(0, 0, 0, 0, off);
        self.relocs.push(MapReloc { slot, map: 2 });
        let sx = self.rng.one_in(4);
        let (size, bytes) = self.rng.pick(&SIZES);
        self.put(mode(size, sx && bytes < 8), reg, reg, 0, 0);
        self.set(reg, Kind::Number);
    }

    /// Loads through some pointer that is believed to be good.
    fn load_pointer(&mut self, reg: u8) {
        let Some(from) = self.find(|k| room(k) > 0) else {
            return self.load_data(reg);
        };
        let (off, size, bytes) = self.place(from);
        let sx = bytes < 8 && self.rng.one_in(3);
        self.put(mode(size, sx), reg, from, off, 0);
    }

    /// An offset and a size that fit what a register points to, mostly.
    fn place(&mut self, reg: u8) -> (i16, u8, i32) {
        let left = room(self.kind(reg));
        let (mut size, mut bytes) = self.rng.pick(&SIZES);
        if bytes > left {
            (size, bytes) = (0x10, 1);
        }
        let mut off = self.rng.below((left - bytes + 1) as usize) as i32;
        if self.rng.one_in(2) {
            off &= !(bytes - 1);
        }
        if self.rng.one_in(150) {
            off += 1;
        }
        (off as i16, size, bytes)
    }

    fn main(&mut self) {
        self.put(0xbf, 6, 1, 0, 0);
        self.set(6, Kind::Ctx);
        let n = 4 + self.rng.below(30);
        self.block(n);
        self.finish();
        while let Some(f) = self.pending.pop() {
            let at = self.insns.len() as i64 - f.call as i64 - 1;
            self.insns[f.call].imm = at as i32;
            self.now = Belief::entry();
            self.set(1, Kind::Number);
            self.set(2, Kind::Number);
            if f.pointer {
                self.set(3, Kind::Stack { left: 16 });
            }
            let n = 2 + self.rng.below(10);
            self.block(n);
            self.finish();
        }
    }

    /// Ends a function.
    fn finish(&mut self) {
        let result = self.number();
        if result != 0 {
            self.put(0xbf, 0, result, 0, 0);
        }
        if self.rng.one_in(2) {
            let other = self.number();
            self.alu_reg(0xa0, 0, other);
        }
        self.put(0x95, 0, 0, 0, 0);
        let bails = std::mem::take(&mut self.bails);
        if !bails.is_empty() {
            for jump in bails {
                self.land(jump);
            }
            let imm = self.rng.below(3) as i32;
            self.put(0xb7, 0, 0, 0, imm);
            self.put(0x95, 0, 0, 0, 0);
        }
    }

    fn block(&mut self, n: usize) {
        for _ in 0..n {
            self.statement();
        }
    }

    fn statement(&mut self) {
        match self.rng.below(40) {
            0..=9 => self.arithmetic(),
            10..=12 => self.unary(),
            13..=14 => {
                let reg = self.target();
                self.make_number(reg);
            }
            15..=17 => self.store_stack(),
            18 => self.fill(),
            19..=20 => self.store_pointer(),
            21..=22 => self.lookup(),
            23..=25 => self.bounded_access(),
            26 => self.stack_access(),
            27..=28 => self.packet(),
            29..=31 => self.branch(),
            32 => self.loops(),
            33 => self.call_sub(),
            34 => self.helper(),
            35 => self.atomic(),
            36 => self.copy(),
            37..=38 => {
                let reg = self.variable();
                let limit = 1 << self.rng.below(20);
                self.bound(reg, limit);
            }
            _ => self.idiom(),
        }
    }

    fn arithmetic(&mut self) {
        let dst = self.variable();
        let op = self.rng.pick(&OPS);
        let wide = self.rng.one_in(2);
        let class = if wide { 0x07 } else { 0x04 };
        let signed = i16::from((op == 0x30 || op == MOD) && self.rng.one_in(3));
        if self.rng.one_in(2) {
            let src = self.number();
            if src != dst && !self.counters.contains(&src) && self.rng.one_in(6) {
                // Small numbers are more interesting to divide and shift by.
                let mask = self.rng.pick(&[1, 3, 7, 15, 31, 63]);
                self.alu_imm(AND, src, mask);
            }
            self.put(class | 0x08 | op, dst, src, signed, 0);
        } else {
            let imm = match op {
                LSH | RSH | ARSH => self.rng.below(if wide { 64 } else { 32 }) as i32,
                0x30 | MOD => self.immediate().max(1) | i32::from(self.rng.one_in(2)),
                _ => self.immediate(),
            };
            self.put(class | op, dst, 0, signed, imm);
        }
    }

    fn unary(&mut self) {
        let dst = self.variable();
        match self.rng.below(5) {
            0 => {
                let code = self.rng.pick(&[0x84, 0x87]);
                self.put(code, dst, 0, 0, 0);
            }
            1 => {
                let size = self.rng.pick(&[16, 32, 64]);
                let code = self.rng.pick(&[0xd4, 0xdc, 0xd7]);
                self.put(code, dst, 0, 0, size);
            }
            2 => {
                let src = self.number();
                let wide = self.rng.one_in(2);
                let bits = self.rng.pick(&[8, 16, if wide { 32 } else { 8 }]);
                self.put(if wide { 0xbf } else { 0xbc }, dst, src, bits, 0);
            }
            _ => {
                let src = self.number();
                let code = self.rng.pick(&[0xbf, 0xbc]);
                self.put(code, dst, src, 0, 0);
            }
        }
    }

    fn store_stack(&mut self) {
        let slot = self.rng.below(SLOTS);
        let off = (-8 * (slot as i32 + 1)) as i16;
        let (size, bytes) = self.rng.pick(&SIZES);
        let whole = bytes == 8;
        if self.rng.one_in(8) {
            // Any register may be spilled.
            if let Some(reg) = self.find(|k| k != Kind::Unset) {
                self.put(0x7b, 10, reg, off, 0);
                self.now.slots[slot] = self.kind(reg);
            }
        } else if self.rng.one_in(4) {
            let imm = self.immediate();
            self.put(0x62 | size, 10, 0, off, imm);
            self.written(slot, whole);
        } else {
            let reg = self.number();
            let skip = if self.rng.one_in(4) && !whole {
                bytes as i16 * self.rng.below((8 / bytes) as usize) as i16
            } else {
                0
            };
            self.put(0x63 | size, 10, reg, off + skip, 0);
            self.written(slot, whole);
        }
    }

    fn written(&mut self, slot: usize, whole: bool) {
        if whole {
            self.now.slots[slot] = Kind::Number;
        } else if self.now.slots[slot] != Kind::Number && self.rng.one_in(2) {
            // Uninitialised bytes may be read by who may see pointers.
            self.now.slots[slot] = Kind::Unset;
        }
    }

    fn fill(&mut self) {
        let all: Vec<usize> = (0..SLOTS)
            .filter(|i| self.now.slots[*i] != Kind::Unset)
            .collect();
        if all.is_empty() {
            return;
        }
        let slot = self.rng.pick(&all);
        let reg = self.target();
        self.put(0x79, reg, 10, (-8 * (slot as i32 + 1)) as i16, 0);
        let kind = self.now.slots[slot];
        self.set(reg, kind);
    }

    fn store_pointer(&mut self) {
        let Some(to) = self.find(|k| room(k) > 0) else {
            return self.lookup();
        };
        if matches!(self.kind(to), Kind::Packet { .. }) && self.ty == ProgType::CgroupSkb {
            return;
        }
        let (off, size, _) = self.place(to);
        if self.rng.one_in(3) {
            let imm = self.immediate();
            self.put(0x62 | size, to, 0, off, imm);
        } else {
            let from = self.number();
            self.put(0x63 | size, to, from, off, 0);
        }
    }

    /// Looks an entry up and checks the result.
    fn lookup(&mut self) {
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
    fn bound(&mut self, reg: u8, limit: i32) {
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
    fn bounded_access(&mut self) {
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
    fn stack_access(&mut self) {
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
    fn packet(&mut self) {
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

    fn branch(&mut self) {
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

    fn loops(&mut self) {
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

    fn call_sub(&mut self) {
        if self.functions >= 3 {
            return;
        }
        self.functions += 1;
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
        self.pending.push(Pending { call, pointer });
        for reg in 1..6 {
            self.set(reg, Kind::Unset);
        }
        self.set(0, Kind::Number);
    }

    /// Updates or deletes an entry.
    fn change_map(&mut self) {
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

    fn helper(&mut self) {
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

    fn atomic(&mut self) {
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

    fn copy(&mut self) {
        if let Some(from) = self.find(|k| k != Kind::Unset) {
            let to = self.target();
            self.put(0xbf, to, from, 0, 0);
            let kind = self.kind(from);
            self.set(to, kind);
        }
    }

    /// Shapes that compilers make and that need relations between numbers.
    fn idiom(&mut self) {
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

fn mode(size: u8, sx: bool) -> u8 {
    size | if sx { 0x81 } else { 0x61 }
}

fn room(kind: Kind) -> i32 {
    match kind {
        Kind::Value { left } | Kind::Stack { left } | Kind::Packet { left } => left,
        Kind::Unset | Kind::Number | Kind::Ctx | Kind::PacketEnd => 0,
    }
}
