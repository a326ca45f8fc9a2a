// SPDX-License-Identifier: GPL-2.0

//! Whole programs: what is accepted, what is refused, and with which words.

mod callbacks;
mod globals;
mod refs;

use super::*;
use crate::isa::{Insn, RawInsn};
use std::string::String;
use std::vec::Vec;

/// A world with the maps that the tests use; fd `n` is map `n - 1`.
struct World {
    used: Vec<i32>,
}

const HASH_8_48: i32 = 1;
const ARRAY_48: i32 = 2;
const ARRAY_RDONLY: i32 = 3;
const RING: i32 = 4;
const QUEUE: i32 = 5;

fn facts(fd: i32) -> Option<MapFacts> {
    let hash = MapFacts {
        ty: MapType::Hash,
        key_size: 8,
        value_size: 48,
        max_entries: 4,
        rdonly_prog: false,
        wronly_prog: false,
        frozen: false,
        direct_value: false,
        any_size: false,
        lock: None,
    };
    let array = MapFacts {
        ty: MapType::Array,
        key_size: 4,
        max_entries: 1,
        direct_value: true,
        ..hash
    };
    match fd {
        HASH_8_48 => Some(hash),
        ARRAY_48 => Some(array),
        ARRAY_RDONLY => Some(MapFacts {
            rdonly_prog: true,
            ..array
        }),
        RING => Some(MapFacts {
            ty: MapType::Ringbuf,
            key_size: 0,
            value_size: 0,
            max_entries: 4096,
            ..hash
        }),
        QUEUE => Some(MapFacts {
            ty: MapType::Queue,
            key_size: 0,
            value_size: 16,
            ..hash
        }),
        _ => None,
    }
}

impl Env for World {
    fn use_map_fd(&mut self, fd: i32) -> Result<u32> {
        facts(fd).ok_or(EBADF)?;
        let at = match self.used.iter().position(|u| *u == fd) {
            Some(at) => at,
            None => {
                self.used.push(fd);
                self.used.len() - 1
            }
        };
        Ok(at as u32)
    }

    fn use_map_idx(&mut self, _idx: i32) -> Result<u32> {
        Err(EBADF)
    }

    fn map(&self, index: u32) -> Option<MapFacts> {
        self.used.get(index as usize).and_then(|fd| facts(*fd))
    }

    fn read_frozen(&self, _index: u32, _off: u32, _buf: &mut [u8]) -> bool {
        false
    }

    fn interrupted(&mut self) -> bool {
        false
    }
}

fn options(prog_type: ProgType) -> Options {
    Options {
        prog_type,
        attach_type: 0,
        gpl: true,
        allow_ptr_leaks: true,
        bpf_capable: true,
        strict_alignment: false,
        test_state_freq: false,
        layout: crate::ctx::KernelLayout::default(),
    }
}

/// Verifies as root and returns the verdict and the log.
fn run(prog: &[RawInsn], level: u32, options: &Options) -> (Result<VerifiedProg>, String) {
    let mut log = Log::new(level, 1 << 24);
    let mut world = World { used: Vec::new() };
    let verdict = verify(prog, options, &mut world, &mut log);
    let (a, b) = log.text();
    let mut text = String::from_utf8_lossy(a).into_owned();
    text.push_str(&String::from_utf8_lossy(b));
    (verdict, text)
}

#[track_caller]
fn accepted(prog: &[RawInsn]) -> VerifiedProg {
    let (v, log) = run(prog, 2, &options(ProgType::SocketFilter));
    match v {
        Ok(v) => v,
        Err(e) => panic!("refused with {e:?}\n{log}"),
    }
}

#[track_caller]
fn refused(prog: &[RawInsn], errno: Error, words: &str) {
    let (v, log) = run(prog, 2, &options(ProgType::SocketFilter));
    assert_eq!(v.err(), Some(errno), "\n{log}");
    assert!(log.contains(words), "no {words:?} in\n{log}");
}

const fn i(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> RawInsn {
    RawInsn::new(code, dst, src, off, imm)
}
const fn mov(dst: u8, imm: i32) -> RawInsn {
    i(0xb7, dst, 0, 0, imm)
}
const fn movx(dst: u8, src: u8) -> RawInsn {
    i(0xbf, dst, src, 0, 0)
}
const fn add(dst: u8, imm: i32) -> RawInsn {
    i(0x07, dst, 0, 0, imm)
}
const fn addx(dst: u8, src: u8) -> RawInsn {
    i(0x0f, dst, src, 0, 0)
}
const fn call(id: i32) -> RawInsn {
    i(0x85, 0, 0, 0, id)
}
const fn sub(off: i32) -> RawInsn {
    i(0x85, 0, 1, 0, off)
}
const EXIT: RawInsn = i(0x95, 0, 0, 0, 0);
const fn ldx(dst: u8, src: u8, off: i16) -> RawInsn {
    i(0x79, dst, src, off, 0)
}
const fn ldxw(dst: u8, src: u8, off: i16) -> RawInsn {
    i(0x61, dst, src, off, 0)
}
const fn stx(dst: u8, src: u8, off: i16) -> RawInsn {
    i(0x7b, dst, src, off, 0)
}
const fn st(dst: u8, off: i16, imm: i32) -> RawInsn {
    i(0x7a, dst, 0, off, imm)
}
const fn jeq(dst: u8, imm: i32, off: i16) -> RawInsn {
    i(0x15, dst, 0, off, imm)
}
const fn jne(dst: u8, imm: i32, off: i16) -> RawInsn {
    i(0x55, dst, 0, off, imm)
}
const fn jlt(dst: u8, imm: i32, off: i16) -> RawInsn {
    i(0xa5, dst, 0, off, imm)
}
const fn jgt(dst: u8, imm: i32, off: i16) -> RawInsn {
    i(0x25, dst, 0, off, imm)
}
const fn ja(off: i16) -> RawInsn {
    i(0x05, 0, 0, off, 0)
}
const fn map(dst: u8, fd: i32) -> RawInsn {
    i(0x18, dst, 1, 0, fd)
}
const HOLE: RawInsn = i(0, 0, 0, 0, 0);

const LOOKUP: i32 = 1;
const PRANDOM: i32 = 7;

/// `r0 = lookup(hash, fp-8)` in six slots.
const fn lookup() -> [RawInsn; 6] {
    [
        st(10, -8, 0),
        movx(2, 10),
        add(2, -8),
        map(1, HASH_8_48),
        HOLE,
        call(LOOKUP),
    ]
}

fn join(parts: &[&[RawInsn]]) -> Vec<RawInsn> {
    parts.concat()
}

#[test]
fn smallest() {
    accepted(&[mov(0, 0), EXIT]);
    refused(&[EXIT], EACCES, "R0 !read_ok");
    refused(&[movx(0, 2), EXIT], EACCES, "R2 !read_ok");
    refused(&[mov(10, 0), EXIT], EACCES, "frame pointer is read only");
}

#[test]
fn control_flow() {
    refused(&[mov(0, 0), EXIT, EXIT], EINVAL, "unreachable insn 2");
    refused(&[mov(0, 0), ja(-1), EXIT], EINVAL, "unreachable insn 2");
    refused(
        &[mov(0, 0), jeq(1, 0, -2), EXIT],
        EINVAL,
        "infinite loop detected at insn",
    );
    let mut o = options(ProgType::SocketFilter);
    o.bpf_capable = false;
    o.allow_ptr_leaks = false;
    let (v, log) = run(&[mov(0, 0), jeq(0, 1, -2), EXIT], 2, &o);
    assert_eq!(v.err(), Some(EINVAL));
    assert!(log.contains("back-edge from insn 1 to 0"), "{log}");
}

#[test]
fn bounded_loop() {
    // for (r1 = 0; r1 < 100; r1++) r0 += 1
    accepted(&[
        mov(0, 0),
        mov(1, 0),
        add(0, 1),
        add(1, 1),
        jlt(1, 100, -3),
        EXIT,
    ]);
    // The counter never changes.
    refused(
        &[mov(0, 0), mov(1, 0), add(0, 0), jlt(1, 100, -2), EXIT],
        EINVAL,
        "infinite loop detected at insn",
    );
}

#[test]
fn limits() {
    let loops = [mov(0, 0), add(0, 1), jlt(0, 1_000_000, -2), EXIT];
    let (v, log) = run(&loops, 1, &options(ProgType::SocketFilter));
    assert_eq!(v.err(), Some(E2BIG));
    assert!(log.contains("BPF program is too large. Processed 1000001 insn"));
    // Branches that all wait: each side keeps r6 different, and r6 matters in the end.
    let mut prog = vec![movx(9, 1), mov(6, 0)];
    for _ in 0..8193 {
        prog.extend([call(PRANDOM), jeq(0, 0, 1), add(6, 1)]);
    }
    prog.extend([mov(0, 0), EXIT]);
    let (v, log) = run(&prog, 1, &options(ProgType::SocketFilter));
    assert_eq!(v.err(), Some(E2BIG), "{log}");
    assert!(log.contains("The sequence of 8193 jumps is too complex."));
}

#[test]
fn map_value_access() {
    // Not checked against NULL.
    refused(
        &join(&[&lookup(), &[ldx(0, 0, 0), EXIT]]),
        EACCES,
        "R0 invalid mem access 'map_value_or_null'",
    );
    accepted(&join(&[
        &lookup(),
        &[jeq(0, 0, 2), ldx(1, 0, 40), mov(0, 1), mov(0, 0), EXIT],
    ]));
    refused(
        &join(&[&lookup(), &[jeq(0, 0, 1), ldx(1, 0, 41), mov(0, 0), EXIT]]),
        EACCES,
        "invalid access to map value, value_size=48 off=41 size=8",
    );
    // NULL checks reach copies and spills.
    accepted(&join(&[
        &lookup(),
        &[
            movx(6, 0),
            stx(10, 0, -16),
            jne(0, 0, 2),
            mov(0, 0),
            EXIT,
            ldx(1, 6, 0),
            ldx(7, 10, -16),
            ldx(1, 7, 0),
            mov(0, 0),
            EXIT,
        ],
    ]));
}

#[test]
fn variable_index() {
    let prog = |limit: i32| {
        join(&[
            &lookup(),
            &[
                jne(0, 0, 2),
                mov(0, 0),
                EXIT,
                ldx(1, 0, 0),
                jgt(1, limit, 2),
                addx(0, 1),
                ldx(1, 0, 0),
                mov(0, 0),
                EXIT,
            ],
        ])
    };
    accepted(&prog(40));
    refused(
        &prog(41),
        EACCES,
        "R0 max value is outside of the allowed memory range",
    );
}

#[test]
fn precision_keeps_what_matters() {
    // Two paths join with r6 = 0 or r6 = 100; the offset makes r6 precise, so the second path
    // must not be pruned against the first.
    let prog = |second: i32| {
        join(&[
            &[call(PRANDOM), movx(7, 0), mov(6, 0)],
            &[jeq(7, 5, 1), ja(1), mov(6, second)],
            &[ja(0), ja(0), ja(0), ja(0), ja(0), ja(0), ja(0), ja(0)],
            &lookup(),
            &[
                jne(0, 0, 2),
                mov(0, 0),
                EXIT,
                addx(0, 6),
                ldx(1, 0, 0),
                mov(0, 0),
                EXIT,
            ],
        ])
    };
    accepted(&prog(40));
    refused(&prog(100), EACCES, "invalid access to map value");
}

#[test]
fn imprecise_numbers_prune() {
    // 30 branches that only change a number nobody relies on: linear, not 2^30.
    let mut prog = vec![mov(6, 0)];
    for k in 0..30 {
        prog.extend([call(PRANDOM), jeq(0, k, 1), add(6, k)]);
    }
    prog.extend([movx(0, 6), EXIT]);
    accepted(&prog);
}

#[test]
fn stack() {
    accepted(&[st(10, -8, 1), ldx(0, 10, -8), EXIT]);
    refused(
        &[st(10, -520, 1), mov(0, 0), EXIT],
        EACCES,
        "invalid write to stack R10 off=-520 size=8",
    );
    refused(
        &[st(10, 0, 1), mov(0, 0), EXIT],
        EACCES,
        "invalid write to stack R10 off=0 size=8",
    );
    refused(
        &[st(10, -7, 1), mov(0, 0), EXIT],
        EACCES,
        "misaligned stack access off 0+-7 size 8",
    );
    // A spilled pointer overwritten in part is no pointer.
    refused(
        &[
            stx(10, 1, -8),
            i(0x72, 10, 0, -8, 0),
            ldx(1, 10, -8),
            ldxw(0, 1, 0),
            EXIT,
        ],
        EACCES,
        "R1 invalid mem access 'scalar'",
    );
    accepted(&[stx(10, 1, -8), ldx(1, 10, -8), ldxw(0, 1, 0), EXIT]);
}

#[test]
fn subprograms() {
    accepted(&[mov(1, 1), sub(1), EXIT, movx(0, 1), EXIT]);
    // R6 is the callee's own.
    refused(
        &[mov(6, 1), sub(1), EXIT, movx(0, 6), EXIT],
        EACCES,
        "R6 !read_ok",
    );
    // The caller's stack through a pointer.
    accepted(&[
        st(10, -8, 7),
        movx(1, 10),
        add(1, -8),
        sub(1),
        EXIT,
        ldx(0, 1, 0),
        EXIT,
    ]);
    refused(
        &[sub(1), EXIT, movx(0, 10), EXIT],
        EINVAL,
        "cannot return stack pointer to the caller",
    );
    refused(
        &[
            st(10, -400, 0),
            sub(2),
            mov(0, 0),
            EXIT,
            st(10, -200, 0),
            mov(0, 0),
            EXIT,
        ],
        EACCES,
        "combined stack size of 2 calls is 608. Too large",
    );
    refused(&[sub(1), EXIT, sub(-1), EXIT], EINVAL, "recursive call");
}

#[test]
fn read_only_map() {
    refused(
        &[
            i(0x18, 1, 2, 0, ARRAY_RDONLY),
            i(0, 0, 0, 0, 8),
            st(1, 0, 1),
            mov(0, 0),
            EXIT,
        ],
        EACCES,
        "write into map forbidden, value_size=48 off=8 size=8",
    );
    accepted(&[
        i(0x18, 1, 2, 0, ARRAY_48),
        i(0, 0, 0, 0, 8),
        st(1, 32, 1),
        mov(0, 0),
        EXIT,
    ]);
}

#[test]
fn packet_access() {
    let o = options(ProgType::SchedCls);
    let prog = |off: i16, check: i32| {
        vec![
            ldxw(2, 1, 76),
            ldxw(3, 1, 80),
            movx(4, 2),
            add(4, check),
            i(0x2d, 4, 3, 1, 0),
            i(0x71, 0, 2, off, 0),
            mov(0, 0),
            EXIT,
        ]
    };
    let (v, log) = run(&prog(13, 14), 2, &o);
    assert!(v.is_ok(), "{log}");
    let (v, log) = run(&prog(14, 14), 2, &o);
    assert_eq!(v.err(), Some(EACCES));
    assert!(
        log.contains("invalid access to packet, off=14 size=1, R2(id=0,off=14,r=14)"),
        "{log}"
    );
}

/// A classifier that writes to its packet first makes it its own; one that only reads does not, and
/// XDP has packets of its own.
#[test]
fn packet_writers_own_their_packet() {
    let first = |ty, access: RawInsn, data, end| {
        let insns = vec![
            ldxw(2, 1, data),
            ldxw(3, 1, end),
            movx(4, 2),
            add(4, 14),
            i(0x2d, 4, 3, 1, 0),
            access,
            mov(0, 0),
            EXIT,
        ];
        let (v, log) = run(&insns, 2, &options(ty));
        let v = v.unwrap_or_else(|e| panic!("{e:?}\n{log}"));
        v.code()
            .insns
            .iter()
            .position(|i| *i == Insn::Call { helper: 39 })
    };
    let (read, write) = (i(0x71, 0, 2, 13, 0), i(0x72, 2, 0, 13, 5));
    assert_eq!(first(ProgType::SchedCls, write, 76, 80), Some(5));
    assert_eq!(first(ProgType::SchedAct, write, 76, 80), Some(5));
    assert_eq!(first(ProgType::SchedCls, read, 76, 80), None);
    assert_eq!(first(ProgType::Xdp, write, 0, 4), None);
}

#[test]
fn dead_code_goes() {
    let v = accepted(&[mov(1, 0), jeq(1, 0, 1), mov(0, 1), mov(0, 2), EXIT]);
    assert_eq!(v.code().insns.len(), 3);
}

#[test]
fn log_format() {
    let (_, log) = run(&[mov(0, 0), EXIT], 2, &options(ProgType::SocketFilter));
    assert_eq!(
        log,
        "func#0 @0\n0: R1=ctx() R10=fp0\n0: (b7) r0 = 0                        ; R0=0\n\
         1: (95) exit\nprocessed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 \
         peak_states 0 mark_read 0\n"
    );
}

#[test]
fn no_memory_is_an_error() {
    let prog = join(&[&lookup(), &[mov(0, 0), EXIT]]);
    for n in 0.. {
        kernel::alloc::fail::after(Some(n));
        let mut log = Log::none();
        let mut world = World {
            used: Vec::with_capacity(4),
        };
        let v = verify(
            &prog,
            &options(ProgType::SocketFilter),
            &mut world,
            &mut log,
        );
        kernel::alloc::fail::after(None);
        match v {
            Ok(_) => break,
            Err(e) => assert_eq!(e, ENOMEM, "after {n} allocations"),
        }
    }
}

/// Barriers make a program longer, and a conditional jump's distance has 16 bits.
#[test]
fn jumps_that_barriers_make_too_far_are_refused_with_a_reason() {
    let mut options = options(ProgType::SocketFilter);
    options.allow_ptr_leaks = false;
    for (pairs, far) in [(10_000i16, false), (12_000, true)] {
        let mut prog = vec![i(0x61, 0, 1, 0, 0), i(0x15, 0, 0, 2 * pairs, 7)];
        for _ in 0..pairs {
            // A barrier is between these.
            prog.extend([i(0x7a, 10, 0, -8, 0), i(0x79, 2, 10, -8, 0)]);
        }
        prog.extend([mov(0, 0), EXIT]);
        accepted(&prog);
        let (v, log) = run(&prog, 1, &options);
        assert_eq!(v.err(), far.then_some(ERANGE), "\n{log}");
        assert_eq!(log.contains("goes too far for 16 bits"), far, "{log}");
    }
}
