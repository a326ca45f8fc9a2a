// SPDX-License-Identifier: GPL-2.0

//! Programs that show what verifying costs, by shape and size.

use crate::read::{Expect, Test};
use oxbpf_core::isa::RawInsn;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> RawInsn {
    RawInsn::new(code, dst, src, off, imm)
}

const fn mov(dst: u8, imm: i32) -> RawInsn {
    RawInsn::new(0xb7, dst, 0, 0, imm)
}

const fn add(dst: u8, imm: i32) -> RawInsn {
    RawInsn::new(0x07, dst, 0, 0, imm)
}

const RANDOM: RawInsn = RawInsn::new(0x85, 0, 0, 0, 7);
const LOOKUP: RawInsn = RawInsn::new(0x85, 0, 0, 0, 1);
const EXIT: RawInsn = RawInsn::new(0x95, 0, 0, 0, 0);

fn test(name: String, prog_type: u32, insns: Vec<RawInsn>) -> Test {
    Test {
        name,
        file: "bench".to_owned(),
        prog_type,
        result: Expect::Accept,
        insns,
        ..Test::default()
    }
}

/// Additions, one after the other.
fn straight(n: i32) -> Test {
    let mut p = vec![mov(0, 0)];
    p.extend((0..n).map(|k| add(0, k)));
    p.push(EXIT);
    test(format!("straight line {n}"), 1, p)
}

/// Branches that join again.
fn diamonds(n: i32) -> Test {
    let mut p = vec![mov(6, 0)];
    for k in 0..n {
        p.extend([RANDOM, insn(0x15, 0, 0, 1, k), add(6, k)]);
    }
    p.extend([insn(0xbf, 0, 6, 0, 0), EXIT]);
    test(format!("diamonds {n}"), 1, p)
}

/// A loop of `n` rounds.
fn bounded(n: i32) -> Test {
    let p = vec![
        mov(0, 0),
        mov(1, 0),
        add(0, 3),
        add(1, 1),
        insn(0xa5, 1, 0, -3, n),
        EXIT,
    ];
    test(format!("bounded loop {n}"), 1, p)
}

/// A loop with a branch inside.
fn branchy(n: i32) -> Test {
    let p = vec![
        mov(6, 0),
        mov(7, 0),
        RANDOM,
        insn(0x15, 0, 0, 1, 3),
        add(7, 3),
        add(6, 1),
        insn(0xa5, 6, 0, -5, n),
        insn(0xbf, 0, 7, 0, 0),
        EXIT,
    ];
    test(format!("branchy loop {n}"), 1, p)
}

/// A loop in a loop.
fn nested(n: i32) -> Test {
    let p = vec![
        mov(0, 0),
        mov(1, 0),
        mov(2, 0),
        add(0, 1),
        add(2, 1),
        insn(0xa5, 2, 0, -3, n),
        add(1, 1),
        insn(0xa5, 1, 0, -6, n),
        EXIT,
    ];
    test(format!("nested loops {n}"), 1, p)
}

/// A loop whose counter lies on the stack.
fn stack(n: i32) -> Test {
    let p = vec![
        mov(1, 0),
        insn(0x7b, 10, 1, -8, 0),
        insn(0x79, 2, 10, -8, 0),
        add(2, 1),
        insn(0x7b, 10, 2, -8, 0),
        insn(0xa5, 2, 0, -4, n),
        mov(0, 0),
        EXIT,
    ];
    test(format!("stack loop {n}"), 1, p)
}

/// Packet accesses, each checked.
fn packet(n: i32) -> Test {
    let mut p = vec![insn(0x61, 2, 1, 76, 0), insn(0x61, 3, 1, 80, 0), mov(0, 0)];
    for k in 0..n {
        p.extend([
            insn(0xbf, 4, 2, 0, 0),
            add(4, 14 + k),
            insn(0x2d, 4, 3, 1, 0),
            insn(0x71, 5, 2, (13 + k) as i16, 0),
        ]);
    }
    p.push(EXIT);
    test(format!("packet checks {n}"), 3, p)
}

/// Map lookups, each checked.
fn lookups(n: i32) -> Test {
    let mut p = Vec::new();
    let mut maps = Vec::new();
    for k in 0..n {
        p.extend([
            insn(0x7a, 10, 0, -8, k),
            insn(0xbf, 2, 10, 0, 0),
            add(2, -8),
        ]);
        maps.push((p.len(), "hash_8b".to_owned()));
        p.extend([
            insn(0x18, 1, 1, 0, 0),
            RawInsn::default(),
            LOOKUP,
            insn(0x15, 0, 0, 1, 0),
            insn(0x79, 1, 0, 0, 0),
        ]);
    }
    p.extend([mov(0, 0), EXIT]);
    Test {
        maps,
        ..test(format!("map lookups {n}"), 1, p)
    }
}

/// All of them.
pub fn tests() -> Vec<Test> {
    vec![
        straight(100),
        straight(1_000),
        straight(10_000),
        straight(100_000),
        diamonds(100),
        diamonds(1_000),
        bounded(1_000),
        bounded(50_000),
        branchy(5_000),
        nested(100),
        stack(20_000),
        packet(500),
        lookups(400),
        lookups(4_000),
    ]
}
