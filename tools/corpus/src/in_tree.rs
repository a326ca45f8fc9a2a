// SPDX-License-Identifier: GPL-2.0

//! Runs a test through the running kernel's own bpf(2), as root.

use crate::ours::{self, Outcome};
use crate::read::Test;
use oxbpf::{Bpf, LoadError, Map, MapSpec, MapType, ProgSpec, ProgType, Slot};
use oxbpf_core::isa::RawInsn;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

/// `BPF_F_RDONLY_PROG` and `BPF_F_WRONLY_PROG`
const F_RDONLY_PROG: u32 = 1 << 7;
const F_WRONLY_PROG: u32 = 1 << 8;
/// `BPF_F_STRICT_ALIGNMENT`
const F_STRICT_ALIGNMENT: u32 = 1;

fn map(bpf: &Bpf, kind: &str) -> Option<Map> {
    let f = ours::facts(kind)?;
    let mut spec = MapSpec::new(
        MapType(f.ty as u32),
        f.key_size,
        f.value_size,
        f.max_entries,
    );
    if f.rdonly_prog {
        spec.flags |= F_RDONLY_PROG;
    }
    if f.wronly_prog {
        spec.flags |= F_WRONLY_PROG;
    }
    bpf.map_create(&spec).ok()
}

fn slot(i: &RawInsn) -> Slot {
    let [o0, o1] = i.off.to_le_bytes();
    let [i0, i1, i2, i3] = i.imm.to_le_bytes();
    [i.code, i.regs, o0, o1, i0, i1, i2, i3]
}

/// Loads the test's program; `None` when its maps cannot be made.
pub fn run(t: &Test, level: u32) -> Option<Outcome> {
    let bpf = Bpf::in_tree();
    let mut insns = t.insns.clone();
    let mut maps: Vec<(&str, Map)> = Vec::new();
    for (at, kind) in &t.maps {
        if !maps.iter().any(|(k, _)| k == kind) {
            maps.push((kind, map(&bpf, kind)?));
        }
        let fd = maps
            .iter()
            .find(|(k, _)| k == kind)
            .map(|(_, m)| m.as_fd().as_raw_fd())?;
        insns.get_mut(*at)?.imm = fd;
    }
    let slots: Vec<Slot> = insns.iter().map(slot).collect();
    let mut spec = ProgSpec::new(ProgType(t.prog_type), &slots);
    spec.license = "GPL";
    spec.flags = if t.flags & ours::F_LOAD_WITH_STRICT_ALIGNMENT != 0 {
        F_STRICT_ALIGNMENT
    } else {
        0
    };
    spec.expected_attach_type = t.attach_type;
    spec.log_level = level;
    spec.log_size = 1 << 24;
    let start = Instant::now();
    let loaded = bpf.prog_load(&spec);
    let time = start.elapsed();
    let (verdict, log) = match &loaded {
        Ok(p) => (Ok(()), p.log().to_owned()),
        Err(LoadError { errno, log, .. }) => (Err(errno.0), log.clone()),
    };
    Some(Outcome { verdict, log, time })
}
