// SPDX-License-Identifier: GPL-2.0

//! The attr itself: sizes, tails, addresses; and fds of the wrong kind.

use super::{Cases, Fd, Objects, Pointer, COMMANDS};
use crate::both::no_fd;
use crate::memory::KERNEL;
use oxbpf::attr::{Attr, SIZE};
use oxbpf::cmd;

pub fn sizes_and_tails(c: &mut Cases) {
    for (name, number, last) in COMMANDS.iter().copied() {
        for size in [
            0,
            1,
            4,
            8,
            last - 1,
            last,
            last + 1,
            SIZE,
            SIZE + 1,
            4096,
            4097,
            16000,
        ] {
            c.add(format!("{name}: zero attr of {size} bytes"), move |o| {
                o.call(number, &mut Attr::new(size))
            });
        }
        if last < SIZE {
            c.add(format!("{name}: byte after the last field"), move |o| {
                o.call(number, Attr::new(SIZE).put(last, &[1]))
            });
            c.add(format!("{name}: last byte of the attr"), move |o| {
                o.call(number, Attr::new(SIZE).put(SIZE - 1, &[1]))
            });
        }
        for at in [SIZE, SIZE + 7, 4095] {
            c.add(format!("{name}: byte {at}, past what is known"), move |o| {
                o.call(number, Attr::new(4096).put(at, &[1]))
            });
        }
        let pointers: [Pointer; 4] = [
            ("NULL", |_| 0),
            ("inaccessible", |t| t.hole()),
            ("the kernel's", |_| KERNEL),
            ("half inaccessible", |t| t.before_hole(40)),
        ];
        for (what, address) in pointers {
            c.add(format!("{name}: attr pointer {what}"), move |o| {
                // SAFETY: nothing of ours is mapped writable at these addresses.
                no_fd(unsafe { o.bpf.call_raw(number, address(&o.traps), SIZE) })
            });
        }
        c.add(format!("{name}: attr all ones"), move |o| {
            o.call(number, Attr::new(SIZE).put(0, &[0xff; SIZE]))
        });
    }
    for number in [cmd::END, cmd::END + 1, 64, 100, 200, 255] {
        c.add(format!("command {number}"), move |o| {
            o.call(number, &mut Attr::new(SIZE))
        });
    }
}

pub fn bad_fds(c: &mut Cases) {
    let fds: [Fd; 5] = [
        ("-1", |_| u32::MAX),
        ("not open", |_| 4000),
        ("/dev/null", Objects::null),
        ("a program", Objects::filter),
        ("a map", Objects::array),
    ];
    for (what, fd) in fds {
        for (name, number, _) in COMMANDS.iter().copied() {
            if matches!(number, cmd::MAP_CREATE | cmd::PROG_LOAD | cmd::BTF_LOAD) {
                continue;
            }
            let right = match number {
                cmd::PROG_TEST_RUN | cmd::LINK_CREATE | cmd::PROG_BIND_MAP => "a program",
                cmd::OBJ_GET_INFO_BY_FD => "any",
                _ => "a map",
            };
            if what == right || (right == "any" && what.starts_with("a ")) {
                continue;
            }
            c.add(format!("{name}: fd is {what}"), move |o| {
                o.call(number, Attr::new(SIZE).u32(0, fd(o)))
            });
        }
    }
}
