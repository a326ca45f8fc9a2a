// SPDX-License-Identifier: GPL-2.0

//! Runs compiled code natively and compares all registers and memory with the reference.

use oxbpf_core::isa::code::Code;
use oxbpf_core::isa::{AluOp, AtomicOp, Cond, Insn, Reg, Size, Src, SwapKind, Width};
use oxbpf_core::jit::{ArrayTarget, Features, MapTarget, Mitigations};
use oxbpf_jit_run::exec::{place, Helper};
use oxbpf_jit_run::reference::{self, World};
use oxbpf_jit_run::rng::{Rng, EDGES};
use oxbpf_jit_run::{alu64, code, jmp, ld64, ldx, mov, stx};

const FEATURES: [Features; 2] = [
    Features {
        bmi2: false,
        movbe: false,
    },
    Features {
        bmi2: true,
        movbe: true,
    },
];
const WIDTHS: [Width; 2] = [Width::W32, Width::W64];
const OPS: [AluOp; 13] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::Sdiv,
    AluOp::Or,
    AluOp::And,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Mod,
    AluOp::Smod,
    AluOp::Xor,
    AluOp::Arsh,
];
const CONDS: [Cond; 11] = [
    Cond::Eq,
    Cond::Ne,
    Cond::Set,
    Cond::Gt,
    Cond::Ge,
    Cond::Lt,
    Cond::Le,
    Cond::Sgt,
    Cond::Sge,
    Cond::Slt,
    Cond::Sle,
];
const GENERAL: [Reg; 10] = [
    Reg::R0,
    Reg::R1,
    Reg::R2,
    Reg::R3,
    Reg::R4,
    Reg::R5,
    Reg::R6,
    Reg::R7,
    Reg::R8,
    Reg::R9,
];

/// Slots of the context: ten registers, then memory for the program.
const CTX: usize = 26;

/// Loads all registers from the context, which is kept at `R10 - 8`.
fn prologue() -> Vec<Insn> {
    let mut p = vec![stx(Size::Dw, Reg::R10, -8, Reg::R1)];
    for r in GENERAL {
        if r != Reg::R1 {
            p.push(ldx(Size::Dw, r, Reg::R1, r.index() as i16 * 8));
        }
    }
    p.push(ldx(Size::Dw, Reg::R1, Reg::R1, 8));
    p
}

/// Writes all registers to the context.
fn epilogue(p: &mut Vec<Insn>) {
    for r in GENERAL {
        p.push(stx(Size::Dw, Reg::R10, -16 - r.index() as i16 * 8, r));
    }
    p.push(ldx(Size::Dw, Reg::R1, Reg::R10, -8));
    for r in GENERAL {
        p.push(ldx(Size::Dw, Reg::R2, Reg::R10, -16 - r.index() as i16 * 8));
        p.push(stx(Size::Dw, Reg::R1, r.index() as i16 * 8, Reg::R2));
    }
    p.push(ldx(Size::Dw, Reg::R0, Reg::R10, -16));
    p.push(Insn::Exit);
}

fn show(c: &Code) -> String {
    let line = |(i, x): (usize, &Insn)| format!("{i}: {x:?}\n");
    c.insns.iter().enumerate().map(line).collect()
}

/// Runs `c` on each context, compiled with each set of features, and compares with the reference.
fn compare(c: &Code, helpers: &[Helper], maps: &[MapTarget], inputs: &[[u64; CTX]]) -> usize {
    let world = World { helpers, maps };
    let mut wants = Vec::new();
    for input in inputs {
        let mut ctx = *input;
        // SAFETY: the tests' programs use their stack and context only.
        let r0 = unsafe { reference::run(c, &world, 0, [ctx.as_mut_ptr() as u64, 0, 0, 0, 0]) };
        wants.push((r0, ctx));
    }
    for features in FEATURES {
        let placed = place(c, helpers, maps, features, Mitigations::default()).unwrap();
        for (input, want) in inputs.iter().zip(&wants) {
            let mut ctx = *input;
            // SAFETY: as above.
            let r0 = unsafe { placed.run(ctx.as_mut_ptr().cast()) };
            if (r0, ctx) != *want {
                let bytes: String = placed
                    .image
                    .bytes()
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect();
                panic!(
                    "{features:?}\n{}\ninput {input:x?}\ngot  {r0:x} {ctx:x?}\nwant {:x} {:x?}\n{bytes}",
                    show(c),
                    want.0,
                    want.1
                );
            }
        }
    }
    inputs.len() * FEATURES.len()
}

fn with_registers(pairs: &[(Reg, u64)], rng: &mut Rng) -> [u64; CTX] {
    let mut ctx = [0; CTX];
    for slot in &mut ctx {
        *slot = rng.next();
    }
    for (r, v) in pairs {
        ctx[r.index()] = *v;
    }
    ctx
}

fn body(insns: &[Insn]) -> Code {
    let mut p = prologue();
    p.extend_from_slice(insns);
    epilogue(&mut p);
    code(&p, &[(0, 512)])
}

#[test]
fn alu_registers() {
    let mut rng = Rng::new(1);
    let mut n = 0;
    for op in OPS {
        for width in WIDTHS {
            for dst in GENERAL {
                for src in GENERAL {
                    let c = body(&[Insn::Alu {
                        op,
                        width,
                        dst,
                        src: Src::Reg(src),
                    }]);
                    let mut inputs = Vec::new();
                    let all = dst == Reg::R2 && src == Reg::R6 || dst == Reg::R0 && src == Reg::R4;
                    for a in EDGES {
                        for b in EDGES {
                            if all || rng.once_in(20) {
                                inputs.push(with_registers(&[(dst, a), (src, b)], &mut rng));
                            }
                        }
                    }
                    for _ in 0..6 {
                        let (a, b) = (rng.value(), rng.value());
                        inputs.push(with_registers(&[(dst, a), (src, b)], &mut rng));
                    }
                    n += compare(&c, &[], &[], &inputs);
                }
            }
        }
    }
    println!("{n} runs");
}

#[test]
fn alu_immediates() {
    let mut rng = Rng::new(2);
    let mut n = 0;
    let mut imms: Vec<i32> = EDGES.iter().map(|e| *e as i32).collect();
    imms.extend([
        -2, -3, -7, -10, 5, 6, 9, 10, 11, 12, 13, 25, 60, 100, 127, 128, -128, -129,
    ]);
    imms.extend([
        255,
        256,
        641,
        1000,
        1_000_000_007,
        0x7fff_fffd,
        24,
        56,
        48,
        40,
    ]);
    for op in OPS {
        for width in WIDTHS {
            for dst in [
                Reg::R0,
                Reg::R1,
                Reg::R3,
                Reg::R4,
                Reg::R6,
                Reg::R7,
                Reg::R9,
            ] {
                for imm in &imms {
                    let c = body(&[Insn::Alu {
                        op,
                        width,
                        dst,
                        src: Src::Imm(*imm),
                    }]);
                    let mut inputs = Vec::new();
                    for a in EDGES {
                        if dst == Reg::R1 || rng.once_in(4) {
                            inputs.push(with_registers(&[(dst, a)], &mut rng));
                        }
                    }
                    for _ in 0..8 {
                        let a = rng.value();
                        inputs.push(with_registers(&[(dst, a)], &mut rng));
                    }
                    n += compare(&c, &[], &[], &inputs);
                }
            }
        }
    }
    println!("{n} runs");
}

/// Operands whose upper bits are known to be zero take other ways.
#[test]
fn alu_on_narrow_values() {
    let mut rng = Rng::new(3);
    for op in OPS {
        for width in WIDTHS {
            for (dsize, ssize) in [(Size::B, Size::B), (Size::H, Size::W), (Size::W, Size::W)] {
                for (dst, src) in [(Reg::R1, Reg::R2), (Reg::R3, Reg::R0), (Reg::R0, Reg::R3)] {
                    for third in [
                        None,
                        Some(10),
                        Some(7),
                        Some(641),
                        Some(0x7fff_ffff),
                        Some(-5),
                    ] {
                        let s = third.map_or(Src::Reg(src), Src::Imm);
                        let c = body(&[
                            stx(Size::Dw, Reg::R10, -200, dst),
                            stx(Size::Dw, Reg::R10, -208, src),
                            ldx(dsize, dst, Reg::R10, -200),
                            ldx(ssize, src, Reg::R10, -208),
                            Insn::Alu {
                                op,
                                width,
                                dst,
                                src: s,
                            },
                        ]);
                        let mut inputs = Vec::new();
                        for _ in 0..60 {
                            let (a, b) = (rng.value(), rng.value());
                            inputs.push(with_registers(&[(dst, a), (src, b)], &mut rng));
                        }
                        compare(&c, &[], &[], &inputs);
                    }
                }
            }
        }
    }
}

#[test]
fn unary() {
    let mut rng = Rng::new(4);
    for dst in GENERAL {
        let mut insns = Vec::new();
        for width in WIDTHS {
            insns.push(Insn::Neg { width, dst });
        }
        for kind in [SwapKind::ToLe, SwapKind::ToBe, SwapKind::Bswap] {
            for size in [Size::H, Size::W, Size::Dw] {
                insns.push(Insn::Swap { kind, size, dst });
            }
        }
        for src in GENERAL {
            for width in WIDTHS {
                insns.push(Insn::Mov {
                    width,
                    dst,
                    src: Src::Reg(src),
                });
                for from in [Size::B, Size::H, Size::W] {
                    if from == Size::W && width == Width::W32 {
                        continue;
                    }
                    insns.push(Insn::MovSx {
                        width,
                        from,
                        dst,
                        src,
                    });
                }
            }
        }
        for insn in insns {
            let c = body(&[insn]);
            let mut inputs: Vec<_> = EDGES
                .iter()
                .map(|e| with_registers(&[(dst, *e)], &mut rng))
                .collect();
            for r in GENERAL {
                let v = rng.value();
                inputs.push(with_registers(&[(r, v)], &mut rng));
            }
            compare(&c, &[], &[], &inputs);
        }
    }
}

#[test]
fn jumps() {
    let mut rng = Rng::new(5);
    for cond in CONDS {
        for width in WIDTHS {
            for (dst, src) in [
                (Reg::R0, Reg::R1),
                (Reg::R1, Reg::R0),
                (Reg::R6, Reg::R9),
                (Reg::R7, Reg::R7),
                (Reg::R5, Reg::R2),
            ] {
                let mut srcs = vec![Src::Reg(src)];
                srcs.extend(EDGES.iter().map(|e| Src::Imm(*e as i32)));
                srcs.push(Src::Imm(0x400));
                for s in srcs {
                    let at = prologue().len() as u32;
                    let c = body(&[
                        Insn::Jmp {
                            cond,
                            width,
                            dst,
                            src: s,
                            target: at + 3,
                        },
                        mov(Reg::R8, Src::Imm(1)),
                        Insn::Ja {
                            target: at + 4,
                            long: false,
                        },
                        mov(Reg::R8, Src::Imm(2)),
                    ]);
                    let mut inputs = Vec::new();
                    for a in EDGES {
                        let b = rng.pick(&EDGES);
                        inputs.push(with_registers(&[(dst, a), (src, b)], &mut rng));
                        inputs.push(with_registers(&[(dst, a), (src, a)], &mut rng));
                        if let Src::Imm(i) = s {
                            let near = (i as i64 as u64).wrapping_add(rng.below(3)).wrapping_sub(1);
                            inputs.push(with_registers(&[(dst, near)], &mut rng));
                        }
                    }
                    compare(&c, &[], &[], &inputs);
                }
            }
        }
    }
}

#[test]
fn atomics() {
    let mut rng = Rng::new(6);
    let ops = [
        (AtomicOp::Add, false),
        (AtomicOp::Add, true),
        (AtomicOp::Or, false),
        (AtomicOp::Or, true),
        (AtomicOp::And, false),
        (AtomicOp::And, true),
        (AtomicOp::Xor, false),
        (AtomicOp::Xor, true),
        (AtomicOp::Xchg, true),
        (AtomicOp::Cmpxchg, true),
    ];
    for (op, fetch) in ops {
        for size in [Size::W, Size::Dw] {
            for base in GENERAL {
                for src in GENERAL {
                    for lazy in [0, 8] {
                        // base = address in the context; possibly an expression. The address is
                        // taken out of the result again.
                        let mut insns = vec![
                            ldx(Size::Dw, base, Reg::R10, -8),
                            stx(Size::Dw, Reg::R10, -120, base),
                            alu64(AluOp::Add, base, Src::Imm(80 + lazy)),
                            Insn::Atomic {
                                op,
                                fetch,
                                size,
                                dst: base,
                                off: 8,
                                src,
                            },
                        ];
                        // Addresses differ between the two contexts.
                        for r in [base, src, Reg::R0] {
                            let uses_address =
                                base == src || (op == AtomicOp::Cmpxchg && base == Reg::R0);
                            if r == base || uses_address {
                                insns.push(mov(r, Src::Imm(7)));
                            }
                        }
                        if base == src || (op == AtomicOp::Cmpxchg && base == Reg::R0) {
                            // The address itself is stored: overwrite it.
                            insns.push(ldx(Size::Dw, Reg::R1, Reg::R10, -8));
                            insns.push(Insn::Store {
                                size: Size::Dw,
                                dst: Reg::R1,
                                off: 88 + lazy as i16,
                                src: Src::Imm(0),
                            });
                            insns.push(mov(Reg::R1, Src::Imm(0)));
                        }
                        insns.push(Insn::Store {
                            size: Size::Dw,
                            dst: Reg::R10,
                            off: -120,
                            src: Src::Imm(0),
                        });
                        let c = body(&insns);
                        let mut inputs = Vec::new();
                        for _ in 0..16 {
                            let mut ctx = with_registers(&[], &mut rng);
                            for r in GENERAL {
                                ctx[r.index()] = rng.value();
                            }
                            ctx[11] = rng.value();
                            ctx[12] = rng.value();
                            if rng.once_in(2) {
                                ctx[0] = ctx[11 + lazy as usize / 8];
                            }
                            if rng.once_in(4) {
                                ctx[0] ^= 1 << 40;
                            }
                            inputs.push(ctx);
                        }
                        compare(&c, &[], &[], &inputs);
                    }
                }
            }
        }
    }
}

#[test]
fn memory() {
    let mut rng = Rng::new(7);
    for size in [Size::B, Size::H, Size::W, Size::Dw] {
        for base in GENERAL {
            for other in GENERAL {
                for off in [0i16, 8, 40, -8] {
                    let mut insns = vec![
                        ldx(Size::Dw, base, Reg::R10, -8),
                        alu64(AluOp::Add, base, Src::Imm(120)),
                    ];
                    if base != other {
                        insns.push(stx(size, base, off, other));
                    }
                    insns.push(Insn::Store {
                        size,
                        dst: base,
                        off: off + 32,
                        src: Src::Imm(rng.imm()),
                    });
                    insns.push(Insn::StoreRelease {
                        size,
                        dst: base,
                        off: off + 16,
                        src: if other == base { Reg::R10 } else { other },
                    });
                    if other == base {
                        insns.push(Insn::Store {
                            size: Size::Dw,
                            dst: base,
                            off: off + 16,
                            src: Src::Imm(3),
                        });
                    }
                    insns.push(Insn::LoadAcquire {
                        size,
                        dst: if other == base { Reg::R9 } else { other },
                        src: base,
                        off,
                    });
                    if other == base && base == Reg::R9 {
                        insns.push(mov(Reg::R9, Src::Imm(3)));
                    } else {
                        insns.push(Insn::Load {
                            size,
                            sx: size != Size::Dw,
                            dst: base,
                            src: base,
                            off: off + 24,
                        });
                    }
                    let c = body(&insns);
                    let inputs: Vec<_> = (0..4).map(|_| with_registers(&[], &mut rng)).collect();
                    compare(&c, &[], &[], &inputs);
                }
            }
        }
    }
}

extern "C" fn mix(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    // Something that needs the vector registers, and so an aligned stack.
    let v: [f64; 4] = [
        a as u32 as f64,
        b as u32 as f64,
        c as u32 as f64,
        d as u32 as f64,
    ];
    let s = std::hint::black_box(v).iter().sum::<f64>();
    a ^ b.rotate_left(8) ^ c.rotate_left(16) ^ d.rotate_left(24) ^ e.rotate_left(32) ^ s as u64
}

extern "C" fn sum(a: u64, b: u64, _: u64, _: u64, _: u64) -> u64 {
    a.wrapping_add(b)
}

/// Makes random programs.
struct Gen<'a> {
    rng: &'a mut Rng,
    p: Vec<Insn>,
    /// Calls to patch: slot, subprogram.
    calls: Vec<(usize, usize)>,
    subs: usize,
    depth: u32,
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
        match self.rng.below(34) {
            0..=9 => {
                let op = self.rng.pick(&OPS);
                let src = self.src();
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
                let src = self.src();
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
            31 => {
                let helper = 1 + self.rng.below(2) as i32;
                self.p.push(Insn::Call { helper });
                self.refill(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5]);
            }
            32 if self.subs > 0 && self.depth < 2 => {
                let sub = self.rng.below(self.subs as u64) as usize;
                self.calls.push((self.p.len(), sub));
                self.p.push(Insn::Exit);
                self.refill(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5]);
            }
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

    fn block(&mut self, budget: &mut u32) {
        for _ in 0..1 + self.rng.below(8) {
            if *budget == 0 {
                break;
            }
            self.one(budget);
        }
    }
}

fn random_program(rng: &mut Rng) -> Code {
    let subs = rng.below(3) as usize;
    let mut g = Gen {
        rng,
        p: prologue(),
        calls: Vec::new(),
        subs,
        depth: 0,
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
    let mut starts = vec![(0, 512)];
    // Subprograms call only later ones, so that recursion ends.
    for i in 0..subs {
        starts.push((g.p.len() as u32, 512));
        g.subs = 0;
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
    code(&g.p, &starts)
}

#[test]
fn random_programs() {
    let rounds: u64 = std::env::var("JIT_ROUNDS").map_or(6000, |v| v.parse().unwrap());
    let seed: u64 = std::env::var("JIT_SEED").map_or(0, |v| v.parse().unwrap());
    let mut runs = 0;
    for round in 0..rounds {
        let mut rng = Rng::new(1000 + seed * 1_000_000 + round);
        let c = random_program(&mut rng);
        let mut inputs = Vec::new();
        for _ in 0..6 {
            let mut ctx = with_registers(&[], &mut rng);
            for slot in &mut ctx {
                *slot = rng.value();
            }
            inputs.push(ctx);
        }
        runs += compare(&c, &[mix, sum], &[], &inputs);
    }
    println!("{runs} runs");
}

#[test]
fn maps_and_large_numbers() {
    let mut rng = Rng::new(8);
    let mut value = vec![0u64; 64];
    for v in &mut value {
        *v = rng.next();
    }
    let map = MapTarget {
        addr: 0x1234_5678_9abc,
        value: Some(value.as_ptr() as u64),
        array: Some(ArrayTarget {
            base: value.as_ptr() as u64,
            stride: 8,
            max_entries: 64,
        }),
    };
    let mut insns = Vec::new();
    for i in 0..8 {
        insns.push(Insn::LdImm64 {
            dst: Reg::R1,
            imm: oxbpf_core::isa::Imm64::MapValue {
                map: 0,
                off: i * 40,
            },
        });
        insns.push(Insn::Hole);
        insns.push(ldx(Size::Dw, Reg::R2, Reg::R1, 8));
        insns.push(alu64(AluOp::Add, Reg::R0, Src::Reg(Reg::R2)));
    }
    insns.push(Insn::LdImm64 {
        dst: Reg::R1,
        imm: oxbpf_core::isa::Imm64::Map(0),
    });
    insns.push(Insn::Hole);
    let c = body(&insns);
    let inputs: Vec<_> = (0..4).map(|_| with_registers(&[], &mut rng)).collect();
    compare(&c, &[], &[map], &inputs);
}

#[test]
fn far_jumps() {
    let mut rng = Rng::new(9);
    for filler in [5, 20, 30, 31, 32, 33, 40, 2000] {
        let at = prologue().len() as u32;
        let mut insns = vec![jmp(Cond::Gt, Reg::R1, Src::Reg(Reg::R2), at + 2 + filler)];
        for i in 0..filler {
            insns.push(alu64(AluOp::Xor, Reg::R3, Src::Imm(0x1000_0000 + i as i32)));
        }
        insns.push(mov(Reg::R4, Src::Imm(9)));
        insns.push(alu64(AluOp::Add, Reg::R5, Src::Imm(1)));
        // Backwards, until R1 is below R2.
        insns.push(alu64(AluOp::Rsh, Reg::R1, Src::Imm(1)));
        insns.push(jmp(Cond::Gt, Reg::R1, Src::Imm(0), at));
        let c = body(&insns);
        let inputs: Vec<_> = (0..8).map(|_| with_registers(&[], &mut rng)).collect();
        compare(&c, &[], &[], &inputs);
    }
}
