// SPDX-License-Identifier: GPL-2.0

//! The hash table itself: buckets of tagged slots over a pool of elements.
//!
//! Writers hold the bucket's lock. Readers hold nothing, and elements are used again at once, so a
//! reader may meet an element that means something else by now. What it may conclude:
//!
//! - An entry's slot stays the same as long as the entry is there, and replacing its element is
//!   one store. So a look at the slots of the key's tag that meets no other key has not missed it.
//! - A key of one word that compares equal was in the map at some time during the look.
//! - Everything else (a longer key, a tag that another key shares, the chain) holds if the
//!   bucket's version is still the same afterwards; else the look starts again, and after too many
//!   times, it takes the lock.

pub(in crate::map) mod batch;
mod each;

use super::bucket::{tag, Bucket, ONES, TOPS};
use super::key::{with_key, Key, Seed, Word, INDEX_SHIFT};
use crate::map::pool::Pool;
use crate::map::spec::{MapSpec, NO_COMMON_LRU, ZERO_SEED};
use crate::map::words::{self, words_of};
use crate::sys::bytes::Bytes;
use crate::sys::maplock::MapGuard;
use crate::sys::region::Region;
use core::hint::spin_loop;
use core::sync::atomic::{fence, AtomicU64, Ordering::*};
use kernel::prelude::*;

/// Entries of a bucket, on average, in a full table of the least size.
const LOAD: u32 = 5;
/// Looks without the lock before it is taken.
const LOOKS: u32 = 64;
/// Looks without the lock where it cannot be taken.
const MORE_LOOKS: u32 = 1 << 16;
/// In words, more than any region has; and more still when an element's start is added.
const FAR: usize = 1 << 62;
/// Steps on a chain between two looks at the version.
const CHAIN_CHECK: u32 = 32;

/// What machine code that looks for a key itself reads besides the bucket and the element, in this
/// order ([`super::layout`]).
#[repr(C)]
pub(super) struct Constants {
    seed: Seed,
    ones: u64,
    tops: u64,
    /// Addresses of the first bucket and the first element.
    buckets: usize,
    elems: usize,
}

/// Buckets and elements; each element has the key, then words for the table's user.
pub(in crate::map) struct Table {
    seed: Seed,
    pub(super) constants: Constants,
    buckets: Region<Bucket>,
    elems: Region<AtomicU64>,
    /// Words of an element.
    stride: usize,
    key_size: usize,
    key_words: usize,
    /// Where the value starts in an element: words and bytes.
    value_at: usize,
    value_bytes: usize,
    /// Where a value that is one word is in an element; beyond all elements where values are not.
    word_at: usize,
    pub(in crate::map) pool: Pool,
}

/// Where an entry is in its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::map) enum Place {
    /// Slot, element.
    Slot(usize, u32),
    /// Element before it in the chain if it is not the first, element.
    Chain(Option<u32>, u32),
}

impl Place {
    /// The entry's element.
    pub(in crate::map) fn elem(self) -> u32 {
        match self {
            Place::Slot(_, e) | Place::Chain(_, e) => e,
        }
    }
}

/// What the first look at a bucket says of a key.
pub(in crate::map) enum Quick {
    /// It is in this element.
    Found(u32),
    /// It is not there.
    Absent,
    /// A longer look will tell.
    Unknown,
}

/// A look at a bucket.
#[derive(Clone, Copy)]
pub(in crate::map) struct Look<'a> {
    bucket: &'a Bucket,
    version: u32,
}

impl Look<'_> {
    /// Whether no element of the bucket was taken out since the look began.
    pub(in crate::map) fn holds(self) -> bool {
        self.bucket.unchanged_since(self.version)
    }
}

/// A bucket whose lock is held.
pub(in crate::map) struct Locked<'a> {
    table: &'a Table,
    bucket: &'a Bucket,
    pub(in crate::map) guard: MapGuard<'a>,
    hash: u64,
}

impl Table {
    /// A table for the map, whose elements have `notes` words after the key, then `value` words.
    ///
    /// # Errors
    ///
    /// `E2BIG` for too many entries, `ENOMEM`.
    pub(in crate::map) fn new(spec: &MapSpec, notes: usize, value: usize) -> Result<Self> {
        let buckets = spec
            .max_entries
            .div_ceil(LOAD)
            .checked_next_power_of_two()
            .ok_or(E2BIG)?;
        Self::with_buckets(spec, notes, value, buckets)
    }

    /// A table of so many buckets, a power of two.
    pub(in crate::map) fn with_buckets(
        spec: &MapSpec,
        notes: usize,
        value: usize,
        buckets: u32,
    ) -> Result<Self> {
        let key_size = spec.key_size as usize;
        let key_words = words_of(key_size);
        let value_at = key_words.checked_add(notes).ok_or(E2BIG)?;
        let stride = value_at.checked_add(value).ok_or(E2BIG)?;
        let seed = if spec.has(ZERO_SEED) {
            Seed::fixed()
        } else {
            Seed::random()
        };
        let buckets = Region::new(buckets as usize, spec.node())?;
        let pool = match spec.has(NO_COMMON_LRU) {
            true => Pool::with_lists(spec.max_entries, spec.node())?,
            false => Pool::new(spec.max_entries, spec.node())?,
        };
        let words = pool.len().checked_mul(stride).ok_or(ENOMEM)?;
        let elems = Region::new(words, spec.node())?;
        let value_bytes = value_at.wrapping_mul(words::WORD);
        // The regions' memory stays where it is when they move.
        let constants = Constants {
            seed,
            ones: ONES,
            tops: TOPS,
            buckets: buckets.as_ptr() as usize,
            elems: elems.as_ptr() as usize,
        };
        Ok(Table {
            seed,
            constants,
            buckets,
            elems,
            stride,
            key_size,
            key_words,
            value_at,
            value_bytes,
            word_at: match value {
                1 => value_at,
                _ => FAR,
            },
            pool,
        })
    }

    /// Bytes that it has.
    pub(in crate::map) fn bytes(&self) -> usize {
        let own = self.buckets.bytes().saturating_add(self.elems.bytes());
        own.saturating_add(self.pool.bytes())
    }

    /// Distance of the last bucket from the first in bytes, words of an element, and words of it
    /// before the value.
    pub(super) fn shape(&self) -> (usize, usize, usize) {
        let last = self.buckets.len().saturating_sub(1);
        let mask = last.saturating_mul(size_of::<Bucket>());
        (mask, self.stride, self.value_at)
    }

    /// Bytes of a key.
    #[inline(always)]
    pub(in crate::map) fn key_size(&self) -> usize {
        self.key_size
    }

    /// The value's word in element `e`, where values are one word.
    #[inline(always)]
    pub(in crate::map) fn only_word(&self, e: u32) -> Option<&AtomicU64> {
        self.elems.get(self.off(e).wrapping_add(self.word_at))
    }

    /// The first word after element `e`'s key.
    #[inline(always)]
    pub(in crate::map) fn note(&self, e: u32) -> Option<&AtomicU64> {
        self.elems.get(self.off(e).wrapping_add(self.key_words))
    }

    /// The address of element `e`'s value; 0 for no element.
    #[inline(always)]
    pub(in crate::map) fn addr(&self, e: u32) -> usize {
        let word = self.elems.get(self.off(e));
        word.map_or(0, |w| self.value_addr(w))
    }

    /// The value's words in element `e`.
    #[inline]
    pub(in crate::map) fn value(&self, e: u32) -> Option<&[AtomicU64]> {
        let off = self.off(e);
        self.elems
            .get(off.checked_add(self.value_at)?..off.checked_add(self.stride)?)
    }

    /// The words of element `e`'s key.
    pub(in crate::map) fn key(&self, e: u32) -> Option<&[AtomicU64]> {
        let off = self.off(e);
        self.elems.get(off..off.checked_add(self.key_words)?)
    }

    /// Where element `e`'s words start. No overflow: a region of `pool.len() * stride` words was
    /// had, and whatever comes out is checked again when it is used.
    #[inline(always)]
    fn off(&self, e: u32) -> usize {
        (e as usize).wrapping_mul(self.stride)
    }

    #[inline(always)]
    fn bucket(&self, hash: u64) -> &Bucket {
        self.buckets.at_hash((hash >> INDEX_SHIFT) as usize)
    }

    /// The address of the value in `key`'s element, without a lock; 0 for none.
    ///
    /// This is what programs call, so it is one straight line for a short key in a slot.
    #[inline(always)]
    pub(in crate::map) fn find_addr(&self, key: Bytes<'_>) -> usize {
        match Word::quick(key) {
            Some(key) => self.find_key_addr(key),
            None => self.find_other_addr(key),
        }
    }

    #[inline(never)]
    fn find_other_addr(&self, key: Bytes<'_>) -> usize {
        with_key!(key, |k| self.find_key_addr(k))
    }

    #[inline(always)]
    fn find_key_addr<K: Key>(&self, key: K) -> usize {
        let hash = key.hash(self.seed);
        let bucket = self.bucket(hash);
        let version = if K::WHOLE { 0 } else { bucket.version() };
        if let Some(slot) = bucket.tagged(tag(hash)).next() {
            let off = self.off(bucket.slot(slot));
            if let Some(word) = self.elems.get(off) {
                if key.is_at(&self.elems, off) && (K::WHOLE || bucket.unchanged_since(version)) {
                    return self.value_addr(word);
                }
            }
        } else if bucket.chain.load(Acquire) == 0 {
            return 0;
        }
        self.find_addr_slowly(key, hash, bucket)
    }

    #[cold]
    #[inline(never)]
    fn find_addr_slowly<K: Key>(&self, key: K, hash: u64, bucket: &Bucket) -> usize {
        let word = self
            .find_slowly(key, hash, bucket)
            .and_then(|e| self.elems.get(self.off(e)));
        word.map_or(0, |w| self.value_addr(w))
    }

    /// The address of the value in the element that starts at `word`.
    #[inline(always)]
    fn value_addr(&self, word: &AtomicU64) -> usize {
        // An element of the region has all its words there.
        (core::ptr::from_ref(word) as usize).wrapping_add(self.value_bytes)
    }

    /// The element of `key`, without a lock.
    #[inline(never)]
    pub(in crate::map) fn find(&self, key: Bytes<'_>) -> Option<u32> {
        with_key!(key, |k| {
            let hash = k.hash(self.seed);
            self.find_slowly(k, hash, self.bucket(hash))
        })
    }

    /// The first look for a key of one word, without a lock.
    #[inline(always)]
    pub(in crate::map) fn find_quick(&self, key: Word) -> Quick {
        let hash = key.hash(self.seed);
        self.first_look(key, hash, self.bucket(hash))
    }

    #[inline(always)]
    fn first_look<K: Key>(&self, key: K, hash: u64, bucket: &Bucket) -> Quick {
        if let Some(slot) = bucket.tagged(tag(hash)).next() {
            let e = bucket.slot(slot);
            match key.is_at(&self.elems, self.off(e)) {
                true => Quick::Found(e),
                false => Quick::Unknown,
            }
        } else if bucket.chain.load(Acquire) == 0 {
            Quick::Absent
        } else {
            Quick::Unknown
        }
    }

    /// The element of `key`, without a lock, and the look that found it, so that what is read of
    /// the element can be vouched for.
    #[inline(always)]
    pub(in crate::map) fn find_stable<K: Key>(&self, key: K) -> Option<(u32, Look<'_>)> {
        let hash = key.hash(self.seed);
        let bucket = self.bucket(hash);
        let look = Look {
            bucket,
            version: bucket.version(),
        };
        if let Some(slot) = bucket.tagged(tag(hash)).next() {
            let e = bucket.slot(slot);
            if key.is_at(&self.elems, self.off(e)) {
                return Some((e, look));
            }
        } else if bucket.chain.load(Acquire) == 0 {
            return None;
        }
        let e = self.find_slowly(key, hash, bucket)?;
        Some((e, look))
    }

    /// The look that counts on nothing but the version.
    #[inline(never)]
    fn find_slowly<K: Key>(&self, key: K, hash: u64, bucket: &Bucket) -> Option<u32> {
        for look in 0..MORE_LOOKS {
            let version = bucket.version();
            let found = self.look(key, hash, bucket, Some(version));
            if bucket.unchanged_since(version) {
                return found.map(Place::elem);
            }
            if look >= LOOKS {
                // Fails in a program that runs while this CPU holds another bucket.
                if let Ok(locked) = self.lock_bucket(bucket, hash) {
                    return locked.find(key).map(Place::elem);
                }
            }
            spin_loop();
        }
        None
    }

    /// The entry of `key` in `bucket`. Gives up early when the version, if given, changes.
    #[inline(never)]
    fn look<K: Key>(
        &self,
        key: K,
        hash: u64,
        bucket: &Bucket,
        version: Option<u32>,
    ) -> Option<Place> {
        for slot in bucket.tagged(tag(hash)) {
            let e = bucket.slot(slot);
            if key.is_at(&self.elems, self.off(e)) {
                return Some(Place::Slot(slot, e));
            }
        }
        let mut before = None;
        let mut next = bucket.chain.load(Acquire);
        let mut steps: u32 = 0;
        while let Some(e) = next.checked_sub(1) {
            if key.is_at(&self.elems, self.off(e)) {
                return Some(Place::Chain(before, e));
            }
            steps = steps.wrapping_add(1);
            if steps % CHAIN_CHECK == 0 && version.is_some_and(|v| !bucket.unchanged_since(v)) {
                return None;
            }
            before = Some(e);
            next = self.pool.link(e)?.load(Acquire);
        }
        None
    }

    /// Locks the bucket of `key`.
    ///
    /// # Errors
    ///
    /// `EBUSY` inside another map operation on this CPU.
    #[inline(always)]
    pub(in crate::map) fn lock<K: Key>(&self, key: K) -> Result<Locked<'_>> {
        let hash = key.hash(self.seed);
        let bucket = self.bucket(hash);
        self.lock_bucket(bucket, hash)
    }

    /// Locks the bucket of the entry that element `e` holds, if it holds one.
    ///
    /// # Errors
    ///
    /// As [`Table::lock`].
    pub(in crate::map) fn lock_elem(&self, e: u32) -> Result<Option<(Locked<'_>, Place)>> {
        let Some(key) = self.key(e) else {
            return Ok(None);
        };
        // The key may change while it is hashed; then the element is not in that bucket.
        let hash = self.seed.hash(key);
        let locked = self.lock_bucket(self.bucket(hash), hash)?;
        let place = locked.place_of(e);
        Ok(place.map(|p| (locked, p)))
    }

    #[inline(always)]
    fn lock_bucket<'a>(&'a self, bucket: &'a Bucket, hash: u64) -> Result<Locked<'a>> {
        let guard = bucket.lock.lock()?;
        Ok(Locked {
            table: self,
            bucket,
            guard,
            hash,
        })
    }

    /// The key after `key` in the table's own order; the first one without a key, or when there is
    /// no such key (any more).
    ///
    /// # Errors
    ///
    /// `ENOENT` after the last one.
    pub(in crate::map) fn next_key(&self, key: Option<Bytes<'_>>, out: &mut [u8]) -> Result {
        let mut i: usize = 0;
        if let Some(key) = key {
            let locked = with_key!(key, |k| {
                let locked = self.lock(k)?;
                let place = locked.find(k);
                (locked, place)
            });
            if let (locked, Some(place)) = locked {
                if let Some(e) = locked.after(place) {
                    return self.copy_key(e, out);
                }
                let hash = locked.hash >> INDEX_SHIFT;
                let at = self.buckets.index_of_hash(hash as usize);
                i = at.wrapping_add(1);
            }
        }
        for bucket in self.buckets.get(i..).unwrap_or(&[]) {
            if bucket.is_empty() {
                continue;
            }
            let locked = self.lock_bucket(bucket, 0)?;
            if let Some(e) = locked.first() {
                return self.copy_key(e, out);
            }
        }
        Err(ENOENT)
    }

    /// Copies element `e`'s key; its bucket is locked.
    fn copy_key(&self, e: u32, out: &mut [u8]) -> Result {
        words::load(self.key(e).ok_or(ENOENT)?, out);
        Ok(())
    }
}

impl Locked<'_> {
    /// The first look for `key`.
    #[inline(always)]
    pub(in crate::map) fn find_quick<K: Key>(&self, key: K) -> Quick {
        self.table.first_look(key, self.hash, self.bucket)
    }

    /// The entry of `key`, which must be the one that was locked for.
    #[inline(always)]
    pub(in crate::map) fn find<K: Key>(&self, key: K) -> Option<Place> {
        // Mostly it is in the first slot of its tag, or no slot has that.
        if let Some(slot) = self.bucket.tagged(tag(self.hash)).next() {
            let e = self.bucket.slot(slot);
            if key.is_at(&self.table.elems, self.table.off(e)) {
                return Some(Place::Slot(slot, e));
            }
        } else if self.bucket.chain.load(Relaxed) == 0 {
            return None;
        }
        self.table.look(key, self.hash, self.bucket, None)
    }

    /// Where element `e` is in the bucket.
    fn place_of(&self, e: u32) -> Option<Place> {
        let slot = self
            .bucket
            .tagged(tag(self.hash))
            .find(|s| self.bucket.slot(*s) == e);
        if let Some(slot) = slot {
            return Some(Place::Slot(slot, e));
        }
        let mut before = None;
        let mut next = self.bucket.chain.load(Acquire);
        while let Some(at) = next.checked_sub(1) {
            if at == e {
                return Some(Place::Chain(before, e));
            }
            before = Some(at);
            next = self.table.pool.link(at)?.load(Acquire);
        }
        None
    }

    /// Writes `key` to element `e`, which is in nobody's reach yet.
    ///
    /// # Errors
    ///
    /// `EBUSY` when the key's bytes changed since they were hashed.
    #[inline(always)]
    pub(in crate::map) fn fill<K: Key>(&self, key: K, e: u32) -> Result {
        let t = self.table;
        // A reader that sees any of what follows in an element it came to before sees the version
        // of its bucket change.
        fence(Release);
        if key.store(&t.elems, t.off(e), t.seed, self.hash) {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    /// Puts element `e` in, whose key is not there yet.
    #[inline(always)]
    pub(in crate::map) fn insert(&self, e: u32) {
        if let Some(slot) = self.bucket.free() {
            self.bucket.set_slot(slot, e);
            self.bucket.set_tag(slot, tag(self.hash));
        } else if let Some(link) = self.table.pool.link(e) {
            link.store(self.bucket.chain.load(Relaxed), Relaxed);
            self.bucket.chain.store(e.wrapping_add(1), Release);
        }
    }

    /// Puts element `e` in the place of an entry with the same key: readers find either.
    #[inline(always)]
    pub(in crate::map) fn replace(&self, place: Place, e: u32) {
        match place {
            Place::Slot(slot, _) => self.bucket.set_slot(slot, e),
            Place::Chain(before, old) => {
                if let (Some(from), Some(to)) = (self.table.pool.link(old), self.table.pool.link(e))
                {
                    to.store(from.load(Relaxed), Relaxed);
                    self.set_next(before, e.wrapping_add(1));
                }
            }
        }
        self.bucket.took_out();
    }

    /// Takes an entry out.
    #[inline(always)]
    pub(in crate::map) fn remove(&self, place: Place) {
        match place {
            Place::Slot(slot, _) => self.bucket.set_tag(slot, 0),
            Place::Chain(before, old) => {
                if let Some(from) = self.table.pool.link(old) {
                    self.set_next(before, from.load(Relaxed));
                }
            }
        }
        self.bucket.took_out();
    }

    /// Makes `next` (index plus one) follow `before` in the chain, or be its first.
    fn set_next(&self, before: Option<u32>, next: u32) {
        match before {
            None => self.bucket.chain.store(next, Release),
            Some(b) => {
                if let Some(link) = self.table.pool.link(b) {
                    link.store(next, Release);
                }
            }
        }
    }

    /// The first element in the bucket's order: slots, then the chain.
    fn first(&self) -> Option<u32> {
        match self.bucket.used().next() {
            Some(slot) => Some(self.bucket.slot(slot)),
            None => self.bucket.chain.load(Acquire).checked_sub(1),
        }
    }

    /// The element after `place` in the bucket's order.
    fn after(&self, place: Place) -> Option<u32> {
        match place {
            Place::Slot(slot, _) => match self.bucket.used().find(|s| *s > slot) {
                Some(s) => Some(self.bucket.slot(s)),
                None => self.bucket.chain.load(Acquire).checked_sub(1),
            },
            Place::Chain(_, e) => self.table.pool.link(e)?.load(Acquire).checked_sub(1),
        }
    }
}
