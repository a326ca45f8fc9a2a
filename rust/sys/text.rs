// SPDX-License-Identifier: GPL-2.0

//! Running compiled programs: machine code in executable memory.

use super::context::RunGuard;
use super::exec::Room;
use crate::jit;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Machine code of a program in executable memory.
///
/// # Invariants
///
/// The room holds an image of the compiler, relocated to it, and `entry` is the address of the
/// function that runs the program.
pub(crate) struct Text {
    room: Arc<Room>,
    entry: usize,
    tail_entry: usize,
}

/// A tail call that is a jump, and is changed when the array of programs is.
///
/// # Invariants
///
/// The site is one of the image in the room.
pub(crate) struct Patch {
    room: Arc<Room>,
    site: jit::TailSite,
}

/// An instruction of five bytes that does nothing.
const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

impl Patch {
    /// Which element of which of the program's maps it goes through.
    pub(crate) fn site(&self) -> &jit::TailSite {
        &self.site
    }

    /// A jump at byte `at` of the image to the address `to`.
    fn jump(&self, at: u32, to: u64) -> Result<[u8; 5]> {
        let next = (self.room.address() as u64)
            .wrapping_add(u64::from(at))
            .wrapping_add(5);
        let distance = i32::try_from(to.wrapping_sub(next) as i64).map_err(|_| ERANGE)?;
        let [a, b, c, d] = distance.to_le_bytes();
        Ok([0xe9, a, b, c, d])
    }

    /// The tail call goes on at the entry `to`, or, without one, is not made. CPUs that run the
    /// program meanwhile do the old or the new; they may do the old until the end of their read side
    /// of RCU. May sleep.
    ///
    /// # Errors
    ///
    /// `ERANGE` when it is too far away; then the tail call is not made.
    pub(crate) fn point(&self, to: Option<u64>) -> Result {
        let out = (self.room.address() as u64).wrapping_add(u64::from(self.site.out));
        let off = self.jump(self.site.check, out)?;
        let Some(to) = to else {
            return self.room.patch(self.site.check, &off);
        };
        let jump = match self.jump(self.site.jump, to) {
            Ok(jump) => jump,
            Err(e) => {
                self.room.patch(self.site.check, &off)?;
                return Err(e);
            }
        };
        // In this order: who passes the first finds the second ready.
        self.room.patch(self.site.jump, &jump)?;
        self.room.patch(self.site.check, &NOP)
    }
}

impl Text {
    /// Places an image. Nothing in it that is to be patched leads anywhere yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ERANGE` when there is no memory near enough to the kernel's text, `ENOTSUPP` when
    /// there is none at all.
    pub(crate) fn place(image: &mut jit::Image) -> Result<(Self, KVec<Patch>)> {
        let mut room = Room::take(image.bytes().len())?;
        image.relocate(room.address() as u64)?;
        room.write(image.bytes())?;
        let entry = room.address().wrapping_add(image.entry() as usize);
        let tail_entry = room.address().wrapping_add(image.tail_entry() as usize);
        let room = Arc::new(room, GFP_KERNEL_ACCOUNT)?;
        let mut patches = KVec::with_capacity(image.sites().len(), GFP_KERNEL_ACCOUNT)?;
        for site in image.sites() {
            // INVARIANT: as it says.
            let patch = Patch {
                room: room.clone(),
                site: *site,
            };
            patches.push(patch, GFP_KERNEL_ACCOUNT)?;
        }
        // INVARIANT: as just done.
        let text = Text {
            room,
            entry,
            tail_entry,
        };
        Ok((text, patches))
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
