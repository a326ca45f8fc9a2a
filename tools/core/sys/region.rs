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
    /// `AllocError` when there is not so much memory, the size overflows, or a test wants it.
    pub fn new(len: usize, _node: Option<u32>) -> Result<Self, AllocError> {
        let mut v = Vec::new();
        if len != 0 && fail::now() {
            return Err(AllocError);
        }
        v.try_reserve_exact(len).map_err(|_| AllocError)?;
        v.resize_with(len, T::default);
        Ok(Region(v))
    }
}

impl<T> Region<T> {
    /// The element at `i` modulo the length, which must be a power of two for that to be the
    /// meaning; in any other case it is some element. A region without elements has no such call.
    #[inline(always)]
    pub fn at_masked(&self, i: usize) -> Option<&T> {
        self.0.get(i & self.0.len().checked_sub(1)?)
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
