// SPDX-License-Identifier: GPL-2.0

//! Packets: what helpers read of them, and packets made up for test runs.

use super::args::{CtxArg, WriteArg};
use super::testrun::TestPacket;
use core::slice;
use kernel::error::to_result;
use kernel::prelude::*;

/// `struct sk_buff`
#[repr(C)]
pub(crate) struct SkBuff {
    _opaque: [u8; 0],
}

/// Bytes of `struct __sk_buff` (`<linux/bpf.h>`).
pub(crate) const SK_BUFF_CTX_SIZE: usize = 192;

/// `struct __sk_buff`, the context of packet programs as user space passes and gets it.
#[repr(C, align(8))]
pub(crate) struct SkBuffCtx(pub(crate) [u8; SK_BUFF_CTX_SIZE]);

/// `struct oxbpf_test_skb`
#[repr(C)]
struct RawTestSkb {
    skb: *mut SkBuff,
    sk: *mut c_void,
    dev: *mut c_void,
}

extern "C" {
    fn oxbpf_skb_load_bytes(skb: *const SkBuff, offset: u32, to: *mut u8, len: u32) -> c_int;

    fn oxbpf_test_skb_linear_max() -> usize;
    fn oxbpf_test_skb_alloc(t: *mut RawTestSkb, linear: u32) -> c_int;
    fn oxbpf_test_skb_add_page(t: *mut RawTestSkb, len: u32) -> *mut u8;
    fn oxbpf_test_skb_prepare(
        t: *mut RawTestSkb,
        ifindex: u32,
        is_l2: bool,
        pointers: bool,
    ) -> c_int;
    fn oxbpf_test_skb_import(t: *mut RawTestSkb, ctx: *const SkBuffCtx) -> c_int;
    fn oxbpf_test_skb_export(t: *const RawTestSkb, ctx: *mut SkBuffCtx);
    fn oxbpf_test_skb_csum_set(t: *mut RawTestSkb);
    fn oxbpf_test_skb_csum_ok(t: *const RawTestSkb) -> bool;
    fn oxbpf_test_skb_push_l2(t: *mut RawTestSkb) -> c_int;
    fn oxbpf_test_skb_free(t: *mut RawTestSkb);
    fn oxbpf_test_skb_head(t: *const RawTestSkb, len: *mut u32) -> *mut u8;
    fn oxbpf_test_skb_frag(t: *const RawTestSkb, index: u32, len: *mut u32) -> *mut u8;
    fn oxbpf_test_skb_len(t: *const RawTestSkb) -> u32;
}

/// Copies bytes of a packet at `offset`; returns 0, or `-EFAULT` with `to` zeroed.
#[inline]
pub(crate) fn load_bytes(skb: CtxArg<SkBuff>, offset: u32, mut to: WriteArg) -> c_int {
    // The verifier bounds sizes far below 4 GiB.
    let len = to.len() as u32;
    // SAFETY: by the invariants the packet is there, and that many bytes can be written.
    unsafe { oxbpf_skb_load_bytes(skb.as_ptr(), offset, to.as_mut_ptr(), len) }
}

/// Bytes of a test packet that can lie in its linear part.
pub(crate) fn linear_max() -> usize {
    // SAFETY: no requirements.
    unsafe { oxbpf_test_skb_linear_max() }
}

/// A packet of a test run.
///
/// # Invariants
///
/// `raw` was filled by `oxbpf_test_skb_alloc` without error; the packet and its socket are this
/// object's alone.
pub(crate) struct TestSkb {
    raw: RawTestSkb,
}

impl TestSkb {
    /// A packet of `linear` zero bytes, at most [`linear_max`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` when it is too long.
    pub(crate) fn new(linear: usize) -> Result<Self> {
        if linear > linear_max() {
            return Err(EINVAL);
        }
        let mut raw = RawTestSkb {
            skb: core::ptr::null_mut(),
            sk: core::ptr::null_mut(),
            dev: core::ptr::null_mut(),
        };
        // SAFETY: `raw` can be written.
        let ret = unsafe { oxbpf_test_skb_alloc(&mut raw, linear as u32) };
        if ret != 0 {
            // SAFETY: filled by `oxbpf_test_skb_alloc`, and not used again.
            unsafe { oxbpf_test_skb_free(&mut raw) };
        }
        to_result(ret)?;
        // INVARIANT: filled just now.
        Ok(TestSkb { raw })
    }

    /// The linear part.
    pub(crate) fn head_mut(&mut self) -> &mut [u8] {
        let mut len = 0;
        // SAFETY: by the invariant the packet is there.
        let head = unsafe { oxbpf_test_skb_head(&self.raw, &mut len) };
        // SAFETY: the shim returns the start and the length of memory that the packet owns, and
        // `self` is borrowed as long as the slice lives.
        unsafe { slice::from_raw_parts_mut(head, len as usize) }
    }

    /// Makes the packet `len` bytes longer, at most a page, and returns those.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when there is no memory, or when the packet has as many fragments as it can.
    pub(crate) fn add_page(&mut self, len: usize) -> Result<&mut [u8]> {
        let count = u32::try_from(len).map_err(|_| ENOMEM)?;
        // SAFETY: by the invariant the packet is there.
        let page = unsafe { oxbpf_test_skb_add_page(&mut self.raw, count) };
        if page.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: the shim returns a zeroed page of the packet, and `len` is not more than a page.
        Ok(unsafe { slice::from_raw_parts_mut(page, len) })
    }

    /// Makes the packet look received on interface `ifindex` (0, 1: the loopback device); with
    /// `is_l2` its data starts at the link-layer header, else behind it.
    ///
    /// # Errors
    ///
    /// `ENODEV`; `EINVAL` when the packet is too short for its protocol.
    pub(crate) fn prepare(&mut self, ifindex: u32, is_l2: bool, pointers: bool) -> Result {
        // SAFETY: by the invariant the packet is there. It is at least as long as a link-layer
        // header, or `eth_type_trans` reads the zeroed room behind it.
        to_result(unsafe { oxbpf_test_skb_prepare(&mut self.raw, ifindex, is_l2, pointers) })
    }

    /// Takes over what `ctx` sets.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it sets what a test may not choose.
    pub(crate) fn import(&mut self, ctx: &SkBuffCtx) -> Result {
        // SAFETY: by the invariant the packet is there; `ctx` has the structure's size.
        to_result(unsafe { oxbpf_test_skb_import(&mut self.raw, ctx) })
    }

    /// Gives those fields back. After [`Self::prepare`].
    pub(crate) fn export(&self, ctx: &mut SkBuffCtx) {
        // SAFETY: by the invariant the packet is there; `ctx` has the structure's size.
        unsafe { oxbpf_test_skb_export(&self.raw, ctx) };
    }

    /// As if the device had summed the packet up.
    pub(crate) fn set_checksum(&mut self) {
        // SAFETY: by the invariant the packet is there.
        unsafe { oxbpf_test_skb_csum_set(&mut self.raw) };
    }

    /// Is that sum still right?
    pub(crate) fn checksum_ok(&self) -> bool {
        // SAFETY: by the invariant the packet is there.
        unsafe { oxbpf_test_skb_csum_ok(&self.raw) }
    }

    /// Puts a zeroed link-layer header before the data.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn push_l2(&mut self) -> Result {
        // SAFETY: by the invariant the packet is there.
        to_result(unsafe { oxbpf_test_skb_push_l2(&mut self.raw) })
    }

    /// Address of the packet's `struct sk_buff`, the context of a program run.
    pub(crate) fn ctx(&mut self) -> usize {
        self.raw.skb as usize
    }
}

impl TestPacket for TestSkb {
    fn head(&self) -> &[u8] {
        let mut len = 0;
        // SAFETY: by the invariant the packet is there.
        let head = unsafe { oxbpf_test_skb_head(&self.raw, &mut len) };
        // SAFETY: as in `head_mut`.
        unsafe { slice::from_raw_parts(head, len as usize) }
    }

    fn frag(&self, index: u32) -> Option<&[u8]> {
        let mut len = 0;
        // SAFETY: by the invariant the packet is there.
        let frag = unsafe { oxbpf_test_skb_frag(&self.raw, index, &mut len) };
        if frag.is_null() {
            return None;
        }
        // SAFETY: the shim returns the start and the length of memory that the packet owns, and
        // `self` is borrowed as long as the slice lives.
        Some(unsafe { slice::from_raw_parts(frag, len as usize) })
    }

    fn len(&self) -> u32 {
        // SAFETY: by the invariant the packet is there.
        unsafe { oxbpf_test_skb_len(&self.raw) }
    }
}

impl Drop for TestSkb {
    fn drop(&mut self) {
        // SAFETY: by the invariant the packet is there and this object's alone.
        unsafe { oxbpf_test_skb_free(&mut self.raw) };
    }
}
