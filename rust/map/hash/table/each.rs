// SPDX-License-Identifier: GPL-2.0

//! Walking the table one element at a time, as programs do.

use super::{Bucket, Table, CHAIN_CHECK, LOOKS};
use crate::map::hash::bucket::SLOTS;
use core::hint::spin_loop;
use core::sync::atomic::Ordering::Acquire;

/// A cursor's bits for the place in a bucket: a slot, or the number of slots and the least element of
/// the chain.
const PLACE_BITS: u32 = 34;
const CHAIN: u64 = SLOTS as u64;

impl Table {
    /// The address of element `e`'s key; 0 for no element.
    pub(in crate::map) fn key_addr(&self, e: u32) -> usize {
        let key = self.key(e);
        key.map_or(0, |words| words.as_ptr() as usize)
    }

    /// The next element from `cursor` on, 0 where a walk begins, without a lock.
    ///
    /// Slots come in their order, and what is in the chain in the order of the elements' numbers: so a
    /// walk need not remember an element, which the program may delete and use again before it asks for
    /// the next, and the cursor only grows. An element that is in its place all the time is met.
    pub(in crate::map) fn next_elem(&self, cursor: &mut u64) -> Option<u32> {
        let mut at = usize::try_from(*cursor >> PLACE_BITS).ok()?;
        let mut place = *cursor & ((1 << PLACE_BITS) - 1);
        while let Some(bucket) = self.buckets.get(at) {
            let slot = bucket.used().find(|s| *s as u64 >= place);
            let found = match slot {
                Some(slot) => Some((bucket.slot(slot), slot as u64)),
                None => {
                    let least = place.saturating_sub(CHAIN);
                    let e = self.least_in_chain(bucket, least);
                    e.map(|e| (e, CHAIN.wrapping_add(e.into())))
                }
            };
            if let Some((e, place)) = found {
                *cursor = ((at as u64) << PLACE_BITS) | place.wrapping_add(1);
                return Some(e);
            }
            (at, place) = (at.wrapping_add(1), 0);
        }
        *cursor = (at as u64) << PLACE_BITS;
        None
    }

    /// The element with the least number from `least` on in the bucket's chain.
    fn least_in_chain(&self, bucket: &Bucket, least: u64) -> Option<u32> {
        for _ in 0..LOOKS {
            let version = bucket.version();
            let mut found: Option<u32> = None;
            let mut next = bucket.chain.load(Acquire);
            let mut steps: u32 = 0;
            while let Some(e) = next.checked_sub(1) {
                if u64::from(e) >= least && found.is_none_or(|f| e < f) {
                    found = Some(e);
                }
                steps = steps.wrapping_add(1);
                // Somebody's links may lead on for ever only if they change.
                if steps % CHAIN_CHECK == 0 && !bucket.unchanged_since(version) {
                    break;
                }
                next = match self.pool.link(e) {
                    Some(link) => link.load(Acquire),
                    None => 0,
                };
            }
            if bucket.unchanged_since(version) {
                return found;
            }
            spin_loop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::abi::MapType;
    use crate::helper::Walk;
    use crate::map::hash::Plain;
    use crate::map::model::spec;
    use crate::map::Map;

    /// The word at an address of a walk over a map that is there.
    fn word(map: &Map, addr: u64) -> u64 {
        let key = (0..1000u64).find(|k| {
            let value = map.lookup_addr(&k.to_ne_bytes());
            value.is_some_and(|v| v as u64 == addr)
        });
        key.unwrap_or(u64::MAX)
    }

    /// Whose values a program's walk meets.
    fn keys(map: &Map) -> Vec<u64> {
        let (mut walk, mut keys) = (Walk::default(), Vec::new());
        while map.prog_next(&mut walk) {
            keys.push(word(map, walk.value));
        }
        assert_eq!(walk.count, keys.len() as u64);
        keys.sort();
        keys
    }

    #[test]
    fn all_elements_are_met_once() {
        for (ty, entries) in [
            (MapType::Hash, 1),
            (MapType::Hash, 100),
            (MapType::LruHash, 100),
        ] {
            let map = Map::new(&spec(ty, 8, 8, entries)).unwrap();
            assert_eq!(keys(&map), []);
            for k in 0..u64::from(entries) {
                map.update(&k.to_ne_bytes(), &[1; 8], 0).unwrap();
            }
            assert!(keys(&map).into_iter().eq(0..u64::from(entries)));
        }
    }

    #[test]
    fn those_in_the_chain_too_even_if_all_are_deleted() {
        let spec = spec(MapType::Hash, 8, 8, 50);
        let table = Plain::with_buckets(&spec, 2).unwrap();
        let mut n = 0;
        for k in 0..50u64 {
            let (key, value) = (k.to_ne_bytes(), [0; 8]);
            let how = crate::map::Update::Any;
            let cpus = crate::map::Cpus::Same;
            table
                .update(key[..].into(), value[..].into(), how, cpus)
                .unwrap();
        }
        let mut cursor = 0;
        while let Some(e) = table.table.next_elem(&mut cursor) {
            let mut key = [0; 8];
            crate::map::words::load(table.table.key(e).unwrap(), &mut key);
            table.delete(key[..].into()).unwrap();
            // What comes into the free element meanwhile is gone again before the next step.
            let new = [0xff; 8];
            table
                .update(
                    new[..].into(),
                    [0; 8][..].into(),
                    crate::map::Update::Any,
                    crate::map::Cpus::Same,
                )
                .unwrap();
            table.delete(new[..].into()).unwrap();
            n += 1;
        }
        assert_eq!(n, 50);
    }

    #[test]
    fn an_array_shows_its_indices() {
        let map = Map::new(&spec(MapType::Array, 4, 8, 3)).unwrap();
        let mut walk = Walk::default();
        for i in 0..3u32 {
            assert!(map.prog_next(&mut walk));
            let value = map.lookup_addr(&i.to_ne_bytes()).unwrap() as u64;
            assert_eq!((walk.cursor, walk.value), (u64::from(i), value));
            assert_eq!(walk.key, &raw const walk.cursor as u64);
        }
        assert!(!map.prog_next(&mut walk));
        assert!(!map.prog_next(&mut walk));
    }

    #[test]
    fn no_walk_meets_more_than_the_map_holds() {
        let map = Map::new(&spec(MapType::Hash, 8, 8, 10)).unwrap();
        let (mut walk, mut n) = (Walk::default(), 0u64);
        map.update(&[0; 8], &[0; 8], 0).unwrap();
        while map.prog_next(&mut walk) {
            // Another element, perhaps further on.
            map.delete(&n.to_ne_bytes()).unwrap();
            n += 1;
            map.update(&n.to_ne_bytes(), &[0; 8], 0).unwrap();
        }
        assert!(n <= 10);
    }
}
