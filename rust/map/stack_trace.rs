// SPDX-License-Identifier: GPL-2.0

//! STACK_TRACE: call chains by their hash.
//!
//! A chain's number is its hash, cut to the number of buckets, a power of two; a bucket has one chain
//! or none. Chains are in elements of a pool as large as `max_entries`; a bucket has an element's
//! number. The hash is that of bpf(2), so that numbers are the same.
//!
//! Programs look for their chain without a lock: an element that is used again meanwhile differs
//! in some word, or it has the chain, and then the answer is right. All changes are made under
//! one lock.

use super::array;
use super::spec::MapSpec;
use crate::sys::bytes::Bytes;
use crate::sys::maplock::MapLock;
use crate::sys::region::Region;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use kernel::prelude::*;

/// Flags of `get_stackid`.
const SKIP: u64 = 0xff;
const FAST_CMP: u64 = 1 << 9;
const REUSE: u64 = 1 << 10;

/// Words of an element before the chain: the hash and the number of addresses, and the number of the
/// next free element.
const HEAD: usize = 2;

/// No element.
const NONE: u32 = 0;

/// A table of call chains.
pub struct StackTrace {
    /// Numbers of elements, from 1; [`NONE`] for nothing.
    buckets: Region<AtomicU32>,
    elems: Region<AtomicU64>,
    stride: usize,
    depth: u32,
    lock: MapLock,
    /// The first free element.
    free: AtomicU32,
}

/// What the hash says of a chain.
fn head(hash: u32, nr: u32) -> u64 {
    u64::from(hash) | (u64::from(nr) << 32)
}

impl StackTrace {
    /// An empty table.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(spec: &MapSpec) -> Result<Self> {
        let buckets = spec.max_entries.checked_next_power_of_two().ok_or(E2BIG)?;
        let words = (spec.value_size / 8) as usize;
        let stride = words.checked_add(HEAD).ok_or(ENOMEM)?;
        let entries = spec.max_entries as usize;
        let len = stride.checked_mul(entries).ok_or(ENOMEM)?;
        let map = StackTrace {
            buckets: Region::new(buckets as usize, spec.node())?,
            elems: Region::new(len, spec.node())?,
            stride,
            depth: spec.value_size / 8,
            lock: MapLock::default(),
            free: AtomicU32::new(1),
        };
        for e in 1..=spec.max_entries {
            let next = match e == spec.max_entries {
                true => NONE,
                false => e.wrapping_add(1),
            };
            if let Some(word) = map.elem(e).and_then(|e| e.get(1)) {
                word.store(u64::from(next), Relaxed);
            }
        }
        Ok(map)
    }

    /// Bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.bytes().saturating_add(self.elems.bytes())
    }

    /// Addresses that a chain has at most.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// The words of element `e`.
    fn elem(&self, e: u32) -> Option<&[AtomicU64]> {
        let start = (e.checked_sub(1)? as usize).checked_mul(self.stride)?;
        self.elems.get(start..start.checked_add(self.stride)?)
    }

    /// The bucket of that number.
    fn bucket(&self, id: u32) -> Option<&AtomicU32> {
        self.buckets.get(id as usize)
    }

    /// Gives element `e` back; with the lock.
    fn give(&self, e: u32) {
        if let Some(word) = self.elem(e).and_then(|e| e.get(1)) {
            word.store(self.free.load(Relaxed).into(), Relaxed);
            self.free.store(e, Relaxed);
        }
    }

    /// A free element; with the lock.
    fn take(&self) -> Option<u32> {
        let e = self.free.load(Relaxed);
        let next = self.elem(e)?.get(1)?.load(Relaxed);
        self.free.store(next as u32, Relaxed);
        Some(e)
    }

    /// Does element `e` have this chain?
    fn has(&self, e: u32, hash: u32, ips: Bytes<'_>) -> bool {
        let nr = ips.len() / 8;
        let Some(words) = self.elem(e) else {
            return false;
        };
        let (Some(first), Some(rest)) = (words.first(), words.get(HEAD..)) else {
            return false;
        };
        first.load(Relaxed) == head(hash, nr as u32)
            && nr <= rest.len()
            && ips.words().zip(rest).all(|(a, b)| a == b.load(Relaxed))
    }

    /// The number of chain `ips`, all of it, of which the first addresses are skipped as `flags` say.
    ///
    /// # Errors
    ///
    /// `EFAULT` when all is skipped; `EEXIST` when another chain has the number, unless `flags` allow
    /// to replace it; `ENOMEM` when the table is full; `EBUSY` inside another map operation on this
    /// CPU.
    pub fn id(&self, ips: Bytes<'_>, flags: u64) -> Result<u32> {
        let skip = (flags & SKIP) as usize;
        let nr = (ips.len() / 8).checked_sub(skip).filter(|n| *n != 0);
        let nr = nr.ok_or(EFAULT)?.min(self.depth as usize);
        let (from, len) = (skip.wrapping_mul(8), nr.wrapping_mul(8));
        let ips = ips.part(from, len).ok_or(EFAULT)?;
        let hash = jhash2(ips);
        let id = hash & (self.buckets.len() as u32).wrapping_sub(1);
        let bucket = self.bucket(id).ok_or(EFAULT)?;
        let now = bucket.load(Acquire);
        if now != NONE {
            let words = self.elem(now).and_then(|e| e.first());
            let same_hash = words.is_some_and(|w| w.load(Relaxed) as u32 == hash);
            if same_hash && (flags & FAST_CMP != 0 || self.has(now, hash, ips)) {
                return Ok(id);
            }
            if flags & REUSE == 0 {
                return Err(EEXIST);
            }
        }
        let _guard = self.lock.lock()?;
        let new = self.take().ok_or(ENOMEM)?;
        if let Some((words, chain)) = self.elem(new).and_then(|e| e.split_at_checked(HEAD)) {
            if let Some(first) = words.first() {
                first.store(head(hash, nr as u32), Relaxed);
            }
            for (to, from) in chain.iter().zip(ips.words()) {
                to.store(from, Relaxed);
            }
        }
        let old = bucket.swap(new, AcqRel);
        if old != NONE {
            self.give(old);
        }
        Ok(id)
    }

    /// Copies the chain of that number out, padded with zeroes, and removes it with `delete`.
    ///
    /// # Errors
    ///
    /// `ENOENT`; `EBUSY` inside another map operation on this CPU.
    pub(super) fn lookup(&self, key: Bytes<'_>, out: &mut [u8], delete: bool) -> Result {
        let bucket = array::index(key).and_then(|id| self.bucket(id));
        let bucket = bucket.ok_or(ENOENT)?;
        let _guard = self.lock.lock()?;
        let e = bucket.load(Relaxed);
        let words = self.elem(e).ok_or(ENOENT)?;
        let nr = words.first().map_or(0, |w| w.load(Relaxed) >> 32) as usize;
        out.fill(0);
        let chain = words.get(HEAD..).unwrap_or(&[]).iter().take(nr);
        for (to, from) in out.chunks_exact_mut(8).zip(chain) {
            to.copy_from_slice(&from.load(Relaxed).to_ne_bytes());
        }
        if delete {
            bucket.store(NONE, Release);
            self.give(e);
        }
        Ok(())
    }

    /// Removes the chain of that number.
    ///
    /// # Errors
    ///
    /// `E2BIG` past the last number, `ENOENT` when there is none; `EBUSY` inside another map
    /// operation on this CPU.
    pub(super) fn delete(&self, key: Bytes<'_>) -> Result {
        let bucket = array::index(key).and_then(|id| self.bucket(id));
        let bucket = bucket.ok_or(E2BIG)?;
        let _guard = self.lock.lock()?;
        match bucket.swap(NONE, AcqRel) {
            NONE => Err(ENOENT),
            e => {
                self.give(e);
                Ok(())
            }
        }
    }

    /// The number in use after `key`; the first one for none, and for one that is not in use.
    ///
    /// # Errors
    ///
    /// `ENOENT` after the last.
    pub(super) fn next_key(&self, key: Option<Bytes<'_>>, out: &mut [u8]) -> Result {
        let used = |id: u32| self.bucket(id).is_some_and(|b| b.load(Relaxed) != NONE);
        let first = match key.and_then(array::index).filter(|id| used(*id)) {
            Some(id) => id.checked_add(1).ok_or(ENOENT)?,
            None => 0,
        };
        let mut rest = first..self.buckets.len() as u32;
        let next = rest.find(|id| used(*id)).ok_or(ENOENT)?;
        let out = out.first_chunk_mut().ok_or(EINVAL)?;
        *out = next.to_ne_bytes();
        Ok(())
    }
}

/// Bob Jenkins's hash lookup3 of the 32-bit words, begun as bpf(2) does.
fn jhash2(bytes: Bytes<'_>) -> u32 {
    let words = bytes.len() / 4;
    let start = 0xdead_beef_u32.wrapping_add((words as u32) << 2);
    let word = |i: usize| bytes.u32(i.wrapping_mul(4)).unwrap_or(0);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut at: usize = 0;
    while words.wrapping_sub(at) > 3 {
        a = a.wrapping_add(word(at));
        b = b.wrapping_add(word(at.wrapping_add(1)));
        c = c.wrapping_add(word(at.wrapping_add(2)));
        for (one, two, three) in [(4, 6, 8), (16, 19, 4)] {
            mix(&mut a, &mut c, &mut b, one);
            mix(&mut b, &mut a, &mut c, two);
            mix(&mut c, &mut b, &mut a, three);
        }
        at = at.wrapping_add(3);
    }
    // Past the end a word is 0, which changes nothing.
    if at == words {
        return c;
    }
    a = a.wrapping_add(word(at));
    b = b.wrapping_add(word(at.wrapping_add(1)));
    c = c.wrapping_add(word(at.wrapping_add(2)));
    finish(&mut c, b, 14);
    finish(&mut a, c, 11);
    finish(&mut b, a, 25);
    finish(&mut c, b, 16);
    finish(&mut a, c, 4);
    finish(&mut b, a, 14);
    finish(&mut c, b, 24);
    c
}

fn mix(x: &mut u32, y: &mut u32, z: &mut u32, turn: u32) {
    *x = x.wrapping_sub(*y) ^ y.rotate_left(turn);
    *y = y.wrapping_add(*z);
}

fn finish(x: &mut u32, y: u32, turn: u32) {
    *x = (*x ^ y).wrapping_sub(y.rotate_left(turn));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::MapType;

    fn spec(value_size: u32, max_entries: u32) -> MapSpec {
        MapSpec {
            ty: MapType::StackTrace,
            key_size: 4,
            value_size,
            max_entries,
            flags: 0,
            numa_node: 0,
            extra: 0,
            name: [0; 16],
            lock: None,
        }
    }

    fn chain(ips: &[u64]) -> Vec<u8> {
        ips.iter().flat_map(|ip| ip.to_ne_bytes()).collect()
    }

    #[test]
    fn hashes() {
        // From the algorithm's own description: with nothing to hash it is where it began.
        assert_eq!(jhash2((&[][..]).into()), 0xdead_beef);
        let hashes: Vec<u32> = (1..9u64)
            .map(|n| jhash2(chain(&(0..n).collect::<Vec<_>>())[..].into()))
            .collect();
        for (i, h) in hashes.iter().enumerate() {
            assert!(!hashes.iter().skip(i + 1).any(|o| o == h));
        }
    }

    #[test]
    fn chains_by_number() {
        let m = StackTrace::new(&spec(32, 3)).unwrap();
        let ips = chain(&[1, 2, 3]);
        let id = m.id(ips[..].into(), 0).unwrap();
        assert_eq!(m.id(ips[..].into(), 0), Ok(id));
        assert_eq!(m.id(ips[..].into(), 3), Err(EFAULT));
        // Longer than a value: cut.
        let mut out = [0xff; 32];
        assert_eq!(
            m.lookup(id.to_ne_bytes()[..].into(), &mut out, false),
            Ok(())
        );
        assert_eq!(out[..], chain(&[1, 2, 3, 0])[..]);
        let long = chain(&[9, 1, 2, 3, 4, 5]);
        let other = m.id(long[..].into(), 1 | REUSE).unwrap();
        assert_eq!(
            m.lookup(other.to_ne_bytes()[..].into(), &mut out, true),
            Ok(())
        );
        assert_eq!(out[..], chain(&[1, 2, 3, 4])[..]);
        assert_eq!(
            m.lookup(other.to_ne_bytes()[..].into(), &mut out, true),
            Err(ENOENT)
        );
        assert_eq!(m.delete(4u32.to_ne_bytes()[..].into()), Err(E2BIG));
    }

    #[test]
    fn numbers_are_shared_and_elements_end() {
        let m = StackTrace::new(&spec(8, 3)).unwrap();
        let mut ids = std::collections::BTreeMap::new();
        let mut full = 0;
        for ip in 0..1000u64 {
            let ips = chain(&[ip]);
            match m.id(ips[..].into(), 0) {
                Ok(id) => assert_eq!(ids.insert(id, ip), None),
                Err(e) if e == EEXIST => {}
                Err(e) => {
                    assert_eq!(e, ENOMEM);
                    full += 1;
                }
            }
        }
        assert_eq!(ids.len(), 3);
        assert!(full > 0);
        let mut key = None;
        let mut seen = Vec::new();
        let mut next = [0; 4];
        while m.next_key(key.as_ref().map(|k: &[u8; 4]| k[..].into()), &mut next) == Ok(()) {
            seen.push(u32::from_ne_bytes(next));
            key = Some(next);
        }
        assert_eq!(seen, ids.keys().copied().collect::<Vec<_>>());
        // Who replaces needs an element first.
        for id in &seen {
            assert_eq!(m.delete(id.to_ne_bytes()[..].into()), Ok(()));
        }
        for ip in 0..1000u64 {
            assert!(m.id(chain(&[ip])[..].into(), REUSE).is_ok() || ip > 2);
        }
        assert_eq!(m.next_key(None, &mut next), Ok(()));
    }
}
