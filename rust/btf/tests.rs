// SPDX-License-Identifier: GPL-2.0

//! Small blobs; tools/fixtures compares a list of them, and random changes, with bpf(2).

use super::*;
use std::vec::Vec;

/// A blob of words for types, and strings.
fn blob(types: &[u32], strings: &[u8]) -> Vec<u8> {
    let len = types.len() as u32 * 4;
    let mut out = std::vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, len, len, strings.len() as u32].iter().chain(types) {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(strings);
    out
}

fn parse(blob: &[u8]) -> Result<Btf> {
    let mut data = KVVec::new();
    data.extend_from_slice(blob, GFP_KERNEL)?;
    Btf::parse(data, &mut Log::none())
}

const INT: [u32; 4] = [1, 1 << 24, 4, (1 << 24) | 32];
/// `struct bpf_spin_lock { int val; }`, number 2; `struct s { int a; struct bpf_spin_lock l; }`, number 3.
const LOCKED: [u32; 19] = [
    1,
    1 << 24,
    4,
    (1 << 24) | 32,
    5,
    (4 << 24) | 1,
    4,
    0,
    1,
    0,
    0,
    (4 << 24) | 2,
    8,
    0,
    1,
    0,
    0,
    2,
    32,
];

#[test]
fn types_and_names() {
    let btf = parse(&blob(&INT, b"\0int\0")).unwrap();
    assert_eq!(btf.types(), 2);
    let t = btf.ty(1).unwrap();
    assert_eq!((t.kind, t.size), (Kind::Int, 4));
    assert_eq!(btf.string(t.name), Some(&b"int"[..]));
    assert_eq!(btf.string(5), None);
    assert_eq!(btf.sized(1), Some((t, 4)));
    assert_eq!(btf.ty(2), None);
    assert_eq!(btf.sized(0), None);
}

#[test]
fn finds_a_lock() {
    let btf = parse(&blob(&LOCKED, b"\0int\0bpf_spin_lock\0")).unwrap();
    let t = btf.ty(3).unwrap();
    let record = btf.value_fields(&t, 8).unwrap().unwrap();
    let lock = Field {
        kind: FieldKind::SpinLock,
        offset: 4,
        size: 4,
    };
    assert_eq!(record.fields(), [lock]);
    assert_eq!(btf.value_fields(&t, 4).err(), Some(EFAULT));
    let int = btf.ty(1).unwrap();
    assert_eq!(btf.value_fields(&int, 4).err(), Some(EINVAL));
}

/// `ENOMEM` whichever allocation fails.
#[test]
fn without_memory() {
    let bytes = blob(&LOCKED, b"\0int\0bpf_spin_lock\0");
    for n in 0.. {
        kernel::alloc::fail::after(Some(n));
        let result = parse(&bytes);
        kernel::alloc::fail::after(None);
        match result {
            Ok(_) => {
                assert!(n >= 4, "{n}");
                return;
            }
            Err(e) => assert_eq!(e, ENOMEM, "{n}"),
        }
    }
}

/// Random words in all places: an answer, whatever it is.
#[test]
fn random_words() {
    let good = blob(&LOCKED, b"\0int\0bpf_spin_lock\0");
    let mut seed = 88_172_645_463_325_252u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 9) as usize
    };
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..1 + next() % 4 {
            let at = next() % bytes.len();
            bytes[at] = [0, 1, 2, 0xff, next() as u8][next() % 5];
        }
        bytes.truncate(bytes.len() - (next() % 40) / 39);
        if let Ok(btf) = parse(&bytes) {
            for id in 0..btf.types() {
                let _ = btf.sized(id);
                let _ = btf.skip_modifiers(id);
                let t = btf.ty(id).unwrap();
                let _ = btf.value_fields(&t, t.size);
            }
        }
    }
}
