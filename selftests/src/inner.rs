// SPDX-License-Identifier: GPL-2.0

//! Maps in maps: what may be in which, the commands on them, and maps that go while programs use
//! them.

use crate::both::{no_fd, Both};
use crate::insn::{add, call, exit, ld_imm64, ld_map, mov, mov_reg, raw};
use crate::ktap::{seconds, Suite};
use crate::objects::Objects;
use oxbpf::attr::Attr;
use oxbpf::{cmd, Bpf, Errno, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot, TestRun};
use std::fmt::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const OUTER: [(&str, MapType); 2] = [
    ("array of maps", MapType::ARRAY_OF_MAPS),
    ("hash of maps", MapType::HASH_OF_MAPS),
];

/// Flags (`BPF_F_*`).
const NO_PREALLOC: u32 = 1 << 0;
const RDONLY: u32 = 1 << 3;
const WRONLY: u32 = 1 << 4;
const ZERO_SEED: u32 = 1 << 6;
const RDONLY_PROG: u32 = 1 << 7;
const WRONLY_PROG: u32 = 1 << 8;
const MMAPABLE: u32 = 1 << 10;
const INNER_MAP: u32 = 1 << 12;

fn fd(map: &Map) -> i32 {
    map.as_fd().as_raw_fd()
}

fn spec(ty: u32, key: u32, value: u32, entries: u32, flags: u32) -> MapSpec {
    MapSpec {
        flags,
        ..MapSpec::new(MapType(ty), key, value, entries)
    }
}

fn make(b: &Bpf, s: &MapSpec) -> Result<Map, String> {
    b.map_create(s).map_err(|e| format!("create {s:?}: {e}"))
}

/// A map of `ty` with room for four maps like `inner`.
fn outer(b: &Bpf, ty: MapType, inner: &Map) -> Result<Map, String> {
    make(
        b,
        &MapSpec {
            inner: Some(fd(inner)),
            ..MapSpec::new(ty, 4, 4, 4)
        },
    )
}

/// Maps that may be templates, or may not.
fn templates() -> Vec<MapSpec> {
    vec![
        spec(1, 4, 8, 4, 0),
        spec(1, 4, 8, 4, NO_PREALLOC),
        spec(1, 4, 8, 4, ZERO_SEED),
        spec(1, 4, 8, 4, RDONLY_PROG),
        spec(1, 4, 8, 4, WRONLY_PROG),
        spec(1, 8, 8, 4, 0),
        spec(1, 4, 12, 4, 0),
        spec(1, 4, 8, 9, 0),
        spec(1, 4, 8, 4, RDONLY),
        spec(2, 4, 8, 4, 0),
        spec(2, 4, 8, 5, 0),
        spec(2, 4, 8, 4, INNER_MAP),
        spec(2, 4, 8, 9, INNER_MAP),
        spec(2, 4, 9, 4, INNER_MAP),
        spec(2, 4, 8, 4, MMAPABLE),
        spec(2, 4, 8, 4, RDONLY_PROG),
        spec(2, 4, 8, 4, WRONLY),
        spec(3, 4, 4, 4, 0),
        spec(5, 4, 8, 4, 0),
        spec(6, 4, 8, 4, 0),
        spec(6, 4, 8, 5, 0),
        spec(9, 4, 8, 4, 0),
        spec(10, 4, 8, 4, 0),
        spec(11, 8, 8, 4, NO_PREALLOC),
        spec(22, 0, 8, 4, 0),
        spec(23, 0, 8, 4, 0),
        spec(27, 0, 0, 4096, 0),
        spec(27, 0, 0, 8192, 0),
        spec(30, 0, 8, 4, 0),
    ]
}

/// Each template, and each map put into a map of each template.
fn who_fits(b: &Bpf, ty: MapType) -> Result<String, String> {
    let maps: Vec<Map> = templates()
        .iter()
        .map(|s| make(b, s))
        .collect::<Result<_, _>>()?;
    let mut out = String::new();
    for (s, template) in templates().iter().zip(&maps) {
        let made = b.map_create(&MapSpec {
            inner: Some(fd(template)),
            ..MapSpec::new(ty, 4, 4, 4)
        });
        let map = match made {
            Ok(map) => map,
            Err(e) => {
                let _ = writeln!(out, "{s:?}: no template, {e}");
                continue;
            }
        };
        let put: Vec<_> = maps
            .iter()
            .map(|m| map.update(&[0; 4], &fd(m).to_ne_bytes(), 0))
            .collect();
        let itself = map.update(&[0; 4], &fd(&map).to_ne_bytes(), 0);
        let nested = b.map_create(&MapSpec {
            inner: Some(fd(&map)),
            ..MapSpec::new(ty, 4, 4, 4)
        });
        let _ = writeln!(
            out,
            "{s:?}: {put:?}, itself {itself:?}, nested {:?}",
            nested.err()
        );
    }
    Ok(out)
}

/// Malformed creations.
fn creations(b: &Bpf, ty: MapType) -> Result<String, String> {
    let inner = make(b, &spec(1, 4, 8, 4, 0))?;
    let array = make(b, &spec(2, 4, 8, 4, 0))?;
    let prog = load(b, &[mov(0, 0), exit()])?;
    let null = std::fs::File::open("/dev/null").map_err(|e| e.to_string())?;
    let good = MapSpec {
        inner: Some(fd(&inner)),
        ..MapSpec::new(ty, 4, 4, 4)
    };
    let mut list = vec![];
    for bad in [0, -1, 1 << 20, null.as_raw_fd(), prog.as_fd().as_raw_fd()] {
        list.push(MapSpec {
            inner: Some(bad),
            ..good.clone()
        });
        // What is wrong besides comes before or behind.
        for other in [
            spec(ty.0, 4, 8, 4, 0),
            spec(ty.0, 0, 4, 4, 0),
            spec(ty.0, 4, 4, 0, 0),
            spec(ty.0, 4, 4, 4, 1 << 30),
            spec(ty.0, 4, 4, u32::MAX, 0),
        ] {
            list.push(MapSpec {
                inner: Some(bad),
                ..other
            });
        }
    }
    for (key, value, entries) in [
        (0, 4, 4),
        (1, 4, 4),
        (8, 4, 4),
        (4, 0, 4),
        (4, 3, 4),
        (4, 8, 4),
        (4, 4, 0),
        (4, 4, 1),
        (u32::MAX, 4, 4),
        (4 << 20, 4, 4),
    ] {
        list.push(MapSpec {
            inner: Some(fd(&inner)),
            ..spec(ty.0, key, value, entries, 0)
        });
    }
    for bit in 0..32 {
        // Nodes and tokens have tests of their own.
        if !matches!(bit, 2 | 16) {
            list.push(MapSpec {
                flags: 1 << bit,
                inner: Some(fd(&array)),
                ..good.clone()
            });
        }
    }
    for flags in [RDONLY | WRONLY, RDONLY_PROG | WRONLY_PROG] {
        list.push(MapSpec {
            flags,
            ..good.clone()
        });
    }
    // Others take no notice of the field.
    list.push(MapSpec {
        inner: Some(12345),
        ..spec(2, 4, 8, 4, 0)
    });
    let mut out = String::new();
    for s in &list {
        let name = MapSpec {
            inner: None,
            ..s.clone()
        };
        let _ = writeln!(out, "{name:?}: {:?}", b.map_create(s).err());
    }
    Ok(out)
}

/// The number in a value, as the place of the map among `maps`.
fn which(maps: &[Map], value: Result<Vec<u8>, Errno>) -> Result<String, Errno> {
    let value = value?;
    let id = u32::from_ne_bytes(value[..4].try_into().unwrap_or_default());
    let at = maps.iter().position(|m| m.info().is_ok_and(|i| i.id == id));
    Ok(format!("{at:?} {} bytes", value.len()))
}

/// Commands on elements.
fn elements(b: &Bpf, ty: MapType) -> Result<String, String> {
    let maps: Vec<Map> = (0..6)
        .map(|_| make(b, &spec(1, 4, 8, 4, 0)))
        .collect::<Result<_, _>>()?;
    let map = outer(b, ty, &maps[0])?;
    let mut out = String::new();
    let mut note = |what: &str, answer: String| {
        let _ = writeln!(out, "{what}: {answer}");
    };
    let key = |k: u32| k.to_ne_bytes();
    let value = |m: &Map| fd(m).to_ne_bytes();
    for k in [0, 3, 4, u32::MAX] {
        note("empty", format!("{:?}", map.lookup(&key(k))));
        note("delete", format!("{:?}", map.delete(&key(k))));
    }
    for flags in [0u64, 1, 2, 3, 4, 8, 16, 1 << 32, u64::MAX] {
        for k in [1, 1, 4, u32::MAX] {
            for bad in [fd(&maps[1]), -1, 1 << 20] {
                let done = map.update(&key(k), &bad.to_ne_bytes(), flags);
                note(
                    "update",
                    format!("{k} {flags:x} {bad:x?} {done:?}")
                        .replace(&format!("{:x}", fd(&maps[1])), "fd"),
                );
            }
            note("now", format!("{:?}", which(&maps, map.lookup(&key(k)))));
        }
        let _ = map.delete(&key(1));
        let _ = map.delete(&key(4));
        let _ = map.delete(&key(u32::MAX));
    }
    // Full, and past that.
    for (k, m) in (0..).zip(&maps) {
        note("fill", format!("{:?}", map.update(&key(k), &value(m), 0)));
    }
    for k in 0..7 {
        note("filled", format!("{:?}", which(&maps, map.lookup(&key(k)))));
    }
    note(
        "replace",
        format!("{:?}", map.update(&key(2), &value(&maps[5]), 2)),
    );
    note(
        "replaced",
        format!("{:?}", which(&maps, map.lookup(&key(2)))),
    );
    note("take", format!("{:?}", map.take(&key(2))));
    note("delete", format!("{:?}", map.delete(&key(2))));
    note("gone", format!("{:?}", map.delete(&key(2))));
    note("gone", format!("{:?}", map.lookup(&key(2))));
    let mut keys: Vec<_> = map
        .entries()
        .map_err(|e| e.to_string())?
        .into_iter()
        .map(|(k, v)| format!("{k:?} {:?}", which(&maps, Ok(v))))
        .collect();
    keys.sort();
    note("entries", format!("{keys:?}"));
    // Lookups with flags, and pointers that are wrong.
    for flags in [1u64, 4, 8, 1 << 33] {
        let mut a = Attr::new(32);
        let (k, v) = (key(0), [0u8; 8]);
        a.u32(0, fd(&map) as u32)
            .ptr(8, &k)
            .ptr(16, &v)
            .u64(24, flags);
        note(
            "lookup",
            format!("{:?}", no_fd(b.call(cmd::MAP_LOOKUP_ELEM, a.bytes()))),
        );
    }
    for (number, name) in [
        (cmd::MAP_LOOKUP_ELEM, "lookup"),
        (cmd::MAP_UPDATE_ELEM, "update"),
    ] {
        let mut a = Attr::new(32);
        let k = key(0);
        a.u32(0, fd(&map) as u32).ptr(8, &k);
        note(name, format!("{:?}", no_fd(b.call(number, a.bytes()))));
    }
    let info = map.info().map_err(|e| e.to_string())?;
    note(
        "info",
        format!(
            "{} {} {} {} {:x}",
            info.ty, info.key_size, info.value_size, info.max_entries, info.flags
        ),
    );
    let mut frozen = fd(&map).to_ne_bytes();
    note(
        "freeze",
        format!("{:?}", b.call(cmd::MAP_FREEZE, &mut frozen)),
    );
    note(
        "update",
        format!("{:?}", map.update(&key(0), &value(&maps[0]), 0)),
    );
    note("delete", format!("{:?}", map.delete(&key(0))));
    note("frozen", format!("{:?}", which(&maps, map.lookup(&key(0)))));
    // How a descriptor may be used.
    for flags in [RDONLY, WRONLY] {
        let map = make(
            b,
            &MapSpec {
                flags,
                inner: Some(fd(&maps[0])),
                ..MapSpec::new(ty, 4, 4, 4)
            },
        )?;
        note(
            "update",
            format!("{:?}", map.update(&key(0), &value(&maps[0]), 0)),
        );
        note("lookup", format!("{:?}", which(&maps, map.lookup(&key(0)))));
        note("next", format!("{:?}", map.next_key(None)));
        note("delete", format!("{:?}", map.delete(&key(0))));
    }
    Ok(out)
}

/// BATCH commands.
fn batches(b: &Bpf, ty: MapType) -> Result<String, String> {
    let maps: Vec<Map> = (0..5)
        .map(|_| make(b, &spec(1, 4, 8, 4, 0)))
        .collect::<Result<_, _>>()?;
    let map = outer(b, ty, &maps[0])?;
    let keys: Vec<u8> = (0..5u32).flat_map(u32::to_ne_bytes).collect();
    let fds: Vec<u8> = maps.iter().flat_map(|m| fd(m).to_ne_bytes()).collect();
    let mut out = String::new();
    let mut batch = |number: u32, count: u32, keys: &[u8], values: &[u8], flags: u64| {
        let at = [0u8; 64];
        let mut a = Attr::new(56);
        a.ptr(8, &at).ptr(16, keys).ptr(24, values);
        a.u32(32, count).u32(36, fd(&map) as u32).u64(40, flags);
        let done = b.call(number, a.bytes());
        let n = a.get_u32(32).min(5);
        let _ = write!(out, "{number} {count} {flags:x}: {done:?} {n}");
        if [cmd::MAP_LOOKUP_BATCH, cmd::MAP_LOOKUP_AND_DELETE_BATCH].contains(&number) {
            let pairs = keys.chunks(4).zip(values.chunks(4)).take(n as usize);
            let mut pairs: Vec<_> = pairs
                .map(|(k, v)| format!("{k:?} {:?}", which(&maps, Ok(v.to_vec()))))
                .collect();
            pairs.sort();
            let _ = write!(out, " {pairs:?}");
        }
        out.push('\n');
    };
    let room = || vec![0xeeu8; 20];
    batch(cmd::MAP_LOOKUP_BATCH, 5, &room(), &room(), 0);
    for flags in [0, 1, 2, 3, 4, 8] {
        batch(cmd::MAP_UPDATE_BATCH, 3, &keys, &fds, flags);
    }
    batch(cmd::MAP_LOOKUP_BATCH, 5, &room(), &room(), 0);
    batch(cmd::MAP_LOOKUP_BATCH, 0, &room(), &room(), 0);
    batch(cmd::MAP_LOOKUP_BATCH, 5, &room(), &room(), 4);
    batch(cmd::MAP_LOOKUP_BATCH, 5, &room(), &room(), 8);
    batch(cmd::MAP_UPDATE_BATCH, 5, &keys, &fds, 0);
    batch(cmd::MAP_UPDATE_BATCH, 2, &keys, &[0xff; 8], 0);
    batch(cmd::MAP_DELETE_BATCH, 1, &keys, &room(), 0);
    batch(cmd::MAP_DELETE_BATCH, 2, &keys, &room(), 0);
    batch(cmd::MAP_LOOKUP_AND_DELETE_BATCH, 5, &room(), &room(), 0);
    batch(cmd::MAP_LOOKUP_BATCH, 5, &room(), &room(), 0);
    Ok(out)
}

/// Maps live while they are in another one, and no longer.
fn lifetime(b: &Bpf, ty: MapType) -> Result<(), String> {
    let before = Objects::settled(b);
    let inner = make(b, &spec(1, 4, 8, 4, 0))?;
    let map = outer(b, ty, &inner)?;
    let put = |m: &Map, k: u32| {
        map.update(&k.to_ne_bytes(), &fd(m).to_ne_bytes(), 0)
            .map_err(|e| format!("put: {e}"))
    };
    put(&inner, 0)?;
    put(&inner, 0)?;
    put(&inner, 1)?;
    let id = inner.info().map_err(|e| e.to_string())?.id;
    inner
        .update(&[7; 4], &[9; 8], 0)
        .map_err(|e| format!("update: {e}"))?;
    drop(inner);
    let again = |what: &str| {
        let mut a = Attr::new(12);
        a.u32(0, id);
        match b.call(cmd::MAP_GET_FD_BY_ID, a.bytes()) {
            Ok(fd) => no_fd(Ok(fd)).map(|_| true).map_err(|e| e.to_string()),
            Err(Errno(libc::ENOENT)) => Ok(false),
            Err(e) => Err(format!("{what}: {e}")),
        }
    };
    if !again("held")? {
        return Err("a map that is in another one is gone".into());
    }
    map.delete(&0u32.to_ne_bytes())
        .map_err(|e| format!("delete: {e}"))?;
    if !again("held once")? {
        return Err("a map that is still in another one is gone".into());
    }
    map.delete(&1u32.to_ne_bytes())
        .map_err(|e| format!("delete: {e}"))?;
    if again("taken out")? {
        return Err("a map that nobody has is still there".into());
    }
    // What is still in it goes with it.
    for k in 0..4 {
        put(&make(b, &spec(1, 4, 8, 4, 0))?, k)?;
    }
    drop(map);
    before.again(b)
}

/// What the programs look for.
const MAGIC: u64 = 0x600d_600d_600d_600d;
/// What a program returns when it found it everywhere.
const GOOD: u32 = 77;
/// What it returns when there was no map.
const NONE: u32 = 2;
/// Looks at one map.
const ROUNDS: i32 = 100;

fn load(bpf: &Bpf, insns: &[Slot]) -> Result<Prog, String> {
    let spec = ProgSpec::new(ProgType::SCHED_CLS, insns);
    bpf.prog_load(&spec).map_err(|e| format!("load: {e}"))
}

/// An inner map, with the number at key 1.
fn magic(bpf: &Bpf) -> Result<Map, String> {
    let map = make(bpf, &spec(1, 4, 8, 4, 0))?;
    map.update(&[1, 0, 0, 0], &MAGIC.to_ne_bytes(), 0)
        .map_err(|e| format!("update: {e}"))?;
    Ok(map)
}

/// A program that finds a map once, and looks for the number in it `ROUNDS` times.
fn looker(bpf: &Bpf, outer: &Map) -> Result<Prog, String> {
    let mut insns = vec![raw(0x62, 10, 0, -4, 1), mov_reg(2, 10), add(2, -4)];
    insns.extend(ld_map(1, outer));
    insns.push(call(1));
    let none = insns.len();
    insns.push(raw(0x15, 0, 0, 0, 0));
    insns.extend([mov_reg(7, 0), mov(6, 0)]);
    insns.extend(ld_imm64(8, MAGIC));
    let start = insns.len() as i16;
    insns.extend([call(5), mov_reg(1, 7), mov_reg(2, 10), add(2, -4), call(1)]);
    let null = insns.len();
    insns.push(raw(0x15, 0, 0, 0, 0));
    insns.push(raw(0x79, 1, 0, 0, 0));
    let other = insns.len();
    insns.push(raw(0x5d, 1, 8, 0, 0));
    insns.push(add(6, 1));
    let back = start - insns.len() as i16 - 1;
    insns.push(raw(0xa5, 6, 0, back, ROUNDS));
    insns.extend([mov(0, GOOD as i32), exit()]);
    let bad = insns.len();
    insns.extend([mov(0, 66), exit()]);
    let end = insns.len();
    insns.extend([mov(0, NONE as i32), exit()]);
    let to = |at: usize, end: usize| (end - at - 1) as i16;
    insns[none] = raw(0x15, 0, 0, to(none, end), 0);
    insns[null] = raw(0x15, 0, 0, to(null, bad), 0);
    insns[other] = raw(0x5d, 1, 8, to(other, bad), 0);
    load(bpf, &insns)
}

/// Maps are replaced and go while programs look into them.
fn storm(bpf: &Bpf, ty: MapType) -> Result<(), String> {
    let before = Objects::settled(bpf);
    let map = outer(bpf, ty, &magic(bpf)?)?;
    let prog = looker(bpf, &map)?;
    let (stop, found, replaced) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let runner = || {
        let input = TestRun {
            data_in: &[0; 64],
            repeat: 4,
            ..TestRun::default()
        };
        while !stop.load(Relaxed) {
            match prog.test_run(&input).map(|r| r.retval) {
                Ok(GOOD) => found.fetch_add(1, Relaxed),
                Ok(NONE) => 0,
                other => return Err(format!("a run: {other:?}")),
            };
        }
        Ok(())
    };
    let replacer = |others: u32| {
        let mut round = 0u32;
        while !stop.load(Relaxed) {
            round = round.wrapping_add(1);
            let put =
                |key: u32, map_fd: i32| map.update(&key.to_ne_bytes(), &map_fd.to_ne_bytes(), 0);
            // The descriptor goes at once, so the outer map has the last reference.
            put(1, fd(&magic(bpf)?)).map_err(|e| format!("put: {e}"))?;
            // Another key, whose element may be the one that just went.
            let _ = put(others, fd(&make(bpf, &spec(1, 4, 8, 4, 0))?));
            let _ = map.delete(&others.to_ne_bytes());
            if round % 4 == 0 {
                let _ = map.delete(&1u32.to_ne_bytes());
            }
            replaced.fetch_add(1, Relaxed);
        }
        Ok(())
    };
    let seconds = seconds();
    let little = || found.load(Relaxed) == 0 || replaced.load(Relaxed) < 3;
    let result = std::thread::scope(|s| {
        let workers = [
            s.spawn(runner),
            s.spawn(runner),
            s.spawn(|| replacer(2)),
            s.spawn(|| replacer(3)),
        ];
        let start = Instant::now();
        // On a slow machine it goes on until something happened.
        let over = || match start.elapsed().as_secs() {
            s if s < seconds => false,
            s => !little() || s > seconds + 60,
        };
        while !over() && !workers.iter().any(|w| w.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Relaxed);
        let mut result = Ok(());
        for worker in workers {
            result = result.and(worker.join().unwrap_or(Err("a thread died".into())));
        }
        result
    });
    let [runs, times] = [&found, &replaced].map(|n| n.load(Relaxed));
    println!("# {runs} runs found a map, {times} times one was replaced");
    result?;
    if little() {
        return Err("too little happened to say anything".into());
    }
    drop((prog, map));
    before.again(bpf)
}

/// What was done, line by line.
type Listing = fn(&Bpf, MapType) -> Result<String, String>;

/// The lines in which two listings differ.
pub fn different(theirs: &str, ours: &str) -> Result<(), String> {
    let mut all = String::new();
    for (t, o) in theirs.lines().zip(ours.lines()) {
        if t != o {
            let _ = writeln!(all, "in-tree: {t}\noxbpf:   {o}");
        }
    }
    if theirs.lines().count() != ours.lines().count() {
        all.push_str("not as many lines\n");
    }
    match all.is_empty() {
        true => Ok(()),
        false => Err(all),
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    for (name, ty) in OUTER {
        let compare = |f: Listing| different(&f(&both.theirs, ty)?, &f(&both.ours, ty)?);
        s.test(&format!("{name}: who fits"), || compare(who_fits));
        s.test(&format!("{name}: creation"), || compare(creations));
        s.test(&format!("{name}: elements"), || compare(elements));
        s.test(&format!("{name}: batches"), || compare(batches));
        s.test(&format!("{name}: lifetime"), || lifetime(&both.ours, ty));
        s.test(&format!("{name}: maps go while programs look"), || {
            storm(&both.ours, ty)
        });
    }
}
