// SPDX-License-Identifier: GPL-2.0

//! Programs in memory that cannot be written: machine code, and before it what never changes.

use super::context::RunGuard;
use super::exec::{self, Room};
use crate::jit;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Machine code of a program in executable memory.
///
/// # Invariants
///
/// The room holds, [`HEAD`] bytes from its start, an image of the compiler relocated to there;
/// `entry` is the address of the function that runs the program.
pub(crate) struct Text {
    room: Arc<Room>,
    entry: usize,
    tail_entry: usize,
}

/// Bytes of a room before the image: the program's [`Base`] ends there.
const HEAD: usize = 64;

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

    /// Address of byte `at` of the image.
    fn address(&self, at: u32) -> u64 {
        (self.room.address() as u64)
            .wrapping_add(HEAD as u64)
            .wrapping_add(u64::from(at))
    }

    fn patch(&self, at: u32, insn: &[u8; 5]) -> Result {
        self.room.patch((at as usize).wrapping_add(HEAD), insn)
    }

    /// A jump at byte `at` of the image to the address `to`.
    fn jump(&self, at: u32, to: u64) -> Result<[u8; 5]> {
        let next = self.address(at).wrapping_add(5);
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
        let off = self.jump(self.site.check, self.address(self.site.out))?;
        let Some(to) = to else {
            return self.patch(self.site.check, &off);
        };
        let jump = match self.jump(self.site.jump, to) {
            Ok(jump) => jump,
            Err(e) => {
                self.patch(self.site.check, &off)?;
                return Err(e);
            }
        };
        // In this order: who passes the first finds the second ready.
        self.patch(self.site.jump, &jump)?;
        self.patch(self.site.check, &NOP)
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
        let len = image.bytes().len().checked_add(HEAD).ok_or(ENOMEM)?;
        let room = Room::take(len)?;
        let start = room.address().wrapping_add(HEAD);
        image.relocate(start as u64)?;
        room.write(HEAD, image.bytes())?;
        let entry = start.wrapping_add(image.entry() as usize);
        let tail_entry = start.wrapping_add(image.tail_entry() as usize);
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
        self.room.bytes().get(HEAD..).unwrap_or(&[])
    }

    /// Address of byte `off`.
    pub(crate) fn address(&self, off: u32) -> usize {
        self.room
            .address()
            .wrapping_add(HEAD)
            .wrapping_add(off as usize)
    }
}

/// The part of a program that never changes, and that hooks need: it lies right before the
/// program's machine code, in memory that nobody can write.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Base {
    /// The function that runs the program; 0 when it is interpreted.
    entry: usize,
    /// What arrays of programs have for it.
    tail_entry: u64,
    /// The room around, as [`Arc::into_raw`] gave it; NULL when this is on the heap.
    room: *const Room,
    /// Type (`enum bpf_prog_type`).
    ty: u32,
    /// Bits of [`flag`].
    flags: u32,
}

/// Flags of a program.
mod flag {
    /// There is machine code.
    pub(super) const JITED: u32 = 1 << 0;
    /// Its license lets it call what only the GPL's may.
    pub(super) const GPL: u32 = 1 << 1;
    /// It takes packets of several pieces.
    pub(super) const XDP_FRAGS: u32 = 1 << 2;
}

const _: () = assert!(size_of::<Base>() <= 40 && size_of::<Base>() <= HEAD);

impl Base {
    /// There is machine code.
    pub(crate) fn jited(&self) -> bool {
        self.flags & flag::JITED != 0
    }

    /// Its license lets it call what only the GPL's may.
    pub(crate) fn gpl(&self) -> bool {
        self.flags & flag::GPL != 0
    }

    /// It takes packets of several pieces.
    pub(crate) fn xdp_frags(&self) -> bool {
        self.flags & flag::XDP_FRAGS != 0
    }

    /// Type (`enum bpf_prog_type`).
    pub(crate) fn ty(&self) -> u32 {
        self.ty
    }

    /// What arrays of programs have for it.
    pub(crate) fn word(&self) -> u64 {
        self.tail_entry
    }

    /// Address of the function that runs the program on the context that it is given, for C to call
    /// under the same conditions as [`Self::run`]; 0 when there is no machine code.
    pub(super) fn entry(&self) -> usize {
        self.entry
    }

    /// Runs the machine code on the context at `ctx`; `None` when there is none.
    #[inline(always)]
    pub(crate) fn run(&self, _guard: &RunGuard, ctx: usize) -> Option<u64> {
        if self.entry == 0 {
            return None;
        }
        // SAFETY: only `Fixed::new` makes what is reached here, with the entry of a `Text` whose
        // room it keeps.
        let entry: extern "C" fn(usize) -> u64 = unsafe { core::mem::transmute(self.entry) };
        Some(entry(ctx))
    }
}

/// What a [`Base`] is made from.
pub(crate) struct BaseSpec {
    pub(crate) ty: u32,
    pub(crate) gpl: bool,
    pub(crate) xdp_frags: bool,
    /// Of a program that is interpreted: what arrays of programs have for it.
    pub(crate) word: u64,
}

/// The only owner of a program's [`Base`].
///
/// # Invariants
///
/// Points to a `Base`, in a room whose count has one for it, or on the heap.
pub(crate) struct Fixed(core::ptr::NonNull<Base>);

// SAFETY: what it points to is never written, and its owner is not bound to a thread.
unsafe impl Send for Fixed {}
// SAFETY: as above.
unsafe impl Sync for Fixed {}

impl Fixed {
    /// Places the base of a program with that machine code, or without. Where no executable memory
    /// can be had it is on the heap, and could be written.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EIO`
    pub(crate) fn new(text: Option<&Text>, spec: &BaseSpec) -> Result<Self> {
        let bit = |on: bool, flag: u32| if on { flag } else { 0 };
        let base = Base {
            entry: text.map_or(0, |text| text.entry),
            tail_entry: text.map_or(spec.word, |text| text.tail_entry as u64),
            room: core::ptr::null(),
            ty: spec.ty,
            flags: bit(text.is_some(), flag::JITED)
                | bit(spec.gpl, flag::GPL)
                | bit(spec.xdp_frags, flag::XDP_FRAGS),
        };
        let room = match text {
            Some(text) => text.room.clone(),
            None if exec::available() => Arc::new(Room::take(HEAD)?, GFP_KERNEL_ACCOUNT)?,
            None => {
                // INVARIANT: on the heap.
                let base = KBox::leak(KBox::new(base, GFP_KERNEL_ACCOUNT)?);
                return Ok(Fixed(core::ptr::NonNull::from(base)));
            }
        };
        let off = HEAD.wrapping_sub(size_of::<Base>());
        let addr = room.address().wrapping_add(off) as *mut Base;
        let base = Base {
            room: Arc::as_ptr(&room),
            ..base
        };
        // SAFETY: a `Base` has no padding, so all of its bytes are initialised.
        let bytes = unsafe {
            core::slice::from_raw_parts(core::ptr::from_ref(&base).cast::<u8>(), size_of::<Base>())
        };
        room.write(off, bytes)?;
        let _ = Arc::into_raw(room);
        // INVARIANT: written just now; the count is the one that was not given back.
        core::ptr::NonNull::new(addr).map(Fixed).ok_or(ENOMEM)
    }

    /// Tries to write to it, and to memory beside it that can be written: the errors, if any.
    pub(crate) fn try_writing(&self) -> (Result, Result) {
        let mut heap = 0u64;
        let try_at = |addr: *mut c_void| {
            // SAFETY: the copy survives addresses that cannot be written; the byte is what is there.
            kernel::error::to_result(unsafe { oxbpf_try_writing(addr) })
        };
        (
            try_at(self.0.as_ptr().cast()),
            try_at(core::ptr::from_mut(&mut heap).cast()),
        )
    }
}

extern "C" {
    fn oxbpf_try_writing(addr: *mut c_void) -> c_int;
}

impl core::ops::Deref for Fixed {
    type Target = Base;

    #[inline(always)]
    fn deref(&self) -> &Base {
        // SAFETY: by the invariant.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        if self.room.is_null() {
            // SAFETY: by the invariant it is on the heap, where `new` leaked it.
            drop(unsafe { KBox::from_raw(self.0.as_ptr()) });
        } else {
            // SAFETY: by the invariant the count is ours to give back.
            drop(unsafe { Arc::from_raw(self.room) });
        }
    }
}
