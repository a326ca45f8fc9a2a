// SPDX-License-Identifier: GPL-2.0

//! Shows the code that programs compile to: `cases [NAME...]` disassembles, without names it lists
//! sizes, and `cases time` says how long compiling takes.

use iced_x86::{Decoder, DecoderOptions};
use oxbpf_core::isa::code::Code;
use oxbpf_core::isa::{AluOp, Cond, Imm64, Insn, Reg, Size, Src, SwapKind};
use oxbpf_core::jit::{
    emit, ArrayTarget, Features, MapTarget, Mitigations, TailCalls, Target, Variables,
};
use oxbpf_jit_run::{alu64, code, jmp, ldx, mov, stx};
use Reg::*;

/// Programs like those of the project's measurements.
fn cases() -> Vec<(&'static str, Code)> {
    let imm = Src::Imm;
    let reg = Src::Reg;
    let exit = Insn::Exit;
    let map = |dst| {
        [
            Insn::LdImm64 {
                dst,
                imm: Imm64::Map(0),
            },
            Insn::Hole,
        ]
    };
    let mut out = vec![
        ("empty", code(&[mov(R0, imm(0)), exit], &[(0, 0)])),
        (
            "alu-loop",
            code(
                &[
                    mov(R0, imm(0)),
                    mov(R1, imm(1000)),
                    alu64(AluOp::Add, R0, reg(R1)),
                    alu64(AluOp::Xor, R0, imm(0x55)),
                    alu64(AluOp::Sub, R1, imm(1)),
                    jmp(Cond::Ne, R1, imm(0), 2),
                    exit,
                ],
                &[(0, 0)],
            ),
        ),
    ];
    for (name, op, by) in [
        ("div-10", AluOp::Div, imm(10)),
        ("div-16", AluOp::Div, imm(16)),
        ("div-reg", AluOp::Div, reg(R3)),
        ("mod-10", AluOp::Mod, imm(10)),
    ] {
        let p = [
            mov(R0, imm(0)),
            mov(R1, imm(1000)),
            mov(R3, imm(10)),
            mov(R2, reg(R1)),
            alu64(op, R2, by),
            alu64(AluOp::Add, R0, reg(R2)),
            alu64(AluOp::Sub, R1, imm(1)),
            jmp(Cond::Ne, R1, imm(0), 3),
            exit,
        ];
        out.push((name, code(&p, &[(0, 0)])));
    }
    let mut stack = Vec::new();
    stack.push(mov(R0, imm(0)));
    for i in 1..=16 {
        stack.push(stx(Size::Dw, R10, -8 * i, R1));
    }
    for i in 1..=16 {
        stack.push(ldx(Size::Dw, R2, R10, -8 * i));
        stack.push(alu64(AluOp::Add, R0, reg(R2)));
    }
    stack.push(exit);
    out.push(("stack", code(&stack, &[(0, 128)])));
    let mut bases = vec![mov(R0, imm(0))];
    for i in 0..8 {
        bases.push(Insn::LdImm64 {
            dst: R1,
            imm: Imm64::MapValue { map: 0, off: i * 8 },
        });
        bases.push(Insn::Hole);
        bases.push(ldx(Size::Dw, R2, R1, 0));
        bases.push(alu64(AluOp::Add, R0, reg(R2)));
    }
    bases.push(exit);
    out.push(("ld-imm64", code(&bases, &[(0, 0)])));
    for (name, key) in [("array", None), ("array-constant", Some(3))] {
        let mut p = vec![
            mov(R6, reg(R1)),
            stx(Size::W, R10, -4, R6),
            mov(R2, reg(R10)),
        ];
        p.push(alu64(AluOp::Add, R2, imm(-4)));
        p.extend(map(R1));
        p.push(Insn::Call { helper: 1 });
        p.push(jmp(Cond::Eq, R0, imm(0), 10));
        p.push(ldx(Size::Dw, R1, R0, 0));
        p.push(alu64(AluOp::Add, R6, reg(R1)));
        p.push(mov(R0, reg(R6)));
        p.push(exit);
        let mut c = code(&p, &[(0, 8)]);
        let fact = &mut c.facts.as_mut_slice()[6];
        fact.map = Some(0);
        fact.key = key;
        out.push((name, c));
    }
    out.push((
        "call",
        code(
            &[
                mov(R1, imm(3)),
                mov(R2, imm(4)),
                Insn::CallSub { target: 4 },
                exit,
                mov(R0, reg(R1)),
                alu64(AluOp::Add, R0, reg(R2)),
                exit,
            ],
            &[(0, 0), (4, 0)],
        ),
    ));
    // eth, ip, tcp: is it port 80?
    let be16 = |dst| Insn::Swap {
        kind: SwapKind::ToBe,
        size: Size::H,
        dst,
    };
    out.push((
        "parse",
        code(
            &[
                mov(R0, imm(0)),
                ldx(Size::Dw, R2, R1, 0),
                ldx(Size::Dw, R3, R1, 8),
                mov(R4, reg(R2)),
                alu64(AluOp::Add, R4, imm(34)),
                jmp(Cond::Gt, R4, reg(R3), 26),
                ldx(Size::H, R5, R2, 12),
                be16(R5),
                jmp(Cond::Ne, R5, imm(0x800), 26),
                ldx(Size::B, R5, R2, 23),
                jmp(Cond::Ne, R5, imm(6), 26),
                ldx(Size::B, R5, R2, 14),
                alu64(AluOp::And, R5, imm(15)),
                alu64(AluOp::Lsh, R5, imm(2)),
                jmp(Cond::Lt, R5, imm(20), 26),
                mov(R4, reg(R2)),
                alu64(AluOp::Add, R4, imm(14)),
                alu64(AluOp::Add, R4, reg(R5)),
                mov(R5, reg(R4)),
                alu64(AluOp::Add, R5, imm(20)),
                jmp(Cond::Gt, R5, reg(R3), 26),
                ldx(Size::H, R5, R4, 2),
                be16(R5),
                jmp(Cond::Ne, R5, imm(80), 26),
                mov(R0, imm(1)),
                exit,
                exit,
            ],
            &[(0, 0)],
        ),
    ));
    out
}

/// Times the compilation of long programs.
fn time(target: &Target<'_>) {
    let mut straight = vec![mov(R0, Src::Imm(0))];
    let mut branchy = straight.clone();
    for i in 0..4000i32 {
        let dst = [R0, R2, R3, R4, R5, R6, R7][i as usize % 7];
        straight.push(match i % 3 {
            0 => alu64(AluOp::Xor, dst, Src::Imm(i)),
            1 => alu64(AluOp::Add, dst, Src::Reg(R1)),
            _ => stx(Size::Dw, R10, -8 - (i as i16 % 16) * 8, dst),
        });
        let next = branchy.len() as u32 + 2;
        branchy.push(jmp(Cond::Gt, dst, Src::Imm(i), next));
        branchy.push(alu64(AluOp::Add, dst, Src::Imm(i)));
    }
    for (name, mut p) in [("straight", straight), ("branchy", branchy)] {
        p.push(Insn::Exit);
        let c = code(&p, &[(0, 128)]);
        let mut best = u128::MAX;
        for _ in 0..50 {
            let start = std::time::Instant::now();
            let image = emit(&c, target).expect(name);
            best = best.min(start.elapsed().as_nanos());
            std::hint::black_box(image);
        }
        let per = best / p.len() as u128;
        println!("{name}: {} insns, {per} ns an insn", p.len());
    }
}

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let base = 0xffff_c900_0010_0000u64;
    let maps = [MapTarget {
        addr: 0xffff_8881_0000_1000,
        value: Some(base),
        array: Some(ArrayTarget {
            base,
            stride: 8,
            max_entries: 64,
        }),
        per_cpu: None,
        hash: None,
    }];
    let target = Target {
        features: Features {
            bmi2: true,
            movbe: true,
        },
        mitigations: Mitigations {
            ibt: true,
            ..Mitigations::default()
        },
        align_stack: false,
        packet: None,
        blind: None,
        variables: Variables {
            cpu_number: Some(0xffff_ffff_8320_0008),
            current_task: Some(0xffff_ffff_8320_0010),
            jiffies: Some(0xffff_ffff_8300_0000),
        },
        helper: &|_| Some(0xffff_ffff_8100_0000),
        maps: &maps,
        tail: TailCalls::default(),
    };
    if names.iter().any(|n| n == "time") {
        return time(&target);
    }
    for (name, code) in cases() {
        let image = emit(&code, &target).expect(name);
        if names.is_empty() {
            println!("{name:16} {:4} bytes", image.bytes().len());
        }
        if names.iter().any(|n| n == name || n == "all") {
            println!("{name}:");
            let mut decoder = Decoder::with_ip(64, image.bytes(), 0, DecoderOptions::NONE);
            for insn in &mut decoder {
                println!("  {:3x}: {insn}", insn.ip());
            }
        }
    }
}
