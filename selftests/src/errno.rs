// SPDX-License-Identifier: GPL-2.0

//! Malformed commands: the errno, against the kernel's own bpf(2).

mod attrs;
mod maps;
mod progs;

use crate::both::{no_fd, Both};
use crate::insn;
use crate::ktap::Suite;
use crate::memory::Traps;
use oxbpf::attr::{Attr, SIZE};
use oxbpf::{cmd, Bpf, Errno, Map, MapSpec, MapType, Prog, ProgSpec, ProgType};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

/// Commands that oxbpf has, with the byte after the last field of each.
const COMMANDS: &[(&str, u32, usize)] = &[
    ("MAP_CREATE", cmd::MAP_CREATE, 92),
    ("MAP_LOOKUP_ELEM", cmd::MAP_LOOKUP_ELEM, 32),
    ("MAP_UPDATE_ELEM", cmd::MAP_UPDATE_ELEM, 32),
    ("MAP_DELETE_ELEM", cmd::MAP_DELETE_ELEM, 16),
    ("MAP_GET_NEXT_KEY", cmd::MAP_GET_NEXT_KEY, 24),
    ("PROG_LOAD", cmd::PROG_LOAD, 168),
    ("PROG_TEST_RUN", cmd::PROG_TEST_RUN, 76),
    ("OBJ_GET_INFO_BY_FD", cmd::OBJ_GET_INFO_BY_FD, 16),
    ("LINK_CREATE", cmd::LINK_CREATE, 64),
    ("MAP_LOOKUP_AND_DELETE", cmd::MAP_LOOKUP_AND_DELETE_ELEM, 32),
    ("OBJ_PIN", cmd::OBJ_PIN, 20),
    ("OBJ_GET", cmd::OBJ_GET, 20),
    ("MAP_FREEZE", cmd::MAP_FREEZE, 4),
    ("MAP_LOOKUP_BATCH", cmd::MAP_LOOKUP_BATCH, 56),
    (
        "MAP_LOOKUP_AND_DELETE_BATCH",
        cmd::MAP_LOOKUP_AND_DELETE_BATCH,
        56,
    ),
    ("MAP_UPDATE_BATCH", cmd::MAP_UPDATE_BATCH, 56),
    ("MAP_DELETE_BATCH", cmd::MAP_DELETE_BATCH, 56),
    ("LINK_UPDATE", cmd::LINK_UPDATE, 16),
    ("LINK_DETACH", cmd::LINK_DETACH, 4),
    ("BTF_LOAD", cmd::BTF_LOAD, 40),
    ("PROG_BIND_MAP", cmd::PROG_BIND_MAP, 12),
];

/// One implementation with objects to name in malformed commands.
struct Objects {
    bpf: Bpf,
    array: Map,
    hash: Map,
    /// Empty arrays of perf events and of cgroups, and an empty table of call chains.
    events: Map,
    stacks: Map,
    cgroups: Map,
    filter: Prog,
    probe: Prog,
    null: File,
    key: Vec<u8>,
    value: Vec<u8>,
    traps: Traps,
}

impl Objects {
    fn new(bpf: &Bpf) -> Objects {
        let insns = [insn::mov(0, 1), insn::exit()];
        let filter = ProgSpec::new(ProgType::SOCKET_FILTER, &insns);
        let probe = ProgSpec {
            expected_attach_type: oxbpf::link::TRACE_KPROBE_MULTI,
            ..ProgSpec::new(ProgType::KPROBE, &insns)
        };
        let hash = bpf
            .map_create(&MapSpec::new(MapType::HASH, 8, 8, 2))
            .unwrap();
        hash.update(&[1; 8], &[2; 8], 0).unwrap();
        let empty = |ty, value| bpf.map_create(&MapSpec::new(ty, 4, value, 4)).unwrap();
        Objects {
            bpf: bpf.clone(),
            array: bpf
                .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 4))
                .unwrap(),
            hash,
            events: empty(MapType::PERF_EVENT_ARRAY, 4),
            stacks: empty(MapType::STACK_TRACE, 8),
            cgroups: empty(MapType::CGROUP_ARRAY, 4),
            filter: bpf.prog_load(&filter).unwrap(),
            probe: bpf.prog_load(&probe).unwrap(),
            null: File::open("/dev/null").unwrap(),
            key: vec![0; 64],
            value: vec![0; 64],
            traps: Traps::new(),
        }
    }

    fn array(&self) -> u32 {
        self.array.as_fd().as_raw_fd() as u32
    }

    fn hash(&self) -> u32 {
        self.hash.as_fd().as_raw_fd() as u32
    }

    fn events(&self) -> u32 {
        self.events.as_fd().as_raw_fd() as u32
    }

    fn stacks(&self) -> u32 {
        self.stacks.as_fd().as_raw_fd() as u32
    }

    fn cgroups(&self) -> u32 {
        self.cgroups.as_fd().as_raw_fd() as u32
    }

    fn filter(&self) -> u32 {
        self.filter.as_fd().as_raw_fd() as u32
    }

    fn probe(&self) -> u32 {
        self.probe.as_fd().as_raw_fd() as u32
    }

    fn null(&self) -> u32 {
        self.null.as_raw_fd() as u32
    }

    fn call(&self, cmd: u32, a: &mut Attr) -> Result<i32, Errno> {
        no_fd(self.bpf.call(cmd, a.bytes()))
    }

    /// An element command with good pointers.
    fn elem(&self, fd: u32) -> Attr {
        let mut a = Attr::new(32);
        a.u32(0, fd).ptr(8, &self.key).ptr(16, &self.value);
        a
    }
}

type Answer = Result<i32, Errno>;
type Case = Box<dyn Fn(&Objects) -> Answer>;
type Change = Box<dyn Fn(&mut Attr, &Objects)>;
/// An address, by what is there.
type Pointer = (&'static str, fn(&Traps) -> u64);
/// An fd, by what it is.
type Fd = (&'static str, fn(&Objects) -> u32);

struct Cases {
    list: Vec<(String, Case)>,
}

impl Cases {
    fn add(&mut self, name: impl Into<String>, f: impl Fn(&Objects) -> Answer + 'static) {
        self.list.push((name.into(), Box::new(f)));
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    let ours = Objects::new(&both.ours);
    let theirs = Objects::new(&both.theirs);
    let mut cases = Cases { list: Vec::new() };
    attrs::sizes_and_tails(&mut cases);
    attrs::bad_fds(&mut cases);
    maps::map_create(&mut cases);
    maps::elements(&mut cases);
    progs::prog_load(&mut cases);
    progs::test_run(&mut cases);
    progs::info_and_link(&mut cases);
    for (name, f) in &cases.list {
        s.test(name, || {
            let (t, o) = (f(&theirs), f(&ours));
            if t == o {
                Ok(())
            } else {
                Err(format!("in-tree: {t:?}\noxbpf:   {o:?}"))
            }
        });
    }
    commands_not_there(s, &ours);
}

/// Commands of bpf(2) that oxbpf does not have answer as on a kernel that does not know them.
fn commands_not_there(s: &mut Suite, ours: &Objects) {
    let have: Vec<u32> = COMMANDS
        .iter()
        .map(|c| c.1)
        .chain(EXTRA.iter().copied())
        .collect();
    for number in (0..cmd::END).filter(|n| !have.contains(n)) {
        s.test(&format!("command {number}, not there"), || {
            match ours.call(number, &mut Attr::new(SIZE)) {
                Err(Errno(libc::EINVAL)) => Ok(()),
                other => Err(format!("expected EINVAL, got {other:?}")),
            }
        });
    }
}

/// Commands that oxbpf has beyond [`COMMANDS`].
const EXTRA: &[u32] = &[
    cmd::PROG_GET_NEXT_ID,
    cmd::MAP_GET_NEXT_ID,
    cmd::PROG_GET_FD_BY_ID,
    cmd::MAP_GET_FD_BY_ID,
    cmd::LINK_GET_FD_BY_ID,
    cmd::LINK_GET_NEXT_ID,
    cmd::ENABLE_STATS,
    cmd::BTF_GET_FD_BY_ID,
    cmd::BTF_GET_NEXT_ID,
];
