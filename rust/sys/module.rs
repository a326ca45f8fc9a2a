// SPDX-License-Identifier: GPL-2.0

//! The running kernel's name.

use kernel::prelude::*;

extern "C" {
    fn oxbpf_kernel_release() -> *const kernel::ffi::c_char;
}

/// The running kernel's release, as `uname -r` prints it.
pub(crate) fn kernel_release() -> &'static CStr {
    // SAFETY: the shim has no requirements; it returns a NUL-terminated string that the kernel
    // never changes or frees.
    unsafe { CStr::from_char_ptr(oxbpf_kernel_release()) }
}

/// `THIS_MODULE`: what a file or an attachment keeps from being unloaded.
pub(crate) const fn this() -> *mut kernel::bindings::module {
    &raw mut kernel::bindings::__this_module
}
