// SPDX-License-Identifier: GPL-2.0

//! Memory: what the kernel has allocated more for each entry of a full map.
//!
//! The kernel's own account before and after of slab, vmalloc and per-CPU memory, in pages; what slabs
//! keep in reserve is part of it, so the maps are large.

use super::{create, unless_supported, Case, Figure, Missing, Outcome};
use oxbpf::{Bpf, Map, MapSpec, MapType};
use std::time::Duration;

const GROUP: &str = "memory";
const UNIT: &str = "bytes/entry";
const ENTRIES: u32 = 1 << 17;

/// Bytes in use, when they no longer change: what was given back is freed after grace periods, by work
/// that waits.
fn used() -> Result<f64, Missing> {
    let now = || {
        let info = std::fs::read_to_string("/proc/meminfo").map_err(|e| e.to_string())?;
        let kib = |what: &str| {
            let line = info.lines().find(|l| l.starts_with(what))?;
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        };
        let all = kib("Slab:").zip(kib("VmallocUsed:")).zip(kib("Percpu:"));
        all.map(|((slab, vmalloc), percpu)| slab + vmalloc + percpu)
            .ok_or(Missing::Failed("no account of memory".to_owned()))
    };
    let mut last = f64::NAN;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_secs(3));
        let kib = now()?;
        if (kib - last).abs() < 32.0 {
            return Ok(kib * 1024.0);
        }
        last = kib;
    }
    Err(Missing::Failed("memory in use keeps changing".to_owned()))
}

/// Key `i`: the number, in the trie the bits of a whole key.
fn key(ty: MapType, size: u32, i: u32) -> Vec<u8> {
    let mut key = match ty {
        MapType::LPM_TRIE => 32u32.to_ne_bytes().to_vec(),
        _ => Vec::new(),
    };
    key.extend(match ty {
        MapType::LPM_TRIE => i.wrapping_mul(0x9e37_79b1).to_be_bytes(),
        _ => i.to_ne_bytes(),
    });
    key.resize(size as usize, 0);
    key
}

fn fill(map: &Map, spec: &MapSpec) -> Result<(), Missing> {
    let value = vec![1; map.value_bytes()];
    for i in 0..spec.max_entries {
        map.update(&key(spec.ty, spec.key_size, i), &value, 0)
            .map_err(|e| unless_supported(e, format!("update: {e}")))?;
    }
    Ok(())
}

fn measure(bpf: &Bpf, ty: MapType, key_size: u32, value_size: u32, flags: u32) -> Outcome {
    let mut spec = MapSpec::new(ty, key_size, value_size, 1024);
    spec.flags = flags;
    // The first map of a kind makes caches, and code pages of both sides come in.
    fill(&create(bpf, &spec)?, &spec)?;
    spec.max_entries = ENTRIES;
    let before = used()?;
    let map = create(bpf, &spec)?;
    fill(&map, &spec)?;
    let after = used()?;
    Ok(Figure {
        ticks: (after - before) / f64::from(ENTRIES),
        bytes: None,
    })
}

pub(super) fn cases() -> Vec<Case> {
    const NO_PREALLOC: u32 = 1;
    [
        ("hash, 8 + 8", MapType::HASH, 8, 8, 0),
        ("hash, 8 + 8, no prealloc", MapType::HASH, 8, 8, NO_PREALLOC),
        ("hash, 8 + 64", MapType::HASH, 8, 64, 0),
        ("percpu hash, 8 + 8", MapType::PERCPU_HASH, 8, 8, 0),
        ("LRU, 8 + 8", MapType::LRU_HASH, 8, 8, 0),
        ("array, 8", MapType::ARRAY, 4, 8, 0),
        ("LPM, 4 + 8", MapType::LPM_TRIE, 8, 8, NO_PREALLOC),
    ]
    .map(|(name, ty, key, value, flags)| {
        Case::of_kernel(GROUP, name, UNIT, None, move |b| {
            measure(b, ty, key, value, flags)
        })
    })
    .into()
}
