// SPDX-License-Identifier: GPL-2.0

//! Commands for tests, which bpf(2) does not have; only while the module's parameter `debug` is on.

use crate::prog::ProgFile;
use crate::sys::anon::FileRef;
use crate::sys::cred::Cap;
use crate::sys::params;
use kernel::prelude::*;

/// `OXBPF_DEBUG_WRITE_PROG`: `_IO(0xbe, 1)`
pub(crate) const WRITE_PROG: u32 = 0xbe << 8 | 1;

/// The program's immutable part could be written.
const PROG: i32 = 1;
/// So could memory that can be written.
const OTHER: i32 = 2;

/// Tries to write to the immutable part of the program behind descriptor `fd`, and to other memory:
/// the bits of what could be written.
///
/// # Errors
///
/// `ENOTTY` while the parameter is off; `EPERM`; `EBADF`, `EINVAL` for what is no program.
pub(crate) fn write_prog(fd: u64) -> Result<i32> {
    if !params::debug() {
        return Err(ENOTTY);
    }
    if !Cap::SysAdmin.held() {
        return Err(EPERM);
    }
    let fd = u32::try_from(fd).map_err(|_| EBADF)?;
    let file = FileRef::<ProgFile>::get(fd)?;
    let (prog, other) = file.prog().base().try_writing();
    let bit = |done: Result, bit| if done.is_ok() { bit } else { 0 };
    Ok(bit(prog, PROG) | bit(other, OTHER))
}
