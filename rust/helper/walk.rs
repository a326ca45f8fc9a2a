// SPDX-License-Identifier: GPL-2.0

//! Walking over a map's elements: what `bpf_for_each_map_elem` is made of.
//!
//! The call becomes a loop of instructions around the callback. What the loop itself cannot do, to find
//! the next element, is a helper of the module's own ([`MAP_NEXT`]), which no program can name: its
//! number is negative and has no row. Between its calls it keeps what it must know in the
//! program's stack, where the verifier lets nothing else reach.

use core::mem::offset_of;

/// `map_next(map, walk) -> 1, or 0 after the last element`: puts the next element into the walk.
pub const MAP_NEXT: i32 = -1;

/// A walk over a map's elements; all zero where it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Walk {
    /// Where it goes on; an array's index, which the key of its element points to.
    pub cursor: u64,
    /// Elements so far.
    pub count: u64,
    /// Address of the element's key.
    pub key: u64,
    /// Address of its value.
    pub value: u64,
}

impl Walk {
    /// Bytes of it.
    pub const SIZE: i16 = size_of::<Walk>() as i16;
    /// Where `cursor` is.
    pub const CURSOR: i16 = offset_of!(Walk, cursor) as i16;
    /// Where `count` is.
    pub const COUNT: i16 = offset_of!(Walk, count) as i16;
    /// Where `key` is.
    pub const KEY: i16 = offset_of!(Walk, key) as i16;
    /// Where `value` is.
    pub const VALUE: i16 = offset_of!(Walk, value) as i16;
}
