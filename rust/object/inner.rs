// SPDX-License-Identifier: GPL-2.0

//! Maps in maps: what a map of maps holds, and which maps it takes.
//!
//! Programs find the address of a map in the words of an [`FdArray`] or the entries of a
//! [`MapHash`], and may use it until the end of their grace period. So a map that was ever put into
//! another one waits for a grace period when its last reference goes ([`MapObject::release`]).

use super::slots::{Held, Slots};
use super::MapObject;
use crate::abi::MapType;
use crate::map::map_hash::{Entry, BYTES};
use crate::map::spec::INNER_MAP;
use crate::map::{FdArray, MapHash, Step};
use crate::sys::area::AreaVec;
use crate::sys::context::{Nest, RunGuard};
use crate::sys::shared::Shared;
use crate::sys::user::zeroed;
use crate::verifier::MapFacts;
use kernel::prelude::*;
use kernel::sync::Mutex;

/// What the maps in a map of maps have in common: then a program that was verified with one may use
/// each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    facts: MapFacts,
    flags: u32,
}

impl Template {
    /// After `map`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a map of maps; `ENOTSUPP` for an array of programs, whose programs belong
    /// together in a way that is not known before they run.
    pub(crate) fn new(map: &MapObject) -> Result<Self> {
        let mut facts = map.map().facts();
        if facts.ty.is_of_maps() {
            return Err(EINVAL);
        }
        if facts.ty == MapType::ProgArray {
            return Err(ENOTSUPP);
        }
        // These are of that one map.
        facts.frozen = false;
        facts.direct_value = false;
        Ok(Template {
            facts,
            flags: map.flags(),
        })
    }

    /// What the verifier knows of a map that a program found.
    pub(crate) fn facts(&self) -> MapFacts {
        self.facts
    }

    /// Makes sure that `map` may stand in for the one that the template was made after.
    ///
    /// # Errors
    ///
    /// `EINVAL`
    fn admit(&self, map: &MapObject) -> Result {
        let spec = map.map().spec();
        let array = matches!(self.facts.ty, MapType::Array | MapType::PercpuArray);
        let same = spec.ty == self.facts.ty
            && spec.key_size == self.facts.key_size
            && spec.value_size == self.facts.value_size
            && map.flags() == self.flags
            && spec.lock == self.facts.lock
            && (!array
                || self.flags & INNER_MAP != 0
                || spec.max_entries == self.facts.max_entries);
        match same {
            true => Ok(()),
            false => Err(EINVAL),
        }
    }
}

impl Held for Shared<MapObject> {
    fn word(&self) -> u64 {
        core::ptr::from_ref(self.map()) as u64
    }

    fn number(&self) -> u32 {
        self.id()
    }
}

/// The maps of a map of type ARRAY_OF_MAPS.
pub(crate) struct MapSlots {
    slots: Pin<KBox<Slots<Shared<MapObject>, ()>>>,
    template: Template,
}

impl MapSlots {
    /// None in `entries` slots.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(entries: u32, template: Template) -> Result<Self> {
        Ok(MapSlots {
            slots: Slots::new(entries, ())?,
            template,
        })
    }

    /// See [`Template`].
    pub(super) fn template(&self) -> &Template {
        &self.template
    }

    /// The number of the map at `index`.
    ///
    /// # Errors
    ///
    /// `ENOENT`
    pub(super) fn number(&self, index: u32) -> Result<u32> {
        self.slots.number(index)
    }

    /// Puts `map` at `index` of `array`, the outer map's words.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it is not like the template; `E2BIG` past the end.
    pub(super) fn update(&self, array: &FdArray, index: u32, map: Shared<MapObject>) -> Result {
        self.template.admit(&map)?;
        map.becomes_inner();
        self.slots.replace(array, index, Some(map), |(), _| {})?;
        Ok(())
    }

    /// Takes the map at `index` out.
    ///
    /// # Errors
    ///
    /// `E2BIG` past the end; `ENOENT` when there is none.
    pub(super) fn delete(&self, array: &FdArray, index: u32) -> Result {
        match self.slots.replace(array, index, None, |(), _| {})? {
            Some(_) => Ok(()),
            None => Err(ENOENT),
        }
    }
}

/// The maps of a map of type HASH_OF_MAPS.
pub(crate) struct MapEntries {
    table: Pin<KBox<Guarded>>,
    template: Template,
}

#[pin_data]
struct Guarded {
    #[pin]
    places: Mutex<Places>,
}

/// References by place; an entry of the hash says which is its own. Whoever changes the hash has the
/// lock.
struct Places {
    held: AreaVec<Option<Shared<MapObject>>>,
    free: AreaVec<u32>,
}

impl Places {
    fn number(&self, entry: Entry) -> Result<u32> {
        let held = self.held.get(entry.place as usize).ok_or(ENOENT)?;
        held.as_ref().map(Held::number).ok_or(ENOENT)
    }

    /// The entry is gone: so is its reference.
    fn give_back(&mut self, entry: Entry) -> Option<Shared<MapObject>> {
        let held = self.held.get_mut(entry.place as usize)?.take();
        // There is room for as many as there are places.
        let _ = self.free.push_within_capacity(entry.place);
        held
    }
}

/// Calls `f` where programs run too, which start none meanwhile.
fn quietly<R>(f: impl FnOnce() -> R) -> R {
    let run = RunGuard::enter();
    let _nest = Nest::enter(&run);
    f()
}

impl MapEntries {
    /// None, for as many as `hash` takes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(entries: u32, template: Template) -> Result<Self> {
        const FLAGS: kernel::alloc::Flags = GFP_KERNEL_ACCOUNT;
        let mut held = AreaVec::with_capacity(entries as usize, FLAGS)?;
        let mut free = AreaVec::with_capacity(entries as usize, FLAGS)?;
        for place in 0..entries {
            held.push(None, FLAGS)?;
            free.push(place, FLAGS)?;
        }
        let places = Places { held, free };
        let table = KBox::pin_init(
            pin_init!(Guarded {
                places <- kernel::new_mutex!(places, "oxbpf_places"),
            }),
            FLAGS,
        )?;
        Ok(MapEntries { table, template })
    }

    /// See [`Template`].
    pub(super) fn template(&self) -> &Template {
        &self.template
    }

    /// The number of the map at `key`.
    ///
    /// # Errors
    ///
    /// `ENOENT`
    pub(super) fn number(&self, hash: &MapHash, key: &[u8]) -> Result<u32> {
        let places = self.table.places.lock();
        places.number(quietly(|| hash.get(key))?)
    }

    /// Puts `map` at `key` of `hash`, the outer map's table.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it is not like the template; those of an update of a hash.
    pub(super) fn update(
        &self,
        hash: &MapHash,
        key: &[u8],
        map: Shared<MapObject>,
        flags: u64,
    ) -> Result {
        self.template.admit(&map)?;
        map.becomes_inner();
        let word = map.word();
        let mut places = self.table.places.lock();
        // Who has the entry already goes on having its place.
        let (place, is_new) = match quietly(|| hash.get(key)) {
            Ok(entry) => (entry.place, false),
            Err(e) if e == ENOENT => (places.free.pop().unwrap_or(u32::MAX), true),
            Err(e) => return Err(e),
        };
        let entry = Entry { word, place };
        let done = quietly(|| hash.set(key, entry, flags));
        let old = match (done, places.held.get_mut(place as usize)) {
            (Ok(()), Some(slot)) => slot.replace(map),
            (Err(e), _) => {
                if is_new && place != u32::MAX {
                    places.give_back(entry);
                }
                return Err(e);
            }
            // A table that took an entry more than it has places for.
            (Ok(()), None) => {
                let _ = quietly(|| hash.remove(key));
                return Err(E2BIG);
            }
        };
        drop(places);
        drop(old);
        Ok(())
    }

    /// Takes the map at `key` out.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none.
    pub(super) fn delete(&self, hash: &MapHash, key: &[u8]) -> Result {
        let mut places = self.table.places.lock();
        let entry = quietly(|| hash.get(key))?;
        quietly(|| hash.remove(key))?;
        let old = places.give_back(entry);
        drop(places);
        drop(old);
        Ok(())
    }

    /// As [`crate::map::Map::batch`], with the maps' numbers as values.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn batch(
        &self,
        hash: &MapHash,
        cursor: &mut u32,
        keys: &mut [u8],
        numbers: &mut [u8],
        delete: bool,
        split: bool,
    ) -> Result<(usize, Step)> {
        let bytes = (numbers.len() / 4).checked_mul(BYTES).ok_or(ENOMEM)?;
        let mut entries = zeroed(bytes, GFP_KERNEL_ACCOUNT | __GFP_NOWARN)?;
        let mut places = self.table.places.lock();
        let (n, step) = quietly(|| hash.batch(cursor, keys, &mut entries, delete, split))?;
        let entries = entries.chunks_exact(BYTES).take(n);
        for (number, entry) in numbers.chunks_exact_mut(4).zip(entries) {
            let entry = Entry::from_bytes(entry).ok_or(EFAULT)?;
            number.copy_from_slice(&places.number(entry)?.to_ne_bytes());
            if delete {
                // The last reference only tells RCU, so it may go under the lock.
                drop(places.give_back(entry));
            }
        }
        Ok((n, step))
    }
}
