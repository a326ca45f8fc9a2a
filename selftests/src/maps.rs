// SPDX-License-Identifier: GPL-2.0

//! Maps through their commands: the same random operations on both implementations.

use crate::both::Both;
use crate::ktap::{volume, Suite};
use oxbpf::{Bpf, Errno, Map, MapSpec, MapType};
use std::sync::atomic::{AtomicBool, Ordering};

/// A small generator (SplitMix64), so that a run can be repeated.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn bytes(n: u64, size: usize) -> Vec<u8> {
    n.to_le_bytes().iter().copied().cycle().take(size).collect()
}

/// 20,000 random operations, or less by `volume`; each result must be the same. Returns an error at the first that is
/// not.
fn random_operations(both: &Both, spec: &MapSpec, seed: u64) -> Result<(), String> {
    let create = |b: &Bpf| b.map_create(spec).map_err(|e| format!("{}: {e}", b.name()));
    let (ours, theirs) = (create(&both.ours)?, create(&both.theirs)?);
    let mut random = Random(seed);
    let keys = u64::from(spec.max_entries) * 2;
    for step in 0..volume(20_000) {
        let key = bytes(random.below(keys), spec.key_size as usize);
        let value = bytes(random.next(), spec.value_size as usize);
        let flags = random.below(4);
        let op = random.below(8);
        let apply = |m: &Map| -> Result<Vec<u8>, Errno> {
            match op {
                0..=2 => m.lookup(&key),
                3..=5 => m.update(&key, &value, flags).map(|()| Vec::new()),
                6 => m.delete(&key).map(|()| Vec::new()),
                // order is the implementation's own for a hash: only whether there is a next one
                // after nothing
                _ => m.next_key(None).map(|_| Vec::new()),
            }
        };
        let (t, o) = (apply(&theirs), apply(&ours));
        if t != o {
            return Err(format!(
                "step {step}, operation {op}, flags {flags}, key {key:02x?}\n\
                 in-tree: {t:02x?}\noxbpf:   {o:02x?}"
            ));
        }
    }
    let sorted = |m: &Map| {
        let mut all = m.entries()?;
        all.sort();
        Ok::<_, Errno>(all)
    };
    let (t, o) = (sorted(&theirs), sorted(&ours));
    if t != o {
        return Err(format!("at the end\nin-tree: {t:02x?}\noxbpf:   {o:02x?}"));
    }
    Ok(())
}

/// Deletes each key when the iteration has gone past it; all keys must be seen exactly once.
fn delete_while_iterating(b: &Bpf) -> Result<(), String> {
    let map = b
        .map_create(&MapSpec::new(MapType::HASH, 4, 8, 1000))
        .map_err(|e| e.to_string())?;
    for i in 0..1000u32 {
        map.update(&i.to_ne_bytes(), &[1; 8], 0)
            .map_err(|e| e.to_string())?;
    }
    let mut seen = 0;
    while let Ok(key) = map.next_key(None) {
        map.delete(&key).map_err(|e| e.to_string())?;
        seen += 1;
        if seen > 1000 {
            break;
        }
    }
    if seen == 1000 {
        Ok(())
    } else {
        Err(format!("{seen} keys of 1000"))
    }
}

/// Four threads insert, overwrite, read and delete in one map that is too small; no wrong error,
/// and every element must come back.
fn threads(b: &Bpf, flags: u32) -> Result<(), String> {
    let spec = MapSpec {
        flags,
        ..MapSpec::new(MapType::HASH, 8, 64, 64)
    };
    let map = b.map_create(&spec).map_err(|e| e.to_string())?;
    let bad = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (map, bad) = (&map, &bad);
            scope.spawn(move || {
                let mut random = Random(thread);
                for _ in 0..volume(20_000) {
                    let n = random.below(96);
                    let key = n.to_ne_bytes();
                    let ok = match random.below(3) {
                        // the value may be a recycled element's, as in-tree: only errors count
                        0 => matches!(map.lookup(&key), Ok(_) | Err(Errno(libc::ENOENT))),
                        1 => {
                            let value: Vec<u8> = key.iter().copied().cycle().take(64).collect();
                            matches!(
                                map.update(&key, &value, 0),
                                Ok(()) | Err(Errno(libc::E2BIG | libc::EBUSY))
                            )
                        }
                        _ => matches!(map.delete(&key), Ok(()) | Err(Errno(libc::ENOENT))),
                    };
                    if !ok {
                        bad.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    if bad.load(Ordering::Relaxed) {
        return Err("a thread got a wrong error".to_string());
    }
    let n = map.entries().map_err(|e| e.to_string())?.len();
    if n > 64 {
        return Err(format!("{n} entries in a map of 64"));
    }
    for (key, _) in map.entries().map_err(|e| e.to_string())? {
        map.delete(&key).map_err(|e| e.to_string())?;
    }
    // every element must have come back
    for i in 0..64u64 {
        map.update(&i.to_ne_bytes(), &[0; 64], 1)
            .map_err(|e| format!("element {i} lost: {e}"))?;
    }
    Ok(())
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    for (name, ty) in [("array", MapType::ARRAY), ("hash", MapType::HASH)] {
        for (key, value, entries) in [
            (4u32, 8u32, 16u32),
            (4, 1, 1),
            (8, 13, 100),
            (12, 200, 3),
            (64, 8, 300),
        ] {
            if ty == MapType::ARRAY && key != 4 {
                continue;
            }
            for flags in [0u32, 1] {
                if flags == 1 && ty == MapType::ARRAY {
                    continue;
                }
                let spec = MapSpec {
                    flags,
                    ..MapSpec::new(ty, key, value, entries)
                };
                s.test(
                    &format!("random operations: {name} {key}/{value}/{entries} flags {flags}"),
                    || random_operations(&both, &spec, u64::from(key ^ value ^ entries)),
                );
            }
        }
    }
    s.test("array: all keys in order", || {
        both.same(|b| {
            let m = b
                .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 5))
                .unwrap();
            m.entries()
        })
        .map(|_| ())
    });
    s.test("hash: delete while iterating", || {
        delete_while_iterating(&both.ours)
    });
    s.test("hash: four threads", || threads(&both.ours, 0));
    s.test("hash, not preallocated: four threads", || {
        threads(&both.ours, 1)
    });
}
