// SPDX-License-Identifier: GPL-2.0

//! Proofs of where code runs: under RCU, with preemption off, not nested, free to be scheduled.

use kernel::sync::rcu;
use kernel::types::NotThreadSafe;

extern "C" {
    fn oxbpf_preempt_disable();
    fn oxbpf_preempt_enable();
    fn oxbpf_nest_enter() -> bool;
    fn oxbpf_nest_exit();
    fn oxbpf_breathe() -> bool;
}

/// The CPU does not change while it lives, and nothing sleeps.
///
/// # Invariants
///
/// Preemption is off on the current CPU.
pub(crate) struct Preempt(NotThreadSafe);

impl Preempt {
    /// Turns preemption off.
    #[inline]
    pub(crate) fn disable() -> Self {
        // SAFETY: no requirements.
        unsafe { oxbpf_preempt_disable() };
        // INVARIANT: done just now.
        Preempt(NotThreadSafe)
    }
}

impl Drop for Preempt {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: by the invariant it was turned off, and that is undone once.
        unsafe { oxbpf_preempt_enable() };
    }
}

/// What a program needs around it: RCU's read side, and a CPU that stays.
///
/// The fields go in order: first preemption comes back, then the read side ends.
pub(crate) struct RunGuard {
    _preempt: Preempt,
    _rcu: rcu::Guard,
}

impl RunGuard {
    /// Enters.
    #[inline]
    pub(crate) fn enter() -> Self {
        let rcu = rcu::read_lock();
        RunGuard {
            _preempt: Preempt::disable(),
            _rcu: rcu,
        }
    }
}

/// One level of ours on this CPU: a probe that hits inside of it must not run a program.
///
/// # Invariants
///
/// The CPU's nesting count contains this level, and the CPU stays the same while it lives (`'a`
/// borrows the proof).
pub(crate) struct Nest<'a>(core::marker::PhantomData<(&'a RunGuard, NotThreadSafe)>);

impl<'a> Nest<'a> {
    /// For probes: `None` when something of ours already runs on this CPU.
    #[inline]
    pub(crate) fn try_enter(run: &'a RunGuard) -> Option<Self> {
        let nest = Self::enter_counted(run);
        match nest {
            (nest, true) => Some(nest),
            // Dropping the level takes it back.
            (_, false) => None,
        }
    }

    /// For commands: keeps probes on this CPU from running programs.
    #[inline]
    pub(crate) fn enter(run: &'a RunGuard) -> Self {
        Self::enter_counted(run).0
    }

    #[inline]
    fn enter_counted(_run: &'a RunGuard) -> (Self, bool) {
        // SAFETY: preemption is off while `run` lives.
        let first = unsafe { oxbpf_nest_enter() };
        // INVARIANT: counted just now.
        (Nest(core::marker::PhantomData), first)
    }
}

impl Drop for Nest<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: by the invariant this CPU's count contains this level.
        unsafe { oxbpf_nest_exit() };
    }
}

/// Lets other tasks run; true when the current one has a signal to handle, so that long work should
/// end.
///
/// Only where sleeping is allowed.
pub(crate) fn breathe() -> bool {
    // SAFETY: no requirements but a context that may sleep; when it may not, the kernel's own
    // debugging says so and nothing else happens.
    unsafe { oxbpf_breathe() }
}
