// SPDX-License-Identifier: GPL-2.0

//! Call chains, as perf collects them.

use super::args::CtxArg;
use super::bytes::Bytes;
use super::context::RunGuard;
use super::event::PerfData;
use super::perf_map::Regs;
use super::symbols;
use core::ptr;
use kernel::prelude::*;

extern "C" {
    fn oxbpf_callchain_max(max: *const c_int) -> c_int;
    fn oxbpf_callchain_take(max: *const c_int) -> c_int;
    fn oxbpf_callchain_give();
    fn oxbpf_callchain(
        regs: *mut c_void,
        probe: bool,
        user: bool,
        depth: u32,
        nr: *mut u32,
    ) -> *const u64;
    fn oxbpf_callchain_given(ctx: *const PerfData, ips: *mut *const u64, nr: *mut u32) -> bool;
}

/// The kernel's variable with the greatest depth, if everything else that is needed was found too.
fn setting() -> Option<*const c_int> {
    let all = symbols::CALLCHAIN.found()
        && symbols::CALLCHAIN_TAKE.found()
        && symbols::CALLCHAIN_GIVE.found();
    let max = symbols::CALLCHAIN_MAX.address()?;
    all.then_some(max as *const c_int)
}

/// `EOPNOTSUPP`
pub(crate) fn unsupported() -> Error {
    Error::from_errno(-95)
}

/// How deep chains may be; `None` when the kernel's functions for them were not found.
pub(crate) fn max_depth() -> Option<u32> {
    // SAFETY: the address is that of the kernel's variable.
    u32::try_from(unsafe { oxbpf_callchain_max(setting()?) }).ok()
}

/// A part in the kernel's buffers for chains, without which there are none.
///
/// # Invariants
///
/// It was taken, and is given back when this is dropped.
pub(crate) struct Buffers(());

impl Buffers {
    /// Takes part. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EOPNOTSUPP` when the kernel's functions were not found.
    pub(crate) fn new() -> Result<Self> {
        let max = setting().ok_or(unsupported())?;
        // SAFETY: the address is that of the kernel's variable, and its functions are there.
        kernel::error::to_result(unsafe { oxbpf_callchain_take(max) })?;
        // INVARIANT: taken just now.
        Ok(Buffers(()))
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: by the invariant.
        unsafe { oxbpf_callchain_give() };
    }
}

/// Whose calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The kernel's.
    Kernel,
    /// The current task's in user space.
    User,
}

/// Addresses of the chain that ends in these registers, or in the helper's caller, innermost first;
/// at most `depth`. They are good for this call of a helper.
pub(crate) fn get<'a>(
    regs: Option<Regs<'_>>,
    side: Side,
    depth: u32,
    _run: &'a RunGuard,
) -> Option<Bytes<'a>> {
    setting()?;
    let probe = regs.is_some_and(Regs::of_probe);
    let regs = regs.map_or(ptr::null_mut(), Regs::as_ptr);
    let mut nr = 0;
    // SAFETY: preemption is off, by the guard; the registers are those of the program's context.
    let ips = unsafe { oxbpf_callchain(regs, probe, side == Side::User, depth, &mut nr) };
    if ips.is_null() {
        return None;
    }
    // SAFETY: so many words are in a buffer of this CPU, which stays as long as somebody has a part:
    // the map, or the program, that brought us here. Others may write to it, which `Bytes` allows.
    Some(unsafe { Bytes::new(ips.cast(), (nr as usize).saturating_mul(8)) })
}

/// The chain that a perf event has collected for itself, the kernel's addresses before the user's;
/// `None` when it collects none, `Some(None)` when there was none to be had.
pub(crate) fn given<'a>(ctx: &'a CtxArg<PerfData>) -> Option<Option<Bytes<'a>>> {
    let (mut ips, mut nr) = (ptr::null(), 0);
    // SAFETY: by the type this is the context that the kernel made for the event.
    let collects = unsafe { oxbpf_callchain_given(ctx.as_ptr(), &mut ips, &mut nr) };
    if !collects {
        return None;
    }
    if ips.is_null() {
        return Some(None);
    }
    // SAFETY: so many words are in perf's buffer, which the event has a part in, while the program
    // runs, which is longer than the helper's call that the argument is of.
    Some(Some(unsafe {
        Bytes::new(ips.cast(), (nr as usize).saturating_mul(8))
    }))
}
