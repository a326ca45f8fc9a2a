// SPDX-License-Identifier: GPL-2.0

//! What the words of an array of descriptors stand for, and keep alive.
//!
//! A map of descriptors has two sides: the words that programs read ([`FdArray`]), and the objects
//! behind them, here. An object is put in before its word is set, and given back only after its
//! word is gone; who has read the word before may use the object until the end of its grace
//! period, so objects must go that way when the last reference to them does.

use crate::map::FdArray;
use crate::sys::area::AreaVec;
use kernel::prelude::*;
use kernel::sync::Mutex;

/// What a slot can hold.
pub(crate) trait Held: Send + Unpin + 'static {
    /// What programs find; not 0, and the same as long as it lives.
    fn word(&self) -> u64;
    /// What user space gets when it reads the slot.
    fn number(&self) -> u32;
}

/// Objects by index, and whatever `X` a kind of map has to keep in step with them.
#[pin_data]
pub(crate) struct Slots<T, X> {
    #[pin]
    table: Mutex<Table<T, X>>,
}

/// What the lock guards.
struct Table<T, X> {
    held: AreaVec<Option<T>>,
    extra: X,
}

impl<T: Held, X: Send + Unpin + 'static> Slots<T, X> {
    /// Nothing in `entries` slots.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn new(entries: u32, extra: X) -> Result<Pin<KBox<Self>>> {
        let mut held = AreaVec::with_capacity(entries as usize, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..entries {
            held.push(None, GFP_KERNEL_ACCOUNT)?;
        }
        let table = Table { held, extra };
        KBox::pin_init(
            pin_init!(Slots {
                table <- kernel::new_mutex!(table, "oxbpf_slots"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// The number of what slot `index` holds.
    ///
    /// # Errors
    ///
    /// `ENOENT` for nothing, and past the end.
    pub(crate) fn number(&self, index: u32) -> Result<u32> {
        let table = self.table.lock();
        let held = table.held.get(index as usize).ok_or(ENOENT)?;
        held.as_ref().map(Held::number).ok_or(ENOENT)
    }

    /// Puts `new` into slot `index` of `array`, whose slots these are, and gives back what was
    /// there. `then` is called under the lock, once programs find the new object, with the word
    /// that they find.
    ///
    /// # Errors
    ///
    /// `E2BIG` past the end.
    pub(crate) fn replace(
        &self,
        array: &FdArray,
        index: u32,
        new: Option<T>,
        then: impl FnOnce(&mut X, u64),
    ) -> Result<Option<T>> {
        let mut table = self.table.lock();
        let Table { held, extra } = &mut *table;
        let slot = held.get_mut(index as usize).ok_or(E2BIG)?;
        let word = new.as_ref().map_or(0, Held::word);
        let old = core::mem::replace(slot, new);
        array.set(index, word);
        then(extra, word);
        Ok(old)
    }

    /// Takes what slot `index` of `array` holds out, if `which` says so.
    pub(crate) fn take_if(
        &self,
        array: &FdArray,
        index: u32,
        which: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let mut table = self.table.lock();
        let slot = table.held.get_mut(index as usize)?;
        if !slot.as_ref().is_some_and(which) {
            return None;
        }
        let old = slot.take();
        array.set(index, 0);
        old
    }

    /// Calls `f` with the extra data, under the lock: no slot changes meanwhile.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut X) -> R) -> R {
        f(&mut self.table.lock().extra)
    }
}
