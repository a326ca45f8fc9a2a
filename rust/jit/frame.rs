// SPDX-License-Identifier: GPL-2.0

//! A subprogram's frame: which registers it saves and where its stack lies.
//!
//! From high to low addresses: return address, saved registers, the program's stack, padding.
//! `R10` has no register of its own: it is `rsp` plus a number that is fixed for the subprogram.
//! Only where that makes many displacements long, `r13` points to the top of the program's stack.

use super::flow::RegSet;
use super::x64::buffer::Buffer;
use super::x64::encode as enc;
use super::x64::inst;
use super::x64::reg::Gpr;
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

/// Points to the top of the program's stack where that pays.
const POINTER: Gpr = Gpr::R13;

/// Bytes that it must save: its own three instructions take seven.
const POINTER_GAIN: i32 = 16;

/// The frame of one subprogram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    saves: RegSet,
    size: i32,
    pointer: bool,
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
        // What the pointer saves: a SIB byte each, and bytes of displacement.
        let mut saved = 0i32;
        let len = |disp: i32| -> i32 {
            if i8::try_from(disp).is_ok() {
                1
            } else {
                4
            }
        };
        for (off, w) in accesses {
            let off = i32::from(off);
            saved = saved.wrapping_add(len(size.wrapping_add(off)).wrapping_add(1));
            saved = saved.wrapping_sub(len(off));
            // The register's number needs a prefix that 64-bit operations have anyway.
            saved = saved.wrapping_sub(i32::from(w == Width::W32));
        }
        let pointer = saved >= POINTER_GAIN;
        if pointer {
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
            true => (POINTER, 0),
            false => (Gpr::Rsp, self.size),
        }
    }

    /// Bytes of stack that the subprogram takes, its return address included.
    pub(crate) fn depth(&self) -> u32 {
        let saved = SAVED.iter().filter(|r| self.saves.has(**r)).count();
        let saved = u32::try_from(saved).unwrap_or(0).wrapping_mul(8);
        self.size.unsigned_abs().wrapping_add(saved).wrapping_add(8)
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
        if self.pointer {
            buf.emit(&enc::o(&inst::PUSH_R, w, POINTER))?;
            buf.emit(&enc::rm_r(&inst::MOV_RM_R, w, POINTER, Gpr::Rsp))?;
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
        if self.pointer {
            buf.emit(&enc::o(&inst::POP_R, w, POINTER))?;
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
