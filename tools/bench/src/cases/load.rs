// SPDX-License-Identifier: GPL-2.0

//! PROG_LOAD: what a program's verification, rewriting and compilation cost by shape and size.

use super::{Case, Figure, Missing, Outcome};
use crate::asm::*;
use crate::clock::ticks;
use crate::subject::Subject;
use oxbpf::{Bpf, Map, MapSpec, MapType, ProgSpec, ProgType, Slot};
use std::time::Duration;

const GROUP: &str = "PROG_LOAD";
const UNIT: &str = "insns/load";
const RANDOM: i32 = 7;
const LOOKUP: i32 = 1;

fn loading(subject: &dyn Subject, insns: &[Slot]) -> Outcome {
    Ok(Figure {
        ticks: subject.load_ticks(insns)?,
        bytes: None,
    })
}

/// Ticks of loading a program once.
pub(crate) fn time_of(bpf: &Bpf, insns: &[Slot]) -> Result<f64, Missing> {
    let spec = ProgSpec::new(ProgType::SCHED_CLS, insns);
    let mut best = u64::MAX;
    let tries = if insns.len() > 5000 { 1 } else { 3 };
    for _ in 0..tries {
        let mut prog = None;
        let t = ticks(|| prog = Some(bpf.prog_load(&spec)));
        match prog {
            Some(Err(e)) => return Err(e.into()),
            Some(Ok(p)) => drop(p),
            None => return Err(Missing::Failed("not loaded".to_owned())),
        }
        // What is freed later is freed before the next.
        std::thread::sleep(Duration::from_millis(100));
        best = best.min(t);
    }
    Ok(best as f64)
}

fn case(name: impl Into<String>, write: impl Fn() -> Vec<Slot> + 'static) -> Case {
    Case::new(GROUP, name, UNIT, None, move |s| loading(s, &write()))
}

/// Additions, one after the other.
pub(super) fn straight(n: i32) -> Vec<Slot> {
    let mut a = Asm::new();
    a.mov(R0, 0);
    for k in 0..n - 2 {
        a.add(R0, k);
    }
    a.exit();
    a.finish()
}

/// Branches that join again.
pub(super) fn diamonds(n: i32) -> Vec<Slot> {
    let mut a = Asm::new();
    a.mov(R6, 0);
    for k in 0..n {
        let over = a.label();
        a.call(RANDOM);
        a.jmp(Cond::Eq, R0, k, over);
        a.add(R6, k);
        a.bind(over);
    }
    a.mov_reg(R0, R6);
    a.exit();
    a.finish()
}

/// A loop of `n` rounds.
fn bounded(n: i32) -> Vec<Slot> {
    let mut a = Asm::new();
    a.mov(R0, 0);
    a.mov(R1, 0);
    let top = a.here();
    a.add(R0, 3);
    a.add(R1, 1);
    a.jmp(Cond::Lt, R1, n, top);
    a.exit();
    a.finish()
}

/// A loop with a branch inside.
fn branchy(n: i32) -> Vec<Slot> {
    let mut a = Asm::new();
    a.mov(R6, 0);
    a.mov(R7, 0);
    let top = a.here();
    let over = a.label();
    a.call(RANDOM);
    a.jmp(Cond::Eq, R0, 3, over);
    a.add(R7, 3);
    a.bind(over);
    a.add(R6, 1);
    a.jmp(Cond::Lt, R6, n, top);
    a.mov_reg(R0, R7);
    a.exit();
    a.finish()
}

/// A loop whose counter lies on the stack.
fn stack(n: i32) -> Vec<Slot> {
    let mut a = Asm::new();
    a.mov(R1, 0);
    a.stx(Size::Dw, R10, -8, R1);
    let top = a.here();
    a.ldx(Size::Dw, R2, R10, -8);
    a.add(R2, 1);
    a.stx(Size::Dw, R10, -8, R2);
    a.jmp(Cond::Lt, R2, n, top);
    a.mov(R0, 0);
    a.exit();
    a.finish()
}

/// Packet accesses, each checked.
pub(super) fn packet(n: i32) -> Vec<Slot> {
    let mut a = Asm::new();
    a.ldx(Size::W, R2, R1, 76);
    a.ldx(Size::W, R3, R1, 80);
    a.mov(R0, 0);
    for k in 0..n {
        let over = a.label();
        a.mov_reg(R4, R2);
        a.add(R4, 14 + k);
        a.jmp_reg(Cond::Gt, R4, R3, over);
        a.ldx(Size::B, R5, R2, (13 + k) as i16);
        a.bind(over);
    }
    a.exit();
    a.finish()
}

/// Map lookups, each checked.
pub(super) fn lookups(n: i32, map: &Map) -> Vec<Slot> {
    let mut a = Asm::new();
    for k in 0..n {
        let over = a.label();
        a.st(Size::Dw, R10, -8, k);
        a.mov_reg(R2, R10);
        a.add(R2, -8);
        a.ld_map(R1, map);
        a.call(LOOKUP);
        a.jmp(Cond::Eq, R0, 0, over);
        a.ldx(Size::Dw, R1, R0, 0);
        a.bind(over);
    }
    a.mov(R0, 0);
    a.exit();
    a.finish()
}

fn lookup_case(n: i32) -> Case {
    Case::new(GROUP, format!("map lookups, {n}"), UNIT, None, move |s| {
        let map = s.create(&MapSpec::new(MapType::HASH, 8, 8, 16))?;
        loading(s, &lookups(n, &map))
    })
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [10, 100, 1_000, 10_000]
        .map(|n| case(format!("straight line, {n}"), move || straight(n)))
        .into();
    cases.extend([
        case("diamonds, 100", || diamonds(100)),
        case("diamonds, 1000", || diamonds(1000)),
        case("bounded loop, 1000", || bounded(1000)),
        case("bounded loop, 20000", || bounded(20_000)),
        case("branchy loop, 1000", || branchy(1000)),
        case("stack loop, 5000", || stack(5000)),
        case("packet checks, 100", || packet(100)),
        lookup_case(400),
        lookup_case(1000),
        case("straight line, 100000", || straight(100_000)).slow(),
        lookup_case(4000).slow(),
    ]);
    cases
}
