// SPDX-License-Identifier: GPL-2.0

//! Names of machine code in the kernel's symbol table: what `/proc/kallsyms`, traces and profilers
//! show for its addresses.

use super::symbols;
use core::ptr::NonNull;
use kernel::prelude::*;

extern "C" {
    fn oxbpf_ksym_add(start: usize, len: usize, name: *const c_char) -> *mut c_void;
    fn oxbpf_ksym_del(symbol: *mut c_void);
}

/// A name that the kernel knows as long as this lives.
///
/// # Invariants
///
/// The pointer came from `oxbpf_ksym_add`.
pub(crate) struct Ksym(NonNull<c_void>);

// SAFETY: a symbol belongs to no thread.
unsafe impl Send for Ksym {}
// SAFETY: there is nothing to do with a shared one.
unsafe impl Sync for Ksym {}

impl Ksym {
    /// Names `len` bytes of code from address `start` on; `None` when the kernel's functions for that
    /// were not found, or there is no memory.
    pub(crate) fn new(start: usize, len: usize, name: &CStr) -> Option<Self> {
        if !symbols::KSYM_ADD.found() || !symbols::KSYM_DEL.found() {
            return None;
        }
        // SAFETY: the name ends with a NUL; both of the kernel's functions are there.
        let symbol = unsafe { oxbpf_ksym_add(start, len, name.as_char_ptr()) };
        // INVARIANT: from there.
        NonNull::new(symbol).map(Ksym)
    }
}

impl Drop for Ksym {
    fn drop(&mut self) {
        // SAFETY: by the invariant it was added, and nobody deletes it twice.
        unsafe { oxbpf_ksym_del(self.0.as_ptr()) };
    }
}
