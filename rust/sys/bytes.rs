// SPDX-License-Identifier: GPL-2.0

//! Bytes that others may write while they are read: keys and values in a program's memory.

use core::marker::PhantomData;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Readable bytes whose content may change at any time.
///
/// A slice would promise the compiler that they do not; here every read is a volatile one of its
/// own, so a value that was read and checked stays what it was.
///
/// # Invariants
///
/// `len` bytes at `ptr` are readable during `'a`.
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    ptr: *const u8,
    len: usize,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> Bytes<'a> {
    /// The bytes at an address that a verified program passed.
    ///
    /// # Safety
    ///
    /// `len` bytes at `ptr` must be readable during `'a`; they need not be aligned.
    #[inline(always)]
    pub(crate) unsafe fn new(ptr: *const u8, len: usize) -> Self {
        // INVARIANT: the caller says so.
        Bytes {
            ptr,
            len,
            bytes: PhantomData,
        }
    }

    /// Number of bytes.
    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// The `u32` at byte `off`.
    #[inline(always)]
    pub(crate) fn u32(self, off: usize) -> Option<u32> {
        if off.checked_add(4)? > self.len {
            return None;
        }
        // SAFETY: four bytes from `off` are within the readable ones; `Unaligned` has alignment 1.
        Some(unsafe { ptr::read_volatile(self.ptr.add(off).cast::<Unaligned<u32>>()) }.0)
    }

    /// The `u64` at byte `off`.
    #[inline(always)]
    pub(crate) fn u64(self, off: usize) -> Option<u64> {
        if off.checked_add(8)? > self.len {
            return None;
        }
        // SAFETY: eight bytes from `off` are within the readable ones; `Unaligned` has alignment 1.
        Some(unsafe { ptr::read_volatile(self.ptr.add(off).cast::<Unaligned<u64>>()) }.0)
    }

    /// The byte at `off`.
    #[inline(always)]
    pub(crate) fn u8(self, off: usize) -> Option<u8> {
        if off >= self.len {
            return None;
        }
        // SAFETY: `off` is within the readable bytes.
        Some(unsafe { ptr::read_volatile(self.ptr.add(off)) })
    }

    /// The words of eight bytes, one after the other; what is left over at the end is not among
    /// them.
    #[inline(always)]
    pub(crate) fn words(self) -> Words<'a> {
        // INVARIANT: so many words are within the readable bytes.
        Words {
            ptr: self.ptr.cast(),
            left: self.len / 8,
            bytes: PhantomData,
        }
    }

    /// Whether the whole words are those at `stored`, as far as both go.
    #[inline(always)]
    pub(crate) fn same_words(self, stored: &[AtomicU64]) -> bool {
        let n = (self.len / 8).min(stored.len());
        let here: *const Unaligned<u64> = self.ptr.cast();
        // What is different in word `i`.
        let differ = |i: usize| {
            // SAFETY: `i < n`, so the word is within the readable bytes, and in `stored`.
            let (a, b) = unsafe { (ptr::read_volatile(here.add(i)).0, stored.get_unchecked(i)) };
            a ^ b.load(Relaxed)
        };
        let mut i: usize = 0;
        // By twos: one branch for both.
        while i.wrapping_add(1) < n {
            if differ(i) | differ(i.wrapping_add(1)) != 0 {
                return false;
            }
            i = i.wrapping_add(2);
        }
        i >= n || differ(i) == 0
    }

    /// The `len` bytes from `off` on.
    #[inline]
    pub(crate) fn part(self, off: usize, len: usize) -> Option<Bytes<'a>> {
        if off.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: `off` is within the readable bytes or just past them.
        let ptr = unsafe { self.ptr.add(off) };
        // INVARIANT: `len` bytes from `off` on are within the readable ones.
        Some(Bytes {
            ptr,
            len,
            bytes: PhantomData,
        })
    }
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    #[inline(always)]
    fn from(s: &'a [u8]) -> Self {
        // INVARIANT: a slice's bytes are readable during its lifetime.
        Bytes {
            ptr: s.as_ptr(),
            len: s.len(),
            bytes: PhantomData,
        }
    }
}

/// Words that are read one after the other.
///
/// # Invariants
///
/// `left` words at `ptr` are readable during `'a`.
pub(crate) struct Words<'a> {
    ptr: *const Unaligned<u64>,
    left: usize,
    bytes: PhantomData<&'a [u8]>,
}

impl Words<'_> {
    /// The next two.
    #[inline(always)]
    pub(crate) fn next_two(&mut self) -> Option<(u64, u64)> {
        if self.left < 2 {
            return None;
        }
        self.left = self.left.wrapping_sub(2);
        // SAFETY: by the invariant two words can be read there; `Unaligned` has alignment 1.
        let two = unsafe {
            (
                ptr::read_volatile(self.ptr).0,
                ptr::read_volatile(self.ptr.add(1)).0,
            )
        };
        // SAFETY: the end of a readable word is within the same bytes or just past them.
        // INVARIANT: two words less are left there.
        self.ptr = unsafe { self.ptr.add(2) };
        Some(two)
    }
}

impl Iterator for Words<'_> {
    type Item = u64;

    #[inline(always)]
    fn next(&mut self) -> Option<u64> {
        if self.left == 0 {
            return None;
        }
        self.left = self.left.wrapping_sub(1);
        // SAFETY: by the invariant a word can be read there; `Unaligned` has alignment 1.
        let word = unsafe { ptr::read_volatile(self.ptr) }.0;
        // SAFETY: the end of a readable word is within the same bytes or just past them.
        // INVARIANT: one word less is left there.
        self.ptr = unsafe { self.ptr.add(1) };
        Some(word)
    }
}

/// Room for bytes that others may read and write at any time: a value in a program's memory.
///
/// # Invariants
///
/// `len` bytes at `ptr` are readable and writable during `'a`.
pub struct Room<'a> {
    ptr: *mut u8,
    len: usize,
    bytes: PhantomData<&'a mut [u8]>,
}

impl<'a> Room<'a> {
    /// The room at an address that a verified program passed.
    ///
    /// # Safety
    ///
    /// `len` bytes at `ptr` must be readable and writable during `'a`; they need not be aligned.
    #[inline(always)]
    pub(crate) unsafe fn new(ptr: *mut u8, len: usize) -> Self {
        // INVARIANT: the caller says so.
        Room {
            ptr,
            len,
            bytes: PhantomData,
        }
    }

    /// Where it is and how large.
    pub(super) fn raw(&mut self) -> (*mut u8, usize) {
        (self.ptr, self.len)
    }

    /// What is there now.
    pub(crate) fn bytes(&self) -> Bytes<'_> {
        // INVARIANT: readable, by that of the room.
        Bytes {
            ptr: self.ptr,
            len: self.len,
            bytes: PhantomData,
        }
    }

    /// Writes `word` at byte `off`, as much of it as there is room for.
    pub(crate) fn put(&mut self, off: usize, word: u64) {
        let left = self.len.saturating_sub(off);
        if left >= 8 {
            // SAFETY: eight bytes from `off` are within the room; `Unaligned` has alignment 1.
            unsafe {
                ptr::write_volatile(self.ptr.add(off).cast::<Unaligned<u64>>(), Unaligned(word))
            };
            return;
        }
        for (i, byte) in word.to_ne_bytes().into_iter().take(left).enumerate() {
            // SAFETY: within the room.
            unsafe { ptr::write_volatile(self.ptr.add(off.wrapping_add(i)), byte) };
        }
    }

    /// Writes `bytes` from byte `off` on, as many as there is room for.
    pub(crate) fn put_bytes(&mut self, off: usize, bytes: &[u8]) {
        let left = self.len.saturating_sub(off);
        for (i, byte) in bytes.iter().take(left).enumerate() {
            // SAFETY: within the room.
            unsafe { ptr::write_volatile(self.ptr.add(off.wrapping_add(i)), *byte) };
        }
    }

    /// Writes `byte` from byte `off` on, `count` times or as often as there is room for.
    pub(crate) fn fill(&mut self, off: usize, byte: u8, count: usize) {
        let left = self.len.saturating_sub(off);
        for i in 0..count.min(left) {
            // SAFETY: within the room.
            unsafe { ptr::write_volatile(self.ptr.add(off.wrapping_add(i)), byte) };
        }
    }

    /// The room from byte `off` on, none if that is behind it.
    pub(crate) fn rest(&mut self, off: usize) -> Room<'_> {
        let off = off.min(self.len);
        // INVARIANT: what is left of the room, or just its end.
        Room {
            // SAFETY: within the room or just past it.
            ptr: unsafe { self.ptr.add(off) },
            len: self.len.saturating_sub(off),
            bytes: PhantomData,
        }
    }
}

impl<'a> From<&'a mut [u8]> for Room<'a> {
    #[inline]
    fn from(s: &'a mut [u8]) -> Self {
        // INVARIANT: a slice's bytes are readable and writable during its lifetime.
        Room {
            ptr: s.as_mut_ptr(),
            len: s.len(),
            bytes: PhantomData,
        }
    }
}

/// A value at any address.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Unaligned<T>(T);
