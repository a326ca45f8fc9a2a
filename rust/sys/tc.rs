// SPDX-License-Identifier: GPL-2.0

//! The tc kinds, classifier and action: programs that netlink puts at queueing disciplines.

use super::context::RunGuard;
use super::shared::{Object, Shared};
use super::text::Base;
use core::marker::PhantomData;
use core::sync::atomic::AtomicI64;
use kernel::error::to_result;
use kernel::prelude::*;

/// `struct oxbpf_tc_info`
#[repr(C)]
struct RawInfo {
    entry: usize,
    id: u32,
    needs_dst: bool,
    needs_ends: bool,
    tag: [u8; 8],
}

/// `struct oxbpf_tc_calls`
#[repr(C)]
struct RawCalls {
    get: unsafe extern "C" fn(u32, u32, *mut *const c_void) -> c_int,
    put: unsafe extern "C" fn(*const c_void),
    info: unsafe extern "C" fn(*const c_void, *mut RawInfo),
    run: unsafe extern "C" fn(*const c_void, *mut c_void) -> u32,
}

extern "C" {
    fn oxbpf_tc_register(calls: *const RawCalls, counting: *const AtomicI64, bpf: bool) -> c_int;
    fn oxbpf_tc_unregister(bpf: bool);
}

/// What a filter or action runs.
///
/// Its release waits for a grace period ([`super::shared::Release::Grace`]), for packets may be in
/// it when the filter goes.
pub(crate) trait Classifier: Object {
    /// The program of type `ty` (`enum bpf_prog_type`) behind descriptor `fd` of the current task.
    ///
    /// # Errors
    ///
    /// `EBADF`, `EINVAL`
    fn from_fd(fd: u32, ty: u32) -> Result<Shared<Self>>;

    /// Its verdict on the packet whose `struct sk_buff` is at `skb`.
    fn classify(&self, run: &RunGuard, skb: usize) -> u32;

    /// What runs it, as [`Self::classify`] does while runs are not counted; it lives as long.
    fn base(&self) -> &Base;

    /// Not 0 while runs are counted.
    fn counting() -> &'static AtomicI64;

    /// What user space knows it by besides its id.
    fn tag(&self) -> [u8; 8];

    /// It reads what the packet's route says.
    fn needs_dst(&self) -> bool;

    /// It, a helper that it calls or a program that it jumps to may look at where the packet's bytes
    /// end, or note it.
    fn needs_ends(&self) -> bool;
}

/// The names that a pair of kinds can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// `oxbpf`
    Own,
    /// `bpf`, the kernel's own, where that is not there.
    Bpf,
}

/// A classifier and an action kind that tc knows. Filters and actions of them hold the module, so
/// none is there any more when this is dropped.
///
/// # Invariants
///
/// The kinds are registered, with the calls of `P`.
pub(crate) struct Kinds<P: Classifier>(Name, PhantomData<P>);

impl<P: Classifier> Kinds<P> {
    const CALLS: &'static RawCalls = &RawCalls {
        get: get::<P>,
        put: put::<P>,
        info: info::<P>,
        run: run::<P>,
    };

    /// Makes the kinds known.
    ///
    /// # Errors
    ///
    /// `EEXIST` when somebody has the name, `EOPNOTSUPP` when the kernel's softirqs can be
    /// preempted, `ENOMEM`.
    pub(crate) fn register(name: Name) -> Result<Self> {
        const {
            assert!(matches!(P::RELEASE, super::shared::Release::Grace));
        }
        // SAFETY: the calls and the counter are static.
        to_result(unsafe { oxbpf_tc_register(Self::CALLS, P::counting(), name == Name::Bpf) })?;
        // INVARIANT: registered just now.
        Ok(Kinds(name, PhantomData))
    }
}

impl<P: Classifier> Drop for Kinds<P> {
    fn drop(&mut self) {
        // SAFETY: by the invariant they are registered; the module is going, or its
        // initialisation failed, so no filter and no action is left.
        unsafe { oxbpf_tc_unregister(self.0 == Name::Bpf) };
    }
}

/// # Safety
///
/// `to` can be written.
unsafe extern "C" fn get<P: Classifier>(fd: u32, ty: u32, to: *mut *const c_void) -> c_int {
    match P::from_fd(fd, ty) {
        Ok(prog) => {
            // SAFETY: the caller's promise.
            unsafe { to.write(prog.into_raw()) };
            0
        }
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// `prog` is from [`get`], and not used again but by who found it under RCU before.
unsafe extern "C" fn put<P: Classifier>(prog: *const c_void) {
    // SAFETY: `get` gave the reference away, and this takes it back.
    drop(unsafe { Shared::<P>::from_raw(prog) });
}

/// # Safety
///
/// `prog` is from [`get`] and was not put; `to` can be written.
unsafe extern "C" fn info<P: Classifier>(prog: *const c_void, to: *mut RawInfo) {
    // SAFETY: the reference that `get` gave away is still there.
    let prog = unsafe { Shared::<P>::borrow_raw(prog) };
    let info = RawInfo {
        entry: prog.base().entry(),
        id: prog.id(),
        needs_dst: prog.needs_dst(),
        needs_ends: prog.needs_ends(),
        tag: prog.tag(),
    };
    // SAFETY: the caller's promise.
    unsafe { to.write(info) };
}

/// # Safety
///
/// `prog` is from [`get`] and was found under RCU; `skb` is the packet that softirqs being off
/// lets the caller work on.
unsafe extern "C" fn run<P: Classifier>(prog: *const c_void, skb: *mut c_void) -> u32 {
    // SAFETY: the program was not put before the caller's read side of RCU began, and waits for it
    // to end.
    let prog = unsafe { Shared::<P>::borrow_raw(prog) };
    // SAFETY: with softirqs off, preemption is.
    let guard = unsafe { RunGuard::already() };
    prog.classify(guard, skb as usize)
}
