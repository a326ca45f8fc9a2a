// SPDX-License-Identifier: GPL-2.0

//! Running compiled programs: machine code in executable memory.

use super::context::RunGuard;
use super::exec::Room;
use crate::jit;
use kernel::prelude::*;

/// Machine code of a program in executable memory.
///
/// # Invariants
///
/// The room holds an image of the compiler, relocated to it, and `entry` is the address of the
/// function that runs the program.
pub(crate) struct Text {
    room: Room,
    entry: usize,
    tail_entry: usize,
}

impl Text {
    /// Places an image.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ERANGE` when there is no memory near enough to the kernel's text, `ENOTSUPP` when
    /// there is none at all.
    pub(crate) fn place(image: &mut jit::Image) -> Result<Self> {
        let mut room = Room::take(image.bytes().len())?;
        image.relocate(room.address() as u64)?;
        room.write(image.bytes())?;
        let entry = room.address().wrapping_add(image.entry() as usize);
        let tail_entry = room.address().wrapping_add(image.tail_entry() as usize);
        // INVARIANT: as just done.
        Ok(Text {
            room,
            entry,
            tail_entry,
        })
    }

    /// The machine code.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.room.bytes()
    }

    /// Address of byte `off`.
    pub(crate) fn address(&self, off: u32) -> usize {
        self.room.address().wrapping_add(off as usize)
    }

    /// Where other programs go on in this one.
    pub(crate) fn tail_entry(&self) -> u64 {
        self.tail_entry as u64
    }

    /// Runs the program on the context at `ctx`.
    #[inline]
    pub(crate) fn run(&self, _guard: &RunGuard, ctx: usize) -> u64 {
        // SAFETY: by the invariant that is such a function.
        let entry: extern "C" fn(usize) -> u64 = unsafe { core::mem::transmute(self.entry) };
        entry(ctx)
    }
}
