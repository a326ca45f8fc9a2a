// SPDX-License-Identifier: GPL-2.0

//! Commands that walk the objects by number.

use super::{foreign_fd, Attr};
use crate::link::{Link, LinkFile};
use crate::object::btf::{BtfFile, BtfObject};
use crate::object::{MapFile, MapObject};
use crate::prog::{Prog, ProgFile};
use crate::sys::anon::{self, Mode};
use crate::sys::shared::{Object, Shared};
use kernel::prelude::*;

/// Fields of the commands for ids.
#[repr(C)]
#[derive(FromBytes)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
    token_fd: u32,
}

/// `BPF_F_TOKEN_FD`
const TOKEN_FD: u32 = 1 << 16;

/// Byte of the attr where GET_NEXT_ID answers.
const NEXT_ID: u64 = 4;

/// GET_NEXT_ID: the number to start behind.
pub(super) fn check_start(attr: &Attr) -> Result {
    let fields: IdAttr = attr.view()?;
    if fields.id >= i32::MAX as u32 {
        return Err(EINVAL);
    }
    Ok(())
}

/// MAP_GET_FD_BY_ID: how the map is opened.
pub(super) fn check_map_open(attr: &Attr) -> Result {
    let fields: IdAttr = attr.view()?;
    if fields.open_flags & !(MapFile::RDONLY | MapFile::WRONLY) != 0 {
        return Err(EINVAL);
    }
    Ok(())
}

/// BTF_GET_FD_BY_ID: there are no tokens.
pub(super) fn check_btf_open(attr: &Attr) -> Result {
    let fields: IdAttr = attr.view()?;
    match fields.open_flags {
        0 => Ok(()),
        TOKEN_FD => Err(foreign_fd(fields.token_fd)),
        _ => Err(EINVAL),
    }
}

fn next<T: Object>(attr: &Attr) -> Result<i32> {
    let fields: IdAttr = attr.view()?;
    let start = fields.id.checked_add(1).ok_or(EINVAL)?;
    let id = Shared::<T>::next_id(start).ok_or(ENOENT)?;
    attr.answer(NEXT_ID, &id.to_ne_bytes())?;
    Ok(0)
}

/// PROG_GET_NEXT_ID
pub(super) fn next_prog(attr: &Attr) -> Result<i32> {
    next::<Prog>(attr)
}

/// MAP_GET_NEXT_ID
pub(super) fn next_map(attr: &Attr) -> Result<i32> {
    next::<MapObject>(attr)
}

/// LINK_GET_NEXT_ID
pub(super) fn next_link(attr: &Attr) -> Result<i32> {
    next::<Link>(attr)
}

/// BTF_GET_NEXT_ID
pub(super) fn next_btf(attr: &Attr) -> Result<i32> {
    next::<BtfObject>(attr)
}

fn by_id<T: Object>(attr: &Attr) -> Result<Shared<T>> {
    let fields: IdAttr = attr.view()?;
    Shared::by_id(fields.id).ok_or(ENOENT)
}

/// PROG_GET_FD_BY_ID
pub(super) fn prog_fd(attr: &Attr) -> Result<i32> {
    anon::install(ProgFile::new(by_id(attr)?), Mode::ReadWrite)
}

/// MAP_GET_FD_BY_ID
pub(super) fn map_fd(attr: &Attr) -> Result<i32> {
    let fields: IdAttr = attr.view()?;
    let mode = MapFile::mode(fields.open_flags)?;
    anon::install(MapFile::new(by_id(attr)?), mode)
}

/// LINK_GET_FD_BY_ID
pub(super) fn link_fd(attr: &Attr) -> Result<i32> {
    anon::install(LinkFile::new(by_id(attr)?), Mode::ReadOnly)
}

/// BTF_GET_FD_BY_ID
pub(super) fn btf_fd(attr: &Attr) -> Result<i32> {
    anon::install(BtfFile::new(by_id(attr)?), Mode::ReadOnly)
}
