// SPDX-License-Identifier: GPL-2.0

//! QUEUE and STACK: values without keys, first in first out or last in first out.

use super::spec::MapSpec;
use super::words::{self, words_of, Out};
use crate::sys::bytes::Bytes;
use crate::sys::maplock::{MapGuard, MapLock};
use crate::sys::region::Region;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use kernel::prelude::*;

/// Which end values leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The oldest leaves first.
    Fifo,
    /// The newest leaves first.
    Lifo,
}

/// A queue or stack: a ring of values, everything under one lock.
pub(super) struct Queue {
    values: Region<AtomicU64>,
    stride: usize,
    entries: u32,
    order: Order,
    lock: MapLock,
    /// Index of the oldest value.
    oldest: AtomicU32,
    /// Number of values.
    len: AtomicU32,
}

impl Queue {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(spec: &MapSpec, order: Order) -> Result<Self> {
        let stride = words_of(spec.value_size as usize);
        let words = (spec.max_entries as usize)
            .checked_mul(stride)
            .ok_or(ENOMEM)?;
        Ok(Queue {
            values: Region::new(words, spec.node())?,
            stride,
            entries: spec.max_entries,
            order,
            lock: MapLock::default(),
            oldest: AtomicU32::new(0),
            len: AtomicU32::new(0),
        })
    }

    /// Bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        self.values.bytes()
    }

    /// Adds a value. With flag 2 (`BPF_EXIST`) a full map loses its oldest one.
    ///
    /// # Errors
    ///
    /// `EINVAL` for other flags; `E2BIG` when it is full; `EBUSY` inside another map operation on
    /// this CPU.
    pub(super) fn push(&self, value: Bytes<'_>, flags: u64) -> Result {
        let replace = match flags {
            0 => false,
            2 => true,
            _ => return Err(EINVAL),
        };
        let guard = self.lock.lock()?;
        let mut len = self.len.load(Relaxed);
        if len >= self.entries {
            if !replace {
                return Err(E2BIG);
            }
            len = len.wrapping_sub(1);
            self.oldest.store(self.index(1), Relaxed);
        }
        words::store(self.value(self.index(len), &guard).ok_or(E2BIG)?, value);
        self.len.store(len.wrapping_add(1), Relaxed);
        Ok(())
    }

    /// Copies the value that leaves next out, and lets it leave if `leave` says so. Without one,
    /// `out` becomes zero.
    ///
    /// # Errors
    ///
    /// `ENOENT` when it is empty; `EBUSY` inside another map operation on this CPU.
    pub(super) fn next(&self, mut out: impl Out, leave: bool) -> Result {
        let copied = self.take(&mut out, leave);
        if copied.is_err() {
            out.clear(self.stride);
        }
        copied
    }

    fn take(&self, out: &mut impl Out, leave: bool) -> Result {
        let guard = self.lock.lock()?;
        let rest = self.len.load(Relaxed).checked_sub(1).ok_or(ENOENT)?;
        let i = match self.order {
            Order::Fifo => self.index(0),
            Order::Lifo => self.index(rest),
        };
        out.load(self.value(i, &guard).ok_or(ENOENT)?);
        if leave {
            self.len.store(rest, Relaxed);
            if self.order == Order::Fifo {
                self.oldest.store(self.index(1), Relaxed);
            }
        }
        Ok(())
    }

    /// The index of the `n`th oldest value, `n` at most the number of entries.
    fn index(&self, n: u32) -> u32 {
        let i = u64::from(self.oldest.load(Relaxed)).wrapping_add(n.into());
        i.checked_rem(self.entries.into()).map_or(0, |i| i as u32)
    }

    fn value(&self, i: u32, _guard: &MapGuard<'_>) -> Option<&[AtomicU64]> {
        let off = (i as usize).checked_mul(self.stride)?;
        self.values.get(off..off.checked_add(self.stride)?)
    }
}
