// SPDX-License-Identifier: GPL-2.0

//! Links: attached programs.

use crate::attr::{self, Attr};
use crate::{cmd, Errno, Prog, Result};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// `BPF_TRACE_KPROBE_MULTI`, the attach type of kprobe links.
pub const TRACE_KPROBE_MULTI: u32 = 42;
/// The program runs when the function returns.
pub const KPROBE_MULTI_RETURN: u32 = 1;

/// A link's fd; dropping it detaches.
pub struct Link {
    fd: OwnedFd,
}

impl Prog {
    /// `LINK_CREATE` of kprobes on functions by name.
    ///
    /// oxbpf also takes `name+offset`. The program must have been loaded with expected attach type
    /// [`TRACE_KPROBE_MULTI`].
    ///
    /// # Errors
    ///
    /// The command's.
    pub fn attach_kprobes(&self, symbols: &[&str], flags: u32) -> Result<Link> {
        let names: Vec<CString> = symbols
            .iter()
            .map(|s| CString::new(*s).map_err(|_| Errno(libc::EINVAL)))
            .collect::<Result<_>>()?;
        let pointers: Vec<u64> = names.iter().map(|n| n.as_ptr() as u64).collect();
        let mut a = Attr::new(attr::SIZE);
        a.u32(0, self.as_fd().as_raw_fd() as u32)
            .u32(8, TRACE_KPROBE_MULTI);
        a.u32(16, flags)
            .u32(20, pointers.len() as u32)
            .ptr(24, &pointers);
        let fd = self.bpf().call_fd(cmd::LINK_CREATE, a.bytes())?;
        Ok(Link { fd })
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
