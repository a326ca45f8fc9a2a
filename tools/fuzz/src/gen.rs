// SPDX-License-Identifier: GPL-2.0

//! Programs that are mostly acceptable, out of the grammar of what programs do.
//!
//! The generator keeps what it believes each register and stack slot to hold, so that most
//! statements make sense; bounds that it puts before an access are wrong now and then.

mod access;
mod flow;

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
    /// It is the callback of a walk over this map.
    walked: Option<usize>,
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
    in_callback: bool,
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
        in_callback: false,
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
        perfmon: true,
        insns: gen.insns,
        relocs: gen.relocs,
        maps: gen.maps,
        verdict: Verdict::Accept,
        runs: Vec::new(),
        difference: None,
        since: (0, 0),
        kernel_btf: false,
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
        lock: None,
        init,
        inner: None,
        holds: Vec::new(),
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
            if let Some(map) = f.walked {
                self.callback(map);
            }
            let n = 2 + self.rng.below(10);
            self.block(n);
            self.in_callback = f.walked.is_some();
            self.finish();
            self.in_callback = false;
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
        if self.in_callback && !self.rng.one_in(12) {
            self.alu_imm(AND, 0, 1);
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

    fn copy(&mut self) {
        if let Some(from) = self.find(|k| k != Kind::Unset) {
            let to = self.target();
            self.put(0xbf, to, from, 0, 0);
            let kind = self.kind(from);
            self.set(to, kind);
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
