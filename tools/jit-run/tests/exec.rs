// SPDX-License-Identifier: GPL-2.0

//! Runs compiled code natively, operation by operation, and compares all registers and memory with
//! the reference.

mod common;

use common::*;
use oxbpf_core::isa::code::Code;
use oxbpf_core::isa::{AluOp, AtomicOp, Cond, Insn, Reg, Size, Src, SwapKind, Width};
use oxbpf_core::jit::{ArrayTarget, MapTarget};
use oxbpf_jit_run::exec::{place_numbered, set_packet, Options};
use oxbpf_jit_run::rng::{Rng, EDGES};
use oxbpf_jit_run::{alu64, jmp, ldx, mov, stx};

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

#[test]
fn maps_and_large_numbers() {
    let mut rng = Rng::new(8);
    let mut value = vec![0u64; 64];
    for v in &mut value {
        *v = rng.bits();
    }
    let map = MapTarget {
        addr: 0x1234_5678_9abc,
        value: Some(value.as_ptr() as u64),
        array: Some(ArrayTarget {
            base: value.as_ptr() as u64,
            stride: 8,
            max_entries: 64,
        }),
        ..MapTarget::default()
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
fn packet_loads() {
    let mut rng = Rng::new(10);
    let packet: Vec<u8> = (0..200).map(|_| rng.bits() as u8).collect();
    set_packet(&packet);
    for size in [Size::B, Size::H, Size::W] {
        for src in GENERAL {
            for imm in [0, 1, 100, 196, 197, 199, 200, -1, i32::MIN, i32::MAX] {
                let at = prologue().len() as u32;
                // The first load overwrites R1 to R5.
                let first = match (1..=5).contains(&src.index()) {
                    true => mov(Reg::R0, Src::Imm(0)),
                    false => Insn::LdAbs { size, imm },
                };
                let c = body(&[
                    alu64(AluOp::Add, Reg::R8, Src::Reg(src)),
                    jmp(Cond::Gt, Reg::R9, Src::Imm(0), at + 3),
                    first,
                    Insn::LdInd { size, src, imm },
                    alu64(AluOp::Add, Reg::R7, Src::Reg(Reg::R0)),
                    mov(Reg::R1, Src::Imm(1)),
                    mov(Reg::R2, Src::Imm(2)),
                    mov(Reg::R3, Src::Imm(3)),
                    mov(Reg::R4, Src::Imm(4)),
                    mov(Reg::R5, Src::Imm(5)),
                ]);
                let mut inputs = Vec::new();
                for i in [0, 1, 2, 50, 199, u64::MAX, 1 << 32, 1 << 40] {
                    inputs.push(with_registers(&[(src, i), (Reg::R9, i & 1)], &mut rng));
                }
                compare(&c, &[], &[], &inputs);
            }
        }
    }
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

/// Divisors around powers of two, small ones and random ones, of both signs, with dividends around
/// their multiples.
#[test]
fn signed_division_by_constants() {
    let mut rng = Rng::new(77);
    let mut divisors: Vec<i64> = (1..40).collect();
    for shift in 2..31 {
        divisors.extend([(1 << shift) - 1, 1 << shift, (1 << shift) + 1]);
    }
    for _ in 0..60 {
        divisors.push(((rng.bits() & 0x7fff_ffff) as i64 >> rng.below(30)) | 1);
    }
    divisors.extend([i64::from(i32::MAX), 1_000_000_007, 641, 6_700_417]);
    let mut n = 0;
    for d in divisors {
        for divisor in [d, -d] {
            for width in WIDTHS {
                for op in [AluOp::Sdiv, AluOp::Smod] {
                    let dst = rng.pick(&[Reg::R0, Reg::R1, Reg::R3, Reg::R6]);
                    let c = body(&[Insn::Alu {
                        op,
                        width,
                        dst,
                        src: Src::Imm(divisor as i32),
                    }]);
                    let mut inputs = Vec::new();
                    let top = match width {
                        Width::W32 => i64::from(i32::MAX),
                        Width::W64 => i64::MAX,
                    };
                    let mut dividends = vec![0, 1, -1, top, -top, -top - 1, top - 1];
                    for _ in 0..8 {
                        let near = (rng.bits() as i64 >> rng.below(64)) / d * d;
                        dividends.extend([near, near.wrapping_sub(1), near.wrapping_add(1)]);
                    }
                    for a in dividends {
                        inputs.push(with_registers(&[(dst, a as u64)], &mut rng));
                    }
                    n += compare(&c, &[], &[], &inputs);
                }
            }
        }
    }
    println!("{n} runs");
}

/// A program that has distinct numbers wherever an instruction can have one.
fn numbers() -> (Code, Vec<u32>) {
    let mut p = prologue();
    let mut used = Vec::new();
    let mut next = 0u32;
    let mut number = || {
        next += 1;
        let n = 0x6a3c_5b00 + next * 0x0101_0407;
        used.push(n);
        n as i32
    };
    for width in WIDTHS {
        for op in OPS {
            if matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh) {
                continue;
            }
            p.push(Insn::Alu {
                op,
                width,
                dst: Reg::R6,
                src: Src::Imm(number()),
            });
            p.push(alu64(AluOp::Add, Reg::R7, Src::Reg(Reg::R6)));
        }
        p.push(Insn::Mov {
            width,
            dst: Reg::R2,
            src: Src::Imm(number()),
        });
        p.push(alu64(AluOp::Xor, Reg::R7, Src::Reg(Reg::R2)));
        for cond in CONDS {
            let target = p.len() as u32 + 2;
            p.push(Insn::Jmp {
                cond,
                width,
                dst: Reg::R3,
                src: Src::Imm(number()),
                target,
            });
            p.push(alu64(AluOp::Add, Reg::R8, Src::Imm(1)));
        }
        // What a mask, a loaded or a swapped value is compared with.
        p.push(alu64(AluOp::And, Reg::R4, Src::Imm(number())));
        let target = p.len() as u32 + 2;
        p.push(jmp(Cond::Eq, Reg::R4, Src::Imm(0), target));
        p.push(alu64(AluOp::Add, Reg::R8, Src::Imm(1)));
        p.push(ldx(Size::W, Reg::R4, Reg::R10, -8));
        p.push(Insn::Swap {
            kind: SwapKind::ToBe,
            size: Size::W,
            dst: Reg::R4,
        });
        let target = p.len() as u32 + 2;
        p.push(jmp(Cond::Ne, Reg::R4, Src::Imm(number()), target));
        p.push(alu64(AluOp::Add, Reg::R8, Src::Imm(1)));
    }
    for size in [Size::W, Size::Dw] {
        p.push(Insn::Store {
            size,
            dst: Reg::R10,
            off: -200,
            src: Src::Imm(number()),
        });
        p.push(ldx(size, Reg::R5, Reg::R10, -200));
        p.push(alu64(AluOp::Xor, Reg::R9, Src::Reg(Reg::R5)));
    }
    let (low, high) = (number() as u32, number() as u32);
    p.extend(oxbpf_jit_run::ld64(
        Reg::R1,
        (u64::from(high) << 32) | u64::from(low),
    ));
    // As a product and as an address.
    p.push(mov(Reg::R2, Src::Reg(Reg::R10)));
    p.push(alu64(AluOp::Add, Reg::R2, Src::Imm(number())));
    p.push(alu64(AluOp::Sub, Reg::R2, Src::Reg(Reg::R10)));
    epilogue(&mut p);
    (oxbpf_jit_run::code(&p, &[(0, 512)]), used)
}

/// Options many of the numbers the image contains, in either byte order.
fn seen(image: &[u8], numbers: &[u32]) -> usize {
    let found = |n: &&u32| {
        let n = **n;
        let has = |bytes: [u8; 4]| image.windows(4).any(|w| w == bytes);
        has(n.to_le_bytes()) || has(n.to_be_bytes())
    };
    numbers.iter().filter(found).count()
}

#[test]
fn blinded_images_hold_no_number() {
    let (c, numbers) = numbers();
    for features in FEATURES {
        for (blind, round) in (0..20).flat_map(|r| [(true, r), (false, r)]) {
            let options = Options {
                features,
                blind,
                ..Options::default()
            };
            let placed = place_numbered(&c, 1, &[], &[], &options).unwrap();
            let seen = seen(placed.image.bytes(), &numbers);
            if blind {
                assert_eq!(seen, 0, "round {round}");
            } else {
                // Division by these is a multiplication by other numbers, and so on.
                assert!(seen * 4 > numbers.len() * 3, "{seen} of {}", numbers.len());
            }
        }
    }
    let mut rng = Rng::new(90);
    let inputs: Vec<_> = (0..20).map(|_| with_registers(&[], &mut rng)).collect();
    compare(&c, &[], &[], &inputs);
}
