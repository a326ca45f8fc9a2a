// SPDX-License-Identifier: GPL-2.0

//! The stack of one call frame, byte by byte in slots of eight.

use super::reg::Val;
use kernel::prelude::*;

/// Bytes of a slot.
pub(crate) const SLOT: i64 = 8;

/// What one byte of the stack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Byte {
    /// Never written.
    Invalid,
    /// Any data.
    Misc,
    /// Zero.
    Zero,
    /// Part of the register spilled in the slot.
    Spill,
    /// Data that liveness said nobody reads; reading it is an error of the verifier.
    Poison,
}

impl Byte {
    /// The log's character for it.
    pub(crate) fn letter(self) -> char {
        match self {
            Byte::Invalid => '?',
            Byte::Misc => 'm',
            Byte::Zero => '0',
            Byte::Spill => 'r',
            Byte::Poison => 'p',
        }
    }

    /// Nothing of use is there.
    pub(crate) fn is_empty(self) -> bool {
        matches!(self, Byte::Invalid | Byte::Poison)
    }
}

/// Eight bytes of stack.
///
/// # Invariants
///
/// The bytes that are `Spill` are the lowest ones of the slot, and `val` is not `NotInit` when
/// there is one. A spill of less than 8 bytes is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// By address: `bytes[0]` is the lowest.
    pub(crate) bytes: [Byte; 8],
    /// The spilled register.
    pub(crate) val: Val,
}

impl Slot {
    /// Never written.
    pub(crate) const EMPTY: Slot = Slot {
        bytes: [Byte::Invalid; 8],
        val: Val::NotInit,
    };

    /// How many bytes the spilled register has there, 0 when there is none.
    pub(crate) fn spill_size(&self) -> usize {
        self.bytes
            .iter()
            .take_while(|b| matches!(b, Byte::Spill))
            .count()
    }

    /// There is a spilled register.
    pub(crate) fn is_spill(&self) -> bool {
        matches!(self.bytes[0], Byte::Spill)
    }

    /// The spilled register, if there is one.
    pub(crate) fn spilled(&self) -> Option<&Val> {
        if self.is_spill() {
            Some(&self.val)
        } else {
            None
        }
    }

    /// Forgets the spilled register; its bytes become any data.
    pub(crate) fn scrub(&mut self) {
        for b in &mut self.bytes {
            if matches!(b, Byte::Spill) {
                *b = Byte::Misc;
            }
        }
        self.val = Val::NotInit;
    }

    /// Forgets the spilled register, whose value is nothing any more. Its bytes become any data for
    /// who may see pointers as numbers, and for others unreadable: the bits are still there.
    pub(crate) fn invalidate(&mut self, allow_ptr_leaks: bool) {
        if !allow_ptr_leaks {
            for b in &mut self.bytes {
                if matches!(b, Byte::Spill) {
                    *b = Byte::Invalid;
                }
            }
        }
        self.scrub();
    }
}

/// The slots of one call frame.
#[derive(Debug)]
pub(crate) struct Stack {
    slots: KVec<Slot>,
}

/// Slot number of the byte at `off` (-512 to -1) from the frame's top.
pub(crate) fn slot_of(off: i64) -> usize {
    usize::try_from((-1i64).wrapping_sub(off) / SLOT).unwrap_or(usize::MAX)
}

/// Index in its slot of the byte at `off`.
pub(crate) fn byte_of(off: i64) -> usize {
    usize::try_from(off.rem_euclid(SLOT)).unwrap_or(0)
}

impl Stack {
    /// Without slots.
    pub(crate) const fn new() -> Stack {
        Stack { slots: KVec::new() }
    }

    /// The slots, from the top of the frame down.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slots, from the top of the frame down.
    pub(crate) fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// Makes slots down to byte `off`.
    pub(crate) fn grow(&mut self, off: i64) -> Result {
        let want = slot_of(off).saturating_add(1);
        if want > 64 {
            return Err(EFAULT);
        }
        while self.slots.len() < want {
            self.slots.push(Slot::EMPTY, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// The byte at `off`.
    pub(crate) fn byte(&self, off: i64) -> Byte {
        self.slots
            .get(slot_of(off))
            .and_then(|s| s.bytes.get(byte_of(off)))
            .copied()
            .unwrap_or(Byte::Invalid)
    }

    /// The slot of the byte at `off`.
    pub(crate) fn slot(&self, off: i64) -> Slot {
        self.slots.get(slot_of(off)).copied().unwrap_or(Slot::EMPTY)
    }

    /// The slot of the byte at `off`.
    pub(crate) fn slot_mut(&mut self, off: i64) -> Option<&mut Slot> {
        self.slots.get_mut(slot_of(off))
    }

    /// Takes over the content of `other`, reusing this one's memory.
    pub(crate) fn copy_from(&mut self, other: &Stack) -> Result {
        self.slots.clear();
        self.slots.extend_from_slice(&other.slots, GFP_KERNEL)?;
        Ok(())
    }

    /// Forgets all slots.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbering() {
        assert_eq!(slot_of(-1), 0);
        assert_eq!(slot_of(-8), 0);
        assert_eq!(slot_of(-9), 1);
        assert_eq!(slot_of(-512), 63);
        assert_eq!(byte_of(-8), 0);
        assert_eq!(byte_of(-1), 7);
        assert_eq!(byte_of(-16), 0);
    }
}
