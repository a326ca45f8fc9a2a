// SPDX-License-Identifier: GPL-2.0

//! Maps by key.
//!
//! A hash table whose value is two words: the address that programs find, and the place of the
//! reference that keeps what is there, which is the business of who fills the table
//! (`crate::object::inner`). Programs cannot change it.

use super::batch::{Batch, Step};
use super::hash;
use super::hash::table::batch::Cursor;
use super::percpu::Cpus;
use super::spec::MapSpec;
use super::Update;
use crate::abi::MapType;
use crate::sys::bytes::Bytes;
use kernel::prelude::*;

/// Bytes of an entry's two words.
pub const BYTES: usize = 16;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What programs find; not 0.
    pub word: u64,
    /// Where the reference is.
    pub place: u32,
}

impl Entry {
    /// What the [`BYTES`] bytes of an entry say.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = u64::from_ne_bytes(*bytes.first_chunk()?);
        let place = u64::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
        Some(Entry {
            word,
            place: u32::try_from(place).ok()?,
        })
    }

    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let words = [self.word, u64::from(self.place)];
        for (to, from) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        bytes
    }
}

/// A table of maps.
pub struct MapHash {
    hash: hash::Plain,
    entries: u32,
    key_size: usize,
}

impl MapHash {
    /// An empty table.
    ///
    /// # Errors
    ///
    /// `E2BIG` for too many entries, `ENOMEM`.
    pub(super) fn new(spec: &MapSpec) -> Result<Self> {
        let hash = hash::Plain::new(&MapSpec {
            ty: MapType::Hash,
            value_size: BYTES as u32,
            lock: None,
            ..*spec
        })?;
        Ok(MapHash {
            hash,
            entries: spec.max_entries,
            key_size: spec.key_size as usize,
        })
    }

    /// Entries at most.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        self.hash.bytes()
    }

    fn key<'a>(&self, key: &'a [u8]) -> Result<Bytes<'a>> {
        match key.len() == self.key_size {
            true => Ok(key.into()),
            false => Err(EINVAL),
        }
    }

    /// What programs find at `key`; 0 for nothing.
    ///
    /// The entry is copied whole: an element that was taken out meanwhile may be another key's.
    /// Inside another map operation on this CPU, that can fail and give 0.
    pub(super) fn word_of(&self, key: Bytes<'_>) -> u64 {
        let mut bytes = [0; BYTES];
        match self.hash.lookup(key, &mut bytes, Cpus::Each) {
            Ok(()) => Entry::from_bytes(&bytes).map_or(0, |e| e.word),
            Err(_) => 0,
        }
    }

    /// The entry of `key`.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none; `EINVAL` for a key of another size.
    pub fn get(&self, key: &[u8]) -> Result<Entry> {
        let mut bytes = [0; BYTES];
        self.hash.lookup(self.key(key)?, &mut bytes, Cpus::Each)?;
        Entry::from_bytes(&bytes).ok_or(ENOENT)
    }

    /// Sets the entry of `key`.
    ///
    /// # Errors
    ///
    /// Those of an update of a hash.
    pub fn set(&self, key: &[u8], entry: Entry, flags: u64) -> Result {
        let how = Update::new(flags)?;
        let bytes = entry.to_bytes();
        self.hash
            .update(self.key(key)?, bytes[..].into(), how, Cpus::Same)
    }

    /// Removes the entry of `key`.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none; `EINVAL` for a key of another size.
    pub fn remove(&self, key: &[u8]) -> Result {
        self.hash.delete(self.key(key)?)
    }

    /// As [`super::Map::next_key`].
    pub(super) fn next_key(&self, key: Option<Bytes<'_>>, out: &mut [u8]) -> Result {
        self.hash.next_key(key, out)
    }

    /// Whether a walk over buckets can go on at `cursor`.
    pub(super) fn has(&self, cursor: Cursor) -> bool {
        self.hash.has(cursor)
    }

    /// As [`super::Map::batch`], with entries of [`BYTES`] bytes as values.
    ///
    /// # Errors
    ///
    /// `EBUSY` inside another map operation on this CPU.
    pub fn batch(
        &self,
        cursor: &mut u32,
        keys: &mut [u8],
        values: &mut [u8],
        delete: bool,
        split: bool,
    ) -> Result<(usize, Step)> {
        let mut at = Cursor(*cursor);
        let request = Batch {
            locked: false,
            value_size: BYTES,
            which: Cpus::Each,
            delete,
            split,
        };
        let done = self.hash.batch(&mut at, keys, values, request);
        *cursor = at.0;
        done
    }
}
