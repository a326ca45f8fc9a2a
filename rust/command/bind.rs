// SPDX-License-Identifier: GPL-2.0

//! PROG_BIND_MAP: a program keeps a map that its code does not use.

use super::Attr;
use crate::object::MapFile;
use crate::prog::ProgFile;
use crate::sys::anon::FileRef;
use kernel::prelude::*;

/// Fields of PROG_BIND_MAP.
#[repr(C)]
#[derive(FromBytes)]
struct BindAttr {
    prog_fd: u32,
    map_fd: u32,
    flags: u32,
}

/// The flags, before any descriptor.
pub(super) fn check(attr: &Attr) -> Result {
    let a: BindAttr = attr.view()?;
    match a.flags {
        0 => Ok(()),
        _ => Err(EINVAL),
    }
}

/// PROG_BIND_MAP
pub(super) fn bind(attr: &Attr) -> Result<i32> {
    let a: BindAttr = attr.view()?;
    let prog = FileRef::<ProgFile>::get(a.prog_fd)?;
    let map = FileRef::<MapFile>::get(a.map_fd)?;
    prog.prog().aux().bind(map.object())?;
    Ok(0)
}
