// SPDX-License-Identifier: GPL-2.0

//! `/dev/oxbpf`: an ioctl becomes a copied attr, and that a command.
//!
//! The ioctl's number is the command and its size field is what bpf(2) takes as third argument.

use crate::command::{self, debug, link};
use crate::sys::chardev::Device;
use crate::sys::user::User;
use kernel::ioctl::{_IOC_DIR, _IOC_NR, _IOC_SIZE, _IOC_TYPE};
use kernel::prelude::*;

/// Type of the ioctls that are bpf(2)'s commands (`OXBPF_IOC_TYPE`).
const TYPE: u32 = 0xbf;
/// Both directions.
const DIR: u32 = 3;

/// The device.
pub(crate) struct BpfDevice;

impl Device for BpfDevice {
    const NAME: &'static CStr = c"oxbpf";
    /// Everybody may ask, as with bpf(2); each command checks who does.
    const MODE: u16 = 0o666;

    fn ioctl(cmd: u32, arg: u64) -> Result<i32> {
        if cmd == debug::WRITE_PROG {
            return debug::write_prog(arg);
        }
        if cmd == link::PERF_SET_PROG {
            return link::perf_set_prog(arg);
        }
        if _IOC_TYPE(cmd) != TYPE || _IOC_DIR(cmd) != DIR {
            return Err(ENOTTY);
        }
        command::run(_IOC_NR(cmd), User::new(arg), _IOC_SIZE(cmd))
    }
}
