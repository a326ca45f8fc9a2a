// SPDX-License-Identifier: GPL-2.0

//! Running verified programs.

use super::context::RunGuard;
use crate::object::MapObject;
use crate::sys::exec::Room;
use crate::sys::shared::Shared;
use crate::verifier::VerifiedProg;
use kernel::prelude::*;

/// One function of a program in its machine code.
pub(crate) struct Function {
    /// Byte in the image.
    pub(crate) start: u32,
    /// Bytes.
    pub(crate) len: u32,
}

/// Machine code in executable memory.
pub(crate) struct Image {
    room: Room,
}

impl Image {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.room.bytes()
    }

    /// Address of byte `off`.
    pub(crate) fn address(&self, off: u32) -> usize {
        self.room.address().wrapping_add(off as usize)
    }
}

/// What runs a program.
pub(crate) struct Engine {
    image: Option<Image>,
    functions: KVec<Function>,
}

impl Engine {
    /// Compiles the program, or prepares to interpret it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOTSUPP` when it must be compiled and cannot.
    pub(crate) fn new(_verified: VerifiedProg, _maps: &[Shared<MapObject>]) -> Result<Self> {
        Err(ENOTSUPP)
    }

    /// Runs the program on the context at `ctx`.
    pub(crate) fn run(&self, _guard: &RunGuard, _ctx: usize) -> u64 {
        0
    }

    /// The machine code, if it was compiled.
    pub(crate) fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    /// Its functions, if it was compiled.
    pub(crate) fn functions(&self) -> &[Function] {
        &self.functions
    }
}
