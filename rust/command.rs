// SPDX-License-Identifier: GPL-2.0

//! The commands: one table of number, name, last field, capability and handler.

use crate::sys::anon;
use crate::sys::cred::Cap;
use crate::sys::user::User;
use kernel::prelude::*;

mod batch;
mod bind;
mod btf;
pub(crate) mod debug;
pub(crate) mod errno;
mod id;
mod info;
pub(crate) mod link;
mod load;
mod log;
mod map;
mod pin;
mod stats;
mod test_run;

/// `sizeof(union bpf_attr)`
const ATTR_SIZE: usize = 168;

/// A command's arguments, copied from user space and filled up with zeros.
pub(crate) struct Attr {
    bytes: [u8; ATTR_SIZE],
    /// Where they came from, for commands that answer there.
    user: User,
    /// As many bytes as user space knows of.
    size: usize,
}

impl Attr {
    /// The fields as the wire struct `T`, which must not be longer than the attr.
    pub(crate) fn view<T: FromBytes>(&self) -> Result<T> {
        match T::read_from_prefix(&self.bytes) {
            Ok((view, _)) => Ok(view),
            Err(_) => Err(EINVAL),
        }
    }

    /// Everything from byte `end` on is zero.
    fn ends_at(&self, end: usize) -> bool {
        // What user space did not give is zero.
        let rest = self.bytes.get(end..self.size).unwrap_or(&[]);
        let words = rest.chunks_exact(8);
        words.remainder().iter().all(|b| *b == 0) && words.into_iter().all(|w| w == [0; 8])
    }

    /// User space's attr reaches to byte `end` at least.
    fn reaches(&self, end: usize) -> bool {
        self.size >= end
    }

    /// Writes an answer into user space's attr, at byte `off`.
    ///
    /// # Errors
    ///
    /// `EFAULT`
    fn answer(&self, off: u64, bytes: &[u8]) -> Result {
        self.user.add(off).write(bytes)
    }
}

/// The rule for a struct that can grow: `size` bytes given, `known` of them known, the rest zero.
///
/// # Errors
///
/// `E2BIG`, `EFAULT`
fn check_tail(user: User, known: usize, size: usize) -> Result {
    if size > kernel::page::PAGE_SIZE {
        return Err(E2BIG);
    }
    let Some(more) = size.checked_sub(known) else {
        return Ok(());
    };
    if more == 0 || user.add(known as u64).is_zero(more)? {
        Ok(())
    } else {
        Err(E2BIG)
    }
}

/// One command.
struct Command {
    /// Number (`enum bpf_cmd`).
    number: u32,
    /// Byte at which its last field ends; the rest of the attr must be zero.
    end: usize,
    /// What is checked before the capability.
    check: fn(&Attr) -> Result,
    /// Capability without which nobody may give it. Commands whose demands depend on their arguments
    /// have none here.
    cap: Option<Cap>,
    /// What it does; the value is the ioctl's.
    handler: fn(&Attr) -> Result<i32>,
}

/// Nothing to check.
fn any(_attr: &Attr) -> Result {
    Ok(())
}

/// Makes the table. The names, without `BPF_`, are for the reader.
macro_rules! commands {
    ($($number:literal $name:ident $end:literal $check:path, $cap:expr, $handler:path;)*) => {
        /// Every command that is there; bpf(2)'s others answer as on a kernel without them.
        const COMMANDS: &[Command] = &[$(Command {
            number: $number,
            end: $end,
            check: $check,
            cap: $cap,
            handler: $handler,
        }),*];
    };
}

commands! {
    0  MAP_CREATE         92  any,                None,                map::create;
    1  MAP_LOOKUP_ELEM    32  any,                None,                map::lookup;
    2  MAP_UPDATE_ELEM    32  any,                None,                map::update;
    3  MAP_DELETE_ELEM    16  any,                None,                map::delete;
    4  MAP_GET_NEXT_KEY   24  any,                None,                map::next_key;
    5  PROG_LOAD          168 any,                None,                load::load;
    6  OBJ_PIN            20  pin::check_pin,     None,                pin::pin;
    7  OBJ_GET            20  pin::check_get,     None,                pin::get;
    10 PROG_TEST_RUN      76  any,                None,                test_run::test_run;
    11 PROG_GET_NEXT_ID   8   id::check_start,    Some(Cap::SysAdmin), id::next_prog;
    12 MAP_GET_NEXT_ID    8   id::check_start,    Some(Cap::SysAdmin), id::next_map;
    13 PROG_GET_FD_BY_ID  4   any,                Some(Cap::SysAdmin), id::prog_fd;
    14 MAP_GET_FD_BY_ID   12  id::check_map_open, Some(Cap::SysAdmin), id::map_fd;
    15 OBJ_GET_INFO_BY_FD 16  any,                None,                info::info;
    17 RAW_TRACEPOINT_OPEN 24 any,              None,                link::raw_tracepoint;
    18 BTF_LOAD           40  btf::check,          Some(Cap::Bpf),      btf::load;
    19 BTF_GET_FD_BY_ID   16  id::check_btf_open,  Some(Cap::SysAdmin), id::btf_fd;
    21 MAP_LOOKUP_AND_DELETE_ELEM 32 map::check_take, None,            map::take;
    22 MAP_FREEZE         4   any,                None,                map::freeze;
    23 BTF_GET_NEXT_ID    8   id::check_start,     Some(Cap::SysAdmin), id::next_btf;
    24 MAP_LOOKUP_BATCH   56  any,                None,                batch::lookup;
    25 MAP_LOOKUP_AND_DELETE_BATCH 56 any,        None,                batch::take;
    26 MAP_UPDATE_BATCH   56  any,                None,                batch::update;
    27 MAP_DELETE_BATCH   56  any,                None,                batch::delete;
    28 LINK_CREATE        64  any,                None,                link::create;
    29 LINK_UPDATE        16  link::check_update, None,                link::update;
    30 LINK_GET_FD_BY_ID  4   any,                Some(Cap::SysAdmin), id::link_fd;
    31 LINK_GET_NEXT_ID   8   id::check_start,    Some(Cap::SysAdmin), id::next_link;
    32 ENABLE_STATS       4   any,                Some(Cap::SysAdmin), stats::enable;
    34 LINK_DETACH        4   any,                None,                link::detach;
    35 PROG_BIND_MAP      12  bind::check,        None,                bind::bind;
}

const _: () = {
    let mut i = 0;
    while i < COMMANDS.len() {
        assert!(COMMANDS[i].end <= ATTR_SIZE);
        assert!(i == 0 || COMMANDS[i - 1].number < COMMANDS[i].number);
        i += 1;
    }
};

/// Gives command `number`, whose arguments are the `size` bytes at `user`.
///
/// # Errors
///
/// `E2BIG` for more than a page or unknown fields in use, `EFAULT`; `EINVAL` for an unknown command,
/// for a byte in use after its last field; and what the command says.
pub(crate) fn run(number: u32, user: User, size: usize) -> Result<i32> {
    if let Some(answer) = map::run_short(number, user, size) {
        return answer;
    }
    check_tail(user, ATTR_SIZE, size)?;
    let size = size.min(ATTR_SIZE);
    let mut attr = Attr {
        bytes: [0; ATTR_SIZE],
        user,
        size,
    };
    user.read(attr.bytes.get_mut(..size).ok_or(E2BIG)?)?;
    run_with(number, &attr)
}

fn run_with(number: u32, attr: &Attr) -> Result<i32> {
    let command = COMMANDS
        .iter()
        .find(|command| command.number == number)
        .ok_or(EINVAL)?;
    // PROG_LOAD looks at its log fields before anything else; its last field is the attr's.
    if !attr.ends_at(command.end) {
        return Err(EINVAL);
    }
    (command.check)(attr)?;
    if command.cap.is_some_and(|cap| !cap.held()) {
        return Err(EPERM);
    }
    (command.handler)(attr)
}

/// A descriptor of something that is not there in oxbpf: nothing open can be one.
fn foreign_fd(fd: u32) -> Error {
    match anon::AnyFile::get(fd) {
        Err(anon::FdError::Closed) => EBADF,
        _ => EINVAL,
    }
}

/// Reads an object's name: letters, digits, `_` and `.`, ended by a NUL.
///
/// # Errors
///
/// `EINVAL`
fn object_name(wire: &[u8; 16]) -> Result<[u8; 16]> {
    let mut name = [0; 16];
    for (to, &from) in name.iter_mut().zip(wire) {
        match from {
            0 => return Ok(name),
            // The kernel's idea of letters is Latin-1.
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'.' => *to = from,
            0xc0..=0xd6 | 0xd8..=0xf6 | 0xf8..=0xff => *to = from,
            _ => return Err(EINVAL),
        }
    }
    Err(EINVAL)
}
