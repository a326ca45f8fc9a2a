// SPDX-License-Identifier: GPL-2.0

//! Times map operations on the host: nanoseconds each, least of several runs.

use oxbpf_core::abi::MapType;
use oxbpf_core::map::{Map, MapSpec};
use std::hint::black_box;
use std::time::Instant;

const RUNS: u32 = 7;

fn time(name: &str, n: u32, mut f: impl FnMut(u32)) {
    let best = (0..RUNS)
        .map(|_| {
            let t = Instant::now();
            for i in 0..n {
                f(i);
            }
            t.elapsed().as_secs_f64() * 1e9 / f64::from(n)
        })
        .fold(f64::MAX, f64::min);
    println!("{name:44} {best:8.1} ns");
}

fn map(ty: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Map {
    let spec = MapSpec {
        ty,
        key_size,
        value_size,
        max_entries,
        flags: 0,
        numa_node: 0,
        extra: 0,
        name: [0; 16],
    };
    match Map::new(&spec) {
        Ok(m) => m,
        Err(e) => panic!("no map: {e:?}"),
    }
}

fn key(k: u32, size: u32) -> Vec<u8> {
    let mut v = k.wrapping_mul(0x9e37_79b1).to_ne_bytes().to_vec();
    v.resize(size as usize, 7);
    v
}

fn main() {
    let n = 2_000_000;
    for (entries, key_size) in [
        (256, 8),
        (10_000, 4),
        (10_000, 8),
        (10_000, 64),
        (1_000_000, 8),
    ] {
        let m = map(MapType::Hash, key_size, 8, entries);
        let keys: Vec<Vec<u8>> = (0..entries).map(|k| key(k, key_size)).collect();
        let misses: Vec<Vec<u8>> = (entries..entries * 2).map(|k| key(k, key_size)).collect();
        let value = [1; 8];
        for k in &keys {
            let _ = m.update(k, &value, 0);
        }
        // A fixed stride through the keys, which is no order of theirs.
        let at = |i: u32| (i.wrapping_mul(7919) % entries) as usize;
        let row = format!("hash {entries} entries, key {key_size}:");
        time(&format!("{row} loop only"), n, |i| {
            black_box(&keys[at(i)]);
        });
        time(&format!("{row} hit"), n, |i| {
            black_box(m.lookup_addr(&keys[at(i)]));
        });
        time(&format!("{row} miss"), n, |i| {
            black_box(m.lookup_addr(&misses[at(i)]));
        });
        time(&format!("{row} update existing"), n, |i| {
            let _ = black_box(m.update(&keys[at(i)], &value, 0));
        });
        time(&format!("{row} delete and insert"), n, |i| {
            let k = &keys[at(i)];
            let _ = black_box(m.delete(k));
            let _ = black_box(m.update(k, &value, 0));
        });
    }
    let m = map(MapType::Array, 4, 8, 1024);
    time("array: hit", n, |i| {
        black_box(m.lookup_addr(&(i % 1024).to_ne_bytes()));
    });
}
