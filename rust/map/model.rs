// SPDX-License-Identifier: GPL-2.0

//! For tests: random operations on a map, each compared with what a plain map of std says.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// A description without flags.
pub(super) fn spec(ty: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec {
    MapSpec {
        ty,
        key_size,
        value_size,
        max_entries,
        flags: 0,
        numa_node: 0,
        extra: 0,
        name: [0; 16],
        lock: None,
    }
}

/// Numbers that look random and repeat with the seed.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % n
    }

    pub(super) fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.below(256) as u8).collect()
    }
}

fn is_array(ty: MapType) -> bool {
    matches!(ty, MapType::Array | MapType::PercpuArray)
}

/// A map and what must be in it: values as user space sees them.
pub(super) struct Model {
    map: Map,
    rng: Rng,
    keys: Vec<Vec<u8>>,
    is: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Model {
    pub(super) fn new(map: Map, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let s = *map.spec();
        let array = is_array(s.ty);
        let n = u64::from(s.max_entries) * 3 / 2 + 2;
        let keys: BTreeSet<Vec<u8>> = (0..n)
            .map(|i| match array {
                true => (i as u32).to_ne_bytes().to_vec(),
                false => rng.bytes(s.key_size as usize),
            })
            .collect();
        let zero = vec![0; map.user_value_size(0)];
        let all = |i: &u32| i.to_ne_bytes().to_vec();
        let is = match array {
            true => (0..s.max_entries)
                .map(|i| (all(&i), zero.clone()))
                .collect(),
            false => BTreeMap::new(),
        };
        Model {
            map,
            rng,
            keys: keys.into_iter().collect(),
            is,
        }
    }

    /// Uses `n` of the keys only.
    pub(super) fn use_keys(&mut self, n: usize) {
        self.keys.truncate(n);
    }

    /// Does `n` operations.
    pub(super) fn run(&mut self, n: u32) {
        for i in 0..n {
            let k = self.rng.below(self.keys.len() as u64) as usize;
            let key = self.keys[k].clone();
            match self.rng.below(8) {
                0..=2 => self.update(&key),
                3 => self.delete(&key),
                4 => self.lookup_and_delete(&key),
                5 => self.write_in_place(&key),
                _ => self.lookup(&key),
            }
            if i % 64 == 0 {
                self.walk();
            }
            if i % 512 == 511 && !is_array(self.map.spec.ty) {
                self.empty();
            }
        }
        self.walk();
        if self.map.bulk() == Bulk::Buckets {
            for room in [1, 3, 8, 1000] {
                self.walk_buckets(room, false);
            }
            self.walk_buckets(40, true);
        }
    }

    /// All entries bucket by bucket, at most `room` at once: each once, and gone with `delete`.
    fn walk_buckets(&mut self, room: usize, delete: bool) {
        let (key, value) = (self.map.spec.key_size as usize, self.map.user_value_size(0));
        let (mut cursor, mut room) = (0, room);
        let mut seen = BTreeMap::new();
        loop {
            let (mut keys, mut values) = (vec![0; room * key], vec![0; room * value]);
            let (n, step) = self
                .map
                .batch(&mut cursor, &mut keys, &mut values, 0, delete, true)
                .unwrap();
            assert!(n <= room);
            for (k, v) in keys.chunks(key).zip(values.chunks(value)).take(n) {
                assert_eq!(seen.insert(k.to_vec(), v.to_vec()), None);
                let mut out = vec![0; value];
                assert_eq!(self.map.lookup(k, &mut out, 0).is_err(), delete);
            }
            match step {
                Step::End => break,
                Step::More => assert!(self.map.has_cursor(cursor)),
                // Only a chain is never cut.
                Step::Room(need) => {
                    assert!(n == 0 && need > room);
                    room = need;
                }
            }
        }
        assert_eq!(seen, self.is);
        if delete {
            self.is.clear();
            self.walk();
        }
    }

    /// A random value as user space gives it; what is between two CPUs' values is zero.
    fn value(&mut self) -> Vec<u8> {
        let size = self.map.spec.value_size as usize;
        let mut v = vec![0; self.map.user_value_size(0)];
        for one in v.chunks_mut(size.next_multiple_of(8)) {
            let n = size.min(one.len());
            one[..n].copy_from_slice(&self.rng.bytes(n));
        }
        v
    }

    fn update(&mut self, key: &[u8]) {
        let value = self.value();
        let flags = self.rng.below(4);
        let want = self.may_update(key, flags);
        assert_eq!(self.map.update(key, &value, flags), want);
        if want.is_ok() {
            self.is.insert(key.to_vec(), value);
        }
        self.lookup(key);
        if self.map.spec.ty.is_percpu() {
            self.update_some_cpus(key);
        }
    }

    fn may_update(&self, key: &[u8], flags: u64) -> Result {
        let there = self.is.contains_key(key);
        let full = self.is.len() == self.map.spec.max_entries as usize;
        match flags {
            // In-tree takes this one for values of CPUs.
            3 if !self.map.spec.ty.is_percpu() => Err(EINVAL),
            _ if is_array(self.map.spec.ty) && !there => Err(E2BIG),
            1 if there => Err(EEXIST),
            2 if !there => Err(ENOENT),
            _ if !there && full => Err(E2BIG),
            _ => Ok(()),
        }
    }

    /// Updates of one CPU's value or of all with one, by user space or a program.
    fn update_some_cpus(&mut self, key: &[u8]) {
        let size = self.map.spec.value_size as usize;
        let padded = size.next_multiple_of(8);
        let one = self.rng.bytes(size);
        let cpu = self.rng.below(cpus::ids() as u64) as usize;
        let want = self.may_update(key, 0);
        let all = match self.rng.below(3) {
            0 => {
                assert_eq!(self.map.update(key, &one, F_ALL_CPUS), want);
                true
            }
            1 => {
                assert_eq!(
                    self.map.update(key, &one, F_CPU | ((cpu as u64) << 32)),
                    want
                );
                false
            }
            _ => {
                cpus::set_current(cpu);
                assert_eq!(
                    self.map.prog_update_quick(key.into(), one[..].into(), 0),
                    want
                );
                false
            }
        };
        if want.is_ok() {
            let zero = vec![0; self.map.user_value_size(0)];
            let v = self.is.entry(key.to_vec()).or_insert(zero);
            for (i, v) in v.chunks_mut(padded).enumerate() {
                if all || i == cpu {
                    v[..size].copy_from_slice(&one);
                }
            }
            let mut got = vec![0; size];
            self.map
                .lookup(key, &mut got, F_CPU | ((cpu as u64) << 32))
                .unwrap();
            assert_eq!(got, one);
        }
        self.lookup(key);
    }

    fn delete(&mut self, key: &[u8]) {
        let want = match self.map.spec.ty {
            ty if is_array(ty) => Err(EINVAL),
            _ => self.is.remove(key).map(drop).ok_or(ENOENT),
        };
        assert_eq!(self.map.delete(key), want);
        self.lookup(key);
    }

    fn lookup_and_delete(&mut self, key: &[u8]) {
        let mut out = vec![0; self.map.user_value_size(0)];
        let got = self.map.lookup_and_delete(key, &mut out, 0).map(|()| out);
        let want = match self.map.spec.ty {
            ty if is_array(ty) => Err(ENOTSUPP),
            _ => self.is.remove(key).ok_or(ENOENT),
        };
        assert_eq!(got, want);
        self.lookup(key);
    }

    fn lookup(&mut self, key: &[u8]) {
        let mut out = vec![0; self.map.user_value_size(0)];
        let got = self.map.lookup(key, &mut out, 0).map(|()| &out);
        assert_eq!(got, self.is.get(key).ok_or(ENOENT));
        assert_eq!(
            self.map.lookup_addr(key).is_some(),
            self.is.contains_key(key)
        );
    }

    /// Updates of one value leave the others as they are.
    fn write_in_place(&mut self, key: &[u8]) {
        if self.is.contains_key(key) {
            let value = self.value();
            assert_eq!(self.map.update(key, &value, 2), Ok(()));
            self.is.insert(key.to_vec(), value);
        }
    }

    /// All keys, each once.
    fn walk(&mut self) {
        let mut next = vec![0; self.map.spec.key_size as usize];
        let mut key: Option<Vec<u8>> = None;
        let mut seen = BTreeSet::new();
        loop {
            match self.map.next_key(key.as_deref(), &mut next) {
                Ok(()) => assert!(seen.insert(next.clone())),
                Err(e) => {
                    assert_eq!(e, ENOENT);
                    break;
                }
            }
            key = Some(next.clone());
        }
        assert!(seen.iter().eq(self.is.keys()));
        if let Some(stranger) = self.keys.iter().find(|k| !self.is.contains_key(*k)) {
            let first = self.map.next_key(None, &mut next).map(|()| next.clone());
            assert_eq!(
                self.map.next_key(Some(stranger), &mut next).map(|()| next),
                first
            );
        }
    }

    /// Deletes while walking, as tools do that empty a map.
    fn empty(&mut self) {
        let mut next = vec![0; self.map.spec.key_size as usize];
        while self.map.next_key(None, &mut next).is_ok() {
            assert_eq!(self.map.delete(&next), Ok(()));
            assert!(self.is.remove(&next).is_some());
        }
        assert!(self.is.is_empty());
    }
}
