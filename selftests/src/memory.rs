// SPDX-License-Identifier: GPL-2.0

//! Memory that the kernel cannot read or write as it would like.

use std::ptr;

const PAGE: usize = 4096;

/// Three pages: writable, read-only, inaccessible. Unmapped when dropped.
pub struct Traps {
    base: *mut libc::c_void,
}

impl Traps {
    /// Maps the pages; the first two hold zeros.
    pub fn new() -> Traps {
        // SAFETY: an anonymous mapping at an address of the kernel's choice, and changes to it.
        unsafe {
            let base = libc::mmap(
                ptr::null_mut(),
                3 * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(base, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(base.add(PAGE), PAGE, libc::PROT_READ), 0);
            assert_eq!(libc::mprotect(base.add(2 * PAGE), PAGE, libc::PROT_NONE), 0);
            Traps { base }
        }
    }

    /// Start of a page that can be read but not written.
    pub fn read_only(&self) -> u64 {
        self.base as u64 + PAGE as u64
    }

    /// `n` bytes before memory that cannot be read.
    pub fn before_hole(&self, n: usize) -> u64 {
        self.base as u64 + (2 * PAGE - n) as u64
    }

    /// Memory that cannot be accessed at all.
    pub fn hole(&self) -> u64 {
        self.base as u64 + 2 * PAGE as u64
    }
}

impl Drop for Traps {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe { libc::munmap(self.base, 3 * PAGE) };
    }
}

/// An address of the kernel's half.
pub const KERNEL: u64 = 0xffff_8880_0000_0000;
