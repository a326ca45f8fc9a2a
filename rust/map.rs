// SPDX-License-Identifier: GPL-2.0

//! Maps: memory that programs and user space share, by key.
//!
//! Programs call `prog_*` in any context, under RCU with preemption off; system calls use the
//! others. None sleeps but [`Map::new`] and dropping. A map is dropped only when no program can
//! hold an address in it any more, after a grace period.

mod array;
mod hash;
#[cfg(test)]
mod model;
mod pool;
pub mod spec;
#[cfg(test)]
mod stress;
mod words;

use crate::abi::MapType;
use crate::sys::bytes::Bytes;
use crate::verifier::MapFacts;
use array::Array;
pub use array::ArrayLayout;
use core::sync::atomic::{AtomicBool, Ordering::*};
use hash::Hash;
use kernel::prelude::*;
pub use spec::MapSpec;
use spec::{RDONLY_PROG, WRONLY_PROG};

/// Flag bit of element operations: take the value's spin lock (`BPF_F_LOCK`).
pub const F_LOCK: u64 = 1 << 2;
/// Flag bit of element operations: the CPU in the upper half only (`BPF_F_CPU`).
pub const F_CPU: u64 = 1 << 3;
/// Flag bit of element operations: one value for all CPUs (`BPF_F_ALL_CPUS`).
pub const F_ALL_CPUS: u64 = 1 << 4;

/// What an update may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Update {
    /// `BPF_ANY`
    Any,
    /// `BPF_NOEXIST`
    NoExist,
    /// `BPF_EXIST`
    Exist,
}

impl Update {
    /// From an update's flags.
    #[inline(always)]
    fn new(flags: u64) -> Result<Self> {
        match flags {
            0 => Ok(Update::Any),
            1 => Ok(Update::NoExist),
            2 => Ok(Update::Exist),
            _ => Err(EINVAL),
        }
    }

    /// Whether the update may go on when an entry is there, or is not.
    #[inline(always)]
    fn allows(self, there: bool) -> Result {
        match (self, there) {
            (Update::NoExist, true) => Err(EEXIST),
            (Update::Exist, false) => Err(ENOENT),
            _ => Ok(()),
        }
    }
}

/// The algorithm behind a map.
enum Kind {
    Array(Array),
    Hash(Hash),
}

/// A map.
pub struct Map {
    kind: Kind,
    spec: MapSpec,
    frozen: AtomicBool,
}

impl Map {
    /// The map that `spec` describes, empty; its memory is charged to the current cgroup.
    ///
    /// # Errors
    ///
    /// As [`MapSpec::check`], which `spec` is assumed to have passed; `E2BIG` for too many entries;
    /// `ENOMEM`.
    pub fn new(spec: &MapSpec) -> Result<Self> {
        let kind = match spec.ty {
            MapType::Array => Kind::Array(Array::new(spec)?),
            MapType::Hash => Kind::Hash(Hash::new(spec)?),
            MapType::ProgArray => return Err(EINVAL),
        };
        Ok(Map {
            kind,
            spec: *spec,
            frozen: AtomicBool::new(false),
        })
    }

    /// What the map was made from.
    pub fn spec(&self) -> &MapSpec {
        &self.spec
    }

    /// What the verifier needs to know.
    pub fn facts(&self) -> MapFacts {
        let rdonly_prog = self.spec.has(RDONLY_PROG);
        MapFacts {
            ty: self.spec.ty,
            key_size: self.spec.key_size,
            value_size: self.spec.value_size,
            max_entries: self.spec.max_entries,
            rdonly_prog,
            wronly_prog: self.spec.has(WRONLY_PROG),
            frozen: rdonly_prog && self.is_frozen(),
            direct_value: matches!(self.kind, Kind::Array(_)) && self.spec.max_entries == 1,
        }
    }

    /// Whether user space gave up writing the map.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Acquire)
    }

    /// From now on user space cannot write the map; false when that was so already.
    pub fn freeze(&self) -> bool {
        !self.frozen.swap(true, AcqRel)
    }

    /// Bytes of the value that user space passes or gets in an operation with `flags`.
    pub fn user_value_size(&self, _flags: u64) -> usize {
        self.spec.value_size as usize
    }

    /// Checks the flags of an element operation of user space, of which `allowed` are known to the
    /// operation; before key and value are read.
    ///
    /// # Errors
    ///
    /// `EINVAL` for flags that this operation or map does not have; `ERANGE` for a CPU that there
    /// is not.
    pub fn check_flags(&self, flags: u64, allowed: u64) -> Result {
        if flags & 0xffff_ffff & !allowed != 0 {
            return Err(EINVAL);
        }
        // No map has values with a spin lock, or one for each CPU.
        if flags & (F_LOCK | F_CPU | F_ALL_CPUS) != 0 || flags >> 32 != 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// The key, if it is as long as this map's are.
    #[inline(always)]
    fn key<'a>(&self, key: Bytes<'a>) -> Result<Bytes<'a>> {
        if key.len() == self.spec.key_size as usize {
            Ok(key)
        } else {
            Err(EINVAL)
        }
    }

    /// The value, if it is as long as this map's are.
    #[inline(always)]
    fn value<'a>(&self, value: Bytes<'a>) -> Result<Bytes<'a>> {
        if value.len() == self.spec.value_size as usize {
            Ok(value)
        } else {
            Err(EINVAL)
        }
    }

    /// Copies the value of `key` to `out`, which has [`Map::user_value_size`] bytes.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none; `EINVAL` for a key or buffer of another size.
    pub fn lookup(&self, key: &[u8], out: &mut [u8]) -> Result {
        let key = self.key(key.into())?;
        if out.len() != self.user_value_size(0) {
            return Err(EINVAL);
        }
        match &self.kind {
            Kind::Array(m) => m.lookup(key, out),
            Kind::Hash(m) => m.lookup(key, out),
        }
    }

    /// Sets the value of `key`, which has [`Map::user_value_size`] bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL` for unknown flags, or a key or value of another size; `EEXIST` and `ENOENT` as the
    /// flags want; `E2BIG` when the map is full or the index past the end; `EBUSY` inside another
    /// map operation on this CPU.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result {
        self.prog_update(key.into(), value.into(), flags)
    }

    /// Removes `key`.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none; `EINVAL` when entries of this map cannot be removed, or for a
    /// key of another size; `EBUSY` inside another map operation on this CPU.
    pub fn delete(&self, key: &[u8]) -> Result {
        self.prog_delete(key.into())
    }

    /// Removes `key` and copies its value to `out`, which has [`Map::user_value_size`] bytes.
    ///
    /// # Errors
    ///
    /// `ENOTSUPP` when the map cannot do that; else as [`Map::delete`].
    pub fn lookup_and_delete(&self, key: &[u8], out: &mut [u8]) -> Result {
        let key = self.key(key.into())?;
        if out.len() != self.user_value_size(0) {
            return Err(EINVAL);
        }
        match &self.kind {
            Kind::Array(_) => Err(ENOTSUPP),
            Kind::Hash(m) => m.lookup_and_delete(key, out),
        }
    }

    /// Writes the key after `key` to `out`, which has a key's size: the first one for none, or for
    /// one that is not in the map. Who deletes while another walks may make it start again.
    ///
    /// # Errors
    ///
    /// `ENOENT` after the last key; `EINVAL` for a key or buffer of another size.
    pub fn next_key(&self, key: Option<&[u8]>, out: &mut [u8]) -> Result {
        if out.len() != self.spec.key_size as usize {
            return Err(EINVAL);
        }
        let key = match key {
            Some(k) => Some(self.key(k.into())?),
            None => None,
        };
        match &self.kind {
            Kind::Array(_) => array::next_index(self.spec.max_entries, key, out),
            Kind::Hash(m) => m.next_key(key, out),
        }
    }

    /// Address of the value of `key`, for a program: readable and writable for its value size until
    /// the map is dropped; if the entry is deleted, another may get the memory at once.
    #[inline(always)]
    pub(crate) fn prog_lookup(&self, key: Bytes<'_>) -> Option<usize> {
        let key = self.key(key).ok()?;
        let addr = match &self.kind {
            Kind::Array(m) => m.lookup_addr(key),
            Kind::Hash(m) => m.lookup_addr(key),
        };
        (addr != 0).then_some(addr)
    }

    /// As [`Map::prog_lookup`], with a key that nobody writes meanwhile.
    #[inline]
    pub fn lookup_addr(&self, key: &[u8]) -> Option<usize> {
        self.prog_lookup(key.into())
    }

    /// Sets the value of `key`, for a program.
    ///
    /// # Errors
    ///
    /// As [`Map::update`].
    #[inline]
    pub(crate) fn prog_update(&self, key: Bytes<'_>, value: Bytes<'_>, flags: u64) -> Result {
        let how = Update::new(flags)?;
        let (key, value) = (self.key(key)?, self.value(value)?);
        match &self.kind {
            Kind::Array(m) => m.update(key, value, how),
            Kind::Hash(m) => m.update(key, value, how),
        }
    }

    /// Removes `key`, for a program.
    ///
    /// # Errors
    ///
    /// As [`Map::delete`].
    #[inline]
    pub(crate) fn prog_delete(&self, key: Bytes<'_>) -> Result {
        let key = self.key(key)?;
        match &self.kind {
            Kind::Array(_) => Err(EINVAL),
            Kind::Hash(m) => m.delete(key),
        }
    }

    /// Where an array's values are, so that the JIT can look them up by itself.
    pub fn array_layout(&self) -> Option<ArrayLayout> {
        match &self.kind {
            Kind::Array(m) => m.layout(),
            Kind::Hash(_) => None,
        }
    }

    /// Address of byte `off` of the map's only value, for a program that takes it directly.
    ///
    /// # Errors
    ///
    /// `ENOTSUPP` when the map has not one value only; `EINVAL` past the value's end.
    pub fn value_addr(&self, off: u32) -> Result<usize> {
        if !self.facts().direct_value {
            return Err(ENOTSUPP);
        }
        if off >= self.spec.value_size {
            return Err(EINVAL);
        }
        let base = self.array_layout().ok_or(ENOTSUPP)?.base;
        base.checked_add(off as usize).ok_or(EINVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::model::{spec, Model};
    use super::*;
    use kernel::alloc::fail;

    #[test]
    fn hash_is_its_model() {
        for (i, key_size) in [1, 2, 4, 7, 8, 9, 12, 16, 20, 64, 100]
            .into_iter()
            .enumerate()
        {
            for (value_size, entries) in [(8, 1), (1, 2), (12, 5), (64, 16), (3, 100)] {
                let s = spec(MapType::Hash, key_size, value_size, entries);
                Model::new(Map::new(&s).unwrap(), i as u64).run(2_000);
            }
        }
    }

    #[test]
    fn hash_with_one_bucket_is_its_model() {
        for (i, key_size) in [4, 8, 16].into_iter().enumerate() {
            let s = spec(MapType::Hash, key_size, 8, 60);
            let kind = Kind::Hash(Hash::with_buckets(&s, 1).unwrap());
            let map = Map {
                kind,
                spec: s,
                frozen: AtomicBool::new(false),
            };
            Model::new(map, i as u64).run(10_000);
        }
    }

    #[test]
    fn array_is_its_model() {
        for (value_size, entries) in [(1, 1), (8, 2), (12, 5), (64, 100)] {
            let s = spec(MapType::Array, 4, value_size, entries);
            Model::new(Map::new(&s).unwrap(), entries.into()).run(2_000);
        }
    }

    #[test]
    fn making_fails_cleanly_wherever_memory_ends() {
        for ty in [MapType::Array, MapType::Hash] {
            let s = spec(ty, 4, 8, 10);
            let mut points = 0;
            loop {
                fail::after(Some(points));
                let made = Map::new(&s);
                fail::after(None);
                match made {
                    Ok(_) => break,
                    Err(e) => assert_eq!(e, ENOMEM),
                }
                points += 1;
            }
            assert!(points >= 1);
        }
    }

    #[test]
    fn too_large_is_no_overflow() {
        let huge = [
            (u32::MAX, 8),
            (u32::MAX, i32::MAX as u32),
            (1 << 31, 1 << 30),
        ];
        for (entries, value_size) in huge {
            let s = spec(MapType::Array, 4, value_size, entries);
            s.check(|| true).unwrap();
            if u64::from(entries) * u64::from(value_size) > 1 << 46 {
                assert_eq!(Map::new(&s).err(), Some(ENOMEM));
            }
        }
        let s = spec(MapType::Hash, 4, 8, u32::MAX);
        s.check(|| true).unwrap();
        assert_eq!(Map::new(&s).err(), Some(E2BIG));
    }

    #[test]
    fn sizes_of_keys_and_values_are_checked() {
        let map = Map::new(&spec(MapType::Hash, 8, 8, 2)).unwrap();
        let mut out = [0; 8];
        assert_eq!(map.update(&[0; 4], &[0; 8], 0), Err(EINVAL));
        assert_eq!(map.update(&[0; 8], &[0; 9], 0), Err(EINVAL));
        assert_eq!(map.lookup(&[0; 4], &mut out), Err(EINVAL));
        assert_eq!(map.lookup(&[0; 8], &mut out[..4]), Err(EINVAL));
        assert_eq!(map.delete(&[0; 16]), Err(EINVAL));
        assert_eq!(map.next_key(None, &mut out[..4]), Err(EINVAL));
        assert_eq!(map.next_key(Some(&[0; 4]), &mut out), Err(EINVAL));
        assert_eq!(map.lookup_addr(&[0; 4]), None);
    }

    #[test]
    fn arrays_tell_where_their_values_are() {
        let map = Map::new(&spec(MapType::Array, 4, 12, 3)).unwrap();
        let layout = map.array_layout().unwrap();
        assert_eq!((layout.stride, layout.entries), (16, 3));
        for i in 0..3u32 {
            let addr = layout.base + (i * layout.stride) as usize;
            assert_eq!(map.lookup_addr(&i.to_ne_bytes()), Some(addr));
        }
        assert_eq!(map.lookup_addr(&3u32.to_ne_bytes()), None);
        assert_eq!(map.value_addr(0), Err(ENOTSUPP));
        let one = Map::new(&spec(MapType::Array, 4, 12, 1)).unwrap();
        let base = one.array_layout().unwrap().base;
        assert!(one.facts().direct_value);
        assert_eq!(one.value_addr(11), Ok(base + 11));
        assert_eq!(one.value_addr(12), Err(EINVAL));
    }

    #[test]
    fn a_map_freezes_once() {
        let mut s = spec(MapType::Array, 4, 12, 1);
        s.flags = RDONLY_PROG;
        let map = Map::new(&s).unwrap();
        assert!(!map.facts().frozen);
        assert!(map.freeze());
        assert!(!map.freeze());
        assert!(map.facts().frozen);
    }
}
