// SPDX-License-Identifier: GPL-2.0

//! Makes random programs.

// No test uses all of it.
#![allow(dead_code)]

use super::common::*;
use oxbpf_core::isa::code::Code;
use oxbpf_core::isa::{AluOp, AtomicOp, Cond, Imm64, Insn, Reg, Size, Src, SwapKind, Width};
use oxbpf_jit_run::exec::FIRST_HELPER;
use oxbpf_jit_run::rng::Rng;
use oxbpf_jit_run::{alu64, code, jmp, ld64, ldx, mov, stx};

/// Makes random programs.
pub struct Gen<'a> {
    rng: &'a mut Rng,
    p: Vec<Insn>,
    /// Calls to patch: slot, subprogram.
    calls: Vec<(usize, usize)>,
    /// Lookups: slot, map, key if it is constant.
    lookups: Vec<(usize, u16, Option<u32>)>,
    /// What arithmetic wrote last.
    last: Reg,
    subs: usize,
    depth: u32,
    /// Programs may call helpers and look up in maps 0 to 9.
    helpers: bool,
}

impl Gen<'_> {
    fn reg(&mut self) -> Reg {
        self.rng.pick(&GENERAL)
    }

    fn src(&mut self) -> Src {
        if self.rng.once_in(2) {
            Src::Imm(self.rng.imm())
        } else {
            Src::Reg(self.reg())
        }
    }

    fn width(&mut self) -> Width {
        self.rng.pick(&WIDTHS)
    }

    fn size(&mut self) -> Size {
        self.rng.pick(&[Size::B, Size::H, Size::W, Size::Dw])
    }

    /// An offset in the scratch part of the stack.
    fn off(&mut self) -> i16 {
        -264 + 8 * self.rng.below(12) as i16
    }

    fn refill(&mut self, regs: &[Reg]) {
        for r in regs {
            match self.rng.below(4) {
                0 => {
                    let v = self.rng.value();
                    self.p.extend(ld64(*r, v));
                }
                1 => {
                    let s = self
                        .rng
                        .pick(&[Reg::R0, Reg::R6, Reg::R7, Reg::R8, Reg::R9]);
                    self.p.push(mov(*r, Src::Reg(s)));
                }
                2 => {
                    let off = self.off();
                    let size = self.size();
                    self.p.push(ldx(size, *r, Reg::R10, off));
                }
                _ => {
                    let i = self.rng.imm();
                    self.p.push(mov(*r, Src::Imm(i)));
                }
            }
        }
    }

    fn one(&mut self, budget: &mut u32) {
        *budget = budget.saturating_sub(1);
        let (dst, width) = (self.reg(), self.width());
        match self.rng.below(37) {
            0..=9 => {
                // A comparison may come between this and the jump that tests it.
                if !self.rng.once_in(3) {
                    self.last = dst;
                }
                let op = self.rng.pick(&OPS);
                let mut src = self.src();
                // What no verifier lets pass.
                if let (Src::Imm(i), false) = (src, self.helpers) {
                    src = Src::Imm(match op {
                        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => i & 31,
                        AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod if i == 0 => 10,
                        _ => i,
                    });
                }
                self.p.push(Insn::Alu {
                    op,
                    width,
                    dst,
                    src,
                });
            }
            10..=12 => {
                let op = self
                    .rng
                    .pick(&[AluOp::Add, AluOp::Sub, AluOp::Lsh, AluOp::Mul]);
                let i = self.rng.below(9) as i32;
                self.p.push(Insn::Alu {
                    op,
                    width: Width::W64,
                    dst,
                    src: Src::Imm(i),
                });
            }
            13..=16 => {
                let src = self.src();
                self.p.push(Insn::Mov { width, dst, src });
            }
            17 => {
                let (src, from) = (self.reg(), self.rng.pick(&[Size::B, Size::H]));
                self.p.push(Insn::MovSx {
                    width,
                    from,
                    dst,
                    src,
                });
            }
            18 => {
                let kind = self
                    .rng
                    .pick(&[SwapKind::ToLe, SwapKind::ToBe, SwapKind::Bswap]);
                let size = self.rng.pick(&[Size::H, Size::W, Size::Dw]);
                self.p.push(Insn::Swap { kind, size, dst });
            }
            19 => self.p.push(Insn::Neg { width, dst }),
            20 => {
                let v = self.rng.value();
                self.p.extend(ld64(dst, v));
            }
            21..=22 => {
                let (size, off, src) = (self.size(), self.off(), self.src());
                self.p.push(Insn::Store {
                    size,
                    dst: Reg::R10,
                    off,
                    src,
                });
            }
            23..=24 => {
                let (size, off) = (self.size(), self.off());
                let sx = size != Size::Dw && self.rng.once_in(3);
                self.p.push(Insn::Load {
                    size,
                    sx,
                    dst,
                    src: Reg::R10,
                    off,
                });
            }
            25 => {
                // Through a copy of the frame pointer, then forget the address.
                let (size, off, by) = (self.size(), self.off(), self.rng.below(64) as i32);
                self.p.push(mov(dst, Src::Reg(Reg::R10)));
                self.p.push(alu64(AluOp::Add, dst, Src::Imm(-by)));
                let o = self.reg();
                if o != dst {
                    self.p.push(stx(size, dst, off + by as i16, o));
                }
                self.p.push(ldx(size, dst, dst, off + by as i16));
            }
            26 => {
                let op = self.rng.pick(&[
                    AtomicOp::Add,
                    AtomicOp::Or,
                    AtomicOp::And,
                    AtomicOp::Xor,
                    AtomicOp::Xchg,
                    AtomicOp::Cmpxchg,
                ]);
                let fetch = matches!(op, AtomicOp::Xchg | AtomicOp::Cmpxchg) || self.rng.once_in(2);
                let off = self.off();
                let size = self.rng.pick(&[Size::W, Size::Dw]);
                self.p.push(Insn::Atomic {
                    op,
                    fetch,
                    size,
                    dst: Reg::R10,
                    off,
                    src: dst,
                });
            }
            27..=29 if *budget > 2 && self.depth < 4 => {
                // Forward branch over a block.
                let cond = self.rng.pick(&CONDS);
                let (dst, src) = match self.rng.once_in(2) {
                    true => (self.last, Src::Imm(0)),
                    false => (dst, self.src()),
                };
                let at = self.p.len();
                self.p.push(Insn::Exit);
                let both = self.rng.once_in(2);
                self.depth += 1;
                self.block(budget);
                let skip = self.p.len();
                if both {
                    self.p.push(Insn::Exit);
                }
                let target = self.p.len() as u32;
                self.p[at] = Insn::Jmp {
                    cond,
                    width,
                    dst,
                    src,
                    target,
                };
                if both {
                    self.block(budget);
                    self.p[skip] = Insn::Ja {
                        target: self.p.len() as u32,
                        long: self.rng.once_in(2),
                    };
                }
                self.depth -= 1;
            }
            30 if *budget > 4 && self.depth < 3 => {
                // A loop whose counter is on the stack.
                let slot = -280 - 8 * self.depth as i16;
                let times = 1 + self.rng.below(4) as i32;
                self.p.push(Insn::Store {
                    size: Size::Dw,
                    dst: Reg::R10,
                    off: slot,
                    src: Src::Imm(times),
                });
                let head = self.p.len() as u32;
                self.depth += 1;
                self.block(budget);
                self.depth -= 1;
                let r = self.reg();
                self.p.push(ldx(Size::Dw, r, Reg::R10, slot));
                self.p.push(alu64(AluOp::Sub, r, Src::Imm(1)));
                self.p.push(stx(Size::Dw, Reg::R10, slot, r));
                self.p.push(jmp(Cond::Ne, r, Src::Imm(0), head));
            }
            31 if self.helpers => {
                // Two of ours, or one that reads a variable.
                let helper = self.rng.pick(&[FIRST_HELPER, FIRST_HELPER + 1, 8, 35, 118]);
                self.p.push(Insn::Call { helper });
                self.refill(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5]);
            }
            32 if self.subs > 0 && self.depth < 2 => {
                let sub = self.rng.below(self.subs as u64) as usize;
                self.calls.push((self.p.len(), sub));
                self.p.push(Insn::Exit);
                self.refill(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5]);
            }
            33..=34 if self.helpers => self.lookup(),
            35 => self.variable_offset(),
            _ => {
                // Sign or zero extension as compilers without the instructions write it.
                let (op, by) = (
                    self.rng.pick(&[AluOp::Rsh, AluOp::Arsh]),
                    self.rng.pick(&[32, 48, 56, 8]),
                );
                self.p.push(alu64(AluOp::Lsh, dst, Src::Imm(by)));
                self.p.push(alu64(op, dst, Src::Imm(by)));
            }
        }
    }

    /// Accesses to the stack at an offset that is a variable; the address is not kept.
    fn variable_offset(&mut self) {
        let (at, index, value) = (self.reg(), self.reg(), self.reg());
        if at == index || value == at || value == index {
            return;
        }
        let off = -264 + 8 * self.rng.below(4) as i16;
        self.p.push(alu64(AluOp::And, index, Src::Imm(0x38)));
        for _ in 0..2 {
            self.p.push(mov(at, Src::Reg(Reg::R10)));
            self.p.push(alu64(AluOp::Add, at, Src::Reg(index)));
            if self.rng.once_in(2) {
                self.p.push(stx(Size::Dw, at, off, value));
                let change = self.rng.pick(&[
                    mov(index, Src::Imm(8)),
                    alu64(AluOp::Xor, index, Src::Imm(16)),
                    alu64(AluOp::Add, value, Src::Imm(1)),
                ]);
                self.p.push(change);
                self.p.push(mov(at, Src::Reg(Reg::R10)));
                self.p.push(alu64(AluOp::Add, at, Src::Reg(index)));
            }
            self.p.push(ldx(Size::Dw, at, at, off));
            self.p.push(alu64(AluOp::And, index, Src::Imm(0x38)));
        }
    }

    /// A lookup in an array or hash map; the element's address is not kept.
    fn lookup(&mut self) {
        let (key, map) = (self.off(), self.rng.below(10) as u32);
        // Mostly in range.
        let src = if self.rng.once_in(2) {
            Src::Imm(self.rng.below(7) as i32)
        } else {
            let r = self.reg();
            if self.rng.once_in(3) {
                self.p.push(alu64(AluOp::And, r, Src::Imm(7)));
            }
            Src::Reg(r)
        };
        // Keys of hash maps have eight bytes, some of them.
        let sizes = match map {
            0..4 => [Size::W, Size::Dw],
            _ => [Size::Dw, Size::Dw],
        };
        self.p.push(Insn::Store {
            size: self.rng.pick(&sizes),
            dst: Reg::R10,
            off: key,
            src,
        });
        if map >= 4 && self.rng.once_in(4) {
            // What was stored last is not the key.
            let off = if key == -264 { key + 8 } else { key - 8 };
            self.p.push(stx(Size::Dw, Reg::R10, off, Reg::R9));
        }
        self.p.push(mov(Reg::R2, Src::Reg(Reg::R10)));
        self.p
            .push(alu64(AluOp::Add, Reg::R2, Src::Imm(key.into())));
        let imm = Imm64::Map(map);
        self.p.push(Insn::LdImm64 { dst: Reg::R1, imm });
        self.p.push(Insn::Hole);
        let constant = match src {
            Src::Imm(i) if map < 4 && self.rng.once_in(2) => Some(i as u32),
            _ => None,
        };
        self.lookups.push((self.p.len(), map as u16, constant));
        self.p.push(Insn::Call { helper: 1 });
        let size = self.size();
        let at = self.p.len() as u32;
        let (dst, off) = (self.reg(), self.rng.below(8) as i16);
        let use_it = |p: &mut Vec<Insn>, rng: &mut Rng| {
            if rng.once_in(3) {
                p.push(stx(size, Reg::R0, off, Reg::R8));
            }
            p.push(ldx(size, dst, Reg::R0, off));
            if rng.once_in(2) && dst != Reg::R7 {
                p.push(alu64(AluOp::Add, Reg::R7, Src::Reg(dst)));
                p.push(mov(dst, Src::Imm(1)));
            }
        };
        match self.rng.below(3) {
            0 => {
                self.p.push(Insn::Exit);
                use_it(&mut self.p, self.rng);
                let target = self.p.len() as u32;
                self.p[at as usize] = jmp(Cond::Eq, Reg::R0, Src::Imm(0), target);
            }
            1 => {
                self.p.push(jmp(Cond::Ne, Reg::R0, Src::Imm(0), at + 3));
                self.p.push(mov(dst, Src::Imm(9)));
                self.p.push(Insn::Exit);
                use_it(&mut self.p, self.rng);
                let target = self.p.len() as u32;
                self.p[at as usize + 2] = Insn::Ja {
                    target,
                    long: false,
                };
            }
            _ => {
                // Only whether it is there.
                self.p.push(alu64(AluOp::Add, Reg::R6, Src::Imm(1)));
                self.p.push(jmp(Cond::Ne, Reg::R0, Src::Imm(0), at + 3));
                self.p.push(mov(Reg::R9, Src::Imm(5)));
            }
        }
        self.refill(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5]);
        self.p.push(mov(Reg::R0, Src::Reg(dst)));
        if dst as u8 <= 5 {
            self.p.push(mov(Reg::R0, Src::Imm(3)));
        }
    }

    /// A short subprogram without stack and jumps.
    fn leaf(&mut self) {
        const REGS: [Reg; 6] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];
        let from = self.rng.pick(&REGS[1..]);
        self.p.push(mov(Reg::R0, Src::Reg(from)));
        for _ in 0..self.rng.below(16) {
            let (dst, src, width) = (
                self.rng.pick(&REGS),
                self.rng.pick(&REGS),
                self.rng.pick(&WIDTHS),
            );
            let src = match self.rng.once_in(2) {
                true => Src::Reg(src),
                false => Src::Imm(self.rng.imm()),
            };
            match self.rng.below(12) {
                0..=6 => {
                    let op = self.rng.pick(&OPS);
                    self.p.push(Insn::Alu {
                        op,
                        width,
                        dst,
                        src,
                    });
                }
                7..=8 => self.p.push(Insn::Mov { width, dst, src }),
                9 => self.p.push(Insn::Neg { width, dst }),
                10 => {
                    let v = self.rng.value();
                    self.p.extend(ld64(dst, v));
                }
                _ => {
                    let helper = self.rng.pick(&[FIRST_HELPER, 8, 118]);
                    self.p.push(Insn::Call { helper });
                    for r in &REGS[1..] {
                        let i = self.rng.imm();
                        self.p.push(mov(*r, Src::Imm(i)));
                    }
                }
            }
        }
        self.p.push(Insn::Exit);
    }

    fn block(&mut self, budget: &mut u32) {
        for _ in 0..1 + self.rng.below(8) {
            if *budget == 0 {
                break;
            }
            self.one(budget);
        }
    }
}

/// A random program that begins with `start`; that must leave the address of the context in `R1`. With `calls` it has subprograms and calls helpers.
pub fn random_code(rng: &mut Rng, start: &[Insn], calls: bool) -> Code {
    let subs = if calls { rng.below(3) as usize } else { 0 };
    let mut p = start.to_vec();
    p.extend(prologue());
    let mut g = Gen {
        rng,
        p,
        calls: Vec::new(),
        lookups: Vec::new(),
        last: Reg::R0,
        subs,
        depth: 0,
        helpers: calls,
    };
    for i in 0..12 {
        let v = g.rng.imm();
        g.p.push(Insn::Store {
            size: Size::Dw,
            dst: Reg::R10,
            off: -264 + 8 * i,
            src: Src::Imm(v),
        });
    }
    let mut budget = 5 + g.rng.below(60) as u32;
    while budget > 0 {
        g.one(&mut budget);
    }
    epilogue(&mut g.p);
    let mut starts = vec![(0, 304)];
    // Subprograms call only later ones, so that recursion ends.
    for i in 0..subs {
        g.subs = 0;
        if g.rng.once_in(2) {
            starts.push((g.p.len() as u32, 0));
            g.leaf();
            continue;
        }
        starts.push((g.p.len() as u32, 304));
        let mut from = Vec::new();
        from.extend([Reg::R0, Reg::R6, Reg::R7, Reg::R8, Reg::R9]);
        for (j, r) in from.iter().enumerate() {
            let s = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5][j];
            g.p.push(mov(*r, Src::Reg(s)));
        }
        for k in 0..12 {
            g.p.push(stx(Size::Dw, Reg::R10, -264 + 8 * k, Reg::R1));
        }
        let mut budget = 3 + g.rng.below(20) as u32 + i as u32;
        while budget > 0 {
            g.one(&mut budget);
        }
        g.p.push(Insn::Exit);
    }
    for (slot, sub) in g.calls {
        g.p[slot] = Insn::CallSub {
            target: starts[sub + 1].0,
        };
    }
    let mut c = code(&g.p, &starts);
    for (slot, map, key) in g.lookups {
        let fact = &mut c.facts[slot];
        fact.map = Some(map);
        fact.key = key;
    }
    c
}
