// SPDX-License-Identifier: GPL-2.0

//! Maps whose elements have operations of their own: call chains, and what descriptors name.

use super::*;
use crate::map::map_hash::Entry;

/// A description of each.
pub(super) fn good() -> impl Iterator<Item = MapSpec> {
    let arrays = [
        MapType::ProgArray,
        MapType::PerfEventArray,
        MapType::CgroupArray,
        MapType::ArrayOfMaps,
        MapType::HashOfMaps,
    ];
    let chains = [(8, 1), (24, 10)].map(|(size, n)| spec(MapType::StackTrace, 4, size, n));
    let arrays = arrays.into_iter().map(|ty| spec(ty, 4, 4, 10));
    arrays.chain(chains)
}

/// All keys of `map` by asking for the next one.
fn keys(map: &Map, size: usize) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut next = vec![0; size];
    while map.next_key(all.last().map(|k| &k[..]), &mut next).is_ok() {
        all.push(next.clone());
    }
    all
}

#[test]
fn call_chains_are_their_model() {
    /// `BPF_F_REUSE_STACKID`
    const REUSE: u64 = 1 << 10;

    for (depth, entries) in [(1, 1), (3, 4), (4, 21), (2, 64)] {
        let s = spec(MapType::StackTrace, 4, depth * 8, entries);
        let (map, other) = (Map::new(&s).unwrap(), Map::new(&s).unwrap());
        let (table, other) = (map.stack_trace().unwrap(), other.stack_trace().unwrap());
        let numbers = entries.next_power_of_two();
        let mut rng = Rng::new(depth.into());
        let mut is: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        let mut seen = [0; 4];
        for _ in 0..if cfg!(miri) { 100 } else { 5_000 } {
            let number = rng.below(u64::from(numbers) + 2) as u32;
            let key = number.to_ne_bytes();
            let whole = |chain: &Vec<u64>| {
                let mut value: Vec<u8> = chain.iter().flat_map(|ip| ip.to_ne_bytes()).collect();
                value.resize(depth as usize * 8, 0);
                value
            };
            let mut out = vec![0xaa; depth as usize * 8];
            match rng.below(8) {
                0 => {
                    let got = map.lookup(&key, &mut out, 0).map(|()| out);
                    assert_eq!(got, is.get(&number).map(whole).ok_or(ENOENT));
                }
                1 => {
                    let got = map.lookup_and_delete(&key, &mut out, 0).map(|()| out);
                    assert_eq!(got, is.remove(&number).as_ref().map(whole).ok_or(ENOENT));
                }
                2 => {
                    let want = match is.remove(&number) {
                        Some(_) => Ok(()),
                        None if number < numbers => Err(ENOENT),
                        None => Err(E2BIG),
                    };
                    assert_eq!(map.delete(&key), want);
                }
                3 => {
                    let want: Vec<_> = is.keys().map(|k| k.to_ne_bytes().to_vec()).collect();
                    assert_eq!(keys(&map, 4), want);
                }
                _ => {
                    let ips: Vec<u64> = (0..rng.below(u64::from(depth) + 3))
                        .map(|_| rng.below(12))
                        .collect();
                    let (skip, reuse) = (rng.below(3), rng.below(2) * REUSE);
                    let bytes: Vec<u8> = ips.iter().flat_map(|ip| ip.to_ne_bytes()).collect();
                    let bytes = || Bytes::from(&bytes[..]);
                    let kept = ips.into_iter().skip(skip as usize);
                    let kept: Vec<u64> = kept.take(depth as usize).collect();
                    // A chain's number is the same in all tables of that size.
                    let want = other.id(bytes(), skip).and_then(|n| {
                        other.delete(n.to_ne_bytes()[..].into())?;
                        match is.get(&n) {
                            Some(old) if *old == kept => return Ok(n),
                            Some(_) if reuse == 0 => return Err(EEXIST),
                            // Who replaces needs an element first.
                            _ if is.len() == entries as usize => return Err(ENOMEM),
                            _ => is.insert(n, kept.clone()),
                        };
                        Ok(n)
                    });
                    assert_eq!(want == Err(EFAULT), kept.is_empty());
                    assert_eq!(table.id(bytes(), skip | reuse), want);
                    let which = [Ok(0), Err(EEXIST), Err(ENOMEM), Err(EFAULT)];
                    let which = which.iter().position(|w| *w == want.map(|_| 0));
                    seen[which.unwrap()] += 1;
                }
            }
        }
        // With as many elements as numbers there is always one.
        assert!(cfg!(miri) || seen[0] > 0 && seen[1] > 0 && seen[3] > 0);
        assert_eq!(
            cfg!(miri) || seen[2] > 0,
            cfg!(miri) || entries != 64,
            "{seen:?}"
        );
    }
}

#[test]
fn maps_by_key_are_their_model() {
    for (key_size, entries) in [(4, 1), (8, 7), (20, 30)] {
        let s = spec(MapType::HashOfMaps, key_size, 4, entries);
        let map = Map::new(&s).unwrap();
        let table = map.map_hash().unwrap();
        let mut rng = Rng::new(entries.into());
        let mut is: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        for round in 0..if cfg!(miri) { 100 } else { 3_000 } {
            let mut key = vec![0; key_size as usize];
            key[0] = rng.below(u64::from(entries) * 2) as u8;
            let there = is.get(&key).copied();
            assert_eq!(table.get(&key), there.ok_or(ENOENT));
            let word = there.map_or(0, |e| e.word);
            assert_eq!(table.word_of(key[..].into()), word);
            match rng.below(4) {
                0 => {
                    let gone = is.remove(&key).map(drop).ok_or(ENOENT);
                    assert_eq!(table.remove(&key), gone);
                }
                1 => {
                    let mut all = keys(&map, key_size as usize);
                    all.sort();
                    assert_eq!(all, is.keys().cloned().collect::<Vec<_>>());
                }
                _ => {
                    let flags = rng.below(4);
                    let entry = Entry {
                        word: round + 1,
                        place: round as u32,
                    };
                    let want = match (flags, there) {
                        (3.., _) => Err(EINVAL),
                        (1, Some(_)) => Err(EEXIST),
                        (2, None) => Err(ENOENT),
                        (_, None) if is.len() == entries as usize => Err(E2BIG),
                        _ => Ok(()),
                    };
                    assert_eq!(table.set(&key, entry, flags), want);
                    if want.is_ok() {
                        is.insert(key, entry);
                    }
                }
            }
        }
    }
}

#[test]
fn words_by_index_are_their_model() {
    for ty in [MapType::ProgArray, MapType::ArrayOfMaps] {
        let map = Map::new(&spec(ty, 4, 4, 9)).unwrap();
        let table = map.fd_array().unwrap();
        let mut rng = Rng::new(9);
        let mut is = [0; 9];
        for word in 1..500 {
            let index = rng.below(12) as u32;
            let key = index.to_ne_bytes();
            let want = is.get(index as usize).copied();
            assert_eq!(table.get(index), want.unwrap_or(0));
            assert_eq!(table.word_of(key[..].into()), want.unwrap_or(0));
            assert_eq!(table.index(&key), want.map(|_| index));
            let word = word * rng.below(2);
            table.set(index, word);
            if let Some(is) = is.get_mut(index as usize) {
                *is = word;
            }
        }
    }
}
