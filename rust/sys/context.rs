// SPDX-License-Identifier: GPL-2.0

//! Proofs of where code runs: under RCU, with preemption off, not nested, free to be scheduled.

use core::ptr::NonNull;
use kernel::types::NotThreadSafe;

extern "C" {
    fn oxbpf_run_enter();
    fn oxbpf_run_exit();
    fn oxbpf_nest_enter() -> bool;
    fn oxbpf_nest_exit();
    fn oxbpf_event_none(before: *mut Event);
    fn oxbpf_event_back(before: *const Event);
    fn oxbpf_breathe() -> bool;
}

/// What a program needs around it: RCU's read side, and a CPU that stays.
///
/// # Invariants
///
/// Preemption is off on the current CPU, which is also a read side of RCU.
pub(crate) struct RunGuard(NotThreadSafe);

impl RunGuard {
    /// Enters.
    #[inline]
    pub(crate) fn enter() -> Self {
        // SAFETY: no requirements.
        unsafe { oxbpf_run_enter() };
        // INVARIANT: done just now.
        RunGuard(NotThreadSafe)
    }

    /// A guard for code that the kernel calls so. It is nowhere, so that a call at the end of such code
    /// needs no frame.
    ///
    /// # Safety
    ///
    /// Preemption is off on the current CPU for all of `'a`.
    #[inline(always)]
    pub(crate) unsafe fn already<'a>() -> &'a Self {
        const { assert!(size_of::<Self>() == 0) };
        // SAFETY: what has no bytes may be anywhere.
        // INVARIANT: the caller says so.
        unsafe { NonNull::dangling().as_ref() }
    }
}

impl Drop for RunGuard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: entered when the guard was made; one that was not is never dropped.
        unsafe { oxbpf_run_exit() };
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
    /// Keeps probes on this CPU from running programs.
    #[inline]
    pub(crate) fn enter(_run: &'a RunGuard) -> Self {
        // SAFETY: preemption is off while the guard lives, and the level ends before.
        unsafe { oxbpf_nest_enter() };
        // INVARIANT: counted just now.
        Nest(core::marker::PhantomData)
    }
}

impl Drop for Nest<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: by the invariant this CPU's count contains this level.
        unsafe { oxbpf_nest_exit() };
    }
}

/// `struct oxbpf_event`
#[repr(C)]
struct Event {
    cookie: u64,
    ip: usize,
}

/// A level of ours in which a program runs for no event: its helpers have none to tell of.
///
/// # Invariants
///
/// `before` is the event of this CPU outside of the level.
pub(crate) struct NoEvent<'a> {
    before: Event,
    _nest: Nest<'a>,
}

impl<'a> NoEvent<'a> {
    /// Enters the level.
    #[inline]
    pub(crate) fn enter(run: &'a RunGuard) -> Self {
        let nest = Nest::enter(run);
        let mut before = Event { cookie: 0, ip: 0 };
        // SAFETY: on one of our levels, and `before` can be written.
        unsafe { oxbpf_event_none(&mut before) };
        // INVARIANT: filled just now.
        NoEvent {
            before,
            _nest: nest,
        }
    }
}

impl Drop for NoEvent<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: by the invariant; the level ends after this, on the same CPU.
        unsafe { oxbpf_event_back(&self.before) };
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
