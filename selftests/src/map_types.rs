// SPDX-License-Identifier: GPL-2.0

//! Every map type: which descriptions both implementations take, and the same random operations on
//! both.

use crate::both::Both;
use crate::ktap::{volume, Suite};
use oxbpf::{Bpf, Errno, Map, MapSpec, MapType};

/// Numbers that look random and repeat with the seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % n
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.below(256) as u8).collect()
    }
}

const NO_PREALLOC: u32 = 1;
const ZERO_SEED: u32 = 1 << 6;

const TYPES: [(&str, MapType); 10] = [
    ("hash", MapType::HASH),
    ("array", MapType::ARRAY),
    ("percpu hash", MapType::PERCPU_HASH),
    ("percpu array", MapType::PERCPU_ARRAY),
    ("LRU hash", MapType::LRU_HASH),
    ("LRU percpu hash", MapType::LRU_PERCPU_HASH),
    ("trie", MapType::LPM_TRIE),
    ("queue", MapType::QUEUE),
    ("stack", MapType::STACK),
    ("Bloom filter", MapType::BLOOM_FILTER),
];

/// Sizes that some type refuses, with each flag and some pairs: the same answer from both.
fn descriptions(both: &Both, ty: MapType) -> Result<(), String> {
    let flags = [
        0,
        NO_PREALLOC,
        1 << 1,
        (1 << 1) | (1 << 2),
        1 << 10,
        1 << 12,
        (1 << 10) | (1 << 12) | (1 << 7),
        1 << 2,
        1 << 3,
        1 << 4,
        (1 << 3) | (1 << 4),
        1 << 5,
        ZERO_SEED,
        1 << 7,
        1 << 8,
        (1 << 7) | (1 << 8),
        1 << 9,
        1 << 11,
        1 << 13,
        1 << 20,
        NO_PREALLOC | (1 << 2),
        NO_PREALLOC | ZERO_SEED,
        NO_PREALLOC | (1 << 7),
    ];
    let mut wrong = Vec::new();
    for flags in flags {
        for key_size in [0, 1, 4, 5, 8, 260, 261, 512, 513, 4 << 20, u32::MAX] {
            for value_size in [
                0,
                1,
                8,
                32 << 10,
                (32 << 10) + 1,
                (4 << 20) - 52,
                5 << 20,
                1 << 31,
            ] {
                for entries in [0, 1, 3] {
                    let spec = MapSpec {
                        flags,
                        ..MapSpec::new(ty, key_size, value_size, entries)
                    };
                    let create = |b: &Bpf| b.map_create(&spec).map(drop);
                    let (t, o) = (create(&both.theirs), create(&both.ours));
                    if t != o {
                        wrong.push(format!("{spec:?}: in-tree {t:?}, oxbpf {o:?}"));
                    }
                }
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => {
            wrong.truncate(10);
            Err(wrong.join("\n"))
        }
    }
}

/// 5,000 random operations with the same answer from both.
fn operations(both: &Both, spec: &MapSpec) -> Result<(), String> {
    let create = |b: &Bpf| b.map_create(spec).map_err(|e| format!("{}: {e}", b.name()));
    let (ours, theirs) = (create(&both.ours)?, create(&both.theirs)?);
    let mut random = Random((u64::from(spec.ty.0) << 32) | u64::from(spec.key_size) | 1);
    let trie = spec.ty == MapType::LPM_TRIE;
    // An LRU map is free to drop what it likes when it is full.
    let lru = [MapType::LRU_HASH, MapType::LRU_PERCPU_HASH].contains(&spec.ty);
    let keys = match lru {
        true => u64::from(spec.max_entries) / 4,
        false => u64::from(spec.max_entries) * 3 / 2 + 1,
    };
    for step in 0..volume(5_000) {
        let mut key = random.below(keys).to_ne_bytes().repeat(5);
        key.truncate(spec.key_size as usize);
        if trie {
            let bits = random.below(u64::from(spec.key_size - 4) * 8 + 2) as u32;
            key[..4].copy_from_slice(&bits.to_ne_bytes());
            for b in &mut key[4..] {
                *b = [0, 0x80, 0xff][random.below(3) as usize];
            }
        }
        let value = random.bytes(ours.value_bytes());
        let flags = random.below(6);
        let op = random.below(8);
        let apply = |m: &Map| -> Result<Vec<u8>, Errno> {
            match op {
                0 | 1 => m.lookup(&key),
                2..=4 => m.update(&key, &value, flags / 2).map(|()| Vec::new()),
                5 => m.delete(&key).map(|()| Vec::new()),
                6 => m.take(&key),
                _ if trie => m.next_key(Some(&key)),
                _ => m.next_key(None).map(|_| Vec::new()),
            }
        };
        let (t, o) = (apply(&theirs), apply(&ours));
        if t != o {
            return Err(format!(
                "step {step}, operation {op}, flags {}, key {key:02x?}\n\
                 in-tree: {t:02x?}\noxbpf:   {o:02x?}",
                flags / 2
            ));
        }
    }
    if spec.key_size == 0 {
        return Ok(());
    }
    let sorted = |m: &Map| {
        let mut all = m.entries()?;
        // Their order is the implementation's own, but a trie's.
        if !trie {
            all.sort();
        }
        Ok::<_, Errno>(all)
    };
    let (t, o) = (sorted(&theirs), sorted(&ours));
    match t == o {
        true => Ok(()),
        false => Err(format!("at the end\nin-tree: {t:02x?}\noxbpf:   {o:02x?}")),
    }
}

/// How many of the keys are there.
fn there(map: &Map, keys: std::ops::Range<u32>) -> usize {
    keys.filter(|k| map.lookup(&k.to_ne_bytes()).is_ok())
        .count()
}

/// What two CPUs' lists of an LRU map keep.
fn lists(b: &Bpf, ty: MapType, value_size: u32) -> Result<Vec<usize>, String> {
    // As many lists as CPUs, of four entries each.
    let cpus = oxbpf::possible_cpus();
    let spec = MapSpec {
        flags: 1 << 1,
        ..MapSpec::new(ty, 4, value_size, 4 * cpus as u32)
    };
    let map = b.map_create(&spec).map_err(|e| format!("map: {e}"))?;
    let value = vec![1; map.value_bytes()];
    let put = |keys: std::ops::Range<u32>| {
        for key in keys {
            map.update(&key.to_ne_bytes(), &value, 0)
                .map_err(|e| format!("{key}: {e}"))?;
        }
        Ok::<(), String>(())
    };
    let mut all = Vec::new();
    {
        let _first = oxbpf::cpu::on(0)?;
        put(0..4)?;
        all.push(there(&map, 0..4));
    }
    {
        let _second = oxbpf::cpu::on(1)?;
        // Of which the last fits in any case.
        put(100..160)?;
        all.extend([there(&map, 0..4), there(&map, 159..160)]);
        if ty == MapType::LRU_HASH {
            // They move to this CPU's list.
            put(0..4)?;
            all.extend([there(&map, 0..4), there(&map, 100..160)]);
        }
    }
    if ty == MapType::LRU_HASH {
        let _first = oxbpf::cpu::on(0)?;
        put(200..204)?;
        all.extend([there(&map, 0..4), there(&map, 200..204)]);
    }
    Ok(all)
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    for entries in [1, 2, 3, 7, 100] {
        s.test(&format!("{entries} entries in LRU lists of CPUs"), || {
            both.same(|b| {
                let spec = MapSpec {
                    flags: 1 << 1,
                    ..MapSpec::new(MapType::LRU_HASH, 4, 8, entries)
                };
                b.map_create(&spec)?
                    .info()
                    .map(|i| (i.max_entries, i.flags))
            })?
            .map(drop)
            .map_err(|e| e.to_string())
        });
    }
    for (name, ty) in [
        ("LRU hash", MapType::LRU_HASH),
        ("LRU percpu hash", MapType::LRU_PERCPU_HASH),
    ] {
        for size in [8, 24] {
            let name = format!("{name}: lists of CPUs, values of {size}");
            match oxbpf::cpu::on(1) {
                Ok(_) => s.test(&name, || both.same(|b| lists(b, ty, size))?.map(drop)),
                Err(_) => s.skip(&name, "there is one CPU"),
            }
        }
    }
    for (name, ty) in TYPES {
        s.test(&format!("{name}: descriptions"), || descriptions(&both, ty));
    }
    for (name, ty) in TYPES {
        let keys: &[u32] = match ty {
            MapType::ARRAY | MapType::PERCPU_ARRAY => &[4],
            MapType::QUEUE | MapType::STACK => &[0],
            MapType::LPM_TRIE => &[5, 8, 20],
            // Says "probably" of other values than in-tree's does.
            MapType::BLOOM_FILTER => continue,
            _ => &[4, 8, 20],
        };
        for &key in keys {
            for (value, entries) in [(8, 40), (5, 20), (24, 4)] {
                let mut spec = MapSpec::new(ty, key, value, entries);
                if ty == MapType::LPM_TRIE {
                    spec.flags = NO_PREALLOC;
                }
                s.test(
                    &format!("{name} {key}/{value}/{entries}: operations"),
                    || operations(&both, &spec),
                );
            }
        }
    }
}
