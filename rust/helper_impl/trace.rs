// SPDX-License-Identifier: GPL-2.0

//! Helpers of tracing: what the event is, and reading memory that may not be there.
//!
//! Each that reads copies to memory of the program, returns 0 (the strings': bytes written) or a negative
//! errno, and leaves zeroes behind when it fails.

use crate::sys::args::{CtxArg, WriteArg};
use crate::sys::event;
use crate::sys::nofault::{self, Space};

/// `get_func_ip(ctx)`: the function at whose start or return the probe is, or 0.
pub(super) extern "C" fn get_func_ip(_ctx: CtxArg<()>) -> u64 {
    event::func()
}

/// `get_attach_cookie(ctx)`
pub(super) extern "C" fn get_attach_cookie(_ctx: CtxArg<()>) -> u64 {
    event::cookie()
}

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
