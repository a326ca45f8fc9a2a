// SPDX-License-Identifier: GPL-2.0

//! Memory and descriptors that change while the kernel looks at them.

use crate::both::Both;
use crate::insn::{exit, mov, raw};
use crate::ktap::{volume, Suite};
use crate::maps::Random;
use crate::objects::Objects;
use crate::shape::{self, Kind};
use oxbpf::attr::{Attr, SIZE};
use oxbpf::{cmd, Bpf, Errno, MapSpec, MapType, ProgSpec, ProgType, Slot};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An attr's or a program's words, for a thread to change while the kernel reads them.
fn words(bytes: &[u8]) -> Vec<AtomicU64> {
    bytes
        .chunks(8)
        .map(|c| {
            let mut word = [0; 8];
            word[..c.len()].copy_from_slice(c);
            AtomicU64::new(u64::from_ne_bytes(word))
        })
        .collect()
}

/// Does `f` again and again while `other` does too.
fn against<R>(other: impl Fn() + Sync, f: impl FnOnce() -> R) -> R {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                other();
            }
        });
        let result = f();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// A store below the stack's top becomes one above it, and back. What was loaded must be what was
/// verified: loading it once more from what the kernel shows of it must succeed.
fn instructions(b: &Bpf) -> Result<(), String> {
    const LENGTH: usize = 400;
    let store = |off: i16| u64::from_ne_bytes(raw(0x7a, 10, 0, off, 0));
    let (good, bad) = (store(-8), store(8));
    let mut insns: Vec<Slot> = vec![raw(0x7a, 10, 0, -8, 0); LENGTH];
    insns.extend([mov(0, 0), exit()]);
    let code = words(&insns.concat());
    let license = c"GPL";
    let at = LENGTH / 2;
    let (mut accepted, mut refused) = (0, 0);
    against(
        || {
            code[at].store(bad, Ordering::Relaxed);
            std::hint::spin_loop();
            code[at].store(good, Ordering::Relaxed);
        },
        || {
            let deadline = Instant::now() + Duration::from_secs(60);
            while accepted < volume(1000) || refused < volume(1000) {
                if Instant::now() > deadline {
                    break;
                }
                let mut a = Attr::new(SIZE);
                a.u32(0, ProgType::SOCKET_FILTER.0)
                    .u32(4, code.len() as u32);
                a.u64(8, code.as_ptr() as u64)
                    .u64(16, license.as_ptr() as u64);
                match b.call(cmd::PROG_LOAD, a.bytes()) {
                    Ok(fd) => {
                        accepted += 1;
                        let shown = xlated(b, fd);
                        // SAFETY: the command made `fd` for us.
                        unsafe { libc::close(fd) };
                        let again = ProgSpec {
                            log_level: 1,
                            ..ProgSpec::new(ProgType::SOCKET_FILTER, &shown)
                        };
                        b.prog_load(&again)
                            .map_err(|e| format!("loaded what is refused: {e}"))?;
                    }
                    Err(Errno(libc::EACCES)) => refused += 1,
                    Err(e) => return Err(format!("PROG_LOAD: {e}")),
                }
            }
            Ok(())
        },
    )?;
    match (accepted, refused) {
        (0, _) | (_, 0) => Err(format!("no race: {accepted} accepted, {refused} refused")),
        _ => Ok(()),
    }
}

/// The instructions that the kernel shows of a program.
fn xlated(b: &Bpf, fd: i32) -> Vec<Slot> {
    let mut code = vec![[0u8; 8]; 1024];
    let mut ask = Attr::new(232);
    ask.u32(20, 8192).u64(32, code.as_mut_ptr() as u64);
    let _ = b.info(fd, ask.bytes());
    code.truncate(ask.get_u32(20) as usize / 8);
    code
}

/// The attr of a command changes while it is read: any answer, and nothing left behind.
fn attrs(b: &Bpf) -> Result<(), String> {
    let before = Objects::now(b);
    let insns: Vec<Slot> = [vec![mov(0, 0); 64], vec![exit()]].concat();
    // Much more than the attr says, which may come to say more.
    let log = vec![0u8; 1 << 22];
    let map = b
        .map_create(&MapSpec::new(MapType::HASH, 8, 8, 8))
        .map_err(|e| e.to_string())?;
    let mut load = Attr::new(SIZE);
    load.u32(0, 1)
        .u32(4, 65)
        .ptr(8, &insns)
        .ptr(16, c"GPL".to_bytes_with_nul());
    load.u32(24, 2).u32(28, 4096).ptr(32, &log);
    let mut create = Attr::new(SIZE);
    create.u32(0, 1).u32(4, 8).u32(8, 8).u32(12, 16);
    let buffer = vec![0u64; 1 << 16];
    let mut lookup = Attr::new(32);
    lookup
        .u32(0, map.as_fd().as_raw_fd() as u32)
        .ptr(8, &buffer)
        .ptr(16, &buffer);
    let mut info = Attr::new(16);
    info.u32(0, map.as_fd().as_raw_fd() as u32)
        .u32(4, 104)
        .ptr(8, &buffer);
    for (command, mut attr) in [
        (cmd::PROG_LOAD, load),
        (cmd::MAP_CREATE, create),
        (cmd::MAP_LOOKUP_ELEM, lookup.clone()),
        (cmd::MAP_UPDATE_ELEM, lookup),
        (cmd::OBJ_GET_INFO_BY_FD, info),
    ] {
        let size = attr.bytes().len();
        let shared = words(attr.bytes());
        let right: Vec<u64> = shared.iter().map(|w| w.load(Ordering::Relaxed)).collect();
        // Where the kernel writes to stays as it is: it may copy the attr byte by byte, and half of an
        // address with half of NULL is an address of this process too.
        let written = |at: usize| {
            let out = |&(byte, kind): &shape::Field| kind == Kind::Out && byte / 8 == at;
            shape::fields(command).iter().any(out)
        };
        let turn = AtomicU64::new(1);
        against(
            || {
                let mut r = Random(turn.fetch_add(1, Ordering::Relaxed));
                let at = r.below(shared.len() as u64) as usize;
                if written(at) {
                    return;
                }
                let address = right[at] > 1 << 40;
                let value = match r.below(4) {
                    _ if address => 0,
                    0 => r.next(),
                    1 => right[at] ^ (1 << r.below(64)),
                    _ => right[at] ^ r.below(256),
                };
                // a large map is no harm but takes long
                if command != cmd::MAP_CREATE || value < 1 << 36 {
                    shared[at].store(value, Ordering::Relaxed);
                }
                shared[at].store(right[at], Ordering::Relaxed);
            },
            || {
                for _ in 0..volume(20_000) {
                    // SAFETY: the addresses to write to are right. Sizes may be larger than `log`
                    // and `buffer` are, but those are larger than all that can be written
                    // there: the log of 65 instructions, a value, or what is known of an object.
                    let made = unsafe { b.call_raw(command, shared.as_ptr() as u64, size) };
                    if let (Ok(fd), cmd::PROG_LOAD | cmd::MAP_CREATE) = (made, command) {
                        // SAFETY: the command made `fd` for us.
                        unsafe { libc::close(fd) };
                    }
                }
            },
        );
    }
    drop(map);
    before.again(b)
}

/// A descriptor's number becomes another file's while commands use it.
fn numbers(b: &Bpf) -> Result<(), String> {
    let before = Objects::now(b);
    let fail = |e: Errno| e.to_string();
    let spec = MapSpec::new(MapType::HASH, 8, 8, 8);
    let (first, second) = (
        b.map_create(&spec).map_err(fail)?,
        b.map_create(&spec).map_err(fail)?,
    );
    let prog = b
        .prog_load(&ProgSpec::new(
            ProgType::SOCKET_FILTER,
            &[mov(0, 0), exit()],
        ))
        .map_err(|e| e.to_string())?;
    let files: Vec<i32> = vec![
        first.as_fd().as_raw_fd(),
        second.as_fd().as_raw_fd(),
        prog.as_fd().as_raw_fd(),
    ];
    const NUMBER: i32 = 700;
    let turn = AtomicU64::new(0);
    against(
        || {
            let i = turn.fetch_add(1, Ordering::Relaxed) as usize % (files.len() + 1);
            // SAFETY: nothing else has that number.
            unsafe {
                match files.get(i) {
                    Some(fd) => libc::dup2(*fd, NUMBER),
                    None => libc::close(NUMBER),
                }
            };
        },
        || {
            let (key, value) = ([1u8; 8], [2u8; 8]);
            for i in 0..volume(20_000) {
                let mut a = Attr::new(32);
                a.u32(0, NUMBER as u32).ptr(8, &key).ptr(16, &value);
                let command = [cmd::MAP_UPDATE_ELEM, cmd::MAP_LOOKUP_ELEM][i as usize % 2];
                match b.call(command, a.bytes()) {
                    Ok(_) | Err(Errno(libc::EBADF | libc::EINVAL | libc::ENOENT)) => {}
                    Err(e) => return Err(format!("command {command}: {e}")),
                }
            }
            Ok(())
        },
    )?;
    // SAFETY: nothing else has that number.
    unsafe { libc::close(NUMBER) };
    drop((first, second, prog));
    before.again(b)
}

/// All of them.
pub fn tests(s: &mut Suite, both: &Both) {
    s.test("instructions are rewritten during the load", || {
        instructions(&both.ours)
    });
    s.test("attrs are rewritten during the command", || {
        attrs(&both.ours)
    });
    s.test("descriptors are replaced during the command", || {
        numbers(&both.ours)
    });
}
