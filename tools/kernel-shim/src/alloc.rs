// SPDX-License-Identifier: GPL-2.0

//! Fallible allocation: `KVec` and `KBox` on std's `Vec` and `Box`.

use core::fmt;
use core::ops::{Deref, DerefMut};

pub mod fail {
    //! Makes allocations fail, for tests.

    use std::cell::Cell;

    thread_local! {
        static COUNTDOWN: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Lets `n` allocations of this thread succeed and every later one fail; `None` ends that.
    pub fn after(n: Option<u64>) {
        COUNTDOWN.with(|c| c.set(n));
    }

    /// Counts one allocation; true when it shall fail. For other host twins that allocate.
    pub fn now() -> bool {
        COUNTDOWN.with(|c| match c.get() {
            None => false,
            Some(0) => true,
            Some(n) => {
                c.set(Some(n - 1));
                false
            }
        })
    }
}

/// Memory is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError;

/// Allocation flags; they mean nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

impl core::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, o: Flags) -> Flags {
        Flags(self.0 | o.0)
    }
}

/// The flags' names.
pub mod flags {
    use super::Flags;
    /// May sleep.
    pub const GFP_KERNEL: Flags = Flags(1);
    /// May not sleep.
    pub const GFP_ATOMIC: Flags = Flags(2);
    /// May not sleep, no reserves.
    pub const GFP_NOWAIT: Flags = Flags(4);
    /// Charged to the memory cgroup.
    pub const GFP_KERNEL_ACCOUNT: Flags = Flags(8);
    /// Zeroed.
    pub const __GFP_ZERO: Flags = Flags(16);
    /// No warning on failure.
    pub const __GFP_NOWARN: Flags = Flags(32);
}

/// A growable array whose growth can fail.
pub struct Vec<T>(std::vec::Vec<T>);

/// kmalloc'ed in the kernel.
pub type KVec<T> = Vec<T>;
/// kvmalloc'ed in the kernel.
pub type KVVec<T> = Vec<T>;
/// vmalloc'ed in the kernel.
pub type VVec<T> = Vec<T>;

impl<T> Vec<T> {
    /// Empty, without memory.
    pub const fn new() -> Self {
        Vec(std::vec::Vec::new())
    }

    /// Empty, with room for `n`.
    pub fn with_capacity(n: usize, _flags: Flags) -> Result<Self, AllocError> {
        let mut v = Vec::new();
        v.reserve(n, _flags)?;
        Ok(v)
    }

    /// Makes room for `additional` more.
    pub fn reserve(&mut self, additional: usize, _flags: Flags) -> Result<(), AllocError> {
        let len = self.0.len().checked_add(additional).ok_or(AllocError)?;
        if len > self.0.capacity() {
            if fail::now() {
                return Err(AllocError);
            }
            self.0.try_reserve(additional).map_err(|_| AllocError)?;
        }
        Ok(())
    }

    /// Appends.
    pub fn push(&mut self, v: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        self.0.push(v);
        Ok(())
    }

    /// Takes the last.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Removes the one at `i`.
    pub fn remove(&mut self, i: usize) -> Result<T, RemoveError> {
        if i < self.0.len() {
            Ok(self.0.remove(i))
        } else {
            Err(RemoveError)
        }
    }

    /// Elements that fit without growing.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Forgets all elements.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Shortens.
    pub fn truncate(&mut self, n: usize) {
        self.0.truncate(n);
    }

    /// Keeps those that `f` likes.
    pub fn retain(&mut self, f: impl FnMut(&mut T) -> bool) {
        self.0.retain_mut(f);
    }

    /// Takes all out.
    pub fn drain_all(&mut self) -> std::vec::Drain<'_, T> {
        self.0.drain(..)
    }

    /// As a slice.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// As a mutable slice.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.0
    }
}

/// `remove` past the end.
#[derive(Debug)]
pub struct RemoveError;

impl From<RemoveError> for crate::error::Error {
    fn from(_: RemoveError) -> Self {
        crate::error::code::EINVAL
    }
}

impl<T: Clone> Vec<T> {
    /// `n` copies of `value`.
    pub fn from_elem(value: T, n: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut v = Self::with_capacity(n, flags)?;
        v.0.resize(n, value);
        Ok(v)
    }

    /// Appends `n` copies of `value`.
    pub fn extend_with(&mut self, n: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(n, flags)?;
        let len = self.0.len() + n;
        self.0.resize(len, value);
        Ok(())
    }

    /// Appends copies.
    pub fn extend_from_slice(&mut self, other: &[T], flags: Flags) -> Result<(), AllocError> {
        self.reserve(other.len(), flags)?;
        self.0.extend_from_slice(other);
        Ok(())
    }

    /// Sets the length.
    pub fn resize(&mut self, n: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        if n > self.0.len() {
            self.reserve(n - self.0.len(), flags)?;
        }
        self.0.resize(n, value);
        Ok(())
    }
}

impl<T> Default for Vec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Vec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Deref for Vec<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Vec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: PartialEq> PartialEq for Vec<T> {
    fn eq(&self, o: &Self) -> bool {
        self.0 == o.0
    }
}

impl<T: Eq> Eq for Vec<T> {}

impl<T> IntoIterator for Vec<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Vec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Vec<T> {
    type Item = &'a mut T;
    type IntoIter = core::slice::IterMut<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}

/// An owned value on the heap whose allocation can fail.
pub struct Box<T: ?Sized>(std::boxed::Box<T>);

/// kmalloc'ed in the kernel.
pub type KBox<T> = Box<T>;
/// kvmalloc'ed in the kernel.
pub type KVBox<T> = Box<T>;
/// vmalloc'ed in the kernel.
pub type VBox<T> = Box<T>;

impl<T> Box<T> {
    /// Moves `v` to the heap.
    pub fn new(v: T, _flags: Flags) -> Result<Self, AllocError> {
        if fail::now() {
            return Err(AllocError);
        }
        Ok(Box(std::boxed::Box::new(v)))
    }

    /// Moves the value out.
    pub fn into_inner(b: Self) -> T {
        *b.0
    }
}

impl<T: ?Sized> Deref for Box<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for Box<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Box<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
