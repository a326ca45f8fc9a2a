// SPDX-License-Identifier: GPL-2.0

//! Random programs, run natively and by the reference. `JIT_ROUNDS` and `JIT_SEED` choose how many
//! and which.

mod common;
mod generate;

use common::*;
use generate::*;
use oxbpf_core::abi::MapType;
use oxbpf_core::jit::{ArrayTarget, MapTarget};
use oxbpf_core::map::{Map, MapSpec};
use oxbpf_jit_run::exec::CPU;
use oxbpf_jit_run::reference;
use oxbpf_jit_run::rng::Rng;

extern "C" fn mix(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    // Something that needs the vector registers, and so an aligned stack.
    let v: [f64; 4] = [
        a as u32 as f64,
        b as u32 as f64,
        c as u32 as f64,
        d as u32 as f64,
    ];
    let s = std::hint::black_box(v).iter().sum::<f64>();
    a ^ b.rotate_left(8) ^ c.rotate_left(16) ^ d.rotate_left(24) ^ e.rotate_left(32) ^ s as u64
}

extern "C" fn sum(a: u64, b: u64, _: u64, _: u64, _: u64) -> u64 {
    a.wrapping_add(b)
}

/// Hash maps with keys below [`KEYS`]; some so full that there are entries beyond the slots.
fn hash_maps() -> Vec<Map> {
    let make = |(ty, key_size, max_entries)| {
        let spec = MapSpec {
            ty,
            key_size,
            value_size: VALUE as u32,
            max_entries,
            flags: 0,
            numa_node: 0,
            extra: 0,
            name: [0; 16],
            lock: None,
        };
        let map = Map::new(&spec).unwrap();
        for key in (0..KEYS).filter(|k| k % 4 != 3).take(max_entries as usize) {
            let bytes = key.to_ne_bytes();
            let value: Vec<u8> = (0..map.user_value_size(0))
                .map(|i| (i as u64 * 7 + key) as u8)
                .collect();
            map.update(&bytes[..key_size as usize], &value, 0).unwrap();
        }
        map
    };
    [
        (MapType::Hash, 8, 5),
        (MapType::Hash, 4, 100),
        (MapType::Hash, 8, 18),
        (MapType::LruHash, 8, 20),
        (MapType::PercpuHash, 4, 20),
        (MapType::LruPercpuHash, 8, 24),
    ]
    .map(make)
    .into()
}

#[test]
fn random_programs() {
    let rounds: u64 = std::env::var("JIT_ROUNDS").map_or(6000, |v| v.parse().unwrap());
    let seed: u64 = std::env::var("JIT_SEED").map_or(0, |v| v.parse().unwrap());
    let mut runs = 0;
    let mut values = vec![0x0123_4567_89ab_cdefu64; 80];
    let mut map = |i: u64, stride, max_entries| MapTarget {
        addr: 0x7000 + i,
        value: None,
        array: Some(ArrayTarget {
            base: values[i as usize * 20..].as_mut_ptr() as u64,
            stride,
            max_entries,
        }),
        per_cpu: None,
        hash: None,
    };
    let mut maps = [map(0, 8, 6), map(1, 16, 5), map(2, 24, 5), map(3, 16, 1)];
    // The last has a value for each CPU.
    let mut table = vec![0u64; CPU as usize + 1];
    table[CPU as usize] = values[40..].as_mut_ptr() as u64;
    maps[3].array = None;
    maps[3].per_cpu = Some(ArrayTarget {
        base: table.as_ptr() as u64,
        stride: 16,
        max_entries: 5,
    });
    let hashes = hash_maps();
    let mut maps = maps.to_vec();
    maps.extend(hashes.iter().filter_map(reference::hash_target));
    assert_eq!(maps.len(), 10);
    for round in 0..rounds {
        let mut rng = Rng::new(1000 + seed * 1_000_000 + round);
        let c = random_code(&mut rng, &[], true);
        let mut inputs = Vec::new();
        for _ in 0..6 {
            let mut ctx = with_registers(&[], &mut rng);
            for slot in &mut ctx {
                *slot = rng.value();
            }
            inputs.push(ctx);
        }
        runs += compare(&c, &[mix, sum], &maps, &inputs);
    }
    println!("{runs} runs");
}
