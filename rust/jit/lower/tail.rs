// SPDX-License-Identifier: GPL-2.0

//! Tail calls: the frame goes, and the other program begins in its place.
//!
//! `r12` counts down what is left of the run's tail calls. It is set by the [`wrapper`] of a program
//! that makes some, which calls the program and restores it; nothing else writes it. So a program
//! returns by its own `ret` whichever way it was entered, and one that makes no tail calls has no
//! part in this at all.

use super::super::{Jumps, TailSite};
use super::*;
use crate::abi::MAX_TAIL_CALLS;

/// What is left of the run's tail calls.
const LEFT: Gpr = Gpr::R12;

/// Emits the C entry of a program that makes tail calls: it keeps the caller's counter, as runs may
/// be inside of others, and calls the program itself.
///
/// # Errors
///
/// `ENOMEM`
pub(crate) fn wrapper(target: &Target<'_>, out: &mut Parts) -> Done {
    let buf = &mut out.buf;
    if target.mitigations.ibt {
        buf.emit(&enc::endbr64())?;
    }
    buf.emit(&enc::o(&inst::PUSH_R, Width::W64, LEFT))?;
    buf.emit(&enc::o_i32(&inst::MOV_R_I32, LEFT, MAX_TAIL_CALLS))?;
    buf.call(entry_label(0)?)?;
    buf.emit(&enc::o(&inst::POP_R, Width::W64, LEFT))?;
    frame::ret(buf, &target.mitigations)?;
    Ok(())
}

/// Emits a jump to the address in `rax` as the running kernel wants it.
fn jump_rax(buf: &mut Buffer, target: &Target<'_>) -> Done {
    match target.mitigations.jumps {
        Jumps::Thunk(thunk) => buf.jmp_absolute(thunk)?,
        Jumps::Lfence => {
            buf.emit(&enc::lfence())?;
            buf.emit(&enc::rm(&inst::JMP_RM, Width::W64, Gpr::Rax))?;
        }
        Jumps::Plain => buf.emit(&enc::rm(&inst::JMP_RM, Width::W64, Gpr::Rax))?,
        Jumps::Missing => return Err(refuse(None, Why::Mitigation("an unknown jump thunk"))),
    }
    Ok(buf.emit(&enc::zo(&inst::INT3, Width::W32))?)
}

impl Lower<'_> {
    /// `bpf_tail_call(R1 = context, R2 = map, R3 = index)`. What follows is for when it is not made.
    pub(super) fn tail_call(&mut self) -> Done {
        let fact = self.fact();
        let known = fact.map.map(usize::from);
        let array = known
            .and_then(|m| self.target.maps.get(m))
            .and_then(|m| m.array);
        let ctx = RegSet::one(Reg::R1);
        let index = self.expr(Reg::R3).as_const().map(low32);
        let out = self.out.buf.new_label()?;
        match (array, fact.key, fact.map) {
            (Some(_), Some(key), Some(map)) if self.target.tail.patch => {
                self.before_call(ctx)?;
                let check = self.out.buf.jmp_patched(Some(out))?;
                self.count(out)?;
                self.frame.leave(&mut self.out.buf)?;
                let jump = self.out.buf.jmp_patched(None)?;
                self.put(enc::zo(&inst::INT3, Width::W32))?;
                let after = self.out.buf.here();
                let site = (map, key, [check, jump, after]);
                self.out.sites.push(site, GFP_KERNEL)?;
            }
            (Some(array), ..) => {
                let rax = home(Reg::R0);
                match index {
                    Some(index) if index >= array.max_entries => {}
                    Some(index) => {
                        self.before_call(ctx)?;
                        let word = u64::from(index).wrapping_mul(8).wrapping_add(array.base);
                        let mem = self.address(&Expr::constant(word), 0)?;
                        self.put(enc::r_rm(&inst::MOV_R_RM, Width::W64, rax, mem))?;
                        self.go(out)?;
                    }
                    None => {
                        let rdx = home(Reg::R3);
                        // What R3 is computed from must not be lost to R1, which goes first.
                        self.sync(ctx, false)?;
                        if let Val::Lazy(e) = self.st.val(Reg::R3) {
                            // Only the low half counts.
                            self.evict(rdx, Some(Reg::R3))?;
                            self.compute(rdx, &e, Width::W32, false)?;
                            self.wrote_home(Reg::R3, 32);
                        }
                        let narrow = self.st.bits(Reg::R3) <= 32;
                        self.before_call(ctx)?;
                        if !narrow {
                            self.put(enc::rm_r(&inst::MOV_RM_R, Width::W32, rdx, rdx))?;
                        }
                        let max = i32::from_ne_bytes(array.max_entries.to_ne_bytes());
                        self.compare_imm(Width::W32, rdx, max)?;
                        self.out.buf.jcc(Cc::Ae, out)?;
                        self.put(enc::o_i64(&inst::MOV_R_I64, BASE, array.base))?;
                        let mem = Mem {
                            base: Some(BASE),
                            index: Index::new(rdx).map(|i| (i, Scale::X8)),
                            disp: 0,
                            gs: false,
                        };
                        self.put(enc::r_rm(&inst::MOV_R_RM, Width::W64, rax, mem))?;
                        self.go(out)?;
                    }
                }
            }
            (None, ..) => {
                let Some(lookup) = self.target.tail.lookup else {
                    return Err(self.refuse("a tail call through one of several maps"));
                };
                self.before_call(ctx.or(RegSet::one(Reg::R2)).or(RegSet::one(Reg::R3)))?;
                let (rdi, rsi, rdx) = (home(Reg::R1), home(Reg::R2), home(Reg::R3));
                // Twice, for the stack's alignment.
                self.put(enc::o(&inst::PUSH_R, Width::W64, rdi))?;
                self.put(enc::o(&inst::PUSH_R, Width::W64, rdi))?;
                self.put(enc::rm_r(&inst::MOV_RM_R, Width::W64, rdi, rsi))?;
                self.put(enc::rm_r(&inst::MOV_RM_R, Width::W32, rsi, rdx))?;
                self.out.buf.call_absolute(lookup)?;
                self.put(enc::o(&inst::POP_R, Width::W64, rdi))?;
                self.put(enc::o(&inst::POP_R, Width::W64, rdi))?;
                self.go(out)?;
            }
        }
        self.out.buf.bind(out);
        self.after_call();
        self.st.base = None;
        Ok(())
    }

    /// Goes on at the address in `rax`, unless it is NULL or no tail call is left.
    fn go(&mut self, out: Label) -> Done {
        let rax = home(Reg::R0);
        self.put(enc::rm_r(&inst::TEST_RM_R, Width::W64, rax, rax))?;
        self.out.buf.jcc(Cc::E, out)?;
        self.count(out)?;
        if self.code.barriers {
            // Were an index out of bounds, what is in rax would be no program.
            self.put(enc::lfence())?;
        }
        self.frame.leave(&mut self.out.buf)?;
        jump_rax(&mut self.out.buf, self.target)
    }

    /// Takes one from what is left, or goes to `out` when nothing is.
    fn count(&mut self, out: Label) -> Done {
        let entry = self.out.buf.new_label()?;
        let what = What::NoneLeft;
        let back = out;
        self.cold.push(Cold { entry, back, what }, GFP_KERNEL)?;
        self.put(enc::rm_i8(&inst::SUB_RM_I8, Width::W32, LEFT, 1))?;
        self.out.buf.jcc(Cc::B, entry)?;
        Ok(())
    }

    /// Nothing was left, and so it stays.
    pub(super) fn none_left(&mut self, back: Label) -> Done {
        self.put(enc::rm(&inst::INC_RM, Width::W32, LEFT))?;
        self.out.buf.jmp(back)?;
        Ok(())
    }
}

/// A site as the image has it.
pub(crate) fn site(
    (map, index, places): (u16, u32, [Pos; 3]),
    layout: &super::super::Layout,
) -> TailSite {
    let [check, jump, out] = places.map(|place| layout.offset(place));
    TailSite {
        map,
        index,
        check,
        jump,
        out,
    }
}
