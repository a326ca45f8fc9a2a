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

    /// The bits that are known to be 1.
    pub const fn known_ones(&self) -> u64 {
        self.tnum.value
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
mod tests;
