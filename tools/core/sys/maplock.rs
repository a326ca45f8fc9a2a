// SPDX-License-Identifier: GPL-2.0

//! Host twin of `rust/sys/maplock.rs`.

use super::cpus;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use kernel::prelude::*;

/// A spin lock.
#[derive(Debug, Default)]
pub struct MapLock {
    word: AtomicU32,
}

/// The lock is held; dropping gives it back.
pub struct MapGuard<'a> {
    lock: &'a MapLock,
    cpu: usize,
    not_send: PhantomData<*mut ()>,
}

/// A second lock is held, inside the section of the first.
pub struct NestedGuard<'a> {
    lock: &'a MapLock,
    not_send: PhantomData<*mut ()>,
}

impl MapLock {
    /// Takes the lock.
    ///
    /// # Errors
    ///
    /// `EBUSY` when this CPU (here: thread) holds a map lock already.
    pub fn lock(&self) -> Result<MapGuard<'_>> {
        let cpu = cpus::enter().ok_or(EBUSY)?;
        self.take();
        Ok(MapGuard {
            lock: self,
            cpu,
            not_send: PhantomData,
        })
    }

    fn take(&self) {
        while self.word.swap(1, Ordering::Acquire) != 0 {
            std::thread::yield_now();
        }
    }

    fn give(&self) {
        self.word.store(0, Ordering::Release);
    }
}

impl MapGuard<'_> {
    /// The CPU that holds the lock, and stays the current one until it is given back.
    pub fn cpu(&self) -> usize {
        self.cpu
    }

    /// Takes a second lock. The map that does so has an order of its locks, and the second is
    /// never taken as a first with another one nested in it.
    pub fn nest<'a>(&'a self, lock: &'a MapLock) -> NestedGuard<'a> {
        lock.take();
        NestedGuard {
            lock,
            not_send: PhantomData,
        }
    }
}

impl Drop for MapGuard<'_> {
    fn drop(&mut self) {
        self.lock.give();
        cpus::leave(self.cpu);
    }
}

impl Drop for NestedGuard<'_> {
    fn drop(&mut self) {
        self.lock.give();
    }
}

/// The spin lock in a map's value is held; dropping gives it back.
pub struct ValueGuard<'a> {
    word: &'a AtomicU64,
    /// The lock's bits, all set while it is held.
    bits: u64,
    not_send: PhantomData<*mut ()>,
}

impl<'a> ValueGuard<'a> {
    /// Takes the lock that is the first or `second` half of `word`.
    pub fn new(word: &'a AtomicU64, second: bool) -> Self {
        let bits = match second {
            false => u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
            true => u64::from_ne_bytes([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        };
        let free = |now: u64| (now & bits == 0).then_some(now | bits);
        while word
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, free)
            .is_err()
        {
            std::thread::yield_now();
        }
        ValueGuard {
            word,
            bits,
            not_send: PhantomData,
        }
    }
}

impl Drop for ValueGuard<'_> {
    fn drop(&mut self) {
        self.word.fetch_and(!self.bits, Ordering::Release);
    }
}
