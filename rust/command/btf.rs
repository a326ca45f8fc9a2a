// SPDX-License-Identifier: GPL-2.0

//! BTF_LOAD: type information becomes an object.

use super::log::LogAttr;
use super::{foreign_fd, Attr};
use crate::btf::{Btf, MAX_SIZE};
use crate::object::btf::{BtfFile, BtfObject};
use crate::sys::anon::{self, Mode};
use crate::sys::user::User;
use kernel::prelude::*;

/// Fields of BTF_LOAD.
#[repr(C)]
#[derive(FromBytes)]
struct BtfAttr {
    btf: u64,
    log_buf: u64,
    btf_size: u32,
    log_size: u32,
    log_level: u32,
    log_true_size: u32,
    flags: u32,
    token_fd: i32,
}

/// `BPF_F_TOKEN_FD`
const TOKEN_FD: u32 = 1 << 16;

impl BtfAttr {
    fn log(&self) -> LogAttr {
        LogAttr {
            level: self.log_level,
            size: self.log_size,
            buf: self.log_buf,
            true_size_at: core::mem::offset_of!(BtfAttr, log_true_size),
        }
    }
}

/// What is checked before the capability.
pub(super) fn check(attr: &Attr) -> Result {
    let a: BtfAttr = attr.view()?;
    a.log().check()?;
    if a.flags & !TOKEN_FD != 0 {
        return Err(EINVAL);
    }
    if a.flags & TOKEN_FD != 0 {
        return Err(foreign_fd(a.token_fd as u32));
    }
    Ok(())
}

/// BTF_LOAD
pub(super) fn load(attr: &Attr) -> Result<i32> {
    let a: BtfAttr = attr.view()?;
    if a.btf_size > MAX_SIZE {
        return Err(E2BIG);
    }
    let mut log = a.log().start();
    let btf = User::new(a.btf)
        .read_vec(a.btf_size as usize)
        .and_then(|data| Btf::parse(data, &mut log));
    a.log().finish(attr, &log)?;
    let object = BtfObject::new(btf?)?;
    object.publish()?;
    anon::install(BtfFile::new(object), Mode::ReadOnly)
}
