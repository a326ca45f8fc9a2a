// SPDX-License-Identifier: GPL-2.0

//! One bucket of a hash table: eight tagged slots in a cache line, and a chain for what is over.
//!
//! A slot names an element; its tag is eight bits of the element's hash, with the top bit set so
//! that zero means free. All eight tags are compared at once, so a look-up reads one line of the
//! table and, nearly always, no element but the right one.

use crate::sys::maplock::MapLock;
use core::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering::*};

/// Slots of a bucket.
pub(super) const SLOTS: usize = 8;
pub(super) const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
pub(super) const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);

/// A bucket. Written under its lock only, read at any time.
///
/// An element is named by its index; in `chain` by its index plus one, 0 ends the chain. Machine code
/// counts on the order of the fields ([`super::layout`]).
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    pub(super) tags: AtomicU64,
    pub(super) slots: [AtomicU32; SLOTS],
    pub(super) chain: AtomicU32,
    /// Counts the elements that were taken out: who read the bucket meanwhile may have seen
    /// something else in their place.
    version: AtomicU32,
    pub(super) lock: MapLock,
}

/// Set of slots: the top bit of each one's byte.
#[derive(Clone, Copy)]
pub(super) struct Slots(u64);

impl Iterator for Slots {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let i = self.0.trailing_zeros() / 8;
        self.0 &= self.0.wrapping_sub(1);
        Some(i as usize)
    }
}

/// The tag of an element with that hash. The table takes its index from lower bits.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8 | 0x80
}

impl Bucket {
    /// The slots whose tag is `tag`, and perhaps some that are not: a slot above a right one that
    /// differs in the lowest bit only. Never a free one.
    #[inline(always)]
    pub(super) fn tagged(&self, tag: u8) -> Slots {
        let tags = self.tags.load(Acquire);
        let x = tags ^ u64::from(tag).wrapping_mul(ONES);
        // The zero bytes of `x`, by `(x - ONES) & !x & TOPS`; where a slot is in use, the top bits
        // of `!x` are those of `tags`, and where it is free, neither counts.
        Slots(x.wrapping_sub(ONES) & tags & TOPS)
    }

    /// The slots in use.
    #[inline(always)]
    pub(super) fn used(&self) -> Slots {
        Slots(self.tags.load(Acquire) & TOPS)
    }

    /// The first free slot.
    #[inline(always)]
    pub(super) fn free(&self) -> Option<usize> {
        Slots(!self.tags.load(Relaxed) & TOPS).next()
    }

    /// Nothing is in the bucket.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.tags.load(Relaxed) == 0 && self.chain.load(Relaxed) == 0
    }

    /// The element that slot `i` names; while the slot is free, some element.
    #[inline(always)]
    pub(super) fn slot(&self, i: usize) -> u32 {
        self.slots.get(i % SLOTS).map_or(0, |s| s.load(Acquire))
    }

    /// Names element `e` in slot `i`.
    #[inline(always)]
    pub(super) fn set_slot(&self, i: usize, e: u32) {
        if let Some(s) = self.slots.get(i % SLOTS) {
            s.store(e, Release);
        }
    }

    /// Says that slot `i` is in use by an element of tag `tag`, or free when it is 0.
    #[inline(always)]
    pub(super) fn set_tag(&self, i: usize, tag: u8) {
        let shift = (i % SLOTS) as u32 * 8;
        let others = self.tags.load(Relaxed) & !(0xff << shift);
        self.tags.store(others | (u64::from(tag) << shift), Release);
    }

    /// The version before a look.
    #[inline(always)]
    pub(super) fn version(&self) -> u32 {
        self.version.load(Acquire)
    }

    /// Whether nothing was taken out since `version`, so that the look saw what was there.
    #[inline(always)]
    pub(super) fn unchanged_since(&self, version: u32) -> bool {
        fence(Acquire);
        self.version.load(Relaxed) == version
    }

    /// An element was taken out.
    #[inline(always)]
    pub(super) fn took_out(&self) {
        self.version
            .store(self.version.load(Relaxed).wrapping_add(1), Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
    }

    #[test]
    fn tags_find_their_slots() {
        let b = Bucket::default();
        assert!(b.is_empty());
        assert_eq!(b.tagged(0x80).count(), 0);
        for i in 0..SLOTS {
            assert_eq!(b.free(), Some(i));
            b.set_slot(i, 100 + i as u32);
            b.set_tag(i, tag((i as u64 % 3) << 56));
        }
        assert_eq!(b.free(), None);
        for i in 0..SLOTS {
            assert_eq!(b.slot(i), 100 + i as u32);
            let found: Vec<_> = b.tagged(tag((i as u64 % 3) << 56)).collect();
            assert!((0..SLOTS)
                .filter(|j| j % 3 == i % 3)
                .all(|j| found.contains(&j)));
        }
        b.set_tag(5, 0);
        assert_eq!(b.free(), Some(5));
        assert!(!b.used().any(|i| i == 5));
        assert!((0..=255u8).all(|t| !b.tagged(t | 0x80).any(|i| i == 5)));
    }
}
