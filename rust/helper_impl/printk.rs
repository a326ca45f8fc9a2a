// SPDX-License-Identifier: GPL-2.0

//! Helpers that make text, for the program or in the trace buffer.

use crate::format::{self, PointerKind, Source, Spec, StrSpace};
use crate::sys::args::{ReadArg, StrArg, UpdateArg};
use crate::sys::bytes::{Bytes, Room};
use crate::sys::nofault::{self, Space};
use crate::sys::printk::{Line, PointerFormat};
use kernel::prelude::*;

// The buffers are as large as a format's arguments can be.
const _: () = assert!(crate::sys::printk::SCRATCH == format::ARGS_SIZE);

/// `trace_printk(fmt, fmt_size, arg1, arg2, arg3)`
pub(super) extern "C" fn trace_printk(fmt: ReadArg, arg1: u64, arg2: u64, arg3: u64) -> u64 {
    super::errno(print(fmt.bytes(), &[arg1, arg2, arg3]))
}

fn print(fmt: Bytes<'_>, args: &[u64]) -> Result<u64> {
    let mut line = Line::take().ok_or(EBUSY)?;
    let (scratch, text) = line.buffers();
    let len = format::expand(fmt, args, &mut Memory, scratch, text.into())?;
    line.emit(len);
    Ok(len as u64)
}

/// Arguments that `snprintf` takes at most: `MAX_BPRINTF_VARARGS`.
const SNPRINTF_ARGS: usize = 12;

/// `snprintf(str, size, fmt, data, data_len)`: the size of the whole text with its NUL, whatever of it
/// there was room for.
pub(super) extern "C" fn snprintf(str: UpdateArg, fmt: StrArg, data: ReadArg) -> u64 {
    super::errno(write(str, fmt.to_cstr().to_bytes_with_nul(), data.bytes()))
}

fn write(mut str: UpdateArg, fmt: &[u8], data: Bytes<'_>) -> Result<u64> {
    let mut args = [0; SNPRINTF_ARGS];
    let count = data.len() / 8;
    let args = args
        .get_mut(..count)
        .filter(|_| data.len() % 8 == 0)
        .ok_or(EINVAL)?;
    for (to, from) in args.iter_mut().zip(data.words()) {
        *to = from;
    }
    let len = if args.is_empty() {
        format::expand(fmt.into(), args, &mut Memory, &mut [], str.room())?
    } else {
        let mut line = Line::take().ok_or(EBUSY)?;
        let (packed, _) = line.buffers();
        format::expand(fmt.into(), args, &mut Memory, packed, str.room())?
    };
    let last = len.min(str.len().saturating_sub(1));
    str.room().put_bytes(last, &[0]);
    Ok((len as u64).saturating_add(1))
}

/// The memory behind the arguments of a format.
struct Memory;

impl Source for Memory {
    fn string(&mut self, space: StrSpace, addr: u64, out: &mut [u8]) -> Option<usize> {
        let space = match space {
            StrSpace::Any => Space::of(addr),
            StrSpace::Kernel => Space::Kernel,
            StrSpace::User => Space::User,
        };
        nofault::read_str(out, space, addr)
    }

    fn bytes(&mut self, addr: u64, out: &mut [u8]) {
        nofault::read(out, Space::Kernel, addr);
    }

    fn pointer(&mut self, kind: PointerKind, spec: Spec, addr: u64, out: Room<'_>) -> usize {
        let flag = |on: bool, b: u8| on.then_some(b);
        let flags = [
            flag(spec.left, b'-'),
            flag(spec.zero, b'0'),
            flag(spec.plus, b'+'),
            flag(spec.space, b' '),
        ];
        let letter = match kind {
            PointerKind::Hashed => None,
            PointerKind::Plain => Some(b'x'),
            PointerKind::Restricted => Some(b'K'),
            PointerKind::Symbol => Some(b's'),
            PointerKind::SymbolOffset => Some(b'S'),
            PointerKind::Backtrace => Some(b'B'),
        };
        PointerFormat::new(flags, spec.width, letter).write(addr, out)
    }
}
