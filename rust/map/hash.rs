// SPDX-License-Identifier: GPL-2.0

//! HASH: entries by key, each value in its element.

mod bucket;
pub(super) mod key;
pub(super) mod table;

use super::spec::MapSpec;
use super::words;
use super::Update;
use crate::sys::bytes::Bytes;
use kernel::prelude::*;
use key::{with_key, Key};
use table::{Locked, Place, Table};

/// Copies without the lock before it is taken.
const COPIES: u32 = 8;

/// A hash map.
pub(super) struct Hash {
    table: Table,
}

impl Hash {
    /// An empty map.
    ///
    /// # Errors
    ///
    /// `E2BIG` for too many entries, `ENOMEM`.
    pub(super) fn new(spec: &MapSpec) -> Result<Self> {
        let table = Table::new(spec, words::words_of(spec.value_size as usize))?;
        Ok(Hash { table })
    }

    /// Address of the value of `key`; 0 when there is none.
    #[inline(always)]
    pub(super) fn lookup_addr(&self, key: Bytes<'_>) -> usize {
        self.table.find_addr(key)
    }

    /// Copies the value of `key` out, as one update left it if no program writes it in place.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none.
    pub(super) fn lookup(&self, key: Bytes<'_>, out: &mut [u8]) -> Result {
        with_key!(self.table.key_size(), key, |k| {
            for _ in 0..COPIES {
                let Some((e, look)) = self.table.find_stable(k) else {
                    return Err(ENOENT);
                };
                self.copy_out(e, out)?;
                if look.holds() {
                    return Ok(());
                }
            }
            let locked = self.table.lock(k)?;
            self.copy_out(locked.find(k).ok_or(ENOENT)?.elem(), out)
        })
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    ///
    /// `EBUSY` inside another map operation on this CPU; `EEXIST`, `ENOENT` as `how` wants;
    /// `E2BIG` when the map is full.
    #[inline]
    pub(super) fn update(&self, key: Bytes<'_>, value: Bytes<'_>, how: Update) -> Result {
        with_key!(self.table.key_size(), key, |k| {
            let locked = self.table.lock(k)?;
            let old = locked.find(k);
            how.allows(old.is_some())?;
            self.put(&locked, k, value, old)
        })
    }

    #[inline(always)]
    fn put<K: Key>(
        &self,
        locked: &Locked<'_>,
        key: K,
        value: Bytes<'_>,
        old: Option<Place>,
    ) -> Result {
        let pool = &self.table.pool;
        let Some(place) = old else {
            let e = pool.take(&locked.guard).ok_or(E2BIG)?;
            if let Err(err) = self.fill(locked, key, value, e) {
                pool.give(&locked.guard, e);
                return Err(err);
            }
            locked.insert(e);
            return Ok(());
        };
        let e = pool.spare(&locked.guard).ok_or(E2BIG)?;
        self.fill(locked, key, value, e)?;
        locked.replace(place, e);
        pool.set_spare(&locked.guard, place.elem());
        Ok(())
    }

    #[inline(always)]
    fn fill<K: Key>(&self, locked: &Locked<'_>, key: K, value: Bytes<'_>, e: u32) -> Result {
        locked.fill(key, e)?;
        words::store(self.table.extra(e).ok_or(E2BIG)?, value);
        Ok(())
    }

    /// Removes `key`.
    ///
    /// # Errors
    ///
    /// `EBUSY` inside another map operation on this CPU; `ENOENT` when there is none.
    #[inline]
    pub(super) fn delete(&self, key: Bytes<'_>) -> Result {
        self.take_out(key, |_| Ok(()))
    }

    /// Removes `key` and copies out what its value was.
    ///
    /// # Errors
    ///
    /// As [`Hash::delete`].
    pub(super) fn lookup_and_delete(&self, key: Bytes<'_>, out: &mut [u8]) -> Result {
        self.take_out(key, |e| self.copy_out(e, out))
    }

    #[inline(always)]
    fn take_out(&self, key: Bytes<'_>, first: impl FnOnce(u32) -> Result) -> Result {
        with_key!(self.table.key_size(), key, |k| {
            let locked = self.table.lock(k)?;
            let place = locked.find(k).ok_or(ENOENT)?;
            first(place.elem())?;
            locked.remove(place);
            self.table.pool.give(&locked.guard, place.elem());
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

    fn copy_out(&self, e: u32, out: &mut [u8]) -> Result {
        words::load(self.table.extra(e).ok_or(ENOENT)?, out);
        Ok(())
    }
}

#[cfg(test)]
impl Hash {
    /// A map of so many buckets, for tests.
    pub(super) fn with_buckets(spec: &MapSpec, buckets: u32) -> Result<Self> {
        let extra = words::words_of(spec.value_size as usize);
        Ok(Hash {
            table: Table::with_buckets(spec, extra, buckets)?,
        })
    }
}
