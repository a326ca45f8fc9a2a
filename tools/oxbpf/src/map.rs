// SPDX-License-Identifier: GPL-2.0

//! Maps.

use crate::attr::{self, Attr};
use crate::{cmd, Bpf, Errno, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Map type (`enum bpf_map_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapType(pub u32);

impl MapType {
    /// Hash table.
    pub const HASH: MapType = MapType(1);
    /// Array.
    pub const ARRAY: MapType = MapType(2);
    /// Programs for tail calls.
    pub const PROG_ARRAY: MapType = MapType(3);
    /// Perf event fds.
    pub const PERF_EVENT_ARRAY: MapType = MapType(4);
    /// Hash table with a value a CPU.
    pub const PERCPU_HASH: MapType = MapType(5);
    /// Array with a value a CPU.
    pub const PERCPU_ARRAY: MapType = MapType(6);
    /// Call chains by their hash.
    pub const STACK_TRACE: MapType = MapType(7);
    /// Cgroup directories.
    pub const CGROUP_ARRAY: MapType = MapType(8);
    /// Hash table that evicts.
    pub const LRU_HASH: MapType = MapType(9);
    /// The same with a value a CPU.
    pub const LRU_PERCPU_HASH: MapType = MapType(10);
    /// Maps by index.
    pub const ARRAY_OF_MAPS: MapType = MapType(12);
    /// Maps by key.
    pub const HASH_OF_MAPS: MapType = MapType(13);
    /// Longest prefix match.
    pub const LPM_TRIE: MapType = MapType(11);
    /// First in, first out.
    pub const QUEUE: MapType = MapType(22);
    /// Last in, first out.
    pub const STACK: MapType = MapType(23);
    /// Ring buffer.
    pub const RINGBUF: MapType = MapType(27);
    /// Bloom filter.
    pub const BLOOM_FILTER: MapType = MapType(30);

    /// Bytes of a map's values as the commands pass them: of all possible CPUs, where each has one.
    fn value_bytes(self, value_size: u32) -> usize {
        let size = value_size as usize;
        match self {
            Self::PERCPU_HASH | Self::PERCPU_ARRAY | Self::LRU_PERCPU_HASH => {
                size.next_multiple_of(8) * possible_cpus()
            }
            _ => size,
        }
    }
}

/// How many CPUs there can ever be: their numbers are 0 and up.
pub fn possible_cpus() -> usize {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = list.trim().rsplit(['-', ',']).next();
    last.and_then(|n| n.parse::<usize>().ok())
        .map_or(1, |n| n + 1)
}

/// What a map is created from.
#[derive(Clone, Debug)]
pub struct MapSpec {
    /// Type.
    pub ty: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries at most.
    pub max_entries: u32,
    /// `BPF_F_*`
    pub flags: u32,
    /// Name, 15 bytes at most.
    pub name: String,
    /// Descriptor of a map like those that a map of maps takes.
    pub inner: Option<RawFd>,
    /// Descriptor of type information, and the numbers of the keys' and the values' type.
    pub types: Option<(RawFd, u32, u32)>,
}

impl MapSpec {
    /// Without flags and name.
    pub fn new(ty: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec {
        MapSpec {
            ty,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            name: String::new(),
            inner: None,
            types: None,
        }
    }
}

/// What `OBJ_GET_INFO_BY_FD` says of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MapInfo {
    pub ty: u32,
    pub id: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
    pub name: String,
}

/// A map's fd.
pub struct Map {
    bpf: Bpf,
    fd: OwnedFd,
    key_size: usize,
    value_size: usize,
}

impl Bpf {
    /// `MAP_CREATE`
    ///
    /// # Errors
    ///
    /// The command's.
    pub fn map_create(&self, s: &MapSpec) -> Result<Map> {
        let mut a = Attr::new(attr::SIZE);
        a.u32(0, s.ty.0)
            .u32(4, s.key_size)
            .u32(8, s.value_size)
            .u32(12, s.max_entries);
        a.u32(16, s.flags).put(28, &attr::name(&s.name));
        if let Some(inner) = s.inner {
            a.u32(20, inner as u32);
        }
        if let Some((btf, key, value)) = s.types {
            a.u32(48, btf as u32).u32(52, key).u32(56, value);
        }
        let fd = self.call_fd(cmd::MAP_CREATE, a.bytes())?;
        Ok(Map {
            bpf: self.clone(),
            fd,
            key_size: s.key_size as usize,
            value_size: s.ty.value_bytes(s.value_size),
        })
    }
}

impl Map {
    fn elem(&self, cmd: u32, key: &[u8], value: u64, flags: u64) -> Result<()> {
        if !key.is_empty() && key.len() < self.key_size {
            return Err(Errno(libc::EINVAL));
        }
        let mut a = Attr::new(32);
        a.u32(0, self.fd.as_raw_fd() as u32)
            .ptr(8, key)
            .u64(16, value)
            .u64(24, flags);
        self.bpf.call(cmd, a.bytes()).map(|_| ())
    }

    /// `MAP_LOOKUP_ELEM`
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such key.
    pub fn lookup(&self, key: &[u8]) -> Result<Vec<u8>> {
        let mut value = vec![0; self.value_size];
        self.elem(cmd::MAP_LOOKUP_ELEM, key, value.as_mut_ptr() as u64, 0)?;
        Ok(value)
    }

    /// `MAP_UPDATE_ELEM`; `flags`: 0 any, 1 only new, 2 only existing.
    ///
    /// # Errors
    ///
    /// `EEXIST`, `ENOENT` as the flags say, `E2BIG` when full.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        if value.len() < self.value_size {
            return Err(Errno(libc::EINVAL));
        }
        self.elem(cmd::MAP_UPDATE_ELEM, key, value.as_ptr() as u64, flags)
    }

    /// `MAP_DELETE_ELEM`
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such key.
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.elem(cmd::MAP_DELETE_ELEM, key, 0, 0)
    }

    /// `MAP_LOOKUP_AND_DELETE_ELEM`
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such key.
    pub fn take(&self, key: &[u8]) -> Result<Vec<u8>> {
        let mut value = vec![0; self.value_size];
        let to = value.as_mut_ptr() as u64;
        self.elem(cmd::MAP_LOOKUP_AND_DELETE_ELEM, key, to, 0)?;
        Ok(value)
    }

    /// Bytes of a value as the commands pass it.
    pub fn value_bytes(&self) -> usize {
        self.value_size
    }

    /// `MAP_GET_NEXT_KEY`; `None` asks for the first key.
    ///
    /// # Errors
    ///
    /// `ENOENT` after the last key.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>> {
        let mut next = vec![0; self.key_size];
        self.elem(
            cmd::MAP_GET_NEXT_KEY,
            key.unwrap_or(&[]),
            next.as_mut_ptr() as u64,
            0,
        )?;
        Ok(next)
    }

    /// All keys and values, as far as others do not change them meanwhile.
    ///
    /// # Errors
    ///
    /// The first error that is not the end of the map or a key that was just deleted.
    pub fn entries(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut all = Vec::new();
        let mut key: Option<Vec<u8>> = None;
        loop {
            let next = match self.next_key(key.as_deref()) {
                Ok(next) => next,
                Err(Errno(libc::ENOENT)) => return Ok(all),
                Err(e) => return Err(e),
            };
            match self.lookup(&next) {
                Ok(value) => all.push((next.clone(), value)),
                Err(Errno(libc::ENOENT)) => {}
                Err(e) => return Err(e),
            }
            key = Some(next);
        }
    }

    /// `OBJ_GET_INFO_BY_FD`
    ///
    /// # Errors
    ///
    /// The command's.
    pub fn info(&self) -> Result<MapInfo> {
        let mut b = [0u8; 104];
        self.bpf.info(self.fd.as_raw_fd(), &mut b)?;
        let u = |off| attr::get_u32(&b, off);
        Ok(MapInfo {
            ty: u(0),
            id: u(4),
            key_size: u(8),
            value_size: u(12),
            max_entries: u(16),
            flags: u(20),
            name: attr::name_str(&b[24..40]),
        })
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
