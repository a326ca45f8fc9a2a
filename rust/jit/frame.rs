// SPDX-License-Identifier: GPL-2.0

//! A subprogram's frame: which registers it saves and where its stack lies.
//!
//! From high to low addresses: return address, saved registers, the program's stack, padding.
//! `R10` has no register of its own: it is `rsp` plus a number that is fixed for the subprogram.
//! Where that makes many displacements long, a register points to the place in the program's stack
//! from which most of them are short: `rbp` if `R7` is not used, else `r13`.

use super::flow::RegSet;
use super::x64::buffer::Buffer;
use super::x64::encode as enc;
use super::x64::inst;
use super::x64::reg::{Gpr, Mem};
use super::{Mitigations, Thunk};
use crate::isa::{Reg, Width};
use kernel::prelude::*;

/// Where each register lives. `r9`, `r10`, `r11` are scratch, `r13` may be the frame's pointer,
/// `r12` is not used.
pub(crate) fn home(reg: Reg) -> Gpr {
    match reg {
        Reg::R0 => Gpr::Rax,
        Reg::R1 => Gpr::Rdi,
        Reg::R2 => Gpr::Rsi,
        Reg::R3 => Gpr::Rdx,
        Reg::R4 => Gpr::Rcx,
        Reg::R5 => Gpr::R8,
        Reg::R6 => Gpr::Rbx,
        Reg::R7 => Gpr::Rbp,
        Reg::R8 => Gpr::R14,
        Reg::R9 => Gpr::R15,
        // Stands for the stack's place; never written.
        Reg::R10 => Gpr::Rsp,
    }
}

const SAVED: [Reg; 4] = [Reg::R6, Reg::R7, Reg::R8, Reg::R9];

/// Bytes that a pointer must save, beyond the instructions that it needs itself.
const POINTER_GAIN: i32 = 6;

/// Places on the stack that are told apart when the pointer's is chosen: 512 bytes in words.
const WORDS: usize = 64;

/// A register that points into the program's stack.
#[derive(Clone, Copy, Debug)]
struct Pointer {
    reg: Gpr,
    /// It holds `R10` minus this.
    below: i32,
}

/// The frame of one subprogram.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frame {
    saves: RegSet,
    size: i32,
    pointer: Option<Pointer>,
}

/// Does a displacement fit in one byte?
fn short(disp: i32) -> bool {
    i8::try_from(disp).is_ok()
}

/// Bytes of a displacement.
fn disp_len(disp: i32) -> i32 {
    match short(disp) {
        true => 1,
        false => 4,
    }
}

/// How often each word of the stack is accessed, and how often without a REX prefix.
struct Accesses {
    all: [i32; WORDS],
    narrow: [i32; WORDS],
}

impl Accesses {
    fn new(accesses: impl Iterator<Item = (i16, Width)>) -> Self {
        let mut found = Accesses {
            all: [0; WORDS],
            narrow: [0; WORDS],
        };
        for (off, w) in accesses {
            // -8 to -1 is word 0.
            let word = i32::from(off).wrapping_neg().wrapping_sub(1) >> 3;
            let word = usize::try_from(word).unwrap_or(WORDS);
            if let (Some(all), Some(narrow)) = (found.all.get_mut(word), found.narrow.get_mut(word))
            {
                *all = all.saturating_add(1);
                *narrow = narrow.saturating_add(i32::from(w == Width::W32));
            }
        }
        found
    }

    /// Bytes of all displacements, SIB bytes and prefixes that the addresses need when `R10` is
    /// `rsp + size`, and `pointer` may be used too.
    fn cost(&self, size: i32, pointer: Option<Pointer>) -> i32 {
        let mut sum = 0i32;
        let mut at = 0i32;
        for (all, narrow) in self.all.iter().zip(&self.narrow) {
            // The word's lowest byte: accesses are mostly aligned.
            at = at.wrapping_sub(8);
            if *all == 0 {
                continue;
            }
            let sib = 1;
            let stack = disp_len(at.wrapping_add(size))
                .wrapping_add(sib)
                .saturating_mul(*all);
            let other = pointer.map(|p| {
                let prefix = if p.reg.high() { *narrow } else { 0 };
                disp_len(at.wrapping_add(p.below))
                    .saturating_mul(*all)
                    .saturating_add(prefix)
            });
            sum = sum.saturating_add(other.map_or(stack, |n| n.min(stack)));
        }
        sum
    }
}

/// The pointer that saves the most, if one saves enough. `free` can be used without a prefix.
fn plan_pointer(accesses: &Accesses, size: i32, free: bool) -> Option<Pointer> {
    let without = accesses.cost(size, None);
    // Each access saves four bytes at most.
    let count: i32 = accesses.all.iter().sum();
    if count.saturating_mul(4) < POINTER_GAIN {
        return None;
    }
    let reg = if free { Gpr::Rbp } else { Gpr::R13 };
    let mut best = None;
    let mut below = 0i32;
    while below <= size {
        let pointer = Pointer { reg, below };
        // Saving, setting and restoring the register.
        let own = if free { 2i32 } else { 4 };
        let own = own.wrapping_add(match below {
            0 => 3,
            n => 4i32.wrapping_add(disp_len(n.wrapping_neg())),
        });
        let cost = accesses.cost(size, Some(pointer)).saturating_add(own);
        if without.saturating_sub(cost) >= POINTER_GAIN
            && best.is_none_or(|(least, _)| cost < least)
        {
            best = Some((cost, pointer));
        }
        below = below.wrapping_add(8);
    }
    best.map(|(_, pointer)| pointer)
}

impl Frame {
    /// Plans the frame: `stack` bytes for the program, the callee-saved ones of `writes` saved.
    /// `align` is set when it calls functions that expect a stack aligned to 16 bytes; `accesses`
    /// are the distances from `R10` of what it accesses there, with the access's width.
    pub(crate) fn new(
        stack: u16,
        writes: RegSet,
        align: bool,
        accesses: impl Iterator<Item = (i16, Width)>,
    ) -> Frame {
        let mut size = i32::from(stack).wrapping_add(7) & !7;
        let mut saves = RegSet::NONE;
        let mut used = size.wrapping_add(8);
        for reg in SAVED {
            if writes.has(reg) {
                saves = saves.or(RegSet::one(reg));
                used = used.wrapping_add(8);
            }
        }
        let pointer = match size {
            0 => None,
            _ => plan_pointer(&Accesses::new(accesses), size, !writes.has(Reg::R7)),
        };
        if pointer.is_some() {
            used = used.wrapping_add(8);
        }
        if align && used & 15 != 0 {
            size = size.wrapping_add(8);
        }
        Frame {
            saves,
            size,
            pointer,
        }
    }

    /// What `R10` is computed from, and what is added.
    pub(crate) fn top(&self) -> (Gpr, i32) {
        match self.pointer {
            Some(pointer) => (pointer.reg, pointer.below),
            None => (Gpr::Rsp, self.size),
        }
    }

    /// The same address from `rsp` instead of the pointer, where that is shorter.
    pub(crate) fn shortest(&self, mem: Mem) -> Mem {
        let Some(pointer) = self.pointer.filter(|p| mem.base == Some(p.reg)) else {
            return mem;
        };
        let from_rsp = mem
            .disp
            .checked_sub(pointer.below)
            .and_then(|disp| disp.checked_add(self.size));
        match from_rsp {
            Some(disp) if !short(mem.disp) && short(disp) => Mem {
                base: Some(Gpr::Rsp),
                disp,
                ..mem
            },
            _ => mem,
        }
    }

    /// Is this an address in the subprogram's own stack, made of `R10` and a number?
    pub(crate) fn owns(&self, mem: &Mem) -> bool {
        let pointer = self.pointer.map(|p| p.reg);
        mem.index.is_none() && (mem.base == Some(Gpr::Rsp) || mem.base == pointer)
    }

    /// Bytes of stack that the subprogram takes, its return address included.
    pub(crate) fn depth(&self) -> u32 {
        let saved = SAVED.iter().filter(|r| self.saves.has(**r)).count();
        let saved = u32::try_from(saved).unwrap_or(0).wrapping_mul(8);
        let saved = saved.wrapping_add(if self.pointer.is_some() { 16 } else { 8 });
        self.size.unsigned_abs().wrapping_add(saved)
    }

    /// Emits the prologue.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn enter(&self, buf: &mut Buffer) -> Result {
        let w = Width::W64;
        for reg in SAVED {
            if self.saves.has(reg) {
                buf.emit(&enc::o(&inst::PUSH_R, w, home(reg)))?;
            }
        }
        if let Some(Pointer { reg, below }) = self.pointer {
            buf.emit(&enc::o(&inst::PUSH_R, w, reg))?;
            buf.emit(&match below {
                0 => enc::rm_r(&inst::MOV_RM_R, w, reg, Gpr::Rsp),
                n => enc::r_m(&inst::LEA_R_M, w, reg, Mem::at(Gpr::Rsp, n.wrapping_neg())),
            })?;
        }
        match self.size {
            0 => Ok(()),
            8 => buf.emit(&enc::o(&inst::PUSH_R, w, Gpr::Rax)),
            // -128 fits in a byte where 128 does not.
            128 => buf.emit(&enc::rm_i8(&inst::ADD_RM_I8, w, Gpr::Rsp, -128)),
            n => match i8::try_from(n) {
                Ok(n) => buf.emit(&enc::rm_i8(&inst::SUB_RM_I8, w, Gpr::Rsp, n)),
                Err(_) => buf.emit(&enc::rm_i32(&inst::SUB_RM_I32, w, Gpr::Rsp, n)),
            },
        }
    }

    /// Emits the epilogue without the return. `rcx` is overwritten.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn leave(&self, buf: &mut Buffer) -> Result {
        let w = Width::W64;
        match self.size {
            0 => {}
            8 => buf.emit(&enc::o(&inst::POP_R, w, Gpr::Rcx))?,
            128 => buf.emit(&enc::rm_i8(&inst::SUB_RM_I8, w, Gpr::Rsp, -128))?,
            n => match i8::try_from(n) {
                Ok(n) => buf.emit(&enc::rm_i8(&inst::ADD_RM_I8, w, Gpr::Rsp, n))?,
                Err(_) => buf.emit(&enc::rm_i32(&inst::ADD_RM_I32, w, Gpr::Rsp, n))?,
            },
        }
        if let Some(pointer) = self.pointer {
            buf.emit(&enc::o(&inst::POP_R, w, pointer.reg))?;
        }
        for reg in SAVED.iter().rev() {
            if self.saves.has(*reg) {
                buf.emit(&enc::o(&inst::POP_R, w, home(*reg)))?;
            }
        }
        Ok(())
    }
}

/// Emits a return as the running kernel wants it.
///
/// # Errors
///
/// `ENOMEM`
pub(crate) fn ret(buf: &mut Buffer, mitigations: &Mitigations) -> Result {
    match mitigations.returns {
        Thunk::At(thunk) => buf.jmp_absolute(thunk)?,
        Thunk::NotNeeded | Thunk::Missing => buf.emit(&enc::zo(&inst::RET, Width::W32))?,
    }
    if mitigations.sls {
        buf.emit(&enc::zo(&inst::INT3, Width::W32))?;
    }
    Ok(())
}
