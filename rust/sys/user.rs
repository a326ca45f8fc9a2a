// SPDX-License-Identifier: GPL-2.0

//! Memory of the calling process.

use kernel::bindings;
use kernel::prelude::*;

/// An address that user space gave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct User(u64);

impl User {
    /// Any number will do: a bad address fails when it is used.
    pub(crate) const fn new(addr: u64) -> Self {
        User(addr)
    }

    /// It is the NULL pointer.
    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }

    /// For functions of the kernel that take such addresses.
    pub(super) fn as_ptr(self) -> *const c_char {
        self.0 as *const c_char
    }

    /// The address `bytes` further on.
    pub(crate) fn add(self, bytes: u64) -> Self {
        User(self.0.wrapping_add(bytes))
    }

    /// Fills `to` from there.
    ///
    /// # Errors
    ///
    /// `EFAULT` when a byte cannot be read.
    pub(crate) fn read(self, to: &mut [u8]) -> Result {
        // The variant of the copy that does not ask whether the object is as long: a slice is.
        // SAFETY: `to` has that many bytes; the source may be any address.
        let left = unsafe {
            bindings::_copy_from_user(
                to.as_mut_ptr().cast(),
                self.0 as *const c_void,
                to.len() as c_ulong,
            )
        };
        match left {
            0 => Ok(()),
            _ => Err(EFAULT),
        }
    }

    /// A copy of `len` bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EFAULT`
    pub(crate) fn read_vec(self, len: usize) -> Result<KVVec<u8>> {
        let mut bytes = zeroed(len, GFP_USER_VEC)?;
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes `from` there.
    ///
    /// # Errors
    ///
    /// `EFAULT` when a byte cannot be written.
    pub(crate) fn write(self, from: &[u8]) -> Result {
        // As in `read`.
        // SAFETY: `from` has that many bytes; the destination may be any address.
        let left = unsafe {
            bindings::_copy_to_user(
                self.0 as *mut c_void,
                from.as_ptr().cast(),
                from.len() as c_ulong,
            )
        };
        match left {
            0 => Ok(()),
            _ => Err(EFAULT),
        }
    }

    /// Are the `len` bytes there zero?
    ///
    /// # Errors
    ///
    /// `EFAULT` when they cannot be read up to the first that is not.
    pub(crate) fn is_zero(self, len: usize) -> Result<bool> {
        // SAFETY: the function takes any user address and length.
        let ret = unsafe { bindings::check_zeroed_user(self.0 as *const c_void, len) };
        kernel::error::to_result(ret)?;
        Ok(ret != 0)
    }

    /// Reads a string, and cuts it off where `buf` ends.
    ///
    /// # Errors
    ///
    /// `EFAULT` when it cannot be read up to its NUL.
    pub(crate) fn read_str(self, buf: &mut [u8]) -> Result<&CStr> {
        let room = buf.len().checked_sub(1).ok_or(EINVAL)?;
        // SAFETY: `buf` has room for that many bytes; the source may be any address.
        let ret = unsafe {
            bindings::strncpy_from_user(
                buf.as_mut_ptr().cast(),
                self.0 as *const c_char,
                room as c_long,
            )
        };
        if ret < 0 {
            return Err(EFAULT);
        }
        if let Some(last) = buf.last_mut() {
            *last = 0;
        }
        CStr::from_bytes_until_nul(buf).map_err(|_| EINVAL)
    }
}

/// So many bytes, all zero.
///
/// # Errors
///
/// `ENOMEM`
pub(crate) fn zeroed(len: usize, flags: kernel::alloc::Flags) -> Result<KVVec<u8>> {
    let mut bytes = KVVec::with_capacity(len, flags | __GFP_ZERO)?;
    // SAFETY: the new vector has room for them, and the flag says that its memory is zero.
    unsafe { bytes.inc_len(len) };
    Ok(bytes)
}

/// How copies of user data are allocated: charged to the caller, silent when they are too large.
const GFP_USER_VEC: kernel::alloc::Flags = GFP_KERNEL_ACCOUNT;
