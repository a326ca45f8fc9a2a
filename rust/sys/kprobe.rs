// SPDX-License-Identifier: GPL-2.0

//! Kernel probes: sets of places that share one handler.

use super::hook::{Hook, RawHook};
use core::ptr::NonNull;
use kernel::error::to_result;
use kernel::prelude::*;

/// `struct oxbpf_probes` of the C shim.
#[repr(C)]
struct RawProbes {
    _opaque: [u8; 0],
}

extern "C" {
    fn oxbpf_probes_alloc(
        size: c_uint,
        is_return: bool,
        has_cookies: bool,
        hook: *const RawHook,
    ) -> *mut RawProbes;
    fn oxbpf_probes_add(
        set: *mut RawProbes,
        symbol: *const c_char,
        offset: c_uint,
        addr: c_ulong,
        cookie: u64,
    ) -> c_int;
    fn oxbpf_probes_register(set: *mut RawProbes) -> c_int;
    fn oxbpf_probes_unregister(set: *mut RawProbes);
    fn oxbpf_probes_free(set: *mut RawProbes);
    fn oxbpf_probes_missed(set: *const RawProbes) -> c_ulong;
    fn oxbpf_probes_addr(set: *const RawProbes, index: c_uint) -> c_ulong;
    fn oxbpf_probes_cookie(set: *const RawProbes, index: c_uint) -> u64;
}

/// Where a probe goes.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// So many bytes behind the symbol.
    Symbol(&'a CStr, u32),
    /// At the address.
    Addr(usize),
}

/// A set of probes that is being filled.
///
/// # Invariants
///
/// `raw` is a set from `oxbpf_probes_alloc` that is not registered, whose hook is `handler`. Symbol names that the set points to are in `names`.
pub(crate) struct Builder<H: Hook> {
    raw: NonNull<RawProbes>,
    handler: KBox<H>,
    names: KVVec<KVVec<u8>>,
}

impl<H: Hook> Builder<H> {
    /// An empty set for up to `size` probes; with `is_return` they hit when the function returns,
    /// and with `has_cookies` programs can ask for what their probe was added with.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn new(
        size: u32,
        is_return: bool,
        has_cookies: bool,
        handler: KBox<H>,
    ) -> Result<Self> {
        let hook = RawHook::new(&*handler);
        // SAFETY: the shim keeps a copy of the hook, and uses that only while the set is registered.
        let raw = unsafe { oxbpf_probes_alloc(size, is_return, has_cookies, &hook) };
        // INVARIANT: allocated just now; no names yet.
        Ok(Builder {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            handler,
            names: KVVec::new(),
        })
    }

    /// Adds a probe.
    ///
    /// # Errors
    ///
    /// `E2BIG` when the set is full, `ENOMEM`.
    pub(crate) fn add(&mut self, target: Target<'_>, cookie: u64) -> Result {
        let (name, offset, addr) = match target {
            Target::Symbol(name, offset) => {
                let mut copy = KVVec::new();
                copy.extend_from_slice(name.to_bytes_with_nul(), GFP_KERNEL_ACCOUNT)?;
                let ptr: *const u8 = copy.as_ptr();
                // The bytes stay where they are when the vector of vectors grows.
                self.names.push(copy, GFP_KERNEL_ACCOUNT)?;
                (ptr.cast(), offset, 0)
            }
            Target::Addr(addr) => (core::ptr::null(), 0, addr),
        };
        // SAFETY: by the invariant the set is there and not registered; the name is NULL or a
        // string in `names`, which is dropped after the set.
        to_result(unsafe { oxbpf_probes_add(self.raw.as_ptr(), name, offset, addr, cookie) })
    }

    /// Registers all probes, or none.
    ///
    /// # Errors
    ///
    /// `ENOENT` for a symbol that is not there, or among several an address that is no function's
    /// entry; `EINVAL` for a place that must not be probed; `EILSEQ` inside an instruction; `E2BIG`
    /// for more places than the kernel can take at once; `ENOMEM`.
    pub(crate) fn register(self) -> Result<Probes<H>> {
        // SAFETY: by the invariant the set is there and not registered, and its data pointer is
        // valid as long as `self.handler`, which the result keeps until it is unregistered.
        to_result(unsafe { oxbpf_probes_register(self.raw.as_ptr()) })?;
        // INVARIANT: registered just now.
        Ok(Probes { set: self })
    }
}

impl<H: Hook> Drop for Builder<H> {
    fn drop(&mut self) {
        // SAFETY: by the invariant the set is there and not registered, and nobody uses it later.
        unsafe { oxbpf_probes_free(self.raw.as_ptr()) };
    }
}

// SAFETY: the set is plain memory that whoever owns the builder may use; the handler is `Send`.
unsafe impl<H: Hook> Send for Builder<H> {}
// SAFETY: as for `Send`; what takes `&self` only reads, and the handler is `Sync`.
unsafe impl<H: Hook> Sync for Builder<H> {}

/// Probes that are in place; dropping takes them out and waits for running handlers.
///
/// # Invariants
///
/// The set is registered.
pub(crate) struct Probes<H: Hook> {
    set: Builder<H>,
}

impl<H: Hook> Probes<H> {
    /// How many hits did not reach the handler.
    pub(crate) fn missed(&self) -> u64 {
        // SAFETY: by the builder's invariant the set is there.
        unsafe { oxbpf_probes_missed(self.set.raw.as_ptr()) as u64 }
    }
}

impl<H: Hook> Probes<H> {
    /// Address of probe number `index`, in the order of the addresses given or the symbols' names, or
    /// where there are cookies of the addresses; 0 when there is none.
    pub(crate) fn addr(&self, index: u32) -> usize {
        // SAFETY: by the invariant the set is there and registered.
        unsafe { oxbpf_probes_addr(self.set.raw.as_ptr(), index) as usize }
    }

    /// Its cookie.
    pub(crate) fn cookie(&self, index: u32) -> u64 {
        // SAFETY: as for `addr`.
        unsafe { oxbpf_probes_cookie(self.set.raw.as_ptr(), index) }
    }
}

impl<H: Hook> Drop for Probes<H> {
    fn drop(&mut self) {
        // SAFETY: by the invariant the set is registered, and this is the only time it is taken
        // back. Afterwards the builder's own drop frees it, and no handler runs.
        unsafe { oxbpf_probes_unregister(self.set.raw.as_ptr()) };
    }
}
