// SPDX-License-Identifier: GPL-2.0

//! XDP programs: test runs with every shape of packet and context, and what the helpers do to those,
//! with equal results, packets and contexts through both.

use crate::both::Both;
use crate::insn::{add, call, exit, ld_imm64, mov, mov_reg, raw};
use crate::ktap::{volume, Suite};
use crate::memory::Traps;
use oxbpf::attr::Attr;
use oxbpf::{cmd, Bpf, Prog, ProgSpec, ProgType, Slot, TestRun};
use std::os::fd::{AsFd, AsRawFd};

const ADJUST_HEAD: i32 = 44;
const ADJUST_META: i32 = 54;
const ADJUST_TAIL: i32 = 65;
const LOAD_BYTES: i32 = 189;
const STORE_BYTES: i32 = 190;

/// A call with the context, and one or two numbers behind it, or a place in the packet and memory
/// of so many bytes.
#[derive(Clone, Copy, Debug)]
enum Call {
    Move(i32, i64),
    Bytes(i32, u64, i32),
}

use Call::{Bytes, Move};

/// Bytes of the stack that calls use.
const AREA: i32 = 512 - 64;

/// `R7 = R7 * 31 + R0`
fn note() -> [Slot; 2] {
    [raw(0x27, 7, 0, 0, 31), raw(0x0f, 7, 0, 0, 0)]
}

/// Makes the calls; the result is made of theirs, of the memory that they wrote, and of all that the
/// context tells.
fn program(calls: &[Call]) -> Vec<Slot> {
    // What a failed load leaves is not the same in-tree: zeroes are.
    let loads = calls.iter().any(|c| matches!(c, Bytes(LOAD_BYTES, ..)));
    let mut insns = vec![mov_reg(6, 1), mov(7, 0)];
    for i in 0..AREA / 8 {
        let word = (i as u64 + 1).wrapping_mul(0x0123_4567_89ab_cdef);
        insns.extend(ld_imm64(1, if loads { 0 } else { word }));
        insns.push(raw(0x7b, 10, 1, (i * 8 - AREA) as i16, 0));
    }
    for c in calls {
        insns.push(mov_reg(1, 6));
        match *c {
            Move(helper, n) => {
                insns.extend(ld_imm64(2, n as u64));
                insns.push(call(helper));
            }
            Bytes(helper, at, len) => {
                insns.extend(ld_imm64(2, at));
                insns.extend([mov_reg(3, 10), add(3, -AREA), mov(4, len), call(helper)]);
            }
        }
        insns.extend(note());
        // xdp_get_buff_len
        insns.extend([mov_reg(1, 6), call(188)]);
        insns.extend(note());
    }
    for i in 0..AREA / 8 {
        insns.push(raw(0x79, 0, 10, (i * 8 - AREA) as i16, 0));
        insns.extend(note());
    }
    // data_end - data, data - data_meta, ingress_ifindex, rx_queue_index
    for (end, start) in [(4, 0), (0, 8)] {
        insns.extend([raw(0x61, 0, 6, end, 0), raw(0x61, 1, 6, start, 0)]);
        insns.push(raw(0x1f, 0, 1, 0, 0));
        insns.extend(note());
    }
    for field in [12, 16] {
        insns.push(raw(0x61, 0, 6, field, 0));
        insns.extend(note());
    }
    insns.extend([
        mov_reg(0, 7),
        raw(0x77, 7, 0, 0, 32),
        raw(0xaf, 0, 7, 0, 0),
        exit(),
    ]);
    insns
}

fn load(bpf: &Bpf, insns: &[Slot]) -> Result<Prog, String> {
    let spec = ProgSpec {
        log_level: 1,
        ..ProgSpec::new(ProgType::XDP, insns)
    };
    bpf.prog_load(&spec)
        .map_err(|e| format!("{}: {e}", bpf.name()))
}

/// The most bytes that fit before the shared info, without metadata.
const LINEAR: usize = 4096 - 256 - 320;

/// Length of the packet, and `data` and `data_end` of the context if there is one.
type Shape = (usize, Option<(u32, u32)>);

/// Kinds of packets: in one piece, with metadata, in pages.
const SHAPES: [Shape; 12] = [
    (14, None),
    (64, None),
    (LINEAR, None),
    (LINEAR + 1, None),
    (9000, None),
    (64, Some((4, 64))),
    (300, Some((216, 300))),
    (LINEAR + 100, Some((100, LINEAR as u32 + 100))),
    (64, Some((0, 0))),
    (200, Some((8, 40))),
    (200, Some((0, 10))),
    (8200, Some((16, 100))),
];

fn packet(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}

fn context(data: u32, end: u32) -> [u8; 24] {
    let mut md = [0; 24];
    md[..4].copy_from_slice(&data.to_ne_bytes());
    md[4..8].copy_from_slice(&end.to_ne_bytes());
    md
}

/// Result, packet and context.
type Outcome = Result<(u32, Vec<u8>, Vec<u8>), String>;

fn outcomes(prog: &Prog, repeat: u32) -> Vec<Outcome> {
    SHAPES
        .iter()
        .map(|&(len, ctx)| {
            let md = ctx.map(|(data, end)| context(data, end));
            prog.test_run(&TestRun {
                data_in: &packet(len),
                data_out: Some(16384),
                ctx_in: md.as_ref().map_or(&[], |md| &md[..]),
                ctx_out: md.map(|md| md.len()),
                repeat,
            })
            .map(|r| (r.retval, r.data_out, r.ctx_out))
            .map_err(|e| e.to_string())
        })
        .collect()
}

/// Both do the same to each packet; how many programs changed one.
fn same(both: &Both, insns: &[Slot], repeat: u32) -> Result<usize, String> {
    let theirs = outcomes(&load(&both.theirs, insns)?, repeat);
    let ours = outcomes(&load(&both.ours, insns)?, repeat);
    let mut changed = 0;
    for ((shape, t), o) in SHAPES.iter().zip(&theirs).zip(&ours) {
        if t != o {
            return Err(format!("{shape:?}\nin-tree: {t:02x?}\noxbpf:   {o:02x?}"));
        }
        let after = t.as_ref().map_err(|e| format!("{shape:?}: {e}"))?;
        changed += usize::from(after.1 != packet(shape.0));
    }
    Ok(changed)
}

/// Programs that make those calls; `changes`: some packet must have become another.
fn helper(s: &mut Suite, both: &Both, name: &str, changes: bool, all: &[Vec<Call>]) {
    s.test(&format!("{name}, {} programs", all.len()), || {
        let mut changed = 0;
        let every = (40 / volume(100)).max(1) as usize;
        for (i, calls) in all.iter().step_by(every).enumerate() {
            // In-tree patches text for more than one, which takes its time.
            let repeat = if i == 1 { 3 } else { 1 };
            changed +=
                same(both, &program(calls), repeat).map_err(|e| format!("{calls:?}: {e}"))?;
        }
        if changes && changed == 0 && every == 1 {
            return Err("no packet was changed".to_string());
        }
        Ok(())
    });
}

fn helpers(s: &mut Suite, both: &Both) {
    let far = [
        i64::from(i32::MAX),
        i64::from(i32::MIN),
        0x1_0000_0004,
        -1 << 40,
        0x7fff_ffff_ffff,
    ];
    let near = [
        0, 1, -1, 4, -4, 14, -14, 20, -50, -51, 100, -200, -216, -217, 252,
    ];
    let one = |helper: i32, more: &[i64]| -> Vec<Vec<Call>> {
        let numbers = near.iter().chain(more).chain(&far);
        numbers.map(|&n| vec![Move(helper, n)]).collect()
    };
    helper(s, both, "xdp_adjust_head", true, &one(ADJUST_HEAD, &[]));
    helper(
        s,
        both,
        "xdp_adjust_meta",
        true,
        &one(ADJUST_META, &[-32, -212, -220]),
    );
    let linear = LINEAR as i64;
    helper(
        s,
        both,
        "xdp_adjust_tail",
        true,
        &one(
            ADJUST_TAIL,
            &[
                linear - 64,
                linear - 63,
                linear - 14,
                -linear,
                14 - linear,
                13 - linear,
                -4096,
                -8986,
                -8987,
                3000,
                4095,
                4096,
                2720,
                2711,
                2712,
                2713,
            ],
        ),
    );
    let mut all = vec![];
    for meta in [-4, -64, -216] {
        for head in [-40, -150, 10, 50] {
            all.push(vec![Move(ADJUST_META, meta), Move(ADJUST_HEAD, head)]);
            all.push(vec![
                Move(ADJUST_HEAD, head),
                Move(ADJUST_META, meta),
                Move(ADJUST_META, 4),
                Move(ADJUST_TAIL, -20),
            ]);
        }
    }
    for tail in [-5000, -100, 100] {
        all.push(vec![
            Move(ADJUST_TAIL, tail),
            Bytes(STORE_BYTES, 10, 100),
            Move(ADJUST_HEAD, -14),
            Bytes(STORE_BYTES, 0, 14),
            Move(ADJUST_TAIL, 40),
        ]);
    }
    helper(s, both, "several of those", true, &all);

    let places = [
        0,
        1,
        9,
        13,
        39,
        63,
        64,
        100,
        LINEAR as u64 - 1,
        LINEAR as u64,
        7615,
        0xffff,
        0x1_0000,
        0xffff_ffff,
        0x1_0000_0002,
    ];
    for (name, id) in [
        ("xdp_load_bytes", LOAD_BYTES),
        ("xdp_store_bytes", STORE_BYTES),
    ] {
        let all: Vec<_> = places
            .iter()
            .flat_map(|&at| [1, 14, 200, AREA].map(|len| vec![Bytes(id, at, len)]))
            .collect();
        helper(s, both, name, id == STORE_BYTES, &all);
    }
    s.test("csum_diff and redirect", || {
        for (ifindex, flags) in [(0u64, 0u64), (1, 0), (77, 0), (1, 1), (1, 1 << 40)] {
            let mut insns = ld_imm64(1, ifindex).to_vec();
            insns.extend(ld_imm64(2, flags));
            insns.extend([call(23), exit()]);
            same(both, &insns, 1)?;
        }
        for seed in [0, 1, 0xffff] {
            // of the first twelve bytes, twice
            let insns = [
                raw(0x61, 2, 1, 0, 0),
                raw(0x61, 3, 1, 4, 0),
                mov_reg(1, 2),
                add(1, 12),
                mov(0, 0),
                raw(0x2d, 1, 3, 8, 0),
                mov_reg(1, 2),
                mov(2, 12),
                mov_reg(3, 1),
                add(3, 4),
                mov(4, 8),
                mov(5, seed),
                call(28),
                mov(1, 0),
                exit(),
            ];
            same(both, &insns, 1)?;
        }
        Ok(())
    });
}

/// Metadata and a header before the packet, written directly; a sum of what is read.
fn direct(s: &mut Suite, both: &Both) {
    s.test("a packet that grows at its head, and metadata", || {
        let mut insns = vec![mov_reg(6, 1), mov(2, -20), call(ADJUST_HEAD)];
        insns.extend([raw(0x55, 0, 0, 27, 0), mov_reg(1, 6), mov(2, -8)]);
        insns.extend([call(ADJUST_META), raw(0x55, 0, 0, 23, 0)]);
        insns.extend([
            raw(0x61, 2, 6, 8, 0),
            raw(0x61, 3, 6, 0, 0),
            raw(0x61, 4, 6, 4, 0),
        ]);
        // eight bytes of metadata, and 34 of packet
        insns.extend([mov_reg(1, 2), add(1, 8), raw(0x2d, 1, 3, 15, 0)]);
        insns.push(raw(0x7a, 2, 0, 0, 0x1234_5678));
        insns.extend([mov_reg(1, 3), add(1, 34), raw(0x2d, 1, 4, 11, 0)]);
        insns.extend([
            raw(0x79, 5, 3, 20, 0),
            raw(0x7b, 3, 5, 0, 0),
            raw(0x69, 5, 3, 32, 0),
        ]);
        insns.extend([raw(0x6b, 3, 5, 8, 0), raw(0x72, 3, 0, 19, 0x5a)]);
        insns.extend([raw(0x79, 0, 2, 0, 0), raw(0x71, 1, 3, 33, 0)]);
        insns.extend([
            raw(0x67, 1, 0, 0, 8),
            raw(0x0f, 0, 1, 0, 0),
            raw(0x07, 0, 0, 0, 3),
        ]);
        insns.extend([exit(), mov(0, 1), exit(), mov(0, 2), exit()]);
        match same(both, &insns, 1)? {
            0 => Err("no packet was changed".to_string()),
            _ => Ok(()),
        }
    });
}

/// What is changed in an attr that is good.
type Change = fn(&mut Attr, &Traps);

/// What the attr says, for one run.
struct Case {
    len: usize,
    md: Vec<u8>,
    room: Option<u32>,
    md_room: Option<u32>,
    change: Change,
}

/// A good one.
fn good() -> Case {
    Case {
        len: 64,
        md: vec![],
        room: Some(64),
        md_room: None,
        change: |_, _| {},
    }
}

/// errno, the attr's answers but for the time, packet and context.
fn answer(bpf: &Bpf, prog: &Prog, c: &Case) -> String {
    let traps = Traps::new();
    let data = packet(c.len);
    let (mut out, mut md_out) = (vec![0xccu8; 80_000], vec![0xccu8; 64]);
    let mut a = Attr::new(80);
    a.u32(0, prog.as_fd().as_raw_fd() as u32)
        .u32(4, 0xcccc_cccc)
        .u32(8, data.len() as u32)
        .ptr(16, &data)
        .u32(40, c.md.len() as u32)
        .ptr(48, &c.md);
    if let Some(room) = c.room {
        a.u32(12, room).u64(24, out.as_mut_ptr() as u64);
    }
    if let Some(room) = c.md_room {
        a.u32(44, room).u64(56, md_out.as_mut_ptr() as u64);
    }
    (c.change)(&mut a, &traps);
    let r = bpf.call(cmd::PROG_TEST_RUN, a.bytes());
    let (retval, size, md_size) = (a.get_u32(4), a.get_u32(12), a.get_u32(44));
    let sum = out.iter().fold(0u64, |sum, b| {
        sum.wrapping_mul(31).wrapping_add((*b).into())
    });
    format!("{r:?} {retval:x} {size} {md_size} {sum:x} {md_out:02x?}")
}

fn cases() -> Vec<(String, Case)> {
    let mut all: Vec<(String, Case)> = vec![];
    for len in [0, 1, 13, 14, LINEAR, LINEAR + 1, 65535, 73_152, 73_153] {
        let room = Some(80_000);
        all.push((
            format!("{len} bytes"),
            Case {
                len,
                room,
                ..good()
            },
        ));
    }
    for room in [0, 1, 63, 64, 65, 3520, 3521, 8999, 9000] {
        for len in [64, 9000] {
            let room = Some(room);
            let name = format!("{len} bytes, room {room:?}");
            all.push((
                name,
                Case {
                    len,
                    room,
                    ..good()
                },
            ));
        }
    }
    for (data, end) in [
        (0, 0),
        (0, 1),
        (0, 14),
        (0, 64),
        (0, 65),
        (3, 64),
        (4, 3),
        (4, 4),
        (48, 64),
        (50, 64),
        (52, 64),
        (212, 300),
        (216, 300),
        (220, 300),
        (256, 300),
    ] {
        for len in [64, 300] {
            let name = format!("data {data} data_end {end} of {len}");
            let case = Case {
                len,
                md: context(data, end).to_vec(),
                room: Some(4096),
                md_room: Some(24),
                ..good()
            };
            all.push((name, case));
        }
    }
    // data_meta; devices and queues that there are, and are not
    for (at, value) in [
        (8, 1),
        (12, 1),
        (12, 4444),
        (16, 1),
        (20, 1),
        (12, u32::MAX),
    ] {
        for queue in [0, 1, u32::MAX] {
            let mut md = context(0, 64).to_vec();
            if at != 16 {
                md[16..20].copy_from_slice(&u32::to_ne_bytes(queue));
            }
            md[at..at + 4].copy_from_slice(&u32::to_ne_bytes(value));
            let name = format!("context with {value} at {at}, queue {queue}");
            let md_room = Some(24);
            all.push((
                name,
                Case {
                    md,
                    md_room,
                    ..good()
                },
            ));
        }
    }
    for size in [1, 4, 12, 20, 23, 24, 25, 64] {
        for tail in [0, 1] {
            let mut md = vec![0; size];
            md[size - 1] = tail;
            let md_room = Some(64);
            let name = format!("context of {size} bytes, the last is {tail}");
            all.push((
                name,
                Case {
                    md,
                    md_room,
                    ..good()
                },
            ));
        }
    }
    for room in [0, 1, 23, 24, 25] {
        for md in [vec![], context(0, 64).to_vec()] {
            let name = format!("room {room} for the context, {} given", md.len());
            let md_room = Some(room);
            all.push((
                name,
                Case {
                    md,
                    md_room,
                    ..good()
                },
            ));
        }
    }
    let changes: [(&str, Change); 17] = [
        ("flag 0", |a, _| {
            a.u32(64, 1);
        }),
        ("flag 2", |a, _| {
            a.u32(64, 4);
        }),
        ("a CPU", |a, _| {
            a.u32(68, 5);
        }),
        ("batches", |a, _| {
            a.u32(72, 5);
        }),
        ("batches that are too long", |a, _| {
            a.u32(72, 5000);
        }),
        ("repeat 0", |a, _| {
            a.u32(32, 0);
        }),
        ("repeat 5", |a, _| {
            a.u32(32, 5);
        }),
        ("no data", |a, _| {
            a.u64(16, 0);
        }),
        ("data inaccessible", |a, t| {
            a.u64(16, t.hole());
        }),
        ("data half readable", |a, t| {
            a.u64(16, t.before_hole(40));
        }),
        ("pages not readable", |a, t| {
            a.u32(8, 5000).u64(16, t.before_hole(3600));
        }),
        ("output read-only", |a, t| {
            a.u64(24, t.read_only());
        }),
        ("no output", |a, _| {
            a.u64(24, 0);
        }),
        ("context inaccessible", |a, t| {
            a.u32(40, 24).u64(48, t.hole());
        }),
        ("context's tail inaccessible", |a, t| {
            a.u32(40, 64).u64(48, t.before_hole(24));
        }),
        ("context's output read-only", |a, t| {
            a.u32(44, 24).u64(56, t.read_only());
        }),
        ("context without size", |a, t| {
            a.u64(48, t.hole());
        }),
    ];
    for (name, change) in changes {
        all.push((name.to_string(), Case { change, ..good() }));
    }
    all
}

/// Loaded to be attached to that.
fn load_for(bpf: &Bpf, attach: u32) -> Result<Prog, String> {
    let insns = program(&[Move(ADJUST_META, -4)]);
    let spec = ProgSpec {
        expected_attach_type: attach,
        ..ProgSpec::new(ProgType::XDP, &insns)
    };
    bpf.prog_load(&spec).map_err(|e| e.to_string())
}

fn commands(s: &mut Suite, both: &Both) {
    let cases = cases();
    for (attach, count) in [(0, cases.len()), (37, 1), (33, 1), (35, 1)] {
        let name = format!("{count} commands, attach type {attach}");
        s.test(&name, || {
            let theirs = load_for(&both.theirs, attach)?;
            let ours = load_for(&both.ours, attach)?;
            for (name, case) in cases.iter().take(count) {
                let t = answer(&both.theirs, &theirs, case);
                let o = answer(&both.ours, &ours, case);
                if t != o {
                    return Err(format!("{name}\nin-tree: {t}\noxbpf:   {o}"));
                }
            }
            Ok(())
        });
    }
    s.test("live frames are refused", || {
        let case = Case {
            change: |a, _| {
                a.u32(64, 2).u32(12, 0).u64(24, 0);
            },
            ..good()
        };
        let got = answer(&both.ours, &load_for(&both.ours, 0)?, &case);
        match got.starts_with("Err(EOPNOTSUPP)") {
            true => Ok(()),
            false => Err(got),
        }
    });
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    commands(s, &both);
    helpers(s, &both);
    direct(s, &both);
}
