// SPDX-License-Identifier: GPL-2.0

//! ARRAY: a fixed number of values by index, all there from the start.

use super::lock::ValueLock;
use super::spec::{MapSpec, MMAPABLE};
use super::words::{self, words_of};
use super::Update;
use crate::sys::bytes::Bytes;
use crate::sys::region::Region;
use core::sync::atomic::AtomicU64;
use kernel::prelude::*;

/// An array map.
pub(super) struct Array {
    values: Region<AtomicU64>,
    /// Words from one value to the next.
    stride: usize,
    entries: u32,
    mappable: bool,
    lock: Option<ValueLock>,
}

/// What the JIT needs to look an array's value up by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayLayout {
    /// Address of the first value.
    pub base: usize,
    /// Bytes from one value to the next.
    pub stride: u32,
    /// Number of values.
    pub entries: u32,
}

/// The index that a key is.
#[inline(always)]
pub(super) fn index(key: Bytes<'_>) -> Option<u32> {
    key.u32(0)
}

/// The index after `key`; 0 without one or past the end.
///
/// # Errors
///
/// `ENOENT` after the last index.
pub(super) fn next_index(entries: u32, key: Option<Bytes<'_>>, out: &mut [u8]) -> Result {
    let next = match key.and_then(index) {
        Some(i) if i < entries => i.wrapping_add(1),
        _ => 0,
    };
    if next >= entries {
        return Err(ENOENT);
    }
    for (to, from) in out.iter_mut().zip(next.to_ne_bytes()) {
        *to = from;
    }
    Ok(())
}

impl Array {
    /// An array of zeroes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(spec: &MapSpec) -> Result<Self> {
        let stride = words_of(spec.value_size as usize);
        let words = (spec.max_entries as usize)
            .checked_mul(stride)
            .ok_or(ENOMEM)?;
        let mappable = spec.has(MMAPABLE);
        let values = match mappable {
            true => Region::new_mappable(words)?,
            false => Region::new(words, spec.node())?,
        };
        Ok(Array {
            values,
            stride,
            entries: spec.max_entries,
            mappable,
            lock: ValueLock::of(spec),
        })
    }

    /// Bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        self.values.bytes()
    }

    /// The values' memory, if user space may map it.
    pub(super) fn mappable(&self) -> Option<&Region<AtomicU64>> {
        self.mappable.then_some(&self.values)
    }

    /// Where the JIT finds the values.
    pub(super) fn layout(&self) -> Option<ArrayLayout> {
        let stride = u32::try_from(self.stride.checked_mul(words::WORD)?).ok()?;
        Some(ArrayLayout {
            base: self.values.as_ptr() as usize,
            stride,
            entries: self.entries,
        })
    }

    /// Address of the value at index `key`; 0 past the end.
    #[inline(always)]
    pub(super) fn lookup_addr(&self, key: Bytes<'_>) -> usize {
        let Some(i) = index(key).filter(|i| *i < self.entries) else {
            return 0;
        };
        // All values' words are in the region, whose address is never 0.
        let off = (i as usize)
            .wrapping_mul(self.stride)
            .wrapping_mul(words::WORD);
        (self.values.as_ptr() as usize).wrapping_add(off)
    }

    #[inline]
    fn value(&self, i: u32) -> Option<&[AtomicU64]> {
        if i >= self.entries {
            return None;
        }
        let off = (i as usize).wrapping_mul(self.stride);
        self.values.get(off..off.checked_add(self.stride)?)
    }

    /// Copies the value at index `key` out, under its lock if it shall be `locked`.
    ///
    /// # Errors
    ///
    /// `ENOENT` past the end.
    pub(super) fn lookup(&self, key: Bytes<'_>, out: &mut [u8], locked: bool) -> Result {
        let words = index(key).and_then(|i| self.value(i)).ok_or(ENOENT)?;
        match self.lock {
            None => words::load(words, out),
            Some(lock) => lock.load(words, out, locked),
        }
        Ok(())
    }

    /// Sets the value at index `key`, under its lock if it shall be `locked`.
    ///
    /// # Errors
    ///
    /// `E2BIG` past the end, `EEXIST` when it must not be there, since all are.
    #[inline]
    pub(super) fn update(
        &self,
        key: Bytes<'_>,
        value: Bytes<'_>,
        how: Update,
        locked: bool,
    ) -> Result {
        let words = index(key).and_then(|i| self.value(i)).ok_or(E2BIG)?;
        how.allows(true)?;
        match self.lock {
            None => words::store(words, value),
            Some(lock) => lock.store(words, value, locked),
        }
        Ok(())
    }
}
