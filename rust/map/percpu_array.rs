// SPDX-License-Identifier: GPL-2.0

//! PERCPU_ARRAY: an array with a value for each CPU.

use super::array::{index, ArrayLayout};
use super::percpu::{Cpus, PerCpu};
use super::spec::MapSpec;
use super::Update;
use crate::sys::bytes::Bytes;
use kernel::prelude::*;

/// A per-CPU array map.
pub(super) struct PercpuArray {
    values: PerCpu,
    entries: u32,
}

impl PercpuArray {
    /// An array of zeroes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(spec: &MapSpec) -> Result<Self> {
        let values = PerCpu::new(spec, spec.max_entries as usize)?;
        Ok(PercpuArray {
            values,
            entries: spec.max_entries,
        })
    }

    /// Where the JIT finds the values.
    pub(super) fn layout(&self) -> Option<ArrayLayout> {
        self.values.layout()
    }

    #[inline(always)]
    fn index(&self, key: Bytes<'_>) -> Option<u32> {
        index(key).filter(|i| *i < self.entries)
    }

    /// Address of this CPU's value at index `key`; 0 past the end.
    #[inline(always)]
    pub(super) fn lookup_addr(&self, key: Bytes<'_>) -> usize {
        self.index(key).map_or(0, |i| self.values.addr(i))
    }

    /// Bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        self.values.bytes()
    }

    /// Address of `cpu`'s value at index `key`; 0 past the end.
    pub(super) fn lookup_addr_of(&self, key: Bytes<'_>, cpu: usize) -> usize {
        self.index(key).map_or(0, |i| self.values.addr_of(i, cpu))
    }

    /// Copies values at index `key` out.
    ///
    /// # Errors
    ///
    /// `ENOENT` past the end.
    pub(super) fn lookup(&self, key: Bytes<'_>, out: &mut [u8], which: Cpus) -> Result {
        self.values.load(self.index(key).ok_or(ENOENT)?, out, which);
        Ok(())
    }

    /// Sets values at index `key`.
    ///
    /// # Errors
    ///
    /// `E2BIG` past the end, `EEXIST` when it must not be there, since all are.
    pub(super) fn update(
        &self,
        key: Bytes<'_>,
        value: Bytes<'_>,
        how: Update,
        which: Cpus,
    ) -> Result {
        let i = self.index(key).ok_or(E2BIG)?;
        how.allows(true)?;
        self.values.set(i, value, which);
        Ok(())
    }
}
