// SPDX-License-Identifier: GPL-2.0

//! A value for each CPU: where they are, and how user space sees them all.
//!
//! Each CPU has a region of its own, on its own node, with a value for each entry. User space gets
//! and gives the values of all possible CPUs in a row, each rounded up to eight bytes, or those of
//! one CPU.

use super::array::ArrayLayout;
use super::spec::MapSpec;
use super::words::{self, words_of, WORD};
use crate::sys::bytes::Bytes;
use crate::sys::cpus;
use crate::sys::region::Region;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use kernel::prelude::*;

/// Whose values an operation is about, and what the caller's buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cpus {
    /// One CPU's, and one value.
    One(usize),
    /// All CPUs', and one value.
    Same,
    /// All CPUs', and a value for each possible one, at multiples of eight bytes.
    Each,
}

/// The values of a map, for each CPU and entry.
pub(super) struct PerCpu {
    /// By CPU number; none for one that can never be.
    regions: KVec<Option<Region<AtomicU64>>>,
    /// The regions' addresses, by CPU number: machine code reads them.
    table: KVec<usize>,
    /// Entries.
    entries: usize,
    /// Words of a value.
    stride: usize,
    /// Bytes of a value.
    size: usize,
}

/// The numbers of all possible CPUs.
fn possible() -> impl Iterator<Item = usize> {
    (0..cpus::ids()).filter(|c| cpus::is_possible(*c))
}

/// Bytes of the values of all CPUs, as user space sees them.
pub(super) fn user_size(value_size: usize) -> usize {
    let padded = words_of(value_size).saturating_mul(WORD);
    padded.saturating_mul(possible().count())
}

impl PerCpu {
    /// Zeroes for `entries` entries.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(spec: &MapSpec, entries: usize) -> Result<Self> {
        let size = spec.value_size as usize;
        let stride = words_of(size);
        let len = entries.checked_mul(stride).ok_or(ENOMEM)?;
        let mut regions = KVec::with_capacity(cpus::ids(), GFP_KERNEL_ACCOUNT)?;
        let mut table = KVec::with_capacity(cpus::ids(), GFP_KERNEL_ACCOUNT)?;
        for cpu in 0..cpus::ids() {
            let region = match cpus::is_possible(cpu) {
                true => Some(Region::new(len, cpus::node(cpu))?),
                false => None,
            };
            let address = region.as_ref().map_or(0, |r| r.as_ptr() as usize);
            table.push(address, GFP_KERNEL_ACCOUNT)?;
            regions.push(region, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(PerCpu {
            regions,
            table,
            entries,
            stride,
            size,
        })
    }

    /// Where the JIT finds them: by the table of the addresses of entry 0, by CPU number. None where
    /// a value is too large.
    pub(super) fn layout(&self) -> Option<ArrayLayout> {
        Some(ArrayLayout {
            base: self.table.as_ptr() as usize,
            stride: u32::try_from(self.stride.checked_mul(WORD)?).ok()?,
            entries: u32::try_from(self.entries).ok()?,
        })
    }

    /// Address of this CPU's value of entry `i`; 0 when there is no such entry.
    #[inline(always)]
    pub(super) fn addr(&self, i: u32) -> usize {
        let i = i as usize;
        match self.table.get(cpus::current()) {
            // The current CPU is a possible one, and has its region.
            Some(first) if i < self.entries => {
                first.wrapping_add(i.wrapping_mul(self.stride).wrapping_mul(WORD))
            }
            _ => 0,
        }
    }

    /// Bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        let of = |r: &Option<Region<AtomicU64>>| r.as_ref().map_or(0, Region::bytes);
        self.regions.iter().map(of).fold(0, usize::saturating_add)
    }

    /// Address of `cpu`'s value of entry `i`; 0 when there is no such entry or CPU.
    pub(super) fn addr_of(&self, i: u32, cpu: usize) -> usize {
        self.value(cpu, i).map_or(0, |v| v.as_ptr() as usize)
    }

    #[inline(always)]
    fn value(&self, cpu: usize, i: u32) -> Option<&[AtomicU64]> {
        let off = (i as usize).wrapping_mul(self.stride);
        self.regions
            .get(cpu)?
            .as_ref()?
            .get(off..off.checked_add(self.stride)?)
    }

    /// Sets values of entry `i`, the others stay.
    #[inline]
    pub(super) fn set(&self, i: u32, value: Bytes<'_>, which: Cpus) {
        if let Cpus::One(cpu) = which {
            if let Some(words) = self.value(cpu, i) {
                words::store(words, value);
            }
            return;
        }
        self.set_all(i, value, which);
    }

    fn set_all(&self, i: u32, value: Bytes<'_>, which: Cpus) {
        let padded = self.stride.wrapping_mul(WORD);
        let mut off: usize = 0;
        for cpu in possible() {
            let part = match which {
                Cpus::One(_) | Cpus::Same => Some(value),
                Cpus::Each => value.part(off, self.size),
            };
            off = off.wrapping_add(padded);
            if let (Some(words), Some(part)) = (self.value(cpu, i), part) {
                words::store(words, part);
            }
        }
    }

    /// Sets values of entry `i`, which is new: the others are zero.
    pub(super) fn init(&self, i: u32, value: Bytes<'_>, which: Cpus) {
        if let Cpus::One(one) = which {
            for words in (0..self.regions.len())
                .filter(|c| *c != one)
                .filter_map(|c| self.value(c, i))
            {
                words.iter().for_each(|w| w.store(0, Relaxed));
            }
        }
        self.set(i, value, which);
    }

    /// Copies values of entry `i` out.
    pub(super) fn load(&self, i: u32, out: &mut [u8], which: Cpus) {
        if let Cpus::One(cpu) = which {
            if let Some(words) = self.value(cpu, i) {
                words::load(words, out);
            }
            return;
        }
        let padded = self.stride.wrapping_mul(WORD).max(1);
        for (cpu, out) in possible().zip(out.chunks_mut(padded)) {
            if let Some(words) = self.value(cpu, i) {
                words::load(words, out);
            }
        }
    }
}
