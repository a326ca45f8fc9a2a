// SPDX-License-Identifier: GPL-2.0

//! Raw tracepoints: programs that get the arguments of the kernel's tracepoints.

use super::hook::{Hook, RawHook};
use super::symbols::{GET_RAW_TRACEPOINT, PUT_RAW_TRACEPOINT};
use core::ptr::NonNull;
use kernel::error::from_err_ptr;
use kernel::prelude::*;

/// `struct oxbpf_raw_tp` of the C shim.
#[repr(C)]
struct RawTracepoint {
    _opaque: [u8; 0],
}

extern "C" {
    fn oxbpf_raw_tp_attach(
        name: *const c_char,
        ctx_end: u32,
        cookie: u64,
        hook: *const RawHook,
    ) -> *mut RawTracepoint;
    fn oxbpf_raw_tp_detach(tp: *mut RawTracepoint);
    fn oxbpf_raw_tp_name(tp: *const RawTracepoint) -> *const c_char;
}

/// Arguments that a tracepoint has at most (`MAX_BPF_FUNC_ARGS`); a context has as many words.
pub(crate) const ARGS_MAX: usize = 12;

/// A hook on a tracepoint; dropping takes it off, and waits until nobody is in it.
///
/// # Invariants
///
/// `raw` is attached, and its hook is `hook`.
pub(crate) struct Tracepoint<H: Hook> {
    raw: NonNull<RawTracepoint>,
    _hook: KBox<H>,
}

impl<H: Hook> Tracepoint<H> {
    /// Hooks into the tracepoint `name`. The hook's context is an array of [`ARGS_MAX`] words, the
    /// arguments first and 0 in the others; `ctx_end` bytes of it are read.
    ///
    /// # Errors
    ///
    /// `ENOENT`: no such tracepoint. `EINVAL`: it has fewer arguments. `EOPNOTSUPP`: not on this
    /// kernel. `ENOMEM`.
    pub(crate) fn attach(name: &CStr, ctx_end: u32, cookie: u64, hook: KBox<H>) -> Result<Self> {
        if !GET_RAW_TRACEPOINT.found() || !PUT_RAW_TRACEPOINT.found() {
            return Err(Error::from_errno(-95));
        }
        let raw_hook = RawHook::new(&*hook);
        // SAFETY: the two functions were found; the shim keeps a copy of the hook, and uses that only
        // until it is detached.
        let raw = from_err_ptr(unsafe {
            oxbpf_raw_tp_attach(name.as_char_ptr(), ctx_end, cookie, &raw_hook)
        })?;
        // INVARIANT: attached just now.
        Ok(Tracepoint {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            _hook: hook,
        })
    }

    /// The tracepoint's name.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: by the invariant it is attached, so it is there, and its name is a string that
        // lives as long.
        unsafe { CStr::from_char_ptr(oxbpf_raw_tp_name(self.raw.as_ptr())) }
    }
}

impl<H: Hook> Drop for Tracepoint<H> {
    fn drop(&mut self) {
        // SAFETY: by the invariant it is attached, and nobody uses it later. The hook goes after it.
        unsafe { oxbpf_raw_tp_detach(self.raw.as_ptr()) };
    }
}

// SAFETY: the shim's functions may be called by any task; the hook is `Send`.
unsafe impl<H: Hook> Send for Tracepoint<H> {}
// SAFETY: what takes `&self` only reads what never changes; the hook is `Sync`.
unsafe impl<H: Hook> Sync for Tracepoint<H> {}
