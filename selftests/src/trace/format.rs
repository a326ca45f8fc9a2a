// SPDX-License-Identifier: GPL-2.0

//! `snprintf`: what it returns and what it writes, byte by byte.

use super::{load, text};
use crate::both::Both;
use crate::insn::{add, call, exit, ld_imm64, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::attr::Attr;
use oxbpf::{cmd, Bpf, Map, MapSpec, MapType, ProgType, Slot};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};

/// Bytes behind the result.
const ROOM: usize = 2000;
/// Bytes of the strings that arguments point to.
const STRINGS: usize = 1024;

/// An argument.
#[derive(Clone, Copy)]
enum Arg {
    Number(u64),
    /// The address of that byte of [`strings`].
    String(u32),
    /// Where the text goes.
    Out,
    /// A string in this process.
    User,
}
use Arg::{Number as N, Out, String as S, User};

static USER: &[u8] = b"of the user\0";

/// "hello", "", four bytes of an address, sixteen of one, and a string of 600 letters.
fn strings() -> Vec<u8> {
    let mut all = b"hello\0\0\0\x0a\x01\xff\x00\0\0\0\0".to_vec();
    all.extend((0..16u8).map(|i| i.wrapping_mul(0x17)));
    all.resize(64, 0);
    all.extend([b'x'; 600]);
    all.resize(STRINGS, 0);
    all
}

/// An array of one value, that nobody changes any more if it is `frozen`.
fn value(b: &Bpf, bytes: &[u8], frozen: bool) -> Result<Map, String> {
    let spec = MapSpec {
        flags: if frozen { 1 << 7 } else { 0 }, // BPF_F_RDONLY_PROG
        ..MapSpec::new(MapType::ARRAY, 4, bytes.len() as u32, 1)
    };
    let map = b.map_create(&spec).map_err(text("map"))?;
    map.update(&[0; 4], bytes, 0).map_err(text("update"))?;
    if frozen {
        let mut a = Attr::new(4);
        a.u32(0, map.as_fd().as_raw_fd() as u32);
        b.call(cmd::MAP_FREEZE, a.bytes()).map_err(text("freeze"))?;
    }
    Ok(map)
}

/// `dst = address of byte `off` of the map's value`
fn ld_value(dst: u8, map: &Map, off: i32) -> [Slot; 2] {
    [
        raw(0x18, dst, 2, 0, map.as_fd().as_raw_fd()),
        raw(0, 0, 0, 0, off),
    ]
}

/// Expands `fmt` once to `size` bytes; with `None`, to NULL. The result, and all bytes that there was room for.
fn snprintf(b: &Bpf, fmt: &str, args: &[Arg], size: Option<i32>) -> Result<(i64, Vec<u8>), String> {
    let strings = value(b, &strings(), true)?;
    let fmt = value(b, &[fmt.as_bytes(), &[0]].concat(), true)?;
    let mut before = [0xaa; 8 + ROOM];
    before[8..14].copy_from_slice(b"before");
    before[14] = 0;
    let out = value(b, &before, false)?;
    let mut insns = Vec::new();
    let bottom = -(args.len() as i16) * 8;
    for (i, arg) in (0i16..).zip(args) {
        insns.extend(match *arg {
            N(n) => ld_imm64(1, n),
            S(off) => ld_value(1, &strings, off as i32),
            Out => ld_value(1, &out, 8),
            User => ld_imm64(1, USER.as_ptr() as u64),
        });
        insns.push(raw(0x7b, 10, 1, bottom + i * 8, 0));
    }
    match size {
        Some(size) => {
            insns.extend(ld_value(1, &out, 8));
            insns.push(mov(2, size));
        }
        None => insns.extend([mov(1, 0), mov(2, 0)]),
    }
    insns.extend(ld_value(3, &fmt, 0));
    match args {
        [] => insns.push(mov(4, 0)),
        _ => insns.extend([mov_reg(4, 10), add(4, bottom.into())]),
    }
    insns.extend([mov(5, args.len() as i32 * 8), call(165)]);
    insns.extend(ld_value(1, &out, 0));
    insns.extend([raw(0x7b, 1, 0, 0, 0), mov(0, 0), exit()]);
    let prog = load(b, ProgType::RAW_TRACEPOINT, 0, &insns)?;
    let mut a = Attr::new(80);
    a.u32(0, prog.as_fd().as_raw_fd() as u32);
    b.call(cmd::PROG_TEST_RUN, a.bytes()).map_err(text("run"))?;
    let mut after = out.lookup(&[0; 4]).map_err(text("lookup"))?;
    let written = after.split_off(8);
    let result = after.try_into().map(i64::from_ne_bytes);
    Ok((result.map_err(|_| "result")?, written))
}

/// The address of a function that all kernels have.
fn symbol() -> Result<u64, String> {
    let all = fs::read_to_string("/proc/kallsyms").map_err(text("kallsyms"))?;
    let mut lines = all.lines().map(|l| l.split(' '));
    lines
        .find_map(|mut l| {
            let addr = l.next()?;
            (l.nth(1)? == "schedule").then(|| u64::from_str_radix(addr, 16).ok())?
        })
        .ok_or_else(|| "no such symbol".to_string())
}

/// The tests.
pub fn suite(s: &mut Suite, both: &Both) {
    let code = symbol().unwrap_or(0);
    let minus = u64::MAX;
    let user = USER.as_ptr() as u64;
    let numbers = "%d %i %u %x %X %ld %li %lu %lx %lX %lld %llx";
    let cases: &[(&str, &[Arg])] = &[
        ("", &[]),
        ("plain 100%%", &[]),
        ("gr\u{fc}n\n\t", &[]),
        (numbers, &[N(minus); 12]),
        (numbers, &[N(0x1234_5678_9abc_def0); 12]),
        (numbers, &[N(1 << 63); 12]),
        ("%5d|%-5d|%05d|%+d|% d|%-05d|%+05d", &[N(42); 7]),
        ("%5d|%-5d|%05d|%+d|% d|%-05d|%+05d", &[N(minus); 7]),
        ("%20llx|%-20llX|%020llu", &[N(minus - 1); 3]),
        ("%c%3c%-3c|%c", &[N(65), N(66), N(67), N(0x144)]),
        ("a%cb", &[N(0)]),
        ("%s|%s|%8s|%-8s|%3s", &[S(0), S(5), S(0), S(0), S(0)]),
        ("%pks|%pks|%pus|%s", &[S(0), N(0), User, User]),
        ("%s%pus%pks", &[N(0), S(0), User]),
        ("%s.%s,%s", &[N(minus), N(1 << 63), S(64)]),
        ("%pI4 %pi4 %pI6 %pi6", &[S(8), S(8), S(16), S(16)]),
        ("%pI4,%pI6", &[N(0), N(user)]),
        ("%p|%px|%pK", &[N(code); 3]),
        ("%p|%px|%pK", &[N(0); 3]),
        ("%p|%20p|%-20px|%020px", &[N(0x1234_5678); 4]),
        ("%ps|%pS|%pB", &[N(code), N(code), N(code)]),
        ("%ps|%pS|%pB", &[N(code + 1), N(code + 1), N(code + 1)]),
        ("%ps|%pS|%pB", &[N(1), N(1), N(1)]),
        ("%40ps|%-40pS|%40pB|", &[N(code), N(code), N(code)]),
        ("%pxabc|%psabc %pI4x.", &[N(1), N(code), S(8)]),
        // What is read is read before anything is written.
        ("<%s> <%s>", &[Out, Out]),
        ("%s%pI4%s", &[Out, Out, Out]),
        // More arguments than there are conversions, and than there may be.
        ("%d", &[N(1), N(2)]),
        ("%d", &[N(1); 12]),
        ("%d", &[N(1); 13]),
        ("plain", &[N(1); 13]),
        // Arguments that are too large together.
        ("%s", &[S(64)]),
        ("%s%d", &[S(64), N(1)]),
        ("%s%s", &[S(64), S(0)]),
        ("%s%c", &[S(64), N(65)]),
        ("%s%pI4", &[S(64), S(8)]),
        ("%s%s", &[S(164), S(64)]),
        ("%s%lld", &[S(160), N(1)]),
        ("%s%lld", &[S(161), N(1)]),
        ("%s%d", &[S(160), N(1)]),
    ];
    for (fmt, args) in cases {
        s.test(
            &format!("snprintf {fmt:?}, {} arguments", args.len()),
            || {
                both.same(|b| snprintf(b, fmt, args, Some(ROOM as i32)))
                    .and_then(|r| r.map(|_| ()))
            },
        );
    }
    // Any size, down to none.
    let args = [N(minus), S(0), N(code), S(8), N(65), N(7)];
    for size in (0..48).map(Some).chain([None]) {
        s.test(&format!("snprintf to {size:?} bytes"), || {
            both.same(|b| {
                // In-tree an address behind the last byte is left out.
                let fmt = match size {
                    Some(32..) => "%d %s %20p %pI4 %c%3d",
                    _ => "%d %s %20p %px %c%3d",
                };
                snprintf(b, fmt, &args, size)
            })
            .and_then(|r| r.map(|_| ()))
        });
    }
    for (fmt, args) in [("%1500d|", vec![N(5)]), ("%-3000s|%c", vec![S(0), N(65)])] {
        s.test(&format!("snprintf {fmt:?}"), || {
            both.same(|b| snprintf(b, fmt, &args, Some(ROOM as i32)))
                .and_then(|r| r.map(|_| ()))
        });
        s.test(&format!("snprintf {fmt:?} to 100 bytes"), || {
            both.same(|b| snprintf(b, fmt, &args, Some(100)))
                .and_then(|r| r.map(|_| ()))
        });
    }
    // A text that is longer than what is written has its whole size, an address in it too.
    s.test(
        "snprintf counts an address that was cut off",
        || match snprintf(&both.ours, "%s %pI4", &[S(0), S(8)], Some(3)) {
            Ok((17, out)) if out[..4] == *b"he\0o" => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}
