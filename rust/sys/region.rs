// SPDX-License-Identifier: GPL-2.0

//! Memory of a map: a fixed array of atomics that neither moves nor ends before the map.

use core::mem;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::alloc::AllocError;
use kernel::ffi::c_void;

extern "C" {
    fn oxbpf_area_alloc(size: usize, node: i32) -> *mut c_void;
    fn oxbpf_area_alloc_pages(size: usize) -> *mut c_void;
    fn oxbpf_area_free(area: *mut c_void);
    fn oxbpf_node_online(node: u32) -> bool;
}

/// A fixed array in kernel memory, charged to the cgroup of the task that makes it.
///
/// Its elements are atomics (or made of them), because programs and other CPUs read and write them
/// at any time. Elements are never dropped.
///
/// # Invariants
///
/// `ptr` points to `len` initialised elements in memory of `oxbpf_area_alloc`, or with `mappable` of
/// `oxbpf_area_alloc_pages`; `len` is not 0, and `len` times the element's size fits an `isize`. `mask`
/// is `(len - 1) * size` if both `len` and the element's size are powers of two, else 0: what is left of
/// a number by it is a whole number of elements, fewer than `len`.
pub struct Region<T> {
    ptr: NonNull<T>,
    len: usize,
    mask: usize,
    mappable: bool,
}

// SAFETY: a region owns its elements, as a boxed slice does.
unsafe impl<T: Send> Send for Region<T> {}
// SAFETY: a shared region gives out shared references to its elements only.
unsafe impl<T: Sync> Sync for Region<T> {}

impl<T: Default + Sync> Region<T> {
    /// A region of `len` default elements, near `node` if the kernel can. May sleep.
    ///
    /// # Errors
    ///
    /// `AllocError` when there is not so much memory, the size overflows, or `len` is 0.
    pub(crate) fn new(len: usize, node: Option<u32>) -> Result<Self, AllocError> {
        let node = node.and_then(|n| i32::try_from(n).ok()).unwrap_or(-1);
        // SAFETY: the shim takes any size and node; -1 is NUMA_NO_NODE.
        Self::with(len, false, |size| unsafe { oxbpf_area_alloc(size, node) })
    }

    /// A region of whole pages, which can be mapped; what is behind the elements is zero. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Region::new`].
    pub(crate) fn new_mappable(len: usize) -> Result<Self, AllocError> {
        // SAFETY: the shim takes any size.
        Self::with(len, true, |size| unsafe { oxbpf_area_alloc_pages(size) })
    }

    fn with(
        len: usize,
        mappable: bool,
        alloc: impl FnOnce(usize) -> *mut c_void,
    ) -> Result<Self, AllocError> {
        const { assert!(mem::size_of::<T>() != 0 && !mem::needs_drop::<T>()) };
        if len == 0 {
            return Err(AllocError);
        }
        let size = len.checked_mul(mem::size_of::<T>()).ok_or(AllocError)?;
        if isize::try_from(size).is_err() {
            return Err(AllocError);
        }
        let area = alloc(size);
        let ptr = NonNull::new(area.cast::<T>()).ok_or(AllocError)?;
        if !ptr.is_aligned() {
            // SAFETY: `area` is what the allocator just gave, and nobody else has it.
            unsafe { oxbpf_area_free(area) };
            return Err(AllocError);
        }
        for i in 0..len {
            // SAFETY: `i < len`, and the area has room for `len` elements, aligned for them.
            unsafe { ptr.add(i).write(T::default()) };
        }
        let mask = match len.is_power_of_two() && mem::size_of::<T>().is_power_of_two() {
            true => size.wrapping_sub(mem::size_of::<T>()),
            false => 0,
        };
        // INVARIANT: all `len` elements are initialised, and `len` and `size` were checked above.
        Ok(Region {
            ptr,
            len,
            mask,
            mappable,
        })
    }
}

impl<T> Region<T> {
    /// Address of the first page, and the number of pages, if it can be mapped.
    pub(super) fn pages(&self) -> Option<(usize, usize)> {
        let size = self.len.wrapping_mul(mem::size_of::<T>());
        let pages = size.div_ceil(kernel::page::PAGE_SIZE);
        self.mappable.then_some((self.ptr.as_ptr() as usize, pages))
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let size = self.len.wrapping_mul(mem::size_of::<T>());
        match self.mappable {
            true => size
                .checked_next_multiple_of(kernel::page::PAGE_SIZE)
                .unwrap_or(size),
            false => size,
        }
    }

    /// The element at `i` modulo the length, if that is a power of two; else some element.
    #[inline(always)]
    pub(crate) fn at_masked(&self, i: usize) -> &T {
        let mask = self.len.wrapping_sub(1);
        // SAFETY: `len` is not 0, so `i & mask <= mask < len`; the elements live as long as the
        // region.
        unsafe { self.ptr.add(i & mask).as_ref() }
    }

    /// The element that the bits of `hash` above the element's size choose, if length and size are
    /// powers of two; else the first.
    #[inline(always)]
    pub(crate) fn at_hash(&self, hash: usize) -> &T {
        // SAFETY: by the invariant on `mask` this is one of the elements, which live as long as the
        // region.
        unsafe { self.ptr.byte_add(hash & self.mask).as_ref() }
    }

    /// The number of the element that [`Self::at_hash`] gives.
    #[inline]
    pub(crate) fn index_of_hash(&self, hash: usize) -> usize {
        (hash & self.mask) / const { mem::size_of::<T>() }
    }
}

impl<T> Deref for Region<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: by the type's invariant there are `len` initialised elements at `ptr`.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl<T> Drop for Region<T> {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant the area came from the allocator; the region is its only
        // owner, and elements need no drop.
        unsafe { oxbpf_area_free(self.ptr.as_ptr().cast()) };
    }
}

/// Whether memory can be asked of NUMA node `node`.
pub(crate) fn node_online(node: u32) -> bool {
    // SAFETY: the shim takes any number.
    unsafe { oxbpf_node_online(node) }
}
