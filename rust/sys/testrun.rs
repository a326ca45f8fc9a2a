// SPDX-License-Identifier: GPL-2.0

//! Running a program many times, and for how long.

use super::context::RunGuard;
use core::ptr::NonNull;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::types::NotThreadSafe;

unsafe extern "C" {
    fn oxbpf_testrun_flags(mask: *mut c_ulong) -> *const c_ulong;
    safe fn oxbpf_testrun_signal() -> bool;
    safe fn oxbpf_testrun_yield();
    safe fn oxbpf_testrun_clock() -> u64;
    safe fn oxbpf_testrun_alloc() -> *mut c_void;
    fn oxbpf_testrun_free(net: *mut c_void);
    fn oxbpf_testrun_enter(net: *mut c_void);
    fn oxbpf_testrun_exit(net: *mut c_void);
    fn oxbpf_testrun_on(
        any: bool,
        cpu: c_uint,
        run: unsafe extern "C" fn(*mut c_void),
        data: *mut c_void,
    ) -> c_int;
}

/// A packet that is made up for a run: a linear part, and pages.
pub(crate) trait TestPacket {
    /// The linear part.
    fn head(&self) -> &[u8];

    /// The page of that number.
    fn frag(&self, index: u32) -> Option<&[u8]>;

    /// Bytes of the packet.
    fn len(&self) -> u32 {
        let mut len = self.head().len() as u32;
        let mut next = 0u32;
        while let Some(bytes) = self.frag(next) {
            len = len.saturating_add(bytes.len() as u32);
            next = next.saturating_add(1);
        }
        len
    }
}

/// What programs have around them where packets are.
///
/// # Invariants
///
/// From `oxbpf_testrun_alloc`, and this object's alone.
struct NetContext(NonNull<c_void>);

impl NetContext {
    fn new() -> Result<Self> {
        // INVARIANT: allocated just now.
        Ok(NetContext(
            NonNull::new(oxbpf_testrun_alloc()).ok_or(ENOMEM)?,
        ))
    }

    /// Softirqs are off, and redirects are noted here, while the result lives.
    fn enter(&mut self) -> Entered<'_> {
        // SAFETY: by the invariant it is there; `exit` follows before anything else is done with it,
        // for it is borrowed until then.
        unsafe { oxbpf_testrun_enter(self.0.as_ptr()) };
        // INVARIANT: entered just now.
        Entered(self, NotThreadSafe)
    }
}

impl Drop for NetContext {
    fn drop(&mut self) {
        // SAFETY: by the invariant it is there, and nobody else's.
        unsafe { oxbpf_testrun_free(self.0.as_ptr()) };
    }
}

/// # Invariants
///
/// The current task has entered the context.
struct Entered<'a>(&'a mut NetContext, NotThreadSafe);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // SAFETY: by the invariant it was entered, by this task.
        unsafe { oxbpf_testrun_exit(self.0 .0.as_ptr()) };
    }
}

/// Something that wants the current task's attention can be seen in one load.
struct Attention {
    flags: *const c_ulong,
    mask: c_ulong,
}

impl Attention {
    fn of_current() -> Self {
        let mut mask = 0;
        // SAFETY: `mask` can be written.
        let flags = unsafe { oxbpf_testrun_flags(&mut mask) };
        Attention { flags, mask }
    }

    /// A signal, or another task that should run.
    #[inline]
    fn wanted(&self) -> bool {
        // SAFETY: the current task's flags, and this object never leaves the task: it lives in one
        // call of `repeat`.
        (unsafe { self.flags.read_volatile() }) & self.mask != 0
    }
}

/// Calls `run` `times` times, at least once, under RCU with softirqs and preemption off, and in
/// between lets other tasks run. Returns its last result and the nanoseconds that one call took.
///
/// # Errors
///
/// `EINTR` when a signal comes before the last call, `ENOMEM`.
#[inline]
pub(crate) fn repeat<F: FnMut(&RunGuard) -> u32>(times: u32, mut run: F) -> Result<(u32, u32)> {
    let times = times.max(1);
    let attention = Attention::of_current();
    let mut net = NetContext::new()?;
    let mut spent = 0u64;
    let mut left = times;
    loop {
        let entered = net.enter();
        let guard = RunGuard::enter();
        let start = oxbpf_testrun_clock();
        let mut value;
        loop {
            value = run(&guard);
            left = left.wrapping_sub(1);
            if left == 0 || attention.wanted() {
                break;
            }
        }
        spent = spent.saturating_add(oxbpf_testrun_clock().saturating_sub(start));
        drop(guard);
        drop(entered);
        if left == 0 {
            let each = spent.checked_div(u64::from(times)).unwrap_or(0);
            return Ok((value, u32::try_from(each).unwrap_or(u32::MAX)));
        }
        if oxbpf_testrun_signal() {
            return Err(EINTR);
        }
        oxbpf_testrun_yield();
    }
}

/// Calls `run` once with preemption off, on CPU number `cpu` if one is given, there in an interrupt.
///
/// # Errors
///
/// `ENXIO`: no such CPU, or it is offline.
pub(crate) fn on_cpu<F: Fn(&RunGuard) -> u32 + Sync>(cpu: Option<u32>, run: F) -> Result<u32> {
    /// # Safety
    ///
    /// `data` points to a [`Call`] that nobody else uses; preemption is off.
    unsafe extern "C" fn call<F: Fn(&RunGuard) -> u32>(data: *mut c_void) {
        // SAFETY: the caller's promise.
        let call = unsafe { &mut *data.cast::<Call<F>>() };
        // SAFETY: the caller's promise: preemption is off until this returns.
        let guard = unsafe { RunGuard::already() };
        call.value = (call.run)(guard);
    }

    struct Call<F> {
        run: F,
        value: u32,
    }

    let mut call_data = Call { run, value: 0 };
    let data: *mut Call<F> = &mut call_data;
    // SAFETY: `call` gets the only pointer to the call, with preemption off, and the shim waits until
    // it has returned. It may be on another CPU, for the closure is `Sync`.
    to_result(unsafe {
        oxbpf_testrun_on(cpu.is_none(), cpu.unwrap_or(0), call::<F>, data.cast())
    })?;
    Ok(call_data.value)
}
