// SPDX-License-Identifier: GPL-2.0

//! Lowers one subprogram, slot by slot, from [`Insn`]s to machine code.
//!
//! Values are computed as late as possible ([`super::value`]). The rules that keep this right:
//!
//! - Before the home of a register is overwritten, every live value that is an expression over it
//!   is computed ([`Lower::claim`]).
//! - At a jump target every live value is at home, so before a jump whatever its target needs is
//!   computed ([`Lower::sync`]), and at the target nothing else is known.
//! - Computing a value never touches the scratch registers, so these can be used across it.

mod alu;
mod atomic;
mod blind;
mod call;
mod div;
mod fuse;
mod hash;
mod jump;
mod lookup;
mod magic;
mod mem;
mod sdiv;
mod shift;
mod tail;

use super::flow::{part, Flow, RegSet};
use super::frame::{self, home, Frame};
use super::value::{bit_len, low32, Expr, State, Val};
use super::x64::buffer::{Buffer, Label, Pos};
use super::x64::encode::{self as enc, Encoded};
use super::x64::inst;
use super::x64::reg::{Cc, Gpr, Index, Mem, Scale};
use super::{insn_at, refuse, Done, Failure, Parts, Target, Why};
use crate::isa::code::{Code, Fact, Subprog};
use crate::isa::{AluOp, Imm64, Insn, Reg, Size, Src, Width};
pub(super) use hash::Looks;
use kernel::prelude::*;
pub(super) use tail::{site, wrapper};

/// Scratch: the shared base of numbers used as addresses.
const BASE: Gpr = Gpr::R9;
/// Scratch.
const TMP0: Gpr = Gpr::R10;
/// Scratch.
const TMP1: Gpr = Gpr::R11;

/// The second operand of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Imm(i32),
    Gpr(Gpr),
}

/// Code that is rarely run, emitted behind the subprogram.
#[derive(Clone, Copy, Debug)]
struct Cold {
    entry: Label,
    back: Label,
    what: What,
}

/// What rare code does.
#[derive(Clone, Copy, Debug)]
enum What {
    /// The division that the processor would trap on.
    Division(div::Fixup),
    /// `R0 = NULL`
    Null,
    /// What a look-up in a hash table does when the first look does not settle it.
    Look(hash::Longer),
    /// Returns 0 from the subprogram.
    End,
    /// No tail call is left.
    NoneLeft,
}

/// The state of lowering one subprogram.
struct Lower<'a> {
    code: &'a Code,
    target: &'a Target<'a>,
    flow: &'a Flow,
    out: &'a mut Parts,
    frame: Frame,
    st: State,
    /// The slot being lowered.
    at: u32,
    /// Registers that are live after it.
    live: RegSet,
    /// While an inlined subprogram is lowered: what its caller needs afterwards, of the registers
    /// that it does not know of.
    outer: RegSet,
    /// Control can reach the current place.
    reached: bool,
    cold: KVec<Cold>,
    /// Rare code that returns 0.
    end: Option<Label>,
    /// The last slot that was lowered together with one before it.
    fused: Option<u32>,
}

/// A subprogram's entry: the buffer's first labels are these.
fn entry_label(i: usize) -> Result<Label, Failure> {
    let n = u32::try_from(i).map_err(|_| refuse(None, Why::TooLarge))?;
    Ok(Label::Other(n))
}

/// Emits subprogram `i` from its prologue on.
pub(super) fn subprogram(
    code: &Code,
    target: &Target<'_>,
    flow: &Flow,
    i: usize,
    sub: &Subprog,
    out: &mut Parts,
) -> Result<Frame, Failure> {
    let summary = flow.summary(i);
    if flow.nowhere(i, sub) {
        for _ in sub.start..sub.end {
            out.buf.begin_slot()?;
        }
        return Ok(Frame::default());
    }
    let frame = Frame::new(
        sub.stack,
        summary.writes,
        target.align_stack && summary.calls,
        (sub.start..sub.end).filter_map(|at| stack_access(code, flow, at)),
    );
    out.buf.bind(entry_label(i)?);
    // Only C code enters indirectly: the main program and callbacks.
    if target.mitigations.ibt && (i == 0 || sub.callback) {
        out.buf.emit(&enc::endbr64())?;
    }
    frame.enter(&mut out.buf)?;
    let mut lower = Lower {
        code,
        target,
        flow,
        out,
        frame,
        st: State::new(),
        at: sub.start,
        live: RegSet::NONE,
        outer: RegSet::NONE,
        reached: true,
        cold: KVec::new(),
        end: None,
        fused: None,
    };
    let insns = part(&code.insns, sub)?;
    for (at, insn) in (sub.start..sub.end).zip(insns) {
        lower.slot(at, insn)?;
    }
    if lower.reached {
        lower.put(enc::zo(&inst::INT3, Width::W32))?;
    }
    lower.cold_code()?;
    Ok(frame)
}

/// Where a reached instruction accesses the stack through `R10`, and how wide.
fn stack_access(code: &Code, flow: &Flow, at: u32) -> Option<(i16, Width)> {
    if !flow.slot(at).reached {
        return None;
    }
    let (base, off, size) = match *insn_at(code, at)? {
        Insn::Load { src, off, size, .. } | Insn::LoadAcquire { src, off, size, .. } => {
            (src, off, size)
        }
        Insn::Store { dst, off, size, .. }
        | Insn::StoreRelease { dst, off, size, .. }
        | Insn::Atomic { dst, off, size, .. } => (dst, off, size),
        _ => return None,
    };
    let w = match size {
        Size::Dw => Width::W64,
        Size::B | Size::H | Size::W => Width::W32,
    };
    (base == Reg::R10).then_some((off, w))
}

impl Lower<'_> {
    /// Lowers the instruction at `at`.
    #[inline(always)]
    fn slot(&mut self, at: u32, insn: &Insn) -> Done {
        let info = self.flow.slot(at);
        self.at = at;
        if info.leader {
            if self.reached {
                self.live = info.live_in;
                self.sync(info.live_in, false)?;
            }
            self.st.forget();
            self.reached = info.reached;
        }
        self.out.buf.begin_slot()?;
        if self.reached && info.reached && self.fused.is_none_or(|last| at > last) {
            self.live = info.live_out;
            self.insn(insn)?;
        }
        Ok(())
    }

    /// Lowers the instructions of a subprogram in place of its call.
    fn inline(&mut self, sub: &Subprog) -> Done {
        let (at, live) = (self.at, self.live);
        self.outer = live.without(RegSet::CALLER_SAVED);
        self.fused = None;
        for slot in sub.start..sub.end {
            let insn = *insn_at(self.code, slot).ok_or(refuse(Some(slot), Why::Malformed))?;
            if matches!(insn, Insn::Exit) {
                break;
            }
            if self.fused.is_none_or(|last| slot > last) {
                self.at = slot;
                self.live = self.flow.slot(slot).live_out.or(self.outer);
                self.inlined_insn(&insn)?;
            }
        }
        self.outer = RegSet::NONE;
        self.fused = None;
        (self.at, self.live) = (at, live);
        Ok(())
    }

    /// [`Lower::insn`] for where it is not written out.
    #[inline(never)]
    fn inlined_insn(&mut self, insn: &Insn) -> Done {
        self.insn(insn)
    }

    fn refuse(&self, what: &'static str) -> Failure {
        refuse(Some(self.at), Why::Unsupported(what))
    }

    /// The fact proved at the current slot.
    fn fact(&self) -> Fact {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        self.code.facts.get(at).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn insn(&mut self, insn: &Insn) -> Done {
        match *insn {
            Insn::Alu {
                op: AluOp::Add,
                width: Width::W64,
                dst,
                src: Src::Imm(imm),
            } => self.add(dst, imm),
            Insn::Alu {
                op,
                width,
                dst,
                src,
            } => self.alu(op, width, dst, src),
            Insn::Neg { width, dst } => self.neg(width, dst),
            Insn::Mov { width, dst, src } => self.mov(width, dst, src),
            Insn::MovSx {
                width,
                from,
                dst,
                src,
            } => self.mov_sx(width, from, dst, src),
            Insn::Swap { kind, size, dst } => self.swap(kind, size, dst),
            Insn::LdImm64 { dst, imm } => self.ld_imm64(dst, imm),
            Insn::Hole => Ok(()),
            Insn::Nospec => self.put(enc::lfence()),
            Insn::Load {
                size,
                sx,
                dst,
                src,
                off,
            } => self.load(size, sx, dst, src, off),
            Insn::Store {
                size,
                dst,
                off,
                src,
            } => self.store(size, dst, off, src),
            Insn::Atomic {
                op,
                fetch,
                size,
                dst,
                off,
                src,
            } => self.atomic(op, fetch, size, dst, off, src),
            // Loads and stores of x86 are ordered as these ask for.
            Insn::LoadAcquire {
                size,
                dst,
                src,
                off,
            } => self.load_ordered(size, dst, src, off),
            Insn::StoreRelease {
                size,
                dst,
                off,
                src,
            } => self.store(size, dst, off, Src::Reg(src)),
            Insn::LdAbs { size, imm } => self.load_packet(size, None, imm),
            Insn::LdInd { size, src, imm } => self.load_packet(size, Some(src), imm),
            Insn::Ja { target, .. } => self.goto(target),
            Insn::MayGoto { .. } => Err(self.refuse("may_goto")),
            Insn::Jmp {
                cond,
                width,
                dst,
                src,
                target,
            } => self.branch(cond, width, dst, src, target),
            Insn::Call { helper } => self.call_helper(insn, helper),
            Insn::CallSub { target } => self.call_sub(insn, target),
            Insn::CallKfunc { .. } => Err(self.refuse("kfunc call")),
            Insn::Exit => self.exit(),
        }
    }

    fn ld_imm64(&mut self, dst: Reg, imm: Imm64) -> Done {
        let map = |i: u32| {
            let found = usize::try_from(i)
                .ok()
                .and_then(|i| self.target.maps.get(i));
            found.ok_or(refuse(Some(self.at), Why::NoMap(i)))
        };
        let value = match imm {
            Imm64::Value(v) if self.blinds() => return self.mov_blinded(dst, v),
            Imm64::Value(v) => v,
            Imm64::Map(i) => map(i)?.addr,
            Imm64::MapValue { map: i, off } => {
                let base = map(i)?.value.ok_or(refuse(Some(self.at), Why::NoMap(i)))?;
                base.wrapping_add(u64::from(off))
            }
            Imm64::Func(slot) => return self.func_address(dst, slot),
            Imm64::MapFd(_)
            | Imm64::MapValueFd { .. }
            | Imm64::MapIdx(_)
            | Imm64::MapValueIdx { .. }
            | Imm64::BtfId { .. } => return Err(self.refuse("unresolved ld_imm64")),
        };
        self.assign(dst, Expr::constant(value))
    }

    /// Emits an instruction.
    fn put(&mut self, insn: Encoded) -> Done {
        if !insn.keeps_flags {
            self.st.flags = None;
        }
        Ok(self.out.buf.emit(&insn)?)
    }

    /// Is `reg` needed after the current instruction?
    fn is_live(&self, reg: Reg) -> bool {
        self.live.has(reg)
    }

    fn expr(&self, reg: Reg) -> Expr {
        self.st.expr(reg, self.frame.top())
    }

    /// The value of `reg` as an expression that another register's value may be made of.
    fn source(&mut self, reg: Reg) -> Result<Expr, Failure> {
        if let Val::Lazy(e) = self.st.val(reg) {
            if e.uses(home(reg)) {
                self.force(reg, false)?;
            }
        }
        Ok(self.expr(reg))
    }

    /// The value of `base` for a memory operand of an instruction that writes `dst`.
    fn pointer(&mut self, base: Reg, dst: Reg) -> Result<Expr, Failure> {
        let e = self.expr(base);
        // Making room for `dst` would compute `base` in place.
        if base != dst && e.uses(home(base)) && e.uses(home(dst)) {
            self.force(base, false)?;
        }
        Ok(self.expr(base))
    }

    /// As [`Lower::source`], for an operand of an instruction that writes `dst`.
    fn source_for(&mut self, src: Src, dst: Reg) -> Result<Expr, Failure> {
        match src {
            Src::Imm(imm) => Ok(Expr::constant(sext(imm))),
            Src::Reg(reg) if reg == dst => Ok(self.expr(reg)),
            Src::Reg(reg) => self.source(reg),
        }
    }

    /// Notes that machine register `gpr` was written.
    fn wrote(&mut self, gpr: Gpr) {
        if self.st.flags.is_some_and(|(g, _)| g == gpr) {
            self.st.flags = None;
        }
        if gpr == BASE {
            self.st.base = None;
        }
    }

    /// Notes that the home of `dst` holds its value, of which at most `bits` bits are set.
    fn wrote_home(&mut self, dst: Reg, bits: u32) {
        self.forget_stored(dst);
        self.wrote(home(dst));
        self.st.set(dst, Val::Home);
        self.st.set_bits(dst, bits);
    }

    /// `dst` changes, so memory no longer holds the same.
    fn forget_stored(&mut self, dst: Reg) {
        if self.st.stored.is_some_and(|(_, _, reg)| reg == dst) {
            self.st.stored = None;
        }
    }

    /// The register whose low `size` bytes `mem` holds.
    fn stored(&self, mem: &Mem, size: Size) -> Option<Reg> {
        let (at, of, reg) = self.st.stored?;
        (at == *mem && of == size).then_some(reg)
    }

    /// Frees the base register for another number.
    fn take_base(&mut self) -> Done {
        self.evict(BASE, None)?;
        self.st.base = None;
        Ok(())
    }

    /// Notes that the flags are those of `gpr`.
    fn flags_of(&mut self, gpr: Gpr, w: Width) {
        self.st.flags = Some((gpr, w));
    }

    /// Computes the live values of registers other than `of` that are made of `gpr`.
    #[inline(always)]
    fn evict(&mut self, gpr: Gpr, of: Option<Reg>) -> Done {
        let own = of.map_or(RegSet::NONE, RegSet::one);
        match self.st.lazy().without(own).is_empty() {
            true => Ok(()),
            false => self.evict_users(gpr, of),
        }
    }

    #[inline(never)]
    fn evict_users(&mut self, gpr: Gpr, of: Option<Reg>) -> Done {
        for reg in self.st.users(gpr, of).iter() {
            if self.is_live(reg) {
                self.force(reg, false)?;
            } else {
                self.st.set(reg, Val::Home);
                self.st.set_bits(reg, 64);
            }
        }
        Ok(())
    }

    /// As [`Lower::evict`] for the homes of all that a call overwrites, except for their own values.
    fn evict_caller_saved(&mut self) -> Done {
        // What is dead after the call would only be forgotten by one of these after the other.
        self.st.drop_values(self.st.lazy().without(self.live));
        if !self.st.lazy().is_empty() {
            for reg in RegSet::CALLER_SAVED.iter() {
                self.evict(home(reg), Some(reg))?;
            }
        }
        Ok(())
    }

    /// Makes the home of `dst` free to be overwritten with another value of `dst`.
    #[inline(always)]
    fn claim(&mut self, dst: Reg) -> Done {
        if dst == Reg::R10 {
            return Err(self.refuse("write to R10"));
        }
        self.evict(home(dst), Some(dst))
    }

    /// Gives `dst` the value `e` without computing it.
    fn assign(&mut self, dst: Reg, e: Expr) -> Done {
        if !self.is_live(dst) {
            return Ok(());
        }
        self.claim(dst)?;
        self.forget_stored(dst);
        let home = e.as_reg() == Some(home(dst));
        self.st
            .set(dst, if home { Val::Home } else { Val::Lazy(e) });
        Ok(())
    }

    /// Computes the value of `reg` into its home.
    #[inline(always)]
    fn force(&mut self, reg: Reg, keep_flags: bool) -> Done {
        match self.st.lazy().has(reg) {
            true => self.force_lazy(reg, keep_flags),
            false => Ok(()),
        }
    }

    #[inline(never)]
    fn force_lazy(&mut self, reg: Reg, keep_flags: bool) -> Done {
        if let Val::Lazy(e) = self.st.val(reg) {
            let bits = self.st.bits(reg);
            let gpr = home(reg);
            self.compute(gpr, &e, Width::W64, keep_flags)?;
            self.st.set(reg, Val::Home);
            self.st.set_bits(reg, bits);
        }
        Ok(())
    }

    /// As [`Lower::force`] for every register of `set`.
    #[inline(always)]
    fn sync(&mut self, set: RegSet, keep_flags: bool) -> Done {
        match set.and(self.st.lazy()) {
            set if set.is_empty() => Ok(()),
            set => self.sync_lazy(set, keep_flags),
        }
    }

    #[inline(never)]
    fn sync_lazy(&mut self, set: RegSet, keep_flags: bool) -> Done {
        for reg in set.iter() {
            self.force(reg, keep_flags)?;
        }
        Ok(())
    }

    /// The value of `reg` in a machine register: its home, or `tmp` for `R10`.
    #[inline(always)]
    fn gpr(&mut self, reg: Reg, tmp: Gpr) -> Result<Gpr, Failure> {
        if reg == Reg::R10 {
            return self.top_gpr(tmp);
        }
        self.force(reg, false)?;
        Ok(home(reg))
    }

    /// `R10` in `tmp`.
    #[inline(never)]
    fn top_gpr(&mut self, tmp: Gpr) -> Result<Gpr, Failure> {
        if tmp == BASE {
            self.take_base()?;
        }
        let e = self.expr(Reg::R10);
        self.compute(tmp, &e, Width::W64, true)?;
        Ok(tmp)
    }

    /// The value of `dst` in its home, which is going to be changed in place.
    fn settle(&mut self, dst: Reg) -> Result<Gpr, Failure> {
        self.claim(dst)?;
        self.force(dst, false)?;
        Ok(home(dst))
    }

    /// The second operand of an instruction of width `w`; a register stays where it is.
    fn operand(&mut self, src: Src, w: Width) -> Result<Operand, Failure> {
        match src {
            Src::Imm(imm) if imm != 0 && self.blinds() => {
                self.load_blinded(TMP1, sext(imm))?;
                Ok(Operand::Gpr(TMP1))
            }
            Src::Imm(imm) => Ok(Operand::Imm(imm)),
            Src::Reg(reg) => {
                if let Some(c) = self.expr(reg).as_const() {
                    let imm = match w {
                        Width::W64 => imm32(c),
                        Width::W32 => Some(i32::from_ne_bytes(low32(c).to_ne_bytes())),
                    };
                    if let Some(imm) = imm {
                        return Ok(Operand::Imm(imm));
                    }
                }
                Ok(Operand::Gpr(self.gpr(reg, TMP1)?))
            }
        }
    }

    /// Emits the shortest code that sets `gpr` to `value`.
    fn load_const(&mut self, gpr: Gpr, value: u64, keep_flags: bool) -> Done {
        let insn = if value == 0 && !keep_flags {
            enc::rm_r(&inst::XOR_RM_R, Width::W32, gpr, gpr)
        } else if let Ok(value) = u32::try_from(value) {
            enc::o_i32(&inst::MOV_R_I32, gpr, value)
        } else if let Some(value) = imm32(value) {
            enc::rm_i32(&inst::MOV_RM_I32, Width::W64, gpr, value)
        } else if let Some(disp) = self.base_distance(value) {
            enc::r_m(&inst::LEA_R_M, Width::W64, gpr, Mem::at(BASE, disp))
        } else {
            enc::o_i64(&inst::MOV_R_I64, gpr, value)
        };
        self.put(insn)?;
        self.wrote(gpr);
        Ok(())
    }

    /// Distance of `value` from the number in the base register.
    fn base_distance(&self, value: u64) -> Option<i32> {
        imm32(value.wrapping_sub(self.st.base?))
    }

    /// Adds `n` to `gpr` in place; the flags become those of the sum.
    fn add_imm(&mut self, w: Width, gpr: Gpr, n: i32) -> Done {
        let insn = match n {
            1 => enc::rm(&inst::INC_RM, w, gpr),
            -1 => enc::rm(&inst::DEC_RM, w, gpr),
            // -128 fits in a byte where 128 does not.
            128 => enc::rm_i8(&inst::SUB_RM_I8, w, gpr, -128),
            _ => match i8::try_from(n) {
                Ok(n) => enc::rm_i8(&inst::ADD_RM_I8, w, gpr, n),
                Err(_) => enc::rm_i32(&inst::ADD_RM_I32, w, gpr, n),
            },
        };
        self.put(insn)?;
        self.wrote(gpr);
        self.flags_of(gpr, w);
        Ok(())
    }

    /// Emits the shortest code that sets `gpr` to `e`, or to its low half zero-extended.
    fn compute(&mut self, gpr: Gpr, e: &Expr, w: Width, keep_flags: bool) -> Done {
        if let Some(value) = e.as_const() {
            let value = match w {
                Width::W64 => value,
                Width::W32 => u64::from(low32(value)),
            };
            return self.load_const(gpr, value, keep_flags);
        }
        if let Some(reg) = e.as_reg() {
            if reg != gpr || w == Width::W32 {
                self.put(enc::rm_r(&inst::MOV_RM_R, w, gpr, reg))?;
                self.wrote(gpr);
            }
            return Ok(());
        }
        let mem = e.mem32();
        if !keep_flags {
            match (mem.base, mem.index, mem.disp) {
                (Some(base), None, n) if base == gpr => return self.add_imm(w, gpr, n),
                (Some(base), Some((i, Scale::X1)), 0) if base == gpr || i.gpr() == gpr => {
                    let other = if base == gpr { i.gpr() } else { base };
                    self.put(enc::rm_r(&inst::ADD_RM_R, w, gpr, other))?;
                    self.wrote(gpr);
                    self.flags_of(gpr, w);
                    return Ok(());
                }
                (None, Some((i, scale)), 0) if i.gpr() == gpr => {
                    let count = scale.log2().to_le_bytes();
                    let [count] = count;
                    let count = i8::from_le_bytes([count]);
                    self.put(enc::rm_i8(&inst::SHL_RM_I8, w, gpr, count))?;
                    self.wrote(gpr);
                    self.flags_of(gpr, w);
                    return Ok(());
                }
                _ => {}
            }
        }
        // [i + i] is five bytes shorter than [i * 2], which has no form without base.
        let mem = match (mem.base, mem.index) {
            (None, Some((i, Scale::X2))) => Mem {
                base: Some(i.gpr()),
                index: Some((i, Scale::X1)),
                ..mem
            },
            _ => mem,
        };
        let mem = self.frame.shortest(mem);
        self.put(enc::r_m(&inst::LEA_R_M, w, gpr, mem))?;
        self.wrote(gpr);
        Ok(())
    }

    /// The memory operand for `e + off`; a large number goes to the base register.
    fn address(&mut self, e: &Expr, off: i16) -> Result<Mem, Failure> {
        let off64 = Expr::constant(sext(i32::from(off)));
        match e.add(&off64) {
            Some(sum) => {
                if let Some(mem) = sum.mem() {
                    return Ok(self.frame.shortest(mem));
                }
                let value = sum.as_const().unwrap_or(0);
                if let Some(disp) = self.base_distance(value) {
                    return Ok(Mem::at(BASE, disp));
                }
                self.take_base()?;
                self.put(enc::o_i64(&inst::MOV_R_I64, BASE, value))?;
                self.st.base = Some(value);
                Ok(Mem::at(BASE, 0))
            }
            None => {
                self.take_base()?;
                self.compute(BASE, e, Width::W64, true)?;
                Ok(Mem::at(BASE, i32::from(off)))
            }
        }
    }
}

/// The number as a sign-extended immediate, if it fits.
fn imm32(value: u64) -> Option<i32> {
    i32::try_from(i64::from_ne_bytes(value.to_ne_bytes())).ok()
}

/// An immediate as 64 bits.
fn sext(imm: i32) -> u64 {
    u64::from_ne_bytes(i64::from(imm).to_ne_bytes())
}
