// SPDX-License-Identifier: GPL-2.0

//! kprobe programs: the same counts as through the kernel's own bpf(2).

use crate::both::Both;
use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::link::TRACE_KPROBE_MULTI;
use oxbpf::{Bpf, Errno, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn load(b: &Bpf, insns: &[Slot]) -> Result<Prog, String> {
    let spec = ProgSpec {
        expected_attach_type: TRACE_KPROBE_MULTI,
        log_level: 1,
        name: "probe",
        ..ProgSpec::new(ProgType::KPROBE, insns)
    };
    b.prog_load(&spec).map_err(|e| e.to_string())
}

/// Counts in slot 0 of an array how often `pid` hits the probe.
fn counter(b: &Bpf, pid: u32) -> Result<(Map, Prog), String> {
    let map = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 2))
        .map_err(|e| format!("map: {e}"))?;
    let mut insns = vec![
        call(14),
        raw(0x77, 0, 0, 0, 32),
        raw(0x56, 0, 0, 9, pid as i32),
    ];
    insns.extend([raw(0x62, 10, 0, -4, 0), mov_reg(2, 10), add(2, -4)]);
    insns.extend(ld_map(1, &map));
    insns.extend([
        call(1),
        raw(0x15, 0, 0, 2, 0),
        mov(1, 1),
        raw(0xdb, 0, 1, 0, 0),
    ]);
    insns.extend([mov(0, 0), exit()]);
    let prog = load(b, &insns)?;
    Ok((map, prog))
}

fn count(map: &Map) -> u64 {
    map.lookup(&[0; 4])
        .map_or(0, |v| u64::from_ne_bytes(v.try_into().unwrap_or_default()))
}

/// Calls getppid-like work that opens a file, `n` times.
fn open_files(n: u32) {
    for _ in 0..n {
        drop(fs::File::open("/dev/null"));
    }
}

fn counted_opens(b: &Bpf, n: u32) -> Result<u64, String> {
    let (map, prog) = counter(b, std::process::id())?;
    let link = prog
        .attach_kprobes(&["vfs_open"], 0)
        .map_err(|e| format!("attach: {e}"))?;
    open_files(n);
    drop(link);
    open_files(n); // these no longer count
    Ok(count(&map))
}

/// The link alone keeps the program, and the program its map.
fn link_keeps_program(b: &Bpf) -> Result<u64, String> {
    let (map, prog) = counter(b, std::process::id())?;
    let link = prog
        .attach_kprobes(&["vfs_open"], 0)
        .map_err(|e| format!("attach: {e}"))?;
    drop(prog);
    open_files(50);
    let n = count(&map);
    drop(map);
    open_files(50);
    drop(link);
    Ok(n)
}

/// Attaches and detaches while other threads hit the function all the time.
fn attach_under_load(b: &Bpf, rounds: u32) -> Result<(), String> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    open_files(10);
                }
            });
        }
        let mut result = Ok(());
        for round in 0..rounds {
            let attached = counter(b, std::process::id()).and_then(|(map, prog)| {
                let link = prog
                    .attach_kprobes(&["vfs_open"], 0)
                    .map_err(|e| format!("attach: {e}"))?;
                drop(prog);
                let before = count(&map);
                for _ in 0..6000 {
                    if count(&map) > before {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                let n = count(&map);
                drop(map);
                drop(link);
                Ok(n)
            });
            match attached {
                Ok(0) => result = Err(format!("round {round}: nothing counted")),
                Ok(_) => {}
                Err(e) => result = Err(e),
            }
            if result.is_err() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// What a program reads of the task: pid_tgid, uid_gid, comm, stored in a map.
fn task(b: &Bpf) -> Result<Vec<u8>, String> {
    let map = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, 32, 1))
        .map_err(|e| format!("map: {e}"))?;
    let pid = std::process::id();
    let mut insns = vec![
        call(14),
        mov_reg(6, 0),
        mov_reg(7, 0),
        raw(0x77, 7, 0, 0, 32),
        raw(0x56, 7, 0, 19, pid as i32),
        raw(0x7b, 10, 6, -40, 0),
        call(15),
        raw(0x7b, 10, 0, -32, 0),
        mov_reg(1, 10),
        add(1, -24),
        mov(2, 16),
        call(16),
        raw(0x62, 10, 0, -4, 0),
        mov_reg(2, 10),
        add(2, -4),
        mov_reg(3, 10),
        add(3, -40),
        mov(4, 0),
    ];
    insns.extend(ld_map(1, &map));
    insns.push(call(2));
    // jump target of the pid check: here
    let at = insns.len() as i16;
    insns[4] = raw(0x56, 7, 0, at - 5, pid as i32);
    insns.extend([mov(0, 0), exit()]);
    let prog = load(b, &insns)?;
    let link = prog
        .attach_kprobes(&["vfs_open"], 0)
        .map_err(|e| format!("attach: {e}"))?;
    open_files(1);
    drop(link);
    map.lookup(&[0; 4]).map_err(|e| format!("lookup: {e}"))
}

/// The name that the opened path ends in, read by the program from kernel memory; and the flag that
/// a fault gives.
fn reads_memory(b: &Bpf) -> Result<Vec<u8>, String> {
    let map = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, 32, 1))
        .map_err(|e| format!("map: {e}"))?;
    let pid = std::process::id();
    let mut insns = vec![
        mov_reg(6, 1),
        call(14),
        raw(0x77, 0, 0, 0, 32),
        raw(0x56, 0, 0, 0, pid as i32), // patched below
        // 16 bytes of struct path at the first argument (rdi): only whether that works
        mov_reg(1, 10),
        add(1, -40),
        mov(2, 16),
        raw(0x79, 3, 6, 112, 0),
        call(113),
        raw(0x7b, 10, 0, -24, 0),
        // an address that faults: an error, and zeros
        raw(0x7a, 10, 0, -40, -1),
        raw(0x7a, 10, 0, -32, -1),
        mov_reg(1, 10),
        add(1, -40),
        mov(2, 16),
        mov(3, 8),
        call(113),
        raw(0x7b, 10, 0, -16, 0),
        raw(0x62, 10, 0, -4, 0),
        mov_reg(2, 10),
        add(2, -4),
        mov_reg(3, 10),
        add(3, -40),
        mov(4, 0),
    ];
    insns.extend(ld_map(1, &map));
    insns.push(call(2));
    let at = insns.len() as i16;
    insns[3] = raw(0x56, 0, 0, at - 4, pid as i32);
    insns.extend([mov(0, 0), exit()]);
    let prog = load(b, &insns)?;
    let link = prog
        .attach_kprobes(&["vfs_open"], 0)
        .map_err(|e| format!("attach: {e}"))?;
    open_files(1);
    drop(link);
    map.lookup(&[0; 4]).map_err(|e| format!("lookup: {e}"))
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    s.test("counts equal the kernel's own", || {
        both.same(|b| counted_opens(b, 1000)).and_then(|n| match n {
            Ok(1000) => Ok(()),
            other => Err(format!("{other:?} of 1000 opens")),
        })
    });
    s.test("a link keeps program and map", || {
        both.same(link_keeps_program).and_then(|n| match n {
            Ok(50) => Ok(()),
            other => Err(format!("{other:?}")),
        })
    });
    s.test("pid, uid and name of the task", || {
        both.same(task).and_then(|r| r.map(|_| ()))
    });
    s.test("reads of kernel memory, good and bad", || {
        both.same(reads_memory).and_then(|r| r.map(|_| ()))
    });
    s.test("both count at once", || {
        let (ours, our_prog) = counter(&both.ours, std::process::id())?;
        let (theirs, their_prog) = counter(&both.theirs, std::process::id())?;
        let a = our_prog
            .attach_kprobes(&["vfs_open"], 0)
            .map_err(|e| e.to_string())?;
        let b = their_prog
            .attach_kprobes(&["vfs_open"], 0)
            .map_err(|e| e.to_string())?;
        open_files(500);
        drop((a, b));
        if (count(&ours), count(&theirs)) == (500, 500) {
            Ok(())
        } else {
            Err(format!(
                "in-tree {}, oxbpf {}",
                count(&theirs),
                count(&ours)
            ))
        }
    });
    s.test("attach by symbol and offset", || {
        let (map, prog) = counter(&both.ours, std::process::id())?;
        let link = prog
            .attach_kprobes(&["vfs_open+0x0"], 0)
            .map_err(|e| e.to_string())?;
        open_files(10);
        drop(link);
        if count(&map) == 10 {
            Ok(())
        } else {
            Err(format!("{} of 10", count(&map)))
        }
    });
    s.test("several functions in one link", || {
        both.same(|b| {
            let (map, prog) = counter(b, std::process::id())?;
            let link = prog
                .attach_kprobes(&["vfs_open", "vfs_statx"], 0)
                .map_err(|e| format!("attach: {e}"))?;
            for _ in 0..100 {
                let _ = fs::metadata("/dev/null");
            }
            open_files(100);
            drop(link);
            Ok::<_, String>(count(&map) >= 200)
        })
        .map(|_| ())
    });
    s.test("one bad symbol among good ones attaches nothing", || {
        both.same(|b| {
            let (map, prog) = counter(b, std::process::id())?;
            let e = prog
                .attach_kprobes(&["vfs_open", "no_such_function"], 0)
                .err();
            open_files(10);
            Ok::<_, String>((e, count(&map)))
        })
        .map(|_| ())
    });
    s.test("a function that must not be probed", || {
        let (_, prog) = counter(&both.ours, std::process::id())?;
        match prog.attach_kprobes(&["asm_exc_int3"], 0) {
            Err(Errno(libc::EINVAL | libc::ESRCH | libc::ENOENT)) => Ok(()),
            Err(e) => Err(e.to_string()),
            Ok(_) => Err("attached".to_string()),
        }
    });
    s.test("attach and detach 50 times under load", || {
        attach_under_load(&both.ours, 50)
    });
    s.test("program of the wrong expected attach type", || {
        both.same(|b| {
            let insns = [mov(0, 0), exit()];
            let spec = ProgSpec::new(ProgType::KPROBE, &insns);
            let prog = b.prog_load(&spec).map_err(|e| e.errno)?;
            prog.attach_kprobes(&["vfs_open"], 0).map(|_| ())
        })
        .map(|_| ())
    });
}
