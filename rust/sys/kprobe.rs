// SPDX-License-Identifier: GPL-2.0

//! Kernel probes: sets of places that share one handler.

use super::context::RunGuard;
use core::marker::PhantomData;
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
        run: unsafe extern "C" fn(*const c_void, *mut c_void),
        miss: unsafe extern "C" fn(*const c_void),
        data: *const c_void,
    ) -> *mut RawProbes;
    fn oxbpf_probes_add(
        set: *mut RawProbes,
        symbol: *const c_char,
        offset: c_uint,
        addr: c_ulong,
    ) -> c_int;
    fn oxbpf_probes_register(set: *mut RawProbes) -> c_int;
    fn oxbpf_probes_unregister(set: *mut RawProbes);
    fn oxbpf_probes_free(set: *mut RawProbes);
    fn oxbpf_probes_missed(set: *const RawProbes) -> c_ulong;
    fn oxbpf_probes_addr(set: *const RawProbes, index: c_uint) -> c_ulong;
}

/// The registers at a probe: valid while the handler runs.
///
/// # Invariants
///
/// The address is that of a `struct pt_regs` that lives as long as `'a`.
pub(crate) struct Regs<'a> {
    addr: usize,
    _regs: PhantomData<&'a mut ()>,
}

impl Regs<'_> {
    /// Address of the `struct pt_regs`.
    #[inline]
    pub(crate) fn addr(&self) -> usize {
        self.addr
    }
}

/// What happens at a probe.
pub(crate) trait Handler: Send + Sync + 'static {
    /// A probe was hit. Never twice at once on a CPU; possibly with interrupts off.
    fn hit(&self, run: &RunGuard, regs: Regs<'_>);

    /// A probe was hit inside of another, or of anything else of ours on that CPU.
    fn missed(&self);
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
/// `raw` is a set from `oxbpf_probes_alloc` that is not registered, whose data pointer is
/// `handler`'s address. Symbol names that the set points to are in `names`.
pub(crate) struct Builder<H: Handler> {
    raw: NonNull<RawProbes>,
    handler: KBox<H>,
    names: KVVec<KVVec<u8>>,
}

impl<H: Handler> Builder<H> {
    /// An empty set for up to `size` probes; with `is_return` they hit when the function returns.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn new(size: u32, is_return: bool, handler: KBox<H>) -> Result<Self> {
        let data: *const H = &*handler;
        // SAFETY: the shim keeps the two pointers, and calls one with the other only while the set
        // is registered.
        let raw = unsafe { oxbpf_probes_alloc(size, is_return, hit::<H>, miss::<H>, data.cast()) };
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
    pub(crate) fn add(&mut self, target: Target<'_>) -> Result {
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
        to_result(unsafe { oxbpf_probes_add(self.raw.as_ptr(), name, offset, addr) })
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

impl<H: Handler> Drop for Builder<H> {
    fn drop(&mut self) {
        // SAFETY: by the invariant the set is there and not registered, and nobody uses it later.
        unsafe { oxbpf_probes_free(self.raw.as_ptr()) };
    }
}

// SAFETY: the set is plain memory that whoever owns the builder may use; the handler is `Send`.
unsafe impl<H: Handler> Send for Builder<H> {}
// SAFETY: as for `Send`; what takes `&self` only reads, and the handler is `Sync`.
unsafe impl<H: Handler> Sync for Builder<H> {}

/// Probes that are in place; dropping takes them out and waits for running handlers.
///
/// # Invariants
///
/// The set is registered.
pub(crate) struct Probes<H: Handler> {
    set: Builder<H>,
}

impl<H: Handler> Probes<H> {
    /// What runs at the probes.
    pub(crate) fn handler(&self) -> &H {
        &self.set.handler
    }

    /// How many hits did not reach the handler.
    pub(crate) fn missed(&self) -> u64 {
        // SAFETY: by the builder's invariant the set is there.
        unsafe { oxbpf_probes_missed(self.set.raw.as_ptr()) as u64 }
    }
}

impl<H: Handler> Probes<H> {
    /// Address of probe number `index`, in the order of the addresses given or the symbols' names;
    /// 0 when there is none.
    pub(crate) fn addr(&self, index: u32) -> usize {
        // SAFETY: by the invariant the set is there and registered.
        unsafe { oxbpf_probes_addr(self.set.raw.as_ptr(), index) as usize }
    }
}

impl<H: Handler> Drop for Probes<H> {
    fn drop(&mut self) {
        // SAFETY: by the invariant the set is registered, and this is the only time it is taken
        // back. Afterwards the builder's own drop frees it, and no handler runs.
        unsafe { oxbpf_probes_unregister(self.set.raw.as_ptr()) };
    }
}

/// What the C shim calls at a probe.
///
/// # Safety
///
/// `data` points to the `H` of a registered set, `regs` to a `struct pt_regs` that lives until the
/// call returns.
unsafe extern "C" fn hit<H: Handler>(data: *const c_void, regs: *mut c_void) {
    // SAFETY: by the contract `data` points to an `H` that lives while the set is registered.
    let handler = unsafe { &*data.cast::<H>() };
    // INVARIANT: by the contract the registers live until this returns, and the type's lifetime
    // ends before.
    let regs = Regs {
        addr: regs as usize,
        _regs: PhantomData,
    };
    // SAFETY: the shim calls with preemption off until this returns.
    let run = unsafe { RunGuard::already() };
    handler.hit(&run, regs);
}

/// What the C shim calls when a probe is hit inside of something of ours.
///
/// # Safety
///
/// `data` points to the `H` of a registered set.
unsafe extern "C" fn miss<H: Handler>(data: *const c_void) {
    // SAFETY: by the contract `data` points to an `H` that lives while the set is registered.
    unsafe { &*data.cast::<H>() }.missed();
}
