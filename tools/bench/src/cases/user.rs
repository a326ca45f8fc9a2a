// SPDX-License-Identifier: GPL-2.0

//! Maps from user space: what one system call costs.

use super::maps::ZERO_SEED;
use super::{create, unless_supported, Case, Figure, Missing, Outcome};
use crate::clock::per_round;
use oxbpf::{cmd, Bpf, Map, MapSpec, MapType};
use std::os::fd::{AsFd, AsRawFd};

const GROUP: &str = "user space";
const UNIT: &str = "insns/call";
const KEYS: u32 = 4096;

/// An element command without anything but the call itself.
struct Call {
    bpf: Bpf,
    attr: [u8; 32],
    /// Of the commands whose last field is the key.
    short: [u8; 16],
    key: Box<[u8; 8]>,
    value: Box<[u8; 8]>,
    failed: bool,
}

impl Call {
    fn new(bpf: &Bpf, map: &Map) -> Self {
        let key = Box::new([0; 8]);
        let value = Box::new([0; 8]);
        let mut attr = [0; 32];
        attr[..4].copy_from_slice(&(map.as_fd().as_raw_fd() as u32).to_ne_bytes());
        attr[8..16].copy_from_slice(&(key.as_ptr() as u64).to_ne_bytes());
        attr[16..24].copy_from_slice(&(value.as_ptr() as u64).to_ne_bytes());
        let mut short = [0; 16];
        short.copy_from_slice(&attr[..16]);
        Call {
            bpf: bpf.clone(),
            attr,
            short,
            key,
            value,
            failed: false,
        }
    }

    #[inline]
    fn with(&mut self, command: u32, key: u64) {
        *self.key = key.to_ne_bytes();
        let attr = match command {
            cmd::MAP_DELETE_ELEM => &mut self.short[..],
            _ => &mut self.attr[..],
        };
        self.failed |= self.bpf.call(command, attr).is_err();
    }
}

fn measure(bpf: &Bpf, ty: MapType, round: impl Fn(&mut Call, u64)) -> Outcome {
    let key = if ty == MapType::ARRAY { 4 } else { 8 };
    let mut spec = MapSpec::new(ty, key, 8, 2 * KEYS);
    if ty == MapType::HASH {
        spec.flags = ZERO_SEED;
    }
    let map = create(bpf, &spec)?;
    let mut call = Call::new(bpf, &map);
    for k in 0..u64::from(KEYS) {
        call.with(cmd::MAP_UPDATE_ELEM, k);
    }
    let mut k = 0u64;
    let ticks = per_round(|n| {
        for _ in 0..n {
            k = (k + 1) & u64::from(KEYS - 1);
            round(&mut call, k);
        }
    });
    if call.failed {
        return Err(Missing::Failed("a call failed".to_owned()));
    }
    // What the kernel wrote is used.
    std::hint::black_box(&call.value);
    Ok(Figure { ticks, bytes: None })
}

/// `BPF_MAP_LOOKUP_BATCH`, `BPF_MAP_UPDATE_BATCH`
const LOOKUP_BATCH: u32 = 24;
const UPDATE_BATCH: u32 = 26;

/// All of a map's entries in one call; the figure is for one entry.
fn batch(bpf: &Bpf, command: u32) -> Outcome {
    /// Few enough for one call to stay below a timer tick.
    const ENTRIES: u32 = 256;
    let mut spec = MapSpec::new(MapType::HASH, 8, 8, ENTRIES);
    spec.flags = ZERO_SEED;
    let map = create(bpf, &spec)?;
    let mut keys: Vec<u64> = (0..u64::from(ENTRIES)).collect();
    let mut values = vec![0u64; ENTRIES as usize];
    for key in &keys {
        map.update(&key.to_ne_bytes(), &[7; 8], 0)
            .map_err(|e| Missing::Failed(format!("update: {e}")))?;
    }
    let mut cursor = [0u8; 8];
    let mut refused = None;
    let mut call = |count: u32| {
        let mut attr = [0u8; 56];
        attr[8..16].copy_from_slice(&(cursor.as_mut_ptr() as u64).to_ne_bytes());
        attr[16..24].copy_from_slice(&(keys.as_mut_ptr() as u64).to_ne_bytes());
        attr[24..32].copy_from_slice(&(values.as_mut_ptr() as u64).to_ne_bytes());
        attr[32..36].copy_from_slice(&count.to_ne_bytes());
        attr[36..40].copy_from_slice(&(map.as_fd().as_raw_fd() as u32).to_ne_bytes());
        if command == UPDATE_BATCH {
            attr[8..16].fill(0);
        }
        match bpf.call(command, &mut attr) {
            // Looking up says that it came to the end.
            Ok(_) | Err(oxbpf::Errno(libc::ENOENT)) => {}
            Err(e) => refused = Some(e),
        }
        let done = u32::from_ne_bytes([attr[32], attr[33], attr[34], attr[35]]);
        if done != count && refused.is_none() {
            refused = Some(oxbpf::Errno(libc::ENOSPC));
        }
    };
    let ticks = per_round(|n| (0..n).for_each(|_| call(ENTRIES)));
    match refused {
        Some(e) => Err(unless_supported(e, format!("batch: {e}"))),
        None => Ok(Figure {
            ticks: ticks / f64::from(ENTRIES),
            bytes: None,
        }),
    }
}

pub(super) fn cases() -> Vec<Case> {
    let hash = MapType::HASH;
    let one = |command| move |call: &mut Call, k| call.with(command, k);
    vec![
        Case::of_kernel(GROUP, "hash LOOKUP", UNIT, 2290.0, move |b| {
            measure(b, hash, one(cmd::MAP_LOOKUP_ELEM))
        }),
        Case::of_kernel(GROUP, "hash UPDATE", UNIT, 2580.0, move |b| {
            measure(b, hash, one(cmd::MAP_UPDATE_ELEM))
        }),
        Case::of_kernel(GROUP, "hash DELETE and UPDATE", UNIT, 4444.0, move |b| {
            measure(b, hash, |call, k| {
                call.with(cmd::MAP_DELETE_ELEM, k);
                call.with(cmd::MAP_UPDATE_ELEM, k);
            })
        }),
        Case::of_kernel(GROUP, "hash GET_NEXT_KEY", UNIT, 2156.0, move |b| {
            measure(b, hash, |call, k| {
                // The last key has no next one: ask from the start then.
                *call.key = k.to_ne_bytes();
                let _ = call.bpf.call(cmd::MAP_GET_NEXT_KEY, &mut call.attr);
            })
        }),
        Case::of_kernel(GROUP, "hash LOOKUP_BATCH, each", UNIT, None, move |b| {
            batch(b, LOOKUP_BATCH)
        }),
        Case::of_kernel(GROUP, "hash UPDATE_BATCH, each", UNIT, 641.0, move |b| {
            batch(b, UPDATE_BATCH)
        }),
        Case::of_kernel(GROUP, "array LOOKUP", UNIT, None, move |b| {
            measure(b, MapType::ARRAY, one(cmd::MAP_LOOKUP_ELEM))
        }),
        Case::of_kernel(GROUP, "array UPDATE", UNIT, None, move |b| {
            measure(b, MapType::ARRAY, one(cmd::MAP_UPDATE_ELEM))
        }),
    ]
}
