// SPDX-License-Identifier: GPL-2.0

//! The log's picture of a state: registers, then stack slots.

use super::domain::fmt::{Snum, Unum};
use super::explore::Verifier;
use super::source;
use super::state::reg::{Base, Delta, Num, Ptr, Range, Val};
use super::state::stack::Byte;
use super::state::State;
use crate::isa::disasm::Line;
use crate::isa::{Insn, Reg};
use core::fmt::{self, Write};

/// Where the state starts when it follows an instruction on the same line.
const ALIGNMENT: u64 = 40;
/// Columns that the start is moved by.
const MIN_ALIGNMENT: u64 = 8;

/// What is shown of the registers and slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// All of them.
    All,
    /// Those that changed since the last time.
    Changed,
}

/// Registers and slots of the running frame that changed since they were last shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changed {
    regs: u16,
    slots: u64,
}

impl Changed {
    /// Everything changed.
    pub(crate) const ALL: Changed = Changed {
        regs: u16::MAX,
        slots: u64::MAX,
    };

    /// The register changed.
    pub(crate) fn reg(&mut self, r: Reg) {
        self.regs |= 1 << r.index();
    }

    /// The slot changed.
    pub(crate) fn slot(&mut self, slot: usize) {
        self.slots |= 1u64.checked_shl(slot as u32).unwrap_or(0);
    }

    fn any(&self) -> bool {
        self.regs != 0 || self.slots != 0
    }
}

/// Attributes in parentheses, separated by commas.
struct List<'a> {
    out: &'a mut dyn Write,
    first: bool,
}

impl List<'_> {
    fn item(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        if !self.first {
            self.out.write_str(",")?;
        }
        self.first = false;
        self.out.write_fmt(text)
    }
}

impl Verifier<'_> {
    fn write_num(&self, out: &mut dyn Write, n: &Num) -> fmt::Result {
        if self.nodes.is_marked(n.node) {
            out.write_str("P")?;
        }
        if let Some(c) = n.v.is_const() {
            return write!(out, "{}", Snum(c as i64));
        }
        out.write_str("scalar(")?;
        let mut first = true;
        if n.link.id != 0 {
            write!(out, "id={}", n.link.id)?;
            first = false;
            match n.link.delta {
                Delta::None => {}
                Delta::Add32(d) | Delta::Add64(d) => write!(out, "{d:+}")?,
            }
        }
        n.v.write_ranges(out, first)?;
        out.write_str(")")
    }

    fn write_ptr(&self, out: &mut dyn Write, p: &Ptr, frame: usize) -> fmt::Result {
        out.write_str(p.base.name())?;
        if let Base::Stack { frame: of } = p.base {
            if usize::from(of) != frame {
                write!(out, "[{of}]")?;
            }
            if let Some(off) = p.const_offset() {
                return write!(out, "{}", Snum(off));
            }
        }
        out.write_str("(")?;
        let mut list = List { out, first: true };
        if p.id != 0 {
            list.item(format_args!("id={}", p.id))?;
        }
        match p.base {
            Base::ConstMap { map }
            | Base::MapOrNull { outer: map }
            | Base::MapValue { map, .. }
            | Base::MapKey { map } => {
                if let Ok(m) = self.map(map) {
                    list.item(format_args!("ks={},vs={}", m.key_size, m.value_size))?;
                }
            }
            Base::Packet(r) | Base::PacketMeta(r) => {
                let shown = match r {
                    Range::Unknown => 0,
                    // In the log the range counts from the pointer's base.
                    Range::Bytes(n) => i64::from(n).saturating_add(p.var.umax() as i64),
                    Range::AtEnd => -1,
                    Range::BeyondEnd => -2,
                };
                list.item(format_args!("r={}", Unum(shown as u64)))?;
            }
            Base::RingMem { size, .. } | Base::Mem { size, .. } => {
                list.item(format_args!("sz={}", Unum(u64::from(size))))?;
            }
            Base::Ctx
            | Base::Stack { .. }
            | Base::Sock { .. }
            | Base::Func { .. }
            | Base::PacketEnd => {}
        }
        match p.const_offset() {
            Some(0) => {}
            Some(off) => list.item(format_args!("imm={}", Snum(off)))?,
            None => {
                let first = list.first;
                p.offset().write_ranges(out, first)?;
            }
        }
        out.write_str(")")
    }

    fn write_val(&self, out: &mut dyn Write, v: &Val, frame: usize) -> fmt::Result {
        match v {
            Val::NotInit => out.write_str("?"),
            Val::Scalar(n) => self.write_num(out, n),
            Val::Ptr(p) => self.write_ptr(out, p, frame),
        }
    }

    fn write_state(
        &self,
        out: &mut dyn Write,
        state: &State,
        number: usize,
        show: Show,
    ) -> fmt::Result {
        let Some(frame) = state.frame(number) else {
            return Ok(());
        };
        if number != 0 {
            write!(out, " frame{number}:")?;
        }
        for (r, v) in frame.regs.iter() {
            if matches!(v, Val::NotInit)
                || (show == Show::Changed && self.changed.regs & (1 << r.index()) == 0)
            {
                continue;
            }
            write!(out, " R{}=", r.index())?;
            self.write_val(out, v, number)?;
        }
        for (i, s) in (0..u32::MAX).zip(frame.stack.slots()) {
            if (show == Show::Changed && self.changed.slots & 1u64.checked_shl(i).unwrap_or(0) == 0)
                || s.bytes.iter().all(|b| b.is_empty())
            {
                continue;
            }
            write!(out, " fp-{}=", i.saturating_add(1).saturating_mul(8))?;
            let spill = s.is_spill();
            for b in s.bytes.iter().rev() {
                if spill && matches!(b, Byte::Spill) {
                    break;
                }
                out.write_char(b.letter())?;
            }
            if spill {
                self.write_val(out, &s.val, number)?;
            }
        }
        let mut before = " refs=";
        for r in state.refs.list() {
            write!(out, "{}{}", before, r.id)?;
            before = ",";
        }
        if let Some(lock) = state.lock.filter(|lock| lock.id != 0) {
            write!(out, "{}{}", before, lock.id)?;
        }
        if frame.callback {
            out.write_str(" cb")?;
        }
        out.write_str("\n")
    }

    /// Logs frame `number` of `state`.
    pub(crate) fn print_state(&mut self, state: &State, number: usize, show: Show) {
        // The log is taken out while the state is read, and put back.
        let mut log = core::mem::take(self.log);
        let _ = self.write_state(&mut log, state, number, show);
        *self.log = log;
        if show == Show::Changed {
            self.changed = Changed::default();
        }
    }

    /// Logs frame `number` of the current state.
    pub(crate) fn print_current(&mut self, number: usize, show: Show) {
        let mut log = core::mem::take(self.log);
        let _ = self.write_state(&mut log, &self.cur, number, show);
        *self.log = log;
        if show == Show::Changed {
            self.changed = Changed::default();
        }
    }

    /// Logs what the last instruction changed, behind it on its line when nothing came between.
    pub(crate) fn print_after(&mut self) {
        if self.insn_end != 0 && self.insn_end == self.log.pos() {
            self.log.reset(self.insn_end.saturating_sub(1));
            let pos = self.insn_width;
            let upto = pos
                .saturating_add(MIN_ALIGNMENT / 2)
                .max(ALIGNMENT)
                .checked_next_multiple_of(MIN_ALIGNMENT)
                .unwrap_or(pos);
            let width = upto.saturating_sub(pos).saturating_sub(1) as usize;
            self.log.put(format_args!("{:>width$};", " "));
        } else {
            self.log.put(format_args!("{}:", self.at));
        }
        let depth = self.cur.depth();
        self.print_current(depth, Show::Changed);
    }

    /// Logs the source line of the instruction that comes next, if that was not the last one logged.
    pub(crate) fn print_line(&mut self) {
        if self.log.on() {
            source::print(&*self.env, self.log, &mut self.shown_line, self.at);
        }
    }

    /// Logs the instruction that comes next, and before it what has changed.
    pub(crate) fn print_insn(&mut self, insn: &Insn) {
        if self.changed.any() {
            self.print_after();
        }
        self.print_line();
        let start = self.log.pos();
        self.log
            .line(format_args!("{}: {}", self.at, Line::new(self.at, insn)));
        self.insn_width = self.log.pos().saturating_sub(start);
        self.insn_end = self.log.pos();
    }
}
