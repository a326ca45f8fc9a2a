// SPDX-License-Identifier: GPL-2.0

//! The spin lock in a value: four bytes that are no data.
//!
//! Programs take and give it back in place, and so does whoever copies a value under it. No copy reads or
//! writes these bytes otherwise: user space sees zeroes there, and what it writes there goes
//! nowhere. That holds for elements which become another entry's, too, since who found the old entry may
//! hold the lock still.

use super::spec::MapSpec;
use super::words::{self, WORD};
use crate::sys::bytes::Bytes;
use crate::sys::maplock::ValueGuard;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of a lock.
const SIZE: usize = 4;

/// Where in each value of a map the lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::map) struct ValueLock {
    /// The word that it is half of.
    word: usize,
    /// It is the half with the higher address.
    second: bool,
}

impl ValueLock {
    /// The lock in values of a map of `spec`, if they have one.
    pub(in crate::map) fn of(spec: &MapSpec) -> Option<Self> {
        spec.lock.map(|off| ValueLock {
            word: off as usize / WORD,
            second: off as usize % WORD >= SIZE,
        })
    }

    /// The bits of its word that are the lock's.
    fn mask(self) -> u64 {
        match self.second {
            false => u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
            true => u64::from_ne_bytes([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        }
    }

    fn hold<'a>(&self, words: &'a [AtomicU64], locked: bool) -> Option<ValueGuard<'a>> {
        let word = words.get(self.word).filter(|_| locked)?;
        Some(ValueGuard::new(word, self.second))
    }

    /// Writes `value` into the words at `dst` but for the lock, which is held meanwhile if the value shall be
    /// `locked`.
    pub(in crate::map) fn store(&self, dst: &[AtomicU64], value: Bytes<'_>, locked: bool) {
        let _held = self.hold(dst, locked);
        for (i, word) in dst.iter().enumerate() {
            let new = words::word(value, i);
            if i != self.word {
                word.store(new, Relaxed);
                continue;
            }
            // Others may take the lock, or wait for it, at any time: the word is exchanged as a whole
            // if it is still what it was.
            let mask = self.mask();
            let _ = word.fetch_update(Relaxed, Relaxed, |old| Some((old & mask) | (new & !mask)));
        }
    }

    /// Reads the words at `src` into `out`, with zeroes for the lock, which is held meanwhile if the
    /// value shall be `locked`.
    pub(in crate::map) fn load(&self, src: &[AtomicU64], out: &mut [u8], locked: bool) {
        let _held = self.hold(src, locked);
        words::load(src, out);
        let at = self.word.wrapping_mul(WORD);
        let at = at.wrapping_add(if self.second { SIZE } else { 0 });
        for byte in out.iter_mut().skip(at).take(SIZE) {
            *byte = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::MapType;
    use crate::map::model::spec;
    use crate::map::{Map, F_LOCK};

    fn maps(value_size: u32, lock: u32) -> impl Iterator<Item = Map> {
        [MapType::Hash, MapType::Array].into_iter().map(move |ty| {
            let spec = MapSpec {
                lock: Some(lock),
                ..spec(ty, 4, value_size, 2)
            };
            Map::new(&spec).unwrap()
        })
    }

    fn get(map: &Map, key: u32, size: usize, flags: u64) -> Vec<u8> {
        let mut out = vec![0x55; size];
        map.lookup(&key.to_ne_bytes(), &mut out, flags).unwrap();
        out
    }

    #[test]
    fn copies_leave_the_lock_out() {
        for (size, lock) in [(4, 0), (8, 0), (8, 4), (16, 4), (24, 8), (20, 16), (40, 12)] {
            for map in maps(size, lock) {
                let value: Vec<u8> = (1..=size as u8).collect();
                let mut want = value.clone();
                want[lock as usize..lock as usize + 4].fill(0);
                for flags in [0, F_LOCK, 0, F_LOCK] {
                    map.update(&[0; 4], &value, flags).unwrap();
                    for read in [0, F_LOCK] {
                        assert_eq!(get(&map, 0, size as usize, read), want, "{size} {lock}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_lock_that_is_held_stays_so() {
        for second in [false, true] {
            let lock = ValueLock { word: 1, second };
            let words = [0; 3].map(AtomicU64::new);
            let held = ValueGuard::new(&words[1], second);
            let before = words[1].load(Relaxed);
            lock.store(&words, [0x55; 24][..].into(), false);
            let data = 0x5555_5555_5555_5555;
            assert_eq!(words[1].load(Relaxed) & lock.mask(), before);
            assert_eq!(words[1].load(Relaxed) & !lock.mask(), data & !lock.mask());
            drop(held);
            assert_eq!(words[1].load(Relaxed), data & !lock.mask());
            assert_eq!([&words[0], &words[2]].map(|w| w.load(Relaxed)), [data; 2]);
        }
    }

    #[test]
    fn flags_of_maps_without_a_lock() {
        for ty in [MapType::Hash, MapType::Array] {
            let map = Map::new(&spec(ty, 4, 16, 2)).unwrap();
            assert!(map.check_flags(F_LOCK, u64::MAX).is_err());
            assert!(map.update(&[0; 4], &[0; 16], F_LOCK).is_err());
        }
        for map in maps(16, 0) {
            assert!(map.check_flags(F_LOCK, u64::MAX).is_ok());
            assert!(map.check_flags(F_LOCK, 0).is_err());
        }
    }

    #[test]
    fn nobody_sees_half_of_a_value() {
        const ROUNDS: u8 = if cfg!(miri) { 3 } else { 200 };
        for map in maps(64, 12) {
            map.update(&[0; 4], &[0; 64], F_LOCK).unwrap();
            let map = &map;
            std::thread::scope(|s| {
                for _ in 0..2 {
                    s.spawn(move || {
                        for i in 0..ROUNDS {
                            while map.update(&[0; 4], &[i; 64], F_LOCK).is_err() {}
                        }
                    });
                }
                for _ in 0..ROUNDS {
                    let value = get(map, 0, 64, F_LOCK);
                    let data = [&value[..12], &value[16..]].concat();
                    assert!(data.iter().all(|b| *b == data[0]), "{value:?}");
                }
            });
        }
    }
}
