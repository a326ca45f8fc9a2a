// SPDX-License-Identifier: GPL-2.0

//! Callers: root of a user namespace, a process that got its descriptors from another.

use super::code;
use crate::both::Both;
use crate::caps::{as_nobody, SYSCTL};
use crate::insn::{exit, mov};
use crate::ktap::Suite;
use crate::objects::{use_count, Objects};
use oxbpf::attr::Attr;
use oxbpf::link::TRACE_KPROBE_MULTI;
use oxbpf::{cmd, Bpf, Map, MapSpec, MapType, ProgSpec, ProgType};
use std::fs;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Runs `f` as somebody who has no capability outside of a user namespace, and all of them inside.
fn as_namespace_root(f: impl Fn() -> u8) -> Result<u8, String> {
    as_nobody(&[], || {
        // SAFETY: no memory argument.
        match unsafe { libc::unshare(libc::CLONE_NEWUSER) } {
            0 => f(),
            _ => 254,
        }
    })
}

fn namespaces(s: &mut Suite, both: &Both) {
    type Try = (&'static str, fn(&Bpf) -> u8);
    let tries: [Try; 8] = [
        ("create an array", |b| make(b, MapType::ARRAY, 4, 0)),
        ("create a hash", |b| make(b, MapType::HASH, 8, 0)),
        ("create a trie", |b| make(b, MapType::LPM_TRIE, 8, 1)),
        ("load a socket filter", |b| put(b, ProgType::SOCKET_FILTER)),
        ("load a classifier", |b| put(b, ProgType::SCHED_CLS)),
        ("load a probe", |b| put(b, ProgType::KPROBE)),
        ("ask for map ids", |b| {
            code(b.call(cmd::MAP_GET_NEXT_ID, Attr::new(8).bytes()))
        }),
        ("ask for program 1", |b| {
            code(b.call(cmd::PROG_GET_FD_BY_ID, Attr::new(4).u32(0, 1).bytes()))
        }),
    ];
    let before = fs::read_to_string(SYSCTL).unwrap_or_else(|_| "2".to_string());
    for sysctl in ["0", "2"] {
        if fs::write(SYSCTL, sysctl).is_err() {
            s.skip(
                &format!("unprivileged_bpf_disabled={sysctl}"),
                "cannot be set",
            );
            continue;
        }
        for (name, f) in &tries {
            s.test(
                &format!("root of a user namespace, sysctl {sysctl}: {name}"),
                || both.same(|b| as_namespace_root(|| f(b))).map(|_| ()),
            );
        }
        s.test(
            &format!("root of a user namespace, sysctl {sysctl}: attach an inherited probe"),
            || {
                both.same(|b| {
                    let insns = [mov(0, 0), exit()];
                    let spec = ProgSpec {
                        expected_attach_type: TRACE_KPROBE_MULTI,
                        ..ProgSpec::new(ProgType::KPROBE, &insns)
                    };
                    let prog = b.prog_load(&spec).map_err(|e| e.to_string())?;
                    as_namespace_root(|| code(prog.attach_kprobes(&["vfs_open"], 0).map(|_| 0)))
                })
                .map(|_| ())
            },
        );
        s.test(
            &format!("root of a user namespace, sysctl {sysctl}: use an inherited map"),
            || {
                both.same(|b| {
                    let map = b
                        .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 1))
                        .map_err(|e| e.to_string())?;
                    as_namespace_root(|| code(map.update(&[0; 4], &[1; 8], 0).map(|()| 0)))
                })
                .map(|_| ())
            },
        );
    }
    let _ = fs::write(SYSCTL, before.trim());
}

fn make(b: &Bpf, ty: MapType, key: u32, flags: u32) -> u8 {
    let spec = MapSpec {
        flags,
        ..MapSpec::new(ty, key, 8, 1)
    };
    code(b.map_create(&spec).map(|_| 0))
}

fn put(b: &Bpf, ty: ProgType) -> u8 {
    let insns = [mov(0, 0), exit()];
    let loaded = b.prog_load(&ProgSpec::new(ty, &insns));
    code(loaded.map(|_| 0).map_err(|e| e.errno))
}

/// Two ends of a socket.
fn socket_pair() -> Result<(OwnedFd, OwnedFd), String> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which are ours then.
    unsafe {
        if libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, ends.as_mut_ptr()) != 0 {
            return Err("no socket pair".to_string());
        }
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// One descriptor's worth of control message, aligned as it must be.
#[repr(C, align(8))]
struct Control([u8; 24]);

/// A message of one byte with room for one descriptor. Calls `f` with it.
fn with_message<R>(fd: i32, f: impl FnOnce(&mut libc::msghdr) -> R) -> (R, i32) {
    let mut byte = 0u8;
    let mut control = Control([0; 24]);
    let header = libc::cmsghdr {
        cmsg_len: 20,
        cmsg_level: libc::SOL_SOCKET,
        cmsg_type: libc::SCM_RIGHTS,
    };
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    // SAFETY: a message of zeros is an empty one; the control buffer has room for header and fd.
    unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = 24;
        (&raw mut control).cast::<libc::cmsghdr>().write(header);
        (&raw mut control)
            .cast::<u8>()
            .add(16)
            .cast::<i32>()
            .write(fd);
        let r = f(&mut message);
        let got = (&raw const control)
            .cast::<u8>()
            .add(16)
            .cast::<i32>()
            .read();
        (r, got)
    }
}

fn send(to: &OwnedFd, fd: i32) -> bool {
    // SAFETY: `with_message` made a message whose parts live until it returns.
    with_message(fd, |m| unsafe { libc::sendmsg(to.as_raw_fd(), m, 0) }).0 == 1
}

fn receive(from: &OwnedFd) -> Option<i32> {
    // SAFETY: as in `send`.
    let (n, fd) = with_message(-1, |m| unsafe { libc::recvmsg(from.as_raw_fd(), m, 0) });
    (n == 1 && fd >= 0).then_some(fd)
}

/// Looks element 0 up in the map that a descriptor is.
fn look(b: &Bpf, fd: i32) -> u8 {
    let (key, mut value) = ([0u8; 4], [0u8; 8]);
    let mut a = Attr::new(32);
    a.u32(0, fd as u32)
        .ptr(8, &key)
        .u64(16, value.as_mut_ptr() as u64);
    match b.call(cmd::MAP_LOOKUP_ELEM, a.bytes()) {
        Ok(_) if value == [0x42; 8] => 0,
        Ok(_) => 253,
        Err(e) => e.0 as u8,
    }
}

fn map(b: &Bpf) -> Result<Map, String> {
    let map = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 1))
        .map_err(|e| e.to_string())?;
    map.update(&[0; 4], &[0x42; 8], 0)
        .map_err(|e| e.to_string())?;
    Ok(map)
}

/// A map's descriptor goes to a process of another user while its maker closes it.
fn passed(b: &Bpf) -> Result<u8, String> {
    let (here, there) = socket_pair()?;
    let map = map(b)?;
    if !send(&here, map.as_fd().as_raw_fd()) {
        return Err("cannot send".to_string());
    }
    drop(map);
    as_nobody(&[], || receive(&there).map_or(252, |fd| look(b, fd)))
}

/// A map that is only in a socket's queue lives, keeps the module, and goes with the socket.
fn in_flight(b: &Bpf) -> Result<(), String> {
    let before = Objects::now(b);
    let ends = socket_pair()?;
    let map = map(b)?;
    if !send(&ends.0, map.as_fd().as_raw_fd()) {
        return Err("cannot send".to_string());
    }
    drop(map);
    std::thread::sleep(std::time::Duration::from_millis(200));
    if use_count() <= before.uses {
        return Err("nothing keeps the module".to_string());
    }
    drop(ends);
    before.again(b)
}

/// Rights are those of the caller, not of who opened the device: nobody's descriptor in root's hands.
fn opened_by_nobody() -> Result<(), String> {
    let (here, there) = socket_pair()?;
    let sent = as_nobody(&[], || {
        // SAFETY: the path is NUL-terminated.
        let fd = unsafe { libc::open(c"/dev/oxbpf".as_ptr(), libc::O_RDWR) };
        u8::from(fd < 0 || !send(&here, fd))
    })?;
    if sent != 0 {
        return Err("nobody cannot open the device".to_string());
    }
    let fd = receive(&there).ok_or("nothing received")?;
    let mut a = Attr::new(168);
    a.u32(0, MapType::LPM_TRIE.0)
        .u32(4, 8)
        .u32(8, 8)
        .u32(12, 1)
        .u32(16, 1);
    let request = (3u64 << 30) | (168 << 16) | (0xbf << 8);
    // SAFETY: an attr of that size.
    let made = unsafe { libc::ioctl(fd, request, a.bytes().as_mut_ptr()) };
    // SAFETY: both are ours.
    unsafe {
        libc::close(made);
        libc::close(fd);
    }
    match made {
        0.. => Ok(()),
        _ => Err("root may not, by a device that nobody opened".to_string()),
    }
}

/// All of them.
pub fn tests(s: &mut Suite, both: &Both) {
    namespaces(s, both);
    s.test("a map goes to another user's process", || {
        both.same(passed).map(|_| ())
    });
    s.test("a map lives in a socket's queue, and goes with it", || {
        in_flight(&both.ours)
    });
    s.test(
        "a device that nobody opened, used by root",
        opened_by_nobody,
    );
}
