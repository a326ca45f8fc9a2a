// SPDX-License-Identifier: GPL-2.0

//! BLOOM_FILTER: a set of values that can say "surely not" and "probably".

use super::hash::key::Seed;
use super::spec::{MapSpec, ZERO_SEED};
use crate::sys::bytes::Bytes;
use crate::sys::region::Region;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use kernel::prelude::*;

/// Bits that each value sets, if the map does not say.
const DEFAULT_HASHES: u32 = 5;

/// A Bloom filter.
pub(super) struct Bloom {
    /// A power of two of bits.
    bits: Region<AtomicU64>,
    mask: u64,
    hashes: u32,
    seed: Seed,
}

/// Bits of a filter for so many values of so many hashes: the least power of two that is near
/// the best, `n * k / ln 2`.
fn bits(entries: u32, hashes: u32) -> u64 {
    let n = u64::from(entries).wrapping_mul(hashes.into());
    // In-tree computes in 32 bits and takes 2^32 bits when these are too few.
    let n = match u32::try_from(n).ok().and_then(|n| (n / 5).checked_mul(7)) {
        Some(n) if n <= 1 << 31 => n,
        _ => return 1 << 32,
    };
    u64::from(n.max(64)).next_power_of_two()
}

impl Bloom {
    /// An empty filter.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(spec: &MapSpec) -> Result<Self> {
        let hashes = match (spec.extra & 0xf) as u32 {
            0 => DEFAULT_HASHES,
            n => n,
        };
        let bits = bits(spec.max_entries, hashes);
        let words = usize::try_from(bits / 64).map_err(|_| ENOMEM)?;
        let seed = if spec.has(ZERO_SEED) {
            Seed::fixed()
        } else {
            Seed::random()
        };
        Ok(Bloom {
            bits: Region::new(words, spec.node())?,
            mask: bits.wrapping_sub(1),
            hashes,
            seed,
        })
    }

    /// The word and bit of each of the value's hashes. All come from one hash: each is as far from
    /// the one before as its other half says.
    fn places(&self, value: Bytes<'_>) -> impl Iterator<Item = (&AtomicU64, u64)> {
        // The best bits are the high ones.
        let hash = self.seed.hash_bytes(value).rotate_right(32);
        let step = hash.rotate_right(32) | 1;
        (0..self.hashes).map(move |i| {
            let at = hash.wrapping_add(step.wrapping_mul(i.into())) & self.mask;
            let bit = 1u64.wrapping_shl((at % 64) as u32);
            (self.bits.at_masked((at / 64) as usize), bit)
        })
    }

    /// Adds a value.
    ///
    /// # Errors
    ///
    /// `EINVAL` for any flag.
    pub(super) fn push(&self, value: Bytes<'_>, flags: u64) -> Result {
        if flags != 0 {
            return Err(EINVAL);
        }
        for (word, bit) in self.places(value) {
            if word.load(Relaxed) & bit == 0 {
                word.fetch_or(bit, Relaxed);
            }
        }
        Ok(())
    }

    /// Bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        self.bits.bytes()
    }

    /// Whether the value may have been added.
    ///
    /// # Errors
    ///
    /// `ENOENT` when it surely was not.
    pub(super) fn peek(&self, value: Bytes<'_>) -> Result {
        match self
            .places(value)
            .all(|(word, bit)| word.load(Relaxed) & bit != 0)
        {
            true => Ok(()),
            false => Err(ENOENT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{spec, Rng};
    use super::*;
    use crate::abi::MapType;

    #[test]
    fn sizes_are_those_of_in_tree() {
        assert_eq!(bits(1, 5), 64);
        assert_eq!(bits(100, 5), 1024);
        assert_eq!(bits(1 << 28, 15), 1 << 32);
        assert_eq!(bits(u32::MAX, 15), 1 << 32);
    }

    #[test]
    fn what_was_added_is_there_and_most_other_is_not() {
        for value_size in [1, 4, 8, 12, 24] {
            let bloom = Bloom::new(&spec(MapType::BloomFilter, 0, value_size, 1000)).unwrap();
            let mut rng = Rng::new(value_size.into());
            let mut values: Vec<_> = (0..2000).map(|_| rng.bytes(value_size as usize)).collect();
            values.sort_unstable();
            values.dedup();
            let (even, odd): (Vec<_>, Vec<_>) =
                values.iter().enumerate().partition(|(i, _)| i % 2 == 0);
            for (_, v) in &even {
                bloom.push(v[..].into(), 0).unwrap();
            }
            assert!(even.iter().all(|(_, v)| bloom.peek(v[..].into()).is_ok()));
            let wrong = odd
                .iter()
                .filter(|(_, v)| bloom.peek(v[..].into()).is_ok())
                .count();
            assert!(wrong * 20 <= odd.len(), "{wrong} of {}", odd.len());
        }
    }

    #[test]
    fn flags_are_refused() {
        let bloom = Bloom::new(&spec(MapType::BloomFilter, 0, 4, 10)).unwrap();
        assert_eq!(bloom.push([1u8, 2, 3, 4][..].into(), 1), Err(EINVAL));
    }
}
