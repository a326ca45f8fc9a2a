// SPDX-License-Identifier: GPL-2.0

//! The interpreter: runs a program's instructions over a [`Memory`].
//!
//! One loop over the slots; subprogram calls save what the callee may change in a fixed array of
//! frames, so nothing recurses and the kernel stack holds less than a kilobyte. What the
//! verifier proved is not trusted here: an instruction that cannot run ends the program with a
//! [`Fault`], and whether an address is good is the memory's business.

pub mod alu;

use crate::abi::MAX_FRAMES;
use crate::helper::TAIL_CALL;
use crate::isa::code::{Code, Subprog};
use crate::isa::{AtomicOp, Imm64, Insn, Reg, Size, Src, Width};
use core::cmp::Ordering;

/// What stopped a program that a checked memory did not allow to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The access at this address is not allowed.
    Access(u64),
    /// The helper of that number cannot be called.
    Helper(i32),
    /// The instruction at this slot is not one that can run.
    Insn(u32),
    /// The instruction budget is used up.
    Budget,
    /// There is no packet to load from.
    NoPacket,
}

/// The memory, and the helpers, that a program sees.
///
/// In the kernel an access goes straight to the address; on the host every access is checked.
pub trait Memory {
    /// Loads `size` bytes at `addr`, zero-extended. `may_fault`: through the fault-safe copy.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`]
    fn load(&mut self, addr: u64, size: Size, may_fault: bool) -> Result<u64, Fault>;

    /// Stores the low `size` bytes of `value` at `addr`.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`]
    fn store(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Fault>;

    /// Atomic operation at `addr`; returns the old value, zero-extended. `r0` is what `Cmpxchg`
    /// compares with.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`]
    fn atomic(
        &mut self,
        op: AtomicOp,
        addr: u64,
        size: Size,
        src: u64,
        r0: u64,
    ) -> Result<u64, Fault>;

    /// The address (or number) that a resolved `ld_imm64` loads.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`] when there is no such map.
    fn imm64(&mut self, imm: Imm64) -> Result<u64, Fault>;

    /// Address one past the top of the program's stack, which has `Code::stack_depth` bytes below.
    fn stack_top(&mut self) -> u64;

    /// Calls helper `id`.
    ///
    /// # Errors
    ///
    /// [`Fault::Helper`]
    fn call(&mut self, id: i32, args: [u64; 5]) -> Result<u64, Fault>;

    /// Tail call: finds the program at `index` of the map at `map`, and keeps it as the one that
    /// goes on. False when there is none, or the limit of tail calls is reached, so that the
    /// program goes on itself; which is what this default says.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`] when there is no such map.
    fn tail_call(&mut self, map: u64, index: u32) -> Result<bool, Fault> {
        let _ = (map, index);
        Ok(false)
    }

    /// Loads with acquire order; a plain load is one on x86-64.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`]
    #[inline]
    fn load_acquire(&mut self, addr: u64, size: Size, may_fault: bool) -> Result<u64, Fault> {
        self.load(addr, size, may_fault)
    }

    /// Stores with release order; a plain store is one on x86-64.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`]
    #[inline]
    fn store_release(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Fault> {
        self.store(addr, size, value)
    }

    /// Loads `size` bytes at `offset` of the packet that context `skb` shows, in host order
    /// (`LD_ABS`, `LD_IND`); `None` when they are not in the packet.
    ///
    /// # Errors
    ///
    /// [`Fault::NoPacket`] where there are no packets, which is what this default says.
    fn packet(&mut self, skb: u64, offset: i32, size: Size) -> Result<Option<u64>, Fault> {
        let _ = (skb, offset, size);
        Err(Fault::NoPacket)
    }

    /// Waits until all before it is done ([`Insn::Nospec`]). Nothing on the host, where nobody
    /// speculates on what a program must not see.
    #[inline]
    fn barrier(&mut self) {}

    /// Called before the instruction at `slot` runs, with `R0` to `R10`. For tests.
    #[inline(always)]
    fn step(&mut self, slot: u32, regs: &[u64; 11]) {
        let _ = (slot, regs);
    }
}

/// Times that a frame's `may_goto`s go on before they leave the loop (`BPF_MAX_LOOPS`).
const MAX_LOOPS: u32 = 8 << 20;

/// The registers.
struct Regs([u64; 11]);

impl Regs {
    #[inline(always)]
    fn get(&self, reg: Reg) -> u64 {
        self.0.get(reg.index()).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn set(&mut self, reg: Reg, value: u64) {
        if let Some(place) = self.0.get_mut(reg.index()) {
            *place = value;
        }
    }

    /// The second operand of an operation of that width.
    #[inline(always)]
    fn src(&self, width: Width, src: Src) -> u64 {
        match src {
            Src::Reg(reg) => self.get(reg),
            Src::Imm(imm) => alu::imm(width, imm),
        }
    }

    /// The address that base plus offset make.
    #[inline(always)]
    fn addr(&self, base: Reg, off: i16) -> u64 {
        self.get(base).wrapping_add(i64::from(off) as u64)
    }
}

/// What a call saves of its caller.
#[derive(Clone, Copy, Default)]
struct Frame {
    /// `R6` to `R10`.
    saved: [u64; 5],
    /// Slot to go on at.
    back: u32,
    /// The caller's stack bytes.
    stack: u16,
    /// What is left of the caller's loops.
    loops: u32,
}

/// The registers that a call saves.
const SAVED: [Reg; 5] = [Reg::R6, Reg::R7, Reg::R8, Reg::R9, Reg::R10];

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this `R0`.
    Exit(u64),
    /// By a tail call with this context: the program that [`Memory::tail_call`] found goes on.
    TailCall(u64),
}

/// Runs a program that makes no tail calls, or finds nothing to call, on context `ctx` and returns
/// its `R0`.
///
/// # Errors
///
/// As [`run_part`]; [`Fault::Helper`] for a tail call that finds a program.
pub fn run<M: Memory>(
    code: &Code,
    mem: &mut M,
    ctx: u64,
    budget: Option<u64>,
) -> Result<u64, Fault> {
    match run_part(code, mem, ctx, budget)? {
        End::Exit(value) => Ok(value),
        End::TailCall(_) => Err(Fault::Helper(TAIL_CALL)),
    }
}

/// Runs a program on context `ctx` until it ends or another goes on. A tail call leaves the memory,
/// the stack too, as it is: the other program relies on nothing there.
///
/// `budget` limits the instructions that run; `None` relies on the verifier's proof that the
/// program ends.
///
/// # Errors
///
/// A [`Fault`]: what a memory that checks refused, a spent budget, or an instruction that no
/// verified program has.
pub fn run_part<M: Memory>(
    code: &Code,
    mem: &mut M,
    ctx: u64,
    budget: Option<u64>,
) -> Result<End, Fault> {
    // On either side, so that the wrong one is not run either.
    match budget {
        None if code.barriers => {
            mem.barrier();
            go::<M, false, true>(code, mem, ctx, 0)
        }
        None => {
            mem.barrier();
            go::<M, false, false>(code, mem, ctx, 0)
        }
        Some(budget) => go::<M, true, true>(code, mem, ctx, budget),
    }
}

/// The subprogram that starts at `slot`.
fn subprog(code: &Code, slot: u32) -> Option<&Subprog> {
    // The list is in ascending order; halved by hand, as core's search adds with overflow checks.
    let mut rest: &[Subprog] = &code.subprogs;
    while !rest.is_empty() {
        let (before, from) = rest.split_at_checked(rest.len() / 2)?;
        let (middle, after) = from.split_first()?;
        match slot.cmp(&middle.start) {
            Ordering::Less => rest = before,
            Ordering::Equal => return Some(middle),
            Ordering::Greater => rest = after,
        }
    }
    None
}

/// [`run`], counting instructions if `COUNT`.
///
/// If `FENCE`, each access waits until all before it is done: what instruction this is, on which width,
/// with what operands are branches here, which a processor may take wrongly.
fn go<M: Memory, const COUNT: bool, const FENCE: bool>(
    code: &Code,
    mem: &mut M,
    ctx: u64,
    mut budget: u64,
) -> Result<End, Fault> {
    let insns: &[Insn] = &code.insns;
    let mut regs = Regs([0; 11]);
    regs.set(Reg::R1, ctx);
    regs.set(Reg::R10, mem.stack_top());
    let mut frames = [Frame::default(); MAX_FRAMES - 1];
    let mut depth = 0usize;
    let mut stack = code.subprogs.first().map_or(0, |main| main.stack);
    let mut loops = MAX_LOOPS;
    let mut pc = 0u32;

    while let Some(insn) = insns.get(pc as usize) {
        if COUNT {
            budget = budget.checked_sub(1).ok_or(Fault::Budget)?;
        }
        mem.step(pc, &regs.0);
        let may_fault = |pc: u32| code.facts.get(pc as usize).is_some_and(|f| f.may_fault);
        let mut next = pc.wrapping_add(1);
        match *insn {
            Insn::Alu {
                op,
                width,
                dst,
                src,
            } => {
                let value = alu::alu(op, width, regs.get(dst), regs.src(width, src));
                regs.set(dst, value);
            }
            Insn::Neg { width, dst } => {
                let value = alu::neg(width, regs.get(dst));
                regs.set(dst, value);
            }
            Insn::Mov { width, dst, src } => {
                let value = alu::truncate(width, regs.src(width, src));
                regs.set(dst, value);
            }
            Insn::MovSx {
                width,
                from,
                dst,
                src,
            } => {
                let value = alu::sign_extend(from, regs.get(src));
                regs.set(dst, alu::truncate(width, value));
            }
            Insn::Swap { kind, size, dst } => {
                let value = alu::swap(kind, size, regs.get(dst));
                regs.set(dst, value);
            }
            Insn::LdImm64 { dst, imm } => {
                let value = match imm {
                    Imm64::Value(value) => value,
                    imm => mem.imm64(imm)?,
                };
                regs.set(dst, value);
            }
            Insn::Hole => {}
            Insn::Load {
                size,
                sx,
                dst,
                src,
                off,
            } => {
                if FENCE {
                    mem.barrier();
                }
                let value = mem.load(regs.addr(src, off), size, may_fault(pc))?;
                let value = if sx {
                    alu::sign_extend(size, value)
                } else {
                    value
                };
                regs.set(dst, value);
            }
            Insn::Store {
                size,
                dst,
                off,
                src,
            } => {
                if FENCE {
                    mem.barrier();
                }
                let value = alu::zero_extend(size, regs.src(Width::W64, src));
                mem.store(regs.addr(dst, off), size, value)?;
            }
            Insn::Atomic {
                op,
                fetch,
                size,
                dst,
                off,
                src,
            } => {
                if FENCE {
                    mem.barrier();
                }
                let operand = alu::zero_extend(size, regs.get(src));
                let r0 = alu::zero_extend(size, regs.get(Reg::R0));
                let old = mem.atomic(op, regs.addr(dst, off), size, operand, r0)?;
                match op {
                    AtomicOp::Cmpxchg => regs.set(Reg::R0, old),
                    _ if fetch => regs.set(src, old),
                    _ => {}
                }
            }
            Insn::LoadAcquire {
                size,
                dst,
                src,
                off,
            } => {
                if FENCE {
                    mem.barrier();
                }
                let value = mem.load_acquire(regs.addr(src, off), size, may_fault(pc))?;
                regs.set(dst, value);
            }
            Insn::StoreRelease {
                size,
                dst,
                off,
                src,
            } => {
                if FENCE {
                    mem.barrier();
                }
                let value = alu::zero_extend(size, regs.get(src));
                mem.store_release(regs.addr(dst, off), size, value)?;
            }
            Insn::Ja { target, .. } => next = target,
            Insn::MayGoto { target } => match loops.checked_sub(1) {
                Some(left) => loops = left,
                None => next = target,
            },
            Insn::Jmp {
                cond,
                width,
                dst,
                src,
                target,
            } => {
                if alu::cond(cond, width, regs.get(dst), regs.src(width, src)) {
                    next = target;
                }
            }
            Insn::Call { helper: TAIL_CALL } => {
                // Only compiled programs make them in subprograms.
                if depth != 0 {
                    return Err(Fault::Insn(pc));
                }
                if mem.tail_call(regs.get(Reg::R2), regs.get(Reg::R3) as u32)? {
                    if FENCE {
                        mem.barrier();
                    }
                    return Ok(End::TailCall(regs.get(Reg::R1)));
                }
            }
            Insn::Call { helper } => {
                if FENCE {
                    mem.barrier();
                }
                let args = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5].map(|r| regs.get(r));
                let value = mem.call(helper, args)?;
                regs.set(Reg::R0, value);
            }
            Insn::CallSub { target } => {
                let callee = subprog(code, target).ok_or(Fault::Insn(pc))?;
                let frame = frames.get_mut(depth).ok_or(Fault::Insn(pc))?;
                *frame = Frame {
                    saved: SAVED.map(|r| regs.get(r)),
                    back: next,
                    stack,
                    loops,
                };
                depth = depth.wrapping_add(1);
                let top = regs.get(Reg::R10).wrapping_sub(u64::from(stack));
                regs.set(Reg::R10, top);
                stack = callee.stack;
                loops = MAX_LOOPS;
                next = target;
            }
            Insn::LdAbs { .. } | Insn::LdInd { .. } | Insn::Exit => {
                if FENCE {
                    mem.barrier();
                }
                // A load from the packet returns too, with 0, when it is out of the packet.
                let result = match *insn {
                    Insn::LdAbs { size, imm } => mem.packet(regs.get(Reg::R6), imm, size)?.ok_or(0),
                    Insn::LdInd { size, src, imm } => {
                        let offset = (regs.get(src) as i32).wrapping_add(imm);
                        mem.packet(regs.get(Reg::R6), offset, size)?.ok_or(0)
                    }
                    _ => Err(regs.get(Reg::R0)),
                };
                match result {
                    Ok(loaded) => regs.set(Reg::R0, loaded),
                    Err(value) => {
                        regs.set(Reg::R0, value);
                        let Some(up) = depth.checked_sub(1) else {
                            return Ok(End::Exit(value));
                        };
                        let frame = frames.get(up).ok_or(Fault::Insn(pc))?;
                        for (reg, saved) in SAVED.iter().zip(frame.saved) {
                            regs.set(*reg, saved);
                        }
                        (next, stack, loops) = (frame.back, frame.stack, frame.loops);
                        depth = up;
                    }
                }
            }
            Insn::Nospec => mem.barrier(),
            Insn::CallKfunc { .. } => return Err(Fault::Insn(pc)),
        }
        pc = next;
    }
    Err(Fault::Insn(pc))
}

#[cfg(test)]
mod tests;
