// SPDX-License-Identifier: GPL-2.0

//! What of a map user space may have in its own memory, and how much memory the map has.

use super::ringbuf::Ringbuf;
use super::{Kind, Map};
use crate::sys::region::Region;
use core::sync::atomic::AtomicU64;

/// Memory of a map for user space.
pub enum Memory<'a> {
    /// None: the map was not made for it.
    Kernel,
    /// An array's values.
    Values(&'a Region<AtomicU64>),
    /// A ring buffer.
    Ring(&'a Ringbuf),
}

impl Map {
    /// What user space may map; `None` where this type has no such thing.
    pub fn memory(&self) -> Option<Memory<'_>> {
        match &self.kind {
            Kind::Array(m) => Some(m.mappable().map_or(Memory::Kernel, Memory::Values)),
            Kind::Ringbuf(m) => Some(Memory::Ring(m)),
            Kind::Hash(_)
            | Kind::PercpuArray(_)
            | Kind::PercpuHash(_)
            | Kind::LruHash(_)
            | Kind::LruPercpuHash(_)
            | Kind::Lpm(_)
            | Kind::Queue(_)
            | Kind::Bloom(_)
            | Kind::FdArray(_)
            | Kind::StackTrace(_)
            | Kind::MapHash(_) => None,
        }
    }

    /// Bytes that the map has, all of which were charged to the cgroup of who made it.
    pub fn bytes(&self) -> usize {
        let kind = match &self.kind {
            Kind::Array(m) => m.bytes(),
            Kind::PercpuArray(m) => m.bytes(),
            Kind::Hash(m) => m.bytes(),
            Kind::PercpuHash(m) => m.bytes(),
            Kind::LruHash(m) => m.bytes(),
            Kind::LruPercpuHash(m) => m.bytes(),
            Kind::Lpm(m) => m.bytes(),
            Kind::Queue(m) => m.bytes(),
            Kind::Bloom(m) => m.bytes(),
            Kind::FdArray(m) => m.bytes(),
            Kind::MapHash(m) => m.bytes(),
            Kind::StackTrace(m) => m.bytes(),
            Kind::Ringbuf(m) => m.ring().bytes(),
        };
        kind.saturating_add(size_of::<Map>())
    }
}
