// SPDX-License-Identifier: GPL-2.0

//! Collects code with jumps left open, then chooses each jump's size and lays the code out.
//!
//! While code is emitted a jump takes no bytes: a position is the number of bytes plus the number
//! of jumps before it ([`Pos`]). [`Buffer::finish`] starts with every jump as short as possible and
//! lengthens those that do not reach until all do. Lengthening one never lets another become
//! shorter, so this ends, with the smallest code.

use super::encode::{Encoded, ROOM};
use super::reg::Cc;
use kernel::prelude::*;

/// A place in code whose jumps have no size yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pos {
    bytes: u32,
    jumps: u32,
}

/// A jump target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Where the code of this slot starts.
    Slot(u32),
    /// A place that [`Buffer::bind`] tells once.
    Other(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `jmp`: 0 (to the next instruction), 2 or 5 bytes.
    Jmp,
    /// `jcc`: 0, 2 or 6 bytes.
    Jcc(Cc),
    /// Four bytes: the distance of the label from their end.
    Rel32,
}

impl Kind {
    /// Bytes of the form that reaches everything.
    fn long(self) -> u8 {
        match self {
            Kind::Jmp => 5,
            Kind::Jcc(_) => 6,
            Kind::Rel32 => 4,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Jump {
    at: u32,
    kind: Kind,
    label: Label,
    size: u8,
}

/// A `rel32` field that is to hold the distance to an absolute address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloc {
    /// Offset of the field's first byte in the image.
    pub at: u32,
    /// What its value leads to.
    pub target: u64,
}

/// Bytes that are zero at first, in blocks: the kernel's vectors fill element by element, which would be
/// six instructions for each byte.
#[derive(Debug, Default)]
struct Blocks(KVVec<[u8; Blocks::SIZE]>);

impl Blocks {
    const SIZE: usize = 64;

    /// Makes it as many bytes long at least.
    fn grow(&mut self, len: usize) -> Result {
        let blocks = len.div_ceil(Self::SIZE);
        if blocks > self.0.len() {
            self.0.resize(blocks, [0; Self::SIZE], GFP_KERNEL)?;
        }
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_slice().as_flattened()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_slice().as_flattened_mut()
    }
}

/// Code in a [`Buffer`] that may be appended once more: without jumps, labels and relocations.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    start: usize,
    len: usize,
}

/// Code under construction.
#[derive(Debug, Default)]
pub struct Buffer {
    /// The code, and behind it room for more.
    bytes: Blocks,
    used: usize,
    jumps: KVVec<Jump>,
    /// Where each slot's code starts; as many as were begun.
    slots: KVVec<Pos>,
    labels: KVVec<Option<Pos>>,
    relocs: KVVec<(Pos, u64)>,
}

/// Code whose layout is fixed: bytes, relocations, and where each [`Pos`] went.
#[derive(Debug)]
pub struct Layout {
    code: Blocks,
    /// Bytes of code.
    len: usize,
    /// Fields that depend on the place of the code.
    pub relocs: KVVec<Reloc>,
    /// Where each slot's code starts.
    slots: KVVec<Pos>,
    /// Bytes of the first `n` jumps, for `n` from 0.
    before: KVVec<u32>,
}

impl Layout {
    /// Machine code; the relocated fields hold zero.
    pub fn bytes(&self) -> &[u8] {
        self.code.bytes().get(..self.len).unwrap_or_default()
    }

    /// Patches the code for running at address `base`.
    ///
    /// # Errors
    ///
    /// `ERANGE` when a target is more than 2 GiB from its use.
    pub fn relocate(&mut self, base: u64) -> Result {
        let bytes = self.code.bytes_mut();
        for reloc in &self.relocs {
            let at = index(reloc.at);
            let end = at.checked_add(4).ok_or(ERANGE)?;
            let next = base.wrapping_add(u64::from(reloc.at)).wrapping_add(4);
            // The distance of two addresses, wrapped into the signed range.
            let distance = i64::from_ne_bytes(reloc.target.wrapping_sub(next).to_ne_bytes());
            let distance = i32::try_from(distance).map_err(|_| ERANGE)?;
            let field = bytes.get_mut(at..end).ok_or(ERANGE)?;
            field.copy_from_slice(&distance.to_le_bytes());
        }
        Ok(())
    }

    /// Where the code of `slot` starts, if there is such a slot.
    pub fn slot(&self, slot: u32) -> Option<u32> {
        let pos = self.slots.get(index(slot))?;
        Some(self.offset(*pos))
    }

    /// Lets the code of `slot` start at `pos`.
    pub fn set_slot(&mut self, slot: u32, pos: Pos) {
        if let Some(place) = self.slots.get_mut(index(slot)) {
            *place = pos;
        }
    }

    /// Offset in the bytes of a place in the buffer.
    pub fn offset(&self, pos: Pos) -> u32 {
        let jumps = self.before.get(index(pos.jumps)).copied().unwrap_or(0);
        pos.bytes.wrapping_add(jumps)
    }
}

impl Buffer {
    /// An empty buffer for the code of so many slots, with so many labels: `Label::Other(0)` and on.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `E2BIG` when there are too many.
    pub fn new(slots: usize, labels: usize) -> Result<Self> {
        let mut buf = Buffer {
            slots: KVVec::with_capacity(slots, GFP_KERNEL)?,
            ..Buffer::default()
        };
        buf.labels.resize(labels, None, GFP_KERNEL)?;
        // What short instructions take.
        let bytes = slots.checked_mul(4).ok_or(E2BIG)?.max(256);
        buf.bytes.grow(bytes)?;
        Ok(buf)
    }

    /// Begins the code of the next slot.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn begin_slot(&mut self) -> Result {
        let here = self.here();
        Ok(self.slots.push(here, GFP_KERNEL)?)
    }

    /// Makes one more label.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn new_label(&mut self) -> Result<Label> {
        let label = Label::Other(u32::try_from(self.labels.len()).map_err(|_| E2BIG)?);
        self.labels.push(None, GFP_KERNEL)?;
        Ok(label)
    }

    /// Binds `label` to the current place.
    pub fn bind(&mut self, label: Label) {
        let here = self.here();
        if let Label::Other(i) = label {
            if let Some(place) = self.labels.get_mut(index(i)) {
                *place = Some(here);
            }
        }
    }

    /// The current place.
    pub fn here(&self) -> Pos {
        Pos {
            // The compiler refuses programs long before 4 GiB of code.
            bytes: u32::try_from(self.used).unwrap_or(u32::MAX),
            jumps: u32::try_from(self.jumps.len()).unwrap_or(u32::MAX),
        }
    }

    /// Makes room for so many bytes behind the code.
    fn make_room(&mut self, len: usize) -> Result {
        let have = self.bytes.bytes().len();
        if have.wrapping_sub(self.used) < len {
            let more = have.max(len).checked_mul(2).ok_or(E2BIG)?;
            self.bytes.grow(more)?;
        }
        Ok(())
    }

    /// Room for one instruction behind the code.
    fn room(&mut self) -> Result<&mut [u8; ROOM]> {
        self.make_room(ROOM)?;
        let room = self.bytes.bytes_mut().get_mut(self.used..);
        room.and_then(|r| r.first_chunk_mut()).ok_or(E2BIG)
    }

    /// Appends up to [`ROOM`] bytes.
    fn put<const N: usize>(&mut self, bytes: &[u8; N]) -> Result {
        let room = self.room()?.first_chunk_mut().ok_or(E2BIG)?;
        *room = *bytes;
        self.used = self.used.wrapping_add(N);
        Ok(())
    }

    /// Appends an instruction.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn emit(&mut self, insn: &Encoded) -> Result {
        let room = self.room()?;
        let len = insn.write(room);
        self.used = self.used.wrapping_add(len);
        Ok(())
    }

    /// The code that was appended since `from`, if it is without jumps.
    pub fn since(&self, from: Pos) -> Option<Piece> {
        let start = index(from.bytes);
        let len = self.used.checked_sub(start)?;
        (from.jumps == self.here().jumps).then_some(Piece { start, len })
    }

    /// Appends a copy of `piece`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `E2BIG`
    pub fn again(&mut self, piece: Piece) -> Result {
        self.make_room(piece.len)?;
        let bytes = self.bytes.bytes_mut();
        let (code, room) = bytes.split_at_mut_checked(self.used).ok_or(E2BIG)?;
        let from = code.get(piece.start..).and_then(|c| c.get(..piece.len));
        let (from, to) = (from.ok_or(EINVAL)?, room.get_mut(..piece.len));
        to.ok_or(E2BIG)?.copy_from_slice(from);
        self.used = self.used.wrapping_add(piece.len);
        Ok(())
    }

    fn push_jump(&mut self, kind: Kind, label: Label) -> Result {
        let at = self.here().bytes;
        Ok(self.jumps.push(
            Jump {
                at,
                kind,
                label,
                size: 0,
            },
            GFP_KERNEL,
        )?)
    }

    /// Appends `jmp label`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn jmp(&mut self, label: Label) -> Result {
        self.push_jump(Kind::Jmp, label)
    }

    /// Appends `jcc label`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn jcc(&mut self, cc: Cc, label: Label) -> Result {
        self.push_jump(Kind::Jcc(cc), label)
    }

    /// Appends `call label`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn call(&mut self, label: Label) -> Result {
        self.put(&[0xe8])?;
        self.rel32(label)
    }

    /// Appends the four-byte distance from its end to `label`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn rel32(&mut self, label: Label) -> Result {
        self.push_jump(Kind::Rel32, label)
    }

    fn absolute(&mut self, opcode: u8, target: u64) -> Result {
        self.put(&[opcode, 0, 0, 0, 0])?;
        let mut field = self.here();
        field.bytes = field.bytes.wrapping_sub(4);
        Ok(self.relocs.push((field, target), GFP_KERNEL)?)
    }

    /// Appends a call of an absolute address.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn call_absolute(&mut self, target: u64) -> Result {
        self.absolute(0xe8, target)
    }

    /// Appends a jump to an absolute address.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn jmp_absolute(&mut self, target: u64) -> Result {
        self.absolute(0xe9, target)
    }

    /// Appends a jump of five bytes that may be changed later, for now to `label` or to the next
    /// instruction; returns where it is.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn jmp_patched(&mut self, label: Option<Label>) -> Result<Pos> {
        let here = self.here();
        self.put(&[0xe9])?;
        match label {
            Some(label) => self.rel32(label)?,
            None => self.put(&[0; 4])?,
        }
        Ok(here)
    }

    /// Chooses the sizes of all jumps; returns their running sums and targets.
    fn relax(&mut self) -> Result<(KVVec<u32>, KVVec<Pos>)> {
        let mut targets = KVVec::with_capacity(self.jumps.len(), GFP_KERNEL)?;
        let mut before = KVVec::with_capacity(self.jumps.len().wrapping_add(1), GFP_KERNEL)?;
        let (mut sum, mut number) = (0u32, 0u32);
        for jump in &mut self.jumps {
            let pos = match jump.label {
                Label::Slot(at) => self.slots.get(index(at)).copied(),
                Label::Other(i) => self.labels.get(index(i)).copied().flatten(),
            };
            let pos = pos.ok_or(EINVAL)?;
            targets.push(pos, GFP_KERNEL)?;
            before.push(sum, GFP_KERNEL)?;
            number = number.wrapping_add(1);
            // The jumps between only add to what is between.
            let far = pos.bytes.abs_diff(jump.at) > 128;
            jump.size = match jump.kind {
                // To the next instruction.
                Kind::Jmp | Kind::Jcc(_) if pos.bytes == jump.at && pos.jumps == number => 0,
                Kind::Jmp | Kind::Jcc(_) if !far => 2,
                kind => kind.long(),
            };
            sum = sum.wrapping_add(u32::from(jump.size));
        }
        before.push(sum, GFP_KERNEL)?;
        loop {
            let mut grown = false;
            for ((jump, pos), sum) in self.jumps.iter_mut().zip(&targets).zip(&before) {
                if jump.size != 2 {
                    continue;
                }
                if i8::try_from(distance(jump, *sum, *pos, &before)).is_err() {
                    jump.size = jump.kind.long();
                    grown = true;
                }
            }
            if !grown {
                return Ok((before, targets));
            }
            let mut sum = 0u32;
            for (jump, before) in self.jumps.iter().zip(before.iter_mut()) {
                *before = sum;
                sum = sum.wrapping_add(u32::from(jump.size));
            }
            if let Some(last) = before.last_mut() {
                *last = sum;
            }
        }
    }

    /// Lays the code out.
    ///
    /// # Errors
    ///
    /// `EINVAL` when a label is not bound, `E2BIG` when the code is too large, `ENOMEM`.
    pub fn finish(mut self) -> Result<Layout> {
        let (before, targets) = self.relax()?;
        let jump_bytes = before.last().copied().unwrap_or(0);
        let total = self.used.checked_add(index(jump_bytes)).ok_or(E2BIG)?;
        i32::try_from(total).map_err(|_| E2BIG)?;
        let mut bytes = Blocks::default();
        bytes.grow(total)?;
        // What is left of the code as it was, and of the place where it goes.
        let mut code = self.bytes.bytes().get(..self.used).ok_or(EINVAL)?;
        let mut place = bytes.bytes_mut();
        let mut done = 0u32;
        for ((jump, pos), sum) in self.jumps.iter().zip(&targets).zip(&before) {
            let between = index(jump.at.wrapping_sub(done));
            done = jump.at;
            let (from, more) = code.split_at_checked(between).ok_or(EINVAL)?;
            let (to, left) = place.split_at_mut_checked(between).ok_or(EINVAL)?;
            to.copy_from_slice(from);
            let (to, left) = left
                .split_at_mut_checked(usize::from(jump.size))
                .ok_or(EINVAL)?;
            (code, place) = (more, left);
            let dist = distance(jump, *sum, *pos, &before);
            let near = i8::try_from(dist).map_or(0, |d| u8::from_ne_bytes(d.to_ne_bytes()));
            match (to, jump.kind) {
                ([], Kind::Jmp | Kind::Jcc(_)) => {}
                ([op, rel], Kind::Jmp) => (*op, *rel) = (0xeb, near),
                ([op, rel], Kind::Jcc(cc)) => (*op, *rel) = (0x70 | cc as u8, near),
                ([op, near @ ..], Kind::Jmp) => {
                    *op = 0xe9;
                    number(near, dist)?;
                }
                ([escape, op, near @ ..], Kind::Jcc(cc)) => {
                    (*escape, *op) = (0x0f, 0x80 | cc as u8);
                    number(near, dist)?;
                }
                (near, Kind::Rel32) => number(near, dist)?,
                _ => return Err(EINVAL),
            }
        }
        place
            .get_mut(..code.len())
            .ok_or(EINVAL)?
            .copy_from_slice(code);
        let mut layout = Layout {
            code: bytes,
            len: total,
            relocs: KVVec::with_capacity(self.relocs.len(), GFP_KERNEL)?,
            slots: self.slots,
            before,
        };
        for (pos, target) in &self.relocs {
            let at = layout.offset(*pos);
            layout.relocs.push(
                Reloc {
                    at,
                    target: *target,
                },
                GFP_KERNEL,
            )?;
        }
        Ok(layout)
    }
}

/// Puts a distance into its four bytes.
fn number(to: &mut [u8], distance: i64) -> Result {
    let to = to.first_chunk_mut().ok_or(EINVAL)?;
    *to = i32::try_from(distance).map_err(|_| E2BIG)?.to_le_bytes();
    Ok(())
}

/// Distance from the end of `jump` to `pos`, with the sizes that `before` sums up, up to the jump in
/// `sum`.
fn distance(jump: &Jump, sum: u32, pos: Pos, before: &[u32]) -> i64 {
    let end = i64::from(jump.at)
        .wrapping_add(i64::from(sum))
        .wrapping_add(i64::from(jump.size));
    let target = before.get(index(pos.jumps)).copied().unwrap_or(0);
    i64::from(pos.bytes)
        .wrapping_add(i64::from(target))
        .wrapping_sub(end)
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
