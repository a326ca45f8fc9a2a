// SPDX-License-Identifier: GPL-2.0

//! Perf events: programs that run where the kernel runs those of bpf(2).

use super::hook::{Hook, RawHook};
use super::symbols;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;

/// `struct oxbpf_perf` of the C shim.
#[repr(C)]
struct RawPerf {
    _opaque: [u8; 0],
}

/// `struct oxbpf_perf_prog`: what is known of a program.
#[repr(C)]
pub(crate) struct Facts {
    /// Its type.
    pub(crate) ty: u32,
    /// What it was loaded to be attached to.
    pub(crate) attach_type: u32,
    /// It reads its context up to this byte.
    pub(crate) ctx_end: u32,
    /// It asks for stack traces.
    pub(crate) stacks: bool,
    /// It makes tail calls.
    pub(crate) tail_calls: bool,
    /// It asks which function it is at.
    pub(crate) asks_func: bool,
}

/// `struct oxbpf_perf_info`
#[repr(C)]
struct RawInfo {
    name: *const c_char,
    offset: u64,
    addr: u64,
    missed: u64,
    config: u64,
    event_type: u32,
    fd_type: u32,
}

extern "C" {
    fn oxbpf_perf_attach(
        fd: c_uint,
        facts: *const Facts,
        cookie: u64,
        hook: *const RawHook,
    ) -> *mut RawPerf;
    fn oxbpf_perf_detach(perf: *mut RawPerf);
    fn oxbpf_perf_give(perf: *mut RawPerf, gone: unsafe extern "C" fn(*const c_void)) -> c_int;
    fn oxbpf_perf_info(perf: *const RawPerf, info: *mut RawInfo) -> c_int;
    fn oxbpf_perf_exit();
}

/// Where a hook is.
pub(crate) struct Info<'a> {
    /// The tracepoint's, function's or file's name.
    pub(crate) name: Option<&'a CStr>,
    /// From there.
    pub(crate) offset: u64,
    /// The address, or a uprobe's counter of references.
    pub(crate) addr: u64,
    /// How often the kernel left its kprobe out.
    pub(crate) missed: u64,
    /// `enum bpf_task_fd_type`
    pub(crate) fd_type: u32,
}

/// A hook at a perf event, which it keeps; dropping takes it off, and waits until nobody is in it.
///
/// # Invariants
///
/// `raw` is attached and not given away, and its hook is `hook`.
pub(crate) struct Perf<H: Hook> {
    raw: NonNull<RawPerf>,
    hook: KBox<H>,
}

impl<H: Hook> Perf<H> {
    /// Hooks into the perf event behind descriptor `fd`.
    ///
    /// # Errors
    ///
    /// The kernel's for its own programs: `EBADF` for what is no perf event, `EINVAL` for an event of
    /// another kind than the program, `EEXIST` when it has a program, `EACCES` when the event's
    /// record is shorter than what the program reads, `E2BIG`, `ENOMEM`. `EOPNOTSUPP` for inherited
    /// events, and where the kernel's functions are not to be found.
    pub(crate) fn attach(fd: u32, facts: &Facts, cookie: u64, hook: KBox<H>) -> Result<Self> {
        let wanted = [
            &symbols::PERF_EVENT_GET,
            &symbols::PERF_EVENT_SET,
            &symbols::PERF_EVENT_FREE,
            &symbols::PERF_EVENT_INFO,
        ];
        if wanted.iter().any(|symbol| !symbol.found()) {
            return Err(Error::from_errno(-95));
        }
        let raw_hook = RawHook::new(&*hook);
        // SAFETY: the functions were found; the shim keeps a copy of the hook, and uses that only
        // until it is detached or says that it is gone.
        let raw = from_err_ptr(unsafe { oxbpf_perf_attach(fd, facts, cookie, &raw_hook) })?;
        // INVARIANT: attached just now.
        Ok(Perf {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            hook,
        })
    }

    /// Leaves it at the event for as long as that lives.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the module is about to go.
    pub(crate) fn give(self) -> Result {
        // SAFETY: by the invariant it is attached and not given away.
        to_result(unsafe { oxbpf_perf_give(self.raw.as_ptr(), gone::<H>) })?;
        let given = ManuallyDrop::new(self);
        // SAFETY: `given` is never used again, so the box has one owner: the shim, whose copy of the
        // hook points to it. `gone` takes it back.
        let hook = unsafe { core::ptr::read(&given.hook) };
        KBox::leak(hook);
        Ok(())
    }

    /// Where it is; `None` when the kernel does not say, as for events that are nowhere in the code.
    pub(crate) fn info(&self) -> Option<Info<'_>> {
        let (raw, found) = self.raw_info();
        if !found {
            return None;
        }
        let name = match raw.name.is_null() {
            true => None,
            // SAFETY: the event's own string, which lives as long as the event.
            false => Some(unsafe { CStr::from_char_ptr(raw.name) }),
        };
        Some(Info {
            name,
            offset: raw.offset,
            addr: raw.addr,
            missed: raw.missed,
            fd_type: raw.fd_type,
        })
    }

    /// `type` and `config` of the event's attributes.
    pub(crate) fn event(&self) -> (u32, u64) {
        let (raw, _) = self.raw_info();
        (raw.event_type, raw.config)
    }

    fn raw_info(&self) -> (RawInfo, bool) {
        let mut info = RawInfo {
            name: core::ptr::null(),
            offset: 0,
            addr: 0,
            missed: 0,
            config: 0,
            event_type: 0,
            fd_type: 0,
        };
        // SAFETY: by the invariant it is attached; `info` can be written.
        let found = unsafe { oxbpf_perf_info(self.raw.as_ptr(), &mut info) } == 0;
        (info, found)
    }
}

impl<H: Hook> Drop for Perf<H> {
    fn drop(&mut self) {
        // SAFETY: by the invariant it is attached and not given away, and nobody uses it later. The
        // hook goes after it.
        unsafe { oxbpf_perf_detach(self.raw.as_ptr()) };
    }
}

// SAFETY: the shim's functions may be called by any task; the hook is `Send`.
unsafe impl<H: Hook> Send for Perf<H> {}
// SAFETY: what takes `&self` only reads; the hook is `Sync`.
unsafe impl<H: Hook> Sync for Perf<H> {}

/// The event ended that the hook was given to.
///
/// # Safety
///
/// `data` is the `H` of a [`Perf::give`], and this is the only call with it.
unsafe extern "C" fn gone<H: Hook>(data: *const c_void) {
    // SAFETY: by the contract it was leaked there, and nobody else has it any more.
    drop(unsafe { KBox::from_raw(data.cast::<H>().cast_mut()) });
}

/// While it lives, hooks can be given to events. It goes after the last event that has one.
pub(crate) struct Given(());

impl Given {
    /// Once, when the module is loaded.
    pub(crate) fn start() -> Self {
        Given(())
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        // SAFETY: no requirements; it waits for the callbacks of events that are gone.
        unsafe { oxbpf_perf_exit() };
    }
}
