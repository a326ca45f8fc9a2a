// SPDX-License-Identifier: GPL-2.0

//! Capabilities, the unprivileged switch, users and licenses.

use super::symbols;
use kernel::bindings;
use kernel::prelude::*;

extern "C" {
    fn oxbpf_current_uid() -> u32;
    fn oxbpf_uid_seen(uid: u32) -> u32;
    fn oxbpf_license_gpl(license: *const c_char) -> bool;
}

/// Capabilities that commands ask for (`<linux/capability.h>`).
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cap {
    /// Networking administration: programs that touch packets.
    NetAdmin = 12,
    /// The old master key, which stands in for every other.
    SysAdmin = 21,
    /// Performance monitoring: programs that read kernel memory.
    Perfmon = 38,
    /// BPF in general.
    Bpf = 39,
}

impl Cap {
    /// The current task has it in the initial user namespace, as bpf(2) asks.
    pub(crate) fn held(self) -> bool {
        // SAFETY: no requirements.
        let capable = |cap: Cap| unsafe { bindings::capable(cap as c_int) };
        capable(self) || (self != Cap::SysAdmin && capable(Cap::SysAdmin))
    }
}

/// `kernel.unprivileged_bpf_disabled` is not 0 (or cannot be read): CAP_BPF is needed.
pub(crate) fn unprivileged_disabled() -> bool {
    match symbols::UNPRIVILEGED.address() {
        // SAFETY: the kernel's variable of that name is an aligned int that lives for ever;
        // the sysctl may write it at any time, so it is read once, as volatile.
        Some(addr) => unsafe { (addr as *const c_int).read_volatile() != 0 },
        None => true,
    }
}

/// A user, as the initial namespace numbers it.
#[derive(Clone, Copy)]
pub(crate) struct Uid(u32);

impl Uid {
    /// The user that the current task's resources are counted for.
    pub(crate) fn current() -> Self {
        // SAFETY: no requirements.
        Uid(unsafe { oxbpf_current_uid() })
    }

    /// The number in the current task's user namespace.
    pub(crate) fn seen(self) -> u32 {
        // SAFETY: no requirements.
        unsafe { oxbpf_uid_seen(self.0) }
    }
}

/// Programs under this license may call what only the GPL's may.
pub(crate) fn gpl_compatible(license: &CStr) -> bool {
    // SAFETY: the string is NUL-terminated and only read.
    unsafe { oxbpf_license_gpl(license.as_char_ptr()) }
}
