// SPDX-License-Identifier: GPL-2.0

//! Running a program many times, and for how long.

use super::context::RunGuard;
use kernel::prelude::*;

unsafe extern "C" {
    fn oxbpf_testrun_flags(mask: *mut c_ulong) -> *const c_ulong;
    safe fn oxbpf_testrun_signal() -> bool;
    safe fn oxbpf_testrun_yield();
    safe fn oxbpf_testrun_clock() -> u64;
}

/// Something that wants the current task's attention can be seen in one load.
struct Attention {
    flags: *const c_ulong,
    mask: c_ulong,
}

impl Attention {
    fn of_current() -> Self {
        let mut mask = 0;
        // SAFETY: `mask` can be written.
        let flags = unsafe { oxbpf_testrun_flags(&mut mask) };
        Attention { flags, mask }
    }

    /// A signal, or another task that should run.
    #[inline]
    fn wanted(&self) -> bool {
        // SAFETY: the current task's flags, and this object never leaves the task: it lives in one
        // call of `repeat`.
        (unsafe { self.flags.read_volatile() }) & self.mask != 0
    }
}

/// Calls `run` `times` times, at least once, under RCU with preemption off, and in between lets
/// other tasks run. Returns its last result and the nanoseconds that one call took.
///
/// # Errors
///
/// `EINTR` when a signal comes before the last call.
#[inline]
pub(crate) fn repeat<F: FnMut(&RunGuard) -> u32>(times: u32, mut run: F) -> Result<(u32, u32)> {
    let times = times.max(1);
    let attention = Attention::of_current();
    let mut spent = 0u64;
    let mut left = times;
    loop {
        let guard = RunGuard::enter();
        let start = oxbpf_testrun_clock();
        let mut value;
        loop {
            value = run(&guard);
            left = left.wrapping_sub(1);
            if left == 0 || attention.wanted() {
                break;
            }
        }
        spent = spent.saturating_add(oxbpf_testrun_clock().saturating_sub(start));
        drop(guard);
        if left == 0 {
            let each = spent.checked_div(u64::from(times)).unwrap_or(0);
            return Ok((value, u32::try_from(each).unwrap_or(u32::MAX)));
        }
        if oxbpf_testrun_signal() {
            return Err(EINTR);
        }
        oxbpf_testrun_yield();
    }
}
