// SPDX-License-Identifier: GPL-2.0

//! What happens when a hook is hit that a program is attached to.

use super::context::RunGuard;
use kernel::prelude::*;

/// What runs at a hook.
pub(crate) trait Hook: Send + Sync + 'static {
    /// The hook was hit: what the program returns for the context at `ctx`. Never twice at once on a
    /// CPU; possibly with interrupts off.
    fn hit(&self, run: &RunGuard, ctx: usize) -> u64;

    /// The hook was hit inside of another, or of anything else of ours on that CPU.
    fn missed(&self);
}

/// `struct oxbpf_hook`
#[repr(C)]
pub(super) struct RawHook {
    run: unsafe extern "C" fn(*const c_void, *const c_void) -> u64,
    miss: unsafe extern "C" fn(*const c_void),
    data: *const c_void,
}

impl RawHook {
    /// What the C shims call. It is good as long as `hook` is there.
    pub(super) fn new<H: Hook>(hook: &H) -> Self {
        RawHook {
            run: hit::<H>,
            miss: miss::<H>,
            data: core::ptr::from_ref(hook).cast(),
        }
    }
}

/// # Safety
///
/// `data` is that of a [`RawHook`] of an `H` that is still there; `ctx` is what programs of that
/// hook expect, until this returns; preemption is off.
unsafe extern "C" fn hit<H: Hook>(data: *const c_void, ctx: *const c_void) -> u64 {
    // SAFETY: by the contract `data` points to an `H`.
    let hook = unsafe { &*data.cast::<H>() };
    // SAFETY: by the contract preemption is off until this returns.
    let run = unsafe { RunGuard::already() };
    hook.hit(run, ctx as usize)
}

/// # Safety
///
/// `data` is that of a [`RawHook`] of an `H` that is still there.
unsafe extern "C" fn miss<H: Hook>(data: *const c_void) {
    // SAFETY: by the contract `data` points to an `H`.
    unsafe { &*data.cast::<H>() }.missed();
}
