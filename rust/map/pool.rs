// SPDX-License-Identifier: GPL-2.0

//! The elements of a map that are not in use.
//!
//! All elements exist from the start. Each CPU has a stack of free ones, linked by index; who finds
//! its own empty takes one that was never used, or another CPU's. So a map takes exactly as many
//! entries as it may, whichever CPUs put and delete them. A stack is one word, an index and a
//! count of changes, so pushing and popping is a compare-and-swap and works in any context.
//!
//! Each CPU has a spare element besides, beyond the map's entries: replacing an entry uses it and
//! makes the old element the new spare, so a full map can still be updated.
//!
//! A pool with lists gives each possible CPU as many elements for ever: it takes no others, and what
//! it gives back goes to the CPU whose element it is. Spares are not used then.

use crate::sys::cpus;
use crate::sys::region::Region;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use kernel::prelude::*;

/// One CPU's free elements.
#[derive(Default)]
#[repr(C, align(64))]
struct Local {
    /// Index plus one of the top element in the low half, number of pops in the high half.
    top: AtomicU64,
    spare: AtomicU32,
    /// With lists: the first of this CPU's elements, how many of them were ever used, and the next
    /// that is looked at to make room.
    first: AtomicU32,
    used: AtomicU32,
    hand: AtomicU32,
    /// With lists: the CPU that has the elements of that place, a list's length each.
    owner: AtomicU32,
}

/// A CPU's own elements: the first, how many, and a hand that goes round them.
pub(super) struct List<'a> {
    pub(super) first: u32,
    pub(super) len: u32,
    pub(super) hand: &'a AtomicU32,
}

/// The elements of a map, by index, and which of them are free.
pub(super) struct Pool {
    locals: Region<Local>,
    /// One link an element: index plus one of the next, 0 for none. Free elements are linked here,
    /// others may be by their map.
    links: Region<AtomicU32>,
    /// The first element that was never used.
    fresh: AtomicU32,
    entries: u32,
    /// Elements of a CPU's list; 0 if all CPUs have all in common.
    each: u32,
}

impl Pool {
    /// A pool of `entries` elements, and spares.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `E2BIG` when there are too many to be numbered.
    pub(super) fn new(entries: u32, node: Option<u32>) -> Result<Self> {
        let cpus = cpus::ids();
        let all = u32::try_from(cpus)
            .ok()
            .and_then(|c| entries.checked_add(c))
            .filter(|n| *n < u32::MAX)
            .ok_or(E2BIG)?;
        let locals = Region::<Local>::new(cpus, node)?;
        for (spare, local) in (entries..u32::MAX).zip(locals.iter()) {
            local.spare.store(spare, Relaxed);
        }
        let links = Region::new(all as usize, node)?;
        Ok(Pool {
            locals,
            links,
            fresh: AtomicU32::new(0),
            entries,
            each: 0,
        })
    }

    /// The same with lists: `entries` is a multiple of the number of possible CPUs.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    pub(super) fn with_lists(entries: u32, node: Option<u32>) -> Result<Self> {
        let mut pool = Self::new(entries, node)?;
        let possible = (0..pool.locals.len()).filter(|c| cpus::is_possible(*c));
        let count = u32::try_from(possible.clone().count()).map_err(|_| E2BIG)?;
        pool.each = entries
            .checked_div(count)
            .filter(|n| *n != 0)
            .ok_or(E2BIG)?;
        let mut first: u32 = 0;
        for (place, cpu) in pool.locals.iter().zip(possible) {
            place
                .owner
                .store(u32::try_from(cpu).map_err(|_| E2BIG)?, Relaxed);
            if let Some(local) = pool.locals.get(cpu) {
                local.first.store(first, Relaxed);
            }
            first = first.checked_add(pool.each).ok_or(E2BIG)?;
        }
        Ok(pool)
    }

    /// Whether each CPU has elements of its own.
    #[inline(always)]
    pub(super) fn has_lists(&self) -> bool {
        self.each != 0
    }

    /// The CPU's own elements, if each has some.
    #[cold]
    #[inline(never)]
    pub(super) fn list(&self, cpu: usize) -> Option<List<'_>> {
        let local = self.locals.get(cpu).filter(|_| self.has_lists())?;
        Some(List {
            first: local.first.load(Relaxed),
            len: self.each,
            hand: &local.hand,
        })
    }

    /// Whether element `e` is the CPU's own, or all have all in common.
    #[inline(always)]
    pub(super) fn is_own(&self, cpu: usize, e: u32) -> bool {
        !self.has_lists() || self.owner(e) == Some(cpu)
    }

    /// The CPU whose element `e` is. Apart: most maps have no lists.
    #[cold]
    #[inline(never)]
    fn owner(&self, e: u32) -> Option<usize> {
        let place = self.locals.get(e.checked_div(self.each)? as usize)?;
        Some(place.owner.load(Relaxed) as usize)
    }

    /// Number of elements, with the spares.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// The link of element `e`, for the map's own use while the element is not free.
    #[inline(always)]
    pub(super) fn link(&self, e: u32) -> Option<&AtomicU32> {
        self.links.get(e as usize)
    }

    /// A free element; none when all entries are in use.
    #[inline]
    pub(super) fn take(&self, cpu: usize) -> Option<u32> {
        if let Some(e) = self.locals.get(cpu).and_then(|l| self.pop(l)) {
            return Some(e);
        }
        self.take_elsewhere(cpu)
    }

    #[cold]
    #[inline(never)]
    fn take_elsewhere(&self, cpu: usize) -> Option<u32> {
        if self.has_lists() {
            let local = self.locals.get(cpu)?;
            if local.used.load(Relaxed) >= self.each {
                return None;
            }
            let n = local.used.fetch_add(1, Relaxed);
            // No overflow: all elements have been numbered.
            return (n < self.each).then(|| local.first.load(Relaxed).wrapping_add(n));
        }
        // The load keeps the number from wrapping: it passes `entries` by the number of CPUs at
        // most.
        if self.fresh.load(Relaxed) < self.entries {
            let e = self.fresh.fetch_add(1, Relaxed);
            if e < self.entries {
                return Some(e);
            }
        }
        let n = self.locals.len();
        (1..n).find_map(|i| {
            let other = cpu.wrapping_add(i).checked_rem(n)?;
            self.pop(self.locals.get(other)?)
        })
    }

    /// Bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        self.locals.bytes().saturating_add(self.links.bytes())
    }

    /// Gives back an element that nobody can find any more.
    #[inline]
    pub(super) fn give(&self, cpu: usize, e: u32) {
        match self.has_lists() {
            true => self.give_to_owner(e),
            false => self.push(cpu, e),
        }
    }

    #[cold]
    #[inline(never)]
    fn give_to_owner(&self, e: u32) {
        if let Some(cpu) = self.owner(e) {
            self.push(cpu, e);
        }
    }

    #[inline(always)]
    fn push(&self, cpu: usize, e: u32) {
        let (Some(local), Some(link)) = (self.locals.get(cpu), self.link(e)) else {
            return;
        };
        let mut top = local.top.load(Relaxed);
        loop {
            link.store(top as u32, Relaxed);
            let new = (top & !0xffff_ffff) | u64::from(e.wrapping_add(1));
            match local.top.compare_exchange_weak(top, new, Release, Relaxed) {
                Ok(_) => return,
                Err(t) => top = t,
            }
        }
    }

    /// The CPU's spare element. Only who holds a map lock there asks, so nobody else does meanwhile.
    #[inline]
    pub(super) fn spare(&self, cpu: usize) -> Option<u32> {
        Some(self.locals.get(cpu)?.spare.load(Relaxed))
    }

    /// Makes `e` the CPU's spare element: the one before is in use now, in its place.
    #[inline]
    pub(super) fn set_spare(&self, cpu: usize, e: u32) {
        if let Some(local) = self.locals.get(cpu) {
            local.spare.store(e, Relaxed);
        }
    }

    #[inline]
    fn pop(&self, local: &Local) -> Option<u32> {
        let mut top = local.top.load(Acquire);
        loop {
            let e = (top as u32).checked_sub(1)?;
            let next = self.link(e)?.load(Relaxed);
            let count = (top >> 32).wrapping_add(1);
            let new = (count << 32) | u64::from(next);
            match local.top.compare_exchange_weak(top, new, Acquire, Acquire) {
                Ok(_) => return Some(e),
                Err(t) => top = t,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_element_once_and_all_of_them() {
        let pool = Pool::new(10, None).unwrap();
        let mut seen: Vec<u32> = Vec::new();
        for _ in 0..3 {
            for i in 0..10 {
                seen.push(pool.take(i % cpus::ids()).unwrap());
            }
            assert_eq!(pool.take(1), None);
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
            for (i, e) in seen.drain(..).enumerate() {
                pool.give(i / 2 % cpus::ids(), e);
            }
        }
    }

    #[test]
    fn spares_are_beyond_the_entries() {
        let pool = Pool::new(3, None).unwrap();
        for c in 0..cpus::ids() {
            assert_eq!(pool.spare(c), Some(3 + c as u32));
            pool.set_spare(c, c as u32);
            assert_eq!(pool.spare(c), Some(c as u32));
        }
        assert_eq!(pool.len(), 3 + cpus::ids());
    }

    #[test]
    fn threads_share_it_exactly() {
        let pool = Pool::new(64, None).unwrap();
        std::thread::scope(|s| {
            for cpu in 0..4 {
                let pool = &pool;
                s.spawn(move || {
                    let mut mine = Vec::new();
                    for round in 0..20_000u32 {
                        if round % 3 != 2 {
                            mine.extend(pool.take(cpu));
                        } else if let Some(e) = mine.pop() {
                            pool.give(cpu, e);
                        }
                        if mine.len() > 20 {
                            for e in mine.drain(..) {
                                pool.give(cpu, e);
                            }
                        }
                    }
                    for e in mine {
                        pool.give(cpu, e);
                    }
                });
            }
        });
        let mut all: Vec<u32> = std::iter::from_fn(|| pool.take(0)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..64).collect::<Vec<_>>());
    }

    #[test]
    fn lists_have_the_same_elements_for_ever() {
        let n = cpus::ids() as u32;
        let pool = Pool::with_lists(5 * n, None).unwrap();
        for _ in 0..3 {
            let mut all = Vec::new();
            for cpu in 0..cpus::ids() {
                let list = pool.list(cpu).unwrap();
                let mut mine: Vec<u32> = std::iter::from_fn(|| pool.take(cpu)).collect();
                mine.sort_unstable();
                let whole = list.first..list.first + list.len;
                assert_eq!(mine, whole.collect::<Vec<_>>());
                all.extend(mine);
            }
            for (i, e) in all.drain(..).enumerate() {
                pool.give(i % cpus::ids(), e);
            }
        }
        assert!(Pool::new(5, None).unwrap().list(0).is_none());
    }
}
