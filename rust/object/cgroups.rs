// SPDX-License-Identifier: GPL-2.0

//! Cgroups in maps: what a CGROUP_ARRAY holds.

use super::slots::{Held, Slots};
use crate::map::FdArray;
use crate::sys::cgroup::Cgroup;
use kernel::prelude::*;

impl Held for Cgroup {
    fn word(&self) -> u64 {
        Cgroup::word(self)
    }

    /// Nobody reads cgroups back.
    fn number(&self) -> u32 {
        0
    }
}

/// The cgroups of a map of type CGROUP_ARRAY.
pub(crate) struct Cgroups(Pin<KBox<Slots<Cgroup, ()>>>);

impl Cgroups {
    /// None in `entries` slots.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(entries: u32) -> Result<Self> {
        Ok(Cgroups(Slots::new(entries, ())?))
    }

    /// Puts `cgroup` at `index` of `array`, the map's words.
    ///
    /// # Errors
    ///
    /// `E2BIG` past the end.
    pub(super) fn update(&self, array: &FdArray, index: u32, cgroup: Cgroup) -> Result {
        self.0.replace(array, index, Some(cgroup), |(), _| {})?;
        Ok(())
    }

    /// Takes the cgroup at `index` out.
    ///
    /// # Errors
    ///
    /// `E2BIG` past the end; `ENOENT` when there is none.
    pub(super) fn delete(&self, array: &FdArray, index: u32) -> Result {
        match self.0.replace(array, index, None, |(), _| {})? {
            Some(_) => Ok(()),
            None => Err(ENOENT),
        }
    }
}
