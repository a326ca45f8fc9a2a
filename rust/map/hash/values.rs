// SPDX-License-Identifier: GPL-2.0

//! Where a hash map's values are: in the elements, or apart with one for each CPU.

use super::table::Table;
use crate::map::array::ArrayLayout;
use crate::map::lock::ValueLock;
use crate::map::percpu::{Cpus, PerCpu};
use crate::map::spec::MapSpec;
use crate::map::words::{self, words_of};
use crate::sys::bytes::Bytes;
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// The place of the values.
pub(in crate::map) trait Values: Sized {
    /// A value is part of its element, and changes by taking another element.
    const IN_ELEMENT: bool;

    /// Words of an element that the value takes.
    fn words(spec: &MapSpec) -> usize;

    /// What is needed besides, for so many elements.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    fn new(spec: &MapSpec, elems: usize) -> Result<Self>;

    /// Address of element `e`'s value for a program; 0 for no element.
    fn addr(&self, table: &Table, e: u32) -> usize;

    /// The values as an array for each CPU, if that is what they are.
    fn layout(&self) -> Option<ArrayLayout>;

    /// Bytes that are not in the table.
    fn bytes(&self) -> usize;

    /// As [`Values::addr`], for a CPU if each has one.
    fn addr_of(&self, table: &Table, e: u32, cpu: usize) -> usize;

    /// Sets the value of an element that is not in the table yet.
    fn init(&self, table: &Table, e: u32, value: Bytes<'_>, which: Cpus);

    /// Sets the value of an element that is.
    fn set(&self, table: &Table, e: u32, value: Bytes<'_>, which: Cpus);

    /// Copies element `e`'s value out.
    fn load(&self, table: &Table, e: u32, out: &mut [u8], which: Cpus);

    /// The lock in each value, if there is one.
    fn lock(&self) -> Option<ValueLock> {
        None
    }
}

/// Values in the elements.
pub(in crate::map) struct Inline {
    lock: Option<ValueLock>,
}

impl Values for Inline {
    const IN_ELEMENT: bool = true;

    fn words(spec: &MapSpec) -> usize {
        let words = words_of(spec.value_size as usize);
        match spec.lock {
            None => words,
            // Values of one word are stored whole, which a lock would not survive.
            Some(_) => words.max(2),
        }
    }

    fn new(spec: &MapSpec, _elems: usize) -> Result<Self> {
        let lock = ValueLock::of(spec);
        Ok(Inline { lock })
    }

    #[inline(always)]
    fn addr(&self, table: &Table, e: u32) -> usize {
        table.addr(e)
    }

    fn layout(&self) -> Option<ArrayLayout> {
        None
    }

    fn bytes(&self) -> usize {
        0
    }

    fn addr_of(&self, table: &Table, e: u32, _cpu: usize) -> usize {
        self.addr(table, e)
    }

    #[inline(always)]
    fn init(&self, table: &Table, e: u32, value: Bytes<'_>, _which: Cpus) {
        if let Some(word) = table.only_word(e) {
            word.store(words::word(value, 0), Relaxed);
        } else if let Some(words) = table.value(e) {
            match self.lock {
                None => words::store(words, value),
                // Who deleted the entry that was here before may hold the lock still.
                Some(lock) => lock.store(words, value, false),
            }
        }
    }

    fn set(&self, table: &Table, e: u32, value: Bytes<'_>, which: Cpus) {
        self.init(table, e, value, which);
    }

    #[inline]
    fn load(&self, table: &Table, e: u32, out: &mut [u8], _which: Cpus) {
        if let (Some(word), Some(out)) = (table.only_word(e), out.first_chunk_mut()) {
            *out = word.load(Relaxed).to_ne_bytes();
        } else if let Some(words) = table.value(e) {
            match self.lock {
                None => words::load(words, out),
                Some(lock) => lock.load(words, out, false),
            }
        }
    }

    fn lock(&self) -> Option<ValueLock> {
        self.lock
    }
}

/// A value for each CPU, apart from the elements.
pub(in crate::map) struct PerCpuValues(PerCpu);

impl Values for PerCpuValues {
    const IN_ELEMENT: bool = false;

    fn words(_spec: &MapSpec) -> usize {
        0
    }

    fn new(spec: &MapSpec, elems: usize) -> Result<Self> {
        Ok(PerCpuValues(PerCpu::new(spec, elems)?))
    }

    #[inline(always)]
    fn addr(&self, _table: &Table, e: u32) -> usize {
        self.0.addr(e)
    }

    fn layout(&self) -> Option<ArrayLayout> {
        self.0.layout()
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn addr_of(&self, _table: &Table, e: u32, cpu: usize) -> usize {
        self.0.addr_of(e, cpu)
    }

    fn init(&self, _table: &Table, e: u32, value: Bytes<'_>, which: Cpus) {
        self.0.init(e, value, which);
    }

    #[inline(always)]
    fn set(&self, _table: &Table, e: u32, value: Bytes<'_>, which: Cpus) {
        self.0.set(e, value, which);
    }

    fn load(&self, _table: &Table, e: u32, out: &mut [u8], which: Cpus) {
        self.0.load(e, out, which);
    }
}
