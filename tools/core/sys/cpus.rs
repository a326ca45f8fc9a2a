// SPDX-License-Identifier: GPL-2.0

//! Host twin of `rust/sys/cpus.rs`: four virtual CPUs.
//!
//! A thread has one of them for good as its current one, and owns one while it holds a map lock,
//! as a kernel thread does that cannot be preempted there.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::cell::Cell;

const CPUS: usize = 4;

static OWNED: [AtomicBool; CPUS] = [const { AtomicBool::new(false) }; CPUS];
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static CURRENT: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % CPUS);
    static PINNED: Cell<bool> = const { Cell::new(false) };
    static INSIDE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// One more than the highest CPU number.
pub fn ids() -> usize {
    CPUS
}

/// Whether a CPU of that number can ever be there.
pub fn is_possible(cpu: usize) -> bool {
    cpu < CPUS
}

/// The CPU that this runs on.
pub fn current() -> usize {
    INSIDE.get().unwrap_or_else(|| CURRENT.get())
}

/// The NUMA node that possible CPU `cpu` is nearest to.
pub fn node(cpu: usize) -> Option<u32> {
    is_possible(cpu).then_some(0)
}

/// Makes `cpu` the current one of this thread, which from now on owns no other, for tests.
pub fn set_current(cpu: usize) {
    PINNED.set(true);
    CURRENT.set(cpu % CPUS);
}

/// Owns a CPU; `None` when this thread does already.
pub(super) fn enter() -> Option<usize> {
    if INSIDE.get().is_some() {
        return None;
    }
    let mut cpu = CURRENT.get();
    while OWNED.get(cpu)?.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
        if !PINNED.get() {
            cpu = (cpu + 1) % CPUS;
        }
    }
    INSIDE.set(Some(cpu));
    Some(cpu)
}

/// Gives the CPU back that `enter` gave.
pub(super) fn leave(cpu: usize) {
    INSIDE.set(None);
    if let Some(c) = OWNED.get(cpu) {
        c.store(false, Ordering::Release);
    }
}
