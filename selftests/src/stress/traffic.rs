// SPDX-License-Identifier: GPL-2.0

//! Packets on a veth pair between two network namespaces, through filters of tc that come and go, and
//! with them the namespaces.
//!
//! Each pair of namespaces is kept by its descriptors: one goes, with its device and that device's
//! peer, while packets are sent through it; the rest goes with the last user.

use super::Arena;
use crate::insn::{exit, mov};
use crate::maps::Random;
use oxbpf::{Errno, ProgSpec, ProgType};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Two namespaces, joined.
struct Net {
    /// Where the sender is, on device `va`.
    near: OwnedFd,
    /// Where device `vb` is; gone before the rest, perhaps.
    far: Mutex<Option<Arc<OwnedFd>>>,
    /// A packet socket on `va`.
    sender: OwnedFd,
}

static NET: Mutex<Option<Arc<Net>>> = Mutex::new(None);

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the last of them away.
pub fn restore() {
    drop(locked(&NET).take());
}

/// The modules that a command here would have to wait for.
pub fn prepare() {
    let _ = Command::new("modprobe")
        .args(["-a", "veth", "sch_ingress"])
        .output();
}

type Done<T> = Result<T, Errno>;

fn check(n: i32) -> Done<i32> {
    if n < 0 {
        return Err(Errno::last());
    }
    Ok(n)
}

fn owned(fd: i32) -> Done<OwnedFd> {
    // SAFETY: the caller just got it from a system call.
    check(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// This thread's network namespace.
fn this_net() -> Done<OwnedFd> {
    // SAFETY: a string that ends in NUL.
    owned(unsafe {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        libc::open(c"/proc/thread-self/ns/net".as_ptr(), flags)
    })
}

/// This thread goes to a new network namespace.
fn new_net() -> Done<OwnedFd> {
    // SAFETY: no memory argument.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    this_net()
}

fn enter(net: &OwnedFd) -> Done<()> {
    // SAFETY: no memory argument.
    check(unsafe { libc::setns(net.as_raw_fd(), libc::CLONE_NEWNET) }).map(|_| ())
}

/// This thread elsewhere, and back when it is dropped.
struct Visit {
    home: OwnedFd,
}

impl Visit {
    fn begin() -> Done<Visit> {
        this_net().map(|home| Visit { home })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // A thread that stayed would send from the wrong place, which the errors would show.
        let _ = enter(&self.home);
    }
}

/// A message to rtnetlink.
struct Message(Vec<u8>);

impl Message {
    /// A new one of that type, to be acknowledged, with its own header.
    fn new(ty: u16, flags: u16, header: &[u8]) -> Message {
        const REQUEST_ACK: u16 = 1 | 4;
        let mut m = vec![0; 16];
        m[4..6].copy_from_slice(&ty.to_ne_bytes());
        m[6..8].copy_from_slice(&(flags | REQUEST_ACK).to_ne_bytes());
        m.extend(header);
        Message(m)
    }

    fn attr(mut self, ty: u16, data: &[u8]) -> Message {
        self.0.extend((data.len() as u16 + 4).to_ne_bytes());
        self.0.extend(ty.to_ne_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Attributes in an attribute.
    fn nest(mut self, ty: u16, inside: impl FnOnce(Message) -> Message) -> Message {
        let at = self.0.len();
        self = inside(self.attr(ty, &[]));
        let len = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&len.to_ne_bytes());
        self
    }

    /// Sends it in this thread's namespace, and waits for the answer.
    fn send(mut self) -> Done<()> {
        let len = self.0.len() as u32;
        self.0[0..4].copy_from_slice(&len.to_ne_bytes());
        let mut answer = [0u8; 4096];
        // SAFETY: both buffers have the lengths that are given.
        unsafe {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
            let s = owned(libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE))?;
            let sent = libc::send(s.as_raw_fd(), self.0.as_ptr().cast(), self.0.len(), 0);
            check(sent as i32)?;
            let got = libc::recv(s.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0);
            check(got as i32)?;
        }
        // struct nlmsghdr, then the negative errno
        let errno = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        match errno {
            0 => Ok(()),
            e => Err(Errno(-e)),
        }
    }
}

const NEWLINK: u16 = 16;
const NEWQDISC: u16 = 36;
const NEWTFILTER: u16 = 44;
const DELTFILTER: u16 = 45;
const CREATE: u16 = 0x400;
const EXCL: u16 = 0x200;

fn index(dev: &std::ffi::CStr) -> u32 {
    // SAFETY: a string that ends in NUL.
    unsafe { libc::if_nametoindex(dev.as_ptr()) }
}

/// `struct ifinfomsg`
fn link(index: u32, flags: u32) -> Vec<u8> {
    let mut m = vec![0; 4];
    m.extend(index.to_ne_bytes());
    m.extend(flags.to_ne_bytes());
    m.extend(flags.to_ne_bytes());
    m
}

/// `struct tcmsg`
fn tc(index: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let mut m = vec![0; 4];
    for n in [index, handle, parent, info] {
        m.extend(n.to_ne_bytes());
    }
    m
}

/// In this thread's namespace: the device is up and has clsact.
fn ready(dev: &std::ffi::CStr) -> Done<u32> {
    let index = index(dev);
    Message::new(NEWLINK, 0, &link(index, libc::IFF_UP as u32)).send()?;
    Message::new(
        NEWQDISC,
        CREATE | EXCL,
        &tc(index, 0xffff_0000, 0xffff_fff1, 0),
    )
    .attr(1, b"clsact\0")
    .send()?;
    Ok(index)
}

/// Both namespaces, with their devices.
fn build() -> Done<Net> {
    let _home = Visit::begin()?;
    let far = new_net()?;
    let near = new_net()?;
    let fd = far.as_raw_fd().to_ne_bytes();
    Message::new(NEWLINK, CREATE | EXCL, &link(0, 0))
        .attr(3, b"va\0")
        .nest(18, |m| {
            m.attr(1, b"veth").nest(2, |m| {
                m.nest(1, |mut m| {
                    m.0.extend(link(0, 0));
                    m.attr(3, b"vb\0").attr(28, &fd)
                })
            })
        })
        .send()?;
    let va = ready(c"va")?;
    // SAFETY: no memory argument; the address has the length that is given.
    let sender = unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Protocol 0: it gets nothing.
        let s = owned(libc::socket(libc::AF_PACKET, kind, 0))?;
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = va as i32;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        check(libc::bind(s.as_raw_fd(), (&raw const to).cast(), len))?;
        s
    };
    enter(&far)?;
    ready(c"vb")?;
    Ok(Net {
        near,
        far: Mutex::new(Some(Arc::new(far))),
        sender,
    })
}

/// Another pair of namespaces takes the place of the one there, of which one end went before, or all
/// does at once.
pub fn replace(a: &Arena, r: &mut Random) -> bool {
    let new = match build() {
        Ok(new) => new,
        Err(Errno(libc::ENOMEM | libc::ENOBUFS)) => return false,
        Err(e) => {
            a.wrong(format!("network namespaces with a veth pair: {e}"));
            std::thread::sleep(Duration::from_millis(100));
            return false;
        }
    };
    let new = Arc::new(new);
    let old = locked(&NET).replace(new.clone());
    // However slow the machine is, some come and go at each pair.
    let mut done = visit(a, r, &new);
    std::thread::sleep(Duration::from_millis(50 + r.below(200)));
    // Of the new one, the far end goes while everybody uses it.
    if r.below(2) == 0 {
        drop(locked(&new.far).take());
        std::thread::sleep(Duration::from_millis(r.below(50)));
        done |= visit(a, r, &new);
    }
    drop(old);
    done
}

/// A program with one of the verdicts, that may use and write a shared map.
fn add_filter(a: &Arena, r: &mut Random, index: u32, parent: u32, prio: u32) -> Done<()> {
    let map = a.map(r);
    let mut insns = super::roles::instructions(r, map.as_deref());
    // TC_ACT_UNSPEC, OK, SHOT, PIPE
    let verdict = [-1, 0, 2, 3][r.below(4) as usize];
    insns.pop();
    insns.pop();
    insns.extend([mov(0, verdict), exit()]);
    let spec = ProgSpec::new(ProgType::SCHED_CLS, &insns);
    let prog = a.bpf.prog_load(&spec).map_err(|e| e.errno)?;
    let fd = prog.as_fd().as_raw_fd();
    // ETH_P_ALL
    let info = (prio << 16) | u32::from(3u16.to_be());
    Message::new(NEWTFILTER, CREATE, &tc(index, 1, parent, info))
        .attr(1, b"oxbpf\0")
        .nest(2, |m| {
            // fd, name, direct action
            m.attr(6, &fd.to_ne_bytes())
                .attr(7, b"stress\0")
                .attr(8, &1u32.to_ne_bytes())
        })
        .send()
}

/// Filters come, are replaced and go at one of the ends.
pub fn filters(a: &Arena, r: &mut Random) -> bool {
    let net = locked(&NET).clone();
    match net {
        Some(net) => visit(a, r, &net),
        None => {
            std::thread::sleep(Duration::from_millis(1));
            false
        }
    }
}

/// Some changes at one end; whether one was made.
fn visit(a: &Arena, r: &mut Random, net: &Net) -> bool {
    let far = locked(&net.far).clone().filter(|_| r.below(2) == 0);
    let mut done = false;
    let end = (|| {
        let _home = Visit::begin()?;
        let index = match &far {
            Some(far) => enter(far).map(|()| index(c"vb"))?,
            None => enter(&net.near).map(|()| index(c"va"))?,
        };
        // The second comes to where the first is, mostly.
        for _ in 0..4 {
            change(a, r, index)?;
            done = true;
        }
        Ok(())
    })();
    match end {
        Ok(()) => {}
        // nothing there to delete; the device goes or is gone
        Err(Errno(libc::ENOENT | libc::ENODEV | libc::EINVAL | libc::ENOMEM | libc::ENOBUFS)) => {}
        Err(e) => a.wrong(format!("tc filter: {e}")),
    }
    done
}

/// One filter comes, is replaced, or goes, or all of a hook do.
fn change(a: &Arena, r: &mut Random, index: u32) -> Done<()> {
    let parent = [0xffff_fff2, 0xffff_fff3][r.below(2) as usize];
    let prio = 1 + r.below(2) as u32;
    match r.below(10) {
        0 => Message::new(DELTFILTER, 0, &tc(index, 0, parent, 0)).send(),
        1 | 2 => Message::new(DELTFILTER, 0, &tc(index, 0, parent, prio << 16)).send(),
        _ => add_filter(a, r, index, parent, prio),
    }
}

/// Packets from one end to the other.
pub fn send(a: &Arena, r: &mut Random) -> bool {
    let Some(net) = locked(&NET).clone() else {
        std::thread::sleep(Duration::from_millis(1));
        return false;
    };
    // To everybody, from a station, an IP packet of something.
    let mut frame = [0u8; 1514];
    frame[..6].fill(0xff);
    frame[6] = 2;
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17]);
    let mut sent = false;
    for _ in 0..64 {
        let len = 60 + r.below(1400) as usize;
        // SAFETY: the frame has at least that length.
        let n = unsafe { libc::send(net.sender.as_raw_fd(), frame.as_ptr().cast(), len, 0) };
        if n > 0 {
            sent = true;
            continue;
        }
        match Errno::last() {
            // the device is down or gone, or a filter dropped the packet
            Errno(
                libc::ENETDOWN
                | libc::ENXIO
                | libc::ENODEV
                | libc::ENOBUFS
                | libc::EAGAIN
                | libc::ENOMEM,
            ) => {}
            e => a.wrong(format!("a packet: {e}")),
        }
        break;
    }
    sent
}
