// SPDX-License-Identifier: GPL-2.0

//! What a comparison tells of its operands, on either side of the branch.

use super::alu::Part;
use super::bounds::Bounds;
use super::scalar::ScalarN;
use super::tnum::Tnum;
use crate::isa::{Cond, Width};

/// The condition that holds where `cond` does not; `None` for [`Cond::Set`], which has no name.
pub const fn inverse(cond: Cond) -> Option<Cond> {
    Some(match cond {
        Cond::Eq => Cond::Ne,
        Cond::Ne => Cond::Eq,
        Cond::Set => return None,
        Cond::Gt => Cond::Le,
        Cond::Ge => Cond::Lt,
        Cond::Lt => Cond::Ge,
        Cond::Le => Cond::Gt,
        Cond::Sgt => Cond::Sle,
        Cond::Sge => Cond::Slt,
        Cond::Slt => Cond::Sge,
        Cond::Sle => Cond::Sgt,
    })
}

/// The machine's comparison of N-bit numbers.
fn holds<const N: u32>(cond: Cond, a: u64, b: u64) -> bool {
    let (sa, sb) = (Bounds::<N>::signed(a), Bounds::<N>::signed(b));
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Set => a & b != 0,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Sgt => sa > sb,
        Cond::Sge => sa >= sb,
        Cond::Slt => sa < sb,
        Cond::Sle => sa <= sb,
    }
}

/// Always or never, from the intervals and the bits, without combining them.
fn outcome<const N: u32>(cond: Cond, a: &Part<N>, b: &Part<N>) -> Option<bool> {
    if let (Some(x), Some(y)) = (a.t.as_const(), b.t.as_const()) {
        return Some(holds::<N>(cond, x, y));
    }
    let (x, y) = (&a.b, &b.b);
    // `less` when always below, `not_less` when never.
    let order = |less: bool, not_less: bool| match (less, not_less) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    match cond {
        Cond::Eq | Cond::Ne => {
            let apart = a.t.intersect(b.t).is_none()
                || x.umax < y.umin
                || y.umax < x.umin
                || x.smax < y.smin
                || y.smax < x.smin;
            apart.then_some(cond == Cond::Ne)
        }
        Cond::Set => order(a.t.value & b.t.value != 0, a.t.max() & b.t.max() == 0),
        Cond::Lt => order(x.umax < y.umin, x.umin >= y.umax),
        Cond::Ge => order(x.umin >= y.umax, x.umax < y.umin),
        Cond::Gt => order(y.umax < x.umin, y.umin >= x.umax),
        Cond::Le => order(y.umin >= x.umax, y.umax < x.umin),
        Cond::Slt => order(x.smax < y.smin, x.smin >= y.smax),
        Cond::Sge => order(x.smin >= y.smax, x.smax < y.smin),
        Cond::Sgt => order(y.smax < x.smin, y.smin >= x.smax),
        Cond::Sle => order(y.smin >= x.smax, y.smax < x.smin),
    }
}

/// `a < b`, or `a <= b` when not `strict`; the caller tells the empty result by its bounds.
fn below<const N: u32>(a: &mut Bounds<N>, b: &mut Bounds<N>, strict: bool) -> Option<()> {
    let step = u64::from(strict);
    let most = b.umax.checked_sub(step)?;
    let least = a.umin.checked_add(step)?;
    a.umax = a.umax.min(most);
    b.umin = b.umin.max(least);
    Some(())
}

/// The same, signed.
fn signed_below<const N: u32>(a: &mut Bounds<N>, b: &mut Bounds<N>, strict: bool) -> Option<()> {
    let step = i64::from(strict);
    let most = b.smax.checked_sub(step)?;
    let least = a.smin.checked_add(step)?;
    a.smax = a.smax.min(most);
    b.smin = b.smin.max(least);
    Some(())
}

/// Removes `x` from the ends of the intervals, and from the bits when one is unknown.
fn exclude<const N: u32>(p: &mut Part<N>, x: u64) -> Option<()> {
    let s = Bounds::<N>::signed(x);
    let b = &mut p.b;
    if b.umin == x {
        b.umin = x.checked_add(1)?;
    }
    if b.umax == x {
        b.umax = x.checked_sub(1)?;
    }
    if b.smin == s {
        b.smin = s.checked_add(1)?;
    }
    if b.smax == s {
        b.smax = s.checked_sub(1)?;
    }
    if p.t.mask.is_power_of_two() && p.t.contains(x) {
        p.t = Tnum::constant(x ^ p.t.mask);
    }
    Some(())
}

/// `a & b != 0`
fn common_bit(a: &mut Tnum, b: Tnum) -> Option<()> {
    let common = a.max() & b.max();
    if common == 0 {
        return None;
    }
    if common.is_power_of_two() {
        *a = a.intersect(Tnum::new(common, !common))?;
    }
    Some(())
}

/// `a & b == 0`
fn no_common_bit(a: &mut Tnum, b: Tnum) -> Option<()> {
    *a = a.intersect(Tnum::new(0, !b.value))?;
    Some(())
}

/// Keeps of both operands what the comparison's outcome allows.
fn refine<const N: u32>(cond: Cond, a: &mut Part<N>, b: &mut Part<N>, taken: bool) -> Option<()> {
    let cond = match (taken, inverse(cond)) {
        (true, _) => cond,
        (false, Some(inverse)) => inverse,
        (false, None) => {
            let was = a.t;
            no_common_bit(&mut a.t, b.t)?;
            return no_common_bit(&mut b.t, was);
        }
    };
    match cond {
        Cond::Eq => {
            let t = a.t.intersect(b.t)?;
            a.t = t;
            b.t = t;
            a.b.meet(&b.b);
            b.b = a.b;
            Some(())
        }
        Cond::Ne => {
            if let Some(x) = b.t.as_const() {
                exclude(a, x)
            } else if let Some(x) = a.t.as_const() {
                exclude(b, x)
            } else {
                Some(())
            }
        }
        Cond::Set => {
            let was = a.t;
            common_bit(&mut a.t, b.t)?;
            common_bit(&mut b.t, was)?;
            // A number is at least as large as any of its bits.
            let common = was.max() & b.t.max();
            let least = common & common.wrapping_neg();
            a.b.umin = a.b.umin.max(least);
            b.b.umin = b.b.umin.max(least);
            Some(())
        }
        Cond::Lt => below(&mut a.b, &mut b.b, true),
        Cond::Le => below(&mut a.b, &mut b.b, false),
        Cond::Gt => below(&mut b.b, &mut a.b, true),
        Cond::Ge => below(&mut b.b, &mut a.b, false),
        Cond::Slt => signed_below(&mut a.b, &mut b.b, true),
        Cond::Sle => signed_below(&mut a.b, &mut b.b, false),
        Cond::Sgt => signed_below(&mut b.b, &mut a.b, true),
        Cond::Sge => signed_below(&mut b.b, &mut a.b, false),
    }
}

impl<const W: u32, const H: u32> ScalarN<W, H> {
    /// Whether `a cond b` always (true) or never (false) holds, as far as a quick look tells.
    ///
    /// [`ScalarN::branch`] can find more sides impossible. The operands are taken to be
    /// independent; for a register and itself there is [`ScalarN::outcome_with_itself`].
    pub fn branch_outcome(cond: Cond, width: Width, a: &Self, b: &Self) -> Option<bool> {
        if width == Width::W64 {
            let whole = outcome(cond, &a.all(), &b.all());
            if whole.is_some() || !matches!(cond, Cond::Eq | Cond::Ne) {
                return whole;
            }
            // Numbers whose low halves differ are not equal.
            return outcome(cond, &a.low(), &b.low()).filter(|&out| out == (cond == Cond::Ne));
        }
        outcome(cond, &a.low(), &b.low())
    }

    /// Whether `a cond a` always (true) or never (false) holds.
    pub fn outcome_with_itself(cond: Cond, width: Width, a: &Self) -> Option<bool> {
        match cond {
            Cond::Eq | Cond::Ge | Cond::Le | Cond::Sge | Cond::Sle => Some(true),
            Cond::Ne | Cond::Gt | Cond::Lt | Cond::Sgt | Cond::Slt => Some(false),
            Cond::Set => Self::branch_outcome(Cond::Ne, width, a, &Self::constant(0)),
        }
    }

    /// The operands where `a cond b` holds (`taken`) or does not; `None` when that cannot be.
    pub fn branch(
        cond: Cond,
        width: Width,
        a: &Self,
        b: &Self,
        taken: bool,
    ) -> Option<(Self, Self)> {
        if Self::branch_outcome(cond, width, a, b) == Some(!taken) {
            return None;
        }
        match width {
            Width::W64 => {
                if cond == (if taken { Cond::Eq } else { Cond::Ne }) {
                    let both = a.intersect(b)?;
                    return Some((both, both));
                }
                let (mut x, mut y) = (a.all(), b.all());
                refine(cond, &mut x, &mut y, taken)?;
                Some((a.with_whole(&x)?, b.with_whole(&y)?))
            }
            Width::W32 => {
                let (mut x, mut y) = (a.low(), b.low());
                refine(cond, &mut x, &mut y, taken)?;
                Some((a.with_low(&x)?, b.with_low(&y)?))
            }
        }
    }

    fn with_whole(&self, new: &Part<W>) -> Option<Self> {
        if *new == self.all() {
            return Some(*self);
        }
        Self::synced(new.t, new.b, self.half())
    }

    fn with_low(&self, new: &Part<H>) -> Option<Self> {
        if *new == self.low() {
            return Some(*self);
        }
        Self::synced(self.tnum().with_low(new.t, H), self.whole(), new.b)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scalar::Scalar;
    use super::super::testing::{all_parts, all_scalars, members, part_members, Rng, CONDS};
    use super::*;

    #[test]
    fn refinement_is_sound_at_3_bits() {
        let parts: Vec<_> = all_parts::<3>()
            .into_iter()
            .map(|p| (part_members(&p), p))
            .collect();
        for (xs, a) in &parts {
            for (ys, b) in &parts {
                for cond in CONDS {
                    let known = outcome(cond, a, b);
                    for taken in [false, true] {
                        let (mut p, mut q) = (*a, *b);
                        let possible = refine(cond, &mut p, &mut q, taken).is_some();
                        for &x in xs {
                            for &y in ys {
                                if holds::<3>(cond, x, y) == taken {
                                    assert!(possible && known != Some(!taken));
                                    assert!(p.t.contains(x) && p.b.contains(x));
                                    assert!(q.t.contains(y) && q.b.contains(y));
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Checks each `step`-th pair of scalars; says how often a side is rightly found impossible.
    fn check(step: usize) {
        let all: Vec<_> = all_scalars::<4, 2>()
            .into_iter()
            .map(|s| (members(&s), s))
            .filter(|(members, _)| !members.is_empty())
            .collect();
        let (mut found, mut impossible) = (0u64, 0u64);
        let mut at = 0;
        for (xs, a) in &all {
            while at < all.len() {
                let (ys, b) = &all[at];
                for cond in CONDS {
                    for taken in [false, true] {
                        let sides = [Width::W64, Width::W32]
                            .map(|width| ScalarN::branch(cond, width, a, b, taken));
                        let mut reached = [false; 2];
                        for &x in xs {
                            for &y in ys {
                                let now = [
                                    holds::<4>(cond, x, y) == taken,
                                    holds::<2>(cond, x & 3, y & 3) == taken,
                                ];
                                for ((now, side), reached) in
                                    now.into_iter().zip(sides).zip(&mut reached)
                                {
                                    *reached |= now;
                                    let kept =
                                        side.is_some_and(|(p, q)| p.contains(x) && q.contains(y));
                                    assert!(!now || kept, "{cond:?} {taken} {a:?} {b:?} {side:?}");
                                }
                            }
                        }
                        for (side, reached) in sides.into_iter().zip(reached) {
                            impossible += u64::from(!reached);
                            found += u64::from(side.is_none());
                        }
                    }
                }
                at += step;
            }
            at -= all.len();
        }
        println!("impossible sides found: {found} of {impossible}");
        assert!(found * 100 > impossible * 90);
    }

    #[test]
    fn branches_are_sound_at_4_bits_sampled() {
        check(997);
    }

    #[test]
    #[ignore = "long"]
    fn branches_are_sound_at_4_bits() {
        check(1);
    }

    #[test]
    fn branches_are_sound_at_64_bits() {
        let mut rng = Rng::new(3);
        for _ in 0..100_000 {
            let (x, y) = match rng.below(4) {
                0 => {
                    let x = rng.edge();
                    (x, x.wrapping_add(rng.below(3)).wrapping_sub(1))
                }
                _ => (rng.edge(), rng.edge()),
            };
            let a = Scalar::around(&mut rng, x);
            let b = Scalar::around(&mut rng, y);
            for cond in CONDS {
                let taken = holds::<64>(cond, x, y);
                let (p, q) = Scalar::branch(cond, Width::W64, &a, &b, taken).unwrap();
                assert!(p.contains(x) && q.contains(y));
                assert!(p.is_subset_of(&a) && q.is_subset_of(&b));
                let taken = holds::<32>(cond, x & 0xffff_ffff, y & 0xffff_ffff);
                let (p, q) = Scalar::branch(cond, Width::W32, &a, &b, taken).unwrap();
                assert!(p.contains(x) && q.contains(y));
                assert!(p.is_subset_of(&a) && q.is_subset_of(&b));
            }
        }
    }

    #[test]
    fn both_operands_are_refined() {
        let a = Scalar::unsigned_range(0, 10);
        let b = Scalar::unsigned_range(5, 20);
        let (p, q) = Scalar::branch(Cond::Gt, Width::W64, &a, &b, true).unwrap();
        assert_eq!((p.umin(), p.umax()), (6, 10));
        assert_eq!((q.umin(), q.umax()), (5, 9));
        let (p, q) = Scalar::branch(Cond::Eq, Width::W64, &a, &b, true).unwrap();
        assert_eq!(p, q);
        assert_eq!((p.umin(), p.umax()), (5, 10));
        // A 32-bit comparison of a zero-extended number says it of the whole.
        let w = Scalar::unsigned_range(0, 0xffff_ffff);
        let (p, _) = Scalar::branch(Cond::Lt, Width::W32, &w, &Scalar::constant(64), true).unwrap();
        assert_eq!(p, Scalar::unsigned_range(0, 63));
        let any = Scalar::unknown();
        let (p, _) =
            Scalar::branch(Cond::Set, Width::W64, &any, &Scalar::constant(8), true).unwrap();
        assert!(p.tnum().value == 8 && p.umin() == 8);
        let (p, _) =
            Scalar::branch(Cond::Set, Width::W64, &any, &Scalar::constant(7), false).unwrap();
        assert!(p.tnum().is_aligned(8));
        assert_eq!(
            Scalar::branch(Cond::Slt, Width::W64, &a, &Scalar::constant(0), true),
            None
        );
    }
}
