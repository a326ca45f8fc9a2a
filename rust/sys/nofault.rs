// SPDX-License-Identifier: GPL-2.0

//! Copies from addresses that may be bad, in any context.

use super::args::WriteArg;
use core::ptr;
use kernel::bindings;
use kernel::prelude::*;

unsafe extern "C" {
    fn oxbpf_strncpy_from_kernel(dst: *mut u8, src: c_ulong, count: c_long) -> c_long;
    fn oxbpf_strncpy_from_user(dst: *mut u8, src: c_ulong, count: c_long) -> c_long;
    safe fn oxbpf_is_user_address(addr: c_ulong) -> bool;
}

/// Whose memory an address is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// The kernel's.
    Kernel,
    /// The current process's.
    User,
}

impl Space {
    /// The space that `addr` belongs to: on x86 the two do not overlap.
    #[inline]
    pub(crate) fn of(addr: u64) -> Self {
        if oxbpf_is_user_address(addr as c_ulong) {
            Space::User
        } else {
            Space::Kernel
        }
    }
}

/// # Safety
///
/// `len` bytes can be written at `to`.
#[inline]
unsafe fn copy_raw(to: *mut u8, len: usize, space: Space, from: u64) -> c_long {
    // SAFETY: by the contract the destination is good; the source may be any address.
    unsafe {
        match space {
            Space::Kernel => {
                bindings::copy_from_kernel_nofault(to.cast(), from as *const c_void, len)
            }
            Space::User => bindings::copy_from_user_nofault(to.cast(), from as *const c_void, len),
        }
    }
}

/// # Safety
///
/// `len` bytes can be written at `to`.
#[inline]
unsafe fn str_raw(to: *mut u8, len: usize, space: Space, from: u64) -> c_long {
    // SAFETY: by the contract the destination is good; the source may be any address.
    unsafe {
        match space {
            Space::Kernel => oxbpf_strncpy_from_kernel(to, from as c_ulong, len as c_long),
            Space::User => oxbpf_strncpy_from_user(to, from as c_ulong, len as c_long),
        }
    }
}

/// Fills `to` from address `from`, or with zeroes; returns 0 or the negative errno.
#[inline]
pub(crate) fn copy(mut to: WriteArg, space: Space, from: u64) -> c_long {
    let len = to.len();
    // SAFETY: by the invariant of `WriteArg` that many bytes can be written.
    let ret = unsafe { copy_raw(to.as_mut_ptr(), len, space, from) };
    if ret < 0 {
        to.clear();
    }
    ret
}

/// Copies a string to `to`, cut to its size and with a NUL at the end, or fills it with zeroes;
/// returns the bytes written or the negative errno.
#[inline]
pub(crate) fn copy_str(mut to: WriteArg, space: Space, from: u64) -> c_long {
    let len = to.len();
    // SAFETY: by the invariant of `WriteArg` that many bytes can be written.
    let ret = unsafe { str_raw(to.as_mut_ptr(), len, space, from) };
    if ret < 0 {
        to.clear();
    }
    ret
}

/// Fills `to` from address `from`; when that fails, `to` is zeroed.
pub(crate) fn read(to: &mut [u8], space: Space, from: u64) -> bool {
    // SAFETY: the slice can be written.
    if unsafe { copy_raw(to.as_mut_ptr(), to.len(), space, from) } < 0 {
        to.fill(0);
        return false;
    }
    true
}

/// Copies a string to `to` as [`copy_str`] does; `None` when it cannot be read, `to` is then in any
/// state.
pub(crate) fn read_str(to: &mut [u8], space: Space, from: u64) -> Option<usize> {
    // SAFETY: the slice can be written.
    let ret = unsafe { str_raw(to.as_mut_ptr(), to.len(), space, from) };
    usize::try_from(ret).ok()
}

/// Loads `N` bytes from a kernel address, zeroes when it is bad.
#[inline]
pub(crate) fn load<const N: usize>(from: u64) -> [u8; N] {
    let mut bytes = [0u8; N];
    // SAFETY: the array can be written.
    if unsafe { copy_raw(ptr::from_mut(&mut bytes).cast(), N, Space::Kernel, from) } < 0 {
        bytes = [0u8; N];
    }
    bytes
}
