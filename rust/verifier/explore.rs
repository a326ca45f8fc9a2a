// SPDX-License-Identifier: GPL-2.0

//! Exploration: follows every path of the program, one at a time, depth first.
//!
//! At a conditional jump with two possible sides one is followed and the other is put on a stack.
//! A path ends at the main program's exit, or where the state is contained in a checkpoint whose
//! continuations are known to be safe ([`super::prune`]).

use super::cfg::Flags;
use super::error::refuse;
use super::fixup;
use super::global::Globals;
use super::log::{self, Log};
use super::precision::{Node, Nodes};
use super::print::{Changed, Show};
use super::prune::{Checkpoints, Visit};
use super::state::refs::Refs;
use super::state::reg::{Base, Num, Ptr, Val, FOUND_IN};
use super::state::{Pool, State};
use super::subprog::Subprogs;
use super::transfer::Mask;
use super::watch::Watcher;
use super::{Env, MapFacts, Options, Program};
use crate::abi::COMPLEXITY_LIMIT_INSNS;
use crate::ctx;
use crate::isa::{Insn, Reg, Src};
use kernel::prelude::*;

/// Postponed branches at most (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
const MAX_PENDING: usize = 8192;

/// Instructions between two looks at [`Env::interrupted`].
const INTERRUPT_INTERVAL: u32 = 512;

/// Where a path goes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To the instruction that follows.
    Next,
    /// To that slot.
    To(u32),
    /// To that slot, behind a subprogram's return.
    Return(u32),
    /// Nowhere: the program ends.
    End,
}

/// A value that all paths agree on, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Agreed<T> {
    /// No path came by.
    #[default]
    Unseen,
    /// All paths so far have this one.
    One(T),
    /// They differ.
    Many,
}

impl<T: Copy + PartialEq> Agreed<T> {
    /// One more path has `v`, or nothing certain.
    pub(crate) fn add(&mut self, v: Option<T>) {
        *self = match (*self, v) {
            (Agreed::Unseen, Some(v)) => Agreed::One(v),
            (Agreed::One(o), Some(v)) if o == v => Agreed::One(o),
            _ => Agreed::Many,
        };
    }

    /// What all agree on.
    pub(crate) fn get(self) -> Option<T> {
        match self {
            Agreed::One(v) => Some(v),
            Agreed::Unseen | Agreed::Many => None,
        }
    }
}

/// What a memory access goes to, as far as rewriting must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The context, whose accesses are rewritten.
    Ctx,
    /// A socket of that kind, whose accesses are rewritten, too.
    Sock(ctx::Sock),
    /// Anything that is accessed as it stands.
    Plain,
}

/// What was learnt of one instruction on all paths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Learnt {
    /// Some path came by.
    pub(crate) seen: bool,
    /// What its memory operand is.
    pub(crate) target: Option<Target>,
    /// Its map argument.
    pub(crate) map: Agreed<u16>,
    /// First four bytes of its key argument.
    pub(crate) key: Agreed<u32>,
    /// First slot of its callback.
    pub(crate) callback: Agreed<u32>,
    /// Its divisor is not zero.
    pub(crate) nonzero: Agreed<()>,
    /// It writes to the packet.
    pub(crate) writes_packet: bool,
    /// It accesses the stack on some path.
    pub(crate) stack: bool,
    /// What in-tree's masks would be for a sum of registers, by loaders without CAP_PERFMON.
    pub(crate) mask: Option<Mask>,
}

/// A branch that waits to be followed.
struct Pending {
    state: State,
    at: u32,
    prev: u32,
    parent: Option<u32>,
    log_pos: u64,
}

/// Figures for the log's last line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Instructions simulated.
    pub(crate) insns: u32,
    /// Jumps simulated.
    pub(crate) jumps: u32,
    /// Most checkpoints that one instruction had.
    pub(crate) max_states_per_insn: u32,
    /// Checkpoints made.
    pub(crate) total_states: u32,
    /// Most checkpoints at one time.
    pub(crate) peak_states: u32,
    /// Instructions of the main program, when it is done.
    pub(crate) main_insns: u32,
    /// Byte up to which the context is accessed.
    pub(crate) ctx_end: u32,
}

impl Figures {
    /// Logs the last line.
    pub(crate) fn print(&self, log: &mut Log) {
        log.line(format_args!(
            "processed {} insns (limit {}) max_states_per_insn {} total_states {} peak_states {} \
             mark_read 0",
            self.insns,
            COMPLEXITY_LIMIT_INSNS,
            self.max_states_per_insn,
            self.total_states,
            self.peak_states
        ));
    }
}

/// The exploration of one program.
pub(crate) struct Verifier<'a> {
    /// The world outside.
    pub(crate) env: &'a mut dyn Env,
    /// The log.
    pub(crate) log: &'a mut Log,
    /// What the loader said.
    pub(crate) options: &'a Options,
    /// The program and what is known of it beforehand.
    pub(crate) prog: &'a Program,
    /// Subprograms; the stack they use is found on the way.
    pub(crate) subs: Subprogs,
    /// Global functions.
    pub(crate) globals: Globals,
    /// The state on the path that is followed.
    pub(crate) cur: State,
    /// The last checkpoint on that path.
    pub(crate) parent: Option<u32>,
    /// The instruction that is simulated.
    pub(crate) at: u32,
    /// The one before it.
    pub(crate) prev: u32,
    /// See [`super::precision`].
    pub(crate) nodes: Nodes,
    /// Spare frames.
    pub(crate) pool: Pool,
    /// See [`super::prune`].
    pub(crate) checkpoints: Checkpoints,
    /// Per instruction.
    pub(crate) learnt: KVVec<Learnt>,
    /// Figures.
    pub(crate) figures: Figures,
    /// What to log next.
    pub(crate) changed: Changed,
    /// Log position behind the last instruction's line.
    pub(crate) insn_end: u64,
    /// Length of that line.
    pub(crate) insn_width: u64,
    /// The source line that was logged last.
    pub(crate) shown_line: Option<usize>,
    /// A number that is not constant was added to a pointer where in-tree needs masks.
    pub(crate) masked: bool,
    /// See [`super::watch`].
    pub(crate) watcher: Option<&'a mut dyn Watcher>,
    pending: KVec<Pending>,
    last_id: u32,
    last_run: u32,
}

/// What exploration found out about a program that it accepts.
pub(crate) struct Proved {
    /// Per instruction.
    pub(crate) learnt: KVVec<Learnt>,
    /// Subprograms and their stack.
    pub(crate) subs: Subprogs,
    /// Stack of the deepest chain of calls.
    pub(crate) stack_depth: u16,
}

impl<'a> Verifier<'a> {
    /// Ready to run from the program's first instruction.
    pub(crate) fn new(
        env: &'a mut dyn Env,
        log: &'a mut Log,
        options: &'a Options,
        prog: &'a Program,
        subs: Subprogs,
        globals: Globals,
    ) -> Result<Self> {
        let mut pool = Pool::default();
        let mut top = pool.frame()?;
        top.regs[Reg::R1] = Val::Ptr(Ptr::new(Base::Ctx));
        top.regs[Reg::R10] = Val::Ptr(Ptr::new(Base::Stack { frame: 0 }));
        Ok(Verifier {
            checkpoints: Checkpoints::new(prog.insns.len())?,
            learnt: KVVec::from_elem(Learnt::default(), prog.insns.len(), GFP_KERNEL)?,
            env,
            log,
            options,
            prog,
            subs,
            globals,
            cur: State {
                callers: KVec::new(),
                top,
                refs: Refs::default(),
                lock: None,
                rounds: 0,
            },
            parent: None,
            at: 0,
            prev: 0,
            nodes: Nodes::default(),
            pool,
            figures: Figures::default(),
            changed: Changed::ALL,
            insn_end: 0,
            insn_width: 0,
            shown_line: None,
            masked: false,
            watcher: None,
            pending: KVec::new(),
            last_id: 0,
            last_run: 0,
        })
    }

    /// Checks the stack of all chains of calls, which is known now, and returns that of the deepest.
    ///
    /// # Errors
    ///
    /// `EACCES` for too much stack, `E2BIG` for too many frames, `EINVAL` for a load from the packet in a
    /// callback.
    pub(crate) fn check_depth(&mut self) -> Result<u16> {
        self.add_scratch();
        if !self.globals.is_empty() {
            self.subs.check_packet_loads(&self.prog.insns, self.log)?;
        }
        self.subs.check_depth(&self.prog.insns, self.log)
    }

    /// Logs how much stack each subprogram uses (`BPF_LOG_STATS`); `max` is the deepest chain's.
    pub(crate) fn print_stack(&mut self, max: u16) {
        if self.log.level & log::STATS == 0 {
            return;
        }
        let mut before = "stack depth ";
        for s in self.subs.list.iter() {
            self.log.put(format_args!("{}{}", before, s.stack));
            before = "+";
        }
        self.log.line(format_args!(" max {max}"));
        self.print_insns();
    }

    /// What rewriting needs.
    pub(crate) fn into_proved(self, stack_depth: u16) -> Proved {
        Proved {
            learnt: self.learnt,
            subs: self.subs,
            stack_depth,
        }
    }

    /// Gives more stack to subprograms with calls that become loops or context accesses that will
    /// need it.
    fn add_scratch(&mut self) {
        let prog = self.options.prog_type;
        for s in self.subs.list.iter_mut() {
            s.scratch = (s.start..s.end).any(|at| {
                let learnt = self.learnt.get(at as usize);
                let ctx = learnt.is_some_and(|l| l.seen && l.target == Some(Target::Ctx));
                let off = match self.prog.insns.get(at as usize) {
                    Some(Insn::Load { off, .. } | Insn::Store { off, .. }) => *off,
                    _ => return false,
                };
                ctx && ctx::needs_scratch(prog, off)
            });
            let loops = (s.start..s.end).filter_map(|at| {
                let learnt = self.learnt.get(at as usize)?;
                let insn = self.prog.insns.get(at as usize)?;
                (learnt.callback != Agreed::Unseen).then(|| fixup::loop_stack(insn))
            });
            let loops = loops.max().unwrap_or(0);
            if loops != 0 {
                s.stack = s.stack.saturating_add(loops);
                s.loops = s.stack;
            }
            if s.scratch {
                s.stack = s.stack.saturating_add(8);
            }
        }
    }

    /// Ready to run from slot `at` in that state, with nothing known of what was explored before.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn restart(&mut self, state: State, at: u32) -> Result {
        self.checkpoints = Checkpoints::new(self.prog.insns.len())?;
        self.nodes = Nodes::default();
        let old = core::mem::replace(&mut self.cur, state);
        self.pool.put(old);
        self.parent = None;
        self.at = at;
        self.changed = Changed::ALL;
        self.shown_line = None;
        Ok(())
    }

    /// Follows all paths from where it stands.
    ///
    /// # Errors
    ///
    /// The errno of the first rule that some path breaks; `E2BIG` past the limits, `EAGAIN` when
    /// interrupted, `ENOMEM`.
    pub(crate) fn run(&mut self) -> Result {
        let prog = self.prog;
        let mut came_from = false;
        loop {
            let insn = prog.insns.get(self.at as usize).ok_or(EFAULT)?;
            self.figures.insns = self.figures.insns.saturating_add(1);
            if self.figures.insns > COMPLEXITY_LIMIT_INSNS {
                return refuse!(
                    self.log,
                    E2BIG,
                    "BPF program is too large. Processed {} insn",
                    self.figures.insns
                );
            }
            if self.figures.insns % INTERRUPT_INTERVAL == 0 && self.env.interrupted() {
                return Err(EAGAIN);
            }
            let flags = prog.cfg.flags(self.at);
            if flags.has(Flags::CALLBACK) && self.cur.top.run == 0 {
                self.last_run = self.last_run.saturating_add(1);
                self.cur.top.run = self.last_run;
            }
            if flags.has(Flags::PRUNE) && self.visit()? == Visit::Safe {
                if self.log.level1() {
                    if came_from {
                        self.log
                            .line(format_args!("\nfrom {} to {}: safe", self.prev, self.at));
                    } else {
                        self.log.line(format_args!("{}: safe", self.at));
                    }
                }
                if !self.pop() {
                    return Ok(());
                }
                came_from = true;
                continue;
            }
            if self.log.level1() {
                if came_from && self.log.level2() {
                    self.log
                        .put(format_args!("\nfrom {} to {}:", self.prev, self.at));
                    let depth = self.cur.depth();
                    self.print_current(depth, Show::All);
                    self.changed = Changed::default();
                }
                came_from = false;
                self.print_insn(insn);
            }
            self.learn(|l| l.seen = true);
            self.show_watcher();
            self.prev = self.at;
            let flow = self.step(insn)?;
            match flow {
                Flow::Next => self.at = self.at.wrapping_add(1),
                Flow::To(at) => self.at = at,
                Flow::Return(at) => {
                    self.at = at;
                    came_from = true;
                }
                Flow::End => {
                    if !self.pop() {
                        return Ok(());
                    }
                    came_from = true;
                }
            }
        }
    }

    /// Ends the current path and goes on with the branch put aside last; false when there is none.
    fn pop(&mut self) -> bool {
        self.changed = Changed::ALL;
        self.checkpoints.path_ended(self.parent);
        let Some(p) = self.pending.pop() else {
            return false;
        };
        if !self.log.level2() {
            self.log.reset(p.log_pos);
        }
        let old = core::mem::replace(&mut self.cur, p.state);
        self.pool.put(old);
        self.at = p.at;
        self.prev = p.prev;
        self.parent = p.parent;
        true
    }

    /// Puts a copy of the current state aside, to be continued at `at`; `edit` changes the copy.
    ///
    /// # Errors
    ///
    /// `E2BIG` when too many wait, `ENOMEM`, those of `edit`.
    pub(crate) fn postpone(
        &mut self,
        at: u32,
        edit: impl FnOnce(&mut Self, &mut State) -> Result,
    ) -> Result {
        let mut state = self.pool.copy(&self.cur)?;
        edit(self, &mut state)?;
        let pending = Pending {
            state,
            at,
            prev: self.at,
            parent: self.parent,
            log_pos: self.log.pos(),
        };
        self.pending.push(pending, GFP_KERNEL)?;
        if self.pending.len() > MAX_PENDING {
            return refuse!(
                self.log,
                E2BIG,
                "The sequence of {} jumps is too complex.",
                self.pending.len()
            );
        }
        self.checkpoints.path_added(self.parent);
        Ok(())
    }

    /// Simulates one instruction.
    fn step(&mut self, insn: &Insn) -> Result<Flow> {
        match *insn {
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
            Insn::Hole | Insn::Nospec => Err(EFAULT),
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
            Insn::LoadAcquire {
                size,
                dst,
                src,
                off,
            } => self.load_acquire(size, dst, src, off),
            Insn::StoreRelease {
                size,
                dst,
                off,
                src,
            } => self.store_release(size, dst, off, src),
            Insn::LdAbs { .. } => self.ld_packet(None),
            Insn::LdInd { src, .. } => self.ld_packet(Some(src)),
            Insn::Ja { target, .. } => {
                self.count_jump();
                Ok(Flow::To(target))
            }
            Insn::MayGoto { .. } => {
                refuse!(self.log, ENOTSUPP, "may_goto is not supported")
            }
            Insn::Jmp {
                cond,
                width,
                dst,
                src,
                target,
            } => {
                self.count_jump();
                self.branch(cond, width, dst, src, target)
            }
            Insn::Call { helper } => {
                self.count_jump();
                self.call_helper(helper)
            }
            Insn::CallSub { target } => {
                self.count_jump();
                self.call_sub(target)
            }
            Insn::CallKfunc { id: 0, .. } => refuse!(
                self.log,
                EINVAL,
                "invalid kernel function call not eliminated in verifier pass"
            ),
            Insn::CallKfunc { .. } => refuse!(
                self.log,
                ENOTSUPP,
                "calling kernel function is not supported without CONFIG_DEBUG_INFO_BTF"
            ),
            Insn::Exit => {
                self.count_jump();
                self.exit()
            }
        }
    }

    fn count_jump(&mut self) {
        self.figures.jumps = self.figures.jumps.wrapping_add(1);
    }

    /// A new identity.
    pub(crate) fn new_id(&mut self) -> u32 {
        self.last_id = self.last_id.saturating_add(1);
        self.last_id
    }

    /// Records something about the current instruction.
    pub(crate) fn learn(&mut self, f: impl FnOnce(&mut Learnt)) {
        if let Some(l) = self.learnt.get_mut(self.at as usize) {
            f(l);
        }
    }

    /// The value of a register of the running frame.
    pub(crate) fn reg(&self, r: Reg) -> &Val {
        &self.cur.top.regs[r]
    }

    /// Sets a register of the running frame.
    pub(crate) fn set(&mut self, r: Reg, v: Val) {
        self.cur.top.regs[r] = v;
        self.changed.reg(r);
    }

    /// The value of a register that an instruction reads.
    ///
    /// # Errors
    ///
    /// `EACCES` when it holds nothing.
    pub(crate) fn read(&mut self, r: Reg) -> Result<Val> {
        match *self.reg(r) {
            Val::NotInit => refuse!(self.log, EACCES, "R{} !read_ok", r.index()),
            v => Ok(v),
        }
    }

    /// The value of an operand.
    ///
    /// # Errors
    ///
    /// As [`Verifier::read`].
    pub(crate) fn read_src(&mut self, s: Src) -> Result<Val> {
        match s {
            Src::Reg(r) => self.read(r),
            Src::Imm(k) => Ok(Val::constant(i64::from(k) as u64)),
        }
    }

    /// Refuses a write to the frame pointer.
    pub(crate) fn writable(&mut self, r: Reg) -> Result {
        if r == Reg::R10 {
            return refuse!(self.log, EACCES, "frame pointer is read only");
        }
        Ok(())
    }

    /// The value is a pointer that the loader may not see as a number.
    pub(crate) fn leaks(&self, v: &Val) -> bool {
        !self.options.allow_ptr_leaks && matches!(v, Val::Ptr(_))
    }

    /// A decision relied on the value, if it is a number.
    pub(crate) fn mark(&mut self, v: &Val) -> Result {
        match v {
            Val::Scalar(n) => self.nodes.mark(n.node),
            Val::NotInit | Val::Ptr(_) => Ok(()),
        }
    }

    /// The number computed from two others.
    pub(crate) fn derived(
        &mut self,
        v: super::domain::scalar::Scalar,
        a: Node,
        b: Node,
    ) -> Result<Num> {
        Ok(Num {
            node: self.nodes.join(a, b)?,
            ..Num::fresh(v)
        })
    }

    /// The facts of a used map.
    ///
    /// # Errors
    ///
    /// `EFAULT` when there is no such map.
    pub(crate) fn map(&self, map: u16) -> Result<MapFacts> {
        let index = u32::from(map & !FOUND_IN);
        let facts = match map & FOUND_IN {
            0 => self.env.map(index),
            _ => self.env.inner_map(index),
        };
        facts.ok_or(EFAULT)
    }

    /// Index of the current subprogram's frame in the state.
    pub(crate) fn depth(&self) -> usize {
        self.cur.depth()
    }

    /// The subprogram that runs in frame `depth` uses at least `bytes` of stack.
    pub(crate) fn use_stack(&mut self, depth: usize, bytes: u32) {
        let Some(sub) = self.cur.frame(depth).map(|f| f.subprog as usize) else {
            return;
        };
        if let Some(s) = self.subs.list.get_mut(sub) {
            s.stack = s
                .stack
                .max(bytes.checked_next_multiple_of(8).unwrap_or(u32::MAX));
        }
    }
}
