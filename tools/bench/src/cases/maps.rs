// SPDX-License-Identifier: GPL-2.0

//! Maps from programs: what one round of a loop with the operation costs.
//!
//! A round takes its key from a congruence: bits of it below the number of keys in use.

use super::exec::{advance, again, round, ROUNDS};
use super::{Case, Missing, Outcome};
use crate::asm::*;
use crate::subject::Subject;
use oxbpf::{Map, MapSpec, MapType, ProgType, Slot};
use std::os::fd::{AsFd, AsRawFd};

const GROUP: &str = "maps";
const UNIT: &str = "insns/round";
const NO_PREALLOC: u32 = 1;
/// Hashes that are not random: with random ones a table's collisions, and so the figures, would differ
/// from one boot to the next.
pub(super) const ZERO_SEED: u32 = 1 << 6;

/// Helpers.
const LOOKUP: i32 = 1;
const UPDATE: i32 = 2;
const DELETE: i32 = 3;

/// Where the key of [`make_key`] lies.
fn key_at(size: u32) -> i16 {
    -(size.next_multiple_of(8) as i16)
}

/// Where a value for updates lies.
const VALUE_AT: i16 = -80;

/// What the loops are about.
#[derive(Clone, Copy)]
struct Shape {
    ty: MapType,
    key: u32,
    value: u32,
    /// `max_entries`
    max: u32,
    /// Keys are below this power of two.
    keys: u32,
    flags: u32,
}

impl Shape {
    const fn hash(key: u32, max: u32, keys: u32) -> Self {
        Shape {
            ty: MapType::HASH,
            key,
            value: 8,
            max,
            keys,
            flags: ZERO_SEED,
        }
    }

    const fn of(ty: MapType, key: u32, max: u32, keys: u32) -> Self {
        Shape {
            ty,
            ..Self::hash(key, max, keys)
        }
    }

    fn create(&self, s: &dyn Subject) -> Result<Map, Missing> {
        let mut spec = MapSpec::new(self.ty, self.key, self.value, self.max);
        spec.flags = match self.ty {
            MapType::ARRAY | MapType::PERCPU_ARRAY => self.flags & !ZERO_SEED,
            _ => self.flags,
        };
        s.create(&spec)
    }
}

/// A loop: R7 the congruence, R6 the count, R9 a sum.
fn looping(shape: &Shape, rounds: i32, body: impl Fn(&mut Asm)) -> Vec<Slot> {
    let mut a = Asm::new();
    for off in (key_at(shape.key)..0).step_by(8) {
        a.st(Size::Dw, R10, off, 0);
    }
    a.st(Size::Dw, R10, VALUE_AT, 7);
    a.mov(R7, 1);
    a.mov(R6, rounds);
    a.mov(R9, 0);
    let top = a.here();
    body(&mut a);
    again(&mut a, R6, top);
    a.mov_reg(R0, R9);
    a.exit();
    a.finish()
}

/// Makes the next key from `from` on, and points R2 to it.
fn make_key(a: &mut Asm, shape: &Shape, from: u32) {
    advance(a, R7);
    a.mov_reg(R8, R7);
    a.alu(Alu::Rsh, R8, 16);
    a.add_reg(R8, R6);
    a.alu(Alu::Xor, R8, 0x55);
    a.alu(Alu::And, R8, (shape.keys - 1) as i32);
    if from != 0 {
        a.add(R8, from as i32);
    }
    point_key(a, shape);
}

/// Stores R8 as the key, and points R2 to it.
fn point_key(a: &mut Asm, shape: &Shape) {
    let size = if shape.key == 4 { Size::W } else { Size::Dw };
    a.stx(size, R10, key_at(shape.key), R8);
    a.mov_reg(R2, R10);
    a.add(R2, key_at(shape.key).into());
}

fn lookup(a: &mut Asm, map: &Map) {
    a.ld_map(R1, map);
    a.call(LOOKUP);
    let over = a.label();
    a.jmp(Cond::Eq, R0, 0, over);
    a.ldx(Size::Dw, R1, R0, 0);
    a.add_reg(R9, R1);
    a.bind(over);
}

fn update(a: &mut Asm, map: &Map, flags: i32) {
    a.mov_reg(R3, R10);
    a.add(R3, VALUE_AT.into());
    a.mov(R4, flags);
    a.ld_map(R1, map);
    a.call(UPDATE);
}

fn delete(a: &mut Asm, map: &Map) {
    a.ld_map(R1, map);
    a.call(DELETE);
}

/// Enters the keys 0 to `n`, by a program that goes on where its last run ended.
fn fill(s: &dyn Subject, shape: &Shape, map: &Map, n: u32) -> Result<(), Missing> {
    let next = s.create(&MapSpec::new(MapType::ARRAY, 4, 8, 1))?;
    let rounds = n.min(256);
    let insns = looping(shape, rounds as i32, |a| {
        a.ld_value(R1, &next, 0);
        a.ldx(Size::Dw, R8, R1, 0);
        a.mov_reg(R2, R8);
        a.add(R2, 1);
        a.stx(Size::Dw, R1, 0, R2);
        point_key(a, shape);
        update(a, map, 0);
        a.alu_reg(Alu::Or, R9, R0);
    });
    let mut prog = s.load(ProgType::SCHED_CLS, &insns)?;
    // A few too many at the end would be keys that are not wanted.
    let whole = n / rounds;
    if n % rounds != 0 || prog.run(whole)? != 0 {
        return Err(Missing::Failed(format!("cannot enter {n} keys")));
    }
    Ok(())
}

/// A map filled with all keys, and a loop.
fn filled(s: &dyn Subject, shape: &Shape, body: impl Fn(&mut Asm, &Map)) -> Outcome {
    let map = shape.create(s)?;
    fill(s, shape, &map, shape.keys)?;
    let insns = looping(shape, ROUNDS, |a| body(a, &map));
    round(s, ProgType::SCHED_CLS, &insns, ROUNDS)
}

fn case(
    name: impl Into<String>,
    noted: impl Into<Option<f64>>,
    shape: Shape,
    body: impl Fn(&mut Asm, &Map, &Shape) + 'static,
) -> Case {
    Case::new(GROUP, name, UNIT, noted, move |s| {
        filled(s, &shape, |a, map| body(a, map, &shape))
    })
}

fn hit(a: &mut Asm, map: &Map, shape: &Shape) {
    make_key(a, shape, 0);
    lookup(a, map);
}

fn miss(a: &mut Asm, map: &Map, shape: &Shape) {
    make_key(a, shape, shape.keys);
    lookup(a, map);
}

fn existing(a: &mut Asm, map: &Map, shape: &Shape) {
    make_key(a, shape, 0);
    update(a, map, 0);
}

fn delete_insert(a: &mut Asm, map: &Map, shape: &Shape) {
    make_key(a, shape, 0);
    delete(a, map);
    a.mov_reg(R2, R10);
    a.add(R2, key_at(shape.key).into());
    update(a, map, 0);
}

/// A lookup in one of two maps, so that it is a call whatever a compiler can do with a known map.
fn one_of_two(s: &dyn Subject, shape: &Shape) -> Outcome {
    let other = shape.create(s)?;
    filled(s, shape, |a, map| {
        make_key(a, shape, 0);
        let (second, both) = (a.label(), a.label());
        // The sum is never so large, but nobody knows.
        a.jmp(Cond::Gt, R9, 1 << 20, second);
        a.ld_map(R1, map);
        a.jmp(Cond::Lt, R9, 1 << 30, both);
        a.bind(second);
        a.ld_map(R1, &other);
        a.bind(both);
        a.call(LOOKUP);
        let over = a.label();
        a.jmp(Cond::Eq, R0, 0, over);
        a.ldx(Size::Dw, R1, R0, 0);
        a.add_reg(R9, R1);
        a.bind(over);
    })
}

/// Reserves and commits records of eight bytes, of which all fit: nobody reads them.
fn ring(s: &dyn Subject) -> Outcome {
    const RESERVE: i32 = 131;
    const SUBMIT: i32 = 132;
    const NO_WAKEUP: i32 = 1;
    let ring = s.create(&MapSpec::new(MapType::RINGBUF, 0, 0, 32 << 20))?;
    let mut a = Asm::new();
    a.mov(R6, ROUNDS);
    a.mov(R9, 0);
    let top = a.here();
    let (full, over) = (a.label(), a.label());
    a.ld_map(R1, &ring);
    a.mov(R2, 8);
    a.mov(R3, 0);
    a.call(RESERVE);
    a.jmp(Cond::Eq, R0, 0, full);
    a.stx(Size::Dw, R0, 0, R6);
    a.mov_reg(R1, R0);
    a.mov(R2, NO_WAKEUP);
    a.call(SUBMIT);
    a.jmp(Cond::Gt, R6, 0, over);
    a.bind(full);
    a.mov(R9, 1);
    a.bind(over);
    again(&mut a, R6, top);
    a.mov_reg(R0, R9);
    a.exit();
    let insns = a.finish();
    let figure = round(s, ProgType::SCHED_CLS, &insns, ROUNDS)?;
    // Had it been full once, it still would be.
    let mut prog = s.load(ProgType::SCHED_CLS, &insns)?;
    match prog.run(1)? {
        0 => Ok(figure),
        _ => Err(Missing::Failed("the ring was full".to_owned())),
    }
}

/// A lookup in a map that is looked up first.
fn inner(s: &dyn Subject, outer: MapType) -> Outcome {
    let shape = Shape::hash(8, 256, 256);
    let map = shape.create(s)?;
    fill(s, &shape, &map, shape.keys)?;
    let mut spec = MapSpec::new(outer, 4, 4, 4);
    spec.inner = Some(map.as_fd().as_raw_fd());
    let outer = s.create(&spec)?;
    let fd = map.as_fd().as_raw_fd();
    s.update(&outer, &1u32.to_ne_bytes(), &fd.to_ne_bytes())?;
    let insns = looping(&shape, ROUNDS, |a| {
        let over = a.label();
        a.st(Size::W, R10, VALUE_AT - 8, 1);
        a.mov_reg(R2, R10);
        a.add(R2, i32::from(VALUE_AT) - 8);
        a.ld_map(R1, &outer);
        a.call(LOOKUP);
        a.jmp(Cond::Eq, R0, 0, over);
        a.mov_reg(R1, R0);
        a.mov_reg(R2, R10);
        a.add(R2, key_at(8).into());
        a.call(LOOKUP);
        a.jmp(Cond::Eq, R0, 0, over);
        a.ldx(Size::Dw, R1, R0, 0);
        a.add_reg(R9, R1);
        a.bind(over);
    });
    round(s, ProgType::SCHED_CLS, &insns, ROUNDS)
}

/// A map of IPv4 prefixes of 8, 16 and 24 bits, and addresses that have one of each.
fn prefixes(s: &dyn Subject, entries: u32) -> Outcome {
    let mut spec = MapSpec::new(MapType::LPM_TRIE, 8, 8, entries);
    spec.flags = NO_PREALLOC;
    let map = s.create(&spec)?;
    let enter = |bits: u32, address: [u8; 4]| {
        let mut key = bits.to_ne_bytes().to_vec();
        key.extend(address);
        s.update(&map, &key, &[1; 8])
    };
    enter(8, [10, 0, 0, 0])?;
    for i in 0..entries - 1 {
        let [hi, lo] = (i as u16).to_be_bytes();
        enter(24, [10, hi, lo, 0])?;
    }
    let mut a = Asm::new();
    a.mov(R7, 1);
    a.mov(R6, ROUNDS);
    a.mov(R9, 0);
    a.st(Size::W, R10, -8, 32);
    let top = a.here();
    advance(&mut a, R7);
    a.mov_reg(R8, R7);
    a.alu(Alu::Rsh, R8, 16);
    a.alu(Alu::And, R8, (entries.next_power_of_two() / 2 - 1) as i32);
    a.alu(Alu::Lsh, R8, 8);
    a.alu(Alu::Or, R8, 10 << 24);
    a.be32(R8);
    a.stx(Size::W, R10, -4, R8);
    a.mov_reg(R2, R10);
    a.add(R2, -8);
    lookup(&mut a, &map);
    again(&mut a, R6, top);
    a.mov_reg(R0, R9);
    a.exit();
    round(s, ProgType::SCHED_CLS, &a.finish(), ROUNDS)
}

/// Every update is of a key that is not there: somebody must go.
fn churn(s: &dyn Subject, shape: &Shape) -> Outcome {
    let map = shape.create(s)?;
    let next = s.create(&MapSpec::new(MapType::ARRAY, 4, 8, 1))?;
    fill(s, shape, &map, shape.keys)?;
    let insns = looping(shape, ROUNDS, |a| {
        a.ld_value(R1, &next, 0);
        a.ldx(Size::Dw, R8, R1, 0);
        a.add(R8, 1);
        a.stx(Size::Dw, R1, 0, R8);
        a.alu(Alu::Or, R8, 1 << 30);
        point_key(a, shape);
        update(a, &map, 0);
    });
    round(s, ProgType::SCHED_CLS, &insns, ROUNDS)
}

/// The loop that the others have around their operation.
fn base(s: &dyn Subject) -> Outcome {
    let shape = Shape::hash(8, 256, 256);
    let insns = looping(&shape, ROUNDS, |a| {
        make_key(a, &shape, 0);
    });
    round(s, ProgType::SCHED_CLS, &insns, ROUNDS)
}

pub(super) fn cases() -> Vec<Case> {
    const K10: u32 = 10_000;
    const M1: u32 = 1_000_000;
    // The largest power of two below, or so.
    const KEYS_10K: u32 = 8192;
    const KEYS_1M: u32 = 1 << 19;
    let mut cases = vec![
        Case::new(GROUP, "loop alone", UNIT, 13.0, base),
        case(
            "array lookup",
            25.0,
            Shape::of(MapType::ARRAY, 4, 256, 256),
            hit,
        ),
        case(
            "percpu array lookup",
            27.0,
            Shape::of(MapType::PERCPU_ARRAY, 4, 256, 256),
            hit,
        ),
    ];
    for (key, noted) in [(8, 132.6), (4, 155.5), (64, 375.7)] {
        for (max, keys, entries) in [
            (256, 256, "256"),
            (K10, KEYS_10K, "10k"),
            (M1, KEYS_1M, "1M"),
        ] {
            if key != 8 && max != K10 {
                continue;
            }
            let shape = Shape::hash(key, max, keys);
            let noted = (max == K10).then_some(noted);
            cases.push(case(
                format!("hash hit, key {key}, {entries}"),
                noted,
                shape,
                hit,
            ));
            let noted = (max == K10 && key == 8).then_some(114.6);
            cases.push(case(
                format!("hash miss, key {key}, {entries}"),
                noted,
                shape,
                miss,
            ));
        }
    }
    cases.push(Case::new(
        GROUP,
        "hash hit, key 8, one of two maps",
        UNIT,
        None,
        |s| one_of_two(s, &Shape::hash(8, K10, KEYS_10K)),
    ));
    let hash = Shape::hash(8, K10, KEYS_10K);
    let lazy = Shape {
        flags: NO_PREALLOC | ZERO_SEED,
        ..hash
    };
    let percpu = Shape::of(MapType::PERCPU_HASH, 8, K10, KEYS_10K);
    let lru = Shape::of(MapType::LRU_HASH, 8, K10, KEYS_10K);
    let lru_full = Shape::of(MapType::LRU_HASH, 8, KEYS_10K, KEYS_10K);
    cases.extend([
        case("hash update existing", 391.0, hash, existing),
        case("hash update existing, no prealloc", 690.0, lazy, existing),
        case("hash delete and insert", 734.0, hash, delete_insert),
        case(
            "hash delete and insert, no prealloc",
            860.0,
            lazy,
            delete_insert,
        ),
        case("percpu hash hit", None, percpu, hit),
        case("percpu hash update existing", None, percpu, existing),
        case("LRU hit", 135.0, lru, hit),
        case(
            "LRU percpu hit",
            None,
            Shape::of(MapType::LRU_PERCPU_HASH, 8, K10, KEYS_10K),
            hit,
        ),
        case("LRU update existing", 984.0, lru, existing),
        Case::new(GROUP, "LRU churn", UNIT, 888.0, move |s| {
            churn(s, &lru_full)
        }),
        Case::new(GROUP, "LPM lookup, 1k", UNIT, None, |s| prefixes(s, 1000)),
        Case::new(GROUP, "ring buffer reserve and submit", UNIT, None, ring),
        Case::new(GROUP, "hash in an array of maps", UNIT, None, |s| {
            inner(s, MapType::ARRAY_OF_MAPS)
        }),
        Case::new(GROUP, "hash in a hash of maps", UNIT, None, |s| {
            inner(s, MapType::HASH_OF_MAPS)
        }),
    ]);
    cases
}
