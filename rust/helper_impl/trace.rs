// SPDX-License-Identifier: GPL-2.0

//! Helpers that read memory which may not be there.
//!
//! Each copies to memory of the program, returns 0 (the strings': bytes written) or a negative
//! errno, and leaves zeroes behind when it fails.

use crate::sys::args::WriteArg;
use crate::sys::nofault::{self, Space};

/// `probe_read(dst, size, addr)`: from wherever `addr` belongs.
pub(super) extern "C" fn probe_read(dst: WriteArg, addr: u64) -> u64 {
    nofault::copy(dst, Space::of(addr), addr) as u64
}

/// `probe_read_kernel(dst, size, addr)`
pub(super) extern "C" fn probe_read_kernel(dst: WriteArg, addr: u64) -> u64 {
    nofault::copy(dst, Space::Kernel, addr) as u64
}

/// `probe_read_user(dst, size, addr)`
pub(super) extern "C" fn probe_read_user(dst: WriteArg, addr: u64) -> u64 {
    nofault::copy(dst, Space::User, addr) as u64
}

/// `probe_read_str(dst, size, addr)`: from wherever `addr` belongs.
pub(super) extern "C" fn probe_read_str(dst: WriteArg, addr: u64) -> u64 {
    nofault::copy_str(dst, Space::of(addr), addr) as u64
}

/// `probe_read_kernel_str(dst, size, addr)`
pub(super) extern "C" fn probe_read_kernel_str(dst: WriteArg, addr: u64) -> u64 {
    nofault::copy_str(dst, Space::Kernel, addr) as u64
}

/// `probe_read_user_str(dst, size, addr)`
pub(super) extern "C" fn probe_read_user_str(dst: WriteArg, addr: u64) -> u64 {
    nofault::copy_str(dst, Space::User, addr) as u64
}
