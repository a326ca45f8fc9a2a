// SPDX-License-Identifier: GPL-2.0

//! What a hash map without a free element does: refuse, or drop an entry that was not used lately.
//!
//! LRU maps keep no lists. Each element has a mark that says whether its entry was used since the
//! hand last passed it; a new entry begins without one. The hand goes round all elements, takes
//! marks away, and stops at the first entry without. After a number of marks it takes the next
//! entry all the same, so an update's time is bounded. With `BPF_F_NO_COMMON_LRU` each CPU has
//! elements of its own and a hand that goes round these only.

use super::table::Table;
use crate::map::pool::List;
use crate::map::spec::MapSpec;
use crate::sys::cpus;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use kernel::prelude::*;

/// Marks that the hand takes away before it takes an entry.
const PATIENCE: u32 = 128;
/// An entry is in the element.
const IN_USE: u64 = 1;
/// The entry was used.
const MARK: u64 = 2;

/// The choice of what goes when there is no room.
pub(in crate::map) trait Recency: Sized {
    /// Words of an element that this takes.
    const WORDS: usize;

    /// In the first of these words, what a use of an entry changes, and to what; it is the whole of
    /// what [`Recency::used`] does.
    const MARK: Option<(i8, i8)>;

    /// Nothing used yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    fn new(spec: &MapSpec) -> Result<Self>;

    /// A program or an update used the entry in element `e`.
    fn used(&self, table: &Table, e: u32);

    /// An entry is about to be put into element `e`.
    fn added(&self, table: &Table, e: u32);

    /// Element `e`'s entry is gone; the caller has its bucket locked.
    fn removed(&self, table: &Table, e: u32);

    /// Takes an entry out, and gives its element to the caller, who holds no lock.
    ///
    /// # Errors
    ///
    /// `E2BIG` if this map does not do that; `EBUSY` inside another map operation on this CPU;
    /// `ENOMEM` when others were always faster.
    fn make_room(&self, table: &Table) -> Result<u32>;
}

/// Keeps what there is.
pub(in crate::map) struct Keep;

impl Recency for Keep {
    const WORDS: usize = 0;
    const MARK: Option<(i8, i8)> = None;

    fn new(_spec: &MapSpec) -> Result<Self> {
        Ok(Keep)
    }

    #[inline(always)]
    fn used(&self, _table: &Table, _e: u32) {}

    #[inline(always)]
    fn added(&self, _table: &Table, _e: u32) {}

    #[inline(always)]
    fn removed(&self, _table: &Table, _e: u32) {}

    #[inline(always)]
    fn make_room(&self, _table: &Table) -> Result<u32> {
        Err(E2BIG)
    }
}

/// Drops an entry that was not used lately.
pub(in crate::map) struct Oldest {
    hand: AtomicU32,
}

impl Oldest {
    #[inline(always)]
    fn mark(table: &Table, e: u32) -> Option<&AtomicU64> {
        table.note(e)
    }
}

impl Recency for Oldest {
    const WORDS: usize = 1;
    const MARK: Option<(i8, i8)> = Some((IN_USE as i8, (IN_USE | MARK) as i8));

    fn new(_spec: &MapSpec) -> Result<Self> {
        Ok(Oldest {
            hand: AtomicU32::new(0),
        })
    }

    #[inline(always)]
    fn used(&self, table: &Table, e: u32) {
        if let Some(m) = Self::mark(table, e) {
            // Only the first use since the hand passed writes; a mark on an element that just
            // changed its entry does no harm.
            if m.load(Relaxed) == IN_USE {
                m.store(IN_USE | MARK, Relaxed);
            }
        }
    }

    #[inline(always)]
    fn added(&self, table: &Table, e: u32) {
        if let Some(m) = Self::mark(table, e) {
            m.store(IN_USE, Relaxed);
        }
    }

    #[inline(always)]
    fn removed(&self, table: &Table, e: u32) {
        if let Some(m) = Self::mark(table, e) {
            m.store(0, Relaxed);
        }
    }

    #[inline(never)]
    fn make_room(&self, table: &Table) -> Result<u32> {
        let all = List {
            first: 0,
            len: u32::try_from(table.pool.len()).map_err(|_| E2BIG)?,
            hand: &self.hand,
        };
        // Whoever runs here next has the same list; what one takes, the other does not find.
        let List { first, len, hand } = match table.pool.has_lists() {
            true => table.pool.list(cpus::current()).unwrap_or(all),
            false => all,
        };
        let mut patience = PATIENCE;
        for _ in 0..len.saturating_mul(2) {
            let n = hand.fetch_add(1, Relaxed).checked_rem(len);
            let e = n.and_then(|n| n.checked_add(first)).ok_or(ENOMEM)?;
            let mark = Self::mark(table, e).ok_or(ENOMEM)?;
            match mark.load(Relaxed) {
                0 => continue,
                IN_USE => {}
                _ if patience > 0 => {
                    patience = patience.wrapping_sub(1);
                    mark.store(IN_USE, Relaxed);
                    continue;
                }
                _ => {}
            }
            // What was there may be gone, or may have moved to another element, by the time its
            // bucket is locked.
            if let Some((locked, place)) = table.lock_elem(e)? {
                locked.remove(place);
                self.removed(table, e);
                return Ok(e);
            }
        }
        Err(ENOMEM)
    }
}
