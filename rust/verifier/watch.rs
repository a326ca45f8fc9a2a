// SPDX-License-Identifier: GPL-2.0

//! Lets tests see what exploration believes, to compare it with what runs do.

use super::domain::scalar::Scalar;
use super::explore::Verifier;
use super::log::Log;
use super::state::reg::{Base, Val, FOUND_IN};
use super::{Env, Options, VerifiedProg};
use crate::isa::RawInsn;
use core::fmt;
use kernel::prelude::*;

/// What a pointer points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The context.
    Ctx,
    /// The stack of call frame `frame`; offset 0 is its top.
    Stack {
        /// Depth of the frame, 0 for the main program.
        frame: usize,
    },
    /// A map itself.
    Map,
    /// A value of a map.
    MapValue {
        /// Index in the used maps.
        map: usize,
        /// Not of that map, but of one that is in it.
        inner: bool,
        /// It may be NULL.
        or_null: bool,
    },
    /// Memory in a ring buffer.
    RingMem {
        /// Bytes.
        size: u32,
        /// It may be NULL.
        or_null: bool,
    },
    /// Memory that a global function is passed; offset 0 is its first byte.
    Mem {
        /// It may be NULL.
        or_null: bool,
    },
    /// A socket.
    Sock {
        /// It may be NULL.
        or_null: bool,
    },
    /// A key of a map.
    MapKey {
        /// Index in the used maps.
        map: usize,
    },
    /// A subprogram.
    Func,
    /// The packet; offset 0 is its first byte.
    Packet,
    /// The packet's metadata.
    PacketMeta,
    /// The end of the packet.
    PacketEnd,
}

/// What a register is believed to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing that anyone reads.
    NotInit,
    /// A number of that set.
    Number(Scalar),
    /// A pointer.
    Pointer {
        /// What it points into.
        place: Place,
        /// How far from the start.
        offset: Scalar,
    },
}

impl Seen {
    fn of(v: &Val) -> Seen {
        let p = match v {
            Val::NotInit => return Seen::NotInit,
            Val::Scalar(n) => return Seen::Number(n.v),
            Val::Ptr(p) => p,
        };
        let place = match p.base {
            Base::Ctx => Place::Ctx,
            Base::Stack { frame } => Place::Stack {
                frame: frame.into(),
            },
            Base::ConstMap { .. } | Base::MapOrNull { .. } => Place::Map,
            Base::MapValue { map, or_null } => Place::MapValue {
                map: (map & !FOUND_IN).into(),
                inner: map & FOUND_IN != 0,
                or_null,
            },
            Base::RingMem { size, or_null } => Place::RingMem { size, or_null },
            Base::Mem { or_null, .. } => Place::Mem { or_null },
            Base::Sock { or_null, .. } => Place::Sock { or_null },
            Base::MapKey { map } => Place::MapKey { map: map.into() },
            Base::Func { .. } => Place::Func,
            Base::Packet(_) => Place::Packet,
            Base::PacketMeta(_) => Place::PacketMeta,
            Base::PacketEnd => Place::PacketEnd,
        };
        Seen::Pointer {
            place,
            offset: p.offset(),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seen::NotInit => f.write_str("?"),
            Seen::Number(v) => write!(f, "{v}"),
            Seen::Pointer { place, offset } => write!(f, "{place:?}+{offset}"),
        }
    }
}

/// Who watches.
pub trait Watcher {
    /// The instruction at slot `at` is about to be simulated, in a call frame of that depth.
    fn visited(&mut self, at: u32, depth: usize, regs: &[Seen; 11]);

    /// Rewriting moved slot `i` to slot `moved[i]`. A slot that became nothing has the same place
    /// as the next one.
    fn moved(&mut self, moved: &[u32]);
}

/// [`super::verify`] with a watcher.
///
/// States are compared as if all numbers were precise, so that each run stays in the states that
/// were visited. That takes more of them: a program that `verify` accepts may be too large here.
///
/// # Errors
///
/// Those of `verify`.
pub fn verify_watched(
    raw: &[RawInsn],
    options: &Options,
    env: &mut dyn Env,
    log: &mut Log,
    watcher: &mut dyn Watcher,
) -> Result<VerifiedProg> {
    super::verify_with(raw, options, env, log, Some(watcher))
}

impl Verifier<'_> {
    /// Tells the watcher, if there is one.
    #[inline]
    pub(super) fn show_watcher(&mut self) {
        if self.watcher.is_some() {
            self.show_state();
        }
    }

    #[cold]
    fn show_state(&mut self) {
        let mut regs = [Seen::NotInit; 11];
        for (seen, (_, v)) in regs.iter_mut().zip(self.cur.top.regs.iter()) {
            *seen = Seen::of(v);
        }
        let depth = self.cur.depth();
        if let Some(w) = &mut self.watcher {
            w.visited(self.at, depth, &regs);
        }
    }
}
