// SPDX-License-Identifier: GPL-2.0

//! Many elements with one command: what each type has of it, and a hash's walk.

use super::hash::table::batch::Cursor;
pub use super::hash::table::batch::Step;
use super::percpu::Cpus;
use super::{Kind, Map, F_LOCK};
use crate::abi::MapType;
use kernel::prelude::*;

/// How a map's elements are read many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// It is not there.
    None,
    /// Key by key, by GET_NEXT_KEY; the cursor is a key.
    Keys,
    /// Bucket by bucket; the cursor is a number. They can be deleted on the way.
    Buckets,
}

/// What a walk over buckets is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    /// Bytes of a value as user space gets it.
    pub(super) value_size: usize,
    /// Whose values.
    pub(super) which: Cpus,
    /// Values are copied under their lock.
    pub(super) locked: bool,
    /// Entries leave the map.
    pub(super) delete: bool,
    /// The first bucket may be cut if it has too many.
    pub(super) split: bool,
}

impl Map {
    /// How LOOKUP_BATCH goes.
    pub fn bulk(&self) -> Bulk {
        match &self.kind {
            Kind::Hash(_) | Kind::PercpuHash(_) | Kind::LruHash(_) | Kind::LruPercpuHash(_) => {
                Bulk::Buckets
            }
            Kind::MapHash(_) => Bulk::Buckets,
            Kind::Array(_) | Kind::PercpuArray(_) | Kind::Lpm(_) => Bulk::Keys,
            Kind::FdArray(_) if self.spec.ty == MapType::ArrayOfMaps => Bulk::Keys,
            Kind::Queue(_) | Kind::Bloom(_) | Kind::FdArray(_) | Kind::Ringbuf(_) => Bulk::None,
            Kind::StackTrace(_) => Bulk::None,
        }
    }

    /// Whether UPDATE_BATCH is there.
    pub fn bulk_updates(&self) -> bool {
        self.bulk() != Bulk::None
    }

    /// Whether DELETE_BATCH is there.
    pub fn bulk_deletes(&self) -> bool {
        self.bulk() == Bulk::Buckets || matches!(self.kind, Kind::Lpm(_))
    }

    /// Whether `cursor` is one that a walk over buckets can go on at.
    pub fn has_cursor(&self, cursor: u32) -> bool {
        let cursor = Cursor(cursor);
        match &self.kind {
            Kind::Hash(m) => m.has(cursor),
            Kind::PercpuHash(m) => m.has(cursor),
            Kind::LruHash(m) => m.has(cursor),
            Kind::LruPercpuHash(m) => m.has(cursor),
            Kind::MapHash(m) => m.has(cursor),
            Kind::Array(_)
            | Kind::PercpuArray(_)
            | Kind::Lpm(_)
            | Kind::Queue(_)
            | Kind::Bloom(_)
            | Kind::StackTrace(_)
            | Kind::FdArray(_)
            | Kind::Ringbuf(_) => false,
        }
    }

    /// Copies entries from `cursor` on to `keys` and `values`, in elements of a key's size and of
    /// [`Map::user_value_size`], and with `delete` takes them out of the map: whole buckets, but with
    /// `split` a first one that has too many. Returns how many, and how it goes on.
    ///
    /// # Errors
    ///
    /// `EBUSY` inside another map operation on this CPU; `ENOTSUPP` if the map has no buckets.
    pub fn batch(
        &self,
        cursor: &mut u32,
        keys: &mut [u8],
        values: &mut [u8],
        flags: u64,
        delete: bool,
        split: bool,
    ) -> Result<(usize, Step)> {
        let mut at = Cursor(*cursor);
        let b = Batch {
            value_size: self.user_value_size(flags),
            which: Self::which(flags),
            locked: flags & F_LOCK != 0,
            delete,
            split,
        };
        let done = match &self.kind {
            Kind::Hash(m) => m.batch(&mut at, keys, values, b),
            Kind::PercpuHash(m) => m.batch(&mut at, keys, values, b),
            Kind::LruHash(m) => m.batch(&mut at, keys, values, b),
            Kind::LruPercpuHash(m) => m.batch(&mut at, keys, values, b),
            Kind::Array(_)
            | Kind::PercpuArray(_)
            | Kind::Lpm(_)
            | Kind::Queue(_)
            | Kind::Bloom(_)
            | Kind::StackTrace(_)
            | Kind::FdArray(_)
            | Kind::MapHash(_)
            | Kind::Ringbuf(_) => Err(ENOTSUPP),
        };
        *cursor = at.0;
        done
    }
}
