// SPDX-License-Identifier: GPL-2.0

//! Text that programs make, and lines of it that they write to the trace buffer.

use super::bytes::Room;
use super::symbols;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::types::NotThreadSafe;

/// Bytes for one string argument at a time.
pub(crate) const SCRATCH: usize = 512;
/// Bytes of formatted text with its NUL.
const TEXT: usize = 1024;

/// `struct oxbpf_printk_buffers`
#[repr(C)]
struct Buffers {
    scratch: [u8; SCRATCH],
    text: [u8; TEXT + 2],
}

extern "C" {
    fn oxbpf_printk_get() -> *mut Buffers;
    fn oxbpf_printk_put();
    fn oxbpf_printk_emit(b: *mut Buffers, len: usize, ip: c_ulong);
    fn oxbpf_printk_pointer(buf: *mut u8, size: usize, fmt: *const u8, addr: c_ulong) -> usize;
}

/// The right to use one of this CPU's text buffers.
///
/// # Invariants
///
/// The pointer is to buffers that nobody else uses while the line lives; it stays on its CPU, since
/// preemption is off.
pub(crate) struct Line(NonNull<Buffers>, NotThreadSafe);

impl Line {
    /// Takes a buffer; `None` when too many programs print at once on this CPU. Any context.
    pub(crate) fn take() -> Option<Self> {
        // SAFETY: no requirements.
        let raw = unsafe { oxbpf_printk_get() };
        // INVARIANT: the shim gives each nesting level of a CPU its own buffers.
        Some(Line(NonNull::new(raw)?, NotThreadSafe))
    }

    /// Room for one string at a time, and for the text.
    pub(crate) fn buffers(&mut self) -> (&mut [u8], &mut [u8]) {
        // SAFETY: by the invariant the buffers are this line's alone, and they are static memory
        // that was zeroed at the start.
        let buffers = unsafe { self.0.as_mut() };
        let (text, _) = buffers.text.split_at_mut(TEXT - 1);
        (&mut buffers.scratch, text)
    }

    /// Writes the first `len` bytes of the text, or what there is of it, to the trace buffer.
    pub(crate) fn emit(self, len: usize) {
        // The trace shows a name for where a line comes from: that of the kernel's own function.
        let ip = symbols::TRACE_PRINTK.address().unwrap_or(0);
        // SAFETY: by the invariant the buffers are this line's alone.
        unsafe { oxbpf_printk_emit(self.0.as_ptr(), len, ip as c_ulong) };
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // SAFETY: by the invariant the level is this line's, and it ends now.
        unsafe { oxbpf_printk_put() };
    }
}

/// The kernel's format for one pointer, such as `%-20pS`.
pub(crate) struct PointerFormat {
    /// The format's start, and NULs behind it.
    text: [u8; 20],
    len: usize,
}

impl PointerFormat {
    /// `flags` are characters of `-0+ `, each at most once; a `width` of 0 is none; `kind` is the
    /// letter behind the `p`.
    ///
    /// Anything else is left out of the format.
    pub(crate) fn new(flags: [Option<u8>; 4], width: usize, kind: Option<u8>) -> Self {
        let mut fmt = PointerFormat {
            text: [0; 20],
            len: 0,
        };
        fmt.push(b'%');
        for flag in flags.into_iter().flatten() {
            if matches!(flag, b'-' | b'0' | b'+' | b' ') {
                fmt.push(flag);
            }
        }
        let mut divisor = 1_000_000usize;
        let mut any = false;
        while divisor != 0 {
            let digit = width.checked_div(divisor).unwrap_or(0) % 10;
            any |= digit != 0;
            if any {
                fmt.push(b'0'.wrapping_add(digit as u8));
            }
            divisor = divisor.checked_div(10).unwrap_or(0);
        }
        fmt.push(b'p');
        if let Some(kind @ (b'x' | b'K' | b's' | b'S' | b'B')) = kind {
            fmt.push(kind);
        }
        fmt
    }

    fn push(&mut self, b: u8) {
        // One NUL stays.
        if let Some(to) = self.text.get_mut(..19).and_then(|t| t.get_mut(self.len)) {
            *to = b;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Writes `addr`, cut to fit; returns how long it is uncut.
    pub(crate) fn write(&self, addr: u64, mut out: Room<'_>) -> usize {
        let (to, len) = out.raw();
        // SAFETY: `out` can be written, and C does not mind who else writes there. The text has one
        // conversion, for a pointer that the kernel does not follow with any of these kinds, and ends
        // in a NUL.
        unsafe { oxbpf_printk_pointer(to, len, self.text.as_ptr(), addr as c_ulong) }
    }
}
