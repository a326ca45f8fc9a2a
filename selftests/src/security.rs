// SPDX-License-Identifier: GPL-2.0

//! What somebody might try: wrong descriptors in each field, sizes that overflow, memory that changes
//! under the kernel, reading what was not written, callers without rights, borrowed descriptors.

mod leak;
mod race;
mod who;

use crate::both::{no_fd, Both};
use crate::faults::cases::{self, Case};
use crate::insn::{exit, mov};
use crate::ktap::{volume, Suite};
use crate::shape::{self, Kind};
use oxbpf::attr::{Attr, SIZE};
use oxbpf::link::TRACE_KPROBE_MULTI;
use oxbpf::{cmd, Bpf, Errno, Link, Map, MapSpec, MapType, Prog, ProgSpec, ProgType};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One implementation's objects, and things that are none.
struct Zoo {
    map: Map,
    prog: Prog,
    link: Link,
}

impl Zoo {
    fn new(b: &Bpf) -> Result<Zoo, String> {
        let insns = [mov(0, 0), exit()];
        let spec = ProgSpec {
            expected_attach_type: TRACE_KPROBE_MULTI,
            ..ProgSpec::new(ProgType::KPROBE, &insns)
        };
        let map = b.map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 1));
        let prog = b.prog_load(&spec).map_err(|e| e.to_string())?;
        let link = prog.attach_kprobes(&["vfs_statx"], 0);
        Ok(Zoo {
            map: map.map_err(|e| format!("map: {e}"))?,
            link: link.map_err(|e| format!("link: {e}"))?,
            prog,
        })
    }
}

/// Descriptors that are nobody's objects.
fn strangers() -> Vec<(&'static str, OwnedFd)> {
    let open = |path: &str| File::open(path).ok().map(OwnedFd::from);
    // SAFETY: each call makes a descriptor or fails; its arguments are numbers and literals.
    let made = |fd: i32| (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) });
    let device = File::options().read(true).write(true).open(oxbpf::DEVICE);
    // SAFETY: as above.
    let rest = unsafe {
        [
            ("an eventfd", made(libc::eventfd(0, 0))),
            ("an epoll", made(libc::epoll_create1(0))),
            ("a memfd", made(libc::memfd_create(c"x".as_ptr(), 0) as i32)),
            (
                "a socket",
                made(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)),
            ),
            ("a path only", made(libc::open(c"/".as_ptr(), libc::O_PATH))),
        ]
    };
    let mut all = vec![
        ("the device", device.ok().map(OwnedFd::from)),
        ("/dev/null", open("/dev/null")),
        ("a directory", open("/proc")),
    ];
    all.extend(rest);
    all.into_iter()
        .filter_map(|(name, fd)| Some((name, fd?)))
        .collect()
}

/// The same case of both implementations.
fn pairs(both: &Both) -> Vec<(Case, Case)> {
    let mut theirs = cases::all(&both.theirs);
    cases::all(&both.ours)
        .into_iter()
        .filter(|c| c.command.is_some() && c.supported)
        .filter_map(|ours| {
            let at = theirs
                .iter()
                .position(|t| t.name == ours.name && t.supported)?;
            Some((ours, theirs.swap_remove(at)))
        })
        .collect()
}

/// Each descriptor field of each command gets each wrong descriptor; the answers must be equal.
fn descriptors(s: &mut Suite, both: &Both) {
    let zoos = Zoo::new(&both.ours).and_then(|o| Ok((o, Zoo::new(&both.theirs)?)));
    let (ours, theirs) = match zoos {
        Ok(zoos) => zoos,
        Err(e) => return s.test("objects to try", || Err(e)),
    };
    let strangers = strangers();
    let raw = |fd: &dyn AsFd| fd.as_fd().as_raw_fd() as u32;
    let mut wrong: Vec<(&str, u32, u32)> = vec![
        ("-1", u32::MAX, u32::MAX),
        ("one that is closed", 1000, 1000),
        ("a number too large", 0x7fff_ffff, 0x7fff_ffff),
        ("a map", raw(&ours.map), raw(&theirs.map)),
        ("a program", raw(&ours.prog), raw(&theirs.prog)),
        ("a link", raw(&ours.link), raw(&theirs.link)),
        ("the other's map", raw(&theirs.map), raw(&ours.map)),
        ("the other's program", raw(&theirs.prog), raw(&ours.prog)),
        ("the other's link", raw(&theirs.link), raw(&ours.link)),
    ];
    wrong.extend(strangers.iter().map(|(name, fd)| (*name, raw(fd), raw(fd))));
    let mut tried = 0;
    for (mut our, mut their) in pairs(both) {
        let Some(command) = our.command else { continue };
        s.test(&format!("wrong descriptors: {}", our.name.clone()), || {
            let mut different = Vec::new();
            for &(at, kind) in shape::fields(command) {
                if kind != Kind::Fd {
                    continue;
                }
                for &(name, o, t) in &wrong {
                    tried += 1;
                    let o = our.changed(&both.ours, |a| _ = a.u32(at, o));
                    let t = their.changed(&both.theirs, |a| _ = a.u32(at, t));
                    if o != t {
                        different.push(format!("byte {at}, {name}: in-tree {t:?}, oxbpf {o:?}"));
                    }
                }
            }
            match different.is_empty() {
                true => Ok(()),
                false => Err(different.join("\n")),
            }
        });
    }
    s.test(
        "wrong descriptors: there were some to try",
        || match tried {
            0..200 => Err(format!("only {tried}")),
            _ => Ok(()),
        },
    );
}

/// Sizes and counts whose products and roundings overflow, for each type of map.
fn sizes(s: &mut Suite, both: &Both) {
    const KEYS: [u32; 8] = [0, 1, 4, 8, 513, 1 << 31, u32::MAX - 3, u32::MAX];
    const VALUES: [u32; 7] = [0, 8, 9, 1 << 31, u32::MAX - 7, u32::MAX - 6, u32::MAX];
    const ENTRIES: [u32; 5] = [0, 1, 1 << 31, (1 << 31) + 1, u32::MAX];
    for ty in [1, 2, 3, 5, 6, 9, 10, 11, 12, 13, 22, 23, 27, 30] {
        // Types that are not there yet answer as a kernel without them.
        let probe = |ty| cases::has_type(&both.ours, MapType(ty));
        if !probe(ty) {
            continue;
        }
        s.test(&format!("sizes that overflow: map type {ty}"), || {
            let mut different = Vec::new();
            let mut random = crate::maps::Random(u64::from(ty));
            for key in KEYS {
                for value in VALUES {
                    for entries in ENTRIES {
                        // A bloom filter of many entries is half a gigabyte, a ring two, and that
                        // is allowed: the guest would begin to look for memory everywhere.
                        if (ty == 30 && entries > 1 << 20) || (ty == 27 && entries == 1 << 31) {
                            continue;
                        }
                        if volume(100) < 100 && random.below(100) >= volume(100) * 4 {
                            continue;
                        }
                        let create = |b: &Bpf, flags: u32| {
                            let mut a = Attr::new(SIZE);
                            a.u32(0, ty).u32(4, key).u32(8, value).u32(12, entries);
                            a.u32(16, flags);
                            no_fd(b.call(cmd::MAP_CREATE, a.bytes()))
                        };
                        for flags in [0, 1] {
                            let t = create(&both.theirs, flags);
                            let o = create(&both.ours, flags);
                            // Our trie sets its nodes aside when it is made, theirs never.
                            let trie = ty == 11 && (t, o) == (Ok(0), Err(Errno(libc::ENOMEM)));
                            if o != t && !trie {
                                different.push(format!(
                                    "key {key:#x}, value {value:#x}, entries {entries:#x}, \
                                     flags {flags}: in-tree {t:?}, oxbpf {o:?}"
                                ));
                            }
                        }
                    }
                }
            }
            match different.is_empty() {
                true => Ok(()),
                false => Err(different.join("\n")),
            }
        });
    }
    // Lengths in other commands: as large as can be, on each size field.
    for (mut our, mut their) in pairs(both) {
        let Some(command) = our.command.filter(|c| *c != cmd::MAP_CREATE) else {
            continue;
        };
        s.test(&format!("lengths: {}", our.name.clone()), || {
            let mut different = Vec::new();
            for &(at, kind) in shape::fields(command) {
                if kind != Kind::Size {
                    continue;
                }
                // How often to run is no length: 4 billion runs take long.
                if command == cmd::PROG_TEST_RUN && at == 32 {
                    continue;
                }
                for size in [u32::MAX, 1 << 31, 0x7fff_ffff, 1 << 30, 0x1_0001] {
                    let o = our.changed(&both.ours, |a| _ = a.u32(at, size));
                    let t = their.changed(&both.theirs, |a| _ = a.u32(at, size));
                    if o != t {
                        different.push(format!("byte {at}, {size:#x}: in-tree {t:?}, oxbpf {o:?}"));
                    }
                }
            }
            match different.is_empty() {
                true => Ok(()),
                false => Err(different.join("\n")),
            }
        });
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    descriptors(s, &both);
    sizes(s, &both);
    race::tests(s, &both);
    leak::tests(s, &both);
    who::tests(s, &both);
}

/// An errno, or success, as a child's exit status says it.
fn code(r: Result<i32, Errno>) -> u8 {
    match no_fd(r) {
        Ok(_) => 0,
        Err(Errno(e)) => e.clamp(1, 250) as u8,
    }
}
