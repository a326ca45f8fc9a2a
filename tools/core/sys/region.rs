// SPDX-License-Identifier: GPL-2.0

//! Host twin of `rust/sys/region.rs`.

use core::ops::Deref;
use kernel::alloc::{fail, AllocError};

/// A fixed array that neither moves nor ends before its owner.
#[derive(Debug)]
pub struct Region<T>(Vec<T>);

impl<T: Default + Sync> Region<T> {
    /// A region of `len` default elements.
    ///
    /// # Errors
    ///
    /// `AllocError` when there is not so much memory, the size overflows, `len` is 0, or a test
    /// wants it.
    pub fn new(len: usize, _node: Option<u32>) -> Result<Self, AllocError> {
        let mut v = Vec::new();
        if len == 0 || fail::now() {
            return Err(AllocError);
        }
        v.try_reserve_exact(len).map_err(|_| AllocError)?;
        v.resize_with(len, T::default);
        Ok(Region(v))
    }
}

impl<T: Default + Sync> Region<T> {
    /// A region that could be mapped.
    ///
    /// # Errors
    ///
    /// As [`Region::new`].
    pub fn new_mappable(len: usize) -> Result<Self, AllocError> {
        Self::new(len, None)
    }
}

impl<T> Region<T> {
    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.0.len() * size_of::<T>()
    }

    /// The element at `i` modulo the length, if that is a power of two; else some element.
    #[inline(always)]
    pub fn at_masked(&self, i: usize) -> &T {
        &self.0[i & (self.0.len() - 1)]
    }

    /// The element that the bits of `hash` above the element's size choose.
    #[inline(always)]
    pub fn at_hash(&self, hash: usize) -> &T {
        &self.0[self.index_of_hash(hash)]
    }

    /// The number of the element that [`Self::at_hash`] gives.
    pub fn index_of_hash(&self, hash: usize) -> usize {
        match self.0.len().is_power_of_two() && size_of::<T>().is_power_of_two() {
            true => (hash / size_of::<T>()) & (self.0.len() - 1),
            false => 0,
        }
    }
}

impl<T> Deref for Region<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.0
    }
}

/// Whether memory can be asked of NUMA node `node`.
pub fn node_online(node: u32) -> bool {
    node == 0
}
