// SPDX-License-Identifier: GPL-2.0

//! Type information: what is refused and why, the objects, and maps that say what is in them.

pub mod blobs;
mod cases;
mod globals;
mod progs;

use crate::both::{no_fd, Both};
use crate::ktap::Suite;
use blobs::{kind, made, Blob};
use oxbpf::attr::{get_u32, Attr};
use oxbpf::{cmd, Bpf, Errno};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Size of a log that holds everything.
const LOG: u32 = 1 << 18;

/// errno, log, and how long it would have been.
type Verdict = (Result<i32, Errno>, String, u32);

fn load_with(b: &Bpf, blob: &[u8], level: u32, size: u32) -> Verdict {
    let log = vec![0x55u8; size as usize];
    let mut a = Attr::new(40);
    a.ptr(0, blob)
        .ptr(8, &log)
        .u32(16, blob.len() as u32)
        .u32(20, size)
        .u32(24, level);
    let result = no_fd(b.call(cmd::BTF_LOAD, a.bytes()));
    // The kernel wrote there.
    let log = std::hint::black_box(log);
    let end = log.iter().position(|&c| c == 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&log[..end]).into_owned();
    (result, text, a.get_u32(28))
}

/// Loads without a log.
pub fn load(b: &Bpf, blob: &[u8]) -> Result<OwnedFd, Errno> {
    let mut a = Attr::new(40);
    a.ptr(0, blob).u32(16, blob.len() as u32);
    let fd = b.call(cmd::BTF_LOAD, a.bytes())?;
    // SAFETY: the command made `fd` for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A blob with an int.
pub fn small() -> Vec<u8> {
    made(|b| {
        b.int();
    })
}

fn info(b: &Bpf) -> Result<(), String> {
    let blob = small();
    let fd = load(b, &blob).map_err(|e| format!("load: {e}"))?;
    let fd = fd.as_raw_fd();
    let mut data = vec![0u8; blob.len() + 8];
    let mut info = Attr::new(32);
    info.ptr(0, &data).u32(8, data.len() as u32);
    b.info(fd, info.bytes()).map_err(|e| format!("info: {e}"))?;
    data = std::hint::black_box(data);
    if info.get_u32(8) as usize != blob.len() || data[..blob.len()] != blob[..] {
        return Err(format!("{} bytes: {data:02x?}", info.get_u32(8)));
    }
    let id = info.get_u32(12);
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    if !text.contains(&format!("btf_id:\t{id}\n")) || id == 0 {
        return Err(format!("id {id}, fdinfo: {text}"));
    }
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    match link.to_str() {
        Some("anon_inode:btf") => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// What was asked, the answer, sizes of data and name, the name's place afterwards.
type Asked = (String, Result<usize, Errno>, u32, u32, String);

/// Infos asked for in ways that do and do not work: (errno, bytes of the info, size, name's length).
fn infos(b: &Bpf) -> Vec<Asked> {
    let blob = small();
    let fd = load(b, &blob).unwrap();
    let mut name = [b'x'; 16];
    let at = name.as_mut_ptr() as u64;
    let mut all = Vec::new();
    for (what, size, buf, len, name_at, name_len) in [
        ("nothing", 0usize, 0u64, 0u32, 0u64, 0u32),
        ("id only", 16, 0, 0, 0, 0),
        ("all", 32, 0, 0, 0, 0),
        ("more", 40, 0, 0, 0, 0),
        ("data nowhere", 32, 0, 8, 0, 0),
        ("a name", 32, 0, 0, at, 16),
        ("a name of one byte", 32, 0, 0, at, 1),
        ("a name without length", 32, 0, 0, at, 0),
        ("a length without name", 32, 0, 0, 0, 4),
        ("a name nowhere", 32, 0, 0, 8, 4),
    ] {
        let mut info = Attr::new(size);
        info.u64(0, buf)
            .u32(8, len)
            .u64(16, name_at)
            .u32(24, name_len);
        let answer = b.info(fd.as_raw_fd(), info.bytes());
        let shown = String::from_utf8_lossy(&std::hint::black_box(name)).into_owned();
        all.push((
            what.to_string(),
            answer,
            info.get_u32(8),
            info.get_u32(24),
            shown,
        ));
    }
    let mut tail = Attr::new(40);
    tail.u32(36, 1);
    let answer = b.info(fd.as_raw_fd(), tail.bytes());
    all.push(("a byte too many".into(), answer, 0, 0, String::new()));
    all
}

/// Types for maps; the numbers are used below.
fn map_types() -> Blob {
    let mut b = Blob::new();
    let int = b.int(); // 1
    let long = b.long(); // 2
    b.structure("key", 8, &[("a", int, 0), ("b", int, 32)]); // 3
    b.structure("value", 16, &[("a", long, 0), ("b", long, 64)]); // 4
    b.typedef("number", int); // 5
    b.add("x", kind::VAR, 0, int, &[1]); // 6
    b.add(".data", kind::DATASEC, 1, 16, &[6, 0, 4]); // 7
    b.add("w", kind::FWD, 0, 0, &[]); // 8
    let lock = b.structure("bpf_spin_lock", 4, &[("val", int, 0)]); // 9
    b.structure("locked", 16, &[("l", lock, 0), ("v", long, 64)]); // 10
    b.structure("two", 16, &[("l", 5, 0), ("v", long, 64)]); // 11
    b.add("odd", kind::INT, 0, 4, &[0x0000_001e]); // 12
    b.array(int, int, 4); // 13
    b.add("e", kind::ENUM, 0, 4, &[]); // 14
    let timer = b.structure("bpf_timer", 16, &[("o", long, 0)]); // 15
    b.structure("timed", 16, &[("t", timer, 0)]); // 16
    b
}

type Created = Result<(u32, u32, bool, u32), Errno>;

/// Creates a map and says which types it has.
fn create(b: &Bpf, btf: u32, ty: u32, sizes: [u32; 2], types: [u32; 2], flags: u32) -> Created {
    let entries = if ty == 27 { 4096 } else { 1 };
    let mut a = Attr::new(92);
    a.u32(0, ty)
        .u32(4, sizes[0])
        .u32(8, sizes[1])
        .u32(12, entries)
        .u32(16, flags)
        .u32(48, btf)
        .u32(52, types[0])
        .u32(56, types[1]);
    let fd = b.call(cmd::MAP_CREATE, a.bytes())?;
    // SAFETY: the command made `fd` for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = [0; 80];
    b.info(fd.as_raw_fd(), &mut info)?;
    Ok((
        get_u32(&info, 68),
        get_u32(&info, 72),
        get_u32(&info, 64) != 0,
        get_u32(&info, 16),
    ))
}

fn maps(s: &mut Suite, both: &Both) {
    let blob = map_types().bytes();
    // Type, flags, sizes of key and value.
    let kinds: [(u32, u32, u32); 12] = [
        (1, 0, 4),
        (2, 0, 4),
        (3, 0, 4),
        (5, 0, 4),
        (6, 0, 4),
        (9, 0, 4),
        (10, 0, 4),
        (11, 1, 8),
        (22, 0, 0),
        (23, 0, 0),
        (27, 0, 0),
        (30, 0, 0),
    ];
    for (ty, flags, key_size) in kinds {
        let value_size = match ty {
            3 => 4,
            27 => 0,
            _ => 16,
        };
        s.test(&format!("map type {ty}: keys and values"), || {
            both.same(|b| {
                let btf = load(b, &blob).unwrap().into_raw();
                let mut all = Vec::new();
                for key in 0..=17 {
                    for value in [0, 1, 3, 4, 5, 7, 8, 10, 11, 13, 14, 99] {
                        let types = [key, value];
                        all.push((
                            types,
                            create(b, btf, ty, [key_size, value_size], types, flags),
                        ));
                    }
                }
                no_fd(Ok(btf as i32)).unwrap();
                all
            })
            .map(drop)
        });
        s.test(&format!("map type {ty}: keys of eight bytes"), || {
            both.same(|b| {
                let btf = load(b, &blob).unwrap().into_raw();
                let all =
                    [0, 1, 2, 3, 4].map(|key| create(b, btf, ty, [8, value_size], [key, 4], flags));
                no_fd(Ok(btf as i32)).unwrap();
                all
            })
            .map(drop)
        });
        s.test(&format!("map type {ty}: descriptors"), || {
            both.same(|b| {
                [0, 4000, u32::MAX]
                    .map(|fd| create(b, fd, ty, [key_size, value_size], [1, 4], flags))
            })
            .map(drop)
        });
    }
}

trait IntoRaw {
    fn into_raw(self) -> u32;
}

impl IntoRaw for OwnedFd {
    fn into_raw(self) -> u32 {
        std::os::fd::IntoRawFd::into_raw_fd(self) as u32
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    for (name, blob) in cases::list() {
        s.test(&name, || {
            both.same(|b| load_with(b, &blob, 1, LOG)).map(drop)
        });
    }
    let blob = made(|b| {
        let int = b.int();
        b.structure("some", 4, &[("member", int, 0)]);
        b.ptr(9);
    });
    s.test("logs of other levels and sizes", || {
        both.same(|b| {
            let mut all = Vec::new();
            for level in [0, 1, 2, 3, 4, 7, 8, 9, 16, 32, u32::MAX] {
                for size in [0, 1, 2, 30, 200, 4096] {
                    all.push(load_with(b, &blob, level, size));
                }
            }
            all
        })
        .map(drop)
    });
    s.test("attrs", || {
        both.same(|b| {
            let blob = small();
            let mut all = Vec::new();
            let changes: [(usize, u32); 9] = [
                (16, 0),
                (16, (16 << 20) + 1),
                (16, 16 << 20),
                (20, 1),
                (24, 16),
                (32, 1),
                (32, 1 << 16),
                (36, 5),
                (40, 1),
            ];
            for (at, word) in changes {
                let mut a = Attr::new(44);
                a.ptr(0, &blob).u32(16, blob.len() as u32).u32(at, word);
                all.push(no_fd(b.call(cmd::BTF_LOAD, a.bytes())));
            }
            for address in [0u64, 8, 1 << 63] {
                let mut a = Attr::new(32);
                a.u64(0, address).u32(16, blob.len() as u32);
                all.push(no_fd(b.call(cmd::BTF_LOAD, a.bytes())));
            }
            // A log nowhere.
            let mut a = Attr::new(32);
            a.ptr(0, &blob).u32(16, blob.len() as u32).u64(8, 8);
            a.u32(20, 4096).u32(24, 1);
            all.push(no_fd(b.call(cmd::BTF_LOAD, a.bytes())));
            for flags in [1, 1 << 16, 8] {
                let mut a = Attr::new(16);
                a.u32(8, flags).u32(12, 1000);
                all.push(no_fd(b.call(cmd::BTF_GET_FD_BY_ID, a.bytes())));
            }
            all
        })
        .map(drop)
    });
    s.test("info, fdinfo and the data", || both.same(info)?);
    s.test("infos", || both.same(infos).map(drop));
    maps(s, &both);
    progs::suite(s, &both);
    globals::suite(s, &both);
}
