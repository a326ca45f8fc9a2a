// SPDX-License-Identifier: GPL-2.0

//! Helpers that call subprograms back, with the type information that bpf(2) wants of callbacks.

use crate::both::Both;
use crate::btf::blobs::{made, Blob};
use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::attr::Attr;
use oxbpf::cpu::stay;
use oxbpf::{cmd, Bpf, Map, MapSpec, MapType, Slot};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// `BPF_FUNC_for_each_map_elem`
const FOR_EACH: i32 = 164;
/// `BPF_FUNC_map_delete_elem`
const DELETE: i32 = 3;
/// Elements of the maps.
const ENTRIES: u32 = 20;

/// A socket filter of a main function and the callback behind it.
///
/// # Errors
///
/// The command's.
fn load(b: &Bpf, main: &[Slot], callback: &[Slot]) -> Result<OwnedFd, String> {
    let mut blob = Blob::new();
    let int = blob.int();
    let proto = blob.proto(int, &[("ctx", int)]);
    let (main_func, sub_func) = (blob.func("main", 1, proto), blob.func("cb", 0, proto));
    let blob = made(|b| *b = blob);
    let btf = crate::btf::load(b, &blob).map_err(|e| format!("types: {e}"))?;
    let insns = [main, callback].concat();
    let funcs = [0, main_func, main.len() as u32, sub_func];
    let license = *b"GPL\0";
    let mut a = Attr::new(168);
    a.u32(0, 1)
        .u32(4, insns.len() as u32)
        .ptr(8, &insns)
        .ptr(16, &license)
        .u32(72, btf.as_raw_fd() as u32)
        .u32(76, 8)
        .ptr(80, &funcs)
        .u32(88, 2);
    let result = b.call(cmd::PROG_LOAD, a.bytes());
    let fd = result.map_err(|e| format!("load: {e}"))?;
    // SAFETY: the command made `fd` for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The result of so many runs of it.
fn run(b: &Bpf, prog: &OwnedFd, repeat: u32) -> Result<u32, String> {
    let data = [0u8; 64];
    let mut a = Attr::new(80);
    a.u32(0, prog.as_raw_fd() as u32)
        .u32(8, 64)
        .ptr(16, &data)
        .u32(32, repeat);
    let done = b.call(cmd::PROG_TEST_RUN, a.bytes());
    done.map_err(|e| format!("test run: {e}"))?;
    Ok(a.get_u32(4))
}

/// Walks over `map` with a number at `fp-8` for the callback; gives a thousand times what the helper
/// gave and that number.
fn walk(map: &Map, flags: i32) -> Vec<Slot> {
    let mut main = vec![raw(0x7a, 10, 0, -8, 0)];
    main.extend(ld_map(1, map));
    // The callback is behind the next eleven slots.
    main.extend([raw(0x18, 2, 4, 0, 10), [0; 8], mov_reg(3, 10), add(3, -8)]);
    main.extend([mov(4, flags), call(FOR_EACH)]);
    main.extend([raw(0x27, 0, 0, 0, 1000), raw(0x79, 1, 10, -8, 0)]);
    main.extend([raw(0x0f, 0, 1, 0, 0), mov(5, 0), exit()]);
    main
}

/// Adds the product of key and value to the number, and changes the value.
fn sum() -> Vec<Slot> {
    vec![
        raw(0x61, 5, 2, 0, 0), // r5 = key
        raw(0x79, 0, 3, 0, 0), // r0 = value
        raw(0x2f, 5, 0, 0, 0), // r5 *= r0
        raw(0x79, 0, 4, 0, 0),
        raw(0x0f, 0, 5, 0, 0),
        raw(0x7b, 4, 0, 0, 0), // number += r5
        raw(0x7b, 3, 5, 0, 0), // value = r5
        mov(0, 0),
        exit(),
    ]
}

/// Stops at the third.
fn three() -> Vec<Slot> {
    vec![
        raw(0x79, 1, 4, 0, 0),
        raw(0x57, 1, 0, 0, 3), // r1 &= 3, or in-tree would follow all numbers
        add(1, 1),
        raw(0x7b, 4, 1, 0, 0),
        mov(0, 0),
        raw(0xa5, 1, 0, 1, 3), // if r1 < 3 goto +1
        mov(0, 1),
        exit(),
    ]
}

/// Deletes the element.
fn delete() -> Vec<Slot> {
    vec![call(DELETE), mov(0, 0), exit()]
}

/// Deletes the element and puts another in under a key of the upper half.
fn replace(map: &Map) -> Vec<Slot> {
    let mut all = vec![
        raw(0x61, 1, 2, 0, 0),
        raw(0x47, 1, 0, 0, 1 << 20), // r1 |= 1 << 20
        raw(0x63, 10, 1, -4, 0),
        raw(0x7a, 10, 0, -16, 1),
    ];
    all.extend(ld_map(1, map));
    all.push(call(DELETE));
    all.extend(ld_map(1, map));
    all.extend([mov_reg(2, 10), add(2, -4), mov_reg(3, 10), add(3, -16)]);
    all.extend([mov(4, 0), call(2), mov(0, 0), exit()]);
    all
}

fn filled(b: &Bpf, ty: MapType, filled: u32) -> Result<Map, String> {
    let spec = MapSpec::new(ty, 4, 8, ENTRIES);
    let map = b.map_create(&spec).map_err(|e| format!("map: {e}"))?;
    let cpus = match ty.0 {
        5 | 6 | 10 => possible_cpus(),
        _ => 1,
    };
    for k in 0..filled {
        let value = u64::from(k + 3).to_ne_bytes().repeat(cpus);
        map.update(&k.to_ne_bytes(), &value, 0)
            .map_err(|e| format!("fill: {e}"))?;
    }
    Ok(map)
}

fn possible_cpus() -> usize {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit(['-', ',']).next().unwrap_or("0");
    last.parse::<usize>().unwrap_or(0) + 1
}

/// All keys, in order.
fn keys(map: &Map) -> Vec<u32> {
    let (mut all, mut key) = (Vec::new(), None::<Vec<u8>>);
    while let Ok(next) = map.next_key(key.as_deref()) {
        all.push(u32::from_ne_bytes(next[..].try_into().unwrap()));
        key = Some(next);
    }
    all.sort();
    all
}

/// Every element is met exactly once while others come and go.
fn under_churn(b: &Bpf, ty: MapType) -> Result<(), String> {
    const STABLE: u32 = 10;
    let map = filled(b, ty, STABLE)?;
    // Counts the stable ones.
    let stable = vec![
        raw(0x61, 1, 2, 0, 0),
        mov(0, 0),
        raw(0x35, 1, 0, 3, STABLE as i32), // if r1 >= STABLE goto +3
        raw(0x79, 5, 4, 0, 0),
        add(5, 1),
        raw(0x7b, 4, 5, 0, 0),
        exit(),
    ];
    let prog = load(b, &walk(&map, 0), &stable)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut k = STABLE;
            while !done.load(Relaxed) {
                let key = k.to_ne_bytes();
                let _ = map.update(&key, &[1; 8], 0);
                let _ = map.delete(&(k - 3).max(STABLE).to_ne_bytes());
                k = STABLE.max((k + 1) % 1000);
            }
        });
        let mut all = Ok(());
        for _ in 0..2000 {
            let got = run(b, &prog, 1)?;
            let (met, counted) = (got / 1000, got % 1000);
            if counted != STABLE || !(STABLE..=ENTRIES).contains(&met) {
                all = Err(format!("met {met}, of those that stay {counted}"));
                break;
            }
        }
        done.store(true, Relaxed);
        all
    })
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    for ty in [1, 2, 5, 6, 9, 10].map(MapType) {
        let name = |what: &str| format!("for_each, map type {}: {what}", ty.0);
        let whole = if matches!(ty.0, 2 | 6) { ENTRIES } else { 15 };
        let mut same = |what: &str, fill, flags, callback: &dyn Fn(&Map) -> Vec<Slot>| {
            s.test(&name(what), || {
                // The second run sees the values that the first left: those of one CPU.
                let _stay = stay()?;
                both.same(|b| {
                    let map = filled(b, ty, fill)?;
                    let prog = load(b, &walk(&map, flags), &callback(&map))?;
                    let first = run(b, &prog, 1)?;
                    let second = run(b, &prog, 1)?;
                    Ok::<_, String>((first, second, keys(&map)))
                })?
                .map(drop)
            });
        };
        same("all", whole, 0, &|_| sum());
        same("stopped", whole, 0, &|_| three());
        same("flags", whole, 1, &|_| sum());
        same("deleting", whole, 0, &|_| delete());
        if matches!(ty.0, 1 | 5 | 9 | 10) {
            same("empty", 0, 0, &|_| sum());
        }
    }
    s.test("for_each: others come while it walks", || {
        // How many are met depends on where they come, but each walk ends, and none is lost.
        for b in [&both.ours, &both.theirs] {
            let map = filled(b, MapType(1), 15)?;
            let prog = load(b, &walk(&map, 0), &replace(&map))?;
            let got = run(b, &prog, 1)? / 1000;
            if !(15..=2 * ENTRIES).contains(&got) || keys(&map).len() != 15 {
                return Err(format!("met {got}, left {:?}", keys(&map)));
            }
        }
        Ok(())
    });
    s.test("for_each: a map that changes meanwhile", || {
        under_churn(&both.ours, MapType(1))
    });
}
