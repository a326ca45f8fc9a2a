// SPDX-License-Identifier: GPL-2.0

//! Clocks.

use kernel::bindings;

/// Nanoseconds since boot, suspends included.
pub(crate) fn boot_ns() -> u64 {
    // SAFETY: no requirements.
    unsafe { bindings::ktime_get_boottime() as u64 }
}

/// Nanoseconds of the monotonic clock, in any context; near an adjustment of the clock it may be a
/// little off.
#[inline]
pub(crate) fn mono_fast_ns() -> u64 {
    unsafe extern "C" {
        safe fn ktime_get_mono_fast_ns() -> u64;
    }
    ktime_get_mono_fast_ns()
}
