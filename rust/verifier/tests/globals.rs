// SPDX-License-Identifier: GPL-2.0

//! Global functions: what is refused here only, what is said, and memory that ends. The selftests compare the
//! rules with bpf(2).

use super::*;
use crate::verifier::source::Func;

/// The world with type information and records of functions.
struct Typed {
    world: World,
    btf: Btf,
    source: Source,
}

impl Env for Typed {
    fn use_map_fd(&mut self, fd: i32) -> Result<u32> {
        self.world.use_map_fd(fd)
    }

    fn use_map_idx(&mut self, idx: i32) -> Result<u32> {
        self.world.use_map_idx(idx)
    }

    fn map(&self, index: u32) -> Option<MapFacts> {
        self.world.map(index)
    }

    fn read_frozen(&self, index: u32, off: u32, buf: &mut [u8]) -> bool {
        self.world.read_frozen(index, off, buf)
    }

    fn btf(&self) -> Option<&Btf> {
        Some(&self.btf)
    }

    fn source(&self) -> Option<&Source> {
        Some(&self.source)
    }

    fn interrupted(&mut self) -> bool {
        false
    }
}

/// Offsets of names.
const STRINGS: &[u8] = b"\0int\0main\0g\0arg\0bpf_dynptr\0h\0arg:trusted\0";

/// Types 1: `int`, 2: a pointer to it, 3: `struct bpf_dynptr` of 16 bytes, 4: a pointer to it;
/// 5: `int (*)(int)` without pointer, 6: of type 2, 7: of type 4; 8: `main`, 9 to 11: `g` of these, 12: `h`
/// of type 5, 13 and 14: `g` of type 2 with a tag.
fn btf() -> Btf {
    let proto = |arg: u32| [0, (13 << 24) | 1, 1, 12, arg];
    let func = |name: u32, proto: u32| [name, (12 << 24) | 1, proto];
    let types: Vec<u32> = [
        &[1, 1 << 24, 4, (1 << 24) | 32][..],
        &[0, 2 << 24, 1],
        &[16, 4 << 24, 16],
        &[0, 2 << 24, 3],
        &proto(1),
        &proto(2),
        &proto(4),
        &func(5, 5),
        &func(10, 5),
        &func(10, 6),
        &func(10, 7),
        &func(27, 5),
        &func(10, 6),
        &[29, 17 << 24, 13, 0],
    ]
    .concat();
    let len = types.len() as u32 * 4;
    let mut data = KVVec::new();
    let mut push = |bytes: &[u8]| data.extend_from_slice(bytes, GFP_KERNEL).unwrap();
    push(&[0x9f, 0xeb, 1, 0]);
    for word in [24, 0, len, len, STRINGS.len() as u32].iter().chain(&types) {
        push(&word.to_le_bytes());
    }
    push(STRINGS);
    Btf::parse(data, &mut Log::none()).unwrap()
}

fn typed(funcs: &[(u32, u32)]) -> Typed {
    let mut source = Source::default();
    for &(slot, ty) in funcs {
        source.funcs.push(Func { slot, ty }, GFP_KERNEL).unwrap();
    }
    let used = Vec::with_capacity(4);
    Typed {
        world: World { used },
        btf: btf(),
        source,
    }
}

fn load(prog: &[RawInsn], funcs: &[(u32, u32)], level: u32) -> (Result<VerifiedProg>, String) {
    let mut log = Log::new(level, 1 << 20);
    let options = options(ProgType::SocketFilter);
    let verdict = verify(prog, &options, &mut typed(funcs), &mut log);
    let (a, b) = log.text();
    let text = [a, b].concat();
    (verdict, String::from_utf8_lossy(&text).into_owned())
}

/// Main calls `g`, which calls `h`.
const CHAIN: [RawInsn; 8] = [
    mov(1, 7),
    sub(2),
    mov(0, 0),
    EXIT,
    sub(1),
    EXIT,
    movx(0, 1),
    EXIT,
];
const CHAIN_FUNCS: [(u32, u32); 3] = [(0, 8), (4, 9), (6, 12)];

#[test]
fn each_is_verified_when_it_is_its_turn() {
    let (v, log) = load(&CHAIN, &CHAIN_FUNCS, 2);
    assert!(v.is_ok(), "{log}");
    let said: Vec<&str> = log
        .lines()
        .filter(|l| l.starts_with("Func#") || l.starts_with("Validating"))
        .collect();
    assert_eq!(
        said,
        [
            "Func#1 ('g') is global and assumed valid.",
            "Validating g() func#1...",
            "Func#2 ('h') is global and assumed valid.",
            "Func#1 ('g') is safe for any args that match its prototype",
            "Validating h() func#2...",
            "Func#2 ('h') is safe for any args that match its prototype",
        ]
    );
    assert_eq!(v.unwrap().processed(), 8);
}

#[test]
fn one_that_nobody_calls_is_dropped() {
    // As a static function it would be refused for its load, had anybody called it.
    let mut prog = CHAIN;
    prog[6] = ldx(0, 1, 0);
    let (v, log) = load(&prog, &CHAIN_FUNCS, 2);
    assert_eq!(v.err(), Some(EACCES), "{log}");
    prog[4] = mov(0, 0);
    let dead = [
        mov(6, 0),
        jeq(6, 0, 1),
        sub(2),
        mov(0, 0),
        EXIT,
        ldx(0, 1, 0),
        EXIT,
    ];
    let funcs = [(0, 8), (5, 9)];
    let (v, log) = load(&dead, &funcs, 2);
    let v = v.unwrap_or_else(|e| panic!("{e:?}\n{log}"));
    assert_eq!(v.code().subprogs.len(), 1);
}

#[test]
fn what_is_only_in_tree_is_refused() {
    let prog = [mov(1, 0), sub(1), EXIT, mov(0, 0), EXIT];
    for (ty, errno, words) in [
        (9, None, "is safe for any args"),
        (10, None, "is safe for any args"),
        (
            11,
            Some(ENOTSUPP),
            "arg#0 is a dynptr, which is not supported\n",
        ),
        (
            13,
            Some(ENOTSUPP),
            "arg#0 has a tag that is not supported\n",
        ),
    ] {
        let (v, log) = load(&prog, &[(0, 8), (3, ty)], 1);
        assert_eq!(v.err(), errno, "{ty}: {log}");
        assert!(log.contains(words), "{ty}: {log}");
    }
}

#[test]
fn every_allocation_may_fail() {
    let options = options(ProgType::SocketFilter);
    for n in 0.. {
        let mut world = typed(&CHAIN_FUNCS);
        kernel::alloc::fail::after(Some(n));
        let v = verify(&CHAIN, &options, &mut world, &mut Log::none());
        kernel::alloc::fail::after(None);
        match v {
            Ok(_) => break,
            Err(e) => assert_eq!(e, ENOMEM, "after {n} allocations"),
        }
    }
}
