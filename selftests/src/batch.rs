// SPDX-License-Identifier: GPL-2.0

//! The BATCH commands, against the kernel's own: results, counts, errnos.

use crate::both::Both;
use crate::ktap::Suite;
use crate::memory::{Traps, KERNEL};
use oxbpf::attr::Attr;
use oxbpf::{cmd, Bpf, Errno, Map, MapSpec, MapType};
use std::os::fd::{AsFd, AsRawFd};

const TYPES: [(&str, MapType, u32); 10] = [
    ("hash", MapType::HASH, 8),
    ("array", MapType::ARRAY, 4),
    ("percpu hash", MapType::PERCPU_HASH, 8),
    ("percpu array", MapType::PERCPU_ARRAY, 4),
    ("LRU hash", MapType::LRU_HASH, 8),
    ("LRU percpu hash", MapType::LRU_PERCPU_HASH, 8),
    ("trie", MapType::LPM_TRIE, 8),
    ("queue", MapType::QUEUE, 0),
    ("stack", MapType::STACK, 0),
    ("Bloom filter", MapType::BLOOM_FILTER, 0),
];

const COMMANDS: [(&str, u32); 4] = [
    ("LOOKUP_BATCH", cmd::MAP_LOOKUP_BATCH),
    ("LOOKUP_AND_DELETE_BATCH", cmd::MAP_LOOKUP_AND_DELETE_BATCH),
    ("UPDATE_BATCH", cmd::MAP_UPDATE_BATCH),
    ("DELETE_BATCH", cmd::MAP_DELETE_BATCH),
];

/// Bytes of the attr.
const SIZE: usize = 56;
const VALUE: u32 = 12;

/// A map with keys 0 up to `n`, and room for as many more.
fn map(b: &Bpf, ty: MapType, key_size: u32, n: u32) -> Result<Map, String> {
    let array = [MapType::ARRAY, MapType::PERCPU_ARRAY].contains(&ty);
    let spec = MapSpec {
        flags: u32::from(ty == MapType::LPM_TRIE),
        ..MapSpec::new(ty, key_size, VALUE, if array { n } else { n * 2 })
    };
    let map = b.map_create(&spec).map_err(|e| format!("create: {e}"))?;
    for i in 0..n {
        let value: Vec<u8> = (0..map.value_bytes())
            .map(|j| (i + j as u32) as u8)
            .collect();
        map.update(&key(ty, key_size, i), &value, 0)
            .map_err(|e| format!("update {i}: {e}"))?;
    }
    Ok(map)
}

/// The `i`th key.
fn key(ty: MapType, size: u32, i: u32) -> Vec<u8> {
    let mut key = if ty == MapType::LPM_TRIE {
        [32u32.to_ne_bytes(), i.to_be_bytes()].concat()
    } else {
        [i.to_ne_bytes(), (i * 7).to_ne_bytes()].concat()
    };
    key.truncate(size as usize);
    key
}

/// Buffers of a batch of `room` elements.
struct Buffers {
    keys: Vec<u8>,
    values: Vec<u8>,
    at: [u8; 64],
}

impl Buffers {
    fn new(map: &Map, key_size: u32, room: u32) -> Buffers {
        Buffers {
            keys: vec![0xee; (room * key_size) as usize],
            values: vec![0xee; room as usize * map.value_bytes()],
            at: [0; 64],
        }
    }

    /// A command on them, `first` without a place to go on from.
    fn attr(&self, map: &Map, first: bool, count: u32) -> Attr {
        let mut a = Attr::new(SIZE);
        a.ptr(8, &self.at)
            .ptr(16, &self.keys)
            .ptr(24, &self.values)
            .u32(32, count)
            .u32(36, map.as_fd().as_raw_fd() as u32);
        if !first {
            a.ptr(0, &self.at);
        }
        a
    }
}

fn call(b: &Bpf, number: u32, a: &mut Attr) -> (Result<i32, Errno>, u32) {
    let r = b.call(number, a.bytes());
    (r, a.get_u32(32))
}

/// Everything in the map, in batches of `count`: keys with values, sorted, and how it ended.
fn walk(b: &Bpf, ty: MapType, key_size: u32, number: u32, count: u32) -> Result<String, String> {
    let n = 300;
    let map = map(b, ty, key_size, n)?;
    let bufs = Buffers::new(&map, key_size, count);
    let mut all = Vec::new();
    let mut first = true;
    let end = loop {
        let (r, got) = call(b, number, &mut bufs.attr(&map, first, count));
        first = false;
        if got > count {
            return Err(format!("{got} of at most {count}"));
        }
        for i in 0..got as usize {
            let (k, v) = (key_size as usize, map.value_bytes());
            all.push((
                bufs.keys[i * k..(i + 1) * k].to_vec(),
                bufs.values[i * v..(i + 1) * v].to_vec(),
            ));
        }
        if let Err(e) = r {
            break e;
        }
        if all.len() > 1000 {
            return Err("no end".to_string());
        }
    };
    // The order is the implementation's own.
    all.sort();
    let mut left = map.entries().map_err(|e| format!("entries: {e}"))?;
    left.sort();
    Ok(format!("{end} {all:02x?} left {left:02x?}"))
}

/// What a command says of a malformed or unusual attr, and what is in the map afterwards.
type Change = Box<dyn Fn(&mut Attr, &Traps)>;

fn changes() -> Vec<(String, Change)> {
    let mut list: Vec<(String, Change)> = Vec::new();
    let mut add = |name: String, f: Change| list.push((name, f));
    add("as it is".into(), Box::new(|_, _| {}));
    add(
        "count 0".into(),
        Box::new(|a, _| _ = a.u32(32, 0).u64(16, 1)),
    );
    for bit in 0..64 {
        add(
            format!("element flag bit {bit}"),
            Box::new(move |a, _| _ = a.u64(40, 1 << bit)),
        );
    }
    for flags in [
        8 | (1 << 32),
        8 | (500 << 32),
        8 | 16,
        16 | (1 << 32),
        8 | 4,
    ] {
        add(
            format!("element flags {flags:#x}"),
            Box::new(move |a, _| _ = a.u64(40, flags)),
        );
    }
    for bit in [0, 1, 2, 31, 63] {
        add(
            format!("flag bit {bit}"),
            Box::new(move |a, _| _ = a.u64(48, 1 << bit)),
        );
    }
    type At = fn(&Traps) -> u64;
    let bad: [(&str, At); 5] = [
        ("NULL", |_| 0),
        ("inaccessible", |t| t.hole()),
        ("the kernel's", |_| KERNEL),
        ("read-only", |t| t.read_only()),
        ("3 bytes before inaccessible memory", |t| t.before_hole(3)),
    ];
    for (field, off) in [("in", 0), ("out", 8), ("keys", 16), ("values", 24)] {
        for (what, at) in bad {
            add(
                format!("{field} {what}"),
                Box::new(move |a, t| _ = a.u64(off, at(t))),
            );
        }
    }
    for (what, at) in bad.into_iter().skip(1) {
        add(
            format!("all pointers {what}"),
            Box::new(move |a, t| {
                for off in [0, 8, 16, 24] {
                    a.u64(off, at(t));
                }
            }),
        );
    }
    list
}

/// Whose contents afterwards are the implementation's own: entries that were taken out of the map and
/// could not be delivered are as many as in-tree's bucket had.
fn loses(number: u32, what: &str) -> bool {
    number == cmd::MAP_LOOKUP_AND_DELETE_BATCH && what != "as it is"
}

fn malformed(
    b: &Bpf,
    ty: MapType,
    key_size: u32,
    number: u32,
    what: &str,
    change: &Change,
) -> Result<String, String> {
    let traps = Traps::new();
    let n = if key_size == 0 { 0 } else { 4 };
    let map = map(
        b,
        ty,
        key_size,
        n.max(1) * u32::from(n != 0) + u32::from(n == 0),
    )?;
    let mut bufs = Buffers::new(&map, key_size, 64);
    for i in 0..4u32 {
        let k = key(
            ty,
            key_size,
            i + u32::from(number == cmd::MAP_UPDATE_BATCH && key_size == 8),
        );
        let at = (i * key_size) as usize;
        bufs.keys[at..at + k.len()].copy_from_slice(&k);
    }
    let count = match number {
        cmd::MAP_UPDATE_BATCH | cmd::MAP_DELETE_BATCH => 4,
        _ => 64,
    };
    let mut a = bufs.attr(&map, true, count);
    change(&mut a, &traps);
    let (r, got) = call(b, number, &mut a);
    let mut left = match key_size {
        0 => Vec::new(),
        _ => map.entries().map_err(|e| format!("entries: {e}"))?,
    };
    left.sort();
    let left = match loses(number, what) {
        true => String::new(),
        false => format!("{left:02x?}"),
    };
    Ok(format!("{r:?} count {got} left {left}"))
}

/// fds that are no maps, or not open for it, and frozen maps.
fn access(b: &Bpf, number: u32) -> Vec<(&'static str, Result<i32, Errno>)> {
    let mut out = Vec::new();
    let bufs = Buffers {
        keys: vec![0; 64],
        values: vec![0; 64],
        at: [0; 64],
    };
    let null = std::fs::File::open("/dev/null").unwrap();
    let mut a = Attr::new(SIZE);
    a.ptr(8, &bufs.at)
        .ptr(16, &bufs.keys)
        .ptr(24, &bufs.values)
        .u32(32, 1);
    out.push(("closed", b.call(number, a.u32(36, 4000).bytes())));
    out.push(("minus one", b.call(number, a.u32(36, u32::MAX).bytes())));
    let fd = null.as_raw_fd() as u32;
    out.push(("other file", b.call(number, a.u32(36, fd).bytes())));
    for flags in [1 << 3, 1 << 4] {
        let spec = MapSpec {
            flags,
            ..MapSpec::new(MapType::HASH, 8, 8, 4)
        };
        let map = b.map_create(&spec).unwrap();
        let fd = map.as_fd().as_raw_fd() as u32;
        out.push((
            "half open",
            b.call(number, a.u32(36, fd).u32(32, 1).bytes()),
        ));
    }
    let map = b.map_create(&MapSpec::new(MapType::HASH, 8, 8, 4)).unwrap();
    map.update(&[0; 8], &[1; 8], 0).unwrap();
    let fd = map.as_fd().as_raw_fd() as u32;
    b.call(cmd::MAP_FREEZE, Attr::new(4).u32(0, fd).bytes())
        .unwrap();
    out.push(("frozen", b.call(number, a.u32(36, fd).u32(32, 4).bytes())));
    out.push(("short attr", b.call(number, &mut a.bytes()[..40])));
    let map = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 4))
        .unwrap();
    let fd = map.as_fd().as_raw_fd() as u32;
    a.u32(36, fd).u32(32, 1);
    out.push((
        "short attr of an array",
        b.call(number, &mut a.bytes()[..40]),
    ));
    out
}

/// Room for one: nothing may be missing or twice however small the batches are.
fn one_by_one(b: &Bpf, number: u32) -> Result<(), String> {
    let map = map(b, MapType::HASH, 8, 300)?;
    let mut seen = std::collections::BTreeSet::new();
    let mut count = 1;
    let bufs = Buffers::new(&map, 8, 64);
    let mut first = true;
    loop {
        let (r, got) = call(b, number, &mut bufs.attr(&map, first, count));
        for i in 0..got as usize {
            if !seen.insert(bufs.keys[i * 8..(i + 1) * 8].to_vec()) {
                return Err("a key came twice".to_string());
            }
        }
        match r {
            Err(Errno(libc::ENOENT)) => break,
            Err(Errno(libc::ENOSPC)) if count < 64 && got == 0 => count += 1,
            Err(e) => return Err(format!("{e}")),
            Ok(_) => {}
        }
        first = false;
    }
    match seen.len() {
        300 => Ok(()),
        n => Err(format!("{n} keys of 300")),
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    for (name, ty, key_size) in TYPES {
        for (what, number) in &COMMANDS[..2] {
            if key_size == 0 || (*number != cmd::MAP_LOOKUP_BATCH && ty == MapType::LPM_TRIE) {
                continue;
            }
            if *number != cmd::MAP_LOOKUP_BATCH && name.contains("array") {
                continue;
            }
            for count in [20, 64, 299, 300, 301, 1000] {
                s.test(&format!("{name}: {what} of {count} at once"), || {
                    both.same(|b| walk(b, ty, key_size, *number, count))?
                        .map(drop)
                });
            }
        }
    }
    for number in [cmd::MAP_LOOKUP_BATCH, cmd::MAP_LOOKUP_AND_DELETE_BATCH] {
        s.test(&format!("hash: command {number}, one by one"), || {
            one_by_one(&both.ours, number)
        });
    }
    let changes = changes();
    for (name, ty, key_size) in TYPES {
        for (command, number) in COMMANDS {
            s.test(
                &format!("{name}: {command}, {} cases", changes.len()),
                || {
                    let mut wrong = Vec::new();
                    for (what, change) in &changes {
                        let one = |b: &Bpf| malformed(b, ty, key_size, number, what, change);
                        if let Err(e) = both.same(one) {
                            wrong.push(format!("{what}:\n{e}"));
                        }
                    }
                    match wrong.is_empty() {
                        true => Ok(()),
                        false => {
                            wrong.truncate(8);
                            Err(wrong.join("\n"))
                        }
                    }
                },
            );
        }
    }
    for (command, number) in COMMANDS {
        s.test(&format!("{command}: who may"), || {
            both.same(|b| access(b, number)).map(drop)
        });
    }
}
