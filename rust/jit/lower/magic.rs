// SPDX-License-Identifier: GPL-2.0

//! Division by a constant as a multiplication.
//!
//! For every `x` below `2^n`, `x / d == x * m >> k` when `m = (2^k + e) / d` is a whole number with
//! `0 < e <= 2^(k - n)` (Granlund and Montgomery, "Division by invariant integers using
//! multiplication").

/// Multiplier and shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Magic {
    /// `m`
    pub(super) mul: u64,
    /// `k`
    pub(super) shift: u32,
}

/// Quotient (its low 64 bits, and whether there were more) and remainder of `2^k / d`.
fn power_div(k: u32, d: u64) -> (u64, bool, u64) {
    // Long division, bit by bit: 1, then k zeros.
    let (mut quot, mut over, mut rem) = (0u64, false, 0u64);
    for i in 0..=k {
        let bit = u64::from(i == 0);
        let carry = rem >> 63 != 0;
        rem = rem.wrapping_shl(1) | bit;
        over |= quot >> 63 != 0;
        quot = quot.wrapping_shl(1);
        if carry || rem >= d {
            rem = rem.wrapping_sub(d);
            quot |= 1;
        }
    }
    (quot, over, rem)
}

/// The smallest shift that is at least `least` for dividing numbers of `n` bits by `d`, with a
/// multiplier of at most `mul_bits` bits. `d` is at least 3 and not a power of two.
pub(super) fn find(d: u64, n: u32, least: u32, mul_bits: u32) -> Option<Magic> {
    if d < 3 || d.is_power_of_two() || n == 0 || n > 64 {
        return None;
    }
    let mut shift = n.max(least);
    while shift < 128 {
        let (quot, over, rem) = power_div(shift, d);
        let mul = quot.checked_add(1)?;
        if over || super::bit_len(mul) > mul_bits {
            return None;
        }
        let error = d.wrapping_sub(rem);
        let slack = shift.wrapping_sub(n);
        if slack >= 64 || error <= 1u64.wrapping_shl(slack) {
            return Some(Magic { mul, shift });
        }
        shift = shift.wrapping_add(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(d: u64, n: u32, m: Magic) {
        let top = if n == 64 { u64::MAX } else { (1 << n) - 1 };
        let mut xs = vec![
            0,
            1,
            d - 1,
            d,
            d.wrapping_add(1),
            top,
            top - 1,
            top / 2,
            top / d * d,
        ];
        xs.push((top / d * d).saturating_sub(1));
        let mut r = d;
        for _ in 0..2000 {
            r = r
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            xs.push(r ^ (r >> 29));
            xs.push((r ^ (r >> 31)) / d * d);
            xs.push(((r ^ (r >> 31)) / d * d).wrapping_sub(1));
        }
        for x in xs {
            let x = x & top;
            let product = u128::from(x) * u128::from(m.mul);
            assert_eq!((product >> m.shift) as u64, x / d, "{x} / {d} with {m:?}");
        }
    }

    #[test]
    fn quotients_are_exact() {
        let mut found = 0;
        for d in (3..3000).chain([1 << 31, 0x8000_0001, u64::MAX, u64::MAX / 3, 1_000_000_007]) {
            for n in [8, 16, 31, 32, 33, 48, 63, 64] {
                for (least, mul_bits) in [(0, 31), (0, 32), (64, 64)] {
                    if let Some(m) = find(d, n, least, mul_bits) {
                        check(d, n, m);
                        found += 1;
                    }
                }
            }
        }
        assert!(found > 20_000, "{found}");
    }

    #[test]
    fn known_multipliers() {
        let m = find(10, 64, 64, 64).unwrap();
        assert_eq!((m.mul, m.shift), (0xcccc_cccc_cccc_cccd, 67));
        assert_eq!(find(7, 64, 64, 64), None);
    }
}
