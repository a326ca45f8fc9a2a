// SPDX-License-Identifier: GPL-2.0

//! Arrays of programs, for tail calls.

use super::Prog;
use crate::abi::ProgType;
use crate::map::FdArray;
use crate::object::slots::{Held, Slots};
use crate::sys::shared::Shared;
use kernel::prelude::*;

impl Held for Shared<Prog> {
    fn word(&self) -> u64 {
        self.engine.word()
    }

    fn number(&self) -> u32 {
        self.id()
    }
}

/// What the programs of an array have in common with those that use it: then each of them can go on
/// in each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    ty: ProgType,
    /// Machine code cannot go on in the interpreter, nor it in machine code.
    jited: bool,
    xdp_frags: bool,
    expected_attach_type: u32,
}

impl Owner {
    fn of(prog: &Prog) -> Self {
        let aux = prog.aux();
        Owner {
            ty: aux.ty,
            jited: prog.compiled().is_some(),
            xdp_frags: aux.xdp_frags,
            expected_attach_type: aux.expected_attach_type,
        }
    }
}

/// What an array of programs knows besides them.
struct Extra {
    /// Set by the first program that uses the array or is put into it.
    owner: Option<Owner>,
}

/// The programs of a map of type PROG_ARRAY.
pub(crate) struct ProgArray(Pin<KBox<Slots<Shared<Prog>, Extra>>>);

impl ProgArray {
    /// No programs in `entries` slots.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn new(entries: u32) -> Result<Self> {
        Ok(ProgArray(Slots::new(entries, Extra { owner: None })?))
    }

    /// Makes sure that `prog` may use the array, or be in it.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it differs from those that do.
    pub(super) fn admit(&self, prog: &Prog) -> Result {
        let owner = Owner::of(prog);
        match self.0.with(|extra| *extra.owner.get_or_insert(owner)) == owner {
            true => Ok(()),
            false => Err(EINVAL),
        }
    }

    /// The number of the program at `index`.
    ///
    /// # Errors
    ///
    /// `ENOENT`
    pub(crate) fn number(&self, index: u32) -> Result<u32> {
        self.0.number(index)
    }

    /// Puts `prog` at `index` of `array`, the map's words.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it is not of the array's kind; `E2BIG` past the end.
    pub(crate) fn update(&self, array: &FdArray, index: u32, prog: Shared<Prog>) -> Result {
        self.admit(&prog)?;
        self.0.replace(array, index, Some(prog), |_, _| {})?;
        Ok(())
    }

    /// Takes the program at `index` out.
    ///
    /// # Errors
    ///
    /// `E2BIG` past the end; `ENOENT` when there is none.
    pub(crate) fn delete(&self, array: &FdArray, index: u32) -> Result {
        match self.0.replace(array, index, None, |_, _| {})? {
            Some(_) => Ok(()),
            None => Err(ENOENT),
        }
    }

    /// Takes all programs out. May sleep.
    pub(crate) fn clear(&self, array: &FdArray) {
        for index in 0..array.entries() {
            if array.get(index) != 0 {
                let _ = self.delete(array, index);
            }
            if index % 1024 == 1023 {
                crate::sys::context::breathe();
            }
        }
    }
}
