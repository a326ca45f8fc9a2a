// SPDX-License-Identifier: GPL-2.0

//! Tristate numbers: of each bit it is known whether it is 0, 1, or either.
//!
//! Addition and subtraction follow H. Vishwanathan et al., "Sound, Precise, and Fast Abstract
//! Interpretation with Tristate Numbers" (CGO 2022), where both are shown to be optimal.
//! Numbers of fewer than 64 bits have zeros above their width; operations that can carry out of
//! it are followed by [`Tnum::truncate`].

/// A set of 64-bit values that agree in the bits where `mask` is 0.
///
/// # Invariants
///
/// `value & mask == 0`: an unknown bit is 0 in `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tnum {
    /// The known bits; 0 where unknown.
    pub value: u64,
    /// 1 where the bit is unknown.
    pub mask: u64,
}

/// A mask of the low `bits` bits, 0 to 64.
pub(super) const fn low_mask(bits: u32) -> u64 {
    if bits >= 64 {
        u64::MAX
    } else {
        (1u64 << bits).wrapping_sub(1)
    }
}

/// Repeats bit `bits - 1` in all bits above it; `bits` is 1 to 64.
pub(super) const fn sign_extend(x: u64, bits: u32) -> i64 {
    let up = 64u32.wrapping_sub(bits);
    (x.wrapping_shl(up) as i64).wrapping_shr(up)
}

impl Tnum {
    /// All 64-bit values.
    pub const UNKNOWN: Tnum = Tnum {
        value: 0,
        mask: u64::MAX,
    };

    /// The set of the known bits of `value` outside `mask`.
    pub const fn new(value: u64, mask: u64) -> Self {
        Self {
            value: value & !mask,
            mask,
        }
    }

    /// One value.
    pub const fn constant(value: u64) -> Self {
        Self { value, mask: 0 }
    }

    /// All values of `bits` bits.
    pub const fn unknown_bits(bits: u32) -> Self {
        Self {
            value: 0,
            mask: low_mask(bits),
        }
    }

    /// The smallest tristate number that holds `min..=max`: the bits that both ends share from
    /// the top.
    pub const fn range(min: u64, max: u64) -> Self {
        let unknown = low_mask(64u32.wrapping_sub((min ^ max).leading_zeros()));
        Self::new(min, unknown)
    }

    /// The value, if there is but one.
    pub const fn as_const(self) -> Option<u64> {
        if self.mask == 0 {
            Some(self.value)
        } else {
            None
        }
    }

    /// No bit is unknown.
    pub const fn is_const(self) -> bool {
        self.mask == 0
    }

    /// No bit is known.
    pub const fn is_unknown(self) -> bool {
        self.mask == u64::MAX
    }

    /// The smallest member, unsigned.
    pub const fn min(self) -> u64 {
        self.value
    }

    /// The largest member, unsigned.
    pub const fn max(self) -> u64 {
        self.value | self.mask
    }

    /// `x` is a member.
    pub const fn contains(self, x: u64) -> bool {
        (x ^ self.value) & !self.mask == 0
    }

    /// Every member is one of `other`.
    pub const fn is_subset_of(self, other: Tnum) -> bool {
        self.mask & !other.mask == 0 && other.contains(self.value)
    }

    /// Every member is a multiple of `size`, a power of two.
    pub const fn is_aligned(self, size: u64) -> bool {
        self.max() & size.wrapping_sub(1) == 0
    }

    /// The common members; `None` when there are none.
    pub const fn intersect(self, other: Tnum) -> Option<Tnum> {
        if (self.value ^ other.value) & !self.mask & !other.mask != 0 {
            return None;
        }
        Some(Tnum::new(self.value | other.value, self.mask & other.mask))
    }

    /// The smallest set that holds the members of both.
    pub const fn union(self, other: Tnum) -> Tnum {
        Tnum::new(
            self.value & other.value,
            self.mask | other.mask | (self.value ^ other.value),
        )
    }

    /// The low `bits` bits; those above become 0.
    pub const fn truncate(self, bits: u32) -> Tnum {
        let keep = low_mask(bits);
        Tnum {
            value: self.value & keep,
            mask: self.mask & keep,
        }
    }

    /// Repeats bit `from - 1` up to bit `to - 1`; `1 <= from <= to <= 64`.
    pub const fn sign_extend(self, from: u32, to: u32) -> Tnum {
        Tnum {
            value: sign_extend(self.value, from) as u64,
            mask: sign_extend(self.mask, from) as u64,
        }
        .truncate(to)
    }

    /// The number whose low `bits` bits are those of `low`.
    pub const fn with_low(self, low: Tnum, bits: u32) -> Tnum {
        let keep = !low_mask(bits);
        Tnum {
            value: (self.value & keep) | low.value,
            mask: (self.mask & keep) | low.mask,
        }
    }

    /// `self + other`
    pub const fn add(self, other: Tnum) -> Tnum {
        let masks = self.mask.wrapping_add(other.mask);
        let least = self.value.wrapping_add(other.value);
        // A bit is uncertain where adding all unknown bits changes a carry.
        let carried = masks.wrapping_add(least) ^ least;
        Tnum::new(least, carried | self.mask | other.mask)
    }

    /// `self - other`
    pub const fn sub(self, other: Tnum) -> Tnum {
        let diff = self.value.wrapping_sub(other.value);
        let most = diff.wrapping_add(self.mask);
        let least = diff.wrapping_sub(other.mask);
        Tnum::new(diff, (most ^ least) | self.mask | other.mask)
    }

    /// `-self`
    pub const fn neg(self) -> Tnum {
        Tnum::constant(0).sub(self)
    }

    /// `self & other`
    pub const fn and(self, other: Tnum) -> Tnum {
        let ones = self.value & other.value;
        Tnum::new(ones, self.max() & other.max() & !ones)
    }

    /// `self | other`
    pub const fn or(self, other: Tnum) -> Tnum {
        let ones = self.value | other.value;
        Tnum::new(ones, (self.mask | other.mask) & !ones)
    }

    /// `self ^ other`
    pub const fn xor(self, other: Tnum) -> Tnum {
        Tnum::new(self.value ^ other.value, self.mask | other.mask)
    }

    /// `!self` in the low `bits` bits.
    pub const fn not(self, bits: u32) -> Tnum {
        Tnum::new(!self.value & low_mask(bits), self.mask)
    }

    /// `self * other`
    pub const fn mul(self, other: Tnum) -> Tnum {
        // Schoolbook, over the operand with fewer bits that may be set.
        let (mut by, mut of) = if self.max().count_ones() <= other.max().count_ones() {
            (self, other)
        } else {
            (other, self)
        };
        let mut sum = Tnum::constant(0);
        loop {
            let zeros = by.max().trailing_zeros();
            if zeros >= 64 || of.max() == 0 {
                return sum;
            }
            by = by.rsh(zeros);
            of = of.lsh(zeros);
            let more = sum.add(of);
            sum = if by.value & 1 != 0 {
                more
            } else {
                sum.union(more)
            };
            by = Tnum {
                value: by.value & !1,
                mask: by.mask & !1,
            };
        }
    }

    /// `self << count`, count below 64.
    pub const fn lsh(self, count: u32) -> Tnum {
        Tnum {
            value: self.value.wrapping_shl(count),
            mask: self.mask.wrapping_shl(count),
        }
    }

    /// `self >> count`, count below 64.
    pub const fn rsh(self, count: u32) -> Tnum {
        Tnum {
            value: self.value.wrapping_shr(count),
            mask: self.mask.wrapping_shr(count),
        }
    }

    /// Arithmetic right shift of a number of `bits` bits, count below `bits`.
    pub const fn arsh(self, count: u32, bits: u32) -> Tnum {
        Tnum {
            value: sign_extend(self.value, bits).wrapping_shr(count) as u64,
            mask: sign_extend(self.mask, bits).wrapping_shr(count) as u64,
        }
        .truncate(bits)
    }

    /// The low `bytes` bytes in reverse order; the bits above become 0.
    pub const fn swap_bytes(self, bytes: u32) -> Tnum {
        let up = 64u32.wrapping_sub(bytes.wrapping_mul(8));
        Tnum {
            value: self.value.swap_bytes().wrapping_shr(up),
            mask: self.mask.swap_bytes().wrapping_shr(up),
        }
    }

    /// The smallest member that is at least `x`.
    pub const fn at_least(self, x: u64) -> Option<u64> {
        let conflict = (x ^ self.value) & !self.mask;
        if conflict == 0 {
            return Some(x);
        }
        // `x` agrees with the members above its highest wrong bit, `top`.
        let top = 63u32.wrapping_sub(conflict.leading_zeros());
        let upto = low_mask(top.wrapping_add(1));
        if self.value & (1u64.wrapping_shl(top)) != 0 {
            // Turned on, the bit makes it larger: everything below may be smallest.
            return Some((x & !upto) | (self.value & upto));
        }
        // Turned off, the bit makes it smaller: the next free 0 above has to be turned on.
        let free = self.mask & !x & !upto;
        if free == 0 {
            return None;
        }
        let bit = free & free.wrapping_neg();
        let below = bit.wrapping_sub(1);
        Some((x & !below) | bit | (self.value & below))
    }

    /// The largest member of `bits` bits that is at most `x`.
    pub const fn at_most(self, x: u64, bits: u32) -> Option<u64> {
        let all = low_mask(bits);
        // Complementing turns the order round.
        match self.not(bits).at_least(!x & all) {
            Some(y) => Some(!y & all),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier::domain::testing::{tnum_members, tnums, Rng};

    type Abstract = fn(Tnum, Tnum) -> Tnum;
    type Concrete = fn(u64, u64) -> u64;

    /// The smallest tristate number that holds all of `values`.
    fn hull(values: impl Iterator<Item = u64>) -> Option<Tnum> {
        values.map(Tnum::constant).reduce(Tnum::union)
    }

    /// Checks a binary operation on all pairs of `bits` bits; returns how many of the results were
    /// as small as can be, and how many there were.
    fn check(bits: u32, abs: Abstract, op: Concrete) -> (u32, u32) {
        let all = tnums(bits);
        let (mut optimal, mut total) = (0, 0);
        for &a in &all {
            for &b in &all {
                let r = abs(a, b).truncate(bits);
                assert_eq!(r.value & r.mask, 0);
                let results = || {
                    tnum_members(a, bits)
                        .flat_map(move |x| tnum_members(b, bits).map(move |y| (x, y)))
                        .map(|(x, y)| op(x, y) & low_mask(bits))
                };
                for z in results() {
                    assert!(r.contains(z), "{a} op {b} = {r} lacks {z}");
                }
                total += 1;
                optimal += u32::from(hull(results()) == Some(r));
            }
        }
        (optimal, total)
    }

    #[test]
    fn linear_and_bitwise_operations_are_sound_and_optimal() {
        let ops: [(Abstract, Concrete); 5] = [
            (Tnum::add, u64::wrapping_add),
            (Tnum::sub, u64::wrapping_sub),
            (Tnum::and, |x, y| x & y),
            (Tnum::or, |x, y| x | y),
            (Tnum::xor, |x, y| x ^ y),
        ];
        for (abs, op) in ops {
            for bits in 1..=5 {
                let (optimal, total) = check(bits, abs, op);
                assert_eq!(optimal, total);
            }
        }
    }

    #[test]
    fn multiplication_is_sound() {
        // Not optimal: 5 bits give 59,049 pairs.
        let (optimal, total) = check(5, Tnum::mul, u64::wrapping_mul);
        println!("mul: {optimal} of {total} optimal");
        assert!(optimal * 10 > total * 9);
    }

    #[test]
    fn sets_are_exact() {
        const BITS: u32 = 4;
        let all = tnums(BITS);
        for &a in &all {
            for &b in &all {
                let both: Vec<u64> = tnum_members(a, BITS).filter(|&x| b.contains(x)).collect();
                let meet = a
                    .intersect(b)
                    .map(|t| tnum_members(t, BITS).collect::<Vec<_>>());
                assert_eq!(meet.unwrap_or_default(), both);
                assert_eq!(
                    a.is_subset_of(b),
                    tnum_members(a, BITS).all(|x| b.contains(x))
                );
                let either = tnum_members(a, BITS).chain(tnum_members(b, BITS));
                assert_eq!(hull(either), Some(a.union(b)));
            }
            for x in 0..1 << BITS {
                let up = tnum_members(a, BITS).find(|&y| y >= x);
                assert_eq!(a.at_least(x), up, "{a} at least {x}");
                let down = tnum_members(a, BITS).filter(|&y| y <= x).last();
                assert_eq!(a.at_most(x, BITS), down, "{a} at most {x}");
                for y in x..1 << BITS {
                    assert_eq!(hull(x..=y), Some(Tnum::range(x, y)));
                }
            }
            for count in 0..BITS {
                let of = |f: &dyn Fn(u64) -> u64| hull(tnum_members(a, BITS).map(f));
                let cut = low_mask(BITS);
                assert_eq!(
                    of(&|x| (x << count) & cut),
                    Some(a.lsh(count).truncate(BITS))
                );
                assert_eq!(of(&|x| x >> count), Some(a.rsh(count)));
                let arsh = |x| (sign_extend(x, BITS) >> count) as u64 & cut;
                assert_eq!(of(&arsh), Some(a.arsh(count, BITS)));
                let sx = |x| sign_extend(x, count + 1) as u64 & cut;
                assert_eq!(of(&sx), Some(a.sign_extend(count + 1, BITS)));
            }
            assert_eq!(
                hull(tnum_members(a, BITS).map(|x| !x & 0xf)),
                Some(a.not(BITS))
            );
        }
    }

    #[test]
    fn holds_results_at_64_bits() {
        let mut rng = Rng::new(1);
        for _ in 0..200_000 {
            let (x, y) = (rng.edge(), rng.edge());
            let a = Tnum::new(x, rng.edge());
            let b = Tnum::new(y, rng.edge());
            assert!(a.add(b).contains(x.wrapping_add(y)));
            assert!(a.sub(b).contains(x.wrapping_sub(y)));
            assert!(a.mul(b).contains(x.wrapping_mul(y)));
            assert!(a.neg().contains(x.wrapping_neg()));
            assert!(a.swap_bytes(8).contains(x.swap_bytes()));
            assert!(a.swap_bytes(4).contains((x as u32).swap_bytes().into()));
            assert!(a.swap_bytes(2).contains((x as u16).swap_bytes().into()));
            assert!(Tnum::range(x.min(y), x.max(y)).contains(x));
            assert!(a.at_least(x) == Some(x) && a.at_most(x, 64) == Some(x));
            assert!(a.at_least(y).is_none_or(|z| z >= y && a.contains(z)));
            assert!(a.at_most(y, 64).is_none_or(|z| z <= y && a.contains(z)));
        }
    }
}
