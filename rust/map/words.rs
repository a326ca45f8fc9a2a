// SPDX-License-Identifier: GPL-2.0

//! Keys and values as words: how bytes get into a region and out of it.
//!
//! A region's memory is written by programs and by other CPUs at any time, so each word is one
//! relaxed atomic access: what comes out may mix two writers' words, but each word is one that
//! somebody wrote. The last word of a key or value that is no multiple of eight bytes is padded
//! with zeroes.

use crate::sys::bytes::{Bytes, Room};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of a word.
pub(super) const WORD: usize = 8;

/// Words that `bytes` bytes take.
pub(super) const fn words_of(bytes: usize) -> usize {
    bytes.div_ceil(WORD)
}

/// Word `i` of `bytes`, padded with zeroes; zero past the end.
#[inline(always)]
pub(super) fn word(bytes: Bytes<'_>, i: usize) -> u64 {
    let off = i.wrapping_mul(WORD);
    match bytes.u64(off) {
        Some(w) => w,
        None => tail(bytes, off),
    }
}

/// The word that begins what is left over behind the whole words, if anything is.
#[inline(always)]
pub(super) fn rest(bytes: Bytes<'_>) -> Option<u64> {
    match bytes.len() % WORD {
        0 => None,
        _ => Some(word(bytes, bytes.len() / WORD)),
    }
}

/// The up to seven bytes from `off` on as a word.
#[inline(always)]
fn tail(bytes: Bytes<'_>, off: usize) -> u64 {
    if off.wrapping_add(4) == bytes.len() {
        if let Some(w) = bytes.u32(off) {
            return u64::from(w.to_le()).to_le();
        }
    }
    odd_tail(bytes, off)
}

#[cold]
#[inline(never)]
fn odd_tail(bytes: Bytes<'_>, off: usize) -> u64 {
    let mut w = [0; WORD];
    for (i, b) in w.iter_mut().enumerate() {
        *b = bytes.u8(off.wrapping_add(i)).unwrap_or(0);
    }
    u64::from_ne_bytes(w)
}

/// Writes `bytes` into the words at `dst`, as far as these go.
#[inline]
pub(super) fn store(dst: &[AtomicU64], bytes: Bytes<'_>) {
    let mut dst = dst.iter();
    for (w, d) in bytes.words().zip(dst.by_ref()) {
        d.store(w, Relaxed);
    }
    // Past the bytes' end, zeroes.
    let mut more = rest(bytes).unwrap_or(0);
    for d in dst {
        d.store(more, Relaxed);
        more = 0;
    }
}

/// Reads the words at `src` into `out`, as far as both go.
#[inline]
pub(super) fn load(src: &[AtomicU64], out: &mut [u8]) {
    let mut src = src.iter();
    let mut out = out.chunks_exact_mut(WORD);
    for (to, from) in out.by_ref().zip(src.by_ref()) {
        if let Some(to) = to.first_chunk_mut() {
            *to = from.load(Relaxed).to_ne_bytes();
        }
    }
    let out = out.into_remainder();
    if let (false, Some(from)) = (out.is_empty(), src.next()) {
        for (t, f) in out.iter_mut().zip(from.load(Relaxed).to_ne_bytes()) {
            *t = f;
        }
    }
}

/// Where the words of a value go.
pub(super) trait Out {
    /// Takes the words at `src`, as many as there is room for.
    fn load(&mut self, src: &[AtomicU64]);
    /// Becomes zero, where it is as long as `words` words.
    fn clear(&mut self, words: usize);
}

impl Out for &mut [u8] {
    fn load(&mut self, src: &[AtomicU64]) {
        load(src, self);
    }

    fn clear(&mut self, _words: usize) {
        self.fill(0);
    }
}

impl Out for Room<'_> {
    fn load(&mut self, src: &[AtomicU64]) {
        for (i, word) in src.iter().enumerate() {
            self.put(i.wrapping_mul(WORD), word.load(Relaxed));
        }
    }

    fn clear(&mut self, words: usize) {
        for i in 0..words {
            self.put(i.wrapping_mul(WORD), 0);
        }
    }
}

/// Whether the words at `stored` are `bytes` with its padding, of which [`rest`] gave `rest`. There
/// are as many words stored as the bytes take.
#[inline(always)]
pub(super) fn equal(stored: &[AtomicU64], bytes: Bytes<'_>, rest: Option<u64>) -> bool {
    bytes.same_words(stored)
        && rest.is_none_or(|w| stored.last().is_some_and(|s| s.load(Relaxed) == w))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_way_through_words() {
        for n in 1..40 {
            let bytes: Vec<u8> = (0..n).map(|i| 255 - i).collect();
            let mem: Vec<AtomicU64> = (0..words_of(n.into()))
                .map(|_| AtomicU64::new(u64::MAX))
                .collect();
            store(&mem, bytes[..].into());
            assert!(equal(&mem, bytes[..].into(), rest(bytes[..].into())));
            let mut out = vec![0; n.into()];
            load(&mem, &mut out);
            assert_eq!(out, bytes);
            let mut padded = bytes.clone();
            padded.resize(mem.len() * WORD, 0);
            let image: Vec<u8> = mem
                .iter()
                .flat_map(|w| w.load(Relaxed).to_ne_bytes())
                .collect();
            assert_eq!(image, padded);
            let mut other = bytes.clone();
            *other.last_mut().unwrap() ^= 1;
            assert!(!equal(&mem, other[..].into(), rest(other[..].into())));
        }
    }

    #[test]
    fn past_the_end_is_zero() {
        assert_eq!(word([1u8, 2, 3][..].into(), 1), 0);
        assert_eq!(word([][..].into(), 0), 0);
    }
}
