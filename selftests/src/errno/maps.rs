// SPDX-License-Identifier: GPL-2.0

//! Malformed map commands.

use super::{Cases, Fd, Objects, Pointer};
use crate::both::no_fd;
use crate::memory::KERNEL;
use oxbpf::attr::{Attr, SIZE};
use oxbpf::{cmd, Errno};

fn create(ty: u32, key: u32, value: u32, entries: u32, flags: u32) -> Attr {
    let mut a = Attr::new(SIZE);
    a.u32(0, ty)
        .u32(4, key)
        .u32(8, value)
        .u32(12, entries)
        .u32(16, flags);
    a
}

pub fn map_create(c: &mut Cases) {
    for ty in [1u32, 2, 4, 7, 8] {
        let key = if ty == 1 { 8 } else { 4 };
        // Values that are descriptors have four bytes.
        let value = if matches!(ty, 4 | 8) { 4 } else { 8 };
        for (k, v, n) in [
            (0, 8, 1),
            (key, 0, 1),
            (key, 8, 0),
            (0, 0, 0),
            (key + 1, 8, 4),
            (3, 8, 4),
            (key, u32::MAX, 1),
            (key, 0x8000_0000, 1),
            (key, 0x7fff_fff8, 1),
            (key, 0x7fff_ffff, 1),
            (key, 1 << 30, 1 << 30),
            (u32::MAX, 8, 1),
            (1 << 20, 1 << 20, 1),
            (1 << 22, 1 << 22, 1),
            (0x7fff_ffff, 0x7fff_ffff, 1),
            (key, 8, u32::MAX),
            (key, 8, 0x8000_0001),
            (key, 1, 1),
            (key, 3, 5),
            (key, 513, 7),
            (key, 4, 1),
            (key, 4, 0),
            (key + 4, value, 4),
            (key, 4, u32::MAX),
            (key, 127 * 8, 2),
            (key, 128 * 8, 2),
        ] {
            c.add(
                format!("MAP_CREATE: type {ty}, sizes {k}, {v}, entries {n}"),
                move |o| o.call(cmd::MAP_CREATE, &mut create(ty, k, v, n, 0)),
            );
        }
        for bit in 0..32 {
            // those above mean things that have tests of their own
            if matches!(bit, 0 | 1 | 3 | 4 | 6 | 7 | 8 | 10 | 11 | 12) || (bit == 2 && ty == 1) {
                c.add(format!("MAP_CREATE: type {ty}, flag bit {bit}"), move |o| {
                    o.call(cmd::MAP_CREATE, &mut create(ty, key, value, 4, 1 << bit))
                });
            }
        }
        for flags in [3u32, 3 << 3, 3 << 7, (1 << 3) | (1 << 7)] {
            c.add(
                format!("MAP_CREATE: type {ty}, flags {flags:#x}"),
                move |o| o.call(cmd::MAP_CREATE, &mut create(ty, key, value, 4, flags)),
            );
        }
        for node in [0u32, 1, 63, 1 << 20, u32::MAX] {
            c.add(
                format!("MAP_CREATE: type {ty}, NUMA node {node}"),
                move |o| o.call(cmd::MAP_CREATE, create(ty, key, value, 4, 4).u32(24, node)),
            );
        }
        c.add(
            format!("MAP_CREATE: type {ty}, NUMA node without its flag"),
            move |o| o.call(cmd::MAP_CREATE, create(ty, key, value, 4, 0).u32(24, 1)),
        );
        for name in [
            "good_name.1",
            "bad name",
            "bad-name",
            "\u{1}",
            "sixteen_letters_",
        ] {
            let mut bytes = [0u8; 16];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            c.add(format!("MAP_CREATE: type {ty}, name {name:?}"), move |o| {
                o.call(
                    cmd::MAP_CREATE,
                    create(ty, key, value, 4, 0).put(28, &bytes),
                )
            });
        }
        c.add(format!("MAP_CREATE: type {ty}, map_extra"), move |o| {
            o.call(cmd::MAP_CREATE, create(ty, key, value, 4, 0).u64(64, 1))
        });
        c.add(
            format!("MAP_CREATE: type {ty}, ifindex without such a device"),
            move |o| o.call(cmd::MAP_CREATE, create(ty, key, value, 4, 0).u32(44, 12345)),
        );
        c.add(
            format!("MAP_CREATE: type {ty}, BTF value type without BTF"),
            move |o| o.call(cmd::MAP_CREATE, create(ty, key, value, 4, 0).u32(56, 1)),
        );
    }
    for ty in [0u32, 100, 1000, u32::MAX] {
        c.add(format!("MAP_CREATE: type {ty}"), move |o| {
            o.call(cmd::MAP_CREATE, &mut create(ty, 4, 4, 4, 0))
        });
    }
}

pub fn elements(c: &mut Cases) {
    let all = [
        ("LOOKUP", cmd::MAP_LOOKUP_ELEM),
        ("UPDATE", cmd::MAP_UPDATE_ELEM),
        ("DELETE", cmd::MAP_DELETE_ELEM),
        ("NEXT_KEY", cmd::MAP_GET_NEXT_KEY),
        ("TAKE", cmd::MAP_LOOKUP_AND_DELETE_ELEM),
    ];
    let maps: [Fd; 5] = [
        ("array", Objects::array),
        ("hash", Objects::hash),
        ("events", Objects::events),
        ("stacks", Objects::stacks),
        ("cgroups", Objects::cgroups),
    ];
    for (name, number) in all {
        for (map, fd) in maps {
            // The hash keeps what is in it.
            if number == cmd::MAP_LOOKUP_AND_DELETE_ELEM && map == "hash" {
                continue;
            }
            let has_flags = matches!(
                number,
                cmd::MAP_LOOKUP_ELEM | cmd::MAP_UPDATE_ELEM | cmd::MAP_LOOKUP_AND_DELETE_ELEM
            );
            let has_value = number != cmd::MAP_DELETE_ELEM;
            let size = match number {
                cmd::MAP_DELETE_ELEM => 16,
                cmd::MAP_GET_NEXT_KEY => 24,
                _ => 32,
            };
            let pointers: [Pointer; 5] = [
                ("NULL", |_| 0),
                ("inaccessible", |t| t.hole()),
                ("the kernel's", |_| KERNEL),
                ("3 bytes before inaccessible memory", |t| t.before_hole(3)),
                ("read-only", |t| t.read_only()),
            ];
            for (what, address) in pointers {
                c.add(format!("{name} {map}: key pointer {what}"), move |o| {
                    let mut a = o.elem(fd(o));
                    a.u64(8, address(&o.traps));
                    no_fd(o.bpf.call(number, &mut a.bytes()[..size]))
                });
                if has_value {
                    c.add(format!("{name} {map}: value pointer {what}"), move |o| {
                        let mut a = o.elem(fd(o));
                        a.u64(16, address(&o.traps));
                        no_fd(o.bpf.call(number, &mut a.bytes()[..size]))
                    });
                }
            }
            if has_flags {
                for flags in [
                    0u64,
                    1,
                    2,
                    3,
                    4,
                    5,
                    8,
                    16,
                    1 << 31,
                    1 << 32,
                    1 << 63,
                    u64::MAX,
                ] {
                    for present in [true, false] {
                        c.add(
                            format!("{name} {map}: flags {flags:#x}, present {present}"),
                            {
                                move |o| {
                                    let mut a = o.elem(fd(o));
                                    let key = [if present { 1u8 } else { 9 }; 8];
                                    let index = if present { 1u32 } else { 77 }.to_ne_bytes();
                                    a.ptr(8, if fd(o) == o.hash() { &key } else { &index });
                                    a.u64(24, flags);
                                    o.call(number, &mut a)
                                }
                            },
                        );
                    }
                }
            }
            for index in [0u32, 3, 4, 5, u32::MAX - 1, u32::MAX] {
                c.add(format!("{name} {map}: key {index:#x}"), move |o| {
                    let mut a = o.elem(fd(o));
                    let key = [index.to_ne_bytes(), [0; 4]].concat();
                    a.ptr(8, &key);
                    no_fd(o.bpf.call(number, &mut a.bytes()[..size]))
                });
            }
        }
    }
    c.add("UPDATE hash: third key of two", |o| {
        let first = o.hash.update(&[5; 8], &[0; 8], 0);
        let full = o.hash.update(&[6; 8], &[0; 8], 0);
        let exist = o.hash.update(&[6; 8], &[0; 8], 2);
        let again = o.hash.update(&[5; 8], &[1; 8], 0);
        o.hash.delete(&[5; 8])?;
        assert_eq!((first, again), (Ok(()), Ok(())));
        assert_eq!(exist, Err(Errno(libc::ENOENT)));
        full.map(|()| 0)
    });
    c.add("NEXT_KEY hash: unknown key gives the first", |o| {
        let next = o.hash.next_key(Some(&[99; 8]))?;
        Ok(i32::from(next[0]))
    });
}
