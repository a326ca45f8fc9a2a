// SPDX-License-Identifier: GPL-2.0

//! Commands on links: attaching a program, changing and ending that.

use super::errno::eopnotsupp;
use super::Attr;
use crate::abi::ProgType;
use crate::attach::kprobe::{Kprobe, Request};
use crate::attach::perf::Perf;
use crate::attach::tracepoint::Tracepoint;
use crate::link::{Attachment, Link, LinkFile};
use crate::prog::{Prog, ProgFile};
use crate::sys::anon::{self, FileRef, Mode};
use crate::sys::cred::Cap;
use crate::sys::shared::Shared;
use crate::sys::user::User;
use kernel::prelude::*;

/// Fields of LINK_CREATE.
#[repr(C)]
#[derive(FromBytes)]
struct LinkAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    kprobe_multi: KprobeMultiAttr,
}

/// `link_create.kprobe_multi`
#[repr(C)]
#[derive(FromBytes)]
struct KprobeMultiAttr {
    flags: u32,
    cnt: u32,
    syms: u64,
    addrs: u64,
    cookies: u64,
}

/// Numbers of `enum bpf_attach_type`.
mod kind {
    pub(super) const CGROUP_INET_INGRESS: u32 = 0;
    pub(super) const CGROUP_INET_EGRESS: u32 = 1;
    pub(super) const XDP: u32 = 37;
    pub(super) const PERF_EVENT: u32 = 41;
    pub(super) const TRACE_KPROBE_MULTI: u32 = 42;
    pub(super) const TCX_INGRESS: u32 = 46;
    pub(super) const TCX_EGRESS: u32 = 47;
    pub(super) const TRACE_UPROBE_MULTI: u32 = 48;
    pub(super) const NETKIT_PRIMARY: u32 = 54;
    pub(super) const NETKIT_PEER: u32 = 55;
    pub(super) const TRACE_KPROBE_SESSION: u32 = 56;
    pub(super) const TRACE_UPROBE_SESSION: u32 = 57;
}

/// Attach types that a program can have been loaded for alone.
const EXCLUSIVE: [u32; 4] = [
    kind::TRACE_KPROBE_MULTI,
    kind::TRACE_KPROBE_SESSION,
    kind::TRACE_UPROBE_MULTI,
    kind::TRACE_UPROBE_SESSION,
];

/// LINK_CREATE
pub(super) fn create(attr: &Attr) -> Result<i32> {
    let a: LinkAttr = attr.view()?;
    let file = FileRef::<ProgFile>::get(a.prog_fd)?;
    let prog = file.prog();
    let attachment = match prog.aux().ty {
        ProgType::Kprobe => kprobe(attr, &a, prog)?,
        ProgType::Tracepoint | ProgType::PerfEvent => match a.attach_type {
            kind::PERF_EVENT => perf_event(attr, &a, prog)?,
            _ => return Err(EINVAL),
        },
        ProgType::SchedCls => match a.attach_type {
            // A module has no way into the lists of these hooks.
            kind::TCX_INGRESS | kind::TCX_EGRESS | kind::NETKIT_PRIMARY | kind::NETKIT_PEER => {
                return Err(eopnotsupp())
            }
            _ => return Err(EINVAL),
        },
        ProgType::CgroupSkb => {
            if !Cap::NetAdmin.held() {
                return Err(EPERM);
            }
            match a.attach_type {
                kind::CGROUP_INET_INGRESS | kind::CGROUP_INET_EGRESS => return Err(eopnotsupp()),
                _ => return Err(EINVAL),
            }
        }
        ProgType::Xdp => match a.attach_type {
            kind::XDP => return Err(eopnotsupp()),
            _ => return Err(EINVAL),
        },
        ProgType::SocketFilter | ProgType::SchedAct | ProgType::RawTracepoint => {
            return Err(EINVAL)
        }
    };
    install(attachment, prog)
}

/// A descriptor for what was attached.
fn install(attachment: Attachment, prog: &Shared<Prog>) -> Result<i32> {
    let link = Link::new(attachment, prog.clone())?;
    link.publish()?;
    anon::install(LinkFile::new(link), Mode::ReadOnly)
}

/// Fields of RAW_TRACEPOINT_OPEN.
#[repr(C)]
#[derive(FromBytes)]
struct RawTracepointAttr {
    name: u64,
    prog_fd: u32,
    _pad: u32,
    cookie: u64,
}

/// A tracepoint's name with its NUL; what is behind that is not looked at.
const TRACEPOINT_NAME: usize = 128;

/// RAW_TRACEPOINT_OPEN
pub(super) fn raw_tracepoint(attr: &Attr) -> Result<i32> {
    let a: RawTracepointAttr = attr.view()?;
    let file = FileRef::<ProgFile>::get(a.prog_fd)?;
    let prog = file.prog();
    if prog.aux().ty != ProgType::RawTracepoint {
        return Err(EINVAL);
    }
    let mut name = [0; TRACEPOINT_NAME];
    let name = User::new(a.name).read_str(&mut name)?;
    let tracepoint = Tracepoint::attach(name, a.cookie, prog.clone())?;
    install(Attachment::Tracepoint(tracepoint), prog)
}

/// `link_create.perf_event`, behind the fields of all.
#[repr(C)]
#[derive(FromBytes)]
struct PerfAttr {
    _common: [u32; 4],
    bpf_cookie: u64,
}

fn perf_event(attr: &Attr, a: &LinkAttr, prog: &Shared<Prog>) -> Result<Attachment> {
    if a.flags != 0 {
        return Err(EINVAL);
    }
    let PerfAttr { bpf_cookie, .. } = attr.view()?;
    let perf = Perf::attach(a.target_fd, bpf_cookie, prog.clone())?;
    Ok(Attachment::Perf(perf))
}

fn kprobe(attr: &Attr, a: &LinkAttr, prog: &Shared<Prog>) -> Result<Attachment> {
    let expected = prog.aux().expected_attach_type;
    if EXCLUSIVE.contains(&expected) && a.attach_type != expected {
        return Err(EINVAL);
    }
    match a.attach_type {
        kind::TRACE_KPROBE_MULTI => {}
        kind::PERF_EVENT => return perf_event(attr, a, prog),
        kind::TRACE_KPROBE_SESSION | kind::TRACE_UPROBE_MULTI | kind::TRACE_UPROBE_SESSION => {
            return Err(eopnotsupp())
        }
        _ => return Err(EINVAL),
    }
    if a.flags != 0 || expected != kind::TRACE_KPROBE_MULTI {
        return Err(EINVAL);
    }
    let multi = &a.kprobe_multi;
    let request = Request {
        flags: multi.flags,
        count: multi.cnt,
        symbols: User::new(multi.syms),
        addrs: User::new(multi.addrs),
        cookies: User::new(multi.cookies),
    };
    Ok(Attachment::Kprobe(Kprobe::attach(&request, prog.clone())?))
}

/// Fields of LINK_UPDATE.
#[repr(C)]
#[derive(FromBytes)]
struct UpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// `BPF_F_REPLACE`: the program that is attached must be the one that is named.
const REPLACE: u32 = 1 << 2;

/// LINK_UPDATE: the flags, before any descriptor.
pub(super) fn check_update(attr: &Attr) -> Result {
    let a: UpdateAttr = attr.view()?;
    match a.flags & !REPLACE {
        0 => Ok(()),
        _ => Err(EINVAL),
    }
}

/// LINK_UPDATE
pub(super) fn update(attr: &Attr) -> Result<i32> {
    let a: UpdateAttr = attr.view()?;
    let link = FileRef::<LinkFile>::get(a.link_fd)?;
    let _new = FileRef::<ProgFile>::get(a.new_prog_fd)?;
    if a.flags & REPLACE != 0 {
        FileRef::<ProgFile>::get(a.old_prog_fd)?;
    } else if a.old_prog_fd != 0 {
        return Err(EINVAL);
    }
    match link.link().attachment() {
        // As in-tree, such links keep their programs.
        Attachment::Kprobe(_) | Attachment::Tracepoint(_) | Attachment::Perf(_) => Err(EINVAL),
    }
}

/// LINK_DETACH
pub(super) fn detach(attr: &Attr) -> Result<i32> {
    let fd: u32 = attr.view()?;
    let link = FileRef::<LinkFile>::get(fd)?;
    match link.link().attachment() {
        // As in-tree, closing it is the only way.
        Attachment::Kprobe(_) | Attachment::Tracepoint(_) | Attachment::Perf(_) => {
            Err(eopnotsupp())
        }
    }
}

/// `struct oxbpf_perf_set_prog`
#[repr(C)]
#[derive(FromBytes)]
struct SetProg {
    event_fd: u32,
    prog_fd: u32,
}

/// `OXBPF_PERF_SET_PROG`: `_IOW(0xbd, 1, struct oxbpf_perf_set_prog)`
pub(crate) const PERF_SET_PROG: u32 = 1 << 30 | 8 << 16 | 0xbd << 8 | 1;

/// Attaches a program to a perf event for as long as that lives, as its PERF_EVENT_IOC_SET_BPF does
/// with programs of bpf(2).
///
/// # Errors
///
/// `EFAULT`; `EBADF` and `EINVAL` for descriptors of something else; as LINK_CREATE.
pub(crate) fn perf_set_prog(arg: u64) -> Result<i32> {
    let mut bytes = [0; size_of::<SetProg>()];
    User::new(arg).read(&mut bytes)?;
    let a = SetProg::read_from_bytes(&bytes).map_err(|_| EINVAL)?;
    let file = FileRef::<ProgFile>::get(a.prog_fd)?;
    Perf::attach(a.event_fd, 0, file.prog().clone())?.give()?;
    Ok(0)
}
