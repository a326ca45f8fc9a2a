// SPDX-License-Identifier: GPL-2.0

//! OBJ_PIN and OBJ_GET: objects that files of our filesystem keep.

use super::Attr;
use crate::link::{Link, LinkFile};
use crate::object::{MapFile, UserRef};
use crate::prog::{Prog, ProgFile};
use crate::sys::anon::{self, AnyFile, Mode};
use crate::sys::pinfs;
use crate::sys::shared::Shared;
use crate::sys::user::User;
use kernel::prelude::*;

/// Fields of OBJ_PIN and OBJ_GET.
#[repr(C)]
#[derive(FromBytes)]
struct ObjAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
    path_fd: i32,
    _pad: u32,
}

/// `BPF_F_PATH_FD`: the path starts from `path_fd`.
const PATH_FD: u32 = 1 << 14;

/// `AT_FDCWD`
const CURRENT: i32 = -100;

/// What a file keeps.
enum Pinned {
    Map(UserRef),
    Prog(Shared<Prog>),
    Link(Shared<Link>),
}

fn check(a: &ObjAttr, flags: u32) -> Result {
    if a.file_flags & !flags != 0 || (a.file_flags & PATH_FD == 0 && a.path_fd != 0) {
        return Err(EINVAL);
    }
    Ok(())
}

impl ObjAttr {
    fn dir(&self) -> i32 {
        match self.file_flags & PATH_FD {
            0 => CURRENT,
            _ => self.path_fd,
        }
    }
}

/// OBJ_PIN: the flags, before any descriptor.
pub(super) fn check_pin(attr: &Attr) -> Result {
    check(&attr.view()?, PATH_FD)
}

/// OBJ_PIN
pub(super) fn pin(attr: &Attr) -> Result<i32> {
    let a: ObjAttr = attr.view()?;
    // As in-tree, that it is closed is nothing special here.
    let file = AnyFile::get(a.bpf_fd).map_err(|_| EINVAL)?;
    let pinned = if let Some(map) = file.as_ref::<MapFile>() {
        Pinned::Map(UserRef::new(map.object().clone()))
    } else if let Some(prog) = file.as_ref::<ProgFile>() {
        Pinned::Prog(prog.prog().clone())
    } else if let Some(link) = file.as_ref::<LinkFile>() {
        Pinned::Link(link.link().clone())
    } else {
        return Err(EINVAL);
    };
    pinfs::pin(a.dir(), User::new(a.pathname), pinned)?;
    Ok(0)
}

/// OBJ_GET: the flags, before any path.
pub(super) fn check_get(attr: &Attr) -> Result {
    let a: ObjAttr = attr.view()?;
    if a.bpf_fd != 0 {
        return Err(EINVAL);
    }
    check(&a, PATH_FD | MapFile::RDONLY | MapFile::WRONLY)?;
    MapFile::mode(a.file_flags).map(drop)
}

/// OBJ_GET
pub(super) fn get(attr: &Attr) -> Result<i32> {
    let a: ObjAttr = attr.view()?;
    let mode = MapFile::mode(a.file_flags)?;
    let (read, write) = (mode != Mode::WriteOnly, mode != Mode::ReadOnly);
    let path = User::new(a.pathname);
    let found = pinfs::find(a.dir(), path, read, write, |pinned: &Pinned| match pinned {
        Pinned::Map(map) => Pinned::Map(UserRef::new(map.map().clone())),
        Pinned::Prog(prog) => Pinned::Prog(prog.clone()),
        Pinned::Link(link) => Pinned::Link(link.clone()),
    })?;
    match found {
        Pinned::Map(map) => anon::install(MapFile::new(map.map().clone()), mode),
        Pinned::Prog(prog) => anon::install(ProgFile::new(prog), Mode::ReadWrite),
        Pinned::Link(_) if mode != Mode::ReadWrite => Err(EINVAL),
        Pinned::Link(link) => anon::install(LinkFile::new(link), Mode::ReadOnly),
    }
}
