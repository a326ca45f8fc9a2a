// SPDX-License-Identifier: GPL-2.0

//! Tests of maps from the outside.

mod tables;

use super::model::{spec, Model, Rng};
use super::*;
use kernel::alloc::fail;
use std::collections::{BTreeMap, VecDeque};

#[test]
fn hash_is_its_model() {
    for (i, key_size) in [1, 2, 4, 7, 8, 9, 12, 16, 20, 64, 100]
        .into_iter()
        .enumerate()
    {
        for (value_size, entries) in [(8, 1), (1, 2), (12, 5), (64, 16), (3, 100)] {
            let s = spec(MapType::Hash, key_size, value_size, entries);
            Model::new(Map::new(&s).unwrap(), i as u64).run(2_000);
        }
    }
}

#[test]
fn array_is_its_model() {
    for (value_size, entries) in [(1, 1), (8, 2), (12, 5), (64, 100)] {
        let s = spec(MapType::Array, 4, value_size, entries);
        Model::new(Map::new(&s).unwrap(), entries.into()).run(2_000);
    }
}

#[test]
fn making_fails_cleanly_wherever_memory_ends() {
    for s in good().chain(tables::good()) {
        let mut points = 0;
        loop {
            fail::after(Some(points));
            let made = Map::new(&s);
            fail::after(None);
            match made {
                Ok(_) => break,
                Err(e) => assert_eq!(e, ENOMEM),
            }
            points += 1;
        }
        assert!(points >= 1);
    }
}

#[test]
fn too_large_is_no_overflow() {
    let huge = [
        (u32::MAX, 8),
        (u32::MAX, i32::MAX as u32),
        (1 << 31, 1 << 30),
    ];
    for (entries, value_size) in huge {
        let s = spec(MapType::Array, 4, value_size, entries);
        s.check(|| true).unwrap();
        if u64::from(entries) * u64::from(value_size) > 1 << 46 {
            assert_eq!(Map::new(&s).err(), Some(ENOMEM));
        }
    }
    let s = spec(MapType::Hash, 4, 8, u32::MAX);
    s.check(|| true).unwrap();
    assert_eq!(Map::new(&s).err(), Some(E2BIG));
}

#[test]
fn sizes_of_keys_and_values_are_checked() {
    let map = Map::new(&spec(MapType::Hash, 8, 8, 2)).unwrap();
    let mut out = [0; 8];
    assert_eq!(map.update(&[0; 4], &[0; 8], 0), Err(EINVAL));
    assert_eq!(map.update(&[0; 8], &[0; 9], 0), Err(EINVAL));
    assert_eq!(map.lookup(&[0; 4], &mut out, 0), Err(EINVAL));
    assert_eq!(map.lookup(&[0; 8], &mut out[..4], 0), Err(EINVAL));
    assert_eq!(map.delete(&[0; 16]), Err(EINVAL));
    assert_eq!(map.next_key(None, &mut out[..4]), Err(EINVAL));
    assert_eq!(map.next_key(Some(&[0; 4]), &mut out), Err(EINVAL));
    assert_eq!(map.lookup_addr(&[0; 4]), None);
}

#[test]
fn arrays_tell_where_their_values_are() {
    let map = Map::new(&spec(MapType::Array, 4, 12, 3)).unwrap();
    let layout = map.array_layout().unwrap();
    assert_eq!((layout.stride, layout.entries), (16, 3));
    for i in 0..3u32 {
        let addr = layout.base + (i * layout.stride) as usize;
        assert_eq!(map.lookup_addr(&i.to_ne_bytes()), Some(addr));
    }
    assert_eq!(map.lookup_addr(&3u32.to_ne_bytes()), None);
    assert_eq!(map.value_addr(0), Err(ENOTSUPP));
    let one = Map::new(&spec(MapType::Array, 4, 12, 1)).unwrap();
    let base = one.array_layout().unwrap().base;
    assert!(one.facts().direct_value);
    assert_eq!(one.value_addr(11), Ok(base + 11));
    assert_eq!(one.value_addr(12), Err(EINVAL));
}

#[test]
fn a_map_freezes_once() {
    let mut s = spec(MapType::Array, 4, 12, 1);
    s.flags = RDONLY_PROG;
    let map = Map::new(&s).unwrap();
    assert!(!map.facts().frozen);
    assert!(map.freeze());
    assert!(!map.freeze());
    assert!(map.facts().frozen);
}

/// A hash of one bucket, where nearly everything is chained.
fn one_bucket(ty: MapType, key_size: u32) -> Map {
    let s = spec(ty, key_size, 8, 60);
    let kind = match ty {
        MapType::PercpuHash => Kind::PercpuHash(hash::Percpu::with_buckets(&s, 1).unwrap()),
        MapType::LruHash => Kind::LruHash(hash::Lru::with_buckets(&s, 1).unwrap()),
        _ => Kind::Hash(hash::Plain::with_buckets(&s, 1).unwrap()),
    };
    let frozen = AtomicBool::new(false);
    Map {
        kind,
        spec: s,
        frozen,
    }
}

#[test]
fn hash_with_one_bucket_is_its_model() {
    for (i, key_size) in [4, 8, 16].into_iter().enumerate() {
        Model::new(one_bucket(MapType::Hash, key_size), i as u64).run(10_000);
        Model::new(one_bucket(MapType::PercpuHash, key_size), i as u64).run(3_000);
    }
}

#[test]
fn maps_with_values_for_each_cpu_are_their_model() {
    for (value_size, entries) in [(1, 1), (8, 2), (12, 5), (64, 100)] {
        let s = spec(MapType::PercpuArray, 4, value_size, entries);
        Model::new(Map::new(&s).unwrap(), entries.into()).run(2_000);
        for key_size in [4, 8, 20] {
            let s = spec(MapType::PercpuHash, key_size, value_size, entries);
            Model::new(Map::new(&s).unwrap(), entries.into()).run(2_000);
        }
    }
}

#[test]
fn programs_see_their_own_cpu() {
    for ty in [
        MapType::PercpuArray,
        MapType::PercpuHash,
        MapType::LruPercpuHash,
    ] {
        let map = Map::new(&spec(ty, 4, 12, 3)).unwrap();
        map.update(&[1, 0, 0, 0], &[7; 12], F_ALL_CPUS).unwrap();
        let addrs: Vec<usize> = (0..cpus::ids())
            .map(|c| {
                cpus::set_current(c);
                map.lookup_addr(&[1, 0, 0, 0]).unwrap()
            })
            .collect();
        for (i, a) in addrs.iter().enumerate() {
            assert_eq!(a % 8, 0);
            assert!(addrs[..i].iter().all(|b| a.abs_diff(*b) >= 12));
        }
        assert_eq!(map.lookup_addr(&[9, 0, 0, 0]), None);
    }
}

#[test]
fn flags_of_user_space_are_checked() {
    let plain = Map::new(&spec(MapType::Hash, 4, 8, 3)).unwrap();
    let percpu = Map::new(&spec(MapType::PercpuHash, 4, 8, 3)).unwrap();
    let bad_cpu = F_CPU | ((cpus::ids() as u64) << 32);
    for (flags, on_plain, on_percpu) in [
        (0, Ok(()), Ok(())),
        (3, Ok(()), Ok(())),
        (F_LOCK, Err(EINVAL), Err(EINVAL)),
        (F_CPU, Err(EINVAL), Ok(())),
        (F_ALL_CPUS, Err(EINVAL), Ok(())),
        (F_CPU | F_ALL_CPUS, Err(EINVAL), Err(EINVAL)),
        (1 << 32, Err(EINVAL), Err(EINVAL)),
        (F_CPU | (1 << 32), Err(EINVAL), Ok(())),
        (bad_cpu, Err(EINVAL), Err(ERANGE)),
    ] {
        assert_eq!(plain.check_flags(flags, u64::MAX), on_plain, "{flags:#x}");
        assert_eq!(percpu.check_flags(flags, u64::MAX), on_percpu, "{flags:#x}");
    }
    assert_eq!(percpu.check_flags(1, F_LOCK | F_CPU), Err(EINVAL));
    assert_eq!(percpu.check_flags(F_ALL_CPUS, F_LOCK | F_CPU), Err(EINVAL));
}

#[test]
fn programs_asking_for_a_spin_lock_get_what_in_tree_gives() {
    let hash = Map::new(&spec(MapType::Hash, 4, 8, 3)).unwrap();
    let array = Map::new(&spec(MapType::Array, 4, 8, 3)).unwrap();
    let update = |m: &Map, k: u32, flags| {
        m.prog_update_quick(k.to_ne_bytes()[..].into(), [0u8; 8][..].into(), flags)
    };
    assert_eq!(update(&hash, 0, F_LOCK | 1), Err(EINVAL));
    assert_eq!(update(&array, 0, F_LOCK), Err(EINVAL));
    assert_eq!(update(&array, 0, F_LOCK | 1), Err(EEXIST));
    assert_eq!(update(&array, 3, F_LOCK), Err(E2BIG));
    assert_eq!(update(&array, 3, F_LOCK | 3), Err(EINVAL));
}

#[test]
fn lru_keeps_what_is_used() {
    let maps = [
        (MapType::LruHash, 8),
        (MapType::LruPercpuHash, 8),
        (MapType::LruHash, 20),
    ];
    for (ty, key_size) in maps {
        let map = Map::new(&spec(ty, key_size, 8, 100)).unwrap();
        let size = map.user_value_size(0);
        let key = |k: u32| k.to_ne_bytes().repeat(5)[..key_size as usize].to_vec();
        for k in 0..100 {
            map.update(&key(k), &vec![k as u8; size], 1).unwrap();
        }
        let mut out = vec![0; size];
        for k in 100..10_000 {
            for used in 0..30 {
                assert!(map.lookup_addr(&key(used)).is_some(), "{used} went for {k}");
            }
            map.update(&key(k), &vec![k as u8; size], 0).unwrap();
            map.lookup(&key(k), &mut out, 0).unwrap();
            assert_eq!(out, vec![k as u8; size]);
            assert_eq!(map.update(&key(k), &out, 1), Err(EEXIST));
        }
        let there = (0..10_000).filter(|k| map.lookup(&key(*k), &mut out, 0).is_ok());
        assert_eq!(there.count(), 100);
        assert_eq!(map.update(&key(1 << 30), &out, 2), Err(ENOENT));
    }
}

#[test]
fn lru_below_its_size_is_a_hash() {
    for key_size in [4, 8, 20] {
        for ty in [MapType::LruHash, MapType::LruPercpuHash] {
            let mut model = Model::new(Map::new(&spec(ty, key_size, 8, 500)).unwrap(), 1);
            model.use_keys(400);
            model.run(3_000);
        }
        let mut model = Model::new(one_bucket(MapType::LruHash, key_size), 2);
        model.use_keys(50);
        model.run(3_000);
    }
}

#[test]
fn lru_of_used_entries_still_takes_new_ones() {
    for map in [
        Map::new(&spec(MapType::LruHash, 8, 8, 1000)).unwrap(),
        one_bucket(MapType::LruHash, 8),
    ] {
        for k in 0..5000u64 {
            map.update(&k.to_ne_bytes(), &k.to_ne_bytes(), 1).unwrap();
            assert!(map.lookup_addr(&k.to_ne_bytes()).is_some());
        }
    }
}

#[test]
fn queues_and_stacks_are_their_model() {
    for ty in [MapType::Queue, MapType::Stack] {
        for (value_size, entries) in [(4, 1), (8, 3), (20, 10)] {
            let map = Map::new(&spec(ty, 0, value_size, entries)).unwrap();
            let mut rng = Rng::new(entries.into());
            let mut is = VecDeque::new();
            for _ in 0..5_000 {
                let mut out = vec![9; value_size as usize];
                let v = rng.bytes(value_size as usize);
                let full = is.len() == entries as usize;
                match rng.below(6) {
                    0 | 1 => {
                        let want = if full { Err(E2BIG) } else { Ok(()) };
                        assert_eq!(map.update(&[], &v, 0), want);
                        if !full {
                            is.push_back(v);
                        }
                    }
                    2 => {
                        assert_eq!(map.update(&[], &v, 2), Ok(()));
                        if full {
                            is.pop_front();
                        }
                        is.push_back(v);
                    }
                    3 => {
                        assert_eq!(map.update(&[], &v, 1), Err(EINVAL));
                        let next = match ty {
                            MapType::Queue => is.front(),
                            _ => is.back(),
                        };
                        let got = map.lookup(&[], &mut out, 0).map(|()| &out);
                        assert_eq!(got, next.ok_or(ENOENT));
                        let mut room = vec![9; value_size as usize];
                        let peeked = map.peek((&mut room[..]).into());
                        assert_eq!(peeked.map(|()| &room), next.ok_or(ENOENT));
                        if peeked.is_err() {
                            assert!(room.iter().all(|b| *b == 0));
                        }
                    }
                    4 => {
                        let next = match ty {
                            MapType::Queue => is.pop_front(),
                            _ => is.pop_back(),
                        };
                        let got = map.pop((&mut out[..]).into()).map(|()| out);
                        assert_eq!(got, next.ok_or(ENOENT));
                    }
                    _ => {
                        let next = match ty {
                            MapType::Queue => is.pop_front(),
                            _ => is.pop_back(),
                        };
                        let got = map.lookup_and_delete(&[], &mut out, 0).map(|()| out);
                        assert_eq!(got, next.ok_or(ENOENT));
                    }
                }
            }
            assert_eq!(map.delete(&[]), Err(EINVAL));
            assert_eq!(map.next_key(None, &mut []), Err(EINVAL));
            assert_eq!(map.lookup_addr(&[]), None);
        }
    }
}

/// All types that can be made, with a description that can be.
fn good() -> impl Iterator<Item = MapSpec> {
    MapType::ALL.into_iter().filter_map(|ty| match ty {
        // Its elements have operations of their own.
        MapType::ProgArray
        | MapType::PerfEventArray
        | MapType::StackTrace
        | MapType::CgroupArray
        | MapType::ArrayOfMaps
        | MapType::HashOfMaps => None,
        MapType::Ringbuf => Some(spec(ty, 0, 0, 4096)),
        MapType::Queue | MapType::Stack | MapType::BloomFilter => Some(spec(ty, 0, 8, 10)),
        MapType::LpmTrie => {
            let mut s = spec(ty, 8, 8, 10);
            s.flags = super::spec::NO_PREALLOC;
            Some(s)
        }
        _ => Some(spec(ty, 4, 8, 10)),
    })
}

#[test]
fn descriptions_are_checked_as_in_tree() {
    use super::spec::*;
    let check = |s: MapSpec| match s.check(|| false) {
        Ok(()) => Map::new(&s).map(drop),
        Err(e) => Err(e),
    };
    let trie = |f: &dyn Fn(&mut MapSpec)| {
        let mut s = good().find(|s| s.ty == MapType::LpmTrie).unwrap();
        f(&mut s);
        check(s)
    };
    assert_eq!(trie(&|s| s.flags = 0), Err(EINVAL));
    for key_size in [0, 4, 261] {
        assert_eq!(trie(&|s| s.key_size = key_size), Err(EINVAL));
    }
    assert_eq!(trie(&|s| s.key_size = 260), Ok(()));
    assert_eq!(trie(&|s| s.value_size = 4 << 20), Err(EINVAL));
    assert_eq!(trie(&|s| s.max_entries = 0), Err(EINVAL));
    let ring = |f: &dyn Fn(&mut MapSpec)| {
        let mut s = good().find(|s| s.ty == MapType::Ringbuf).unwrap();
        f(&mut s);
        check(s)
    };
    for (size, want) in [
        (0, false),
        (2048, false),
        (4096, true),
        (12288, false),
        (1 << 20, true),
    ] {
        assert_eq!(ring(&|s| s.max_entries = size).is_ok(), want);
    }
    assert_eq!(ring(&|s| s.key_size = 4), Err(EINVAL));
    assert_eq!(ring(&|s| s.value_size = 4), Err(EINVAL));
    assert_eq!(ring(&|s| s.flags = RB_OVERWRITE), Ok(()));
    assert_eq!(ring(&|s| s.flags = RDONLY), Err(EINVAL));
    let special = [MapType::LpmTrie, MapType::Ringbuf];
    for s in good().filter(|s| !special.contains(&s.ty)) {
        let ty = s.ty;
        let with = |f: &dyn Fn(&mut MapSpec)| {
            let mut s = s;
            f(&mut s);
            check(s)
        };
        let keyless = s.key_size == 0;
        let lru = matches!(ty, MapType::LruHash | MapType::LruPercpuHash);
        let hash = lru || matches!(ty, MapType::Hash | MapType::PercpuHash);
        assert_eq!(with(&|_| ()), Ok(()));
        assert_eq!(with(&|s| s.max_entries = 0), Err(EINVAL));
        assert_eq!(with(&|s| s.value_size = 0), Err(EINVAL));
        assert_eq!(with(&|s| s.flags = RDONLY_PROG | WRONLY_PROG), Err(EINVAL));
        assert_eq!(with(&|s| s.flags = RDONLY | WRONLY), Ok(()));
        assert_eq!(with(&|s| s.flags = 1 << 20), Err(EINVAL));
        let key = if keyless { Err(EINVAL) } else { Ok(()) };
        assert_eq!(with(&|s| s.key_size = 4), key);
        if !keyless {
            assert_eq!(with(&|s| s.key_size = 0), Err(EINVAL));
        }
        let bloom = ty == MapType::BloomFilter;
        assert_eq!(
            with(&|s| s.extra = 3),
            if bloom { Ok(()) } else { Err(EINVAL) }
        );
        assert_eq!(with(&|s| s.extra = 16), Err(EINVAL));
        let node = if ty.is_percpu() { Err(EINVAL) } else { Ok(()) };
        assert_eq!(with(&|s| s.flags = NUMA_NODE), node);
        let offline = |s: &mut MapSpec| (s.flags, s.numa_node) = (NUMA_NODE, 1);
        assert_eq!(with(&offline), Err(EINVAL));
        let large = if ty == MapType::Array {
            Ok(())
        } else {
            Err(E2BIG)
        };
        assert_eq!(with(&|s| s.value_size = (4 << 20) + 1), large);
        let percpu = if ty.is_percpu() { Err(E2BIG) } else { Ok(()) };
        assert_eq!(with(&|s| s.value_size = (32 << 10) + 1), percpu);
        let seed = match ty {
            MapType::BloomFilter => Ok(()),
            _ if hash => Err(EPERM),
            _ => Err(EINVAL),
        };
        assert_eq!(with(&|s| s.flags = ZERO_SEED), seed);
        let lazy = match hash {
            true if lru => Err(ENOTSUPP),
            true => Ok(()),
            false => Err(EINVAL),
        };
        assert_eq!(with(&|s| s.flags = NO_PREALLOC), lazy);
        let lists = if lru { Ok(()) } else { Err(EINVAL) };
        assert_eq!(with(&|s| s.flags = NO_COMMON_LRU), lists);
        if hash {
            assert_eq!(with(&|s| s.max_entries = (1 << 27) + 1), Err(E2BIG));
        }
    }
}

/// What must be in a trie: values by prefix, the data cut off after it.
type Prefixes = BTreeMap<(u32, Vec<u8>), Vec<u8>>;

fn cut(bits: u32, data: &[u8]) -> (u32, Vec<u8>) {
    let mut data = data.to_vec();
    for i in bits as usize..data.len() * 8 {
        data[i / 8] &= !(0x80 >> (i % 8));
    }
    (bits, data)
}

fn lpm_key(bits: u32, data: &[u8]) -> Vec<u8> {
    [&bits.to_ne_bytes()[..], data].concat()
}

#[test]
fn tries_are_their_model() {
    for (size, entries) in [
        (1, 300),
        (4, 60),
        (8, 60),
        (9, 60),
        (16, 60),
        (20, 3),
        (256, 60),
    ] {
        let mut s = spec(MapType::LpmTrie, 4 + size, 12, entries);
        s.flags = super::spec::NO_PREALLOC;
        let map = Map::new(&s).unwrap();
        let mut rng = Rng::new(u64::from(size));
        let mut is = Prefixes::new();
        let bits = size * 8;
        for round in 0..if size > 16 { 200 } else { 2_000 } {
            // Few different bits, so that prefixes meet.
            let mut data = vec![0; size as usize];
            for b in &mut data {
                *b = [0, 0, 0x80, 0xff, 1][rng.below(5) as usize];
            }
            let len = match rng.below(3) {
                0 => bits,
                1 => rng.below(u64::from(bits) + 1) as u32,
                _ => rng.below(u64::from(bits.min(12)) + 1) as u32,
            };
            let key = lpm_key(len, &data);
            let there = is.contains_key(&cut(len, &data));
            match rng.below(4) {
                0 | 1 => {
                    let value = rng.bytes(12);
                    let flags = rng.below(4);
                    let want = match flags {
                        3 => Err(EINVAL),
                        1 if there => Err(EEXIST),
                        2 if !there => Err(ENOENT),
                        _ if !there && is.len() == entries as usize => Err(ENOSPC),
                        _ => Ok(()),
                    };
                    assert_eq!(map.update(&key, &value, flags), want);
                    if want.is_ok() {
                        is.insert(cut(len, &data), value);
                    }
                }
                2 => {
                    let want = is.remove(&cut(len, &data)).map(drop).ok_or(ENOENT);
                    assert_eq!(map.delete(&key), want);
                }
                _ => {}
            }
            let best = (0..=len).rev().find_map(|l| is.get(&cut(l, &data)));
            let mut out = vec![0; 12];
            assert_eq!(
                map.lookup(&key, &mut out, 0).map(|()| &out),
                best.ok_or(ENOENT)
            );
            assert_eq!(map.lookup_addr(&key).is_some(), best.is_some());
            if round % 50 == 0 {
                walk_trie(&map, &is);
            }
        }
        assert_eq!(
            map.update(&lpm_key(bits + 1, &vec![0; size as usize]), &[0; 12], 0),
            Err(EINVAL)
        );
        assert_eq!(
            map.delete(&lpm_key(bits + 1, &vec![0; size as usize])),
            Err(EINVAL)
        );
        assert_eq!(
            map.lookup_addr(&lpm_key(bits + 1, &vec![0; size as usize])),
            None
        );
        let mut key = vec![0; 4 + size as usize];
        while map.next_key(None, &mut key).is_ok() {
            map.delete(&key).unwrap();
            assert!(is
                .remove(&cut(
                    u32::from_ne_bytes(key[..4].try_into().unwrap()),
                    &key[4..]
                ))
                .is_some());
        }
        assert!(is.is_empty());
    }
}

/// All prefixes, each once, longer ones before those that they begin with.
fn walk_trie(map: &Map, is: &Prefixes) {
    let mut seen = Vec::new();
    let mut key: Option<Vec<u8>> = None;
    let mut next = vec![0; map.spec().key_size as usize];
    while map.next_key(key.as_deref(), &mut next).is_ok() {
        let bits = u32::from_ne_bytes(next[..4].try_into().unwrap());
        let one = cut(bits, &next[4..]);
        assert!(is.contains_key(&one));
        let covers = |(b, d): &(u32, Vec<u8>)| *b <= bits && cut(*b, &next[4..]).1 == *d;
        assert!(!seen.iter().any(covers));
        seen.push(one);
        key = Some(next.clone());
    }
    assert_eq!(seen.len(), is.len());
}

#[test]
fn lists_of_cpus_have_the_same_number_of_entries() {
    for (wanted, has) in [(1, 4), (4, 4), (5, 8), (10, 12)] {
        let mut s = spec(MapType::LruHash, 4, 8, wanted);
        s.flags = super::spec::NO_COMMON_LRU;
        assert_eq!(s.rounded(4).max_entries, has);
        s.flags = 0;
        assert_eq!(s.rounded(4).max_entries, wanted);
    }
    let mut s = spec(MapType::LruHash, 4, 8, u32::MAX);
    s.flags = super::spec::NO_COMMON_LRU;
    assert_eq!(s.rounded(4).max_entries, u32::MAX - 3);
}

#[test]
fn programs_see_another_cpus_value() {
    for ty in [
        MapType::PercpuArray,
        MapType::PercpuHash,
        MapType::LruPercpuHash,
    ] {
        let map = Map::new(&spec(ty, 4, 8, 4)).unwrap();
        let key = 1u32.to_ne_bytes();
        map.update(&key, &vec![0; map.user_value_size(0)], 0)
            .unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for cpu in 0..cpus::ids() {
            cpus::set_current(cpu);
            let own = map.lookup_addr(&key);
            assert!(own.is_some());
            assert_eq!(map.prog_lookup_percpu(key[..].into(), cpu as u32), own);
            assert!(seen.insert(own));
        }
        let none = cpus::ids() as u32;
        assert_eq!(map.prog_lookup_percpu(key[..].into(), none), None);
        assert_eq!(map.prog_lookup_percpu(key[..].into(), u32::MAX), None);
        let other = 9u32.to_ne_bytes();
        assert_eq!(map.prog_lookup_percpu(other[..].into(), 0), None);
    }
    let map = Map::new(&spec(MapType::Hash, 4, 8, 4)).unwrap();
    map.update(&[0; 4], &[0; 8], 0).unwrap();
    assert_eq!(map.prog_lookup_percpu([0u8; 4][..].into(), 0), None);
}

/// An LRU map of `each` entries for each CPU.
fn with_lists(ty: MapType, key_size: u32, value_size: u32, each: u32) -> Map {
    let mut s = spec(ty, key_size, value_size, each * cpus::ids() as u32);
    s.flags = super::spec::NO_COMMON_LRU;
    Map::new(&s).unwrap()
}

#[test]
fn a_cpu_drops_entries_of_its_own_list_only() {
    for ty in [MapType::LruHash, MapType::LruPercpuHash] {
        for (key_size, value_size) in [(8, 8), (8, 24), (20, 8)] {
            let map = with_lists(ty, key_size, value_size, 5);
            let value = vec![7; map.user_value_size(0)];
            let key = |cpu: usize, k: u32| {
                let k = ((cpu as u32) << 24) | k;
                k.to_ne_bytes().repeat(5)[..key_size as usize].to_vec()
            };
            let mut out = value.clone();
            let last = cpus::ids() - 1;
            for cpu in 0..last {
                cpus::set_current(cpu);
                for k in 0..5 {
                    map.update(&key(cpu, k), &value, 1).unwrap();
                }
            }
            cpus::set_current(last);
            for k in 0..500 {
                map.update(&key(last, k), &value, 1).unwrap();
                map.lookup(&key(last, k), &mut out, 0).unwrap();
            }
            let there = |cpu, out: &mut [u8]| {
                let keys = (0..500).filter(|k| map.lookup(&key(cpu, *k), out, 0).is_ok());
                keys.count()
            };
            for cpu in 0..=last {
                assert_eq!(
                    there(cpu, &mut out),
                    5,
                    "{ty:?} {key_size} {value_size} {cpu}"
                );
            }
            // What is deleted elsewhere makes room where it was made.
            map.delete(&key(0, 3)).unwrap();
            map.update(&key(last, 900), &value, 1).unwrap();
            assert_eq!(there(last, &mut out), 4);
            cpus::set_current(0);
            map.update(&key(0, 400), &value, 1).unwrap();
            assert_eq!(there(0, &mut out), 5);
        }
    }
}

#[test]
fn an_entry_goes_to_the_list_of_the_cpu_that_replaces_it() {
    for size in [8, 24] {
        let map = with_lists(MapType::LruHash, 8, size, 4);
        let put = |k: u64, v: u8| {
            let value = vec![v; size as usize];
            map.update(&k.to_ne_bytes(), &value, 0).unwrap();
        };
        let get = |k: u64| {
            let mut out = vec![0; size as usize];
            let found = map.lookup(&k.to_ne_bytes(), &mut out, 0);
            found.ok().map(|()| out[0])
        };
        cpus::set_current(0);
        (0..4).for_each(|k| put(k, 1));
        cpus::set_current(1);
        (10..14).for_each(|k| put(k, 1));
        (0..4).for_each(|k| put(k, 2));
        assert!((0..4).all(|k| get(k) == Some(2)));
        assert!((10..14).all(|k| get(k).is_none()));
        // All of the first CPU's elements are free now.
        cpus::set_current(0);
        (20..24).for_each(|k| put(k, 3));
        assert!((0..4).all(|k| get(k) == Some(2)));
        assert!((20..24).all(|k| get(k) == Some(3)));
    }
}

#[test]
fn lru_with_lists_below_its_size_is_a_hash() {
    for (key_size, value_size) in [(4, 8), (8, 24), (20, 5)] {
        for ty in [MapType::LruHash, MapType::LruPercpuHash] {
            // Updates of one CPU's value change the CPU.
            let mut model = Model::new(with_lists(ty, key_size, value_size, 400), 1);
            model.use_keys(400);
            model.run(3_000);
        }
    }
}
