// SPDX-License-Identifier: GPL-2.0

//! Execution: what one round of a loop in a program costs.
//!
//! The rounds that need different data take them from a linear congruence, as the notes' figures
//! do: one multiplication and one addition a round.

use super::{Case, Figure, Missing, Outcome};
use crate::asm::*;
use crate::subject::Subject;
use oxbpf::{MapSpec, MapType, ProgType, Slot};

const GROUP: &str = "execution";
const UNIT: &str = "insns/round";
/// Rounds of a loop.
pub(super) const ROUNDS: i32 = 1000;

/// Measures one round of a program that makes `rounds` of them.
pub(super) fn round(subject: &dyn Subject, ty: ProgType, insns: &[Slot], rounds: i32) -> Outcome {
    let mut prog = subject.load(ty, insns)?;
    let ticks = prog.per_run()?;
    Ok(Figure {
        ticks: ticks / f64::from(rounds),
        bytes: prog.image_bytes(),
    })
}

/// A case whose program does not depend on the implementation.
fn plain(
    name: &str,
    noted: impl Into<Option<f64>>,
    rounds: i32,
    write: impl Fn() -> Vec<Slot> + 'static,
) -> Case {
    Case::new(GROUP, name, UNIT, noted, move |subject| {
        round(subject, ProgType::SCHED_CLS, &write(), rounds)
    })
}

/// The next number of the congruence in `r`.
pub(super) fn advance(a: &mut Asm, r: u8) {
    a.alu(Alu::Mul, r, 1_103_515_245);
    a.alu(Alu::Add, r, 12345);
}

/// Ends a loop that counts `r` down.
pub(super) fn again(a: &mut Asm, r: u8, top: Label) {
    a.alu(Alu::Sub, r, 1);
    a.jmp(Cond::Ne, r, 0, top);
}

/// A loop of `rounds` with a sum in R0, a congruence in R7 and the count in R5.
fn summing(rounds: i32, body: impl Fn(&mut Asm)) -> Vec<Slot> {
    let mut a = Asm::new();
    a.mov(R0, 0);
    a.mov(R7, 1);
    a.mov(R5, rounds);
    let top = a.here();
    body(&mut a);
    again(&mut a, R5, top);
    a.exit();
    a.finish()
}

fn alu_loop() -> Vec<Slot> {
    let mut a = Asm::new();
    a.mov(R0, 0);
    a.mov(R5, 10 * ROUNDS);
    let top = a.here();
    a.add_reg(R0, R5);
    a.alu(Alu::Xor, R0, 0x55);
    again(&mut a, R5, top);
    a.exit();
    a.finish()
}

/// One of each kind of arithmetic.
fn mix() -> Vec<Slot> {
    summing(ROUNDS, |a| {
        advance(a, R7);
        a.mov_reg(R2, R7);
        a.alu(Alu::Rsh, R2, 16);
        a.alu(Alu::And, R2, 0xffff);
        a.alu(Alu::Or, R2, 1);
        a.mov_reg(R3, R7);
        a.alu_reg(Alu::Div, R3, R2);
        a.add_reg(R0, R3);
        a.mov_reg(R3, R7);
        a.alu_reg(Alu::Mod, R3, R2);
        a.alu_reg(Alu::Xor, R0, R3);
        a.mov_reg(R3, R7);
        a.alu_reg(Alu::Mul, R3, R2);
        a.alu_reg(Alu::Sub, R0, R3);
        a.alu32_reg(Alu::Add, R3, R2);
        a.alu(Alu::Lsh, R3, 3);
        a.alu_reg(Alu::Xor, R0, R3);
        a.mov_reg(R3, R7);
        a.alu(Alu::Div, R3, 1000);
        a.alu_reg(Alu::Xor, R0, R3);
        a.mov_reg(R4, R7);
        a.alu(Alu::Rsh, R4, 7);
        a.add_reg(R0, R4);
        a.alu(Alu::Mul, R0, 1000);
        a.alu_reg(Alu::Xor, R4, R7);
        a.alu_reg(Alu::Sub, R0, R4);
    })
}

fn division(op: Alu, by: Option<i32>) -> Vec<Slot> {
    summing(ROUNDS, move |a| {
        advance(a, R7);
        a.mov_reg(R2, R7);
        match by {
            Some(n) => a.alu(op, R2, n),
            None => a.alu_reg(op, R2, R5),
        }
        a.add_reg(R0, R2);
    })
}

/// Eight branches on bits that nobody can predict.
fn branches() -> Vec<Slot> {
    summing(ROUNDS, |a| {
        advance(a, R7);
        for bit in 0..8 {
            let over = a.label();
            a.mov_reg(R2, R7);
            a.alu(Alu::And, R2, 1 << (bit + 20));
            a.jmp(Cond::Eq, R2, 0, over);
            a.add(R0, 1000 + bit);
            a.bind(over);
        }
    })
}

fn stack() -> Vec<Slot> {
    let mut a = Asm::new();
    a.mov(R0, 0);
    a.mov(R5, ROUNDS);
    let top = a.here();
    for i in 1..=16 {
        a.stx(Size::Dw, R10, -8 * i, R5);
        a.ldx(Size::Dw, R2, R10, -8 * i);
        a.add_reg(R0, R2);
        a.alu(Alu::Xor, R0, i32::from(i));
    }
    again(&mut a, R5, top);
    a.exit();
    a.finish()
}

/// Globals: addresses in a map's value, and loads from them.
fn globals(subject: &dyn Subject) -> Outcome {
    let map = subject.create(&MapSpec::new(MapType::ARRAY, 4, 64, 1))?;
    let mut a = Asm::new();
    a.mov(R0, 0);
    a.mov(R5, ROUNDS);
    let top = a.here();
    for i in 0..8 {
        a.ld_value(R1, &map, 8 * i);
        a.ldx(Size::Dw, R2, R1, 0);
        a.add_reg(R0, R2);
    }
    again(&mut a, R5, top);
    a.exit();
    round(subject, ProgType::SCHED_CLS, &a.finish(), ROUNDS)
}

/// A function of two arguments that adds.
fn subprogram() -> Vec<Slot> {
    let mut a = Asm::new();
    let function = a.label();
    a.mov(R6, 0);
    a.mov(R7, ROUNDS);
    let top = a.here();
    a.mov_reg(R1, R6);
    a.mov_reg(R2, R7);
    a.call_sub(function);
    a.mov_reg(R6, R0);
    again(&mut a, R7, top);
    a.mov_reg(R0, R6);
    a.exit();
    a.bind(function);
    a.mov_reg(R0, R1);
    a.add_reg(R0, R2);
    a.exit();
    a.finish()
}

/// Is it TCP to port 80?
fn parse() -> Vec<Slot> {
    let mut a = Asm::new();
    let no = a.label();
    a.mov_reg(R6, R1);
    a.mov(R7, ROUNDS);
    a.mov(R8, 0);
    let top = a.here();
    a.ldx(Size::W, R2, R6, 76);
    a.ldx(Size::W, R3, R6, 80);
    a.mov_reg(R4, R2);
    a.add(R4, 34);
    a.jmp_reg(Cond::Gt, R4, R3, no);
    a.ldx(Size::H, R5, R2, 12);
    a.be16(R5);
    a.jmp(Cond::Ne, R5, 0x800, no);
    a.ldx(Size::B, R5, R2, 23);
    a.jmp(Cond::Ne, R5, 6, no);
    a.ldx(Size::B, R5, R2, 14);
    a.alu(Alu::And, R5, 15);
    a.alu(Alu::Lsh, R5, 2);
    a.jmp(Cond::Lt, R5, 20, no);
    a.mov_reg(R4, R2);
    a.add(R4, 14);
    a.add_reg(R4, R5);
    a.mov_reg(R5, R4);
    a.add(R5, 20);
    a.jmp_reg(Cond::Gt, R5, R3, no);
    a.ldx(Size::H, R5, R4, 2);
    a.be16(R5);
    a.jmp(Cond::Ne, R5, 80, no);
    a.add(R8, 1);
    again(&mut a, R7, top);
    a.bind(no);
    a.mov_reg(R0, R8);
    a.exit();
    a.finish()
}

fn helper(number: i32) -> Vec<Slot> {
    let mut a = Asm::new();
    a.mov(R6, 0);
    a.mov(R7, ROUNDS);
    let top = a.here();
    a.call(number);
    a.add_reg(R6, R0);
    again(&mut a, R7, top);
    a.mov_reg(R0, R6);
    a.exit();
    a.finish()
}

/// A program that goes on in itself until the limit of tail calls, at a slot that is known or not.
fn tail_call(subject: &dyn Subject, known: bool) -> Outcome {
    /// `MAX_TAIL_CALL_CNT`
    const HOPS: f64 = 33.0;
    let ticks = |full: bool| {
        let array = subject.create(&MapSpec::new(MapType::PROG_ARRAY, 4, 4, 4))?;
        let mut a = Asm::new();
        a.ld_map(R2, &array);
        if known {
            a.mov(R3, 1);
        } else {
            // The packet's mark, which is 0.
            a.ldx(Size::W, R3, R1, 8);
            a.add(R3, 1);
        }
        a.call(12);
        a.mov(R0, 0);
        a.exit();
        let mut prog = subject.load(ProgType::SCHED_CLS, &a.finish())?;
        if full {
            let fd = prog.fd()?;
            subject.update(&array, &1u32.to_ne_bytes(), &fd.to_ne_bytes())?;
        }
        let ticks = prog.per_run()?;
        Ok::<_, Missing>((ticks, prog.image_bytes()))
    };
    // Without a program in the slot it ends at once.
    let (one, bytes) = ticks(false)?;
    let (all, _) = ticks(true)?;
    Ok(Figure {
        ticks: (all - one) / HOPS,
        bytes,
    })
}

pub(super) fn cases() -> Vec<Case> {
    let n = ROUNDS;
    vec![
        plain("ALU loop", 5.0, 10 * n, alu_loop),
        plain("ALU mix", 49.0, n, mix),
        plain("divide by 10", 16.0, n, || division(Alu::Div, Some(10))),
        plain("divide by 16", 16.0, n, || division(Alu::Div, Some(16))),
        plain("divide by register", 17.0, n, || division(Alu::Div, None)),
        plain("remainder by 10", None, n, || division(Alu::Mod, Some(10))),
        plain("branches", 41.9, n, branches),
        plain("stack, 16 slots", 67.0, n, stack),
        Case::new(GROUP, "globals, 8", UNIT, 27.0, globals),
        plain("subprogram call", 17.0, n, subprogram),
        Case::new(GROUP, "tail call, known slot", UNIT, 17.0, |b| {
            tail_call(b, true)
        }),
        Case::new(GROUP, "tail call, any slot", UNIT, 28.0, |b| {
            tail_call(b, false)
        }),
        plain("parse eth, ip, tcp", 38.0, n, parse),
        plain("helper ktime_get_ns", 51.0, n, || helper(5)),
        plain("helper get_prandom_u32", 55.0, n, || helper(7)),
        plain("helper get_smp_processor_id", 7.0, n, || helper(8)),
        // A program's smallest image; the figure is a test run's loop with the program in it.
        Case::new("test run", "empty program", "insns/run", None, |subject| {
            let mut a = Asm::new();
            a.mov(R0, 0);
            a.exit();
            round(subject, ProgType::SCHED_CLS, &a.finish(), 1)
        }),
    ]
}
