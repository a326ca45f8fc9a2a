// SPDX-License-Identifier: GPL-2.0

//! The helpers of tracing programs that test runs can show.

use super::{load, text, words, COOKIE};
use crate::both::Both;
use crate::insn::{add, call, exit, ld_imm64, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::attr::Attr;
use oxbpf::{cmd, Bpf, Map, MapSpec, MapType, ProgType, Slot};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};

/// Runs `insns` as a raw tracepoint's program, once: the result in full, by way of a map.
fn value_of(b: &Bpf, insns: impl Fn(&Map) -> Vec<Slot>) -> Result<u64, String> {
    let map = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, 64, 1))
        .map_err(text("map"))?;
    let mut all = vec![mov_reg(6, 1), raw(0x62, 10, 0, -4, 0), mov_reg(2, 10)];
    all.push(add(2, -4));
    all.extend(ld_map(1, &map));
    all.extend([call(1), raw(0x55, 0, 0, 1, 0), exit(), mov_reg(9, 0)]);
    all.extend(insns(&map));
    all.extend([raw(0x7b, 9, 0, 0, 0), mov(0, 0), exit()]);
    let prog = load(b, ProgType::RAW_TRACEPOINT, 0, &all)?;
    let mut a = Attr::new(80);
    a.u32(0, prog.as_fd().as_raw_fd() as u32);
    b.call(cmd::PROG_TEST_RUN, a.bytes()).map_err(text("run"))?;
    Ok(words(&map)?[0])
}

/// The tests.
pub fn suite(s: &mut Suite, both: &Both) {
    for (name, insns) in [
        ("get_current_cgroup_id", vec![call(80)]),
        ("ancestor of level 0", vec![mov(1, 0), call(123)]),
        ("ancestor of level 1", vec![mov(1, 1), call(123)]),
        ("ancestor of level 100", vec![mov(1, 100), call(123)]),
        ("ancestor of level -1", vec![mov(1, -1), call(123)]),
        (
            "get_attach_cookie without an event",
            vec![mov_reg(1, 6), call(COOKIE)],
        ),
    ] {
        s.test(name, || {
            both.same(|b| value_of(b, |_| insns.clone()))
                .and_then(|r| r.map(|_| ()))
        });
    }
    let namespace = fs::metadata("/proc/self/ns/pid").map(|m| {
        use std::os::unix::fs::MetadataExt;
        // As the kernel has device numbers inside.
        let dev = m.dev();
        let (major, minor) = (libc::major(dev), libc::minor(dev));
        ((u64::from(major) << 20) | u64::from(minor), m.ino())
    });
    let (dev, ino) = namespace.unwrap_or((0, 0));
    for (name, dev, ino, size) in [
        ("this one", dev, ino, 8),
        ("another device", dev + 1, ino, 8),
        ("another inode", dev, ino + 1, 8),
        ("a device of more than 32 bits", dev | (1 << 40), ino, 8),
        ("room for one", dev, ino, 4),
        ("room for three", dev, ino, 12),
    ] {
        s.test(&format!("get_ns_current_pid_tgid: {name}"), || {
            both.same(|b| {
                let filled = |at: i16| raw(0x7a, 10, 0, at, -1);
                value_of(b, |_| {
                    let mut insns = vec![filled(-24), filled(-16)];
                    insns.extend(ld_imm64(1, dev));
                    insns.extend(ld_imm64(2, ino));
                    insns.extend([mov_reg(3, 10), add(3, -24), mov(4, size), call(120)]);
                    // errno in the upper half over the sum of what was written
                    insns.extend([raw(0x67, 0, 0, 0, 48), raw(0x79, 1, 10, -24, 0)]);
                    insns.extend([raw(0x0f, 0, 1, 0, 0), raw(0x79, 1, 10, -16, 0)]);
                    insns.push(raw(0x0f, 0, 1, 0, 0));
                    insns
                })
            })
            .and_then(|r| r.map(|_| ()))
        });
    }
    for (a, n) in [
        ("abc", 4),
        ("abd", 4),
        ("abb", 4),
        ("ab", 4),
        ("abcx", 3),
        ("", 1),
    ] {
        s.test(&format!("strncmp of {a:?}, {n} bytes"), || {
            both.same(|b| strncmp(b, a, n)).and_then(|r| r.map(|_| ()))
        });
    }
    signals(s, both);
    writes(s, both);
}

/// Compares with "abc" in a frozen map.
fn strncmp(b: &Bpf, with: &str, n: i32) -> Result<u64, String> {
    let spec = MapSpec {
        flags: 1 << 7, // BPF_F_RDONLY_PROG
        ..MapSpec::new(MapType::ARRAY, 4, 8, 1)
    };
    let text_map = b.map_create(&spec).map_err(text("map"))?;
    text_map
        .update(&[0; 4], b"abc\0\0\0\0\0", 0)
        .map_err(text("update"))?;
    let mut a = Attr::new(4);
    a.u32(0, text_map.as_fd().as_raw_fd() as u32);
    b.call(cmd::MAP_FREEZE, a.bytes()).map_err(text("freeze"))?;
    let mut word = [0; 8];
    word[..with.len()].copy_from_slice(with.as_bytes());
    value_of(b, |_| {
        let mut insns = ld_imm64(1, u64::from_ne_bytes(word)).to_vec();
        insns.extend([
            raw(0x7b, 10, 1, -16, 0),
            mov_reg(1, 10),
            add(1, -16),
            mov(2, n),
        ]);
        // BPF_PSEUDO_MAP_VALUE
        insns.extend([
            raw(0x18, 3, 2, 0, text_map.as_fd().as_raw_fd()),
            raw(0, 0, 0, 0, 0),
        ]);
        insns.push(call(182));
        insns
    })
}

fn signals(s: &mut Suite, both: &Both) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static SEEN: AtomicU32 = AtomicU32::new(0);
    extern "C" fn seen(_: i32) {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler adds a number, and the structure is zero but for it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = seen as extern "C" fn(i32) as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
    }
    for helper in [109, 117] {
        for signal in [libc::SIGUSR1, 0, 65, -1] {
            s.test(&format!("helper {helper}, signal {signal}"), || {
                both.same(|b| {
                    SEEN.store(0, Ordering::Relaxed);
                    let insns = [
                        call(14),
                        raw(0x77, 0, 0, 0, 32),
                        raw(0x15, 0, 0, 2, std::process::id() as i32),
                        mov(0, 0),
                        exit(),
                        mov(1, signal),
                        call(helper),
                        exit(),
                    ];
                    let prog = load(b, ProgType::RAW_TRACEPOINT, 0, &insns)?;
                    let mut a = Attr::new(80);
                    a.u32(0, prog.as_fd().as_raw_fd() as u32);
                    b.call(cmd::PROG_TEST_RUN, a.bytes()).map_err(text("run"))?;
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    Ok::<_, String>((a.get_u32(4), SEEN.load(Ordering::Relaxed)))
                })
                .and_then(|r| r)
                .and_then(|r| match r {
                    (0, 1) if signal == libc::SIGUSR1 => Ok(()),
                    (_, 0) if signal != libc::SIGUSR1 => Ok(()),
                    other => Err(format!("{other:?}")),
                })
            });
        }
    }
}

fn writes(s: &mut Suite, both: &Both) {
    for (name, addr) in [
        ("a good address", None),
        ("NULL", Some(0)),
        ("the kernel's", Some(-1 << 31)),
    ] {
        s.test(&format!("probe_write_user to {name}"), || {
            both.same(|b| {
                let mut word = 7u64;
                let to = addr.unwrap_or(&raw mut word as i64) as u64;
                let answer = value_of(b, |_| {
                    let mut insns = ld_imm64(1, to).to_vec();
                    insns.extend([raw(0x7a, 10, 0, -16, 0x55), mov_reg(2, 10), add(2, -16)]);
                    insns.extend([mov(3, 8), call(36)]);
                    insns
                })?;
                // SAFETY: it is a local number, which the program may have changed.
                let word = unsafe { (&raw const word).read_volatile() };
                Ok::<_, String>((answer, word))
            })
            .and_then(|r| r)
            .and_then(|r| match (addr, r) {
                (None, (0, 0x55)) => Ok(()),
                (Some(_), (e, 7)) if e != 0 => Ok(()),
                other => Err(format!("{other:?}")),
            })
        });
    }
}
