// SPDX-License-Identifier: GPL-2.0

//! Memory of the kernel crate's vectors that is asked for as a map's memory is.
//!
//! A vector of its own allocators makes the kernel kill a process of a cgroup that has no room for it,
//! where bpf(2) answers `ENOMEM`.

use core::alloc::Layout;
use core::ptr::{self, NonNull};
use kernel::alloc::{AllocError, Allocator, Flags, NumaNode, Vec};
use kernel::ffi::c_void;

extern "C" {
    fn oxbpf_area_alloc(size: usize, node: i32) -> *mut c_void;
    fn oxbpf_area_free(area: *mut c_void);
}

/// A vector of such memory; the flags of its functions mean nothing. Those that allocate may sleep.
pub(crate) type AreaVec<T> = Vec<T, Area>;

/// The allocator: nothing that it gives is zeroed.
pub(crate) struct Area;

// SAFETY: memory is what `oxbpf_area_alloc` gave until it is given back; what is in it is copied when
// it is exchanged for more or less; no layout is taken whose alignment it might not have.
unsafe impl Allocator for Area {
    const MIN_ALIGN: usize = 8;

    unsafe fn realloc(
        ptr: Option<NonNull<u8>>,
        layout: Layout,
        old_layout: Layout,
        _flags: Flags,
        _nid: NumaNode,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if layout.align() > Self::MIN_ALIGN {
            return Err(AllocError);
        }
        // Memory of no bytes was never had.
        let old = ptr.filter(|_| old_layout.size() != 0);
        let mut new = NonNull::<u64>::dangling().cast::<u8>();
        if layout.size() != 0 {
            // SAFETY: the shim takes any size and node; -1 is NUMA_NO_NODE.
            let area = unsafe { oxbpf_area_alloc(layout.size(), -1) };
            new = NonNull::new(area.cast()).ok_or(AllocError)?;
        }
        if let Some(old) = old {
            let both = old_layout.size().min(layout.size());
            // SAFETY: by the trait's rules `old` came from here and has as many bytes as its layout says,
            // and nobody uses it any more; `new` has so many, too, and is other memory.
            unsafe {
                ptr::copy_nonoverlapping(old.as_ptr(), new.as_ptr(), both);
                oxbpf_area_free(old.as_ptr().cast());
            }
        }
        Ok(NonNull::slice_from_raw_parts(new, layout.size()))
    }
}
