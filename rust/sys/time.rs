// SPDX-License-Identifier: GPL-2.0

//! Clocks.

use kernel::bindings;

/// Nanoseconds since boot, suspends included.
pub(crate) fn boot_ns() -> u64 {
    // SAFETY: no requirements.
    unsafe { bindings::ktime_get_boottime() as u64 }
}
