// SPDX-License-Identifier: GPL-2.0

//! The lock of a map's bucket: usable in every context, and never waited for by its own holder.

use super::cpus;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::sync::atomic::AtomicU64;
use kernel::prelude::*;

extern "C" {
    fn oxbpf_map_lock(word: *mut u32) -> i32;
    fn oxbpf_map_unlock(word: *mut u32, flags: u32);
    fn oxbpf_map_lock_nested(word: *mut u32);
    fn oxbpf_map_unlock_nested(word: *mut u32);
    fn oxbpf_value_lock(word: *mut u32);
    fn oxbpf_value_unlock(word: *mut u32);
}

/// A spin lock that turns interrupts off while it is held.
///
/// A CPU holds at most one of them: who asks for another inside the section, as a program does that
/// a probe in the section runs, gets `EBUSY`.
#[derive(Default)]
pub(crate) struct MapLock {
    word: UnsafeCell<u32>,
}

// SAFETY: the word is only used by the shim's atomic operations.
unsafe impl Sync for MapLock {}

/// The lock is held; dropping gives it back.
pub(crate) struct MapGuard<'a> {
    lock: &'a MapLock,
    /// What the shim gave.
    flags: u32,
    /// Interrupts are off on this CPU: the guard must be dropped here.
    not_send: PhantomData<*mut ()>,
}

/// A second lock is held, inside the section of the first.
pub(crate) struct NestedGuard<'a> {
    lock: &'a MapLock,
    not_send: PhantomData<*mut ()>,
}

impl MapLock {
    /// Takes the lock.
    ///
    /// # Errors
    ///
    /// `EBUSY` when this CPU holds a map lock already.
    #[inline]
    pub(crate) fn lock(&self) -> Result<MapGuard<'_>> {
        // SAFETY: `word` is valid and used as the shim's lock word only.
        let flags = unsafe { oxbpf_map_lock(self.word.get()) };
        if flags < 0 {
            return Err(EBUSY);
        }
        Ok(MapGuard {
            lock: self,
            flags: flags as u32,
            not_send: PhantomData,
        })
    }
}

impl MapGuard<'_> {
    /// The CPU that holds the lock, and stays the current one until it is given back.
    #[inline]
    pub(crate) fn cpu(&self) -> usize {
        cpus::current()
    }

    /// Takes a second lock. The map that does so has an order of its locks, and the second is
    /// never taken as a first with another one nested in it.
    #[inline]
    pub(crate) fn nest<'a>(&'a self, lock: &'a MapLock) -> NestedGuard<'a> {
        // SAFETY: `word` is valid and used as the shim's lock word only; interrupts are off and
        // this CPU is marked, since `self` is held.
        unsafe { oxbpf_map_lock_nested(lock.word.get()) };
        NestedGuard {
            lock,
            not_send: PhantomData,
        }
    }
}

impl Drop for MapGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this guard's existence says that the lock is held by this CPU, with these flags.
        unsafe { oxbpf_map_unlock(self.lock.word.get(), self.flags) };
    }
}

impl Drop for NestedGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this guard's existence says that the lock is held by this CPU.
        unsafe { oxbpf_map_unlock_nested(self.lock.word.get()) };
    }
}

/// Takes the spin lock at `word`, with interrupts off until it is given back.
///
/// # Safety
///
/// `word` is the address of a value's lock, a multiple of four, and stays that until [`give_value`]; this
/// CPU holds no value's lock, and whoever does elsewhere gives it back without waiting for anything.
pub(super) unsafe fn take_value(word: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe { oxbpf_value_lock(word) };
}

/// Gives back what [`take_value`] took.
///
/// # Safety
///
/// This CPU holds the lock.
pub(super) unsafe fn give_value(word: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe { oxbpf_value_unlock(word) };
}

/// The spin lock in a map's value is held, and interrupts are off; dropping gives it back.
///
/// No other value's lock is taken before: what is copied under one takes none.
pub(crate) struct ValueGuard<'a> {
    word: *mut u32,
    /// The word stays where it is, and the guard on this CPU.
    value: PhantomData<(&'a AtomicU64, *mut ())>,
}

impl<'a> ValueGuard<'a> {
    /// Takes the lock that is the first or `second` half of `word`.
    pub(crate) fn new(word: &'a AtomicU64, second: bool) -> Self {
        let word = word.as_ptr().cast::<u32>().wrapping_add(second.into());
        // SAFETY: the half of a word is a multiple of four and stays where it is during `'a`; who holds a
        // value's lock copies that value or is a program, which calls nothing but the unlocking.
        unsafe { take_value(word) };
        ValueGuard {
            word,
            value: PhantomData,
        }
    }
}

impl Drop for ValueGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: `new` took it, on this CPU.
        unsafe { give_value(self.word) };
    }
}
