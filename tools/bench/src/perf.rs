// SPDX-License-Identifier: GPL-2.0

//! Probes by perf events, the kernel's own other way to attach a kprobe program.

use oxbpf::{Errno, Prog};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `PERF_EVENT_IOC_ENABLE`, `PERF_EVENT_IOC_SET_BPF`
const ENABLE: u64 = 0x2400;
const SET_BPF: u64 = 0x4004_2408;

/// `struct perf_event_attr` up to `config2`, version 1 and more.
#[repr(C)]
#[derive(Default)]
struct Attr {
    ty: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    name: u64,
    offset: u64,
}

/// Attaches `prog` to `function + offset`, or to its return; the fd owns the attachment.
///
/// # Errors
///
/// Those of opening the event and of attaching.
pub fn attach(prog: &Prog, function: &str, offset: u64, at_return: bool) -> Result<OwnedFd, Errno> {
    let ty = std::fs::read_to_string("/sys/bus/event_source/devices/kprobe/type");
    let ty = ty.ok().and_then(|t| t.trim().parse().ok());
    let name = CString::new(function).map_err(|_| Errno(libc::EINVAL))?;
    let attr = Attr {
        ty: ty.ok_or(Errno(libc::ENOENT))?,
        size: size_of::<Attr>() as u32,
        config: at_return.into(),
        sample_period: 1,
        name: name.as_ptr() as u64,
        offset,
        ..Attr::default()
    };
    // SAFETY: the kernel reads `attr` and the name.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, -1, 0, -1, 8) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the fd was just made for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: neither call takes a pointer.
    let failed = unsafe {
        libc::ioctl(fd.as_raw_fd(), SET_BPF, prog.as_fd().as_raw_fd()) < 0
            || libc::ioctl(fd.as_raw_fd(), ENABLE, 0) < 0
    };
    if failed {
        return Err(Errno::last());
    }
    Ok(fd)
}
