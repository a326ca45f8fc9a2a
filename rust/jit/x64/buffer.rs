// SPDX-License-Identifier: GPL-2.0

//! Collects code with jumps left open, then chooses each jump's size and lays the code out.
//!
//! While code is emitted a jump takes no bytes: a position is the number of bytes plus the number
//! of jumps before it ([`Pos`]). [`Buffer::finish`] starts with every jump as short as possible and
//! lengthens those that do not reach until all do. Lengthening one never lets another become
//! shorter, so this ends, with the smallest code.

use super::encode::Encoded;
use super::reg::Cc;
use kernel::prelude::*;

/// A place in code whose jumps have no size yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pos {
    bytes: u32,
    jumps: u32,
}

/// A jump target, to be bound to a place once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `jmp`: 0 (to the next instruction), 2 or 5 bytes.
    Jmp,
    /// `jcc`: 0, 2 or 6 bytes.
    Jcc(Cc),
    /// Four bytes: the distance of the label from their end.
    Rel32,
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

/// Receives encoded instructions.
pub trait CodeSink {
    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    fn put(&mut self, bytes: &[u8]) -> Result;
}

/// Code under construction.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: KVVec<u8>,
    jumps: KVVec<Jump>,
    labels: KVVec<Option<Pos>>,
    relocs: KVVec<(Pos, u64)>,
}

/// Code whose layout is fixed: bytes, relocations, and where each [`Pos`] went.
#[derive(Debug)]
pub struct Layout {
    /// Machine code; the relocated fields hold zero.
    pub bytes: KVVec<u8>,
    /// Fields that depend on the place of the code.
    pub relocs: KVVec<Reloc>,
    /// Bytes of the first `n` jumps, for `n` from 0.
    before: KVVec<u32>,
}

impl Layout {
    /// Offset in the bytes of a place in the buffer.
    pub fn offset(&self, pos: Pos) -> u32 {
        let jumps = usize::try_from(pos.jumps).unwrap_or(usize::MAX);
        let jumps = self.before.get(jumps).copied().unwrap_or(0);
        pos.bytes.wrapping_add(jumps)
    }
}

impl CodeSink for Buffer {
    fn put(&mut self, bytes: &[u8]) -> Result {
        Ok(self.bytes.extend_from_slice(bytes, GFP_KERNEL)?)
    }
}

impl Buffer {
    /// An empty buffer with `labels` labels to be named by [`Buffer::label`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `E2BIG` when there are too many.
    pub fn new(labels: usize) -> Result<Self> {
        let mut buf = Buffer::default();
        buf.labels.resize(labels, None, GFP_KERNEL)?;
        u32::try_from(labels).map_err(|_| E2BIG)?;
        Ok(buf)
    }

    /// The label of that number, of those made by [`Buffer::new`].
    pub fn label(index: u32) -> Label {
        Label(index)
    }

    /// Makes one more label.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn new_label(&mut self) -> Result<Label> {
        let label = Label(u32::try_from(self.labels.len()).map_err(|_| E2BIG)?);
        self.labels.push(None, GFP_KERNEL)?;
        Ok(label)
    }

    /// Binds `label` to the current place.
    pub fn bind(&mut self, label: Label) {
        let here = self.here();
        if let Some(slot) = usize::try_from(label.0)
            .ok()
            .and_then(|i| self.labels.get_mut(i))
        {
            *slot = Some(here);
        }
    }

    /// The current place.
    pub fn here(&self) -> Pos {
        Pos {
            // The compiler refuses programs long before 4 GiB of code.
            bytes: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX),
            jumps: u32::try_from(self.jumps.len()).unwrap_or(u32::MAX),
        }
    }

    /// Appends an instruction.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub fn emit(&mut self, insn: &Encoded) -> Result {
        self.put(insn.bytes())
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
        self.put(&[opcode])?;
        let here = self.here();
        self.relocs.push((here, target), GFP_KERNEL)?;
        self.put(&[0; 4])
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

    fn target(&self, label: Label) -> Result<Pos> {
        usize::try_from(label.0)
            .ok()
            .and_then(|i| self.labels.get(i).copied().flatten())
            .ok_or(EINVAL)
    }

    /// Chooses the sizes of all jumps; returns their running sums.
    fn relax(&mut self) -> Result<KVVec<u32>> {
        // Targets once, so that the rounds below only look at numbers.
        let mut targets = KVVec::with_capacity(self.jumps.len(), GFP_KERNEL)?;
        for (i, jump) in self.jumps.iter().enumerate() {
            let pos = self.target(jump.label)?;
            let next = pos.bytes == jump.at && usize::try_from(pos.jumps).ok() == i.checked_add(1);
            targets.push((pos, next), GFP_KERNEL)?;
        }
        for (jump, (_, next)) in self.jumps.iter_mut().zip(&targets) {
            jump.size = match jump.kind {
                Kind::Rel32 => 4,
                Kind::Jmp | Kind::Jcc(_) if *next => 0,
                Kind::Jmp | Kind::Jcc(_) => 2,
            };
        }
        let mut before = KVVec::with_capacity(self.jumps.len().wrapping_add(1), GFP_KERNEL)?;
        loop {
            before.clear();
            let mut sum = 0u32;
            for jump in &self.jumps {
                before.push(sum, GFP_KERNEL)?;
                sum = sum.wrapping_add(u32::from(jump.size));
            }
            before.push(sum, GFP_KERNEL)?;
            let mut grown = false;
            for (i, (jump, (pos, _))) in self.jumps.iter_mut().zip(&targets).enumerate() {
                if jump.size != 2 {
                    continue;
                }
                if i8::try_from(distance(jump, i, *pos, &before)).is_err() {
                    jump.size = match jump.kind {
                        Kind::Jmp => 5,
                        Kind::Jcc(_) => 6,
                        Kind::Rel32 => 4,
                    };
                    grown = true;
                }
            }
            if !grown {
                return Ok(before);
            }
        }
    }

    /// Lays the code out.
    ///
    /// # Errors
    ///
    /// `EINVAL` when a label is not bound, `E2BIG` when the code is too large, `ENOMEM`.
    pub fn finish(mut self) -> Result<Layout> {
        let before = self.relax()?;
        let jump_bytes = before.as_slice().last().copied().unwrap_or(0);
        let total = self
            .bytes
            .len()
            .checked_add(usize::try_from(jump_bytes).map_err(|_| E2BIG)?)
            .ok_or(E2BIG)?;
        i32::try_from(total).map_err(|_| E2BIG)?;
        let mut bytes = KVVec::with_capacity(total, GFP_KERNEL)?;
        let mut done = 0usize;
        for (i, jump) in self.jumps.iter().enumerate() {
            let at = usize::try_from(jump.at).map_err(|_| E2BIG)?;
            bytes.extend_from_slice(self.bytes.get(done..at).unwrap_or(&[]), GFP_KERNEL)?;
            done = at;
            let dist = distance(jump, i, self.target(jump.label)?, &before);
            let rel8 = dist.to_le_bytes();
            let rel8 = rel8.get(..1).unwrap_or(&[]);
            let rel32 = i32::try_from(dist).map_err(|_| E2BIG)?.to_le_bytes();
            match (jump.size, jump.kind) {
                (0, _) => {}
                (2, Kind::Jmp) => {
                    bytes.push(0xeb, GFP_KERNEL)?;
                    bytes.extend_from_slice(rel8, GFP_KERNEL)?;
                }
                (2, Kind::Jcc(cc)) => {
                    bytes.push(0x70 | cc as u8, GFP_KERNEL)?;
                    bytes.extend_from_slice(rel8, GFP_KERNEL)?;
                }
                (_, Kind::Jmp) => {
                    bytes.push(0xe9, GFP_KERNEL)?;
                    bytes.extend_from_slice(&rel32, GFP_KERNEL)?;
                }
                (_, Kind::Jcc(cc)) => {
                    bytes.extend_from_slice(&[0x0f, 0x80 | cc as u8], GFP_KERNEL)?;
                    bytes.extend_from_slice(&rel32, GFP_KERNEL)?;
                }
                (_, Kind::Rel32) => bytes.extend_from_slice(&rel32, GFP_KERNEL)?,
            }
        }
        bytes.extend_from_slice(self.bytes.get(done..).unwrap_or(&[]), GFP_KERNEL)?;
        let mut layout = Layout {
            bytes,
            relocs: KVVec::new(),
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

/// Distance from the end of jump `i` to `pos`, with the sizes that `before` sums up.
fn distance(jump: &Jump, i: usize, pos: Pos, before: &[u32]) -> i64 {
    let sum = |n: usize| i64::from(before.get(n).copied().unwrap_or(0));
    let end = i64::from(jump.at)
        .wrapping_add(sum(i))
        .wrapping_add(i64::from(jump.size));
    let target = usize::try_from(pos.jumps).map_or(0, sum);
    i64::from(pos.bytes).wrapping_add(target).wrapping_sub(end)
}
