// SPDX-License-Identifier: GPL-2.0

//! Where programs hook into the kernel.

pub(crate) mod kprobe;
pub(crate) mod layout;
pub(crate) mod perf;
pub(crate) mod tc;
pub(crate) mod tracepoint;

use crate::prog::Prog;
use crate::sys::context::RunGuard;
use crate::sys::hook::Hook;
use crate::sys::shared::Shared;

/// What happens at a tracing hook.
struct Runner {
    prog: Shared<Prog>,
}

impl Hook for Runner {
    #[inline]
    fn hit(&self, run: &RunGuard, ctx: usize) -> u64 {
        self.prog.run(run, ctx)
    }

    fn missed(&self) {
        self.prog.missed();
    }
}
