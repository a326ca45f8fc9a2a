// SPDX-License-Identifier: GPL-2.0

//! Walking the table bucket by bucket, with many entries at once.

use super::{Locked, Place, Table};
use crate::map::hash::bucket::SLOTS;
use kernel::prelude::*;

/// Buckets that one call looks at, so that no call takes long.
const BUCKETS: usize = 256;
/// A cursor's bits for the slot: the slots, or the chain behind them.
const SLOT_BITS: u32 = 4;
const _: () = assert!(SLOTS < 1 << SLOT_BITS);

/// Where a walk stands: a bucket, and the slot in it to go on with. A walk stops inside of a bucket
/// only where it cannot take the whole of it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::map) struct Cursor(pub(in crate::map) u32);

impl Cursor {
    fn new(bucket: usize, slot: usize) -> Self {
        let bucket = u32::try_from(bucket).unwrap_or(u32::MAX >> SLOT_BITS);
        Cursor((bucket << SLOT_BITS) | slot as u32)
    }

    fn bucket(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }

    fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// What one step of a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more behind the cursor.
    More,
    /// All buckets are done.
    End,
    /// The next bucket has so many entries, more than there is room for; none was taken.
    Room(usize),
}

impl Table {
    /// Whether there is something at the cursor or behind it, in a table of this size.
    pub(in crate::map) fn has(&self, cursor: Cursor) -> bool {
        cursor.bucket() < self.buckets.len()
    }

    /// Gives `take` the entries from `cursor` on, whole buckets under their locks, at most `room`
    /// entries and at most `full` buckets with any, and moves the cursor behind them. With `split`
    /// a first bucket that has too many gives as many as there is room for.
    ///
    /// `take` may take the entry out of the bucket.
    ///
    /// # Errors
    ///
    /// `EBUSY` inside another map operation on this CPU.
    pub(in crate::map) fn walk(
        &self,
        cursor: &mut Cursor,
        room: usize,
        full: usize,
        split: bool,
        mut take: impl FnMut(&Locked<'_>, Place),
    ) -> Result<Step> {
        let mut left = room;
        let mut full = full;
        for _ in 0..BUCKETS {
            let at = *cursor;
            let Some(bucket) = self.buckets.get(at.bucket()) else {
                return Ok(Step::End);
            };
            let next = Cursor::new(at.bucket().saturating_add(1), 0);
            if bucket.is_empty() {
                *cursor = next;
                continue;
            }
            let locked = self.lock_bucket(bucket, 0)?;
            let have = locked.count_from(at.slot());
            if have > left {
                if left != room {
                    return Ok(Step::More);
                }
                let slots = locked.count_slots(at.slot());
                if !split || slots == 0 {
                    return Ok(Step::Room(have));
                }
                for slot in bucket.used().filter(|s| *s >= at.slot()).take(left) {
                    take(&locked, Place::Slot(slot, bucket.slot(slot)));
                    *cursor = Cursor::new(at.bucket(), slot.saturating_add(1));
                }
                return Ok(Step::More);
            }
            locked.each_from(at.slot(), &mut take);
            drop(locked);
            *cursor = next;
            left = left.saturating_sub(have);
            full = full.saturating_sub(usize::from(have != 0));
            if full == 0 {
                break;
            }
        }
        match self.has(*cursor) {
            true => Ok(Step::More),
            false => Ok(Step::End),
        }
    }
}

impl Locked<'_> {
    fn count_slots(&self, from: usize) -> usize {
        self.bucket.used().filter(|s| *s >= from).count()
    }

    /// Entries of the bucket from that slot on, the chain included.
    fn count_from(&self, from: usize) -> usize {
        let mut n = self.count_slots(from);
        let mut next = self.bucket.chain.load(super::Acquire);
        while let Some(e) = next.checked_sub(1) {
            n = n.saturating_add(1);
            next = match self.table.pool.link(e) {
                Some(link) => link.load(super::Acquire),
                None => 0,
            };
        }
        n
    }

    /// Gives those entries to `take`, which may take them out.
    fn each_from(&self, from: usize, take: &mut impl FnMut(&Locked<'_>, Place)) {
        for slot in self.bucket.used().filter(|s| *s >= from) {
            take(self, Place::Slot(slot, self.bucket.slot(slot)));
        }
        let mut before = None;
        while let Some(e) = self.next_of(before) {
            take(self, Place::Chain(before, e));
            // Still there, or what followed it is in its place now.
            if self.next_of(before) == Some(e) {
                before = Some(e);
            }
        }
    }

    /// The element behind `before` in the chain, or its first.
    fn next_of(&self, before: Option<u32>) -> Option<u32> {
        let next = match before {
            None => self.bucket.chain.load(super::Acquire),
            Some(b) => self.table.pool.link(b)?.load(super::Acquire),
        };
        next.checked_sub(1)
    }

    /// Bytes of the key of an entry that is in the bucket.
    pub(in crate::map) fn key_of(&self, place: Place, out: &mut [u8]) {
        if let Some(key) = self.table.key(place.elem()) {
            crate::map::words::load(key, out);
        }
    }
}
