// SPDX-License-Identifier: GPL-2.0

//! A hash map's keys: how they are hashed, compared and kept.
//!
//! The hash folds 64-bit words by multiplication: the two halves of the 128-bit product of two
//! words, each mixed with a secret first, are xored. The secret is the map's own and random, so
//! nobody can choose keys that meet in one bucket without knowing it: programs hash what comes from
//! the network, and who could fill one bucket would make every look-up walk its chain.
//!
//! The end is one more product, of which the high bits count. What the fold leaves of keys in a row,
//! or of multiples of a power of two, is itself nearly in a row in its low bits, and for some secrets
//! so uneven that most keys met in few buckets; the high bits of a product depend on all bits.

use super::super::words;
use crate::sys::bytes::{Bytes, Words};
use crate::sys::random::unguessable;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Calls `$call` with `$key` in the form that suits its size.
macro_rules! with_key {
    ($bytes:expr, |$key:ident| $call:expr) => {
        match $crate::map::hash::key::Word::new($bytes) {
            Some($key) => $call,
            None => {
                let $key = $crate::map::hash::key::Long::new($bytes);
                $call
            }
        }
    };
}

/// Bits of a hash below those that choose the bucket. Low bits of a product depend on few bits of
/// its factors.
pub(super) const INDEX_SHIFT: u32 = 24;

/// The secret that keys one map's hash. Machine code reads it, in this order.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(in crate::map) struct Seed {
    first: u64,
    second: u64,
    third: u64,
}

impl Seed {
    /// A seed that nobody can guess.
    pub(in crate::map) fn random() -> Self {
        // Odd, so that the low half of a product keeps all bits of the other factor.
        Seed {
            first: unguessable(),
            second: unguessable() | 1,
            third: unguessable() | 1,
        }
    }

    /// The seed of maps with `BPF_F_ZERO_SEED`: always the same.
    pub(in crate::map) const fn fixed() -> Self {
        // The fractional parts of pi, of the golden ratio, and more of pi.
        Seed {
            first: 0x243f_6a88_85a3_08d3,
            second: 0x9e37_79b9_7f4a_7c15,
            third: 0xa409_3822_299f_31d1,
        }
    }

    /// The hash of a key that an element holds.
    pub(in crate::map) fn hash(self, key: &[AtomicU64]) -> u64 {
        match key {
            [word] => self.one(word.load(Relaxed)),
            _ => self.end(key.chunks(2).fold(self.first, |acc, two| match two {
                [a, b] => fold(a.load(Relaxed) ^ acc, b.load(Relaxed) ^ self.second),
                [a] => fold(a.load(Relaxed) ^ acc, self.second),
                _ => acc,
            })),
        }
    }

    /// The hash of these bytes.
    pub(in crate::map) fn hash_bytes(self, bytes: Bytes<'_>) -> u64 {
        with_key!(bytes, |k| k.hash(self))
    }

    #[inline(always)]
    fn one(self, word: u64) -> u64 {
        self.end(fold(word ^ self.first, self.second))
    }

    #[inline(always)]
    fn end(self, acc: u64) -> u64 {
        acc.wrapping_mul(self.third)
    }
}

/// Both halves of the product, xored.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let p = u128::from(a).wrapping_mul(u128::from(b));
    (p as u64) ^ ((p >> 64) as u64)
}

/// A key in the form that suits its size.
pub(in crate::map) trait Key: Copy {
    /// One load compares the whole key, so it cannot be seen half written.
    const WHOLE: bool;

    /// The keyed hash.
    fn hash(self, seed: Seed) -> u64;

    /// Whether the element whose words start at `off` has this key.
    fn is_at(self, elems: &[AtomicU64], off: usize) -> bool;

    /// Writes the key to the element whose words start at `off`. False when what was written
    /// has another hash than `hash`: somebody changed the key's bytes meanwhile.
    fn store(self, elems: &[AtomicU64], off: usize, seed: Seed, hash: u64) -> bool;
}

/// A key of up to eight bytes.
#[derive(Clone, Copy)]
pub(in crate::map) struct Word(u64);

impl Word {
    /// Reads the key; `None` when it is longer.
    #[inline(always)]
    pub(in crate::map) fn new(key: Bytes<'_>) -> Option<Self> {
        if key.len() > words::WORD {
            return None;
        }
        Some(Word(words::word(key, 0)))
    }
}

impl Word {
    /// A key of four or eight bytes: the sizes that most keys have, and that one load reads.
    #[inline(always)]
    pub(in crate::map) fn quick(key: Bytes<'_>) -> Option<Self> {
        match key.len() {
            8 => key.u64(0).map(Word),
            4 => key.u32(0).map(|w| Word(u64::from(w.to_le()).to_le())),
            _ => None,
        }
    }
}

impl Key for Word {
    const WHOLE: bool = true;

    #[inline(always)]
    fn hash(self, seed: Seed) -> u64 {
        seed.one(self.0)
    }

    #[inline(always)]
    fn is_at(self, elems: &[AtomicU64], off: usize) -> bool {
        elems.get(off).is_some_and(|w| w.load(Relaxed) == self.0)
    }

    #[inline(always)]
    fn store(self, elems: &[AtomicU64], off: usize, _seed: Seed, _hash: u64) -> bool {
        match elems.get(off) {
            Some(w) => {
                w.store(self.0, Relaxed);
                true
            }
            None => false,
        }
    }
}

/// A longer key, read from where it is each time it is needed.
#[derive(Clone, Copy)]
pub(in crate::map) struct Long<'a> {
    bytes: Bytes<'a>,
    words: usize,
    /// What is left over behind the whole words.
    rest: Option<u64>,
}

impl<'a> Long<'a> {
    /// A key of these bytes.
    #[inline(always)]
    pub(in crate::map) fn new(bytes: Bytes<'a>) -> Self {
        Long {
            bytes,
            words: words::words_of(bytes.len()),
            rest: words::rest(bytes),
        }
    }

    #[inline(always)]
    fn slot(self, elems: &[AtomicU64], off: usize) -> Option<&[AtomicU64]> {
        elems.get(off..)?.get(..self.words)
    }
}

/// The hash of whole words and what is left over behind them, taken in twos; the last may be alone.
#[inline(always)]
fn hash_words(seed: Seed, mut whole: Words<'_>, rest: Option<u64>) -> u64 {
    let mut acc = seed.first;
    while let Some((a, b)) = whole.next_two() {
        acc = fold(a ^ acc, b ^ seed.second);
    }
    seed.end(match (whole.next(), rest) {
        (None, None) => acc,
        (Some(a), None) | (None, Some(a)) => fold(a ^ acc, seed.second),
        (Some(a), Some(b)) => fold(a ^ acc, b ^ seed.second),
    })
}

impl Key for Long<'_> {
    const WHOLE: bool = false;

    #[inline(always)]
    fn hash(self, seed: Seed) -> u64 {
        hash_words(seed, self.bytes.words(), self.rest)
    }

    #[inline(always)]
    fn is_at(self, elems: &[AtomicU64], off: usize) -> bool {
        self.slot(elems, off)
            .is_some_and(|k| words::equal(k, self.bytes, self.rest))
    }

    #[inline]
    fn store(self, elems: &[AtomicU64], off: usize, seed: Seed, hash: u64) -> bool {
        let Some(slot) = self.slot(elems, off) else {
            return false;
        };
        words::store(slot, self.bytes);
        seed.hash(slot) == hash
    }
}

pub(in crate::map) use with_key;

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of keys that meet more than `most` others in their bucket.
    fn crowded(seed: Seed, keys: u64, key: impl Fn(u64) -> u64, most: usize) -> f64 {
        let buckets = keys / 4;
        let mut n = vec![0usize; buckets as usize];
        for i in 0..keys {
            n[((seed.one(key(i)) >> INDEX_SHIFT) % buckets) as usize] += 1;
        }
        let over: usize = n.iter().filter(|n| **n > most).sum();
        over as f64 / keys as f64
    }

    /// Of four a bucket by chance, eight in a thousand keys are beyond the eighth. A secret may be worse
    /// for one kind of keys, not for many.
    #[test]
    fn keys_in_a_row_spread() {
        let mut bad = Vec::new();
        for seed in (0..40).map(|_| Seed::random()).chain([Seed::fixed()]) {
            let mut look = |what: String, share: f64| {
                assert!(share < 0.3, "{seed:?}: {share} of {what}");
                if share >= 0.05 {
                    bad.push(format!("{seed:?}: {share} of {what}"));
                }
            };
            for shift in [0, 4, 12, 16, 32, 48] {
                let share = crowded(seed, 1 << 13, |i| i << shift, 10);
                look(format!("keys << {shift}"), share);
            }
            let swapped = |i: u64| u64::from((i as u32).swap_bytes());
            look(
                "swapped keys".to_string(),
                crowded(seed, 1 << 13, swapped, 10),
            );
        }
        assert!(bad.len() < 8, "of 287: {bad:#?}");
    }
}
