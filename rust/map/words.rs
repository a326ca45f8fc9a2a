// SPDX-License-Identifier: GPL-2.0

//! Keys and values as words: how bytes get into a region and out of it.
//!
//! A region's memory is written by programs and by other CPUs at any time, so each word is one
//! relaxed atomic access: what comes out may mix two writers' words, but each word is one that
//! somebody wrote. The last word of a key or value that is no multiple of eight bytes is padded
//! with zeroes.

use crate::sys::bytes::Bytes;
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

/// The up to seven bytes from `off` on as a word.
#[inline]
fn tail(bytes: Bytes<'_>, off: usize) -> u64 {
    if off.wrapping_add(4) == bytes.len() {
        if let Some(w) = bytes.u32(off) {
            return u64::from(w.to_le()).to_le();
        }
    }
    let mut w = [0; WORD];
    for (i, b) in w.iter_mut().enumerate() {
        *b = bytes.u8(off.wrapping_add(i)).unwrap_or(0);
    }
    u64::from_ne_bytes(w)
}

/// Writes `bytes` into the words at `dst`, as far as these go.
#[inline]
pub(super) fn store(dst: &[AtomicU64], bytes: Bytes<'_>) {
    for (i, d) in dst.iter().enumerate() {
        d.store(word(bytes, i), Relaxed);
    }
}

/// Reads the words at `src` into `out`, as far as both go.
#[inline]
pub(super) fn load(src: &[AtomicU64], out: &mut [u8]) {
    for (to, from) in out.chunks_mut(WORD).zip(src) {
        let from = from.load(Relaxed).to_ne_bytes();
        if let Ok(whole) = <&mut [u8; WORD]>::try_from(&mut *to) {
            *whole = from;
        } else {
            for (t, f) in to.iter_mut().zip(from) {
                *t = f;
            }
        }
    }
}

/// Whether the words at `stored` are `bytes` with its padding.
#[inline]
pub(super) fn equal(stored: &[AtomicU64], bytes: Bytes<'_>) -> bool {
    stored
        .iter()
        .enumerate()
        .all(|(i, s)| s.load(Relaxed) == word(bytes, i))
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
            assert!(equal(&mem, bytes[..].into()));
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
            assert!(!equal(&mem, other[..].into()));
        }
    }

    #[test]
    fn past_the_end_is_zero() {
        assert_eq!(word([1u8, 2, 3][..].into(), 1), 0);
        assert_eq!(word([][..].into(), 0), 0);
    }
}
