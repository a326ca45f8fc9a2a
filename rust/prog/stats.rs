// SPDX-License-Identifier: GPL-2.0

//! How often a program ran and for how long, counted while somebody wants to know.

use crate::sys::anon::FileObject;
use crate::sys::cpus;
use crate::sys::region::Region;
use crate::sys::time;
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use kernel::prelude::*;

/// How many want to know.
static WANTED: AtomicI64 = AtomicI64::new(0);

/// Runs are to be counted.
#[inline(always)]
pub(super) fn wanted() -> bool {
    WANTED.load(Relaxed) != 0
}

/// The number, for hooks that look themselves.
pub(super) fn counting() -> &'static AtomicI64 {
    &WANTED
}

/// Somebody wants to know, as long as this lives: what the descriptor of ENABLE_STATS holds.
///
/// # Invariants
///
/// It is counted in `WANTED`.
pub(crate) struct Wanted(());

impl Wanted {
    /// One more.
    pub(crate) fn new() -> Self {
        WANTED.fetch_add(1, Relaxed);
        // INVARIANT: counted just now.
        Wanted(())
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        WANTED.fetch_sub(1, Relaxed);
    }
}

impl FileObject for Wanted {
    const NAME: &'static CStr = c"bpf-stats";
}

/// What one CPU counted. It may be interrupted by another run while it counts.
#[derive(Default)]
struct Cpu {
    runs: AtomicU64,
    ns: AtomicU64,
    misses: AtomicU64,
}

/// What was counted of one program.
pub(super) struct Stats(Region<Cpu>);

/// Sums over all CPUs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    /// Runs.
    pub(crate) runs: u64,
    /// Nanoseconds that they took.
    pub(crate) ns: u64,
    /// Hits that did not run the program, because one of ours ran on that CPU already.
    pub(crate) misses: u64,
}

impl Stats {
    /// Nothing was counted.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new() -> Result<Self> {
        Ok(Stats(Region::new(cpus::ids(), None)?))
    }

    fn cpu(&self) -> Option<&Cpu> {
        self.0.get(cpus::current())
    }

    /// Counts a run of `f`.
    pub(super) fn count<R>(&self, f: impl FnOnce() -> R) -> R {
        let start = time::mono_fast_ns();
        let result = f();
        let spent = time::mono_fast_ns().wrapping_sub(start);
        if let Some(cpu) = self.cpu() {
            cpu.runs.fetch_add(1, Relaxed);
            cpu.ns.fetch_add(spent, Relaxed);
        }
        result
    }

    /// Counts a hit that did not run the program.
    pub(super) fn missed(&self) {
        if let Some(cpu) = self.cpu() {
            cpu.misses.fetch_add(1, Relaxed);
        }
    }

    /// What was counted so far.
    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for cpu in self.0.iter() {
            sums.runs = sums.runs.wrapping_add(cpu.runs.load(Relaxed));
            sums.ns = sums.ns.wrapping_add(cpu.ns.load(Relaxed));
            sums.misses = sums.misses.wrapping_add(cpu.misses.load(Relaxed));
        }
        sums
    }
}
