// SPDX-License-Identifier: GPL-2.0

//! The event that the CPU's program runs for.

unsafe extern "C" {
    safe fn oxbpf_event_cookie() -> u64;
    safe fn oxbpf_event_func() -> u64;
}

/// What the program was attached with there.
#[inline]
pub(crate) fn cookie() -> u64 {
    oxbpf_event_cookie()
}

/// The function at whose start or return the event is, or 0.
#[inline]
pub(crate) fn func() -> u64 {
    oxbpf_event_func()
}
