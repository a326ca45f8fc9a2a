// SPDX-License-Identifier: GPL-2.0

//! Commands on objects by number, and those that change what belongs to a program or link.

use crate::both::{no_fd, Both};
use crate::insn::{exit, ld_map, mov, raw};
use crate::ktap::Suite;
use oxbpf::attr::{self, Attr};
use oxbpf::{cmd, Bpf, Errno, Link, Map, MapSpec, MapType, Prog, ProgSpec, ProgType};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// A family's commands.
struct Family {
    name: &'static str,
    next: u32,
    open: u32,
    /// Byte of the info where the number is.
    id: usize,
}

const FAMILIES: [Family; 4] = [
    Family {
        name: "program",
        next: cmd::PROG_GET_NEXT_ID,
        open: cmd::PROG_GET_FD_BY_ID,
        id: 4,
    },
    Family {
        name: "map",
        next: cmd::MAP_GET_NEXT_ID,
        open: cmd::MAP_GET_FD_BY_ID,
        id: 4,
    },
    Family {
        name: "link",
        next: cmd::LINK_GET_NEXT_ID,
        open: cmd::LINK_GET_FD_BY_ID,
        id: 4,
    },
    Family {
        name: "BTF",
        next: cmd::BTF_GET_NEXT_ID,
        open: cmd::BTF_GET_FD_BY_ID,
        id: 12,
    },
];

/// One object of each family, twice.
struct Objects {
    progs: [Prog; 2],
    maps: [Map; 2],
    links: [Link; 2],
    types: [OwnedFd; 2],
}

impl Objects {
    fn new(b: &Bpf) -> Result<Objects, String> {
        let insns = [mov(0, 0), exit()];
        let spec = ProgSpec {
            expected_attach_type: oxbpf::link::TRACE_KPROBE_MULTI,
            ..ProgSpec::new(ProgType::KPROBE, &insns)
        };
        let prog = || b.prog_load(&spec).map_err(|e| format!("load: {e}"));
        let map = || {
            b.map_create(&MapSpec::new(MapType::HASH, 8, 8, 4))
                .map_err(|e| format!("map: {e}"))
        };
        let progs = [prog()?, prog()?];
        let link = |p: &Prog| {
            p.attach_kprobes(&["vfs_open"], 0)
                .map_err(|e| format!("attach: {e}"))
        };
        let types = || crate::btf::load(b, &crate::btf::small()).map_err(|e| format!("BTF: {e}"));
        let links = [link(&progs[0])?, link(&progs[1])?];
        Ok(Objects {
            progs,
            maps: [map()?, map()?],
            links,
            types: [types()?, types()?],
        })
    }

    fn fds(&self, family: usize) -> [i32; 2] {
        match family {
            0 => [0, 1].map(|i| self.progs[i].as_fd().as_raw_fd()),
            1 => [0, 1].map(|i| self.maps[i].as_fd().as_raw_fd()),
            3 => [0, 1].map(|i| self.types[i].as_raw_fd()),
            _ => [0, 1].map(|i| self.links[i].as_fd().as_raw_fd()),
        }
    }
}

fn next(b: &Bpf, f: &Family, id: u32) -> Result<u32, Errno> {
    let mut a = Attr::new(8);
    a.u32(0, id);
    b.call(f.next, a.bytes())?;
    Ok(a.get_u32(4))
}

fn open(b: &Bpf, f: &Family, id: u32, flags: u32) -> Result<OwnedFd, Errno> {
    let mut a = Attr::new(12);
    a.u32(0, id).u32(8, flags);
    let fd = b.call(f.open, a.bytes())?;
    // SAFETY: the command made `fd` for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn id_of(b: &Bpf, f: &Family, fd: i32) -> Result<u32, String> {
    let mut info = [0; 64];
    b.info(fd, &mut info).map_err(|e| format!("info: {e}"))?;
    Ok(attr::get_u32(&info, f.id))
}

/// What can be said of both families the same way: facts about numbers, not the numbers.
fn walk(b: &Bpf, family: usize) -> Result<String, String> {
    let f = &FAMILIES[family];
    let o = Objects::new(b)?;
    let ids = o.fds(family).map(|fd| id_of(b, f, fd));
    let (first, second) = (ids[0].clone()?, ids[1].clone()?);
    let mut seen = Vec::new();
    let mut at = 0;
    let end = loop {
        match next(b, f, at) {
            Ok(id) if id > at => at = id,
            Ok(id) => return Err(format!("{id} after {at}")),
            Err(e) => break e,
        }
        seen.push(at);
    };
    let has = |id| seen.contains(&id);
    let fd = open(b, f, first, 0).map_err(|e| format!("open: {e}"))?;
    let same = id_of(b, f, fd.as_raw_fd())? == first;
    // The fd alone keeps the object.
    drop(o);
    let kept = id_of(b, f, fd.as_raw_fd())? == first;
    drop(fd);
    let mut gone = open(b, f, second, 0).map(drop);
    for _ in 0..6000 {
        if gone.is_err() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        gone = open(b, f, second, 0).map(drop);
    }
    Ok(format!(
        "end {end}, both {}, grows {}, same {same}, kept {kept}, gone {gone:?}",
        has(first) && has(second),
        first < second
    ))
}

/// Malformed calls of the two commands.
fn malformed(b: &Bpf, family: usize) -> Vec<String> {
    let f = &FAMILIES[family];
    let mut out = Vec::new();
    // The kernel has type information of its own; so that there is some here, too.
    let _some = (family == 3).then(|| crate::btf::load(b, &crate::btf::small()));
    for id in [0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        out.push(format!("next {id:#x}: {:?}", next(b, f, id)));
        out.push(format!("open {id:#x}: {:?}", open(b, f, id, 0).map(drop)));
    }
    out.push(format!("open 0: {:?}", open(b, f, 0, 0).map(drop)));
    let open_end = [4, 12, 4, 16][family];
    for (number, end) in [(f.next, 8), (f.open, open_end)] {
        for size in [0, 1, 4, end, end + 1, 168, 4096] {
            let mut a = Attr::new(size);
            a.put(0, &0x7fff_fffeu32.to_ne_bytes());
            out.push(format!(
                "{number} of {size}: {:?}",
                b.call(number, a.bytes())
            ));
        }
        let mut a = Attr::new(168);
        a.u32(0, 0x7fff_fffe).put(end, &[1]);
        out.push(format!("{number} tail: {:?}", b.call(number, a.bytes())));
    }
    for flags in [1, 2, 1 << 3, 1 << 4, 3 << 3, 1 << 16, 1 << 31] {
        let mut a = Attr::new(168);
        a.u32(0, 0x7fff_fffe).u32(8, flags);
        out.push(format!("flags {flags:#x}: {:?}", b.call(f.open, a.bytes())));
    }
    out
}

/// Maps opened by number for one half of the commands.
fn halves(b: &Bpf) -> Result<Vec<String>, String> {
    let map = b
        .map_create(&MapSpec::new(MapType::HASH, 8, 8, 4))
        .map_err(|e| format!("map: {e}"))?;
    let f = &FAMILIES[1];
    let id = id_of(b, f, map.as_fd().as_raw_fd())?;
    let mut out = Vec::new();
    for flags in [0, 1 << 3, 1 << 4, 3 << 3] {
        let fd = match open(b, f, id, flags) {
            Ok(fd) => fd,
            Err(e) => {
                out.push(format!("{flags:#x}: {e}"));
                continue;
            }
        };
        let (key, mut value) = ([1u8; 8], [2u8; 8]);
        for number in [
            cmd::MAP_UPDATE_ELEM,
            cmd::MAP_LOOKUP_ELEM,
            cmd::MAP_DELETE_ELEM,
        ] {
            let mut a = Attr::new(16 + 16 * usize::from(number != cmd::MAP_DELETE_ELEM));
            a.u32(0, fd.as_raw_fd() as u32).ptr(8, &key);
            if number != cmd::MAP_DELETE_ELEM {
                a.u64(16, value.as_mut_ptr() as u64);
            }
            out.push(format!(
                "{flags:#x} {number}: {:?}",
                b.call(number, a.bytes())
            ));
        }
    }
    Ok(out)
}

/// PROG_BIND_MAP: what it answers, and that the program keeps the map.
fn bind(b: &Bpf) -> Result<Vec<String>, String> {
    let map = |n| {
        b.map_create(&MapSpec::new(MapType::ARRAY, 4, 8, n))
            .map_err(|e| format!("map: {e}"))
    };
    let (used, bound) = (map(1)?, map(2)?);
    let mut insns = ld_map(1, &used).to_vec();
    insns.extend([mov(0, 0), exit()]);
    let prog = b
        .prog_load(&ProgSpec::new(ProgType::SOCKET_FILTER, &insns))
        .map_err(|e| format!("load: {e}"))?;
    let (pfd, mfd) = (
        prog.as_fd().as_raw_fd() as u32,
        bound.as_fd().as_raw_fd() as u32,
    );
    let ufd = used.as_fd().as_raw_fd() as u32;
    let mut out = Vec::new();
    let mut call = |what: &str, p: u32, m: u32, flags: u32| {
        let mut a = Attr::new(168);
        a.u32(0, p).u32(4, m).u32(8, flags);
        out.push(format!(
            "{what}: {:?}",
            b.call(cmd::PROG_BIND_MAP, a.bytes())
        ));
    };
    call("flags", 4000, 4000, 1);
    call("no program", 4000, mfd, 0);
    call("a map as program", mfd, mfd, 0);
    call("no map", pfd, 4000, 0);
    call("a program as map", pfd, pfd, 0);
    call("one that it uses", pfd, ufd, 0);
    call("another", pfd, mfd, 0);
    call("again", pfd, mfd, 0);
    let want = [used.info().unwrap().id, bound.info().unwrap().id];
    let ids = prog.info().map_err(|e| format!("info: {e}"))?.map_ids;
    out.push(format!("{}", ids == want));
    // Only the program has it now.
    drop(bound);
    out.push(format!(
        "kept: {:?}",
        open(b, &FAMILIES[1], want[1], 0).is_ok()
    ));
    Ok(out)
}

/// LINK_UPDATE and LINK_DETACH of a kprobe link: refused, in the order that in-tree has.
fn change_link(b: &Bpf) -> Result<Vec<String>, String> {
    let o = Objects::new(b)?;
    let (link, prog) = (
        o.links[0].as_fd().as_raw_fd() as u32,
        o.progs[1].as_fd().as_raw_fd() as u32,
    );
    let map = o.maps[0].as_fd().as_raw_fd() as u32;
    let mut out = Vec::new();
    for (l, p, flags, old) in [
        (link, prog, 0, 0),
        (link, prog, 4, prog),
        (link, prog, 4, 4000),
        (link, prog, 4, map),
        (link, prog, 0, prog),
        (link, prog, 1, 0),
        (link, prog, 5, prog),
        (link, 4000, 0, 0),
        (link, map, 0, 0),
        (4000, prog, 0, 0),
        (4000, prog, 1, 0),
        (prog, prog, 0, 0),
        (map, 4000, 0, 0),
    ] {
        let mut a = Attr::new(168);
        a.u32(0, l).u32(4, p).u32(8, flags).u32(12, old);
        out.push(format!("update: {:?}", b.call(cmd::LINK_UPDATE, a.bytes())));
    }
    for fd in [link, prog, map, 4000, u32::MAX] {
        let mut a = Attr::new(168);
        out.push(format!(
            "detach: {:?}",
            b.call(cmd::LINK_DETACH, a.u32(0, fd).bytes())
        ));
    }
    for (number, end) in [(cmd::LINK_UPDATE, 16), (cmd::LINK_DETACH, 4)] {
        for size in [0, 1, end - 1, end, end + 1, 168] {
            let mut a = Attr::new(size);
            a.put(0, &4000u32.to_ne_bytes());
            out.push(format!(
                "{number} of {size}: {:?}",
                b.call(number, a.bytes())
            ));
        }
        let mut a = Attr::new(168);
        out.push(format!(
            "{number} tail: {:?}",
            b.call(number, a.put(end, &[1]).bytes())
        ));
    }
    Ok(out)
}

/// Registers of a `struct pt_regs` whose word `i` is `i + 1` times a constant.
fn registers() -> Vec<u8> {
    (1..=21u64)
        .flat_map(|i| (i * 0x0101_0101_0101).to_ne_bytes())
        .collect()
}

/// PROG_TEST_RUN of a kprobe's program on registers: oxbpf's own.
fn run_on_registers(b: &Bpf) -> Result<(), String> {
    let regs = registers();
    for word in 0..21i16 {
        let insns = [raw(0x79, 0, 1, word * 8, 0), exit()];
        let prog = b
            .prog_load(&ProgSpec::new(ProgType::KPROBE, &insns))
            .map_err(|e| format!("load: {e}"))?;
        let mut out = vec![0u8; 168];
        let mut a = Attr::new(76);
        a.u32(0, prog.as_fd().as_raw_fd() as u32)
            .u32(32, 5)
            .u32(40, regs.len() as u32)
            .u32(44, 168)
            .ptr(48, &regs)
            .u64(56, out.as_mut_ptr() as u64);
        b.call(cmd::PROG_TEST_RUN, a.bytes())
            .map_err(|e| format!("word {word}: {e}"))?;
        let want = (u64::try_from(word).unwrap() + 1) * 0x0101_0101_0101;
        if a.get_u32(4) != want as u32 || out != regs || a.get_u32(44) != 168 {
            return Err(format!("word {word}: {:#x}", a.get_u32(4)));
        }
    }
    let insns = [raw(0x79, 0, 1, 8, 0), exit()];
    let prog = b
        .prog_load(&ProgSpec::new(ProgType::KPROBE, &insns))
        .map_err(|e| format!("load: {e}"))?;
    let run = |change: &dyn Fn(&mut Attr)| {
        let mut a = Attr::new(76);
        a.u32(0, prog.as_fd().as_raw_fd() as u32)
            .u32(40, 168)
            .ptr(48, &regs);
        change(&mut a);
        (b.call(cmd::PROG_TEST_RUN, a.bytes()), a.get_u32(4))
    };
    let einval = Err(Errno(libc::EINVAL));
    let longer = [registers(), vec![0; 32]].concat();
    let wrong = [registers(), vec![1; 32]].concat();
    let checks = [
        // What is not given is zero.
        (run(&|a| _ = a.u32(40, 8)), Ok(0)),
        (run(&|a| _ = a.u32(40, 200).ptr(48, &longer)), Ok(0)),
        (
            run(&|a| _ = a.u32(40, 200).ptr(48, &wrong)),
            Err(Errno(libc::E2BIG)),
        ),
        (run(&|a| _ = a.u64(48, 1)), Err(Errno(libc::EFAULT))),
        (run(&|a| _ = a.u64(16, 1)), einval),
        (run(&|a| _ = a.u32(8, 1)), einval),
        (run(&|a| _ = a.u32(64, 1)), einval),
        (run(&|a| _ = a.u32(68, 1)), einval),
        (run(&|a| _ = a.u32(72, 1)), einval),
        (run(&|a| _ = a.u32(40, 0)), einval),
        (run(&|a| _ = a.u32(40, 0).u64(48, 0)), Err(Errno(524))),
    ];
    for (i, ((got, retval), want)) in checks.into_iter().enumerate() {
        if got != want {
            return Err(format!("check {i}: {got:?}, not {want:?}"));
        }
        if i == 0 && retval != 0 {
            return Err(format!("a register that was not given: {retval:#x}"));
        }
    }
    Ok(())
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    for (i, f) in FAMILIES.iter().enumerate() {
        s.test(&format!("{}: walk and open", f.name), || {
            both.same(|b| walk(b, i))?.map(drop)
        });
        s.test(&format!("{}: malformed", f.name), || {
            both.same(|b| malformed(b, i)).map(drop)
        });
    }
    s.test("map: opened for reading or writing only", || {
        both.same(halves)?.map(drop)
    });
    s.test("PROG_BIND_MAP", || both.same(bind)?.map(drop));
    s.test("LINK_UPDATE, LINK_DETACH", || {
        both.same(change_link)?.map(drop)
    });
    s.test("test run of a kprobe's program", || {
        run_on_registers(&both.ours)
    });
    s.test("test run of a kprobe's program without registers", || {
        both.same(|b| {
            let insns = [mov(0, 0), exit()];
            let prog = b
                .prog_load(&ProgSpec::new(ProgType::KPROBE, &insns))
                .map_err(|e| e.errno)?;
            let mut a = Attr::new(76);
            a.u32(0, prog.as_fd().as_raw_fd() as u32);
            no_fd(b.call(cmd::PROG_TEST_RUN, a.bytes()))
        })
        .map(drop)
    });
}
