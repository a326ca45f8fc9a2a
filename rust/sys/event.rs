// SPDX-License-Identifier: GPL-2.0

//! The event that the CPU's program runs for.

use super::args::{CtxArg, WriteArg};

/// `struct bpf_perf_event_data_kern`, the context of programs at counters.
#[repr(C)]
pub(crate) struct PerfData {
    _opaque: [u8; 0],
}

// What is safe here asks nothing of its caller but what the parameters' types say; memory is its address
// and size.
unsafe extern "C" {
    /// `perf_prog_read_value(ctx, to, size)`
    #[link_name = "oxbpf_perf_prog_read_value"]
    pub(crate) safe fn perf_prog_read_value(ctx: CtxArg<PerfData>, to: WriteArg) -> u64;
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
