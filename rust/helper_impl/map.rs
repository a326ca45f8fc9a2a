// SPDX-License-Identifier: GPL-2.0

//! Helpers of maps.

use crate::helper::Walk;
use crate::map::Map;
use crate::sys::args::{KeyArg, LockArg, MapArg, RoomArg, Shape, ValueArg, WalkArg};

// What `Map::facts` tells the verifier comes from the same two numbers.
impl Shape for Map {
    #[inline(always)]
    fn key_size(&self) -> usize {
        self.spec().key_size as usize
    }

    #[inline(always)]
    fn value_size(&self) -> usize {
        self.spec().value_size as usize
    }
}

/// `map_lookup_elem(map, key)`
pub(super) extern "C" fn map_lookup_elem(map: MapArg<Map>, key: KeyArg) -> u64 {
    map.prog_lookup(key.bytes(&map)).unwrap_or(0) as u64
}

/// `map_update_elem(map, key, value, flags)`
pub(super) extern "C" fn map_update_elem(
    map: MapArg<Map>,
    key: KeyArg,
    value: ValueArg,
    flags: u64,
) -> u64 {
    let done = map.prog_update_quick(key.bytes(&map), value.bytes(&map), flags);
    super::errno(done.map(|()| 0))
}

/// `map_delete_elem(map, key)`
pub(super) extern "C" fn map_delete_elem(map: MapArg<Map>, key: KeyArg) -> u64 {
    super::errno(map.prog_delete(key.bytes(&map)).map(|()| 0))
}

/// `map_push_elem(map, value, flags)`
pub(super) extern "C" fn map_push_elem(map: MapArg<Map>, value: ValueArg, flags: u64) -> u64 {
    super::errno(map.push(value.bytes(&map), flags).map(|()| 0))
}

/// `map_pop_elem(map, value)`
pub(super) extern "C" fn map_pop_elem(map: MapArg<Map>, mut value: RoomArg) -> u64 {
    super::errno(map.pop(value.room(&map)).map(|()| 0))
}

/// `map_peek_elem(map, value)`
pub(super) extern "C" fn map_peek_elem(map: MapArg<Map>, mut value: RoomArg) -> u64 {
    super::errno(map.peek(value.room(&map)).map(|()| 0))
}

/// `map_lookup_percpu_elem(map, key, cpu)`
pub(super) extern "C" fn map_lookup_percpu_elem(map: MapArg<Map>, key: KeyArg, cpu: u64) -> u64 {
    // The number is 32 bits wide.
    map.prog_lookup_percpu(key.bytes(&map), cpu as u32)
        .unwrap_or(0) as u64
}

/// `spin_lock(lock)`
pub(super) extern "C" fn spin_lock(lock: LockArg) -> u64 {
    lock.lock();
    0
}

/// `spin_unlock(lock)`
pub(super) extern "C" fn spin_unlock(lock: LockArg) -> u64 {
    lock.unlock();
    0
}

/// [`crate::helper::MAP_NEXT`]: `map_next(map, walk)`
pub(super) extern "C" fn map_next(map: MapArg<Map>, mut walk: WalkArg<Walk>) -> u64 {
    map.prog_next(walk.get()).into()
}
