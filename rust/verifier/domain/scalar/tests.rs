// SPDX-License-Identifier: GPL-2.0

//! Sets of numbers: exhaustively at small widths, and at 64 bits against a reference.

use super::super::testing::{all_bounds, all_scalars, members, tnums, Rng, OPS};
use super::super::tnum::sign_extend;
use super::*;

type Small = ScalarN<4, 2>;

#[test]
fn tightening_loses_nothing_and_finds_emptiness() {
    let (mut exact, mut total) = (0u32, 0u32);
    let lows: Vec<_> = all_bounds::<2>();
    let ts = tnums(4);
    for (i, b) in all_bounds::<4>().into_iter().enumerate() {
        for (j, &t) in ts.iter().enumerate() {
            for (k, &low) in lows.iter().enumerate() {
                if (i * 7 + j * 3 + k) % 11 != 0 {
                    continue;
                }
                let holds =
                    |x: u64| t.contains(x) && b.contains(x) && low.contains(x & low_mask(2));
                let all: Vec<u64> = (0..16).filter(|&x| holds(x)).collect();
                total += 1;
                match Small::synced(t, b, low) {
                    None => {
                        assert!(all.is_empty());
                        exact += 1;
                    }
                    Some(s) => {
                        assert!(all.iter().all(|&x| s.contains(x)));
                        // Nothing comes back, either.
                        assert!((0..16).all(|x| holds(x) || !s.contains(x)));
                        let ends = (Some(&s.umin), Some(&s.umax));
                        exact += u32::from((all.first(), all.last()) == ends);
                    }
                }
            }
        }
    }
    println!("exact unsigned ends or emptiness: {exact} of {total}");
    assert!(exact > total / 100 * 95);
}

/// Checks `alu` in both widths on each `step`-th pair of scalars.
fn check(step: usize) {
    let all: Vec<_> = all_scalars::<4, 2>()
        .into_iter()
        .map(|s| (members(&s), s))
        .collect();
    println!("{} scalars", all.len());
    let mut at = 0;
    for (xs, a) in &all {
        while at < all.len() {
            let (ys, b) = &all[at];
            for op in OPS {
                let whole = Small::alu(op, Width::W64, a, b);
                let half = Small::alu(op, Width::W32, a, b);
                for &x in xs {
                    for &y in ys {
                        let z = alu::eval::<4>(op, x, y);
                        assert!(whole.contains(z), "{a:?} {op:?} {b:?} = {whole:?}");
                        let z = alu::eval::<2>(op, x & 3, y & 3);
                        assert!(half.contains(z), "{a:?} {op:?} {b:?} = {half:?}");
                    }
                }
            }
            at += step;
        }
        at -= all.len();
    }
}

#[test]
fn all_operations_are_sound_at_4_bits_sampled() {
    check(997);
}

/// All 22.5 million pairs of sets, all operations, both widths. The results that members can have are
/// found through tables, which makes it a matter of minutes:
/// `cargo test --release -p oxbpf-core -- --ignored all_operations_are_sound_at_4_bits`.
#[test]
#[ignore = "minutes"]
fn all_operations_are_sound_at_4_bits() {
    let all: Vec<(Vec<u64>, Small)> = all_scalars()
        .into_iter()
        .map(|a| (members(&a), a))
        .collect();
    let results =
        |f: &dyn Fn(u64) -> u64, ys: &[u64]| ys.iter().fold(0u16, |set, y| set | (1 << f(*y)));
    let mut pairs = 0u64;
    for op in OPS {
        // Per x and per second set, the results as sets of bits.
        let whole: Vec<Vec<u16>> = (0..16)
            .map(|x| {
                let row = |(ys, _): &(Vec<u64>, Small)| results(&|y| alu::eval::<4>(op, x, y), ys);
                all.iter().map(row).collect()
            })
            .collect();
        let half: Vec<Vec<u16>> = (0..4)
            .map(|x| {
                let row =
                    |(ys, _): &(Vec<u64>, Small)| results(&|y| alu::eval::<2>(op, x, y & 3), ys);
                all.iter().map(row).collect()
            })
            .collect();
        for (xs, a) in &all {
            for (i, (_, b)) in all.iter().enumerate() {
                let of = |rows: &[Vec<u16>], mask: u64| {
                    xs.iter()
                        .fold(0, |set, x| set | rows[(x & mask) as usize][i])
                };
                pairs += 1;
                for (width, set) in [(Width::W64, of(&whole, 15)), (Width::W32, of(&half, 3))] {
                    let r = Small::alu(op, width, a, b);
                    for z in (0..16).filter(|z| set & (1 << z) != 0) {
                        assert!(r.contains(z), "{a:?} {op:?} {width:?} {b:?} = {r:?}: {z}");
                    }
                }
            }
        }
        println!("{op:?}: {pairs} pairs so far");
    }
}

#[test]
fn moves_and_sets_are_sound_at_4_bits() {
    let all = all_scalars::<4, 2>();
    for (i, a) in all.iter().enumerate() {
        for x in members(a) {
            assert!(a.zext32().contains(x & 3));
            assert!(a.zext::<3>().contains(x & 7));
            assert!(a.neg(Width::W64).contains(x.wrapping_neg() & 15));
            assert!(a.neg(Width::W32).contains(x.wrapping_neg() & 3));
            let sx = |from, to| sign_extend(x, from) as u64 & low_mask(to);
            assert!(a.sext::<2>(Width::W64).contains(sx(2, 4)));
            assert!(a.sext::<1>(Width::W64).contains(sx(1, 4)));
            assert!(a.sext::<3>(Width::W64).contains(sx(3, 4)));
            assert!(a.sext::<1>(Width::W32).contains(sx(1, 2)));
        }
        for b in all.iter().skip(i % 61).step_by(61) {
            let union = a.union(b);
            let both = a.intersect(b);
            for x in 0..16 {
                let (p, q) = (a.contains(x), b.contains(x));
                assert!(union.contains(x) || !(p || q));
                assert!(both.is_some_and(|s| s.contains(x)) == (p && q));
                assert!(!(p && a.is_subset_of(b)) || q);
            }
        }
    }
}

/// The reference: what RFC 9669 says, in 128 bits.
fn reference(op: AluOp, bits: u32, a: u64, b: u64) -> u64 {
    let modulus = 1u128 << bits;
    let (x, y) = (u128::from(a) % modulus, u128::from(b) % modulus);
    let signed = |v: u128| v as i128 - if v >= modulus / 2 { modulus as i128 } else { 0 };
    let count = (y % u128::from(bits)) as u32;
    let r = match op {
        AluOp::Add => x + y,
        AluOp::Sub => x + modulus - y,
        AluOp::Mul => x.wrapping_mul(y),
        AluOp::Div => x.checked_div(y).unwrap_or(0),
        AluOp::Sdiv => signed(x).checked_div(signed(y)).unwrap_or(0) as u128,
        AluOp::Mod => x.checked_rem(y).unwrap_or(x),
        AluOp::Smod => signed(x).checked_rem(signed(y)).unwrap_or(signed(x)) as u128,
        AluOp::Or => x | y,
        AluOp::And => x & y,
        AluOp::Xor => x ^ y,
        AluOp::Lsh => x << count,
        AluOp::Rsh => x >> count,
        AluOp::Arsh => (signed(x) >> count) as u128,
    };
    (r % modulus) as u64
}

#[test]
fn holds_results_at_64_bits() {
    let mut rng = Rng::new(2);
    for _ in 0..150_000 {
        let (x, y) = (rng.edge(), rng.edge());
        let (a, b) = (Scalar::around(&mut rng, x), Scalar::around(&mut rng, y));
        assert!(a.contains(x) && b.contains(y));
        for op in OPS {
            let z = reference(op, 64, x, y);
            let r = Scalar::alu(op, Width::W64, &a, &b);
            assert!(r.contains(z), "{a} {op:?} {b} = {r}: {x:#x} {y:#x} {z:#x}");
            let z = reference(op, 32, x, y);
            let r = Scalar::alu(op, Width::W32, &a, &b);
            assert!(
                r.contains(z),
                "{a} {op:?}32 {b} = {r}: {x:#x} {y:#x} {z:#x}"
            );
        }
        assert!(a.neg(Width::W64).contains(x.wrapping_neg()));
        assert!(a.neg(Width::W32).contains((x as u32).wrapping_neg().into()));
        assert!(a.zext32().contains(x as u32 as u64));
        for kind in [SwapKind::ToBe, SwapKind::Bswap] {
            assert!(a
                .swap(kind, Size::H)
                .contains((x as u16).swap_bytes().into()));
            assert!(a
                .swap(kind, Size::W)
                .contains((x as u32).swap_bytes().into()));
            assert!(a.swap(kind, Size::Dw).contains(x.swap_bytes()));
        }
        assert!(a.swap(SwapKind::ToLe, Size::H).contains(x as u16 as u64));
        assert!(a.swap(SwapKind::ToLe, Size::W).contains(x as u32 as u64));
        for (from, sx) in [
            (Size::B, x as i8 as i64),
            (Size::H, x as i16 as i64),
            (Size::W, x as i32 as i64),
        ] {
            assert!(a.mov_sx(Width::W64, from).contains(sx as u64));
            assert!(a.mov_sx(Width::W32, from).contains(sx as u32 as u64));
            assert!(Scalar::load(from, true).contains(sx as u64));
            let cut = x & low_mask(from.bits());
            assert!(Scalar::load(from, false).contains(cut));
        }
        assert!(a.union(&b).contains(x) && a.union(&b).contains(y));
        assert_eq!(
            a.intersect(&b).is_some_and(|s| s.contains(y)),
            a.contains(y)
        );
    }
}

#[test]
fn keeps_what_programs_rely_on() {
    let byte = Scalar::load(Size::B, false);
    let c = Scalar::constant;
    let alu = |op, a: &Scalar, b: &Scalar| Scalar::alu(op, Width::W64, a, b);
    // Sign extension by shifts keeps a signed low half.
    let small = Scalar::signed_range(-5, 9).zext32();
    let up = alu(AluOp::Lsh, &small, &c(32));
    assert_eq!(alu(AluOp::Arsh, &up, &c(32)), Scalar::signed_range(-5, 9));
    // An index times the size of a record, and masked.
    let index = alu(AluOp::Mul, &byte, &c(24));
    assert_eq!((index.umax(), index.smin()), (255 * 24, 0));
    assert!(index.tnum().is_aligned(8));
    // Differences may be negative and come back.
    let d = alu(AluOp::Sub, &byte, &c(100));
    assert_eq!((d.smin(), d.smax()), (-100, 155));
    assert_eq!(alu(AluOp::Add, &d, &c(100)), byte);
    // A wrapped range that crosses the sign boundary, plus one that crosses zero.
    let top = Scalar::unsigned_range((1 << 63) - 2, (1 << 63) + 2);
    let sum = alu(AluOp::Add, &top, &Scalar::signed_range(-2, 2));
    assert_eq!((sum.umin(), sum.umax()), ((1 << 63) - 4, (1 << 63) + 4));
    // Division and remainder.
    let q = alu(AluOp::Div, &byte, &c(10));
    assert_eq!((q.umin(), q.umax()), (0, 25));
    let r = alu(AluOp::Mod, &Scalar::unknown(), &c(10));
    assert_eq!((r.umin(), r.umax()), (0, 9));
    let r = alu(AluOp::Smod, &Scalar::unknown(), &c(10));
    assert_eq!((r.smin(), r.smax()), (-9, 9));
}

/// Prints what an operation costs; `cargo test --release -- --ignored --nocapture cost`.
#[test]
#[ignore = "a measurement"]
fn cost() {
    let mut rng = Rng::new(4);
    let any: Vec<_> = (0..256)
        .map(|_| {
            let x = rng.edge();
            Scalar::around(&mut rng, x)
        })
        .collect();
    let ranges: Vec<_> = (0..256u64)
        .map(|i| Scalar::unsigned_range(i, 100 + i * 3))
        .collect();
    for (name, set) in [("any", &any), ("ranges", &ranges)] {
        for op in OPS {
            for (what, src) in [("constant", None), ("both", Some(()))] {
                let mut best = f64::MAX;
                for _ in 0..200 {
                    let start = std::time::Instant::now();
                    for (i, a) in set.iter().enumerate() {
                        let b = set.get((i * 7 + 3) & 255).unwrap();
                        let c = Scalar::constant(i as u64 & 31);
                        let b = if src.is_some() { b } else { &c };
                        std::hint::black_box(Scalar::alu(op, Width::W64, a, b));
                    }
                    best = best.min(start.elapsed().as_nanos() as f64 / 256.0);
                }
                println!("{name} {op:?} {what}: {best:.1} ns");
            }
        }
    }
}
