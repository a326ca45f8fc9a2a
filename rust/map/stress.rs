// SPDX-License-Identifier: GPL-2.0

//! For tests: one map used by many threads at once.

use super::model::{spec, Rng};
use super::*;
use core::sync::atomic::AtomicBool;
use std::thread;

const STABLE: u64 = 20;
const ALL: u64 = 40;
const WORDS: usize = 4;

/// How often a writer writes.
fn rounds() -> u32 {
    let n = std::env::var("OXBPF_STRESS").ok();
    n.and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

/// A key of `size` bytes whose words all are `k`, more or less.
fn key(k: u64, size: u32) -> Vec<u8> {
    (0..size.div_ceil(8))
        .flat_map(|w| (k ^ (u64::from(w) << 40)).to_ne_bytes())
        .take(size as usize)
        .collect()
}

/// A value that says whose it is and which update wrote it.
fn value(k: u64, round: u32) -> Vec<u8> {
    ((k << 32) | u64::from(round)).to_ne_bytes().repeat(WORDS)
}

/// The value is one update's.
fn check(k: u64, got: &[u8]) {
    let mut words = got
        .chunks(8)
        .map(|c| u64::from_ne_bytes(c.try_into().unwrap()));
    let first = words.next().unwrap();
    assert_eq!(first >> 32, k);
    assert!(words.all(|w| w == first));
}

/// Two threads change everything all the time, OXBPF_STRESS times; keys below `STABLE` are always there, keys from
/// `ALL` on never, and readers see just that.
fn churn(map: &Map) {
    let rounds = rounds();
    let size = map.spec().key_size;
    for k in 0..STABLE {
        map.update(&key(k, size), &value(k, 0), 0).unwrap();
    }
    let done = AtomicBool::new(false);
    thread::scope(|s| {
        let reader = |seed| {
            let mut rng = Rng::new(seed);
            let mut out = [0; 8 * WORDS];
            let mut next = vec![0; size as usize];
            let mut walk: Option<Vec<u8>> = None;
            while !done.load(Relaxed) {
                let k = rng.below(STABLE);
                assert!(map.lookup_addr(&key(k, size)).is_some(), "{k} is missed");
                map.lookup(&key(k, size), &mut out, 0).unwrap();
                check(k, &out);
                let k = STABLE + rng.below(ALL - STABLE);
                if map.lookup(&key(k, size), &mut out, 0).is_ok() {
                    check(k, &out);
                }
                let k = ALL + rng.below(1000);
                assert!(map.lookup_addr(&key(k, size)).is_none(), "{k} is invented");
                walk = map
                    .next_key(walk.as_deref(), &mut next)
                    .ok()
                    .map(|()| next.clone());
                assert!(walk.is_none() || (0..ALL).any(|k| key(k, size) == next));
            }
        };
        s.spawn(move || reader(1));
        s.spawn(move || reader(2));
        let writers: Vec<_> = (0..2u64)
            .map(|w| {
                s.spawn(move || {
                    let mut rng = Rng::new(w + 10);
                    for round in 0..rounds {
                        let k = rng.below(STABLE);
                        map.update(&key(k, size), &value(k, round), 0).unwrap();
                        let k = STABLE + 2 * rng.below((ALL - STABLE) / 2) + w;
                        match rng.below(2) {
                            0 => {
                                map.update(&key(k, size), &value(k, round), 0).unwrap();
                                map.lookup_addr(&key(k, size)).unwrap();
                            }
                            _ => {
                                let _ = map.delete(&key(k, size));
                                assert!(map.lookup_addr(&key(k, size)).is_none());
                            }
                        }
                    }
                })
            })
            .collect();
        for w in writers {
            w.join().unwrap();
        }
        done.store(true, Relaxed);
    });
}

fn hash_spec(key_size: u32) -> MapSpec {
    spec(MapType::Hash, key_size, 8 * WORDS as u32, ALL as u32)
}

#[test]
fn hash_under_churn() {
    for key_size in [8, 24] {
        churn(&Map::new(&hash_spec(key_size)).unwrap());
    }
}

#[test]
fn hash_of_one_bucket_under_churn() {
    for key_size in [8, 24] {
        let spec = hash_spec(key_size);
        let kind = Kind::Hash(hash::Plain::with_buckets(&spec, 1).unwrap());
        churn(&Map {
            kind,
            spec,
            frozen: AtomicBool::new(false),
        });
    }
}

#[test]
fn full_maps_stay_exactly_full() {
    let map = Map::new(&spec(MapType::Hash, 8, 8, 16)).unwrap();
    thread::scope(|s| {
        for t in 0..4u64 {
            let map = &map;
            s.spawn(move || {
                let mut mine = 0;
                for i in 0..20_000u64 {
                    let k = ((t << 32) | (i % 8)).to_ne_bytes();
                    match map.update(&k, &k, 1) {
                        Ok(()) => mine += 1,
                        Err(e) if e == EEXIST => {
                            map.delete(&k).unwrap();
                            mine -= 1;
                        }
                        Err(e) => assert_eq!(e, E2BIG),
                    }
                    assert!(mine <= 8);
                }
            });
        }
    });
    let mut n = 0;
    let mut out = [0; 8];
    while map.next_key(None, &mut out).is_ok() {
        map.delete(&out).unwrap();
        n += 1;
    }
    assert!(n <= 16);
    for k in 0..16u64 {
        map.update(&k.to_ne_bytes(), &out, 1).unwrap();
    }
    assert_eq!(map.update(&[255; 8], &out, 0), Err(E2BIG));
    map.update(&[0; 8], &out, 2).unwrap();
}

/// The values are of key `k`, if not of one update: those of CPUs change in place.
fn whose(k: u64, got: &[u8]) {
    let mut words = got
        .chunks(8)
        .map(|c| u64::from_ne_bytes(c.try_into().unwrap()));
    assert!(words.all(|w| w >> 32 == k));
}

#[test]
fn lru_maps_lose_entries_but_nothing_else() {
    for (ty, key_size) in [
        (MapType::LruHash, 8),
        (MapType::LruHash, 24),
        (MapType::LruPercpuHash, 8),
    ] {
        let map = Map::new(&spec(ty, key_size, 8 * WORDS as u32, 50)).unwrap();
        let flags = if ty.is_percpu() { F_ALL_CPUS } else { 0 };
        thread::scope(|s| {
            for t in 0..4 {
                let map = &map;
                s.spawn(move || {
                    let mut rng = Rng::new(t);
                    let mut out = vec![0; map.user_value_size(0)];
                    for round in 0..10_000 {
                        let k = rng.below(200);
                        match rng.below(4) {
                            0 => drop(map.delete(&key(k, key_size))),
                            1 => drop(map.lookup_addr(&key(k, key_size))),
                            2 if map.lookup(&key(k, key_size), &mut out, 0).is_ok() => {
                                whose(k, &out);
                            }
                            _ => {
                                let v = value(k, round);
                                map.update(&key(k, key_size), &v, flags).unwrap();
                            }
                        }
                    }
                });
            }
        });
        for k in 1000..1050 {
            map.update(&key(k, key_size), &value(k, 0), flags).unwrap();
        }
        let mut next = vec![0; key_size as usize];
        let mut n = 0;
        while map.next_key(None, &mut next).is_ok() {
            map.delete(&next).unwrap();
            n += 1;
        }
        assert_eq!(n, 50);
    }
}

#[test]
fn tries_keep_short_prefixes_under_longer_ones() {
    let mut sp = spec(MapType::LpmTrie, 8, 8 * WORDS as u32, 200);
    sp.flags = super::spec::NO_PREALLOC;
    let map = Map::new(&sp).unwrap();
    let key = |bits: u32, data: u32| [bits.to_ne_bytes(), data.to_be_bytes()].concat();
    // Prefixes of eight bits are always there, though they change; longer ones come and go.
    for k in 0..4u32 {
        map.update(&key(8, k << 24), &value(8, 0), 0).unwrap();
    }
    let done = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            let mut rng = Rng::new(3);
            let mut out = [0; 8 * WORDS];
            while !done.load(Relaxed) {
                let data = ((rng.below(4) << 24) | rng.below(1 << 10)) as u32;
                assert!(map.lookup_addr(&key(32, data)).is_some());
                map.lookup(&key(32, data), &mut out, 0).unwrap();
                let bits = u64::from_ne_bytes(out[..8].try_into().unwrap()) >> 32;
                assert!((8..=32).contains(&bits));
                check(bits, &out);
                map.lookup(&key(8, data), &mut out, 0).unwrap();
                check(8, &out);
            }
        });
        let writers: Vec<_> = (0..2)
            .map(|w| {
                let map = &map;
                s.spawn(move || {
                    let mut rng = Rng::new(w);
                    for round in 0..rounds() {
                        let data = ((rng.below(4) << 24) | rng.below(1 << 10)) as u32;
                        let bits = 22 + rng.below(11) as u32;
                        match rng.below(3) {
                            0 => drop(map.delete(&key(bits, data))),
                            1 => map.update(&key(8, data), &value(8, round), 2).unwrap(),
                            _ => {
                                let err = map
                                    .update(&key(bits, data), &value(bits.into(), round), 0)
                                    .err();
                                assert!(err.is_none_or(|e| e == ENOSPC));
                            }
                        }
                    }
                })
            })
            .collect();
        for w in writers {
            w.join().unwrap();
        }
        done.store(true, Relaxed);
    });
}
