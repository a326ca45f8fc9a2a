// SPDX-License-Identifier: GPL-2.0

//! Unsigned and signed intervals of one N-bit number.
//!
//! On the circle of N-bit numbers an unsigned interval excludes an arc next to 0 and a signed one
//! an arc next to the sign boundary, so that the pair holds every arc of up to half the circle,
//! and more. Linear operations are done on arcs: [`Arc`] wraps freely.

use super::tnum::{low_mask, sign_extend, Tnum};

/// The values `x` of `N` bits with `umin <= x <= umax` and, as a signed number,
/// `smin <= x <= smax`.
///
/// Signed bounds are kept sign-extended to 64 bits. It is empty when a minimum is above its
/// maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds<const N: u32> {
    pub(super) umin: u64,
    pub(super) umax: u64,
    pub(super) smin: i64,
    pub(super) smax: i64,
}

/// The `size + 1` values from `base` on, upwards and around the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arc {
    pub(super) base: u64,
    pub(super) size: u64,
}

impl<const N: u32> Bounds<N> {
    pub(super) const MASK: u64 = low_mask(N);
    pub(super) const SMIN: i64 = i64::MIN >> (64 - N);
    pub(super) const SMAX: i64 = i64::MAX >> (64 - N);
    pub(super) const UNKNOWN: Self = Self {
        umin: 0,
        umax: Self::MASK,
        smin: Self::SMIN,
        smax: Self::SMAX,
    };

    /// `x` of N bits as a signed number.
    pub(super) const fn signed(x: u64) -> i64 {
        sign_extend(x, N)
    }

    /// The N bits of a signed number.
    pub(super) const fn bits(x: i64) -> u64 {
        x as u64 & Self::MASK
    }

    pub(super) const fn constant(x: u64) -> Self {
        Self {
            umin: x,
            umax: x,
            smin: Self::signed(x),
            smax: Self::signed(x),
        }
    }

    pub(super) const fn unsigned(umin: u64, umax: u64) -> Self {
        Self {
            umin,
            umax,
            ..Self::UNKNOWN
        }
    }

    pub(super) const fn range_signed(smin: i64, smax: i64) -> Self {
        Self {
            smin,
            smax,
            ..Self::UNKNOWN
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.umin > self.umax || self.smin > self.smax
    }

    pub(super) const fn contains(&self, x: u64) -> bool {
        let s = Self::signed(x);
        self.umin <= x && x <= self.umax && self.smin <= s && s <= self.smax
    }

    pub(super) const fn is_subset_of(&self, other: &Self) -> bool {
        other.umin <= self.umin
            && self.umax <= other.umax
            && other.smin <= self.smin
            && self.smax <= other.smax
    }

    /// Keeps `min..=max`.
    pub(super) fn meet_unsigned(&mut self, min: u64, max: u64) {
        self.umin = self.umin.max(min);
        self.umax = self.umax.min(max);
    }

    /// Keeps `min..=max`, signed.
    pub(super) fn meet_signed(&mut self, min: i64, max: i64) {
        self.smin = self.smin.max(min);
        self.smax = self.smax.min(max);
    }

    pub(super) fn meet(&mut self, other: &Self) {
        self.meet_unsigned(other.umin, other.umax);
        self.meet_signed(other.smin, other.smax);
    }

    pub(super) fn join(&self, other: &Self) -> Self {
        Self {
            umin: self.umin.min(other.umin),
            umax: self.umax.max(other.umax),
            smin: self.smin.min(other.smin),
            smax: self.smax.max(other.smax),
        }
    }

    /// Keeps the values on the arc, as far as intervals can say it.
    pub(super) fn meet_arc(&mut self, arc: Arc) {
        let (first, last) = (arc.base, arc.base.wrapping_add(arc.size) & Self::MASK);
        if first <= last {
            self.meet_unsigned(first, last);
        } else {
            // `0..=last` and `first..`: an end between them moves to the part on its inner side.
            if self.umin > last {
                self.umin = self.umin.max(first);
            }
            if self.umax < first {
                self.umax = self.umax.min(last);
            }
        }
        let (first, last) = (Self::signed(first), Self::signed(last));
        if first <= last {
            self.meet_signed(first, last);
        } else {
            if self.smin > last {
                self.smin = self.smin.max(first);
            }
            if self.smax < first {
                self.smax = self.smax.min(last);
            }
        }
    }

    /// The unsigned interval as an arc.
    pub(super) const fn unsigned_arc(&self) -> Arc {
        Arc {
            base: self.umin,
            size: self.umax.wrapping_sub(self.umin),
        }
    }

    /// The signed interval as an arc.
    pub(super) const fn signed_arc(&self) -> Arc {
        Arc {
            base: Self::bits(self.smin),
            size: self.smax.wrapping_sub(self.smin) as u64,
        }
    }

    /// Both arcs; the same one twice when the sign is known.
    pub(super) const fn arcs(&self) -> [Arc; 2] {
        [self.unsigned_arc(), self.signed_arc()]
    }

    /// Lets the unsigned and the signed interval tighten each other; exact.
    pub(super) fn meet_signs(&mut self) {
        self.unsigned_from_signed();
        let (first, last) = (Self::signed(self.umin), Self::signed(self.umax));
        if first <= last {
            // No sign boundary between the unsigned ends, so none is left between the signed.
            self.meet_signed(first, last);
            self.unsigned_from_signed();
        } else if self.smin < 0 && self.smax >= 0 {
            // Both cross: `umin..=smax` and `smin..=umax`, either of which may be empty.
            let (smin, smax) = (Self::bits(self.smin), Self::bits(self.smax));
            if self.umin > smax {
                self.umin = smin;
                self.smax = last;
            } else if smin > self.umax {
                self.umax = smax;
                self.smin = first;
            }
        }
    }

    /// When all values have the same sign, both orders agree.
    fn unsigned_from_signed(&mut self) {
        if self.smin >= 0 || self.smax < 0 {
            self.meet_unsigned(Self::bits(self.smin), Self::bits(self.smax));
        }
    }

    /// Moves the ends to members of `t`; false when there is none.
    pub(super) fn meet_tnum(&mut self, t: Tnum) -> bool {
        if t.mask == Self::MASK {
            return true;
        }
        let (Some(umin), Some(umax)) = (t.at_least(self.umin), t.at_most(self.umax, N)) else {
            return false;
        };
        self.umin = umin;
        self.umax = umax;
        // Flipping the sign bit turns signed order into unsigned order.
        let sign = Self::bits(Self::SMIN);
        let flipped = Tnum::new(t.value ^ sign, t.mask);
        let (Some(smin), Some(smax)) = (
            flipped.at_least(Self::bits(self.smin) ^ sign),
            flipped.at_most(Self::bits(self.smax) ^ sign, N),
        ) else {
            return false;
        };
        self.smin = Self::signed(smin ^ sign);
        self.smax = Self::signed(smax ^ sign);
        true
    }

    /// The smallest value in the set that is at least `x`; needs `meet_signs` to have run.
    fn at_least(&self, x: u64) -> Option<u64> {
        if x > self.umax {
            return None;
        }
        let x = x.max(self.umin);
        // Between the two parts when both intervals cross their boundary.
        let s = Self::signed(x);
        if s > self.smax {
            return Some(Self::bits(self.smin));
        }
        Some(if s < self.smin {
            Self::bits(self.smin)
        } else {
            x
        })
    }

    /// The largest value in the set that is at most `x`; needs `meet_signs` to have run.
    fn at_most(&self, x: u64) -> Option<u64> {
        if x < self.umin {
            return None;
        }
        let x = x.min(self.umax);
        let s = Self::signed(x);
        if s < self.smin {
            return Some(Self::bits(self.smax));
        }
        Some(if s > self.smax {
            Self::bits(self.smax)
        } else {
            x
        })
    }

    /// The smallest number of `W >= N` bits that is at least `x` and ends in N bits of the set;
    /// needs `meet_signs` to have run.
    pub(super) fn lift_at_least<const W: u32>(&self, x: u64) -> Option<u64> {
        let high = x & !Self::MASK;
        if let Some(low) = self.at_least(x & Self::MASK) {
            return Some(high | low);
        }
        let next = (x | Self::MASK).wrapping_add(1) & low_mask(W);
        if next == 0 {
            return None;
        }
        Some(next | self.umin)
    }

    /// The largest number that is at most `x` and ends in N bits of the set; needs `meet_signs`
    /// to have run.
    pub(super) fn lift_at_most(&self, x: u64) -> Option<u64> {
        let high = x & !Self::MASK;
        if let Some(low) = self.at_most(x & Self::MASK) {
            return Some(high | low);
        }
        if high == 0 {
            return None;
        }
        Some((high.wrapping_sub(1) & !Self::MASK) | self.umax)
    }
}
