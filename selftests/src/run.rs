// SPDX-License-Identifier: GPL-2.0

//! Results of test runs: every operation on edge operands, packets, helpers, calls.
//!
//! Operands lie in the one value of an array map and results are stored beside them, so that one
//! load and one run cover all operand pairs of an operation.

use crate::both::Both;
use crate::insn::{add, call, exit, ld_imm64, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::{Bpf, MapSpec, MapType, ProgSpec, ProgType, Slot, TestRun};

/// Operands at which arithmetic changes its behaviour.
const EDGES: [u64; 12] = [
    0,
    1,
    7,
    63,
    0x80,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x8000_0000_0000_0000,
    0x0123_4567_89ab_cdef,
    u64::MAX,
];

/// Operand pairs in one map value: 24 bytes each, `a`, `b`, result.
const PAIRS: usize = EDGES.len() * EDGES.len();

fn pairs() -> Vec<u8> {
    let mut value = Vec::with_capacity(PAIRS * 24);
    for a in EDGES {
        for b in EDGES {
            value.extend(a.to_ne_bytes());
            value.extend(b.to_ne_bytes());
            value.extend([0xa5; 8]);
        }
    }
    value
}

/// Runs `body` on each pair (R1 = a, R2 = b; R1 is the result) and returns the map's value.
fn run_pairs(bpf: &Bpf, body: &[Slot]) -> Result<Vec<u8>, String> {
    let size = PAIRS * 24;
    let map = bpf
        .map_create(&MapSpec::new(MapType::ARRAY, 4, size as u32, 1))
        .map_err(|e| format!("map: {e}"))?;
    map.update(&[0; 4], &pairs(), 0)
        .map_err(|e| format!("update: {e}"))?;
    let mut insns = vec![raw(0x62, 10, 0, -4, 0), mov_reg(2, 10), add(2, -4)];
    insns.extend(ld_map(1, &map));
    insns.extend([call(1), raw(0x55, 0, 0, 1, 0), exit(), mov_reg(6, 0)]);
    for i in 0..PAIRS {
        let off = (i * 24) as i16;
        insns.extend([raw(0x79, 1, 6, off, 0), raw(0x79, 2, 6, off + 8, 0)]);
        insns.extend_from_slice(body);
        insns.push(raw(0x7b, 6, 1, off + 16, 0));
    }
    insns.extend([mov(0, 1), exit()]);
    let spec = ProgSpec {
        log_level: 1,
        ..ProgSpec::new(ProgType::SOCKET_FILTER, &insns)
    };
    let prog = bpf.prog_load(&spec).map_err(|e| e.to_string())?;
    let run = prog
        .test_run(&TestRun {
            data_in: &[0; 64],
            ..TestRun::default()
        })
        .map_err(|e| format!("test run: {e}"))?;
    if run.retval != 1 {
        return Err(format!("the program returned {}", run.retval));
    }
    map.lookup(&[0; 4]).map_err(|e| format!("lookup: {e}"))
}

/// The same bytes from both, or the first pair whose result differs.
fn same_pairs(both: &Both, body: &[Slot]) -> Result<(), String> {
    let theirs = run_pairs(&both.theirs, body).map_err(|e| format!("in-tree: {e}"))?;
    let ours = run_pairs(&both.ours, body).map_err(|e| format!("oxbpf: {e}"))?;
    if theirs == pairs() {
        return Err("the program stored no result".to_string());
    }
    for (t, o) in theirs.chunks(24).zip(ours.chunks(24)) {
        if t != o {
            return Err(format!(
                "in-tree: {t:02x?}\noxbpf:   {o:02x?} (a, b, result)"
            ));
        }
    }
    Ok(())
}

fn arithmetic(s: &mut Suite, both: &Both) {
    // name, code, offset that selects the signed form
    let ops: [(&str, u8, i16); 15] = [
        ("add", 0x00, 0),
        ("sub", 0x10, 0),
        ("mul", 0x20, 0),
        ("div", 0x30, 0),
        ("sdiv", 0x30, 1),
        ("or", 0x40, 0),
        ("and", 0x50, 0),
        ("lsh", 0x60, 0),
        ("rsh", 0x70, 0),
        ("mod", 0x90, 0),
        ("smod", 0x90, 1),
        ("xor", 0xa0, 0),
        ("mov", 0xb0, 0),
        ("arsh", 0xc0, 0),
        ("neg", 0x80, 0),
    ];
    for (name, code, off) in ops {
        for (width, class) in [(32u64, 0x04u8), (64, 0x07)] {
            if name != "neg" {
                s.test(&format!("{name}{width} reg"), || {
                    let shift = matches!(name, "lsh" | "rsh" | "arsh");
                    let mut body = Vec::new();
                    if shift {
                        // in-tree too takes the count modulo the width, but masks are cheap proof
                        body.push(raw(0x57, 2, 0, 0, width as i32 - 1));
                    }
                    body.push(raw(code | class | 8, 1, 2, off, 0));
                    same_pairs(both, &body)
                });
            } else {
                s.test(&format!("{name}{width}"), || {
                    same_pairs(both, &[raw(code | class, 1, 0, 0, 0)])
                });
                continue;
            }
            let shift = matches!(name, "lsh" | "rsh" | "arsh");
            for imm in [0, 1, 10, 16, 31, 63, -1, i32::MIN, 1000] {
                if (shift && (imm < 0 || imm >= width as i32))
                    || (imm == 0 && (code == 0x30 || code == 0x90))
                {
                    continue; // refused by the verifier
                }
                s.test(&format!("{name}{width} imm {imm}"), || {
                    same_pairs(both, &[raw(code | class, 1, 0, off, imm)])
                });
            }
        }
    }
    for (name, code, off, widths) in [
        ("movsx8", 0xbc, 8, 2),
        ("movsx16", 0xbc, 16, 2),
        ("movsx32", 0xbf, 32, 1),
    ] {
        s.test(&format!("{name} 64"), || {
            same_pairs(both, &[raw(0xbf, 1, 2, off, 0)])
        });
        if widths == 2 {
            s.test(&format!("{name} 32"), || {
                same_pairs(both, &[raw(code, 1, 2, off, 0)])
            });
        }
    }
    for bits in [16, 32, 64] {
        for (name, code) in [("le", 0xd4u8), ("be", 0xdc), ("bswap", 0xd7)] {
            s.test(&format!("{name}{bits}"), || {
                same_pairs(both, &[raw(code, 1, 0, 0, bits)])
            });
        }
    }
}

fn jumps(s: &mut Suite, both: &Both) {
    for (name, code) in [
        ("jeq", 0x10u8),
        ("jgt", 0x20),
        ("jge", 0x30),
        ("jset", 0x40),
        ("jne", 0x50),
        ("jsgt", 0x60),
        ("jsge", 0x70),
        ("jlt", 0xa0),
        ("jle", 0xb0),
        ("jslt", 0xc0),
        ("jsle", 0xd0),
    ] {
        for (width, class) in [(64, 0x05u8), (32, 0x06)] {
            s.test(&format!("{name}{width} reg"), || {
                let body = [
                    mov(3, 1),
                    raw(code | class | 8, 1, 2, 1, 0),
                    mov(3, 0),
                    mov_reg(1, 3),
                ];
                same_pairs(both, &body)
            });
            for imm in [0, -1, 32, i32::MIN] {
                s.test(&format!("{name}{width} imm {imm}"), || {
                    let body = [
                        mov(3, 1),
                        raw(code | class, 1, 0, 1, imm),
                        mov(3, 0),
                        mov_reg(1, 3),
                    ];
                    same_pairs(both, &body)
                });
            }
        }
    }
    s.test("ja and gotol", || {
        let body = [
            raw(0x15, 1, 0, 1, 0), // if r1 == 0, not over the next
            raw(0x05, 0, 0, 1, 0),
            mov(1, 9),
            raw(0x15, 2, 0, 1, 0),
            raw(0x06, 0, 0, 0, 1),
            mov(1, 8),
            raw(0x0f, 1, 2, 0, 0),
        ];
        same_pairs(both, &body)
    });
}

fn memory(s: &mut Suite, both: &Both) {
    for (name, size) in [("u8", 0x10u8), ("u16", 0x08), ("u32", 0x00), ("u64", 0x18)] {
        s.test(&format!("store and load {name} on the stack"), || {
            let body = [
                raw(0x7a, 10, 0, -16, 0x55),
                raw(0x63 & 7 | 0x60 | size, 10, 2, -16, 0),
                raw(0x79, 1, 10, -16, 0),
                raw(0x61 & 7 | 0x60 | size, 3, 10, -16, 0),
                raw(0xaf, 1, 3, 0, 0),
            ];
            same_pairs(both, &body)
        });
        s.test(&format!("store of an immediate {name}"), || {
            let body = [
                raw(0x7b, 10, 2, -16, 0),
                raw(0x62 & 7 | 0x60 | size, 10, 0, -16, -77),
                raw(0x79, 1, 10, -16, 0),
            ];
            same_pairs(both, &body)
        });
        if size != 0x18 {
            s.test(&format!("sign-extending load of {name}"), || {
                let body = [raw(0x7b, 10, 2, -16, 0), raw(0x81 | size, 1, 10, -16, 0)];
                same_pairs(both, &body)
            });
        }
    }
    for (name, imm) in [("add", 0x00), ("or", 0x40), ("and", 0x50), ("xor", 0xa0)] {
        for (width, code) in [(32, 0xc3u8), (64, 0xdb)] {
            for fetch in [0, 1] {
                s.test(&format!("atomic {name}{width} fetch {fetch}"), || {
                    let body = [
                        raw(0x7b, 10, 1, -16, 0),
                        raw(code, 10, 2, -16, imm | fetch),
                        raw(0x79, 1, 10, -16, 0),
                        raw(0x0f, 1, 2, 0, 0),
                    ];
                    same_pairs(both, &body)
                });
            }
        }
    }
    for (width, code) in [(32, 0xc3u8), (64, 0xdb)] {
        s.test(&format!("atomic xchg{width}"), || {
            let body = [
                raw(0x7b, 10, 1, -16, 0),
                raw(code, 10, 2, -16, 0xe1),
                raw(0x79, 1, 10, -16, 0),
                raw(0x1f, 1, 2, 0, 0),
            ];
            same_pairs(both, &body)
        });
        s.test(&format!("atomic cmpxchg{width}"), || {
            let body = [
                mov_reg(0, 2),
                raw(0x7b, 10, 1, -16, 0),
                mov(3, 0x1234),
                raw(code, 10, 3, -16, 0xf1),
                raw(0x79, 1, 10, -16, 0),
                raw(0x0f, 1, 0, 0, 0),
            ];
            same_pairs(both, &body)
        });
    }
    s.test("64-bit immediates", || {
        for edge in EDGES {
            let mut body = ld_imm64(1, edge).to_vec();
            body.push(raw(0xaf, 1, 2, 0, 0));
            same_pairs(both, &body)?;
        }
        Ok(())
    });
}

/// Loads `insns`, runs them on `packet` and returns retval and packet afterwards.
fn result(
    bpf: &Bpf,
    ty: ProgType,
    insns: &[Slot],
    packet: &[u8],
    repeat: u32,
) -> Result<(u32, Vec<u8>), String> {
    let spec = ProgSpec {
        log_level: 1,
        ..ProgSpec::new(ty, insns)
    };
    let prog = bpf.prog_load(&spec).map_err(|e| e.to_string())?;
    let run = TestRun {
        data_in: packet,
        data_out: Some(256),
        repeat,
        ..TestRun::default()
    };
    let run = prog.test_run(&run).map_err(|e| format!("test run: {e}"))?;
    Ok((run.retval, run.data_out))
}

/// A frame with an IPv4 header and some payload.
fn frame() -> Vec<u8> {
    let mut p = vec![
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0x10, 0, 46, 0, 1, 0, 0, 64, 17, 0,
        0, 10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0, 53, 0, 26, 0, 0,
    ];
    p.extend(0..22);
    p
}

fn contexts(s: &mut Suite, both: &Both) {
    // fields of __sk_buff that a test run sets in a way both must agree on
    let fields = [
        ("len", 0i16),
        ("pkt_type", 4),
        ("mark", 8),
        ("queue_mapping", 12),
        ("protocol", 16),
        ("vlan_present", 20),
        ("vlan_tci", 24),
        ("vlan_proto", 28),
        ("priority", 32),
        ("tc_index", 44),
        ("cb[0]", 48),
        ("cb[4]", 64),
        ("hash", 68),
        ("tc_classid", 72),
        ("ifindex", 40),
        ("ingress_ifindex", 36),
    ];
    for (name, off) in fields {
        for ty in [ProgType::SOCKET_FILTER, ProgType::SCHED_CLS] {
            let insns = [raw(0x61, 0, 1, off, 0), exit()];
            s.test(&format!("__sk_buff {name}, type {}", ty.0), || {
                both.same(|b| {
                    result(b, ty, &insns, &frame(), 1).map_err(|e| e.lines().next().map(Into::into))
                })
                .map(|_: Result<_, Option<String>>| ())
            });
        }
    }
    s.test("direct packet read and write", || {
        let insns = [
            raw(0x61, 2, 1, 76, 0), // data
            raw(0x61, 3, 1, 80, 0), // data_end
            mov_reg(4, 2),
            add(4, 20),
            mov(0, 7),
            raw(0x2d, 4, 3, 4, 0),  // if r4 > r3 goto exit
            raw(0x71, 0, 2, 15, 0), // tos
            raw(0x72, 2, 0, 15, 0x28),
            raw(0x69, 5, 2, 12, 0), // ethertype
            raw(0x0f, 0, 5, 0, 0),
            exit(),
        ];
        both.same(|b| result(b, ProgType::SCHED_CLS, &insns, &frame(), 1))
            .map(|_| ())
    });
    s.test("stores to mark, priority and cb", || {
        let insns = [
            mov(2, 77),
            raw(0x63, 1, 2, 8, 0),
            raw(0x63, 1, 2, 32, 0),
            raw(0x63, 1, 2, 56, 0),
            raw(0x61, 0, 1, 8, 0),
            raw(0x61, 2, 1, 56, 0),
            raw(0x0f, 0, 2, 0, 0),
            exit(),
        ];
        both.same(|b| result(b, ProgType::SCHED_CLS, &insns, &frame(), 1))
            .map(|_| ())
    });
    s.test("repeat counts runs", || {
        both.same(|b| {
            let map = b
                .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 1))
                .unwrap();
            let mut insns = vec![raw(0x62, 10, 0, -4, 0), mov_reg(2, 10), add(2, -4)];
            insns.extend(ld_map(1, &map));
            insns.extend([
                call(1),
                raw(0x15, 0, 0, 2, 0),
                mov(1, 1),
                raw(0xdb, 0, 1, 0, 0),
                mov(0, 0),
                exit(),
            ]);
            let answer = result(b, ProgType::SOCKET_FILTER, &insns, &frame(), 1000);
            (answer, map.lookup(&[0; 4]))
        })
        .map(|_| ())
    });
}

fn helpers(s: &mut Suite, both: &Both) {
    s.test("map helpers on a hash", || {
        both.same(|b| {
            let map = b.map_create(&MapSpec::new(MapType::HASH, 4, 8, 4)).unwrap();
            map.update(&[3, 0, 0, 0], &[9, 0, 0, 0, 0, 0, 0, 0], 0)
                .unwrap();
            // update key 5 with 0x77, delete key 3, look both up; 2 when all is as expected
            let mut insns = vec![
                raw(0x62, 10, 0, -4, 5),
                raw(0x7a, 10, 0, -16, 0x77),
                mov_reg(2, 10),
                add(2, -4),
                mov_reg(3, 10),
                add(3, -16),
                mov(4, 1),
            ];
            insns.extend(ld_map(1, &map));
            insns.extend([
                call(2),
                mov_reg(6, 0),
                raw(0x62, 10, 0, -4, 3),
                mov_reg(2, 10),
            ]);
            insns.push(add(2, -4));
            insns.extend(ld_map(1, &map));
            insns.extend([call(3), raw(0x0f, 6, 0, 0, 0), mov_reg(2, 10), add(2, -4)]);
            insns.extend(ld_map(1, &map));
            insns.extend([call(3), raw(0x1f, 6, 0, 0, 0), mov_reg(0, 6), exit()]);
            let answer = result(b, ProgType::SOCKET_FILTER, &insns, &frame(), 1);
            (answer, map.entries())
        })
        .map(|_| ())
    });
    s.test("time runs, and is not zero", || {
        let insns = [
            call(5),
            mov_reg(6, 0),
            call(5),
            raw(0x1f, 0, 6, 0, 0),
            raw(0x77, 0, 0, 0, 63), // sign of the difference
            raw(0x55, 6, 0, 1, 0),
            mov(0, 9),
            exit(),
        ];
        both.same(|b| result(b, ProgType::SOCKET_FILTER, &insns, &frame(), 1))
            .map(|_| ())
    });
    s.test("random numbers differ", || {
        let insns = [
            call(7),
            mov_reg(6, 0),
            call(7),
            raw(0xaf, 6, 0, 0, 0),
            mov(0, 1),
            raw(0x55, 6, 0, 1, 0),
            mov(0, 0),
            exit(),
        ];
        let run = |b: &Bpf| result(b, ProgType::SOCKET_FILTER, &insns, &frame(), 1);
        match run(&both.ours) {
            Ok((1, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    s.test("cpu number is one there is", || {
        let insns = [call(8), exit()];
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        match result(&both.ours, ProgType::SOCKET_FILTER, &insns, &frame(), 1) {
            Ok((cpu, _)) if cpu < cpus => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn subprograms(s: &mut Suite, both: &Both) {
    s.test("subprogram calls keep R6 to R9 and pass R1 to R5", || {
        let insns = [
            mov(6, 6),
            mov(7, 7),
            mov(8, 8),
            mov(9, 9),
            mov(1, 1),
            mov(2, 2),
            mov(3, 3),
            mov(4, 4),
            mov(5, 5),
            raw(0x85, 0, 1, 0, 5), // call +5
            raw(0x0f, 0, 6, 0, 0),
            raw(0x0f, 0, 7, 0, 0),
            raw(0x0f, 0, 8, 0, 0),
            raw(0x0f, 0, 9, 0, 0),
            exit(),
            mov(6, 1000),
            raw(0x7b, 10, 5, -8, 0),
            mov_reg(0, 1),
            raw(0x27, 0, 0, 0, 10),
            raw(0x0f, 0, 2, 0, 0),
            raw(0x27, 0, 0, 0, 10),
            raw(0x0f, 0, 3, 0, 0),
            raw(0x27, 0, 0, 0, 10),
            raw(0x0f, 0, 4, 0, 0),
            raw(0x27, 0, 0, 0, 10),
            raw(0x79, 5, 10, -8, 0),
            raw(0x0f, 0, 5, 0, 0),
            exit(),
        ];
        both.same(|b| result(b, ProgType::SOCKET_FILTER, &insns, &frame(), 1))
            .map(|_| ())
    });
    s.test("subprogram writes to its caller's stack", || {
        let insns = [
            raw(0x7a, 10, 0, -8, 1),
            mov_reg(1, 10),
            add(1, -8),
            raw(0x85, 0, 1, 0, 3),
            raw(0x79, 1, 10, -8, 0),
            raw(0x0f, 0, 1, 0, 0),
            exit(),
            mov(2, 41),
            raw(0x7b, 1, 2, 0, 0),
            mov(0, 1),
            exit(),
        ];
        both.same(|b| result(b, ProgType::SOCKET_FILTER, &insns, &frame(), 1))
            .map(|_| ())
    });
    s.test("bounded loop", || {
        let insns = [
            mov(0, 0),
            mov(1, 0),
            add(0, 3),
            add(1, 1),
            raw(0xa5, 1, 0, -3, 100),
            exit(),
        ];
        both.same(|b| result(b, ProgType::SOCKET_FILTER, &insns, &frame(), 1))
            .map(|_| ())
    });
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    arithmetic(s, &both);
    jumps(s, &both);
    memory(s, &both);
    contexts(s, &both);
    helpers(s, &both);
    subprograms(s, &both);
}
