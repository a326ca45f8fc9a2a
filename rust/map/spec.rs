// SPDX-License-Identifier: GPL-2.0

//! What a map is made from, and whether such a map can be.

use crate::abi::{MapType, OBJ_NAME_LEN};
use crate::sys::region::node_online;
use kernel::prelude::*;

/// `BPF_F_NO_PREALLOC`
pub const NO_PREALLOC: u32 = 1 << 0;
/// `BPF_F_NO_COMMON_LRU`
pub const NO_COMMON_LRU: u32 = 1 << 1;
/// `BPF_F_NUMA_NODE`
pub const NUMA_NODE: u32 = 1 << 2;
/// `BPF_F_RDONLY`
pub const RDONLY: u32 = 1 << 3;
/// `BPF_F_WRONLY`
pub const WRONLY: u32 = 1 << 4;
/// `BPF_F_ZERO_SEED`
pub const ZERO_SEED: u32 = 1 << 6;
/// `BPF_F_RDONLY_PROG`
pub const RDONLY_PROG: u32 = 1 << 7;
/// `BPF_F_WRONLY_PROG`
pub const WRONLY_PROG: u32 = 1 << 8;
/// `BPF_F_MMAPABLE`
pub const MMAPABLE: u32 = 1 << 10;
/// `BPF_F_PRESERVE_ELEMS`
pub const PRESERVE_ELEMS: u32 = 1 << 11;
/// `BPF_F_INNER_MAP`
pub const INNER_MAP: u32 = 1 << 12;
/// `BPF_F_RB_OVERWRITE`
pub const RB_OVERWRITE: u32 = 1 << 19;

/// `NUMA_NO_NODE`: the flag is set, and no node is wanted.
const ANY_NODE: u32 = u32::MAX;

/// Who may use a map: four of the flags, valid for every type.
const ACCESS: u32 = RDONLY | WRONLY | RDONLY_PROG | WRONLY_PROG;
/// The largest kmalloc, which bounds what bpf(2) can copy at once.
const KMALLOC_MAX: u64 = 4 << 20;
/// Bytes of the in-tree hash element's header, which count in its size limit.
const IN_TREE_HASH_ELEM: u64 = 48;
/// More entries than this and the in-tree table of buckets would pass 4 GiB.
const HASH_ENTRIES_MAX: u32 = 1 << 27;

/// Bytes of a value for each CPU at most.
const PERCPU_VALUE_MAX: u64 = 32 << 10;

/// Bytes of a page.
const PAGE: u32 = 4096;

/// Bytes of a trie's key: the prefix length and 1 to 256 of data.
const LPM_KEY: core::ops::RangeInclusive<u32> = 5..=260;
/// Bytes of a trie's value at most: in-tree's node, with the longest key, is one kmalloc.
const LPM_VALUE_MAX: u64 = KMALLOC_MAX - 256 - 24;

/// A map as `MAP_CREATE` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Type.
    pub ty: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries at most.
    pub max_entries: u32,
    /// `BPF_F_*` as given.
    pub flags: u32,
    /// NUMA node that the memory shall come from, when `BPF_F_NUMA_NODE` is set.
    pub numa_node: u32,
    /// `map_extra`
    pub extra: u64,
    /// Name, padded with NULs.
    pub name: [u8; OBJ_NAME_LEN],
    /// The byte of a value where its spin lock begins, if it has one: a multiple of four, and of an
    /// array's or a plain hash table's values only.
    pub lock: Option<u32>,
}

impl MapSpec {
    /// Checks everything about the description that comes before the check of permissions:
    /// `map_extra`, the node, then the type's own rules. `sys_admin` tells whether the caller has
    /// `CAP_SYS_ADMIN`, and is only asked where that matters.
    ///
    /// # Errors
    ///
    /// `EPERM` for a zero seed without that capability; `EINVAL` for values that a map of this
    /// type cannot have; `E2BIG` for too large ones; `ENOTSUPP` for an LRU map that is not
    /// preallocated.
    pub fn check(&self, sys_admin: impl FnOnce() -> bool) -> Result {
        if self.extra != 0 && self.ty != MapType::BloomFilter {
            return Err(EINVAL);
        }
        if self.node().is_some_and(|node| !node_online(node)) {
            return Err(EINVAL);
        }
        match self.ty {
            MapType::Array | MapType::PercpuArray => self.check_array(),
            MapType::Hash | MapType::PercpuHash | MapType::LruHash | MapType::LruPercpuHash => {
                self.check_hash(sys_admin)
            }
            MapType::Queue | MapType::Stack => self.check_queue(),
            MapType::BloomFilter => match u64::from(self.value_size) > KMALLOC_MAX {
                true => Err(E2BIG),
                false => Ok(()),
            },
            MapType::LpmTrie => Ok(()),
            MapType::Ringbuf => Ok(()),
            MapType::StackTrace => Ok(()),
            MapType::ProgArray
            | MapType::ArrayOfMaps
            | MapType::PerfEventArray
            | MapType::CgroupArray => {
                match self.value_size == 4 && self.flags & (RDONLY_PROG | WRONLY_PROG) == 0 {
                    true => self.check_array(),
                    false => Err(EINVAL),
                }
            }
            MapType::HashOfMaps => match self.value_size == 4 {
                true => self.check_hash(sys_admin),
                false => Err(EINVAL),
            },
        }
    }

    /// Checks what comes after the check of permissions.
    ///
    /// # Errors
    ///
    /// `E2BIG` for too many entries; `EINVAL` for a Bloom filter or trie that cannot be.
    pub(super) fn check_late(&self) -> Result {
        match self.ty {
            MapType::Hash
            | MapType::PercpuHash
            | MapType::LruHash
            | MapType::LruPercpuHash
            | MapType::HashOfMaps => {
                if self.max_entries > HASH_ENTRIES_MAX {
                    return Err(E2BIG);
                }
                Ok(())
            }
            MapType::BloomFilter => {
                let good = self.key_size == 0
                    && self.value_size != 0
                    && self.max_entries != 0
                    && self.flags_ok(NUMA_NODE | ZERO_SEED)
                    && self.extra & !0xf == 0;
                match good {
                    true => Ok(()),
                    false => Err(EINVAL),
                }
            }
            MapType::LpmTrie => {
                let good = self.max_entries != 0
                    && self.has(NO_PREALLOC)
                    && self.flags_ok(NO_PREALLOC | NUMA_NODE)
                    && LPM_KEY.contains(&self.key_size)
                    && self.value_size != 0
                    && u64::from(self.value_size) <= LPM_VALUE_MAX;
                match good {
                    true => Ok(()),
                    false => Err(EINVAL),
                }
            }
            MapType::Array
            | MapType::PercpuArray
            | MapType::Queue
            | MapType::Stack
            | MapType::ProgArray
            | MapType::ArrayOfMaps
            | MapType::PerfEventArray
            | MapType::CgroupArray => Ok(()),
            MapType::StackTrace => self.check_stack_trace(),
            MapType::Ringbuf => {
                let good = self.flags & !(NUMA_NODE | RB_OVERWRITE) == 0
                    && self.key_size == 0
                    && self.value_size == 0
                    && self.max_entries.is_power_of_two()
                    && self.max_entries % PAGE == 0;
                match good {
                    true => Ok(()),
                    false => Err(EINVAL),
                }
            }
        }
    }

    /// The same with the number of entries that the map really has: with `BPF_F_NO_COMMON_LRU` each of
    /// `cpus` CPUs has as many.
    pub(super) fn rounded(mut self, cpus: u32) -> Self {
        if self.has(NO_COMMON_LRU) && cpus != 0 {
            let down = self.max_entries.saturating_sub(self.max_entries % cpus);
            let up = self.max_entries.checked_next_multiple_of(cpus);
            self.max_entries = up.unwrap_or(down);
        }
        self
    }

    /// The node to take memory from.
    pub fn node(&self) -> Option<u32> {
        (self.flags & NUMA_NODE != 0 && self.numa_node != ANY_NODE).then_some(self.numa_node)
    }

    /// Whether `flag` is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The type's flags are among `allowed`, and programs may do something.
    fn flags_ok(&self, allowed: u32) -> bool {
        let prog = RDONLY_PROG | WRONLY_PROG;
        self.flags & !(allowed | ACCESS) == 0 && self.flags & prog != prog
    }

    fn check_array(&self) -> Result {
        let more = match self.ty {
            MapType::Array => MMAPABLE | INNER_MAP,
            MapType::PerfEventArray => PRESERVE_ELEMS,
            _ => 0,
        };
        if self.max_entries == 0
            || self.key_size != 4
            || self.value_size == 0
            || !self.flags_ok(NUMA_NODE | more)
            || (self.ty.is_percpu() && self.has(NUMA_NODE))
        {
            return Err(EINVAL);
        }
        if i32::try_from(self.value_size).is_err() {
            return Err(E2BIG);
        }
        self.check_percpu_value()
    }

    fn check_hash(&self, sys_admin: impl FnOnce() -> bool) -> Result {
        if self.has(ZERO_SEED) && !sys_admin() {
            return Err(EPERM);
        }
        if !self.flags_ok(NO_PREALLOC | NO_COMMON_LRU | NUMA_NODE | ZERO_SEED) {
            return Err(EINVAL);
        }
        let lru = matches!(self.ty, MapType::LruHash | MapType::LruPercpuHash);
        if !lru && self.has(NO_COMMON_LRU) {
            return Err(EINVAL);
        }
        if lru && self.has(NO_PREALLOC) {
            return Err(ENOTSUPP);
        }
        if self.has(NUMA_NODE) && (self.ty.is_percpu() || self.has(NO_COMMON_LRU)) {
            return Err(EINVAL);
        }
        if self.max_entries == 0 || self.key_size == 0 || self.value_size == 0 {
            return Err(EINVAL);
        }
        let size = u64::from(self.key_size).saturating_add(self.value_size.into());
        if size >= KMALLOC_MAX.saturating_sub(IN_TREE_HASH_ELEM) {
            return Err(E2BIG);
        }
        self.check_percpu_value()
    }

    fn check_stack_trace(&self) -> Result {
        // Build ids are not there: who asks for them gets what a kernel without them says.
        if self.flags & !(NUMA_NODE | RDONLY | WRONLY) != 0
            || self.max_entries == 0
            || self.key_size != 4
            || self.value_size < 8
            || self.value_size % 8 != 0
        {
            return Err(EINVAL);
        }
        match self.max_entries > 1 << 31 {
            true => Err(E2BIG),
            false => Ok(()),
        }
    }

    fn check_queue(&self) -> Result {
        if self.max_entries == 0
            || self.key_size != 0
            || self.value_size == 0
            || !self.flags_ok(NUMA_NODE)
        {
            return Err(EINVAL);
        }
        if u64::from(self.value_size) > KMALLOC_MAX {
            return Err(E2BIG);
        }
        Ok(())
    }

    fn check_percpu_value(&self) -> Result {
        let padded = u64::from(self.value_size).next_multiple_of(8);
        if self.ty.is_percpu() && padded > PERCPU_VALUE_MAX {
            return Err(E2BIG);
        }
        Ok(())
    }
}
