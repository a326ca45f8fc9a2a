// SPDX-License-Identifier: GPL-2.0

//! Links: attached programs.

use crate::attr::{self, Attr};
use crate::{cmd, Errno, Prog, Result};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// `BPF_TRACE_KPROBE_MULTI`, the attach type of kprobe links.
pub const TRACE_KPROBE_MULTI: u32 = 42;
/// `BPF_PERF_EVENT`, the attach type of links to perf events.
pub const PERF_EVENT: u32 = 41;
/// `PERF_EVENT_IOC_SET_BPF`
const PERF_EVENT_IOC_SET_BPF: u64 = 0x4004_2408;
/// The device's command like it.
const OXBPF_PERF_SET_PROG: u64 = 0x4008_bd01;
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
        self.attach_kprobes_with(symbols, flags, &[])
    }

    /// The same with a cookie for each symbol, or none for all.
    ///
    /// # Errors
    ///
    /// The command's.
    pub fn attach_kprobes_with(
        &self,
        symbols: &[&str],
        flags: u32,
        cookies: &[u64],
    ) -> Result<Link> {
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
            .ptr(24, &pointers)
            .ptr(40, cookies);
        let fd = self.bpf().call_fd(cmd::LINK_CREATE, a.bytes())?;
        Ok(Link { fd })
    }

    /// `RAW_TRACEPOINT_OPEN`
    ///
    /// # Errors
    ///
    /// The command's.
    pub fn attach_raw_tracepoint(&self, name: &str, cookie: u64) -> Result<Link> {
        let name = CString::new(name).map_err(|_| Errno(libc::EINVAL))?;
        let mut a = Attr::new(24);
        a.u64(0, name.as_ptr() as u64)
            .u32(8, self.as_fd().as_raw_fd() as u32)
            .u64(16, cookie);
        let fd = self.bpf().call_fd(cmd::RAW_TRACEPOINT_OPEN, a.bytes())?;
        Ok(Link { fd })
    }

    /// `LINK_CREATE` at a perf event.
    ///
    /// # Errors
    ///
    /// The command's.
    pub fn attach_perf(&self, event: RawFd, cookie: u64) -> Result<Link> {
        let mut a = Attr::new(attr::SIZE);
        a.u32(0, self.as_fd().as_raw_fd() as u32)
            .u32(4, event as u32)
            .u32(8, PERF_EVENT)
            .u64(16, cookie);
        let fd = self.bpf().call_fd(cmd::LINK_CREATE, a.bytes())?;
        Ok(Link { fd })
    }

    /// Attaches to a perf event for as long as that lives: its ioctl of bpf(2), or the device's.
    ///
    /// # Errors
    ///
    /// The ioctl's.
    pub fn give_to_perf(&self, event: RawFd) -> Result<()> {
        let prog = self.as_fd().as_raw_fd();
        let ret = match self.bpf().device() {
            // SAFETY: the argument is a descriptor.
            None => unsafe { libc::ioctl(event, PERF_EVENT_IOC_SET_BPF, prog) },
            Some(device) => {
                let fds = [event as u32, prog as u32];
                // SAFETY: the argument is that structure.
                unsafe { libc::ioctl(device, OXBPF_PERF_SET_PROG, fds.as_ptr()) }
            }
        };
        match ret {
            0.. => Ok(()),
            _ => Err(Errno::last()),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
