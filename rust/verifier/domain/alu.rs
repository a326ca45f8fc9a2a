// SPDX-License-Identifier: GPL-2.0

//! What arithmetic does to the bits and the intervals of one N-bit number.
//!
//! Intervals and bits are computed apart; the caller lets them tighten each other afterwards.

use super::bounds::{Arc, Bounds};
use super::tnum::{low_mask, sign_extend, Tnum};
use crate::isa::AluOp;

/// Bits and intervals of one N-bit number: both hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<const N: u32> {
    pub(super) t: Tnum,
    pub(super) b: Bounds<N>,
}

/// Possible shift counts: `min..=max`, below the width.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) min: u32,
    pub(super) max: u32,
}

/// Below so many possible shift counts, each is looked at.
const FEW_COUNTS: u32 = 8;

/// The machine's operation on N-bit numbers.
pub(super) fn eval<const N: u32>(op: AluOp, a: u64, b: u64) -> u64 {
    let (sa, sb) = (sign_extend(a, N), sign_extend(b, N));
    let count = (b % u64::from(N)) as u32;
    let r = match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Sdiv if sb == -1 => sa.wrapping_neg() as u64,
        AluOp::Sdiv => sa.checked_div(sb).unwrap_or(0) as u64,
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Smod if sb == -1 => 0,
        AluOp::Smod => sa.checked_rem(sb).unwrap_or(sa) as u64,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a.wrapping_shl(count),
        AluOp::Rsh => a.wrapping_shr(count),
        AluOp::Arsh => sa.wrapping_shr(count) as u64,
    };
    r & low_mask(N)
}

impl<const N: u32> Part<N> {
    pub(super) const fn constant(x: u64) -> Self {
        Self {
            t: Tnum::constant(x),
            b: Bounds::constant(x),
        }
    }

    /// The low `M` bits.
    pub(super) fn truncate<const M: u32>(&self) -> Part<M> {
        let mut b = Bounds::<M>::UNKNOWN;
        for arc in self.b.arcs() {
            if arc.size <= Bounds::<M>::MASK {
                b.meet_arc(Arc {
                    base: arc.base & Bounds::<M>::MASK,
                    size: arc.size,
                });
            }
        }
        Part {
            t: self.t.truncate(M),
            b,
        }
    }

    /// With zeros above, as a wider number.
    pub(super) fn zero_extend<const M: u32>(&self) -> Part<M> {
        Part {
            t: self.t,
            b: Bounds {
                umin: self.b.umin,
                umax: self.b.umax,
                smin: self.b.umin as i64,
                smax: self.b.umax as i64,
            },
        }
    }

    /// With the sign above, as a wider number. Both orders stay as they are.
    pub(super) fn sign_extend<const M: u32>(&self) -> Part<M> {
        Part {
            t: self.t.sign_extend(N, M),
            b: Bounds {
                umin: Bounds::<M>::bits(Bounds::<N>::signed(self.b.umin)),
                umax: Bounds::<M>::bits(Bounds::<N>::signed(self.b.umax)),
                smin: self.b.smin,
                smax: self.b.smax,
            },
        }
    }

    /// The counts by which a shift of N bits shifts when this is its second operand.
    pub(super) fn counts(&self) -> Counts {
        if self.b.umax < u64::from(N) {
            return Counts {
                min: self.b.umin as u32,
                max: self.b.umax as u32,
            };
        }
        match self.t.as_const() {
            Some(x) => {
                let count = (x % u64::from(N)) as u32;
                Counts {
                    min: count,
                    max: count,
                }
            }
            None => Counts { min: 0, max: N - 1 },
        }
    }

    /// Neither the bits nor the intervals exclude 0.
    fn may_be_zero(&self) -> bool {
        self.b.contains(0) && self.t.contains(0)
    }
}

/// The known bits of `a op b`.
pub(super) fn tnum<const N: u32>(op: AluOp, a: &Part<N>, b: &Part<N>) -> Tnum {
    let (x, y) = (a.t, b.t);
    match op {
        AluOp::Add => x.add(y).truncate(N),
        AluOp::Sub => x.sub(y).truncate(N),
        AluOp::Mul => x.mul(y).truncate(N),
        AluOp::And => x.and(y),
        AluOp::Or => x.or(y),
        AluOp::Xor => x.xor(y),
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => shift_tnum::<N>(op, x, b.counts()),
        AluOp::Div => match y.as_const() {
            Some(d) if d.is_power_of_two() => x.rsh(d.trailing_zeros()),
            _ => Tnum::unknown_bits(N),
        },
        AluOp::Mod => match y.as_const() {
            Some(d) if d.is_power_of_two() => x.and(Tnum::constant(d.wrapping_sub(1))),
            _ => common_multiple::<N>(x, y),
        },
        AluOp::Sdiv => Tnum::unknown_bits(N),
        AluOp::Smod => common_multiple::<N>(x, y),
    }
}

/// A remainder is a multiple of each power of two that divides both operands.
fn common_multiple<const N: u32>(x: Tnum, y: Tnum) -> Tnum {
    let zeros = x.max().trailing_zeros().min(y.max().trailing_zeros());
    Tnum::new(0, low_mask(N) & !low_mask(zeros))
}

/// The known bits of a shift by each of `counts`.
pub(super) fn shift_tnum<const N: u32>(op: AluOp, x: Tnum, counts: Counts) -> Tnum {
    let one = |count: u32| match op {
        AluOp::Lsh => x.lsh(count).truncate(N),
        AluOp::Rsh => x.rsh(count),
        _ => x.arsh(count, N),
    };
    let mut all = one(counts.min);
    if counts.max.wrapping_sub(counts.min) < FEW_COUNTS {
        let mut count = counts.min;
        while count < counts.max {
            count = count.wrapping_add(1);
            all = all.union(one(count));
        }
        return all;
    }
    match op {
        // Zeros come in from the right,
        AluOp::Lsh => {
            let zeros = x.max().trailing_zeros().saturating_add(counts.min);
            Tnum::new(0, low_mask(N) & !low_mask(zeros))
        }
        // or from the left. An arithmetic shift is left to the intervals.
        AluOp::Rsh => Tnum::unknown_bits(64u32.wrapping_sub(one(counts.min).max().leading_zeros())),
        _ => Tnum::unknown_bits(N),
    }
}

/// The intervals of `a op b`.
pub(super) fn bounds<const N: u32>(op: AluOp, a: &Part<N>, b: &Part<N>) -> Bounds<N> {
    match op {
        AluOp::Add => add(&a.b, &b.b),
        AluOp::Sub => sub(&a.b, &b.b),
        AluOp::Mul => mul(&a.b, &b.b),
        AluOp::Div => div(a, b),
        AluOp::Sdiv => sdiv(a, b),
        AluOp::Mod => rem(a, b),
        AluOp::Smod => srem(a, b),
        AluOp::And => and(a, b),
        AluOp::Or => {
            if b.t == Tnum::constant(0) {
                return a.b;
            }
            not(&signed_and(&not(&a.b), &not(&b.b)))
        }
        AluOp::Xor => xor(a, b),
        AluOp::Lsh => lsh(&a.b, b.counts()),
        AluOp::Rsh => {
            let k = b.counts();
            Bounds::unsigned(a.b.umin.wrapping_shr(k.max), a.b.umax.wrapping_shr(k.min))
        }
        AluOp::Arsh => {
            let k = b.counts();
            let toward =
                |x: i64, far: u32, near: u32| x.wrapping_shr(if x < 0 { far } else { near });
            Bounds::range_signed(
                toward(a.b.smin, k.min, k.max),
                toward(a.b.smax, k.max, k.min),
            )
        }
    }
}

/// Arc lengths add up; each pair of arcs that hold the operands gives one that holds the sum.
fn add<const N: u32>(a: &Bounds<N>, b: &Bounds<N>) -> Bounds<N> {
    linear(a, b, |x, y| x.base.wrapping_add(y.base))
}

fn sub<const N: u32>(a: &Bounds<N>, b: &Bounds<N>) -> Bounds<N> {
    linear(a, b, |x, y| {
        x.base.wrapping_sub(y.base.wrapping_add(y.size))
    })
}

/// Meets the arcs that begin at `base` and are as long as both operands'.
fn linear<const N: u32>(a: &Bounds<N>, b: &Bounds<N>, base: impl Fn(Arc, Arc) -> u64) -> Bounds<N> {
    let mut r = Bounds::UNKNOWN;
    let mut meet = |x: Arc, y: Arc| {
        if let Some(size) = x.size.checked_add(y.size) {
            if size <= Bounds::<N>::MASK {
                r.meet_arc(Arc {
                    base: base(x, y) & Bounds::<N>::MASK,
                    size,
                });
            }
        }
    };
    let ([ua, sa], [ub, sb]) = (a.arcs(), b.arcs());
    meet(ua, ub);
    if sb != ub {
        meet(ua, sb);
    }
    if sa != ua {
        meet(sa, ub);
        if sb != ub {
            meet(sa, sb);
        }
    }
    r
}

/// Products are monotone in each operand, so the extremes are at the ends; computed without
/// wrapping, they span an arc when they are less than the whole circle apart.
fn mul<const N: u32>(a: &Bounds<N>, b: &Bounds<N>) -> Bounds<N> {
    let all = Bounds::<N>::MASK;
    let mut r = Bounds::UNKNOWN;
    let product = |x: u64, y: u64| u128::from(x).wrapping_mul(u128::from(y));
    let low = product(a.umin, b.umin);
    let size = product(a.umax, b.umax).wrapping_sub(low);
    if size <= u128::from(all) {
        r.meet_arc(Arc {
            base: low as u64 & all,
            size: size as u64,
        });
    }
    let product = |x: i64, y: i64| i128::from(x).wrapping_mul(i128::from(y));
    let (p, q) = (product(a.smin, b.smin), product(a.smin, b.smax));
    let (s, t) = (product(a.smax, b.smin), product(a.smax, b.smax));
    let low = p.min(q).min(s).min(t);
    let size = p.max(q).max(s).max(t).wrapping_sub(low) as u128;
    if size <= u128::from(all) {
        r.meet_arc(Arc {
            base: low as u64 & all,
            size: size as u64,
        });
    }
    r
}

fn div<const N: u32>(a: &Part<N>, b: &Part<N>) -> Bounds<N> {
    let least = match b.may_be_zero() {
        true => 0,
        false => a.b.umin.checked_div(b.b.umax).unwrap_or(0),
    };
    // A divisor of 0 gives 0, which the lower bound holds then.
    let most = a.b.umax.checked_div(b.b.umin.max(1)).unwrap_or(0);
    Bounds::unsigned(least, most)
}

/// The extremes over all `x / y` with `x` in `a`'s signed interval and `y` in `least..=most`, which
/// has one sign: the quotient is monotone in each operand there.
fn corners<const N: u32>(a: &Bounds<N>, least: i64, most: i64) -> (i64, i64) {
    let quotient = |x: i64, y: i64| x.checked_div(y).unwrap_or(0);
    let (p, q) = (quotient(a.smin, least), quotient(a.smin, most));
    let (s, t) = (quotient(a.smax, least), quotient(a.smax, most));
    (p.min(q).min(s).min(t), p.max(q).max(s).max(t))
}

fn sdiv<const N: u32>(a: &Part<N>, b: &Part<N>) -> Bounds<N> {
    let (mut smin, mut smax) = match b.may_be_zero() {
        true => (0, 0),
        false => (i64::MAX, i64::MIN),
    };
    if b.b.smin < 0 {
        // With both signs, the unsigned maximum is the negative number next to zero.
        let near = match Bounds::<N>::signed(b.b.umax) {
            _ if b.b.smax < 0 => b.b.smax,
            x if x < 0 => x,
            _ => -1,
        };
        if near == -1 && a.b.smin == Bounds::<N>::SMIN {
            // MIN / -1 wraps.
            return Bounds::UNKNOWN;
        }
        let (least, most) = corners(&a.b, b.b.smin, near);
        smin = smin.min(least);
        smax = smax.max(most);
    }
    if b.b.smax > 0 {
        let near = match Bounds::<N>::signed(b.b.umin) {
            _ if b.b.smin > 0 => b.b.smin,
            x if x > 0 => x,
            _ => 1,
        };
        let (least, most) = corners(&a.b, near, b.b.smax);
        smin = smin.min(least);
        smax = smax.max(most);
    }
    Bounds::range_signed(smin, smax)
}

fn rem<const N: u32>(a: &Part<N>, b: &Part<N>) -> Bounds<N> {
    let (least, most) = (b.b.umin.max(1), b.b.umax);
    if a.b.umax < least || most == 0 {
        // Smaller than every divisor; a divisor of 0 leaves it, too.
        return a.b;
    }
    if b.may_be_zero() {
        return Bounds::unsigned(0, a.b.umax);
    }
    let quotient = |x: u64| x.checked_div(least).unwrap_or(0);
    if least == most && quotient(a.b.umin) == quotient(a.b.umax) {
        let rest = |x: u64| x.checked_rem(least).unwrap_or(0);
        return Bounds::unsigned(rest(a.b.umin), rest(a.b.umax));
    }
    Bounds::unsigned(0, a.b.umax.min(most.wrapping_sub(1)))
}

/// The remainder has the dividend's sign, is no farther from zero than the dividend, and nearer
/// than the divisor.
fn srem<const N: u32>(a: &Part<N>, b: &Part<N>) -> Bounds<N> {
    if a.b.smin >= 0 && b.b.smin >= 0 {
        return rem(a, b);
    }
    let limit = match b.may_be_zero() {
        true => i64::MAX,
        // |divisor| - 1; the complement of a negative number is just that.
        false => {
            let high = b.b.smax.saturating_sub(1);
            high.max(!b.b.smin.min(0))
        }
    };
    Bounds::range_signed(
        a.b.smin.min(0).max(limit.wrapping_neg()),
        a.b.smax.max(0).min(limit),
    )
}

/// All bits complemented, which turns both orders round.
fn not<const N: u32>(a: &Bounds<N>) -> Bounds<N> {
    Bounds {
        umin: !a.umax & Bounds::<N>::MASK,
        umax: !a.umin & Bounds::<N>::MASK,
        smin: !a.smax,
        smax: !a.smin,
    }
}

/// `a & b` from the intervals alone.
fn signed_and<const N: u32>(a: &Bounds<N>, b: &Bounds<N>) -> Bounds<N> {
    // Both negative: the ones above the highest 0 of either stay.
    let least = if a.smin < 0 && b.smin < 0 {
        let zeros = !a.smin.min(b.smin);
        !(low_mask(64u32.wrapping_sub(zeros.leading_zeros())) as i64)
    } else {
        0
    };
    // Clearing bits of a non-negative number, or of two negative ones, never makes it larger.
    Bounds {
        umin: 0,
        umax: a.umax.min(b.umax),
        smin: least,
        smax: a.smax.max(b.smax),
    }
}

fn and<const N: u32>(a: &Part<N>, b: &Part<N>) -> Bounds<N> {
    if let Some(keep) = b.t.as_const() {
        if keep == Bounds::<N>::MASK {
            return a.b;
        }
        if keep & keep.wrapping_add(1) == 0 && (a.b.umin ^ a.b.umax) & !keep == 0 {
            // The low bits of numbers that agree above them.
            return Bounds::unsigned(a.b.umin & keep, a.b.umax & keep);
        }
    }
    signed_and(&a.b, &b.b)
}

fn xor<const N: u32>(a: &Part<N>, b: &Part<N>) -> Bounds<N> {
    match b.t.as_const() {
        Some(0) => return a.b,
        Some(x) if x == Bounds::<N>::MASK => return not(&a.b),
        _ => {}
    }
    // Neither operand has a bit that differs from its sign above these, so the result has none.
    let used = |x: &Bounds<N>| (x.smax ^ (x.smax >> 63)) | (x.smin ^ (x.smin >> 63));
    let bits = 64u32.wrapping_sub((used(&a.b) | used(&b.b)).leading_zeros());
    let most = low_mask(bits) as i64;
    Bounds::range_signed(!most, most)
}

/// Arcs grow by the factor 2^k, and hold the result unless they become the whole circle.
pub(super) fn lsh_arc<const N: u32>(r: &mut Bounds<N>, arc: Arc, count: u32) {
    let all = Bounds::<N>::MASK;
    if arc.size <= all.wrapping_shr(count) {
        r.meet_arc(Arc {
            base: arc.base.wrapping_shl(count) & all,
            size: arc.size.wrapping_shl(count),
        });
    }
}

pub(super) fn lsh<const N: u32>(a: &Bounds<N>, k: Counts) -> Bounds<N> {
    let mut r = Bounds::UNKNOWN;
    if k.min == k.max {
        for arc in a.arcs() {
            lsh_arc(&mut r, arc, k.min);
        }
        return r;
    }
    if a.umax <= Bounds::<N>::MASK.wrapping_shr(k.max) {
        r.meet_unsigned(a.umin.wrapping_shl(k.min), a.umax.wrapping_shl(k.max));
    }
    let (least, most) = (
        Bounds::<N>::SMIN.wrapping_shr(k.max),
        Bounds::<N>::SMAX.wrapping_shr(k.max),
    );
    if a.smin >= least && a.smax <= most {
        let away = |x: i64, far: u32, near: u32| x.wrapping_shl(if x < 0 { far } else { near });
        r.meet_signed(away(a.smin, k.max, k.min), away(a.smax, k.min, k.max));
    }
    r
}

#[cfg(test)]
mod tests {
    use super::super::testing::{all_parts, part_members, OPS};
    use super::*;

    /// Checks every operation on every pair (or each `step`-th) of parts.
    fn check<const N: u32>(step: usize) {
        let parts: Vec<_> = all_parts::<N>()
            .into_iter()
            .map(|p| (part_members(&p), p))
            .filter(|(members, _)| !members.is_empty())
            .collect();
        println!("{N} bits: {} parts", parts.len());
        let mut at = 0;
        for (xs, a) in &parts {
            while at < parts.len() {
                let (ys, b) = &parts[at];
                for op in OPS {
                    let t = tnum(op, a, b);
                    let r = bounds(op, a, b);
                    for &x in xs {
                        for &y in ys {
                            let z = eval::<N>(op, x, y);
                            assert!(
                                t.contains(z) && r.contains(z),
                                "{op:?} {a:?} {b:?}: {x} and {y} give {z}, not in {t} and {r:?}"
                            );
                        }
                    }
                }
                at += step;
            }
            at -= parts.len();
        }
    }

    #[test]
    fn all_operations_are_sound_at_2_bits() {
        check::<2>(1);
    }

    #[test]
    fn all_operations_are_sound_at_3_bits() {
        check::<3>(1);
    }

    #[test]
    fn all_operations_are_sound_at_4_bits_sampled() {
        check::<4>(97);
    }

    #[test]
    #[ignore = "long"]
    fn all_operations_are_sound_at_4_bits() {
        check::<4>(1);
    }
}
