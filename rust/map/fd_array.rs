// SPDX-License-Identifier: GPL-2.0

//! Arrays whose values user space names by descriptors: programs for tail calls, maps, and
//! whatever else is kept alive by a map.
//!
//! Here is only what programs see: a word for each index, 0 for nothing. What the words stand for,
//! and what keeps that alive, is the business of who sets them (`crate::object::slots`).

use super::array;
use super::spec::MapSpec;
use crate::sys::bytes::Bytes;
use crate::sys::region::Region;
use core::sync::atomic::{AtomicU64, Ordering::*};
use kernel::prelude::*;

/// The words of an array of descriptors.
pub struct FdArray {
    words: Region<AtomicU64>,
    entries: u32,
}

impl FdArray {
    /// An array of nothing.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(spec: &MapSpec) -> Result<Self> {
        Ok(FdArray {
            words: Region::new(spec.max_entries as usize, spec.node())?,
            entries: spec.max_entries,
        })
    }

    /// Bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        self.words.bytes()
    }

    /// How many indices there are.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Address of the first word; the others follow, eight bytes each, as long as the map lives.
    pub fn base(&self) -> usize {
        self.words.as_ptr() as usize
    }

    /// The index that a key is, if there is such an index.
    pub fn index(&self, key: &[u8]) -> Option<u32> {
        array::index(Bytes::from(key)).filter(|i| *i < self.entries)
    }

    /// The word at `index`; 0 for nothing, and past the end.
    ///
    /// What was written before the word was set can be read after this.
    #[inline]
    pub fn get(&self, index: u32) -> u64 {
        match self.words.get(index as usize) {
            Some(word) => word.load(Acquire),
            None => 0,
        }
    }

    /// The word at the index that a program's key is; 0 for nothing, and past the end.
    #[inline]
    pub(super) fn word_of(&self, key: Bytes<'_>) -> u64 {
        array::index(key).map_or(0, |index| self.get(index))
    }

    /// Sets the word at `index`; nothing happens past the end. Programs that read it later, on any
    /// CPU, see all that was written before.
    pub fn set(&self, index: u32, value: u64) {
        if let Some(word) = self.words.get(index as usize) {
            word.store(value, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::MapType;

    #[test]
    fn words_by_index() {
        let spec = MapSpec {
            ty: MapType::ProgArray,
            key_size: 4,
            value_size: 4,
            max_entries: 3,
            flags: 0,
            numa_node: 0,
            extra: 0,
            name: [0; 16],
            lock: None,
        };
        let a = FdArray::new(&spec).unwrap();
        assert_eq!(a.index(&2u32.to_ne_bytes()), Some(2));
        assert_eq!(a.index(&3u32.to_ne_bytes()), None);
        a.set(2, 7);
        a.set(3, 9);
        assert_eq!([a.get(0), a.get(2), a.get(3)], [0, 7, 0]);
        assert_ne!(a.base(), 0);
    }
}
