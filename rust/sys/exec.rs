// SPDX-License-Identifier: GPL-2.0

//! Memory for machine code: many images share an area, which is never writable and executable at
//! once.
//!
//! An area is filled with trapping bytes while it is still writable, then made read-only and
//! executable for the rest of its life. Images are written through the kernel's text poking, a
//! mapping that only the writing CPU sees, and overwritten with trapping bytes when they go.

use super::symbols::{self, Symbol};
use core::ptr::NonNull;
use kernel::prelude::*;

extern "C" {
    fn oxbpf_exec_alloc(size: usize) -> *mut c_void;
    fn oxbpf_exec_free(area: *mut c_void);
    fn oxbpf_exec_protect(area: *mut c_void, pages: c_int) -> c_int;
    fn oxbpf_text_copy(to: *mut c_void, from: *const c_void, len: usize) -> bool;
    fn oxbpf_text_fill(to: *mut c_void, byte: c_int, len: usize) -> bool;
    fn oxbpf_text_poke(at: *mut c_void, insn: *const c_void, len: usize, mutex: usize);
}

/// What cannot be missing.
static NEEDED: [&Symbol; 5] = [
    &symbols::EXECMEM_ALLOC,
    &symbols::EXECMEM_FREE,
    &symbols::SET_MEMORY_ROX,
    &symbols::TEXT_POKE_COPY,
    &symbols::TEXT_POKE_SET,
];

/// Machine code can be placed.
pub(crate) fn available() -> bool {
    NEEDED.iter().all(|symbol| symbol.found())
}

/// Instructions of placed images can be changed while they may run.
pub(crate) fn can_patch() -> bool {
    symbols::SMP_TEXT_POKE.found() && symbols::TEXT_MUTEX.found()
}

const PAGE: usize = kernel::page::PAGE_SIZE;
/// Images begin at multiples of this, and take multiples of it.
const CHUNK: usize = 64;
/// Bytes of an area, unless one image needs more.
const AREA: usize = 32 * PAGE;
/// `int3`
const TRAP: u8 = 0xcc;
/// Bits of a word of a bitmap.
const WORD: usize = u64::BITS as usize;

/// One allocation of executable memory.
///
/// # Invariants
///
/// `base` came from `oxbpf_exec_alloc`, has `used.len() * 64` chunks, and is read-only and
/// executable. Chunks whose bit is clear hold trapping bytes.
struct Area {
    base: NonNull<u8>,
    /// One bit a chunk.
    used: KVec<u64>,
}

// SAFETY: the area is not bound to a thread.
unsafe impl Send for Area {}

impl Area {
    fn new(size: usize) -> Result<Self> {
        let words = size.div_ceil(CHUNK).div_ceil(WORD);
        let used = KVec::from_elem(0u64, words, GFP_KERNEL)?;
        let size = words.checked_mul(WORD * CHUNK).ok_or(ENOMEM)?;
        let pages = c_int::try_from(size / PAGE).map_err(|_| ENOMEM)?;
        // SAFETY: no requirements; sleeping is allowed where programs are loaded.
        let base = NonNull::new(unsafe { oxbpf_exec_alloc(size) }).ok_or(ENOMEM)?;
        // SAFETY: new memory of that size, writable and not executable yet.
        unsafe { base.cast::<u8>().write_bytes(TRAP, size) };
        // SAFETY: whole pages of ours, filled with traps.
        if unsafe { oxbpf_exec_protect(base.as_ptr(), pages) } != 0 {
            // SAFETY: allocated above, not used by anybody.
            unsafe { oxbpf_exec_free(base.as_ptr()) };
            return Err(ENOMEM);
        }
        // INVARIANT: as just done.
        Ok(Area {
            base: base.cast(),
            used,
        })
    }

    fn bit(&self, chunk: usize) -> bool {
        let word = self.used.get(chunk / WORD).copied();
        word.is_none_or(|w| w & (1 << (chunk % WORD)) != 0)
    }

    fn mark(&mut self, start: usize, count: usize, taken: bool) {
        for chunk in start..start.saturating_add(count) {
            if let Some(word) = self.used.get_mut(chunk / WORD) {
                let bit = 1 << (chunk % WORD);
                *word = if taken { *word | bit } else { *word & !bit };
            }
        }
    }

    /// The first run of `count` free chunks; takes it.
    fn take(&mut self, count: usize) -> Option<usize> {
        let chunks = self.used.len().saturating_mul(WORD);
        let mut run = 0usize;
        for chunk in 0..chunks {
            run = if self.bit(chunk) {
                0
            } else {
                run.saturating_add(1)
            };
            if run == count {
                let start = chunk.saturating_add(1).saturating_sub(count);
                self.mark(start, count, true);
                return Some(start);
            }
        }
        None
    }

    fn is_empty(&self) -> bool {
        self.used.iter().all(|word| *word == 0)
    }

    fn address(&self, chunk: usize) -> usize {
        (self.base.as_ptr() as usize).wrapping_add(chunk.wrapping_mul(CHUNK))
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: by the invariant it came from there; no image is left in it.
        unsafe { oxbpf_exec_free(self.base.as_ptr().cast()) };
    }
}

kernel::sync::global_lock! {
    // SAFETY: initialised by `init` before any program is loaded.
    unsafe(uninit) static AREAS: Mutex<KVec<Area>> = KVec::new();
}

/// The allocator.
///
/// # Invariants
///
/// `AREAS` was initialised.
pub(crate) struct Areas(());

impl Areas {
    /// Sets the allocator up; the module calls it once, before anything else here.
    pub(crate) fn start() -> Self {
        // SAFETY: called once, by the contract of the module's initialisation.
        unsafe { AREAS.init() };
        // INVARIANT: as just done.
        Areas(())
    }
}

impl Drop for Areas {
    /// Frees what is there, the list's own memory too: no image is left, and statics are not dropped.
    fn drop(&mut self) {
        *AREAS.lock() = KVec::new();
    }
}

/// Room for an image at a known address, full of trapping bytes where nothing was written.
///
/// # Invariants
///
/// `addr` is a chunk's address, and the `len` bytes there (rounded up to chunks) are taken from
/// their area for it.
pub(crate) struct Room {
    addr: usize,
    len: usize,
}

impl Room {
    /// Takes room for `len` bytes, within 2 GiB of the kernel's text.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOTSUPP` when a kernel function that is needed was not found.
    pub(crate) fn take(len: usize) -> Result<Self> {
        if !available() || len == 0 {
            return Err(ENOTSUPP);
        }
        let count = len.div_ceil(CHUNK);
        let mut areas = AREAS.lock();
        for area in areas.iter_mut() {
            if let Some(chunk) = area.take(count) {
                let addr = area.address(chunk);
                // INVARIANT: taken just now.
                return Ok(Room { addr, len });
            }
        }
        areas.reserve(1, GFP_KERNEL)?;
        let mut area = Area::new(len.max(AREA))?;
        let chunk = area.take(count).ok_or(ENOMEM)?;
        let addr = area.address(chunk);
        areas.push(area, GFP_KERNEL)?;
        // INVARIANT: taken just now.
        Ok(Room { addr, len })
    }

    /// Where the image will be.
    pub(crate) fn address(&self) -> usize {
        self.addr
    }

    /// Writes `bytes` at byte `off`, where nothing was written yet; all of them must fit.
    ///
    /// # Errors
    ///
    /// `EINVAL` when they do not fit, `EIO` when the kernel could not write them.
    pub(crate) fn write(&self, off: usize, bytes: &[u8]) -> Result {
        if off
            .checked_add(bytes.len())
            .is_none_or(|end| end > self.len)
        {
            return Err(EINVAL);
        }
        let to = self.addr.wrapping_add(off) as *mut c_void;
        // SAFETY: by the invariant the bytes are ours, in executable memory, and nobody runs or
        // reads them before they are written.
        let done = unsafe { oxbpf_text_copy(to, bytes.as_ptr().cast(), bytes.len()) };
        if done {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// Changes the five-byte instruction at byte `off`, which other CPUs may be
    /// running: each runs the old one or the new one. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it is not in the room, `ENOTSUPP` when [`can_patch`] says no.
    pub(crate) fn patch(&self, off: usize, insn: &[u8; 5]) -> Result {
        if off.checked_add(insn.len()).is_none_or(|end| end > self.len) {
            return Err(EINVAL);
        }
        let mutex = symbols::TEXT_MUTEX.address().ok_or(ENOTSUPP)?;
        if !can_patch() {
            return Err(ENOTSUPP);
        }
        // SAFETY: by the invariant the bytes are ours, in executable memory; the mutex is the
        // kernel's for this. Whoever names the place is the compiler, which put a five-byte
        // instruction there.
        unsafe {
            oxbpf_text_poke(
                self.addr.wrapping_add(off) as *mut c_void,
                insn.as_ptr().cast(),
                insn.len(),
                mutex,
            );
        }
        Ok(())
    }

    /// All of its bytes. Those that [`Room::patch`] changes may change under the reader's eyes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: by the invariant they are ours, and readable.
        unsafe { core::slice::from_raw_parts(self.addr as *const u8, self.len) }
    }
}

impl Drop for Room {
    /// Only where sleeping is allowed, and when nobody can run the image any more.
    fn drop(&mut self) {
        let count = self.len.div_ceil(CHUNK);
        // SAFETY: as in `write`.
        let wiped = unsafe {
            oxbpf_text_fill(
                self.addr as *mut c_void,
                c_int::from(TRAP),
                count.wrapping_mul(CHUNK),
            )
        };
        if !wiped {
            // Leave it taken: what is there is dead code, but not a trap.
            return;
        }
        let mut areas = AREAS.lock();
        let more = areas.len() > 1;
        for i in 0..areas.len() {
            let Some(area) = areas.get_mut(i) else { break };
            let base = area.address(0);
            let size = area.used.len().wrapping_mul(WORD * CHUNK);
            if self.addr.wrapping_sub(base) >= size {
                continue;
            }
            let chunk = self.addr.wrapping_sub(base) / CHUNK;
            area.mark(chunk, count, false);
            if more && area.is_empty() {
                let _ = areas.remove(i);
            }
            return;
        }
    }
}
