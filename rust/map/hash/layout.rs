// SPDX-License-Identifier: GPL-2.0

//! What the JIT must know to look for a key without a call.
//!
//! It does what [`Table::find_addr`](super::table::Table::find_addr) does for a key of one word, and
//! calls where that goes on to a longer look.

use super::bucket::{Bucket, SLOTS};
use super::recency::Recency;
use super::table::Constants;
use super::values::Values;
use super::Hash;
use crate::map::array::ArrayLayout;
use crate::map::words::WORD;
use core::mem::{offset_of, size_of};

/// Where a hash map's parts are. `jit::HashTarget` says what is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLayout {
    /// Address of the seven words of the table's constants.
    pub constants: usize,
    /// Which bits of a number are the distance of a bucket from the first one.
    pub bucket_mask: u32,
    /// Bytes of a key: 4 or 8.
    pub key_size: u32,
    /// Bytes from one element to the next.
    pub stride: u32,
    /// Bytes from an element, whose first word is the key, to its value.
    pub value_at: u32,
    /// Where in an element is a word that a look-up sets to the second number if it is the first.
    pub mark: Option<(u32, i8, i8)>,
    /// The values, if each CPU has its own: as of an array, by element.
    pub per_cpu: Option<ArrayLayout>,
}

// What the code that the JIT makes has as numbers.
const _: () = assert!(
    offset_of!(Bucket, tags) == 0
        && offset_of!(Bucket, slots) == 8
        && offset_of!(Bucket, chain) == 40
        && size_of::<Bucket>() == 64
        && SLOTS == 8
        && size_of::<Constants>() == 7 * WORD
);

impl<V: Values, R: Recency> Hash<V, R> {
    /// Where the parts are; none where keys are not one word, or something is too large.
    pub(in crate::map) fn layout(&self) -> Option<HashLayout> {
        let table = &self.table;
        let key_size = match table.key_size() {
            4 => 4,
            8 => 8,
            _ => return None,
        };
        let bytes = |words: usize| {
            let n = u32::try_from(words.checked_mul(WORD)?).ok()?;
            i32::try_from(n).is_ok().then_some(n)
        };
        let (bucket_mask, stride, value_at) = table.shape();
        Some(HashLayout {
            constants: core::ptr::from_ref(&table.constants) as usize,
            bucket_mask: u32::try_from(bucket_mask).ok()?,
            key_size,
            stride: bytes(stride)?,
            value_at: bytes(value_at)?,
            // Behind the key, which is one word.
            mark: R::MARK.map(|(from, to)| (8, from, to)),
            per_cpu: match V::IN_ELEMENT {
                true => None,
                false => Some(self.values.layout()?),
            },
        })
    }
}
