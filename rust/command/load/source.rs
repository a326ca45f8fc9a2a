// SPDX-License-Identifier: GPL-2.0

//! A load's records of functions and source lines, read from user space.

use super::LoadAttr;
use crate::btf::Btf;
use crate::command::Attr;
use crate::sys::user::User;
use crate::verifier::log::Log;
use crate::verifier::source::{Cut, Func, Line, Source};
use kernel::prelude::*;

/// Bytes of the records that are known.
const FUNC: u32 = 8;
const LINE: u32 = 16;
/// Bytes of a record at most.
const MAX_SIZE: u32 = 252;
/// Records of lines at most: their bytes are an `int`.
const MAX_LINES: u32 = i32::MAX as u32 / LINE;

/// Where user space gets to know the size that is right.
const FUNC_SIZE_AT: u64 = core::mem::offset_of!(LoadAttr, func_info_rec_size) as u64;
const LINE_SIZE_AT: u64 = core::mem::offset_of!(LoadAttr, line_info_rec_size) as u64;

fn size_fits(size: u32, least: u32) -> bool {
    (least..=MAX_SIZE).contains(&size) && size % 4 == 0
}

/// The known part of a record of `size` bytes at `at`.
///
/// # Errors
///
/// `E2BIG` when the rest is not zero, `EFAULT`.
fn read<const N: usize>(at: User, size: u32) -> Result<[u32; N]> {
    let known = N.wrapping_mul(4);
    let more = (size as usize).saturating_sub(known);
    if more != 0 && !at.add(known as u64).is_zero(more)? {
        return Err(E2BIG);
    }
    let mut words = [0; N];
    for (i, word) in (0u64..).zip(words.iter_mut()) {
        let mut bytes = [0; 4];
        at.add(i.wrapping_mul(4)).read(&mut bytes)?;
        *word = u32::from_ne_bytes(bytes);
    }
    Ok(words)
}

/// Reads all records. Those of functions are checked, as far as that needs no instructions; what
/// is wrong behind the first lines is told when these are checked.
///
/// # Errors
///
/// `EINVAL`, `E2BIG`, `EFAULT`, `ENOMEM`
pub(super) fn read_source(attr: &Attr, a: &LoadAttr, btf: &Btf, log: &mut Log) -> Result<Source> {
    let mut source = Source::default();
    if a.func_info_cnt != 0 {
        let size = a.func_info_rec_size;
        if !size_fits(size, FUNC) {
            log.line(format_args!("invalid func info rec size {size}"));
            return Err(EINVAL);
        }
        for i in 0..a.func_info_cnt {
            // More functions than instructions: the count will not match.
            if i > a.insn_cnt {
                break;
            }
            let at = u64::from(i).wrapping_mul(size.into());
            match read(User::new(a.func_info).add(at), size) {
                Ok([slot, ty]) => source.add_func(Func { slot, ty }, btf, log)?,
                Err(e) if e == E2BIG => {
                    log.put(format_args!("nonzero tailing record in func info"));
                    attr.answer(FUNC_SIZE_AT, &FUNC.to_ne_bytes())?;
                    return Err(E2BIG);
                }
                Err(e) => return Err(e),
            }
        }
    }
    read_lines(attr, a, &mut source)?;
    Ok(source)
}

fn read_lines(attr: &Attr, a: &LoadAttr, source: &mut Source) -> Result {
    let size = a.line_info_rec_size;
    if a.line_info_cnt == 0 {
        return Ok(());
    }
    if a.line_info_cnt > MAX_LINES || !size_fits(size, LINE) {
        // bpf(2) says so after it has looked at the functions.
        source.cut = Some(Cut::Size);
        return Ok(());
    }
    for i in 0..a.line_info_cnt {
        // There is no more to learn from records that cannot belong to the program.
        if i > a.insn_cnt {
            break;
        }
        let at = u64::from(i).wrapping_mul(size.into());
        match read(User::new(a.line_info).add(at), size) {
            Ok([slot, file, text, col]) => {
                let line = Line {
                    slot,
                    file,
                    text,
                    col,
                };
                source.lines.push(line, GFP_KERNEL_ACCOUNT)?;
            }
            Err(e) if e == E2BIG => {
                source.cut = Some(match attr.answer(LINE_SIZE_AT, &LINE.to_ne_bytes()) {
                    Ok(()) => Cut::Tail,
                    Err(_) => Cut::Fault,
                });
                break;
            }
            Err(_) => {
                source.cut = Some(Cut::Fault);
                break;
            }
        }
    }
    Ok(())
}
