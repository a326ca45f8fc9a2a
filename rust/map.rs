// SPDX-License-Identifier: GPL-2.0

//! Maps: memory that programs and user space share, by key.
//!
//! Programs call `prog_*` in any context, under RCU with preemption off; system calls use the
//! others. None sleeps but [`Map::new`] and dropping. A map is dropped only when no program can
//! hold an address in it any more, after a grace period.

mod array;
mod batch;
mod bloom;
mod fd_array;
mod hash;
mod lock;
mod lpm;
pub mod map_hash;
mod memory;
#[cfg(test)]
mod model;
mod percpu;
mod percpu_array;
mod pool;
mod queue;
pub mod ringbuf;
pub mod spec;
pub mod stack_trace;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod tests;
mod words;

use crate::abi::MapType;
use crate::helper::Walk;
use crate::sys::bytes::{Bytes, Room};
use crate::sys::cpus;
use crate::verifier::MapFacts;
use array::Array;
pub use array::ArrayLayout;
pub use batch::{Bulk, Step};
use bloom::Bloom;
use core::sync::atomic::{AtomicBool, Ordering::*};
pub use fd_array::FdArray;
pub use hash::HashLayout;
use kernel::prelude::*;
use lpm::Lpm;
pub use map_hash::MapHash;
pub use memory::Memory;
use percpu::Cpus;
use percpu_array::PercpuArray;
use queue::{Order, Queue};
use ringbuf::Ringbuf;
pub use spec::MapSpec;
use spec::{INNER_MAP, RDONLY_PROG, WRONLY_PROG};
pub use stack_trace::StackTrace;

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

    /// From the flags of user space for a map with values for each CPU, where in-tree takes some
    /// that mean nothing.
    fn percpu(flags: u64) -> Result<Self> {
        match flags {
            1 => Ok(Update::NoExist),
            2 => Ok(Update::Exist),
            _ if flags & F_LOCK != 0 || flags & 0xffff_ffff > F_ALL_CPUS => Err(EINVAL),
            _ => Ok(Update::Any),
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
    Hash(hash::Plain),
    PercpuArray(PercpuArray),
    PercpuHash(hash::Percpu),
    LruHash(hash::Lru),
    LruPercpuHash(hash::LruPercpu),
    Lpm(Lpm),
    Queue(Queue),
    Bloom(Bloom),
    FdArray(FdArray),
    StackTrace(StackTrace),
    MapHash(MapHash),
    Ringbuf(Ringbuf),
}

/// A map.
pub struct Map {
    kind: Kind,
    spec: MapSpec,
    frozen: AtomicBool,
}

/// In-tree's answer where a map has no such operation at all (`EOPNOTSUPP`).
fn eopnotsupp() -> Error {
    Error::from_errno(-95)
}

impl Map {
    /// The map that `spec` describes, empty; its memory is charged to the current cgroup.
    ///
    /// # Errors
    ///
    /// What [`MapSpec::check`], which `spec` is assumed to have passed, left for after the check of
    /// permissions: `E2BIG` for too many entries, `EINVAL` for a Bloom filter or trie that cannot be.
    /// `ENOMEM`.
    pub fn new(spec: &MapSpec) -> Result<Self> {
        let possible = (0..cpus::ids()).filter(|c| cpus::is_possible(*c)).count();
        let spec = &spec.rounded(u32::try_from(possible).unwrap_or(u32::MAX));
        spec.check_late()?;
        let kind = match spec.ty {
            MapType::Array => Kind::Array(Array::new(spec)?),
            MapType::Hash => Kind::Hash(hash::Plain::new(spec)?),
            MapType::PercpuArray => Kind::PercpuArray(PercpuArray::new(spec)?),
            MapType::PercpuHash => Kind::PercpuHash(hash::Percpu::new(spec)?),
            MapType::LruHash => Kind::LruHash(hash::Lru::new(spec)?),
            MapType::LruPercpuHash => Kind::LruPercpuHash(hash::LruPercpu::new(spec)?),
            MapType::LpmTrie => Kind::Lpm(Lpm::new(spec)?),
            MapType::Queue => Kind::Queue(Queue::new(spec, Order::Fifo)?),
            MapType::Stack => Kind::Queue(Queue::new(spec, Order::Lifo)?),
            MapType::Ringbuf => Kind::Ringbuf(Ringbuf::new(spec)?),
            MapType::BloomFilter => Kind::Bloom(Bloom::new(spec)?),
            MapType::ProgArray
            | MapType::ArrayOfMaps
            | MapType::PerfEventArray
            | MapType::CgroupArray => Kind::FdArray(FdArray::new(spec)?),
            MapType::StackTrace => Kind::StackTrace(StackTrace::new(spec)?),
            MapType::HashOfMaps => Kind::MapHash(MapHash::new(spec)?),
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
            direct_value: self.has_direct_value(),
            any_size: self.spec.has(INNER_MAP),
            lock: self.spec.lock,
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

    fn has_direct_value(&self) -> bool {
        matches!(self.kind, Kind::Array(_)) && self.spec.max_entries == 1
    }

    /// Bytes of the value that user space passes or gets in an operation with `flags`.
    pub fn user_value_size(&self, flags: u64) -> usize {
        let size = self.spec.value_size as usize;
        match self.spec.ty.is_percpu() && flags & (F_CPU | F_ALL_CPUS) == 0 {
            true => percpu::user_size(size),
            false => size,
        }
    }

    /// Looking up takes the value from user space, to say whether it is there.
    pub fn lookup_reads_value(&self) -> bool {
        matches!(self.kind, Kind::Bloom(_))
    }

    /// Checks the flags of an element operation of user space, of which `allowed` are known to the
    /// operation; before key and value are read.
    ///
    /// # Errors
    ///
    /// `EINVAL` for flags that this operation or map does not have; `ERANGE` for a CPU that there
    /// is not.
    pub fn check_flags(&self, flags: u64, allowed: u64) -> Result {
        if flags & 0xffff_ffff & !allowed != 0 || flags & F_LOCK != 0 && self.spec.lock.is_none() {
            return Err(EINVAL);
        }
        if flags & F_CPU == 0 && flags >> 32 != 0 {
            return Err(EINVAL);
        }
        let which = flags & (F_CPU | F_ALL_CPUS);
        if which == 0 {
            return Ok(());
        }
        if !self.spec.ty.is_percpu() || which == F_CPU | F_ALL_CPUS {
            return Err(EINVAL);
        }
        match which == F_CPU && !cpus::is_possible((flags >> 32) as usize) {
            true => Err(ERANGE),
            false => Ok(()),
        }
    }

    /// Which CPUs' values user space means.
    fn which(flags: u64) -> Cpus {
        match flags & (F_CPU | F_ALL_CPUS) {
            F_CPU => Cpus::One((flags >> 32) as usize),
            F_ALL_CPUS => Cpus::Same,
            _ => Cpus::Each,
        }
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

    /// Copies the value of `key` to `out`, which has [`Map::user_value_size`] bytes. A map without
    /// keys gives the value that leaves next, or looks for the one in `out` (see
    /// [`Map::lookup_reads_value`]).
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none; `EINVAL` for a key or buffer of another size; `EBUSY` inside
    /// another map operation on this CPU.
    pub fn lookup(&self, key: &[u8], out: &mut [u8], flags: u64) -> Result {
        let key = self.key(key.into())?;
        if out.len() != self.user_value_size(flags) {
            return Err(EINVAL);
        }
        let which = Self::which(flags);
        match &self.kind {
            Kind::Array(m) => m.lookup(key, out, flags & F_LOCK != 0),
            Kind::Hash(m) if flags & F_LOCK != 0 => m.lookup_locked(key, out),
            Kind::Hash(m) => m.lookup(key, out, which),
            Kind::PercpuArray(m) => m.lookup(key, out, which),
            Kind::PercpuHash(m) => m.lookup(key, out, which),
            Kind::LruHash(m) => m.lookup(key, out, which),
            Kind::LruPercpuHash(m) => m.lookup(key, out, which),
            Kind::Lpm(m) => m.lookup(key, out),
            Kind::Queue(m) => m.next(&mut *out, false),
            Kind::Bloom(m) => m.peek((&*out).into()),
            Kind::FdArray(_) | Kind::MapHash(_) => Err(eopnotsupp()),
            Kind::StackTrace(m) => m.lookup(key, out, false),
            Kind::Ringbuf(_) => Err(ENOTSUPP),
        }
    }

    /// Sets the value of `key`, which has [`Map::user_value_size`] bytes. A map without keys gets
    /// one more value.
    ///
    /// # Errors
    ///
    /// `EINVAL` for unknown flags, or a key or value of another size; `EEXIST` and `ENOENT` as the
    /// flags want; `E2BIG` when the map is full or the index past the end; `EBUSY` inside another
    /// map operation on this CPU; `ENOMEM` when an LRU map finds nothing to drop; `ENOSPC` when a
    /// trie is full.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result {
        let which = Self::which(flags);
        let key: Bytes<'_> = key.into();
        match &self.kind {
            Kind::PercpuArray(m) => {
                let (key, value) = self.user_update(key, value, flags)?;
                m.update(key, value, Update::percpu(flags)?, which)
            }
            Kind::PercpuHash(m) => {
                let (key, value) = self.user_update(key, value, flags)?;
                m.update(key, value, Update::percpu(flags)?, which)
            }
            Kind::LruPercpuHash(m) => {
                let (key, value) = self.user_update(key, value, flags)?;
                m.update(key, value, Update::percpu(flags)?, which)
            }
            Kind::Queue(_) | Kind::Bloom(_) => {
                self.key(key)?;
                self.push(value.into(), flags)
            }
            Kind::Array(_) | Kind::Hash(_) | Kind::LruHash(_) | Kind::Lpm(_) => {
                self.prog_update_quick(key, value.into(), flags)
            }
            Kind::FdArray(_) | Kind::MapHash(_) => Err(eopnotsupp()),
            Kind::StackTrace(_) => Err(EINVAL),
            Kind::Ringbuf(_) => Err(ENOTSUPP),
        }
    }

    fn user_update<'a>(
        &self,
        key: Bytes<'a>,
        value: &'a [u8],
        flags: u64,
    ) -> Result<(Bytes<'a>, Bytes<'a>)> {
        if value.len() != self.user_value_size(flags) {
            return Err(EINVAL);
        }
        Ok((self.key(key)?, value.into()))
    }

    /// Removes `key`.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none; `EINVAL` or `EOPNOTSUPP` when entries of this map cannot be
    /// removed, `EINVAL` for a key of another size; `EBUSY` inside another map operation on this
    /// CPU.
    pub fn delete(&self, key: &[u8]) -> Result {
        self.prog_delete(key.into())
    }

    /// Removes `key` and copies its value to `out`, which has [`Map::user_value_size`] bytes, under its
    /// lock with `F_LOCK`. A map without keys gives the value that leaves next.
    ///
    /// # Errors
    ///
    /// `ENOTSUPP` when the map cannot do that; else as [`Map::delete`].
    pub fn lookup_and_delete(&self, key: &[u8], out: &mut [u8], flags: u64) -> Result {
        let key = self.key(key.into())?;
        if out.len() != self.user_value_size(0) {
            return Err(EINVAL);
        }
        match &self.kind {
            Kind::Hash(m) if flags & F_LOCK != 0 => m.lookup_locked_and_delete(key, out),
            Kind::Hash(m) => m.lookup_and_delete(key, out, Cpus::Each),
            Kind::PercpuHash(m) => m.lookup_and_delete(key, out, Cpus::Each),
            Kind::LruHash(m) => m.lookup_and_delete(key, out, Cpus::Each),
            Kind::LruPercpuHash(m) => m.lookup_and_delete(key, out, Cpus::Each),
            Kind::Queue(m) => m.next(out, true),
            Kind::StackTrace(m) => m.lookup(key, out, true),
            Kind::Array(_)
            | Kind::PercpuArray(_)
            | Kind::Lpm(_)
            | Kind::Bloom(_)
            | Kind::FdArray(_)
            | Kind::MapHash(_)
            | Kind::Ringbuf(_) => Err(ENOTSUPP),
        }
    }

    /// Writes the key after `key` to `out`, which has a key's size: the first one for none, or for
    /// one that is not in the map. Who deletes while another walks may make it start again.
    ///
    /// # Errors
    ///
    /// `ENOENT` after the last key; `EINVAL` for a key or buffer of another size, and for a queue;
    /// `EOPNOTSUPP` for a Bloom filter.
    pub fn next_key(&self, key: Option<&[u8]>, out: &mut [u8]) -> Result {
        if out.len() != self.spec.key_size as usize {
            return Err(EINVAL);
        }
        let key = match key {
            Some(k) => Some(self.key(k.into())?),
            None => None,
        };
        match &self.kind {
            Kind::Array(_) | Kind::PercpuArray(_) | Kind::FdArray(_) => {
                array::next_index(self.spec.max_entries, key, out)
            }
            Kind::Hash(m) => m.next_key(key, out),
            Kind::PercpuHash(m) => m.next_key(key, out),
            Kind::LruHash(m) => m.next_key(key, out),
            Kind::LruPercpuHash(m) => m.next_key(key, out),
            Kind::Lpm(m) => m.next_key(key, out),
            Kind::MapHash(m) => m.next_key(key, out),
            Kind::StackTrace(m) => m.next_key(key, out),
            Kind::Queue(_) => Err(EINVAL),
            Kind::Bloom(_) => Err(eopnotsupp()),
            Kind::Ringbuf(_) => Err(ENOTSUPP),
        }
    }

    /// Address of the value of `key`, for a program: readable and writable for its value size until
    /// the map is dropped; if the entry is deleted, another may get the memory at once. It is this
    /// CPU's value if each has one.
    #[inline(always)]
    pub(crate) fn prog_lookup(&self, key: Bytes<'_>) -> Option<usize> {
        let key = self.key(key).ok()?;
        let addr = match &self.kind {
            Kind::Hash(m) => m.lookup_addr(key),
            _ => self.other_lookup(key),
        };
        (addr != 0).then_some(addr)
    }

    /// `prog_lookup` of the other kinds, apart so that this one stays short.
    #[inline(never)]
    fn other_lookup(&self, key: Bytes<'_>) -> usize {
        match &self.kind {
            Kind::Array(m) => m.lookup_addr(key),
            Kind::Hash(m) => m.lookup_addr(key),
            Kind::PercpuArray(m) => m.lookup_addr(key),
            Kind::PercpuHash(m) => m.lookup_apart(key),
            Kind::LruHash(m) => m.lookup_apart(key),
            Kind::LruPercpuHash(m) => m.lookup_apart(key),
            Kind::Lpm(m) => m.lookup_addr(key),
            // What is found is a map, for the program to pass on.
            Kind::FdArray(m) if self.spec.ty == MapType::ArrayOfMaps => m.word_of(key) as usize,
            Kind::MapHash(m) => m.word_of(key) as usize,
            Kind::Queue(_) | Kind::Bloom(_) | Kind::FdArray(_) | Kind::Ringbuf(_) => 0,
            Kind::StackTrace(_) => 0,
        }
    }

    /// As [`Map::prog_lookup`], with a key that nobody writes meanwhile.
    #[inline]
    pub fn lookup_addr(&self, key: &[u8]) -> Option<usize> {
        self.prog_lookup(key.into())
    }

    /// As [`Map::prog_update`]: what most calls are comes first, inlined.
    ///
    /// # Errors
    ///
    /// As [`Map::prog_update`].
    #[inline(always)]
    pub fn prog_update_quick(&self, key: Bytes<'_>, value: Bytes<'_>, flags: u64) -> Result {
        match &self.kind {
            Kind::Hash(m)
                if flags == 0
                    && value.len() == 8
                    && self.spec.value_size == 8
                    && key.len() == self.spec.key_size as usize =>
            {
                m.update_words(key, value)
            }
            _ => self.prog_update(key, value, flags),
        }
    }

    /// Sets the value of `key`, for a program: this CPU's if each has one.
    ///
    /// # Errors
    ///
    /// As [`Map::update`]; `EINVAL` for a map without keys.
    #[inline(never)]
    pub(crate) fn prog_update(&self, key: Bytes<'_>, value: Bytes<'_>, flags: u64) -> Result {
        let how = Update::new(flags & !F_LOCK)?;
        let (key, value) = (self.key(key)?, self.value(value)?);
        if flags & F_LOCK != 0 {
            return self.update_in_place(key, value, how);
        }
        match &self.kind {
            Kind::Hash(m) => m.update(key, value, how, Cpus::Same),
            _ => self.other_update(key, value, how),
        }
    }

    #[inline(never)]
    fn other_update(&self, key: Bytes<'_>, value: Bytes<'_>, how: Update) -> Result {
        let which = Cpus::One(cpus::current());
        match &self.kind {
            Kind::Array(m) => m.update(key, value, how, false),
            Kind::Hash(m) => m.update(key, value, how, which),
            Kind::PercpuArray(m) => m.update(key, value, how, which),
            Kind::PercpuHash(m) => m.update(key, value, how, which),
            Kind::LruHash(m) => m.update(key, value, how, which),
            Kind::LruPercpuHash(m) => m.update(key, value, how, which),
            Kind::Lpm(m) => m.update(key, value, how),
            Kind::Queue(_) | Kind::Bloom(_) | Kind::FdArray(_) | Kind::MapHash(_) => Err(EINVAL),
            Kind::StackTrace(_) => Err(EINVAL),
            Kind::Ringbuf(_) => Err(ENOTSUPP),
        }
    }

    /// An update with `F_LOCK`.
    #[inline(never)]
    fn update_in_place(&self, key: Bytes<'_>, value: Bytes<'_>, how: Update) -> Result {
        match &self.kind {
            Kind::Array(m) if self.spec.lock.is_some() => m.update(key, value, how, true),
            Kind::Hash(m) if self.spec.lock.is_some() => m.update_in_place(key, value, how),
            _ => Err(self.no_spin_lock(key, how)),
        }
    }

    /// What an update with `F_LOCK` gets where values have no lock.
    #[cold]
    fn no_spin_lock(&self, key: Bytes<'_>, how: Update) -> Error {
        let array = matches!(self.kind, Kind::Array(_) | Kind::PercpuArray(_));
        if array && array::index(key).is_none_or(|i| i >= self.spec.max_entries) {
            return E2BIG;
        }
        match array && how == Update::NoExist {
            true => EEXIST,
            false => EINVAL,
        }
    }

    /// Removes `key`, for a program.
    ///
    /// # Errors
    ///
    /// As [`Map::delete`].
    #[inline]
    pub fn prog_delete(&self, key: Bytes<'_>) -> Result {
        let key = self.key(key)?;
        match &self.kind {
            Kind::Hash(m) => m.delete(key),
            Kind::PercpuHash(m) => m.delete(key),
            Kind::LruHash(m) => m.delete(key),
            Kind::LruPercpuHash(m) => m.delete(key),
            Kind::Lpm(m) => m.delete(key),
            Kind::StackTrace(m) => m.delete(key),
            Kind::Array(_) | Kind::PercpuArray(_) | Kind::Queue(_) => Err(EINVAL),
            Kind::Bloom(_) | Kind::FdArray(_) | Kind::MapHash(_) => Err(eopnotsupp()),
            Kind::Ringbuf(_) => Err(ENOTSUPP),
        }
    }

    /// Adds a value to a map without keys.
    ///
    /// # Errors
    ///
    /// `EINVAL` for unknown flags, a value of another size, and maps with keys; `E2BIG` when it is
    /// full; `EBUSY` inside another map operation on this CPU.
    pub(crate) fn push(&self, value: Bytes<'_>, flags: u64) -> Result {
        let value = self.value(value)?;
        match &self.kind {
            Kind::Queue(m) => m.push(value, flags),
            Kind::Bloom(m) => m.push(value, flags),
            _ => Err(EINVAL),
        }
    }

    /// Takes the value that leaves next, for a program.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none, and `out` becomes zero; `EINVAL` for a map with keys; `EBUSY`
    /// inside another map operation on this CPU.
    pub fn pop(&self, out: Room<'_>) -> Result {
        match &self.kind {
            Kind::Queue(m) => m.next(out, true),
            _ => Err(EINVAL),
        }
    }

    /// The value that leaves next, for a program; a Bloom filter says whether it has `out`.
    ///
    /// # Errors
    ///
    /// As [`Map::pop`].
    pub fn peek(&self, out: Room<'_>) -> Result {
        match &self.kind {
            Kind::Queue(m) => m.next(out, false),
            Kind::Bloom(m) => m.peek(out.bytes()),
            _ => Err(EINVAL),
        }
    }

    /// As [`Map::prog_lookup`], of one CPU's value.
    pub fn prog_lookup_percpu(&self, key: Bytes<'_>, cpu: u32) -> Option<usize> {
        let key = self.key(key).ok()?;
        let cpu = cpu as usize;
        if !cpus::is_possible(cpu) {
            return None;
        }
        let addr = match &self.kind {
            Kind::PercpuArray(m) => m.lookup_addr_of(key, cpu),
            Kind::PercpuHash(m) => m.lookup_addr_of(key, cpu),
            Kind::LruPercpuHash(m) => m.lookup_addr_of(key, cpu),
            _ => 0,
        };
        (addr != 0).then_some(addr)
    }

    /// Puts the next element into `walk`; false after the last one, and for maps that are not walked.
    ///
    /// What the addresses point to can be read, the value's also be written, until the map is dropped;
    /// the key of an array's element is in `walk` itself. Elements that come or go meanwhile may be
    /// met or not, and no walk meets more than the map can hold, so all end.
    pub fn prog_next(&self, walk: &mut Walk) -> bool {
        if walk.count >= u64::from(self.spec.max_entries) {
            return false;
        }
        let found = match &self.kind {
            Kind::Array(m) => Self::next_of_array(walk, |key| m.lookup_addr(key)),
            Kind::PercpuArray(m) => Self::next_of_array(walk, |key| m.lookup_addr(key)),
            Kind::Hash(m) => m.next_elem(&mut walk.cursor),
            Kind::PercpuHash(m) => m.next_elem(&mut walk.cursor),
            Kind::LruHash(m) => m.next_elem(&mut walk.cursor),
            Kind::LruPercpuHash(m) => m.next_elem(&mut walk.cursor),
            Kind::Lpm(_)
            | Kind::Queue(_)
            | Kind::Bloom(_)
            | Kind::FdArray(_)
            | Kind::MapHash(_)
            | Kind::StackTrace(_)
            | Kind::Ringbuf(_) => None,
        };
        let Some((key, value)) = found else {
            return false;
        };
        (walk.key, walk.value) = (key as u64, value as u64);
        walk.count = walk.count.wrapping_add(1);
        true
    }

    /// Key and value of the array's element after `walk.count` others.
    fn next_of_array(walk: &mut Walk, find: impl Fn(Bytes<'_>) -> usize) -> Option<(usize, usize)> {
        walk.cursor = walk.count;
        let key = walk.cursor.to_ne_bytes();
        let value = find(key.first_chunk::<4>()?[..].into());
        let key = core::ptr::from_ref(&walk.cursor) as usize;
        (value != 0).then_some((key, value))
    }

    /// The ring buffer, if it is one.
    #[inline]
    pub fn ringbuf(&self) -> Option<&Ringbuf> {
        match &self.kind {
            Kind::Ringbuf(m) => Some(m),
            _ => None,
        }
    }

    /// Where an array's values are, so that the JIT can look them up by itself.
    pub fn array_layout(&self) -> Option<ArrayLayout> {
        match &self.kind {
            Kind::Array(m) => m.layout(),
            _ => None,
        }
    }

    /// The words of a map whose values user space names by descriptors.
    ///
    /// The operations on elements of such a map are not those here: they get `EOPNOTSUPP`, and
    /// programs find nothing.
    pub fn fd_array(&self) -> Option<&FdArray> {
        match &self.kind {
            Kind::FdArray(m) => Some(m),
            _ => None,
        }
    }

    /// The table of a map whose values are maps by key; its elements have no other operations.
    pub fn map_hash(&self) -> Option<&MapHash> {
        match &self.kind {
            Kind::MapHash(m) => Some(m),
            _ => None,
        }
    }

    /// The table of call chains, if it is one.
    pub fn stack_trace(&self) -> Option<&StackTrace> {
        match &self.kind {
            Kind::StackTrace(m) => Some(m),
            _ => None,
        }
    }

    /// The same for an array with values for each CPU: `base` is the address of a table of the
    /// addresses of the first value, by CPU number.
    pub fn per_cpu_layout(&self) -> Option<ArrayLayout> {
        match &self.kind {
            Kind::PercpuArray(m) => m.layout(),
            _ => None,
        }
    }

    /// Where a hash map's parts are, so that the JIT can look keys up by itself; none for keys of other
    /// sizes than four and eight bytes.
    pub fn hash_layout(&self) -> Option<HashLayout> {
        match &self.kind {
            Kind::Hash(m) => m.layout(),
            Kind::PercpuHash(m) => m.layout(),
            Kind::LruHash(m) => m.layout(),
            Kind::LruPercpuHash(m) => m.layout(),
            _ => None,
        }
    }

    /// Address of byte `off` of the map's only value, for a program that takes it directly.
    ///
    /// # Errors
    ///
    /// `ENOTSUPP` when the map has not one value only; `EINVAL` past the value's end.
    pub fn value_addr(&self, off: u32) -> Result<usize> {
        if !self.has_direct_value() {
            return Err(ENOTSUPP);
        }
        if off >= self.spec.value_size {
            return Err(EINVAL);
        }
        let base = self.array_layout().ok_or(ENOTSUPP)?.base;
        base.checked_add(off as usize).ok_or(EINVAL)
    }
}
