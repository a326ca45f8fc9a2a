// SPDX-License-Identifier: GPL-2.0

//! Sets of 64-bit values as the verifier keeps them for a register or a stack slot.

use super::alu::{self, Counts, Part};
use super::bounds::{Arc, Bounds};
use super::tnum::{low_mask, Tnum};
use crate::isa::{AluOp, Size, SwapKind, Width};

/// What is known of a number: some of its bits, and unsigned and signed intervals of the whole and
/// of the low half.
///
/// `W` is the number's width and `H` the low half's; [`Scalar`] is the one that programs compute
/// with, and the tests use small ones. The operations' [`Width::W64`] means `W` bits,
/// [`Width::W32`] means `H` bits.
///
/// # Invariants
///
/// No interval is empty. The parts have tightened each other as far as `synced` goes; in
/// particular the bits are all known when an interval holds one value only, and then every part
/// is that value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalarN<const W: u32, const H: u32> {
    tnum: Tnum,
    umin: u64,
    umax: u64,
    smin: i64,
    smax: i64,
    umin32: u32,
    umax32: u32,
    smin32: i32,
    smax32: i32,
}

/// A set of 64-bit values.
pub type Scalar = ScalarN<64, 32>;

/// Rounds of mutual tightening; each one is sound, and more rarely find anything.
const ROUNDS: u32 = 4;

impl<const W: u32, const H: u32> ScalarN<W, H> {
    const UNKNOWN: Self = Self::raw(
        Part {
            t: Tnum::unknown_bits(W),
            b: Bounds::UNKNOWN,
        },
        Bounds::UNKNOWN,
    );

    /// All values.
    pub const fn unknown() -> Self {
        Self::UNKNOWN
    }

    /// One value.
    pub const fn constant(x: u64) -> Self {
        Self::raw(
            Part::constant(x & Bounds::<W>::MASK),
            Bounds::constant(x & Bounds::<H>::MASK),
        )
    }

    /// The values from `min` to `max`, unsigned; all values when `min > max`.
    pub fn unsigned_range(min: u64, max: u64) -> Self {
        let b = Bounds::unsigned(min, max);
        Self::from_parts(Tnum::unknown_bits(W), b, Bounds::UNKNOWN)
    }

    /// The values from `min` to `max`, signed; all values when `min > max`.
    pub fn signed_range(min: i64, max: i64) -> Self {
        let b = Bounds::range_signed(min, max);
        Self::from_parts(Tnum::unknown_bits(W), b, Bounds::UNKNOWN)
    }

    /// The members of `t`.
    pub fn from_tnum(t: Tnum) -> Self {
        Self::from_parts(t.truncate(W), Bounds::UNKNOWN, Bounds::UNKNOWN)
    }

    /// What a load of `size` gives when nothing is known of the memory; `sx`: sign-extended.
    pub fn load(size: Size, sx: bool) -> Self {
        match (size, sx) {
            (Size::Dw, _) => Self::UNKNOWN,
            (Size::B, false) => Self::from_tnum(Tnum::unknown_bits(8)),
            (Size::H, false) => Self::from_tnum(Tnum::unknown_bits(16)),
            (Size::W, false) => Self::from_tnum(Tnum::unknown_bits(32)),
            (Size::B, true) => Self::signed_range(-0x80, 0x7f),
            (Size::H, true) => Self::signed_range(-0x8000, 0x7fff),
            (Size::W, true) => Self::signed_range(-0x8000_0000, 0x7fff_ffff),
        }
    }

    /// The known bits.
    pub const fn tnum(&self) -> Tnum {
        self.tnum
    }

    /// The smallest value, unsigned.
    pub const fn umin(&self) -> u64 {
        self.umin
    }

    /// The largest value, unsigned.
    pub const fn umax(&self) -> u64 {
        self.umax
    }

    /// The smallest value, signed.
    pub const fn smin(&self) -> i64 {
        self.smin
    }

    /// The largest value, signed.
    pub const fn smax(&self) -> i64 {
        self.smax
    }

    /// The low half's smallest value, unsigned.
    pub const fn umin32(&self) -> u32 {
        self.umin32
    }

    /// The low half's largest value, unsigned.
    pub const fn umax32(&self) -> u32 {
        self.umax32
    }

    /// The low half's smallest value, signed.
    pub const fn smin32(&self) -> i32 {
        self.smin32
    }

    /// The low half's largest value, signed.
    pub const fn smax32(&self) -> i32 {
        self.smax32
    }

    /// The value, if there is but one.
    pub const fn is_const(&self) -> Option<u64> {
        self.tnum.as_const()
    }

    /// The low half, if there is but one.
    pub const fn is_const32(&self) -> Option<u32> {
        match self.tnum.truncate(H).as_const() {
            Some(x) => Some(x as u32),
            None => None,
        }
    }

    /// Nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::UNKNOWN
    }

    /// `x` may be the value.
    pub const fn contains(&self, x: u64) -> bool {
        self.tnum.contains(x)
            && self.whole().contains(x)
            && self.half().contains(x & Bounds::<H>::MASK)
    }

    /// Whatever this may be, `other` may be too. May miss it where the parts only together say so.
    pub const fn is_subset_of(&self, other: &Self) -> bool {
        self.tnum.is_subset_of(other.tnum)
            && self.whole().is_subset_of(&other.whole())
            && self.half().is_subset_of(&other.half())
    }

    /// What both allow; `None` when they are found to have nothing in common.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let t = self.tnum.intersect(other.tnum)?;
        let (mut b, mut low) = (self.whole(), self.half());
        b.meet(&other.whole());
        low.meet(&other.half());
        Self::synced(t, b, low)
    }

    /// What either allows.
    pub fn union(&self, other: &Self) -> Self {
        Self::from_parts(
            self.tnum.union(other.tnum),
            self.whole().join(&other.whole()),
            self.half().join(&other.half()),
        )
    }

    /// The low half, zero-extended (a 32-bit move).
    pub fn zext32(&self) -> Self {
        self.zext::<H>()
    }

    /// `dst op src`, in 32 bits with zeros above or in 64 bits.
    pub fn alu(op: AluOp, width: Width, dst: &Self, src: &Self) -> Self {
        match width {
            Width::W64 => {
                if let (Some(a), Some(b)) = (dst.is_const(), src.is_const()) {
                    return Self::constant(alu::eval::<W>(op, a, b));
                }
                Self::alu_whole(op, dst, src)
            }
            Width::W32 => {
                if let (Some(a), Some(b)) = (dst.is_const32(), src.is_const32()) {
                    return Self::constant(alu::eval::<H>(op, a.into(), b.into()));
                }
                let (a, b) = (dst.low(), src.low());
                let bounds = alu::bounds::<H>(op, &a, &b);
                Self::from_low_zext(alu::tnum::<H>(op, &a, &b), bounds)
            }
        }
    }

    /// `-self`
    pub fn neg(&self, width: Width) -> Self {
        Self::alu(AluOp::Sub, width, &Self::constant(0), self)
    }

    /// Byte swap or truncation of the low `size` bits, zeros above.
    pub fn swap(&self, kind: SwapKind, size: Size) -> Self {
        match kind {
            SwapKind::ToLe => match size {
                Size::B => self.zext::<8>(),
                Size::H => self.zext::<16>(),
                Size::W => self.zext::<32>(),
                Size::Dw => *self,
            },
            SwapKind::ToBe | SwapKind::Bswap => Self::from_tnum(self.tnum.swap_bytes(size.bytes())),
        }
    }

    /// The low `from` bits sign-extended to `width`, zeros above that.
    pub fn mov_sx(&self, width: Width, from: Size) -> Self {
        match from {
            Size::B => self.sext::<8>(width),
            Size::H => self.sext::<16>(width),
            Size::W => self.sext::<32>(width),
            Size::Dw => *self,
        }
    }

    pub(super) const fn whole(&self) -> Bounds<W> {
        Bounds {
            umin: self.umin,
            umax: self.umax,
            smin: self.smin,
            smax: self.smax,
        }
    }

    pub(super) const fn half(&self) -> Bounds<H> {
        Bounds {
            umin: self.umin32 as u64,
            umax: self.umax32 as u64,
            smin: self.smin32 as i64,
            smax: self.smax32 as i64,
        }
    }

    pub(super) fn all(&self) -> Part<W> {
        Part {
            t: self.tnum,
            b: self.whole(),
        }
    }

    pub(super) fn low(&self) -> Part<H> {
        Part {
            t: self.tnum.truncate(H),
            b: self.half(),
        }
    }

    const fn raw(all: Part<W>, low: Bounds<H>) -> Self {
        Self {
            tnum: all.t,
            umin: all.b.umin,
            umax: all.b.umax,
            smin: all.b.smin,
            smax: all.b.smax,
            umin32: low.umin as u32,
            umax32: low.umax as u32,
            smin32: low.smin as i32,
            smax32: low.smax as i32,
        }
    }

    /// The values that all three allow.
    ///
    /// Found empty, it stands for code that no run reaches, where any set is right: unknown.
    fn from_parts(t: Tnum, b: Bounds<W>, low: Bounds<H>) -> Self {
        Self::synced(t, b, low).unwrap_or(Self::UNKNOWN)
    }

    /// The `H`-bit numbers that both allow, zeros above.
    fn from_low_zext(t: Tnum, mut low: Bounds<H>) -> Self {
        // Tighten as `H` bits first: the whole is then exact at once.
        if !low.meet_tnum(t) {
            return Self::UNKNOWN;
        }
        low.meet_signs();
        let part = Part { t, b: low }.zero_extend::<W>();
        Self::from_parts(part.t, part.b, low)
    }

    fn alu_whole(op: AluOp, dst: &Self, src: &Self) -> Self {
        let (a, b) = (dst.all(), src.all());
        let mut t = alu::tnum::<W>(op, &a, &b);
        let mut bounds = alu::bounds::<W>(op, &a, &b);
        let low = match op {
            // The low half would tell nothing new.
            AluOp::Add | AluOp::Sub | AluOp::And | AluOp::Or | AluOp::Xor
                if dst.is_small() && src.is_small() =>
            {
                Bounds::UNKNOWN
            }
            // The low half of the result depends on the operands' low halves alone.
            AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::And | AluOp::Or | AluOp::Xor => {
                alu::bounds::<H>(op, &dst.low(), &src.low())
            }
            AluOp::Lsh => {
                let counts = b.counts();
                let half = dst.half();
                if counts.min == counts.max && counts.min >= H {
                    // Nothing but low bits is left.
                    for arc in half.arcs() {
                        alu::lsh_arc(&mut bounds, arc, counts.min);
                    }
                }
                if counts.max < H {
                    alu::lsh(&half, counts)
                } else {
                    Bounds::UNKNOWN
                }
            }
            AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod | AluOp::Rsh | AluOp::Arsh => {
                Bounds::UNKNOWN
            }
        };
        if op == AluOp::Mod || op == AluOp::Smod {
            // A remainder may be the untouched dividend.
            if bounds == a.b {
                t = a.t;
            }
        }
        Self::from_parts(t, bounds, low)
    }

    fn zext<const M: u32>(&self) -> Self {
        if self.umax <= low_mask(M) {
            return *self;
        }
        if M == H {
            let low = self.low();
            return Self::from_low_zext(low.t, low.b);
        }
        let part = self.all().truncate::<M>().zero_extend::<W>();
        Self::from_parts(part.t, part.b, Bounds::UNKNOWN)
    }

    fn sext<const M: u32>(&self, width: Width) -> Self {
        let fits = self.smin >= Bounds::<M>::SMIN && self.smax <= Bounds::<M>::SMAX;
        if fits && (width == Width::W64 || self.smin >= 0) {
            return *self;
        }
        let mut part = self.all().truncate::<M>();
        if M == H {
            let low = self.half();
            part.b = Bounds {
                umin: low.umin,
                umax: low.umax,
                smin: low.smin,
                smax: low.smax,
            };
        }
        if !part.b.meet_tnum(part.t) {
            return Self::UNKNOWN;
        }
        part.b.meet_signs();
        match width {
            Width::W64 => {
                let part = part.sign_extend::<W>();
                Self::from_parts(part.t, part.b, Bounds::UNKNOWN)
            }
            Width::W32 => {
                let part = part.sign_extend::<H>();
                Self::from_low_zext(part.t, part.b)
            }
        }
    }

    /// Lets bits and intervals tighten each other; `None` when that leaves nothing.
    pub(super) fn synced(mut t: Tnum, mut b: Bounds<W>, mut low: Bounds<H>) -> Option<Self> {
        b.meet_signs();
        if b.umax <= Bounds::<H>::SMAX as u64 {
            return Self::synced_small(t, &b, &low);
        }
        low_from_whole(&b, &mut low);
        let mut rounds = ROUNDS;
        loop {
            let before = (b, low);
            // The ends of an interval share their upper bits with all between,
            t = t.intersect(Tnum::range(b.umin, b.umax))?;
            t = t.intersect(Tnum::UNKNOWN.with_low(Tnum::range(low.umin, low.umax), H))?;
            // and are members of the bits' set.
            if !b.meet_tnum(t) || !low.meet_tnum(t.truncate(H)) {
                return None;
            }
            b.meet_signs();
            low_from_whole(&b, &mut low);
            if b.is_empty() || low.is_empty() {
                return None;
            }
            whole_from_low(&mut b, &low)?;
            rounds = rounds.wrapping_sub(1);
            if before == (b, low) || rounds == 0 {
                return Some(Self::raw(Part { t, b }, low));
            }
        }
    }

    /// The same for a number that fits the low half without its sign, as most do: all four
    /// intervals are one.
    fn synced_small(mut t: Tnum, b: &Bounds<W>, low: &Bounds<H>) -> Option<Self> {
        let mut low = *low;
        low.meet_unsigned(b.umin, b.umax);
        low.meet_signed(b.smin, b.smax);
        low.meet_signs();
        let (mut min, mut max) = (low.umin, low.umax);
        if min > max {
            return None;
        }
        loop {
            t = t.intersect(Tnum::range(min, max))?;
            let (least, most) = (t.at_least(min)?, t.at_most(max, W)?);
            if least > most {
                return None;
            }
            if (least, most) == (min, max) {
                break;
            }
            (min, max) = (least, most);
        }
        let (smin, smax) = (min as i64, max as i64);
        let b = Bounds {
            umin: min,
            umax: max,
            smin,
            smax,
        };
        let low = Bounds {
            umin: min,
            umax: max,
            smin,
            smax,
        };
        Some(Self::raw(Part { t, b }, low))
    }

    /// All four intervals are one.
    fn is_small(&self) -> bool {
        self.umax <= Bounds::<H>::SMAX as u64
    }

    /// The counts by which a shift by this would shift.
    pub fn shift_counts(&self, width: Width) -> (u32, u32) {
        let Counts { min, max } = match width {
            Width::W64 => self.all().counts(),
            Width::W32 => self.low().counts(),
        };
        (min, max)
    }
}

/// A stretch shorter than the low half's circle is an arc there.
fn low_from_whole<const W: u32, const H: u32>(b: &Bounds<W>, low: &mut Bounds<H>) {
    let [unsigned, signed] = b.arcs();
    let mut meet = |arc: Arc| {
        if arc.size <= Bounds::<H>::MASK {
            low.meet_arc(Arc {
                base: arc.base & Bounds::<H>::MASK,
                size: arc.size,
            });
        }
    };
    meet(unsigned);
    if signed != unsigned {
        meet(signed);
    }
    low.meet_signs();
}

/// The ends of the whole end in members of the low half's set; both had `meet_signs`, and neither
/// is empty.
fn whole_from_low<const W: u32, const H: u32>(b: &mut Bounds<W>, low: &Bounds<H>) -> Option<()> {
    if *low == Bounds::UNKNOWN {
        return Some(());
    }
    b.umin = low.lift_at_least::<W>(b.umin)?;
    b.umax = low.lift_at_most(b.umax)?;
    let sign = Bounds::<W>::bits(Bounds::<W>::SMIN);
    let flip = |x: i64| Bounds::<W>::bits(x) ^ sign;
    b.smin = Bounds::<W>::signed(low.lift_at_least::<W>(flip(b.smin))? ^ sign);
    b.smax = Bounds::<W>::signed(low.lift_at_most(flip(b.smax))? ^ sign);
    b.meet_signs();
    if b.is_empty() {
        return None;
    }
    Some(())
}

#[cfg(test)]
mod tests {
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

    #[test]
    #[ignore = "long"]
    fn all_operations_are_sound_at_4_bits() {
        check(1);
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
}
