// SPDX-License-Identifier: GPL-2.0

//! Cgroups in maps: whether a task or a packet's socket is below one.

use super::args::{CtxArg, MapArg};
use super::skb::SkBuff;
use crate::abi::MapType;
use crate::map::Map;
use core::ptr::NonNull;
use kernel::prelude::*;

extern "C" {
    fn oxbpf_held_cgroup_get(fd: c_int) -> *mut c_void;
    fn oxbpf_held_cgroup_put(cgroup: *mut c_void);
    fn oxbpf_current_under_cgroup(ancestor: *mut c_void) -> bool;
    fn oxbpf_skb_has_cgroup(skb: *const SkBuff) -> bool;
    fn oxbpf_skb_under_cgroup(skb: *const SkBuff, ancestor: *mut c_void) -> bool;
}

/// A cgroup that a map holds, in the way that programs find it.
///
/// # Invariants
///
/// The pointer came from `oxbpf_held_cgroup_get`, and is given back when this is dropped.
pub(crate) struct Cgroup(NonNull<c_void>);

// SAFETY: a cgroup belongs to no thread.
unsafe impl Send for Cgroup {}

impl Cgroup {
    /// The cgroup whose directory a descriptor is.
    ///
    /// # Errors
    ///
    /// `EBADF` when that is none, or one of the old hierarchies; `ENOENT` when it was removed.
    pub(crate) fn get(fd: u32) -> Result<Self> {
        // SAFETY: the shim takes any number; this may sleep.
        let cgroup = kernel::error::from_err_ptr(unsafe { oxbpf_held_cgroup_get(fd as c_int) })?;
        // INVARIANT: from there.
        NonNull::new(cgroup).map(Cgroup).ok_or(EBADF)
    }

    /// What stands for it in a map's words.
    pub(crate) fn word(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // SAFETY: by the invariant. Who found it in a map's words may still use it: the kernel frees
        // cgroups after a grace period.
        unsafe { oxbpf_held_cgroup_put(self.0.as_ptr()) };
    }
}

/// The cgroup at `index` of `map`.
///
/// # Errors
///
/// `E2BIG` for an index past the end, `EAGAIN` for nothing.
fn find(map: &Map, index: u32) -> Result<*mut c_void> {
    let words = map.fd_array();
    let words = words.filter(|_| map.spec().ty == MapType::CgroupArray);
    let words = words.ok_or(EINVAL)?;
    if index >= words.entries() {
        return Err(E2BIG);
    }
    match words.get(index) {
        0 => Err(EAGAIN),
        word => Ok(word as *mut c_void),
    }
}

/// Whether the current task is in the cgroup at `index` of `map` or in one below.
///
/// # Errors
///
/// `E2BIG` for an index past the end, `EAGAIN` for no cgroup there.
pub(crate) fn current_is_under(map: &MapArg<Map>, index: u32) -> Result<bool> {
    let ancestor = find(map, index)?;
    // SAFETY: a map of this type has the words of cgroups only (`Cgroup::word`), which live until a
    // grace period after they were taken out, and programs run inside of one.
    Ok(unsafe { oxbpf_current_under_cgroup(ancestor) })
}

/// The same of the socket that a packet belongs to.
///
/// # Errors
///
/// `ENOENT` for a packet without one, before the others.
pub(crate) fn packet_is_under(skb: &CtxArg<SkBuff>, map: &MapArg<Map>, index: u32) -> Result<bool> {
    // SAFETY: by the type this is the packet that the program runs on.
    if !unsafe { oxbpf_skb_has_cgroup(skb.as_ptr()) } {
        return Err(ENOENT);
    }
    let ancestor = find(map, index)?;
    // SAFETY: as above, and the packet's socket stays the same while a program runs on it.
    Ok(unsafe { oxbpf_skb_under_cgroup(skb.as_ptr(), ancestor) })
}
