// SPDX-License-Identifier: GPL-2.0

//! Host twin of `rust/sys/bytes.rs`.

use core::sync::atomic::{AtomicU64, Ordering};

/// Readable bytes; on the host nobody changes them.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// Number of bytes.
    #[inline(always)]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The `u32` at byte `off`.
    #[inline(always)]
    pub fn u32(self, off: usize) -> Option<u32> {
        let b = self.0.get(off..off.checked_add(4)?)?;
        Some(u32::from_ne_bytes(b.try_into().ok()?))
    }

    /// The `u64` at byte `off`.
    #[inline(always)]
    pub fn u64(self, off: usize) -> Option<u64> {
        let b = self.0.get(off..off.checked_add(8)?)?;
        Some(u64::from_ne_bytes(b.try_into().ok()?))
    }

    /// The byte at `off`.
    #[inline(always)]
    pub fn u8(self, off: usize) -> Option<u8> {
        self.0.get(off).copied()
    }

    /// The words of eight bytes, one after the other.
    #[inline(always)]
    pub fn words(self) -> Words<'a> {
        Words(self.0)
    }

    /// Whether the whole words are those at `stored`, as far as both go.
    #[inline(always)]
    pub fn same_words(self, stored: &[AtomicU64]) -> bool {
        self.words()
            .zip(stored)
            .all(|(a, b)| a == b.load(Ordering::Relaxed))
    }

    /// The `len` bytes from `off` on.
    pub fn part(self, off: usize, len: usize) -> Option<Self> {
        Some(Bytes(self.0.get(off..off.checked_add(len)?)?))
    }
}

/// Room for bytes in a program's memory.
pub struct Room<'a>(&'a mut [u8]);

impl Room<'_> {
    /// What is there now.
    pub fn bytes(&self) -> Bytes<'_> {
        Bytes(self.0)
    }

    /// Writes `word` at byte `off`, as much of it as there is room for.
    pub fn put(&mut self, off: usize, word: u64) {
        for (to, from) in self.0.iter_mut().skip(off).zip(word.to_ne_bytes()) {
            *to = from;
        }
    }

    /// Writes `bytes` from byte `off` on, as many as there is room for.
    pub fn put_bytes(&mut self, off: usize, bytes: &[u8]) {
        for (to, from) in self.0.iter_mut().skip(off).zip(bytes) {
            *to = *from;
        }
    }

    /// Writes `byte` from byte `off` on, `count` times or as often as there is room for.
    pub fn fill(&mut self, off: usize, byte: u8, count: usize) {
        for to in self.0.iter_mut().skip(off).take(count) {
            *to = byte;
        }
    }

    /// The room from byte `off` on, none if that is behind it.
    pub fn rest(&mut self, off: usize) -> Room<'_> {
        Room(self.0.get_mut(off..).unwrap_or(&mut []))
    }
}

impl<'a> From<&'a mut [u8]> for Room<'a> {
    fn from(s: &'a mut [u8]) -> Self {
        Room(s)
    }
}

/// Words that are read one after the other.
#[derive(Debug)]
pub struct Words<'a>(&'a [u8]);

impl Words<'_> {
    /// The next two.
    #[inline(always)]
    pub fn next_two(&mut self) -> Option<(u64, u64)> {
        match self.0.len() {
            0..16 => None,
            _ => Some((self.next()?, self.next()?)),
        }
    }
}

impl Iterator for Words<'_> {
    type Item = u64;

    #[inline(always)]
    fn next(&mut self) -> Option<u64> {
        let (word, more) = self.0.split_first_chunk()?;
        self.0 = more;
        Some(u64::from_ne_bytes(*word))
    }
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    #[inline(always)]
    fn from(s: &'a [u8]) -> Self {
        Bytes(s)
    }
}
