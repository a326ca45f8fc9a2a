// SPDX-License-Identifier: GPL-2.0

//! HASH and its relatives: entries by key.
//!
//! What they differ in are two choices: where values are (`values`), and what happens when there is
//! no free element (`recency`).

mod bucket;
pub(super) mod key;
mod layout;
pub(super) mod recency;
pub(super) mod table;
pub(super) mod values;

use super::batch::Batch;
use super::percpu::Cpus;
use super::spec::MapSpec;
use super::words;
use super::Update;
use crate::sys::bytes::Bytes;
use crate::sys::cpus;
use core::sync::atomic::Ordering::Release;
use kernel::prelude::*;
use key::{with_key, Key, Word};
pub use layout::HashLayout;
use recency::{Keep, Oldest, Recency};
use table::batch::{Cursor, Step};
use table::{Locked, Place, Quick, Table};
use values::{Inline, PerCpuValues, Values};

/// Copies without the lock before it is taken.
const COPIES: u32 = 8;

/// HASH
pub(super) type Plain = Hash<Inline, Keep>;
/// PERCPU_HASH
pub(super) type Percpu = Hash<PerCpuValues, Keep>;
/// LRU_HASH
pub(super) type Lru = Hash<Inline, Oldest>;
/// LRU_PERCPU_HASH
pub(super) type LruPercpu = Hash<PerCpuValues, Oldest>;

/// A hash map.
///
/// An element has the key, the words of `R`, then those of `V`.
pub(super) struct Hash<V, R> {
    table: Table,
    values: V,
    recency: R,
}

impl<V: Values, R: Recency> Hash<V, R> {
    /// An empty map.
    ///
    /// # Errors
    ///
    /// `E2BIG` for too many entries, `ENOMEM`.
    pub(super) fn new(spec: &MapSpec) -> Result<Self> {
        Self::with_table(spec, Table::new(spec, R::WORDS, V::words(spec))?)
    }

    fn with_table(spec: &MapSpec, table: Table) -> Result<Self> {
        let values = V::new(spec, table.pool.len())?;
        let recency = R::new(spec)?;
        Ok(Hash {
            table,
            values,
            recency,
        })
    }

    /// A map of so many buckets, for tests.
    #[cfg(test)]
    pub(super) fn with_buckets(spec: &MapSpec, buckets: u32) -> Result<Self> {
        Self::with_table(
            spec,
            Table::with_buckets(spec, R::WORDS, V::words(spec), buckets)?,
        )
    }

    /// Address of the value of `key`, this CPU's if there are more; 0 when there is none.
    #[inline(always)]
    pub(super) fn lookup_addr(&self, key: Bytes<'_>) -> usize {
        if V::IN_ELEMENT && R::WORDS == 0 {
            return self.table.find_addr(key);
        }
        let Some(k) = Word::quick(key) else {
            return self.lookup_other(key);
        };
        match self.table.find_quick(k) {
            Quick::Found(e) => self.used(e),
            Quick::Absent => 0,
            Quick::Unknown => self.lookup_other(key),
        }
    }

    /// The same, not inlined: for callers that choose among several maps.
    #[inline(never)]
    pub(super) fn lookup_apart(&self, key: Bytes<'_>) -> usize {
        self.lookup_addr(key)
    }

    #[inline(never)]
    fn lookup_other(&self, key: Bytes<'_>) -> usize {
        self.table.find(key).map_or(0, |e| self.used(e))
    }

    /// A program uses the entry in element `e`: the address of its value.
    #[inline(always)]
    fn used(&self, e: u32) -> usize {
        self.recency.used(&self.table, e);
        self.values.addr(&self.table, e)
    }

    /// Bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        self.table.bytes().saturating_add(self.values.bytes())
    }

    /// As [`Hash::lookup_addr`], of CPU `cpu`.
    pub(super) fn lookup_addr_of(&self, key: Bytes<'_>, cpu: usize) -> usize {
        let Some(e) = self.table.find(key) else {
            return 0;
        };
        self.recency.used(&self.table, e);
        self.values.addr_of(&self.table, e, cpu)
    }

    /// Copies the value of `key` out, as one update left it if no program writes it in place.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none.
    pub(super) fn lookup(&self, key: Bytes<'_>, out: &mut [u8], which: Cpus) -> Result {
        with_key!(key, |k| {
            for _ in 0..COPIES {
                let Some((e, look)) = self.table.find_stable(k) else {
                    return Err(ENOENT);
                };
                self.values.load(&self.table, e, out, which);
                if look.holds() {
                    return Ok(());
                }
            }
            let locked = self.table.lock(k)?;
            let e = locked.find(k).ok_or(ENOENT)?.elem();
            self.values.load(&self.table, e, out, which);
            Ok(())
        })
    }

    /// As [`Hash::lookup`], under the value's lock.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none; `EBUSY` inside another map operation on this CPU.
    pub(super) fn lookup_locked(&self, key: Bytes<'_>, out: &mut [u8]) -> Result {
        with_key!(key, |k| {
            // The bucket's lock keeps the entry in its element.
            let locked = self.table.lock(k)?;
            let e = locked.find(k).ok_or(ENOENT)?.elem();
            self.load_locked(e, out);
            Ok(())
        })
    }

    /// Copies the value in element `e` out under its lock.
    fn load_locked(&self, e: u32, out: &mut [u8]) {
        if let (Some(lock), Some(words)) = (self.values.lock(), self.table.value(e)) {
            lock.load(words, out, true);
        }
    }

    /// As [`Hash::update`], but an entry that is there keeps its element and gets its value under the
    /// value's lock.
    ///
    /// Whoever holds the lock of a value is a program, which takes no bucket's lock before it gives that
    /// back, or is here: so there is one order of the two locks.
    ///
    /// # Errors
    ///
    /// As [`Hash::update`].
    pub(super) fn update_in_place(&self, key: Bytes<'_>, value: Bytes<'_>, how: Update) -> Result {
        with_key!(key, |k| {
            let locked = self.table.lock(k)?;
            let old = locked.find(k);
            how.allows(old.is_some())?;
            let Some(place) = old else {
                return self.update_locked(locked, k, value, how, Cpus::Same);
            };
            let e = place.elem();
            if let (Some(lock), Some(words)) = (self.values.lock(), self.table.value(e)) {
                lock.store(words, value, true);
            }
            self.recency.used(&self.table, e);
            Ok(())
        })
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    ///
    /// `EBUSY` inside another map operation on this CPU; `EEXIST`, `ENOENT` as `how` wants; `E2BIG`
    /// when the map is full and keeps what it has; `ENOMEM` when no element can be had.
    #[inline]
    pub(super) fn update(
        &self,
        key: Bytes<'_>,
        value: Bytes<'_>,
        how: Update,
        which: Cpus,
    ) -> Result {
        match Word::quick(key) {
            Some(k) => self.update_key(k, value, how, which),
            None => self.update_other(key, value, how, which),
        }
    }

    #[inline(never)]
    fn update_other(&self, key: Bytes<'_>, value: Bytes<'_>, how: Update, which: Cpus) -> Result {
        with_key!(key, |k| self.update_key(k, value, how, which))
    }

    /// As [`Hash::update`] with a value of eight bytes in a map whose values are that, whatever was there.
    ///
    /// This is what most programs call, so all that is not needed for an entry that is found at once
    /// is apart: there are as few registers to be saved as can be.
    ///
    /// # Errors
    ///
    /// As [`Hash::update`].
    #[inline(always)]
    pub(super) fn update_words(&self, key: Bytes<'_>, value: Bytes<'_>) -> Result {
        let (Some(k), Some(word)) = (Word::quick(key), value.u64(0)) else {
            return self.update_apart(key, value);
        };
        let locked = self.table.lock(k)?;
        if let Quick::Found(e) = locked.find_quick(k) {
            // Values with a lock in them are more than one word in their element.
            if let Some(place) = self.table.only_word(e) {
                place.store(word, Release);
                self.recency.used(&self.table, e);
                return Ok(());
            }
        }
        self.update_word_locked(locked, k, word)
    }

    #[inline(never)]
    fn update_apart(&self, key: Bytes<'_>, value: Bytes<'_>) -> Result {
        self.update(key, value, Update::Any, Cpus::Same)
    }

    #[inline(never)]
    fn update_word_locked(&self, locked: Locked<'_>, key: Word, word: u64) -> Result {
        let bytes = word.to_ne_bytes();
        let value = Bytes::from(&bytes[..]);
        if matches!(locked.find_quick(key), Quick::Absent) {
            if let Some(e) = self.table.pool.take(locked.guard.cpu()) {
                return self.add(&locked, key, value, Cpus::Same, e);
            }
        }
        self.update_locked(locked, key, value, Update::Any, Cpus::Same)
    }

    /// What most updates are comes first, and is short: an entry that is found at once gets a new
    /// value where it is, and one that is not there a free element.
    #[inline(always)]
    fn update_key<K: Key>(&self, key: K, value: Bytes<'_>, how: Update, which: Cpus) -> Result {
        let locked = self.table.lock(key)?;
        match locked.find_quick(key) {
            Quick::Found(e) if how != Update::NoExist && self.stays(&locked, e) => {
                if self.set(e, value, which) {
                    return Ok(());
                }
            }
            Quick::Absent if how != Update::Exist => {
                if let Some(e) = self.table.pool.take(locked.guard.cpu()) {
                    return self.add(&locked, key, value, which, e);
                }
            }
            Quick::Found(_) | Quick::Absent | Quick::Unknown => {}
        }
        self.update_locked(locked, key, value, how, which)
    }

    #[inline(never)]
    fn update_locked<K: Key>(
        &self,
        locked: Locked<'_>,
        key: K,
        value: Bytes<'_>,
        how: Update,
        which: Cpus,
    ) -> Result {
        let old = locked.find(key);
        how.allows(old.is_some())?;
        let cpu = locked.guard.cpu();
        match old {
            Some(place) if self.table.pool.has_lists() => {
                let old = place.elem();
                if self.stays(&locked, old) && self.set(old, value, which) {
                    return Ok(());
                }
                if let Some(e) = self.table.pool.take(cpu) {
                    return self.exchange(&locked, key, value, which, place, e);
                }
            }
            Some(place) => return self.change(&locked, key, value, which, place),
            None => {
                if let Some(e) = self.table.pool.take(cpu) {
                    return self.add(&locked, key, value, which, e);
                }
            }
        }
        // The element that makes room may be anywhere, and one lock is held at a time.
        drop(locked);
        let e = self.recency.make_room(&self.table)?;
        self.update_with(key, value, how, which, e)
    }

    /// Whether the entry in `e` stays there if its value is changed: one with its value in an element
    /// of another CPU's list goes to this one's, as in-tree.
    #[inline(always)]
    fn stays(&self, locked: &Locked<'_>, e: u32) -> bool {
        !V::IN_ELEMENT || R::WORDS == 0 || self.table.pool.is_own(locked.guard.cpu(), e)
    }

    /// Sets the value of the entry in `e` where it is; false when that cannot be done in one go.
    #[inline(always)]
    fn set(&self, e: u32, value: Bytes<'_>, which: Cpus) -> bool {
        if !V::IN_ELEMENT {
            self.values.set(&self.table, e, value, which);
        } else if let Some(word) = self.table.only_word(e) {
            // One store, which nobody sees half of; a reader that has the entry sees the new value.
            word.store(words::word(value, 0), Release);
        } else {
            return false;
        }
        self.recency.used(&self.table, e);
        true
    }

    /// As `update`, with an element that nobody else has; it is freed if it is not needed, or that
    /// fails.
    fn update_with<K: Key>(
        &self,
        key: K,
        value: Bytes<'_>,
        how: Update,
        which: Cpus,
        e: u32,
    ) -> Result {
        let locked = self.table.lock(key).inspect_err(|_| self.free(e))?;
        let old = locked.find(key);
        how.allows(old.is_some()).inspect_err(|_| self.free(e))?;
        match old {
            None => self.add(&locked, key, value, which, e),
            Some(place) if self.table.pool.has_lists() => {
                let old = place.elem();
                if !self.stays(&locked, old) || !self.set(old, value, which) {
                    return self.exchange(&locked, key, value, which, place, e);
                }
                self.free(e);
                Ok(())
            }
            Some(place) => {
                let changed = self.change(&locked, key, value, which, place);
                self.free(e);
                changed
            }
        }
    }

    /// Puts a new entry into element `e`, which is freed if that fails.
    #[inline(always)]
    fn add<K: Key>(
        &self,
        locked: &Locked<'_>,
        key: K,
        value: Bytes<'_>,
        which: Cpus,
        e: u32,
    ) -> Result {
        if let Err(err) = locked.fill(key, e) {
            self.free(e);
            return Err(err);
        }
        self.values.init(&self.table, e, value, which);
        self.recency.added(&self.table, e);
        locked.insert(e);
        Ok(())
    }

    /// Changes the entry at `place`: in place, or by an element that takes its place.
    #[inline(always)]
    fn change<K: Key>(
        &self,
        locked: &Locked<'_>,
        key: K,
        value: Bytes<'_>,
        which: Cpus,
        place: Place,
    ) -> Result {
        let old = place.elem();
        if self.set(old, value, which) {
            return Ok(());
        }
        let pool = &self.table.pool;
        let cpu = locked.guard.cpu();
        let e = pool.spare(cpu).ok_or(E2BIG)?;
        self.put_instead(locked, key, value, which, place, e)?;
        pool.set_spare(cpu, old);
        Ok(())
    }

    /// Changes the entry at `place` by element `e`, which nobody else has, and gives the old one back;
    /// so the entry is of the CPU's list that `e` is of. If that fails, `e` is given back.
    ///
    /// # Errors
    ///
    /// Those of filling it.
    #[cold]
    #[inline(never)]
    fn exchange<K: Key>(
        &self,
        locked: &Locked<'_>,
        key: K,
        value: Bytes<'_>,
        which: Cpus,
        place: Place,
        e: u32,
    ) -> Result {
        let done = self.put_instead(locked, key, value, which, place, e);
        self.free(if done.is_ok() { place.elem() } else { e });
        done
    }

    /// Puts the entry at `place` with a new value into element `e`.
    #[inline(always)]
    fn put_instead<K: Key>(
        &self,
        locked: &Locked<'_>,
        key: K,
        value: Bytes<'_>,
        which: Cpus,
        place: Place,
        e: u32,
    ) -> Result {
        locked.fill(key, e)?;
        self.values.init(&self.table, e, value, which);
        self.recency.added(&self.table, e);
        self.recency.used(&self.table, e);
        locked.replace(place, e);
        self.recency.removed(&self.table, place.elem());
        Ok(())
    }

    /// Removes `key`.
    ///
    /// # Errors
    ///
    /// `EBUSY` inside another map operation on this CPU; `ENOENT` when there is none.
    #[inline]
    pub(super) fn delete(&self, key: Bytes<'_>) -> Result {
        self.take_out(key, |_| ())
    }

    /// Removes `key` and copies out what its value was.
    ///
    /// # Errors
    ///
    /// As [`Hash::delete`].
    pub(super) fn lookup_and_delete(&self, key: Bytes<'_>, out: &mut [u8], which: Cpus) -> Result {
        self.take_out(key, |e| self.values.load(&self.table, e, out, which))
    }

    /// As [`Hash::lookup_and_delete`], with the value under its lock.
    ///
    /// # Errors
    ///
    /// As [`Hash::delete`].
    pub(super) fn lookup_locked_and_delete(&self, key: Bytes<'_>, out: &mut [u8]) -> Result {
        self.take_out(key, |e| self.load_locked(e, out))
    }

    #[inline(always)]
    fn take_out(&self, key: Bytes<'_>, first: impl FnOnce(u32)) -> Result {
        with_key!(key, |k| {
            let locked = self.table.lock(k)?;
            let place = locked.find(k).ok_or(ENOENT)?;
            first(place.elem());
            locked.remove(place);
            self.recency.removed(&self.table, place.elem());
            self.table.pool.give(locked.guard.cpu(), place.elem());
            Ok(())
        })
    }

    /// See [`Table::next_key`].
    ///
    /// # Errors
    ///
    /// `ENOENT` after the last key.
    pub(super) fn next_key(&self, key: Option<Bytes<'_>>, out: &mut [u8]) -> Result {
        self.table.next_key(key, out)
    }

    /// Copies entries from `cursor` on to `keys` and `values`, which have room for as many as fit
    /// both, and takes them out of the map with `delete`; whole buckets, unless `split` says that
    /// the first may be cut. Returns how many, and whether there are more.
    ///
    /// # Errors
    ///
    /// `EBUSY` inside another map operation on this CPU.
    pub(super) fn batch(
        &self,
        cursor: &mut Cursor,
        keys: &mut [u8],
        values: &mut [u8],
        request: Batch,
    ) -> Result<(usize, Step)> {
        let mut n = 0;
        let mut keys = keys.chunks_exact_mut(self.table.key_size().max(1));
        let mut values = values.chunks_exact_mut(request.value_size.max(1));
        let room = keys.len().min(values.len());
        // What is deleted is lost if user space cannot take it: not more of it than need be.
        let full = if request.delete { 1 } else { usize::MAX };
        let step = self
            .table
            .walk(cursor, room, full, request.split, |locked, place| {
                if let (Some(key), Some(value)) = (keys.next(), values.next()) {
                    let e = place.elem();
                    locked.key_of(place, key);
                    match request.locked {
                        true => self.load_locked(e, value),
                        false => self.values.load(&self.table, e, value, request.which),
                    }
                    if request.delete {
                        locked.remove(place);
                        self.recency.removed(&self.table, e);
                        self.table.pool.give(locked.guard.cpu(), e);
                    }
                    n = usize::wrapping_add(n, 1);
                }
            })?;
        Ok((n, step))
    }

    /// Addresses of key and value of the next element of a program's walk, this CPU's value if there
    /// are more; see [`Table::next_elem`].
    pub(super) fn next_elem(&self, cursor: &mut u64) -> Option<(usize, usize)> {
        let e = self.table.next_elem(cursor)?;
        let (key, value) = (self.table.key_addr(e), self.values.addr(&self.table, e));
        (key != 0 && value != 0).then_some((key, value))
    }

    /// Whether a walk can go on at `cursor`.
    pub(super) fn has(&self, cursor: Cursor) -> bool {
        self.table.has(cursor)
    }

    #[cold]
    fn free(&self, e: u32) {
        self.table.pool.give(cpus::current(), e);
    }
}

#[cfg(test)]
mod tests {
    use super::key::Seed;
    use super::*;
    use crate::abi::MapType;
    use crate::map::model::spec;
    use crate::map::spec::NO_COMMON_LRU;
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

    /// A key whose bytes change before they are stored.
    #[derive(Clone, Copy)]
    struct Fickle(Word);

    impl Key for Fickle {
        const WHOLE: bool = false;

        fn hash(self, seed: Seed) -> u64 {
            self.0.hash(seed)
        }

        fn is_at(self, elems: &[AtomicU64], off: usize) -> bool {
            self.0.is_at(elems, off)
        }

        fn store(self, _elems: &[AtomicU64], _off: usize, _seed: Seed, _hash: u64) -> bool {
            false
        }
    }

    #[test]
    fn an_update_that_fails_gives_its_element_back_once() {
        cpus::set_current(0);
        for (flags, value_size, each) in [(0, 8, 6), (0, 24, 6), (NO_COMMON_LRU, 24, 3)] {
            let mut s = spec(MapType::LruHash, 8, value_size, each * cpus::ids() as u32);
            s.flags = flags;
            let map = Lru::new(&s).unwrap();
            let bytes = vec![1; value_size as usize];
            let value = || Bytes::from(&bytes[..]);
            let key = |k: u64| Word::new(Bytes::from(&k.to_ne_bytes()[..])).unwrap();
            for k in 0..u64::from(s.max_entries) {
                let done = map.update_key(key(k), value(), Update::Any, Cpus::Same);
                assert_eq!(done, Ok(()));
            }
            for k in [1000, 0, 1] {
                for how in [Update::Any, Update::Exist, Update::NoExist] {
                    let _ = map.update_key(Fickle(key(k)), value(), how, Cpus::Same);
                }
            }
            let pool = &map.table.pool;
            let mut key = [0; 8];
            while map.next_key(None, &mut key).is_ok() {
                assert_eq!(map.delete(Bytes::from(&key[..])), Ok(()));
            }
            let all = (0..cpus::ids()).flat_map(|c| std::iter::from_fn(move || pool.take(c)));
            let mut all: Vec<u32> = all.take(pool.len() + 1).collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), s.max_entries as usize, "{flags} {value_size}");
        }
    }

    /// A value of eight bytes is one store, unless a lock is one half of it.
    #[test]
    fn updates_of_words_leave_locks_alone() {
        for (lock, mask) in [(0, 0xffff_ffff_0000_0000), (4, 0xffff_ffff)] {
            let spec = MapSpec {
                lock: Some(lock),
                ..spec(MapType::Hash, 4, 8, 3)
            };
            let map = Plain::new(&spec).unwrap();
            for value in [u64::MAX, 0x1234_5678_9abc_def0, u64::MAX] {
                let bytes = value.to_ne_bytes();
                map.update_words([1; 4][..].into(), bytes[..].into())
                    .unwrap();
                let e = map.table.find([1; 4][..].into()).unwrap();
                let word = map.table.value(e).unwrap()[0].load(Relaxed);
                assert_eq!(word, u64::from_le(value) & mask, "lock at {lock}");
            }
        }
    }
}
