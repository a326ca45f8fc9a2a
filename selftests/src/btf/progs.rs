// SPDX-License-Identifier: GPL-2.0

//! Programs that say which functions and source lines they are made of.

use super::blobs::{made, Blob};
use crate::both::Both;
use crate::insn::{call, exit, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::attr::{get_u32, Attr};
use oxbpf::{cmd, Bpf, Errno, Slot};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Numbers of types and strings in the blob.
struct Names {
    main: u32,
    sub: u32,
    void: u32,
    file: u32,
    lines: [u32; 4],
}

fn names(b: &mut Blob) -> Names {
    let int = b.int();
    let long = b.long();
    let ctx = b.ptr(0);
    let main = b.proto(int, &[("ctx", ctx)]);
    let sub = b.proto(int, &[("n", long)]);
    let void = b.proto(0, &[("n", long)]);
    Names {
        main: b.func("main", 1, main),
        sub: b.func("sub", 0, sub),
        void: b.func("nothing", 0, void),
        file: b.name("/some/where/prog.c"),
        lines: [
            b.name("\tint main(void *ctx)"),
            b.name("  return sub(n) + 1;"),
            b.name("static int sub(long n)"),
            b.name("return 7;"),
        ],
    }
}

/// What a load says beside its instructions.
#[derive(Clone)]
struct Records {
    funcs: Vec<u32>,
    lines: Vec<u32>,
    func_size: u32,
    line_size: u32,
    func_count: u32,
    line_count: u32,
    btf: Option<u32>,
    func_at: Option<u64>,
    line_at: Option<u64>,
}

/// Main calls a subprogram at 4; slots 2 and 3 are dead code in main, 5 and 6 are one instruction.
fn insns() -> Vec<Slot> {
    vec![
        raw(0x85, 0, 1, 0, 5), // call +5
        raw(0x07, 0, 0, 0, 1), // r0 += 1
        raw(0xb7, 6, 0, 0, 5), // r6 = 5
        raw(0x15, 6, 0, 1, 5), // if r6 == 5 goto +1
        mov(0, 9),             // dead
        exit(),
        raw(0x18, 0, 0, 0, 7), // r0 = 7 ll
        [0; 8],
        exit(),
    ]
}

fn records(n: &Names) -> Records {
    let line = |slot, text: usize, number: u32| [slot, n.file, n.lines[text], (number << 10) | 3];
    Records {
        funcs: vec![0, n.main, 6, n.sub],
        lines: [
            line(0, 0, 10),
            line(1, 1, 11),
            line(2, 1, 11),
            line(4, 3, 12),
            line(6, 2, 20),
            line(8, 3, 21),
        ]
        .concat(),
        func_size: 8,
        line_size: 16,
        func_count: 2,
        line_count: 6,
        btf: None,
        func_at: None,
        line_at: None,
    }
}

type Loaded = (Result<OwnedFd, Errno>, String, [u32; 2]);

fn load(b: &Bpf, btf: u32, insns: &[Slot], r: &Records) -> Loaded {
    let log = vec![0u8; 1 << 18];
    let mut a = Attr::new(168);
    let license = *b"GPL\0";
    a.u32(0, 1)
        .u32(4, insns.len() as u32)
        .ptr(8, insns)
        .ptr(16, &license)
        .u32(24, 2)
        .u32(28, log.len() as u32)
        .ptr(32, &log)
        .u32(72, r.btf.unwrap_or(btf))
        .u32(76, r.func_size)
        .u64(80, r.func_at.unwrap_or(r.funcs.as_ptr() as u64))
        .u32(88, r.func_count)
        .u32(92, r.line_size)
        .u64(96, r.line_at.unwrap_or(r.lines.as_ptr() as u64))
        .u32(104, r.line_count);
    let result = b.call(cmd::PROG_LOAD, a.bytes()).map(|fd| {
        // SAFETY: the command made `fd` for us.
        unsafe { OwnedFd::from_raw_fd(fd) }
    });
    let log = std::hint::black_box(log);
    let end = log.iter().position(|&c| c == 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&log[..end]).into_owned();
    (result, text, [a.get_u32(76), a.get_u32(92)])
}

/// The source lines that a log shows, and what is said in the end.
fn said(log: &str) -> (Vec<String>, Option<String>) {
    let lines = log.lines().filter(|l| l.starts_with("; "));
    let last = log
        .lines()
        .filter(|l| !l.starts_with("processed ") && !l.starts_with("verification time"))
        .next_back();
    // A figure on the same line: some words of bpf(2) have no end of line.
    let last = last.map(|l| l.split("processed ").next().unwrap_or(l).to_string());
    (lines.map(str::to_string).collect(), last)
}

/// What user space is shown of a program: functions and lines with their places.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    has_btf: bool,
    sizes: [u32; 3],
    funcs: Vec<u32>,
    lines: Vec<u32>,
    /// As many places as lines, if it is compiled; each not before the one before it.
    jited: bool,
}

fn shown(b: &Bpf, fd: i32) -> Result<Shown, String> {
    let (mut funcs, mut lines, mut places) = (vec![0u32; 64], vec![0u32; 256], vec![0u64; 64]);
    let mut info = Attr::new(232);
    info.u32(132, 8)
        .u64(136, funcs.as_mut_ptr() as u64)
        .u32(144, 8)
        .u32(148, 20)
        .u64(152, lines.as_mut_ptr() as u64)
        .u64(160, places.as_mut_ptr() as u64)
        .u32(168, 20)
        .u32(172, 16)
        .u32(176, 8);
    b.info(fd, info.bytes()).map_err(|e| format!("info: {e}"))?;
    let (funcs, lines) = (std::hint::black_box(funcs), std::hint::black_box(lines));
    let places = std::hint::black_box(places);
    let count = |at: usize| info.get_u32(at) as usize;
    let places = &places[..count(168).min(64)];
    let right = places.len() == count(148)
        && places.iter().all(|p| *p != 0)
        && places.windows(2).all(|w| w[0] <= w[1]);
    Ok(Shown {
        has_btf: info.get_u32(128) != 0,
        sizes: [132, 172, 176].map(|at| info.get_u32(at)),
        funcs: funcs[..2 * count(144)].to_vec(),
        lines: lines[..4 * count(148)].to_vec(),
        jited: right,
    })
}

type Case = (&'static str, Box<dyn Fn(&mut Records)>);

fn malformed(n: &Names) -> Vec<Case> {
    let void = n.void;
    let mut all: Vec<Case> = Vec::new();
    let mut add = |name, f: Box<dyn Fn(&mut Records)>| all.push((name, f));
    add("as they should be", Box::new(|_| {}));
    add("no functions", Box::new(|r| r.func_count = 0));
    add("no lines", Box::new(|r| r.line_count = 0));
    add(
        "neither",
        Box::new(|r| (r.func_count, r.line_count) = (0, 0)),
    );
    add("one function", Box::new(|r| r.func_count = 1));
    add(
        "too many functions",
        Box::new(|r| {
            r.funcs.extend([8, 7]);
            r.func_count = 3;
        }),
    );
    for size in [0, 4, 6, 7, 9, 252, 253, 256, u32::MAX] {
        add("size of functions", Box::new(move |r| r.func_size = size));
        add("size of lines", Box::new(move |r| r.line_size = size));
    }
    add(
        "longer functions",
        Box::new(|r| {
            r.funcs = vec![r.funcs[0], r.funcs[1], 0, r.funcs[2], r.funcs[3], 0];
            r.func_size = 12;
        }),
    );
    add(
        "longer functions, with something",
        Box::new(|r| {
            r.funcs = vec![r.funcs[0], r.funcs[1], 0, r.funcs[2], r.funcs[3], 1];
            r.func_size = 12;
        }),
    );
    add(
        "longer lines",
        Box::new(|r| {
            r.lines = r
                .lines
                .chunks(4)
                .flat_map(|l| [l, &[0, 0]].concat())
                .collect();
            r.line_size = 24;
        }),
    );
    add(
        "longer lines, with something",
        Box::new(|r| {
            r.lines = r
                .lines
                .chunks(4)
                .flat_map(|l| [l, &[0, l[0]]].concat())
                .collect();
            r.line_size = 24;
        }),
    );
    for at in 0..4 {
        for word in [0, 1, 2, 5, 7, 9, 100, u32::MAX] {
            add("a function's word", Box::new(move |r| r.funcs[at] = word));
        }
    }
    for at in 0..24 {
        for word in [0, 1, 3, 5, 7, 9, 100, 1 << 24, u32::MAX] {
            add("a line's word", Box::new(move |r| r.lines[at] = word));
        }
    }
    add(
        "a function without result",
        Box::new(move |r| r.funcs[3] = void),
    );
    add("functions nowhere", Box::new(|r| r.func_at = Some(8)));
    add("lines nowhere", Box::new(|r| r.line_at = Some(8)));
    add("many lines", Box::new(|r| r.line_count = u32::MAX));
    add(
        "lines to the end of an int",
        Box::new(|r| r.line_count = (i32::MAX / 16) as u32 + 1),
    );
    add("types not open", Box::new(|r| r.btf = Some(4000)));
    add(
        "lines of the first function only",
        Box::new(|r| r.line_count = 4),
    );
    add(
        "no line at the start",
        Box::new(|r| {
            r.lines.drain(..4);
            r.line_count = 5;
        }),
    );
    all
}

/// The suite's part.
pub fn suite(s: &mut Suite, both: &Both) {
    let mut blob = Blob::new();
    let n = names(&mut blob);
    let blob = made(|b| *b = blob);
    let good = records(&n);
    for (i, (name, change)) in malformed(&n).iter().enumerate() {
        let mut r = good.clone();
        change(&mut r);
        s.test(&format!("records {i}: {name}"), || {
            both.same(|b| {
                let btf = super::load(b, &blob).unwrap();
                let (result, log, sizes) = load(b, btf.as_raw_fd() as u32, &insns(), &r);
                let result = result.map(drop);
                let last = said(&log);
                (
                    result,
                    if result.is_ok() { (last.0, None) } else { last },
                    sizes,
                )
            })
            .map(drop)
        });
    }
    let count_twice: Vec<Slot> = {
        let mut all = insns();
        // A helper in a program of one function.
        all.truncate(2);
        vec![mov_reg(6, 1), call(5), mov(0, 0), exit()]
    };
    let shows: [(&str, Vec<Slot>, Records); 2] = [
        ("two functions and dead code", insns(), good.clone()),
        (
            "one function",
            count_twice,
            Records {
                func_count: 1,
                line_count: 3,
                ..good.clone()
            },
        ),
    ];
    for (name, insns, r) in &shows {
        s.test(&format!("shown: {name}"), || {
            let mut r = r.clone();
            if r.func_count == 1 {
                // The second function is not there.
                r.lines.truncate(12);
            }
            both.same(|b| {
                let btf = super::load(b, &blob).unwrap();
                let (result, log, _) = load(b, btf.as_raw_fd() as u32, insns, &r);
                drop(btf);
                let fd = result.map_err(|e| format!("{e}: {log}"))?;
                let mut shown = shown(b, fd.as_raw_fd())?;
                if std::fs::read_to_string("/sys/module/oxbpf/parameters/jit")
                    .is_ok_and(|v| v.trim() == "off")
                {
                    shown.jited = true;
                }
                Ok::<_, String>(shown)
            })?
            .map(drop)
        });
    }
    s.test("the types are kept by the program", || {
        both.same(|b| {
            let btf = super::load(b, &blob).unwrap();
            let (result, _, _) = load(b, btf.as_raw_fd() as u32, &insns(), &good);
            drop(btf);
            let fd = result.unwrap();
            let mut info = [0; 232];
            b.info(fd.as_raw_fd(), &mut info).unwrap();
            let mut a = Attr::new(16);
            a.u32(0, get_u32(&info, 128));
            crate::both::no_fd(b.call(cmd::BTF_GET_FD_BY_ID, a.bytes()))
        })
        .map(drop)
    });
}
