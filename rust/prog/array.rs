// SPDX-License-Identifier: GPL-2.0

//! Arrays of programs, for tail calls.

use super::Prog;
use crate::abi::ProgType;
use crate::map::FdArray;
use crate::object::slots::{Held, Slots};
use crate::sys::shared::Shared;
use crate::sys::text::Patch;
use kernel::prelude::*;

impl Held for Shared<Prog> {
    fn word(&self) -> u64 {
        self.base().word()
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
            jited: prog.base().jited(),
            xdp_frags: prog.base().xdp_frags(),
            expected_attach_type: aux.expected_attach_type,
        }
    }
}

/// What an array of programs knows besides them.
struct Extra {
    /// Set by the first program that uses the array or is put into it.
    owner: Option<Owner>,
    /// Tail calls through the array that are jumps, with the number of the program they are in.
    jumps: KVec<(usize, Patch)>,
}

impl Extra {
    /// The word at `index` is now `word`.
    fn point(&mut self, index: u32, word: u64) {
        for (_, patch) in self.jumps.iter().filter(|(_, p)| p.site().index == index) {
            if let Err(e) = patch.point((word != 0).then_some(word)) {
                pr_err!("a tail call cannot be patched: error {}\n", e.to_errno());
            }
        }
    }
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
        Ok(ProgArray(Slots::new(
            entries,
            Extra {
                owner: None,
                jumps: KVec::new(),
            },
        )?))
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

    /// Takes over a tail call through the array that is a jump, of program `owner`: from now on it
    /// leads where the array, whose words are `words`, says.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn track(&self, words: &FdArray, owner: usize, patch: Patch) -> Result {
        self.0.with(|extra| {
            let word = words.get(patch.site().index);
            if word != 0 {
                patch.point(Some(word))?;
            }
            Ok(extra.jumps.push((owner, patch), GFP_KERNEL_ACCOUNT)?)
        })
    }

    /// Forgets the jumps of program `owner`.
    pub(super) fn forget(&self, owner: usize) {
        self.0
            .with(|extra| extra.jumps.retain(|(of, _)| *of != owner));
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
        self.0.replace(array, index, Some(prog), |extra, word| {
            extra.point(index, word)
        })?;
        Ok(())
    }

    /// Takes the program at `index` out.
    ///
    /// # Errors
    ///
    /// `E2BIG` past the end; `ENOENT` when there is none.
    pub(crate) fn delete(&self, array: &FdArray, index: u32) -> Result {
        match self
            .0
            .replace(array, index, None, |extra, word| extra.point(index, word))?
        {
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
