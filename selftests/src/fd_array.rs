// SPDX-License-Identifier: GPL-2.0

//! What user space does with the maps whose elements are descriptors of something, and is answered.

use oxbpf::attr::Attr;
use oxbpf::{cmd, Bpf, Map, MapSpec, MapType};
use std::fmt::Write;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

/// Creates maps of such a type with each flag and some sizes.
pub fn creation(b: &Bpf, ty: MapType) -> String {
    let mut out = String::new();
    for (key, value, entries) in [(4, 4, 4), (8, 4, 4), (4, 8, 4), (4, 0, 4), (4, 4, 0)] {
        for bit in 0..33 {
            // Nodes and tokens have tests of their own.
            if matches!(bit, 2 | 16) {
                continue;
            }
            let spec = MapSpec {
                flags: 1u32.checked_shl(bit).unwrap_or(0),
                ..MapSpec::new(ty, key, value, entries)
            };
            let _ = writeln!(out, "create: {bit} {:?}", b.map_create(&spec).err());
        }
    }
    out
}

/// All commands on a map of four elements, with those descriptors, of which the first may be put into
/// it, and with some that may not.
pub fn commands(b: &Bpf, map: &Map, fds: &[(&str, i32)]) -> Result<String, String> {
    let mut out = String::new();
    let mut note = |what: &str, answer: String| {
        let _ = writeln!(out, "{what}: {answer}");
    };
    let null = File::open("/dev/null").map_err(|e| e.to_string())?;
    let (_, good) = *fds.first().ok_or("no descriptor")?;
    let itself = map.as_fd().as_raw_fd();
    let wrong = [("null", null.as_raw_fd()), ("map", itself), ("-1", -1)];
    let key = |k: u32| k.to_ne_bytes();
    for k in [0, 3, 4, u32::MAX] {
        note("delete", format!("{:?}", map.delete(&key(k))));
        note("lookup", format!("{:?}", map.lookup(&key(k))));
        note("take", format!("{:?}", map.take(&key(k))));
        for (what, fd) in fds.iter().chain(&wrong) {
            for flags in [0, 1, 2, 4] {
                let done = map.update(&key(k), &fd.to_ne_bytes(), flags);
                note("update", format!("{k} {what} {flags} {done:?}"));
            }
        }
        note("lookup", format!("{:?}", map.lookup(&key(k))));
        note("next", format!("{:?}", map.next_key(Some(&key(k)))));
        note("delete", format!("{:?}", map.delete(&key(k))));
        note("delete", format!("{:?}", map.delete(&key(k))));
    }
    for number in [
        cmd::MAP_LOOKUP_BATCH,
        cmd::MAP_UPDATE_BATCH,
        cmd::MAP_DELETE_BATCH,
        cmd::MAP_LOOKUP_AND_DELETE_BATCH,
    ] {
        let mut a = Attr::new(56);
        a.u32(32, 1).u32(36, itself as u32);
        note("batch", format!("{:?}", b.call(number, a.bytes())));
    }
    let done = b.call(cmd::MAP_FREEZE, &mut itself.to_ne_bytes());
    note("freeze", format!("{done:?}"));
    let done = map.update(&key(0), &good.to_ne_bytes(), 0);
    note("update", format!("{done:?}"));
    Ok(out)
}
