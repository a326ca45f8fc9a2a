// SPDX-License-Identifier: GPL-2.0

//! Mapping a map's memory into user space, and waiting for it.

use super::region::Region;
use super::ring::Ring;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;

// bindgen gives some of the structs behind these pointers no fields.
#[allow(improper_ctypes)]
extern "C" {
    fn oxbpf_vma_flags(vma: *const bindings::vm_area_struct) -> c_ulong;
    fn oxbpf_vma_pages(vma: *const bindings::vm_area_struct) -> c_ulong;
    fn oxbpf_vma_offset(vma: *const bindings::vm_area_struct) -> c_ulong;
    fn oxbpf_vma_start(
        vma: *mut bindings::vm_area_struct,
        ops: *const bindings::vm_operations_struct,
    );
    fn oxbpf_vma_insert(vma: *mut bindings::vm_area_struct, area: *mut c_void) -> c_int;
    fn oxbpf_ring_wait(
        ring: *mut c_void,
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    );
}

/// A mapping that mmap(2) is about to make of a file of ours.
///
/// # Invariants
///
/// The structure that the kernel gave to the file's `mmap` operation, which has not returned yet.
pub(crate) struct NewVma<'a> {
    vma: NonNull<bindings::vm_area_struct>,
    ops: &'static bindings::vm_operations_struct,
    call: PhantomData<&'a mut bindings::vm_area_struct>,
}

impl NewVma<'_> {
    /// # Safety
    ///
    /// `vma` is what the kernel gave to the file's `mmap` operation, which returns after this; `ops`
    /// are operations for mappings of such files.
    pub(super) unsafe fn new(
        vma: NonNull<bindings::vm_area_struct>,
        ops: &'static bindings::vm_operations_struct,
    ) -> Self {
        // INVARIANT: the caller says so.
        NewVma {
            vma,
            ops,
            call: PhantomData,
        }
    }

    /// Fixes what may become of the mapping later: one that cannot be written now never can.
    pub(crate) fn start(&self) {
        // SAFETY: by the invariant it is valid, and being made.
        unsafe { oxbpf_vma_start(self.vma.as_ptr(), self.ops) };
    }

    /// Writes go to the file.
    pub(crate) fn is_shared(&self) -> bool {
        // SAFETY: by the invariant it is valid.
        unsafe { oxbpf_vma_flags(self.vma.as_ptr()) & 1 != 0 }
    }

    /// It can be written.
    pub(crate) fn is_writable(&self) -> bool {
        // SAFETY: by the invariant it is valid.
        unsafe { oxbpf_vma_flags(self.vma.as_ptr()) & 2 != 0 }
    }

    /// How many pages.
    pub(crate) fn pages(&self) -> usize {
        // SAFETY: by the invariant it is valid.
        unsafe { oxbpf_vma_pages(self.vma.as_ptr()) as usize }
    }

    /// The first page's number in the file.
    pub(crate) fn offset(&self) -> usize {
        // SAFETY: by the invariant it is valid.
        unsafe { oxbpf_vma_offset(self.vma.as_ptr()) as usize }
    }

    /// Puts pages of `region` there, from the one of the mapping's offset on. What the file holds
    /// must keep the region.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there are not so many, or the region was not made for this; `ENOMEM`.
    pub(crate) fn insert_region<T>(&self, region: &Region<T>) -> Result {
        let Some((base, pages)) = region.pages() else {
            return Err(EINVAL);
        };
        self.insert(base, pages)
    }

    /// Puts pages of a ring there: the consumer's is 0, the producer's 1, then the data twice.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there are not so many; `ENOMEM`.
    pub(crate) fn insert_ring(&self, ring: &Ring) -> Result {
        let (base, pages) = ring.pages();
        self.insert(base, pages)
    }

    /// `base` is the first of `pages` pages that vmalloc or vmap gave.
    fn insert(&self, base: usize, pages: usize) -> Result {
        let end = self.offset().checked_add(self.pages()).ok_or(EINVAL)?;
        if end > pages {
            return Err(EINVAL);
        }
        let from = base.wrapping_add(self.offset().wrapping_mul(PAGE_SIZE));
        // SAFETY: by the invariant the mapping is valid and being made; all its pages are within
        // those of the area, as just checked, which lives as long as what the file holds.
        kernel::error::to_result(unsafe {
            oxbpf_vma_insert(self.vma.as_ptr(), from as *mut c_void)
        })
    }
}

/// A poll(2) that asks whether it has to wait.
///
/// # Invariants
///
/// What the kernel gave to the file's `poll` operation, which has not returned yet.
pub(crate) struct Poller<'a> {
    file: NonNull<bindings::file>,
    table: *mut bindings::poll_table_struct,
    call: PhantomData<&'a mut ()>,
}

impl Poller<'_> {
    /// Events: there is something to read.
    pub(crate) const READABLE: u32 = 0x1 | 0x40;
    /// Events: polling makes no sense.
    pub(crate) const ERROR: u32 = 0x8;

    /// # Safety
    ///
    /// Both are what the kernel gave to the file's `poll` operation, which returns after this.
    pub(super) unsafe fn new(
        file: NonNull<bindings::file>,
        table: *mut bindings::poll_table_struct,
    ) -> Self {
        // INVARIANT: the caller says so.
        Poller {
            file,
            table,
            call: PhantomData,
        }
    }

    /// From now on records of `ring` wake who polls. What the file holds must keep the ring.
    pub(crate) fn wait_for(&self, ring: &Ring) {
        // SAFETY: by the invariant both are valid; the ring's queue lives as long as what the file
        // holds, and the kernel leaves the queue when the file goes.
        unsafe { oxbpf_ring_wait(ring.as_ptr(), self.file.as_ptr(), self.table) };
    }
}
