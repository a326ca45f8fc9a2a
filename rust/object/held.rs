// SPDX-License-Identifier: GPL-2.0

//! Elements that user space names by descriptors: the commands on them.

use super::cgroups::Cgroups;
use super::events::Events;
use super::inner::{MapEntries, MapSlots, Template};
use super::{MapFile, MapObject};
use crate::abi::MapType;
use crate::map::{FdArray, Map, MapSpec};
use crate::prog::array::ProgArray;
use crate::prog::ProgFile;
use crate::sys::anon::FileRef;
use crate::sys::cgroup::Cgroup;
use crate::sys::perf_map::Event;
use kernel::prelude::*;

/// The objects that a map of descriptors holds.
pub(crate) enum HeldBy {
    /// Programs.
    Progs(ProgArray),
    /// Maps by index.
    Maps(MapSlots),
    /// Maps by key.
    MapsByKey(MapEntries),
    /// Perf events.
    Events(Events),
    /// Cgroups.
    Cgroups(Cgroups),
}

impl HeldBy {
    /// What a map of that description holds, nothing yet; maps are like `template`, which maps of
    /// maps have.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(spec: &MapSpec, template: Option<Template>) -> Result<Option<Self>> {
        let entries = spec.max_entries;
        Ok(Some(match (spec.ty, template) {
            (MapType::ProgArray, _) => HeldBy::Progs(ProgArray::new(entries)?),
            (MapType::ArrayOfMaps, Some(t)) => HeldBy::Maps(MapSlots::new(entries, t)?),
            (MapType::HashOfMaps, Some(t)) => HeldBy::MapsByKey(MapEntries::new(entries, t)?),
            (MapType::PerfEventArray, _) => HeldBy::Events(Events::new(entries)?),
            (MapType::CgroupArray, _) => HeldBy::Cgroups(Cgroups::new(entries)?),
            (MapType::ArrayOfMaps | MapType::HashOfMaps, None) => return Err(EINVAL),
            _ => return Ok(None),
        }))
    }

    /// What the maps in it are like.
    pub(super) fn template(&self) -> Option<&Template> {
        match self {
            HeldBy::Progs(_) | HeldBy::Events(_) | HeldBy::Cgroups(_) => None,
            HeldBy::Maps(maps) => Some(maps.template()),
            HeldBy::MapsByKey(maps) => Some(maps.template()),
        }
    }

    /// The number of the object at `key` of `map`, whose objects these are.
    ///
    /// # Errors
    ///
    /// `ENOENT` for nothing; `ENOTSUPP` for events and cgroups, which have no numbers.
    pub(crate) fn number(&self, map: &Map, key: &[u8]) -> Result<u32> {
        let index = || words(map)?.index(key).ok_or(ENOENT);
        match self {
            HeldBy::Progs(progs) => progs.number(index()?),
            HeldBy::Maps(maps) => maps.number(index()?),
            HeldBy::MapsByKey(maps) => maps.number(map.map_hash().ok_or(EINVAL)?, key),
            HeldBy::Events(_) | HeldBy::Cgroups(_) => Err(ENOTSUPP),
        }
    }

    /// Puts the object behind the descriptor that `value` is at `key` of `map`, by way of file number
    /// `file` of the map.
    ///
    /// # Errors
    ///
    /// `E2BIG` for an index past the end; `EBADF` and `EINVAL` for a wrong descriptor; `EINVAL` for an
    /// object that does not belong there, and for flags; those of an update of a hash.
    pub(crate) fn update(
        &self,
        map: &Map,
        file: u64,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result {
        let fd = value.first_chunk().copied().ok_or(EINVAL)?;
        let fd = u32::from_ne_bytes(fd);
        let index = || match flags {
            0 => words(map)?.index(key).ok_or(E2BIG),
            _ => Err(EINVAL),
        };
        match self {
            HeldBy::Progs(progs) => {
                let index = index()?;
                let prog = FileRef::<ProgFile>::get(fd)?;
                progs.update(words(map)?, index, prog.prog().clone())
            }
            HeldBy::Maps(maps) => {
                let index = index()?;
                let inner = FileRef::<MapFile>::get(fd)?;
                maps.update(words(map)?, index, inner.object().clone())
            }
            HeldBy::MapsByKey(maps) => {
                let inner = FileRef::<MapFile>::get(fd)?;
                let hash = map.map_hash().ok_or(EINVAL)?;
                maps.update(hash, key, inner.object().clone(), flags)
            }
            HeldBy::Events(events) => {
                let index = index()?;
                events.update(words(map)?, index, Event::get(fd)?, file)
            }
            HeldBy::Cgroups(cgroups) => {
                let index = index()?;
                cgroups.update(words(map)?, index, Cgroup::get(fd)?)
            }
        }
    }

    /// Takes the object at `key` of `map` out.
    ///
    /// # Errors
    ///
    /// `E2BIG` for an index past the end; `ENOENT` when there is none.
    pub(crate) fn delete(&self, map: &Map, key: &[u8]) -> Result {
        let index = || words(map)?.index(key).ok_or(E2BIG);
        match self {
            HeldBy::Progs(progs) => progs.delete(words(map)?, index()?),
            HeldBy::Maps(maps) => maps.delete(words(map)?, index()?),
            HeldBy::MapsByKey(maps) => maps.delete(map.map_hash().ok_or(EINVAL)?, key),
            HeldBy::Events(events) => events.delete(words(map)?, index()?),
            HeldBy::Cgroups(cgroups) => cgroups.delete(words(map)?, index()?),
        }
    }
}

fn words(map: &Map) -> Result<&FdArray> {
    map.fd_array().ok_or(EINVAL)
}

impl MapObject {
    /// What its elements stand for, if user space names them by descriptors.
    pub(crate) fn held(&self) -> Option<&HeldBy> {
        self.held.as_ref()
    }

    /// Its array of programs, if it is one.
    pub(crate) fn progs(&self) -> Option<&ProgArray> {
        match &self.held {
            Some(HeldBy::Progs(progs)) => Some(progs),
            _ => None,
        }
    }

    /// Its events, if it has any.
    pub(super) fn events(&self) -> Option<&Events> {
        match &self.held {
            Some(HeldBy::Events(events)) => Some(events),
            _ => None,
        }
    }

    /// What the maps in it are like, if it is a map of maps.
    pub(crate) fn template(&self) -> Option<&Template> {
        self.held.as_ref()?.template()
    }
}
