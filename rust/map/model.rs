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

/// A map and what must be in it.
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
        let array = s.ty == MapType::Array;
        let n = u64::from(s.max_entries) * 3 / 2 + 2;
        let keys: BTreeSet<Vec<u8>> = (0..n)
            .map(|i| match array {
                true => (i as u32).to_ne_bytes().to_vec(),
                false => rng.bytes(s.key_size as usize),
            })
            .collect();
        let zero = vec![0; s.value_size as usize];
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
            if i % 512 == 511 && self.map.spec.ty != MapType::Array {
                self.empty();
            }
        }
        self.walk();
    }

    fn update(&mut self, key: &[u8]) {
        let value = self.rng.bytes(self.map.spec.value_size as usize);
        let flags = self.rng.below(4);
        let there = self.is.contains_key(key);
        let array = self.map.spec.ty == MapType::Array;
        let full = self.is.len() == self.map.spec.max_entries as usize;
        let want = match flags {
            3 => Err(EINVAL),
            _ if array && !there => Err(E2BIG),
            1 if there => Err(EEXIST),
            2 if !there => Err(ENOENT),
            _ if !there && full => Err(E2BIG),
            _ => Ok(()),
        };
        assert_eq!(self.map.update(key, &value, flags), want);
        if want.is_ok() {
            self.is.insert(key.to_vec(), value);
        }
        self.lookup(key);
    }

    fn delete(&mut self, key: &[u8]) {
        let want = match self.map.spec.ty {
            MapType::Array => Err(EINVAL),
            _ => self.is.remove(key).map(drop).ok_or(ENOENT),
        };
        assert_eq!(self.map.delete(key), want);
        self.lookup(key);
    }

    fn lookup_and_delete(&mut self, key: &[u8]) {
        let mut out = vec![0; self.map.spec.value_size as usize];
        let got = self.map.lookup_and_delete(key, &mut out).map(|()| out);
        let want = match self.map.spec.ty {
            MapType::Array => Err(ENOTSUPP),
            _ => self.is.remove(key).ok_or(ENOENT),
        };
        assert_eq!(got, want);
        self.lookup(key);
    }

    fn lookup(&mut self, key: &[u8]) {
        let mut out = vec![0; self.map.spec.value_size as usize];
        let got = self.map.lookup(key, &mut out).map(|()| &out);
        assert_eq!(got, self.is.get(key).ok_or(ENOENT));
        assert_eq!(
            self.map.lookup_addr(key).is_some(),
            self.is.contains_key(key)
        );
    }

    /// Updates of one value leave the others as they are.
    fn write_in_place(&mut self, key: &[u8]) {
        if self.is.contains_key(key) {
            let value = self.rng.bytes(self.map.spec.value_size as usize);
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
