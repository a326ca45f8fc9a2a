// SPDX-License-Identifier: GPL-2.0

//! Memory of a ring buffer, which user space has mapped too: positions, and data that wraps round.

use super::bytes::Bytes;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use kernel::alloc::AllocError;
use kernel::ffi::c_void;
use kernel::page::PAGE_SIZE;

extern "C" {
    fn oxbpf_ring_alloc(size: usize, node: i32) -> *mut c_void;
    fn oxbpf_ring_free(ring: *mut c_void);
    fn oxbpf_ring_wake(ring: *mut c_void);
}

/// Pages before the data: the kernel's own, the consumer's, the producer's.
const META: usize = 3;
/// Bytes of a record's header.
pub(crate) const HEADER: usize = 8;

/// A record's header, which user space reads.
#[repr(C)]
pub(crate) struct Header {
    /// Bytes of the record, and the two bits.
    pub(crate) len: AtomicU32,
    /// Pages from the ring's first one to this header's.
    page: AtomicU32,
}

/// The memory of a ring buffer.
///
/// # Invariants
///
/// Made by `oxbpf_ring_alloc`: `META` pages, of which the first starts with the number of data bytes
/// as a `u64`, a power of two of whole pages, and then those pages twice. What user space can write of
/// it is the consumer's page, so that nothing else of it can change without the kernel.
pub struct Ring(NonNull<u8>);

// SAFETY: everything in it is accessed by atomic operations, or belongs to one record.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// A ring of `size` bytes, a power of two and whole pages, near `node` if the kernel can. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `AllocError` when there is not so much memory, or for another size.
    pub(crate) fn new(size: usize, node: Option<u32>) -> Result<Self, AllocError> {
        // Twice that and the other pages are counted in 32 bits.
        if !size.is_power_of_two() || !(PAGE_SIZE..=1 << 31).contains(&size) {
            return Err(AllocError);
        }
        let node = node.and_then(|n| i32::try_from(n).ok()).unwrap_or(-1);
        // SAFETY: the size is right; -1 is NUMA_NO_NODE.
        let base = unsafe { oxbpf_ring_alloc(size, node) };
        // INVARIANT: made just now.
        Ok(Ring(NonNull::new(base.cast()).ok_or(AllocError)?))
    }

    /// Bytes of data.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        // SAFETY: by the invariant it is there, and never changes.
        unsafe { self.0.cast::<u64>().read() as usize }
    }

    /// The word at byte `off` of page `page`, which are small constants.
    #[inline(always)]
    fn word(&self, page: usize, off: usize) -> &AtomicU64 {
        let at = page.wrapping_mul(PAGE_SIZE).wrapping_add(off);
        // SAFETY: the callers are those below: within the ring's first pages, and aligned; it lives
        // as long as the ring.
        unsafe { self.0.add(at).cast().as_ref() }
    }

    /// How far the consumer read: user space writes what it likes.
    #[inline(always)]
    pub(crate) fn consumer(&self) -> &AtomicU64 {
        self.word(1, 0)
    }

    /// Where the next record begins.
    #[inline(always)]
    pub(crate) fn producer(&self) -> &AtomicU64 {
        self.word(2, 0)
    }

    /// Where the oldest record begins that is still being written.
    #[inline(always)]
    pub(crate) fn pending(&self) -> &AtomicU64 {
        self.word(2, 8)
    }

    /// Where the oldest record begins that was not overwritten.
    #[inline(always)]
    pub(crate) fn overwritten(&self) -> &AtomicU64 {
        self.word(2, 16)
    }

    /// The same ring with its size at hand.
    #[inline(always)]
    pub(crate) fn by_ref(&self) -> RingRef<'_> {
        // INVARIANT: the ring lives as long as `self`.
        RingRef {
            ring: ManuallyDrop::new(Ring(self.0)),
            mask: self.size().wrapping_sub(1),
            life: PhantomData,
        }
    }

    /// The header at position `pos`.
    #[inline(always)]
    pub(crate) fn header(&self, pos: u64) -> &Header {
        self.by_ref().header(pos)
    }

    /// Address of the record whose header is at `pos`.
    #[inline]
    pub(crate) fn record(&self, pos: u64) -> usize {
        (self.by_ref().at(pos).as_ptr() as usize).wrapping_add(HEADER)
    }

    /// Writes the record at `pos`, which the caller reserved with that many bytes.
    pub(crate) fn fill(&self, pos: u64, from: Bytes<'_>) {
        if from.len() > self.size().saturating_sub(HEADER) {
            return;
        }
        let to = self.record(pos) as *mut u8;
        let mut off: usize = 0;
        // SAFETY: header and record are at most the data's size, which is mapped twice in a row, so
        // they are within the ring wherever they begin; a record begins at a multiple of eight, and
        // nobody in the kernel accesses it but its writer, the caller.
        unsafe {
            while let Some(word) = from.u64(off) {
                to.add(off).cast::<u64>().write(word);
                off = off.wrapping_add(8);
            }
            while let Some(byte) = from.u8(off) {
                to.add(off).write(byte);
                off = off.wrapping_add(1);
            }
        }
    }

    /// Wakes who polls. Any context.
    #[inline]
    pub(crate) fn wake(&self) {
        // SAFETY: by the invariant.
        unsafe { oxbpf_ring_wake(self.0.as_ptr().cast()) };
    }

    /// For the mapping of files.
    pub(super) fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// The pages that user space may map, from the consumer's on.
    pub(super) fn pages(&self) -> (usize, usize) {
        let base = (self.0.as_ptr() as usize).wrapping_add(PAGE_SIZE);
        let data = (self.size() / PAGE_SIZE).wrapping_mul(2);
        (base, data.wrapping_add(META - 1))
    }

    /// Bytes of all pages.
    pub(crate) fn bytes(&self) -> usize {
        self.size().saturating_add(META * PAGE_SIZE)
    }

    /// The ring of the record at `addr`, the record's header and its position.
    ///
    /// # Safety
    ///
    /// `addr` is what `begin` gave, and the ring lives during `'a`.
    #[inline(always)]
    pub(super) unsafe fn of_record<'a>(addr: usize) -> (RingRef<'a>, &'a Header, u64) {
        let at = addr.wrapping_sub(HEADER);
        // SAFETY: a header is before the record, by the caller's promise.
        let header = unsafe { &*(at as *const Header) };
        let page = header.page.load(Relaxed) as usize;
        let base = (at & !(PAGE_SIZE - 1)).wrapping_sub(page.wrapping_mul(PAGE_SIZE));
        let data = base.wrapping_add(META * PAGE_SIZE);
        // SAFETY: the page's number is counted from the ring's start, which is not NULL.
        let ring = ManuallyDrop::new(Ring(unsafe { NonNull::new_unchecked(base as *mut u8) }));
        let mask = ring.size().wrapping_sub(1);
        // INVARIANT: the ring lives during `'a`.
        let ring = RingRef {
            ring,
            mask,
            life: PhantomData,
        };
        (ring, header, at.wrapping_sub(data) as u64)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this is the only owner; mappings and polls of files keep what keeps the ring, and
        // so do programs.
        unsafe { oxbpf_ring_free(self.0.as_ptr().cast()) };
    }
}

/// A ring that somebody else owns, and what its positions are masked with.
///
/// # Invariants
///
/// The ring lives during `'a`; `mask` is its size less one.
pub(crate) struct RingRef<'a> {
    ring: ManuallyDrop<Ring>,
    mask: usize,
    life: PhantomData<&'a Ring>,
}

impl<'a> RingRef<'a> {
    /// Where position `pos`, a multiple of eight, is.
    #[inline(always)]
    fn at(&self, pos: u64) -> NonNull<u8> {
        let off = pos as usize & self.mask & !7;
        // SAFETY: below the data's size, so within the ring.
        unsafe { self.ring.0.add((META * PAGE_SIZE).wrapping_add(off)) }
    }

    /// The header at position `pos`.
    #[inline(always)]
    pub(crate) fn header(&self, pos: u64) -> &'a Header {
        // SAFETY: eight bytes at a multiple of eight within the data, which is there during `'a`; all
        // that is there is accessed by atomic operations, or belongs to one record that its writer has.
        unsafe { self.at(pos).cast().as_ref() }
    }

    /// Makes the header at `pos` that of a record which can be found from it, with `len`; returns the
    /// record's address.
    #[inline(always)]
    pub(crate) fn begin(&self, pos: u64, len: u32) -> usize {
        let header = self.header(pos);
        let at = core::ptr::from_ref(header) as usize;
        let page = at.wrapping_sub(self.ring.0.as_ptr() as usize) / PAGE_SIZE;
        header.page.store(page as u32, Relaxed);
        header.len.store(len, Relaxed);
        at.wrapping_add(HEADER)
    }
}

impl core::ops::Deref for RingRef<'_> {
    type Target = Ring;

    #[inline(always)]
    fn deref(&self) -> &Ring {
        &self.ring
    }
}
