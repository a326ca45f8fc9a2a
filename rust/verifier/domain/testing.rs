// SPDX-License-Identifier: GPL-2.0

//! What the domains' tests share: all small abstract values, and random numbers near edges.

use super::alu::Part;
use super::bounds::Bounds;
use super::scalar::{Scalar, ScalarN};
use super::tnum::{low_mask, Tnum};
use crate::isa::{AluOp, Cond};

/// Every operation.
pub(super) const OPS: [AluOp; 13] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::Sdiv,
    AluOp::Or,
    AluOp::And,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Mod,
    AluOp::Smod,
    AluOp::Xor,
    AluOp::Arsh,
];

/// Every condition.
pub(super) const CONDS: [Cond; 11] = [
    Cond::Eq,
    Cond::Ne,
    Cond::Set,
    Cond::Gt,
    Cond::Ge,
    Cond::Lt,
    Cond::Le,
    Cond::Sgt,
    Cond::Sge,
    Cond::Slt,
    Cond::Sle,
];

/// Every tristate number of `bits` bits.
pub(super) fn tnums(bits: u32) -> Vec<Tnum> {
    let end = 1u64 << bits;
    (0..end)
        .flat_map(|mask| (0..end).map(move |value| Tnum { value, mask }))
        .filter(|t| t.value & t.mask == 0)
        .collect()
}

/// The members of `t`, ascending.
pub(super) fn tnum_members(t: Tnum, bits: u32) -> impl Iterator<Item = u64> {
    (0..1u64 << bits).filter(move |&x| t.contains(x))
}

/// Every pair of non-empty intervals of `N` bits, with the members; each set of members once per
/// form that tightening gives it.
pub(super) fn all_bounds<const N: u32>() -> Vec<Bounds<N>> {
    let mut all = Vec::new();
    let (smin, smax) = (Bounds::<N>::SMIN, Bounds::<N>::SMAX);
    for umin in 0..1u64 << N {
        for umax in umin..1u64 << N {
            for low in smin..=smax {
                for high in low..=smax {
                    let mut b = Bounds {
                        umin,
                        umax,
                        smin: low,
                        smax: high,
                    };
                    b.meet_signs();
                    if !b.is_empty() {
                        all.push(b);
                    }
                }
            }
        }
    }
    all.sort_by_key(|b| (b.umin, b.umax, b.smin, b.smax));
    all.dedup();
    all
}

/// Every product of bits and intervals of `N` bits that tightening leaves as it is.
pub(super) fn all_parts<const N: u32>() -> Vec<Part<N>> {
    let mut all = Vec::new();
    for b in all_bounds::<N>() {
        for t in tnums(N) {
            let mut tight = b;
            if tight.meet_tnum(t) {
                tight.meet_signs();
                let bits = t.intersect(Tnum::range(tight.umin, tight.umax));
                if tight == b && bits == Some(t) {
                    all.push(Part { t, b });
                }
            }
        }
    }
    all
}

/// The members of a part.
pub(super) fn part_members<const N: u32>(p: &Part<N>) -> Vec<u64> {
    (0..1u64 << N)
        .filter(|&x| p.t.contains(x) && p.b.contains(x))
        .collect()
}

/// Every scalar of `W` bits that tightening gives.
pub(super) fn all_scalars<const W: u32, const H: u32>() -> Vec<ScalarN<W, H>> {
    let mut all = Vec::new();
    for p in all_parts::<W>() {
        for low in all_bounds::<H>() {
            if let Some(s) = ScalarN::synced(p.t, p.b, low) {
                if s.all() == p && s.half() == low {
                    all.push(s);
                }
            }
        }
    }
    all
}

/// The members of a scalar.
pub(super) fn members<const W: u32, const H: u32>(s: &ScalarN<W, H>) -> Vec<u64> {
    (0..1u64 << W).filter(|&x| s.contains(x)).collect()
}

/// Xorshift: random enough, and the same each time.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    /// A number that is likely to lie next to a power of two, a boundary, or zero.
    pub(super) fn edge(&mut self) -> u64 {
        let x = self.next();
        let near = (self.below(7)).wrapping_sub(3);
        match self.below(8) {
            0 => near,
            1 => (1u64 << self.below(64)).wrapping_add(near),
            2 => (1u64 << self.below(64)).wrapping_neg().wrapping_add(near),
            3 => low_mask(32).wrapping_add(near) ^ (x << 32),
            4 => x >> self.below(64),
            5 => ((x as i64) >> self.below(64)) as u64,
            6 => x & self.next() & self.next(),
            _ => x,
        }
    }
}

impl Scalar {
    /// A random set that holds `x`.
    pub(super) fn around(rng: &mut Rng, x: u64) -> Scalar {
        let (mut b, mut low) = (Bounds::UNKNOWN, Bounds::UNKNOWN);
        let mut t = Tnum::UNKNOWN;
        let kind = rng.next();
        if kind & 1 != 0 {
            t = Tnum::new(x, rng.edge());
        }
        let (y, z) = (rng.edge(), rng.edge());
        if kind & 2 != 0 {
            b.meet_unsigned(x.min(y), x.max(z));
        }
        if kind & 4 != 0 {
            b.meet_signed((x as i64).min(z as i64), (x as i64).max(y as i64));
        }
        let (y, z) = (rng.edge(), rng.edge());
        let half = |v: u64| v & 0xffff_ffff;
        if kind & 8 != 0 {
            low.meet_unsigned(half(x).min(half(y)), half(x).max(half(z)));
        }
        if kind & 16 != 0 {
            let signed = |v: u64| i64::from(v as i32);
            low.meet_signed(signed(x).min(signed(z)), signed(x).max(signed(y)));
        }
        if kind & 0xe0 == 0 {
            return Scalar::constant(x);
        }
        Scalar::synced(t, b, low).unwrap()
    }
}
