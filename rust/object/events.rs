// SPDX-License-Identifier: GPL-2.0

//! Perf events in maps: what a PERF_EVENT_ARRAY holds.
//!
//! An event is there as long as the map's file is open by which it was put in, so that a reader that
//! dies leaves nothing behind; with `BPF_F_PRESERVE_ELEMS`, as long as the map is.

use super::slots::{Held, Slots};
use crate::map::FdArray;
use crate::sys::perf_map::Event;
use kernel::prelude::*;

/// An event, and by which file of the map it came.
struct FromFile {
    event: Event,
    file: u64,
}

impl Held for FromFile {
    fn word(&self) -> u64 {
        self.event.word()
    }

    /// Nobody reads events back.
    fn number(&self) -> u32 {
        0
    }
}

/// The events of a map of type PERF_EVENT_ARRAY.
pub(crate) struct Events(Pin<KBox<Slots<FromFile, ()>>>);

impl Events {
    /// None in `entries` slots.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(entries: u32) -> Result<Self> {
        Ok(Events(Slots::new(entries, ())?))
    }

    /// Puts `event` at `index` of `array`, the map's words, for file number `file` of the map.
    ///
    /// # Errors
    ///
    /// `E2BIG` past the end.
    pub(super) fn update(&self, array: &FdArray, index: u32, event: Event, file: u64) -> Result {
        let new = Some(FromFile { event, file });
        self.0.replace(array, index, new, |(), _| {})?;
        Ok(())
    }

    /// Takes the event at `index` out.
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

    /// File number `file` of the map is closed: what came by it goes. May sleep.
    pub(super) fn close(&self, array: &FdArray, file: u64) {
        for index in 0..array.entries() {
            if array.get(index) != 0 {
                drop(self.0.take_if(array, index, |held| held.file == file));
            }
            if index % 1024 == 1023 {
                crate::sys::context::breathe();
            }
        }
    }
}
