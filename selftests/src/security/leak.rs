// SPDX-License-Identifier: GPL-2.0

//! The kernel writes what it says, to the byte, and nothing that nobody wrote before.
//!
//! Fresh memory of the kernel is made dirty first, so that what was not initialised shows.

use crate::both::Both;
use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::attr::{Attr, SIZE};
use oxbpf::link::TRACE_KPROBE_MULTI;
use oxbpf::{cmd, Bpf, Errno, Map, MapSpec, MapType, ProgSpec, ProgType, TestRun};
use std::os::fd::{AsFd, AsRawFd};

/// Fills what the kernel may give out next, of several sizes, and gives it back.
fn dirty(b: &Bpf) {
    for value in [8, 24, 56, 120, 248, 1000, 4000] {
        for (ty, key, flags) in [
            (MapType::ARRAY, 4, 0),
            (MapType::HASH, 8, 1),
            (MapType::PERCPU_HASH, 8, 0),
        ] {
            let spec = MapSpec {
                flags,
                ..MapSpec::new(ty, key, value, 64)
            };
            let Ok(map) = b.map_create(&spec) else {
                continue;
            };
            for i in 0..64u64 {
                let pattern = vec![0xd7; map.value_bytes()];
                let _ = map.update(&i.to_ne_bytes()[..key as usize], &pattern, 0);
            }
        }
    }
}

/// A raw map command that writes to a buffer of `room` bytes; the buffer, 0xcc where not written.
fn written(
    b: &Bpf,
    map: &Map,
    command: u32,
    key: &[u8],
    room: usize,
) -> (Result<i32, Errno>, Vec<u8>) {
    let mut out = vec![0xcc; room];
    let mut a = Attr::new(32);
    a.u32(0, map.as_fd().as_raw_fd() as u32).ptr(8, key);
    a.u64(16, out.as_mut_ptr() as u64);
    let r = b.call(command, a.bytes());
    (r, out)
}

/// A program's update of five bytes leaves no other byte but zeros, on every CPU, also where an
/// element of another use is taken again.
fn values(b: &Bpf, ty: MapType, flags: u32) -> Result<Vec<Vec<u8>>, String> {
    dirty(b);
    let key = if matches!(ty, MapType::ARRAY | MapType::PERCPU_ARRAY) {
        4
    } else {
        8
    };
    let spec = MapSpec {
        flags,
        ..MapSpec::new(ty, key, 5, 4)
    };
    let map = b.map_create(&spec).map_err(|e| e.to_string())?;
    let mut seen = Vec::new();
    let k = &[0u8; 8][..key as usize];
    if key == 4 {
        seen.push(written(b, &map, cmd::MAP_LOOKUP_ELEM, k, map.value_bytes() + 64).1);
    } else {
        // the element's earlier life
        for i in 0..4u64 {
            let pattern = vec![0xd7; map.value_bytes()];
            map.update(&i.to_ne_bytes(), &pattern, 0)
                .map_err(|e| e.to_string())?;
        }
        for i in 0..4u64 {
            map.delete(&i.to_ne_bytes()).map_err(|e| e.to_string())?;
        }
    }
    let mut insns = vec![
        raw(0x7a, 10, 0, -8, 0),
        raw(0x7a, 10, 0, -16, 0x1111),
        mov_reg(2, 10),
        add(2, -8),
        mov_reg(3, 10),
        add(3, -16),
        mov(4, 0),
    ];
    insns.extend(ld_map(1, &map));
    insns.extend([call(2), exit()]);
    let prog = b
        .prog_load(&ProgSpec::new(ProgType::SOCKET_FILTER, &insns))
        .map_err(|e| e.to_string())?;
    let run = TestRun {
        data_in: &[0; 64],
        ..TestRun::default()
    };
    let run = prog.test_run(&run).map_err(|e| e.to_string())?;
    if run.retval != 0 {
        return Err(format!("the update returned {}", run.retval as i32));
    }
    let (r, got) = written(b, &map, cmd::MAP_LOOKUP_ELEM, k, map.value_bytes() + 64);
    r.map_err(|e| format!("lookup: {e}"))?;
    let size = map.value_bytes();
    if got[size..].iter().any(|b| *b != 0xcc) {
        return Err(format!(
            "written behind the value's {size} bytes: {got:02x?}"
        ));
    }
    // One CPU has the five bytes, at the start of its part.
    let part = if size > 5 { 8 } else { 5 };
    for cpu in got[..size].chunks(part) {
        let zero = cpu.iter().all(|b| *b == 0);
        let ours = cpu[..5] == [0x11, 0x11, 0, 0, 0] && cpu[5..].iter().all(|b| *b == 0);
        if !zero && !ours {
            return Err(format!(
                "bytes that nobody wrote: {cpu:02x?} of {:02x?}",
                &got[..size]
            ));
        }
    }
    // which CPU ran the program may differ
    seen.push(vec![
        got[..size].iter().filter(|b| **b == 0x11).count() as u8
    ]);
    Ok(seen)
}

/// A key of five bytes, and nothing behind it.
fn keys(b: &Bpf) -> Result<Vec<u8>, String> {
    dirty(b);
    let map = b
        .map_create(&MapSpec::new(MapType::HASH, 5, 8, 4))
        .map_err(|e| e.to_string())?;
    map.update(&[9; 5], &[1; 8], 0).map_err(|e| e.to_string())?;
    Ok(written(b, &map, cmd::MAP_GET_NEXT_KEY, &[], 64).1)
}

/// The answers to all lengths, and which bytes of the whole info are zero.
type Answers = (Vec<Result<usize, Errno>>, Vec<bool>);

/// Every length of an info: as many bytes as asked for, the same ones each time.
fn infos(b: &Bpf, fd: i32, known: usize) -> Result<Answers, String> {
    let ask = |len: usize| {
        let mut out = vec![0u8; 300];
        for byte in &mut out[len..] {
            *byte = 0xcc;
        }
        let r = b.info(fd, &mut out[..len]);
        (r, out)
    };
    let full = ask(known).1;
    let mut all = Vec::new();
    for len in 0..known + 16 {
        if len % 64 == 0 {
            dirty(b);
        }
        let (r, out) = ask(len);
        if let Some(at) = (len..300).find(|at| out[*at] != 0xcc) {
            return Err(format!("length {len}: byte {at} was written"));
        }
        if r.is_ok() {
            let n = len.min(known);
            if out[..n] != full[..n] {
                return Err(format!(
                    "length {len}: {:02x?}\nnot {:02x?}",
                    &out[..n],
                    &full[..n]
                ));
            }
            if out[n..len].iter().any(|b| *b != 0) {
                return Err(format!(
                    "length {len}: bytes behind what is known: {:02x?}",
                    &out[n..len]
                ));
            }
        }
        all.push(r);
    }
    Ok((all, full.iter().map(|b| *b == 0).collect()))
}

/// The same answers from both.
fn same_infos(
    both: &Both,
    known: usize,
    make: impl Fn(&Bpf) -> Result<Box<dyn AsFd>, String>,
) -> Result<(), String> {
    let of = |b: &Bpf| {
        let object = make(b)?;
        infos(b, object.as_fd().as_raw_fd(), known)
    };
    let ((t, t_zero), (o, o_zero)) = (of(&both.theirs)?, of(&both.ours)?);
    if t != o {
        return Err(format!("in-tree: {t:?}\noxbpf:   {o:?}"));
    }
    let more: Vec<usize> = (0..known)
        .filter(|at| t_zero[*at] && !o_zero[*at])
        .collect();
    println!("# bytes that are zero in-tree only: {more:?}");
    Ok(())
}

/// The verifier's log in a buffer that is too small, and a packet in one.
fn bounded(b: &Bpf) -> Result<Vec<(i32, Vec<u8>)>, String> {
    let mut all = Vec::new();
    let insns = [mov(0, 0), mov(1, 1), mov(2, 2), exit()];
    for size in [8usize, 16, 64, 100, 128, 129] {
        let mut log = vec![0xccu8; 512];
        let mut a = Attr::new(SIZE);
        a.u32(0, 1).u32(4, 4).ptr(8, &insns).ptr(16, b"GPL\0");
        a.u32(24, 2)
            .u32(28, size as u32)
            .u64(32, log.as_mut_ptr() as u64);
        let r = crate::both::no_fd(b.call(cmd::PROG_LOAD, a.bytes()));
        if log[size..].iter().any(|b| *b != 0xcc) {
            return Err(format!("a log of {size} bytes goes behind them"));
        }
        all.push((r.err().map_or(0, |e| e.0), Vec::new()));
    }
    let prog = b
        .prog_load(&ProgSpec::new(ProgType::SCHED_CLS, &[mov(0, 0), exit()]))
        .map_err(|e| e.to_string())?;
    let packet = [7u8; 100];
    for room in [0u32, 1, 13, 99, 100, 101, 200] {
        let mut out = vec![0xccu8; 512];
        let mut ctx = vec![0xccu8; 512];
        let mut a = Attr::new(80);
        a.u32(0, prog.as_fd().as_raw_fd() as u32)
            .u32(8, 100)
            .u32(12, room);
        a.ptr(16, &packet).u64(24, out.as_mut_ptr() as u64);
        a.u32(44, room).u64(56, ctx.as_mut_ptr() as u64);
        let r = b.call(cmd::PROG_TEST_RUN, a.bytes());
        let known = 192.min(room as usize);
        if ctx[known..].iter().any(|b| *b != 0xcc) {
            return Err(format!("a context of {room} bytes goes behind them"));
        }
        out.extend(ctx);
        all.push((r.err().map_or(0, |e| e.0), out));
    }
    Ok(all)
}

/// All of them.
pub fn tests(s: &mut Suite, both: &Both) {
    for (name, ty, flags) in [
        ("array", MapType::ARRAY, 0),
        ("percpu array", MapType::PERCPU_ARRAY, 0),
        ("hash", MapType::HASH, 0),
        ("hash, not preallocated", MapType::HASH, 1),
        ("percpu hash", MapType::PERCPU_HASH, 0),
        ("percpu hash, not preallocated", MapType::PERCPU_HASH, 1),
        ("LRU hash", MapType::LRU_HASH, 0),
        ("LRU percpu hash", MapType::LRU_PERCPU_HASH, 0),
    ] {
        s.test(
            &format!("values of a {name} have no byte that nobody wrote"),
            || both.same(|b| values(b, ty, flags))?.map(|_| ()),
        );
    }
    s.test("a key is written to the byte", || {
        both.same(keys)?.map(|_| ())
    });
    s.test("infos of a map", || {
        same_infos(both, 104, |b| {
            let map = b.map_create(&MapSpec::new(MapType::HASH, 8, 8, 4));
            Ok(Box::new(map.map_err(|e| e.to_string())?))
        })
    });
    s.test("infos of a program", || {
        same_infos(both, 232, |b| {
            let insns = [mov(0, 0), exit()];
            let prog = b.prog_load(&ProgSpec::new(ProgType::SOCKET_FILTER, &insns));
            Ok(Box::new(prog.map_err(|e| e.to_string())?))
        })
    });
    s.test("infos of a link", || {
        same_infos(both, 64, |b| {
            let insns = [mov(0, 0), exit()];
            let spec = ProgSpec {
                expected_attach_type: TRACE_KPROBE_MULTI,
                ..ProgSpec::new(ProgType::KPROBE, &insns)
            };
            let prog = b.prog_load(&spec).map_err(|e| e.to_string())?;
            let link = prog.attach_kprobes(&["vfs_statx"], 0);
            Ok(Box::new(link.map_err(|e| e.to_string())?))
        })
    });
    s.test(
        "logs, packets and contexts in buffers that are too small",
        || both.same(bounded)?.map(|_| ()),
    );
}
