// SPDX-License-Identifier: GPL-2.0

//! Malformed program, link and info commands.

use super::{Cases, Change, Pointer};
use crate::insn;
use crate::memory::KERNEL;
use oxbpf::attr::{Attr, SIZE};
use oxbpf::cmd;

/// A good PROG_LOAD of a socket filter.
fn good_load(insns: &[oxbpf::Slot], license: &[u8]) -> Attr {
    let mut a = Attr::new(SIZE);
    a.u32(0, 1)
        .u32(4, insns.len() as u32)
        .ptr(8, insns)
        .ptr(16, license);
    a
}

pub fn prog_load(c: &mut Cases) {
    let mut load = |name: String, change: Change| {
        c.add(format!("PROG_LOAD: {name}"), move |o| {
            let insns = [insn::mov(0, 1), insn::exit()];
            let mut a = good_load(&insns, b"GPL\0");
            change(&mut a, o);
            o.call(cmd::PROG_LOAD, &mut a)
        });
    };
    load("good".into(), Box::new(|_, _| {}));
    for ty in [0u32, 2, 3, 4, 100, u32::MAX] {
        load(
            format!("type {ty}"),
            Box::new(move |a, _| {
                a.u32(0, ty);
            }),
        );
    }
    for n in [0u32, 1_000_001, u32::MAX] {
        load(
            format!("{n} instructions"),
            Box::new(move |a, _| {
                a.u32(4, n);
            }),
        );
    }
    load(
        "1M instructions, unreadable".into(),
        Box::new(|a, o| {
            a.u32(4, 1_000_000).u64(8, o.traps.before_hole(16));
        }),
    );
    let pointers: &[Pointer] = &[
        ("NULL", |_| 0),
        ("inaccessible", |t| t.hole()),
        ("the kernel's", |_| KERNEL),
        ("8 bytes before inaccessible memory", |t| t.before_hole(8)),
    ];
    for (what, address) in pointers.iter().copied() {
        load(
            format!("instructions at {what}"),
            Box::new(move |a, o| {
                a.u64(8, address(&o.traps));
            }),
        );
        load(
            format!("license at {what}"),
            Box::new(move |a, o| {
                a.u64(16, address(&o.traps));
            }),
        );
        load(
            format!("instructions at {what}, unknown type"),
            Box::new(move |a, o| {
                a.u64(8, address(&o.traps)).u32(0, 999);
            }),
        );
        load(
            format!("log at {what}"),
            Box::new(move |a, o| {
                a.u32(24, 1).u32(28, 4096).u64(32, address(&o.traps));
            }),
        );
    }
    for (level, size, buf) in [
        (0u32, 0u32, 1u64),
        (0, 128, 0),
        (0, 128, 1),
        (1, 0, 1),
        (1, 128, 0),
        (1, 1, 1),
        (1, 127, 1),
        (16, 128, 1),
        (32, 128, 1),
        (u32::MAX, 128, 1),
        (1, (u32::MAX >> 2) + 1, 1),
        (8, 128, 1),
        (4, 4096, 1),
        (2, 4096, 1),
        (15, 4096, 1),
        (1, 0, 0),
        (2, 0, 0),
    ] {
        load(
            format!("log level {level}, size {size}, buffer {}", buf != 0),
            Box::new(move |a, o| {
                // a page that can be written, read by nobody
                let at = if buf == 0 {
                    0
                } else {
                    o.traps.read_only() - 4096
                };
                a.u32(24, level).u32(28, size).u64(32, at);
            }),
        );
    }
    for bit in 0..32 {
        if matches!(bit, 5..=7 | 16) {
            continue; // XDP frags, device binding, token: things of their own
        }
        load(
            format!("flag bit {bit}"),
            Box::new(move |a, _| {
                a.u32(44, 1 << bit);
            }),
        );
    }
    for name in ["good_name.1", "bad name", "x-y", "sixteen_letters_"] {
        load(
            format!("name {name:?}"),
            Box::new(move |a, _| {
                a.put(48, name.as_bytes());
            }),
        );
    }
    load(
        "expected_attach_type 1".into(),
        Box::new(|a, _| {
            a.u32(68, 1);
        }),
    );
    load(
        "expected_attach_type 999".into(),
        Box::new(|a, _| {
            a.u32(68, 999);
        }),
    );
    load(
        "kern_version is ignored".into(),
        Box::new(|a, _| {
            a.u32(40, 0x01020304);
        }),
    );
    load(
        "attach_btf_id".into(),
        Box::new(|a, _| {
            a.u32(108, 1);
        }),
    );
    load(
        "attach_prog_fd not open".into(),
        Box::new(|a, _| {
            a.u32(112, 4000);
        }),
    );
    load(
        "license of 127 letters".into(),
        Box::new(|a, _| {
            static LONG: [u8; 256] = [b'x'; 256];
            a.ptr(16, &LONG);
        }),
    );
}

pub fn test_run(c: &mut Cases) {
    let mut run = |name: &str, change: Change| {
        c.add(format!("PROG_TEST_RUN: {name}"), move |o| {
            let packet = [0u8; 64];
            let mut a = Attr::new(80);
            a.u32(0, o.filter()).u32(8, 64).ptr(16, &packet);
            change(&mut a, o);
            o.call(cmd::PROG_TEST_RUN, &mut a)
        });
    };
    run("good", Box::new(|_, _| {}));
    run(
        "kprobe program",
        Box::new(|a, o| {
            a.u32(0, o.probe());
        }),
    );
    for n in [0u32, 1, 13, 14, 15, 4096, 1 << 20, u32::MAX] {
        run(
            &format!("{n} bytes of data"),
            Box::new(move |a, _| {
                a.u32(8, n);
            }),
        );
    }
    run(
        "size without data",
        Box::new(|a, _| {
            a.u64(16, 0);
        }),
    );
    run(
        "data without size",
        Box::new(|a, _| {
            a.u32(8, 0);
        }),
    );
    run(
        "data inaccessible",
        Box::new(|a, o| {
            a.u64(16, o.traps.hole());
        }),
    );
    run(
        "data half readable",
        Box::new(|a, o| {
            a.u64(16, o.traps.before_hole(20));
        }),
    );
    run(
        "output read-only",
        Box::new(|a, o| {
            a.u32(12, 64).u64(24, o.traps.read_only());
        }),
    );
    run(
        "output too small",
        Box::new(|a, o| {
            a.u32(12, 10).u64(24, o.traps.read_only() - 4096);
        }),
    );
    run(
        "output size without output",
        Box::new(|a, _| {
            a.u32(12, 64);
        }),
    );
    run(
        "ctx size without ctx",
        Box::new(|a, _| {
            a.u32(40, 8);
        }),
    );
    run(
        "ctx without size",
        Box::new(|a, o| {
            a.u64(48, o.traps.read_only());
        }),
    );
    run(
        "ctx out size without ctx out",
        Box::new(|a, _| {
            a.u32(44, 8);
        }),
    );
    run(
        "ctx inaccessible",
        Box::new(|a, o| {
            a.u32(40, 8).u64(48, o.traps.hole());
        }),
    );
    run(
        "ctx with a field that cannot be set",
        Box::new(|a, o| {
            // len, the first field of __sk_buff
            static LEN: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
            let _ = o;
            a.u32(40, 8).ptr(48, &LEN);
        }),
    );
    run(
        "ctx larger than __sk_buff, zero",
        Box::new(|a, o| {
            a.u32(40, 1024).u64(48, o.traps.read_only());
        }),
    );
    run(
        "flags",
        Box::new(|a, _| {
            a.u32(64, 1);
        }),
    );
    run(
        "cpu",
        Box::new(|a, _| {
            a.u32(68, 1);
        }),
    );
    run(
        "batch size",
        Box::new(|a, _| {
            a.u32(72, 1);
        }),
    );
    run(
        "repeat 1000",
        Box::new(|a, _| {
            a.u32(32, 1000);
        }),
    );
}

pub fn info_and_link(c: &mut Cases) {
    for n in [0u32, 8, 88, 1000, 4096, 4097, u32::MAX] {
        c.add(format!("OBJ_GET_INFO_BY_FD: map, {n} bytes"), move |o| {
            let room = vec![0u8; 8192];
            o.call(
                cmd::OBJ_GET_INFO_BY_FD,
                Attr::new(16).u32(0, o.array()).u32(4, n).ptr(8, &room),
            )
        });
        c.add(
            format!("OBJ_GET_INFO_BY_FD: program, {n} bytes"),
            move |o| {
                let room = vec![0u8; 8192];
                o.call(
                    cmd::OBJ_GET_INFO_BY_FD,
                    Attr::new(16).u32(0, o.filter()).u32(4, n).ptr(8, &room),
                )
            },
        );
    }
    c.add("OBJ_GET_INFO_BY_FD: a byte past what is known", |o| {
        let room = vec![1u8; 1000];
        o.call(
            cmd::OBJ_GET_INFO_BY_FD,
            Attr::new(16).u32(0, o.array()).u32(4, 1000).ptr(8, &room),
        )
    });
    let pointers: &[Pointer] = &[
        ("NULL", |_| 0),
        ("inaccessible", |t| t.hole()),
        ("read-only", |t| t.read_only()),
    ];
    for (what, address) in pointers.iter().copied() {
        c.add(format!("OBJ_GET_INFO_BY_FD: info {what}"), move |o| {
            let mut a = Attr::new(16);
            a.u32(0, o.array()).u32(4, 80).u64(8, address(&o.traps));
            o.call(cmd::OBJ_GET_INFO_BY_FD, &mut a)
        });
    }

    let mut link = |name: &str, change: Change| {
        c.add(format!("LINK_CREATE: {name}"), move |o| {
            let symbol = b"vfs_open\0";
            let symbols = [symbol.as_ptr() as u64];
            let mut a = Attr::new(SIZE);
            a.u32(0, o.probe()).u32(8, oxbpf::link::TRACE_KPROBE_MULTI);
            a.u32(20, 1).ptr(24, &symbols);
            change(&mut a, o);
            o.call(cmd::LINK_CREATE, &mut a)
        });
    };
    link("good", Box::new(|_, _| {}));
    link(
        "socket filter",
        Box::new(|a, o| {
            a.u32(0, o.filter());
        }),
    );
    link(
        "attach type 0",
        Box::new(|a, _| {
            a.u32(8, 0);
        }),
    );
    link(
        "attach type 999",
        Box::new(|a, _| {
            a.u32(8, 999);
        }),
    );
    link(
        "flags",
        Box::new(|a, _| {
            a.u32(12, 1);
        }),
    );
    link(
        "kprobe_multi flags",
        Box::new(|a, _| {
            a.u32(16, 2);
        }),
    );
    link(
        "no symbols",
        Box::new(|a, _| {
            a.u32(20, 0);
        }),
    );
    link(
        "neither symbols nor addresses",
        Box::new(|a, _| {
            a.u64(24, 0);
        }),
    );
    link(
        "symbols and addresses",
        Box::new(|a, o| {
            a.u64(32, o.traps.read_only());
        }),
    );
    link(
        "too many symbols",
        Box::new(|a, _| {
            a.u32(20, (1 << 20) + 1);
        }),
    );
    link(
        "symbol array inaccessible",
        Box::new(|a, o| {
            a.u64(24, o.traps.hole());
        }),
    );
    link(
        "symbol pointer NULL",
        Box::new(|a, o| {
            a.u64(24, o.traps.read_only());
        }),
    );
    link(
        "unknown symbol",
        Box::new(|a, _| {
            static NAME: &[u8] = b"no_such_function_here\0";
            let array = Box::leak(Box::new([NAME.as_ptr() as u64]));
            a.ptr(24, &array[..]);
        }),
    );
    link(
        "same symbol twice",
        Box::new(|a, _| {
            static NAME: &[u8] = b"vfs_open\0";
            let array = Box::leak(Box::new([NAME.as_ptr() as u64, NAME.as_ptr() as u64]));
            a.u32(20, 2).ptr(24, &array[..]);
        }),
    );
    link(
        "address of no function",
        Box::new(|a, _| {
            let array = Box::leak(Box::new([0x1000u64]));
            a.u64(24, 0).ptr(32, &array[..]);
        }),
    );
}
