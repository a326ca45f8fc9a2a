// SPDX-License-Identifier: GPL-2.0

//! Packets before they have an skb, made up for test runs.

use super::testrun::TestPacket;
use core::ptr::NonNull;
use core::slice;
use kernel::error::to_result;
use kernel::prelude::*;

/// `struct xdp_buff`
#[repr(C)]
pub(crate) struct XdpBuff {
    _opaque: [u8; 0],
}

extern "C" {
    fn oxbpf_test_xdp_meta_ok(meta: u32) -> bool;
    fn oxbpf_test_xdp_linear_max(meta: u32) -> u32;
    fn oxbpf_test_xdp_alloc(meta: u32, linear: u32) -> *mut c_void;
    fn oxbpf_test_xdp_receive(t: *mut c_void, ifindex: u32, queue: u32) -> c_int;
    fn oxbpf_test_xdp_add_page(t: *mut c_void, len: u32) -> *mut u8;
    fn oxbpf_test_xdp_head(t: *const c_void, len: *mut u32, meta: *mut u32) -> *mut u8;
    fn oxbpf_test_xdp_frag(t: *const c_void, index: u32, len: *mut u32) -> *mut u8;
    fn oxbpf_test_xdp_free(t: *mut c_void);
}

/// Whether a packet can have so many bytes of metadata before it.
pub(crate) fn meta_ok(meta: u32) -> bool {
    // SAFETY: no requirements.
    unsafe { oxbpf_test_xdp_meta_ok(meta) }
}

/// Bytes of a test packet that can lie in its linear part, metadata among them, of which there are
/// as many as [`meta_ok`] allows.
pub(crate) fn linear_max(meta: u32) -> u32 {
    // SAFETY: no requirements.
    unsafe { oxbpf_test_xdp_linear_max(meta) }
}

/// A packet of a test run.
///
/// # Invariants
///
/// From `oxbpf_test_xdp_alloc`, and this object's alone.
pub(crate) struct TestXdp(NonNull<c_void>);

impl TestXdp {
    /// A packet of `linear` zero bytes, of which the first `meta` are metadata. It seems received by
    /// the loopback device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for more than [`meta_ok`] and [`linear_max`] allow.
    pub(crate) fn new(meta: u32, linear: u32) -> Result<Self> {
        if !meta_ok(meta) || meta > linear || linear > linear_max(meta) {
            return Err(EINVAL);
        }
        // SAFETY: the lengths are what the shim asks for; the current task has a network namespace,
        // for it is in a call of the device.
        let packet = unsafe { oxbpf_test_xdp_alloc(meta, linear) };
        // INVARIANT: allocated just now.
        Ok(TestXdp(NonNull::new(packet).ok_or(ENOMEM)?))
    }

    /// The linear part, with the metadata.
    pub(crate) fn head_mut(&mut self) -> &mut [u8] {
        let (at, len, _) = self.raw_head();
        // SAFETY: the shim returns the start and the length of memory that the packet owns, and
        // `self` is borrowed as long as the slice lives.
        unsafe { slice::from_raw_parts_mut(at, len) }
    }

    /// Makes the packet seem received by queue `queue` of device `ifindex`.
    ///
    /// # Errors
    ///
    /// `ENODEV`; `EINVAL` when the device has no such queue.
    pub(crate) fn receive(&mut self, ifindex: u32, queue: u32) -> Result {
        // SAFETY: by the invariant the packet is there; this is called once, before the run.
        to_result(unsafe { oxbpf_test_xdp_receive(self.0.as_ptr(), ifindex, queue) })
    }

    /// Makes the packet `len` bytes longer, at most a page, and returns those.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when there is no memory, or when the packet has as many pages as it can.
    pub(crate) fn add_page(&mut self, len: usize) -> Result<&mut [u8]> {
        let count = u32::try_from(len).map_err(|_| ENOMEM)?;
        // SAFETY: by the invariant the packet is there.
        let page = unsafe { oxbpf_test_xdp_add_page(self.0.as_ptr(), count) };
        if page.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: the shim returns a zeroed page of the packet, and `len` is not more than a page.
        Ok(unsafe { slice::from_raw_parts_mut(page, len) })
    }

    /// Bytes of metadata.
    pub(crate) fn meta(&self) -> u32 {
        self.raw_head().2
    }

    /// Address of the packet's `struct xdp_buff`, the context of a program run.
    pub(crate) fn ctx(&mut self) -> usize {
        // It is the first field.
        self.0.as_ptr() as usize
    }

    fn raw_head(&self) -> (*mut u8, usize, u32) {
        let (mut len, mut meta) = (0, 0);
        // SAFETY: by the invariant the packet is there.
        let at = unsafe { oxbpf_test_xdp_head(self.0.as_ptr(), &mut len, &mut meta) };
        (at, len as usize, meta)
    }
}

impl TestPacket for TestXdp {
    fn head(&self) -> &[u8] {
        let (at, len, _) = self.raw_head();
        // SAFETY: as in `head_mut`.
        unsafe { slice::from_raw_parts(at, len) }
    }

    fn frag(&self, index: u32) -> Option<&[u8]> {
        let mut len = 0;
        // SAFETY: by the invariant the packet is there.
        let frag = unsafe { oxbpf_test_xdp_frag(self.0.as_ptr(), index, &mut len) };
        if frag.is_null() {
            return None;
        }
        // SAFETY: the shim returns the start and the length of memory that the packet owns, and
        // `self` is borrowed as long as the slice lives.
        Some(unsafe { slice::from_raw_parts(frag, len as usize) })
    }
}

impl Drop for TestXdp {
    fn drop(&mut self) {
        // SAFETY: by the invariant it is there, and nobody else's.
        unsafe { oxbpf_test_xdp_free(self.0.as_ptr()) };
    }
}
