// SPDX-License-Identifier: GPL-2.0

//! What a program was given and must give back: memory reserved in ring buffers, and a lock.
//!
//! A reference is known by the identity of the pointer that the helper returned, which all copies
//! of the pointer share. As long as the pointer may be NULL the reference may be none; a branch that
//! finds NULL drops it. Giving it back ends it, and every pointer of the identity with it. No
//! program may end while it holds one.

use kernel::prelude::*;

/// One thing to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ref {
    /// Identity of the pointers to it.
    pub(crate) id: u32,
    /// Slot of the call that gave it.
    pub(crate) at: u32,
}

/// The spin lock that is held. A program holds one at most.
///
/// Which value's lock it is, is known by the identity of the pointer to the value: each look-up's is
/// another one, and only a map's value that is taken directly, which is the map's only one, has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// Identity of the pointers to the value.
    pub(crate) id: u32,
    /// Its map, as in pointers.
    pub(crate) map: u16,
}

/// All of them, in the order in which they were given.
#[derive(Debug, Default)]
pub(crate) struct Refs(KVec<Ref>);

impl Refs {
    /// One more.
    pub(crate) fn acquire(&mut self, id: u32, at: u32) -> Result {
        Ok(self.0.push(Ref { id, at }, GFP_KERNEL)?)
    }

    /// Gives `id` back; false when there is no such reference.
    pub(crate) fn release(&mut self, id: u32) -> bool {
        let before = self.0.len();
        self.0.retain(|r| r.id != id);
        self.0.len() < before
    }

    /// Whether `id` is held.
    pub(crate) fn holds(&self, id: u32) -> bool {
        self.0.iter().any(|r| r.id == id)
    }

    /// What is held.
    pub(crate) fn list(&self) -> &[Ref] {
        &self.0
    }

    /// A copy.
    pub(crate) fn copy(&self) -> Result<Refs> {
        let mut new = KVec::new();
        new.extend_from_slice(&self.0, GFP_KERNEL)?;
        Ok(Refs(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_back_once() {
        let mut refs = Refs::default();
        refs.acquire(3, 10).unwrap();
        refs.acquire(5, 20).unwrap();
        assert!(refs.holds(3) && !refs.holds(4));
        assert!(refs.release(3));
        assert!(!refs.release(3));
        assert_eq!(refs.copy().unwrap().list(), [Ref { id: 5, at: 20 }]);
    }
}
