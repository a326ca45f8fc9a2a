// SPDX-License-Identifier: GPL-2.0

//! What a register, or a spilled register, holds: nothing, a number or a pointer.

use crate::ctx::Sock;
use crate::isa::{AluOp, Reg, Width};
use crate::verifier::domain::scalar::Scalar;
use crate::verifier::precision::Node;
use core::ops::{Index, IndexMut};

/// How a linked number differs from the others of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delta {
    /// Not at all.
    None,
    /// A constant was added in 32 bits, the upper half cleared.
    Add32(i32),
    /// A constant was added in 64 bits.
    Add64(i32),
}

/// Which other numbers a number is known to be equal to (up to a constant).
///
/// Numbers of the same id, other than 0, hold the same base value; what a branch learns of one is
/// then known of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// The family, 0 for none.
    pub(crate) id: u32,
    /// This member's distance from the family's base value.
    pub(crate) delta: Delta,
}

impl Link {
    /// Not linked.
    pub(crate) const NONE: Link = Link {
        id: 0,
        delta: Delta::None,
    };
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Num {
    /// The values it may have.
    pub(crate) v: Scalar,
    /// Its equals.
    pub(crate) link: Link,
    /// What it was computed from; see [`crate::verifier::precision`].
    pub(crate) node: Node,
}

impl Num {
    /// A number that was computed from nothing that a checkpoint holds.
    pub(crate) fn fresh(v: Scalar) -> Num {
        Num {
            v,
            link: Link::NONE,
            node: Node::NONE,
        }
    }

    /// The number is zero.
    pub(crate) fn is_zero(&self) -> bool {
        self.v.is_const() == Some(0)
    }

    /// The upper 32 bits are zero.
    pub(crate) fn fits_u32(&self) -> bool {
        self.v.umax() <= u64::from(u32::MAX)
    }
}

/// What a comparison of a packet pointer with the packet's end taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// Nothing.
    Unknown,
    /// The packet reaches at least this far beyond the pointer's variable part.
    Bytes(i32),
    /// The pointer is at the end or beyond it.
    AtEnd,
    /// The pointer is beyond the end by at least one byte.
    BeyondEnd,
}

/// Bit of a map's index: not the used map of that index is meant, but one that was found in it.
///
/// Which one is not known. All that may ever be found there have the facts of the outer map's
/// template, so these are what is known of the map, and no address and no content is: what says
/// something about a used map itself must not be asked with this bit.
pub(crate) const FOUND_IN: u16 = 1 << 15;
const _: () = assert!(crate::abi::MAX_USED_MAPS <= FOUND_IN as usize);

/// What a pointer points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// The program's context.
    Ctx,
    /// The stack of call frame `frame`, offset 0 being its top.
    Stack {
        /// Depth of the frame, 0 for the main program.
        frame: u8,
    },
    /// A map itself.
    ConstMap {
        /// Index in the used maps, perhaps with [`FOUND_IN`].
        map: u16,
    },
    /// What was looked up in a map of maps: a map, or NULL.
    MapOrNull {
        /// Index of the outer map.
        outer: u16,
    },
    /// A value of a map.
    MapValue {
        /// Index in the used maps, perhaps with [`FOUND_IN`].
        map: u16,
        /// It may be NULL.
        or_null: bool,
    },
    /// Memory in a ring buffer, to be given back.
    RingMem {
        /// Bytes.
        size: u32,
        /// It may be NULL.
        or_null: bool,
    },
    /// Memory that a global function is passed.
    Mem {
        /// Bytes.
        size: u32,
        /// It may be NULL.
        or_null: bool,
    },
    /// A socket.
    Sock {
        /// What is known of it.
        sock: Sock,
        /// It may be NULL.
        or_null: bool,
    },
    /// A key of a map, for a callback.
    MapKey {
        /// Index in the used maps, perhaps with [`FOUND_IN`].
        map: u16,
    },
    /// A subprogram.
    Func {
        /// Its first slot.
        start: u32,
    },
    /// Packet data.
    Packet(Range),
    /// Packet metadata, which end where the packet data start.
    PacketMeta(Range),
    /// The end of the packet data.
    PacketEnd,
}

impl Base {
    /// A pointer into the packet that can be dereferenced after a comparison.
    pub(crate) fn is_packet(&self) -> bool {
        matches!(self, Base::Packet(_) | Base::PacketMeta(_))
    }

    /// A pointer into, or to the end of, the packet.
    pub(crate) fn is_packet_any(&self) -> bool {
        self.is_packet() || matches!(self, Base::PacketEnd)
    }

    /// The pointer may be NULL.
    pub(crate) fn or_null(&self) -> bool {
        matches!(
            self,
            Base::MapValue { or_null: true, .. }
                | Base::RingMem { or_null: true, .. }
                | Base::Mem { or_null: true, .. }
                | Base::Sock { or_null: true, .. }
                | Base::MapOrNull { .. }
        )
    }

    /// It is known by now that the pointer is not NULL.
    pub(crate) fn set_not_null(&mut self) {
        match self {
            Base::MapValue { or_null, .. }
            | Base::RingMem { or_null, .. }
            | Base::Mem { or_null, .. }
            | Base::Sock { or_null, .. } => *or_null = false,
            Base::MapOrNull { outer } => {
                *self = Base::ConstMap {
                    map: *outer | FOUND_IN,
                }
            }
            _ => {}
        }
    }

    /// The log's word for it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Base::Ctx => "ctx",
            Base::Stack { .. } => "fp",
            Base::ConstMap { .. } => "map_ptr",
            Base::MapValue { or_null: false, .. } => "map_value",
            Base::MapValue { or_null: true, .. } | Base::MapOrNull { .. } => "map_value_or_null",
            Base::RingMem { or_null: false, .. } => "ringbuf_mem",
            Base::RingMem { or_null: true, .. } => "ringbuf_mem_or_null",
            Base::Mem { or_null: false, .. } => "mem",
            Base::Mem { or_null: true, .. } => "mem_or_null",
            Base::Sock { sock, or_null } => match (sock, or_null) {
                (Sock::Common, false) => "sock_common",
                (Sock::Common, true) => "sock_common_or_null",
                (Sock::Full, false) => "sock",
                (Sock::Full, true) => "sock_or_null",
                (Sock::Tcp, false) => "tcp_sock",
                (Sock::Tcp, true) => "tcp_sock_or_null",
            },
            Base::MapKey { .. } => "map_key",
            Base::Func { .. } => "func",
            Base::Packet(_) => "pkt",
            Base::PacketMeta(_) => "pkt_meta",
            Base::PacketEnd => "pkt_end",
        }
    }
}

/// A pointer: `base + fixed + var`.
///
/// Constants go to `fixed`, so pointers of one `id` share the very same variable part and differ
/// by the difference of their fixed parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ptr {
    /// What it points into.
    pub(crate) base: Base,
    /// Identity: of the nullable pointer it is a copy of, or of the variable part of a packet
    /// pointer; 0 for none.
    pub(crate) id: u32,
    /// Constant part of the offset; within `MAX_VAR_OFF` either way.
    pub(crate) fixed: i64,
    /// Variable part of the offset; constant 0 when there is none.
    pub(crate) var: Scalar,
}

impl Ptr {
    /// A pointer to the start of `base`.
    pub(crate) fn new(base: Base) -> Ptr {
        Ptr {
            base,
            id: 0,
            fixed: 0,
            var: Scalar::constant(0),
        }
    }

    /// The whole offset.
    pub(crate) fn offset(&self) -> Scalar {
        self.offset_plus(0)
    }

    /// The whole offset and `more`.
    pub(crate) fn offset_plus(&self, more: i64) -> Scalar {
        let fixed = self.fixed.wrapping_add(more);
        match self.var.is_const() {
            Some(c) => Scalar::constant(c.wrapping_add(fixed as u64)),
            None if fixed == 0 => self.var,
            None => Scalar::alu(
                AluOp::Add,
                Width::W64,
                &self.var,
                &Scalar::constant(fixed as u64),
            ),
        }
    }

    /// The offset when it has no variable part.
    pub(crate) fn const_offset(&self) -> Option<i64> {
        self.var
            .is_const()
            .map(|c| self.fixed.wrapping_add(c as i64))
    }
}

/// What a register or a spilled register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Val {
    /// Nothing that may be read.
    NotInit,
    /// A number.
    Scalar(Num),
    /// A pointer.
    Ptr(Ptr),
}

impl Val {
    /// The log's word for it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Val::NotInit => "?",
            Val::Scalar(_) => "scalar",
            Val::Ptr(p) => p.base.name(),
        }
    }

    /// A number of any value, computed from nothing that a checkpoint holds.
    pub(crate) fn unknown() -> Val {
        Val::Scalar(Num::fresh(Scalar::unknown()))
    }

    /// The constant `c`.
    pub(crate) fn constant(c: u64) -> Val {
        Val::Scalar(Num::fresh(Scalar::constant(c)))
    }

    /// The number, if it is one.
    pub(crate) fn num(&self) -> Option<&Num> {
        match self {
            Val::Scalar(n) => Some(n),
            Val::NotInit | Val::Ptr(_) => None,
        }
    }

    /// The pointer and the map, if it is certainly one into a map's value.
    pub(crate) fn map_value(&self) -> Option<(&Ptr, u16)> {
        match self {
            Val::Ptr(p) => match p.base {
                Base::MapValue {
                    map,
                    or_null: false,
                } => Some((p, map)),
                _ => None,
            },
            Val::Scalar(_) | Val::NotInit => None,
        }
    }

    /// The number zero.
    pub(crate) fn is_zero(&self) -> bool {
        self.num().is_some_and(Num::is_zero)
    }
}

/// The registers of one call frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Regs([Val; 11]);

impl Regs {
    /// None initialised.
    pub(crate) const fn new() -> Regs {
        Regs([Val::NotInit; 11])
    }

    /// All, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Reg, &Val)> {
        Reg::ALL.into_iter().zip(self.0.iter())
    }

    /// All, in order.
    pub(crate) fn values_mut(&mut self) -> core::slice::IterMut<'_, Val> {
        self.0.iter_mut()
    }
}

impl Index<Reg> for Regs {
    type Output = Val;
    fn index(&self, r: Reg) -> &Val {
        &self.0[r.index()]
    }
}

impl IndexMut<Reg> for Regs {
    fn index_mut(&mut self, r: Reg) -> &mut Val {
        &mut self.0[r.index()]
    }
}
