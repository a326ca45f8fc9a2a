// SPDX-License-Identifier: GPL-2.0

//! Functions and source lines: records by which a load names types and text of its type information.
//!
//! Nothing is proved by them. They say in the log which source line an instruction is from, and what
//! user space is shown of a loaded program; for that they follow the instructions through the rewriting.

use super::error::refuse;
use super::log::Log;
use super::subprog::Subprogs;
use super::{fixup, Env};
use crate::btf::{Btf, Kind};
use crate::isa::{Insn, RawInsn};
use kernel::prelude::*;

/// A function (`struct bpf_func_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Func {
    /// Its first slot.
    pub slot: u32,
    /// Number of its type.
    pub ty: u32,
}

/// A source line (`struct bpf_line_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The first slot that comes from it.
    pub slot: u32,
    /// Offset of the file's name.
    pub file: u32,
    /// Offset of its text.
    pub text: u32,
    /// Its number, times 1024, and a column.
    pub col: u32,
}

impl Line {
    fn number(&self) -> u32 {
        self.col >> 10
    }
}

/// Why not all records of lines could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Their number or size is wrong.
    Size,
    /// A longer record holds something unknown.
    Tail,
    /// It is not there.
    Fault,
}

/// All records of a load.
#[derive(Debug, Default)]
pub struct Source {
    /// Functions in order.
    pub funcs: KVVec<Func>,
    /// Lines in order.
    pub lines: KVVec<Line>,
    /// What is behind the last line.
    pub cut: Option<Cut>,
}

/// Bytes of a name that are looked at.
const NAME: usize = 4096;

impl Source {
    /// Takes the next function in.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it is not behind the last one, or of no function's type; `ENOMEM`.
    pub fn add_func(&mut self, func: Func, btf: &Btf, log: &mut Log) -> Result {
        match self.funcs.last() {
            None if func.slot != 0 => {
                log.put(format_args!(
                    "nonzero insn_off {} for the first func info record",
                    func.slot
                ));
                return Err(EINVAL);
            }
            Some(last) if func.slot <= last.slot => {
                log.put(format_args!(
                    "same or smaller insn offset ({}) than previous func info record ({})",
                    func.slot, last.slot
                ));
                return Err(EINVAL);
            }
            _ => {}
        }
        if btf.ty(func.ty).is_none_or(|t| t.kind != Kind::Func) {
            log.put(format_args!(
                "invalid type id {} in func info",
                func.ty as i32
            ));
            return Err(EINVAL);
        }
        self.funcs.push(func, GFP_KERNEL)?;
        Ok(())
    }

    /// The records fit the program.
    ///
    /// # Errors
    ///
    /// `EINVAL`; what ended the reading of lines.
    pub(crate) fn check(
        &self,
        btf: &Btf,
        subs: &Subprogs,
        insns: &[Insn],
        raw: &[RawInsn],
        log: &mut Log,
    ) -> Result {
        self.check_funcs(btf, subs, insns, log)?;
        self.check_lines(btf, subs, raw, log)
    }

    fn check_funcs(&self, btf: &Btf, subs: &Subprogs, insns: &[Insn], log: &mut Log) -> Result {
        if self.funcs.is_empty() {
            return Ok(());
        }
        if self.funcs.len() != subs.list.len() {
            return refuse!(
                log,
                EINVAL,
                "number of funcs in func_info doesn't match number of subprogs"
            );
        }
        for (i, (func, sub)) in self.funcs.iter().zip(&subs.list).enumerate() {
            if func.slot != sub.start {
                return refuse!(
                    log,
                    EINVAL,
                    "func_info BTF section doesn't match subprog layout in BPF program"
                );
            }
            // What another program leaves in R0 is the function's result then.
            if i == 0 || returns_number(btf, func.ty) {
                continue;
            }
            let own = insns.get(sub.start as usize..sub.end as usize);
            let loads = |insn: &Insn| matches!(insn, Insn::LdAbs { .. } | Insn::LdInd { .. });
            if own.is_some_and(|own| own.iter().any(loads)) {
                return refuse!(
                    log,
                    EINVAL,
                    "LD_ABS is only allowed in functions that return 'int'."
                );
            }
            if sub.tail_call {
                return refuse!(
                    log,
                    EINVAL,
                    "tail_call is only allowed in functions that return 'int'."
                );
            }
        }
        Ok(())
    }

    fn check_lines(&self, btf: &Btf, subs: &Subprogs, raw: &[RawInsn], log: &mut Log) -> Result {
        let mut prev = 0;
        let mut starts = subs.list.iter().enumerate().peekable();
        for (i, line) in self.lines.iter().enumerate() {
            let insn = raw.get(line.slot as usize);
            let Some(insn) = insn.filter(|_| i == 0 || line.slot > prev) else {
                return refuse!(
                    log,
                    EINVAL,
                    "Invalid line_info[{i}].insn_off:{} (prev_offset:{prev} prog->len:{})",
                    line.slot,
                    raw.len()
                );
            };
            if insn.code == 0 {
                return refuse!(log, EINVAL, "Invalid insn code at line_info[{i}].insn_off");
            }
            if !btf.has_string(line.text) || !btf.has_string(line.file) {
                return refuse!(
                    log,
                    EINVAL,
                    "Invalid line_info[{i}].line_off or .file_name_off"
                );
            }
            match starts.peek() {
                Some((_, sub)) if sub.start == line.slot => {
                    starts.next();
                }
                Some((n, sub)) if sub.start < line.slot => {
                    return refuse!(log, EINVAL, "missing bpf_line_info for func#{n}");
                }
                _ => {}
            }
            prev = line.slot;
        }
        match self.cut {
            Some(Cut::Size) => return Err(EINVAL),
            Some(Cut::Fault) => return Err(EFAULT),
            Some(Cut::Tail) => {
                log.put(format_args!("nonzero tailing record in line_info"));
                return Err(E2BIG);
            }
            None => {}
        }
        if let Some((n, _)) = starts.peek().filter(|_| !self.lines.is_empty()) {
            return refuse!(
                log,
                EINVAL,
                "missing bpf_line_info for {} funcs starting from func#{n}",
                subs.list.len().saturating_sub(*n)
            );
        }
        Ok(())
    }

    /// The line that slot `at` comes from.
    fn line_at(&self, at: u32) -> Option<usize> {
        let behind = self.lines.partition_point(|line| line.slot <= at);
        behind.checked_sub(1)
    }

    /// The records of the program that came out of the rewriting: what had no code left goes, and
    /// where several lines begin at one slot now the last is the one that is there.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn moved(&self, map: &fixup::Moved, len: usize) -> Result<Source> {
        let mut out = Source::default();
        for func in &self.funcs {
            if let Some(slot) = map.start(func.slot) {
                let func = Func { slot, ..*func };
                out.funcs.push(func, GFP_KERNEL_ACCOUNT)?;
            }
        }
        for line in &self.lines {
            let to = match map.start(line.slot) {
                Some(slot) => slot,
                None => map.slot(line.slot).ok_or(EFAULT)?,
            };
            if to as usize >= len {
                continue;
            }
            let line = Line { slot: to, ..*line };
            match out.lines.last_mut() {
                Some(last) if last.slot == to => *last = line,
                _ => out.lines.push(line, GFP_KERNEL_ACCOUNT)?,
            }
        }
        Ok(out)
    }
}

/// The function returns an integer of eight bytes at most, or a value of an enumeration.
fn returns_number(btf: &Btf, func: u32) -> bool {
    let result = || {
        let func = btf.ty(func)?;
        let proto = btf.ty(func.refers())?;
        btf.skip_modifiers(proto.refers())
    };
    result().is_some_and(|t| t.kind.is_enum() || t.kind == Kind::Int && t.size <= 8)
}

/// Logs the source line of slot `at`, unless it is the one that was logged last.
pub(crate) fn print(env: &dyn Env, log: &mut Log, shown: &mut Option<usize>, at: u32) {
    let (Some(source), Some(btf)) = (env.source(), env.btf()) else {
        return;
    };
    let Some(index) = source.line_at(at) else {
        return;
    };
    let Some(line) = source.lines.get(index) else {
        return;
    };
    let last = shown.and_then(|last| source.lines.get(last));
    if last.is_some_and(|last| last.file == line.file && last.number() == line.number()) {
        return;
    }
    let text = btf.prefix(line.text, NAME).unwrap_or(&[]);
    let is_space = |c: &u8| matches!(c, b' ' | 9..=13 | 0xa0);
    let start = text.iter().position(|c| !is_space(c)).unwrap_or(text.len());
    let file = btf.prefix(line.file, NAME).unwrap_or(&[]);
    let name = file
        .iter()
        .rposition(|&c| c == b'/')
        .map_or(0, |slash| slash.saturating_add(1));
    log.put(format_args!("; "));
    log.put_bytes(text.get(start..).unwrap_or(&[]));
    log.put(format_args!(" @ "));
    log.put_bytes(file.get(name..).unwrap_or(&[]));
    log.put(format_args!(":{}\n", line.number()));
    *shown = Some(index);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_follow_the_code() {
        let mut source = Source::default();
        for (slot, col) in [(0, 1024), (2, 2048), (3, 3072), (5, 4096), (7, 5120)] {
            let line = Line {
                slot,
                col,
                ..Line::default()
            };
            source.lines.push(line, GFP_KERNEL).unwrap();
        }
        source
            .funcs
            .push(Func { slot: 0, ty: 1 }, GFP_KERNEL)
            .unwrap();
        source
            .funcs
            .push(Func { slot: 5, ty: 2 }, GFP_KERNEL)
            .unwrap();
        source
            .funcs
            .push(Func { slot: 7, ty: 3 }, GFP_KERNEL)
            .unwrap();
        // Slots 2 and 3 are dead, and the function at 7; the one at 5 begins with something new.
        let mut map = fixup::Moved::default();
        for to in [0, 1, 2, 2, 2, 4, 5, 6] {
            map.push(to).unwrap();
        }
        map.add_start(0, 0).unwrap();
        map.add_start(5, 3).unwrap();
        let out = source.moved(&map, 6).unwrap();
        let lines: std::vec::Vec<_> = out.lines.iter().map(|l| (l.slot, l.number())).collect();
        assert_eq!(lines, [(0, 1), (2, 3), (3, 4)]);
        let funcs: std::vec::Vec<_> = out.funcs.iter().map(|f| (f.slot, f.ty)).collect();
        assert_eq!(funcs, [(0, 1), (3, 2)]);
        assert_eq!(source.line_at(4), Some(2));
        assert_eq!(source.line_at(9), Some(4));
    }
}
