// SPDX-License-Identifier: GPL-2.0

//! Programs go while others run them: tail-call chains in a loop against whoever replaces and closes
//! everything.
//!
//! First one at a time: a program says that it runs, and runs until it is told to end; meanwhile it
//! loses its place in the array, which was its last reference. Without the grace period its machine
//! code, or what the interpreter reads, would be gone at that moment. A module built with
//! `OXBPF_NO_GRACE=1` must not survive this; `scripts/test release` makes sure.
//!
//! Then everything at once: the programs that are replaced run long, and look again and again at a map
//! that goes with them, so many lose their last reference while they run on another CPU.
//!
//! `OXBPF_SECONDS` says how long the second takes (3).

use crate::insn::{add, call, exit, ld_imm64, ld_map, mov, mov_reg, raw};
use crate::ktap::{seconds, Suite};
use crate::mapped::Mapping;
use oxbpf::{Bpf, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot, TestRun};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Indices of the array.
const SLOTS: u32 = 4;
/// What the programs look for in their map.
const MAGIC: u64 = 0x600d_600d_600d_600d;
/// What a program returns when it found it.
const GOOD: u32 = 77;
/// What a caller returns when there was nothing to call.
const NONE: u32 = 2;
/// Rounds of a program's loop.
const ROUNDS: i32 = 200;
/// Iterations that bpf_loop is asked for: the most it does, seconds with a helper's call in each.
const LOOPS: i32 = 1 << 23;
const PAGE: usize = 4096;
/// What user space and a held program tell each other, in bytes of a mapped value.
const STARTED: usize = 0;
const STOP: usize = 4;

fn load(bpf: &Bpf, insns: &[Slot]) -> Result<Prog, String> {
    let spec = ProgSpec::new(ProgType::SCHED_CLS, insns);
    bpf.prog_load(&spec).map_err(|e| format!("load: {e}"))
}

/// A program that looks `ROUNDS` times at a map of its own, with a helper's call each time, and
/// returns `GOOD`, or anything else when the map is not what it was.
fn victim(bpf: &Bpf) -> Result<Prog, String> {
    let spec = MapSpec::new(MapType::HASH, 4, 8, 4);
    let map = bpf.map_create(&spec).map_err(|e| format!("map: {e}"))?;
    map.update(&[1, 0, 0, 0], &MAGIC.to_ne_bytes(), 0)
        .map_err(|e| format!("update: {e}"))?;
    let mut insns = vec![mov(6, 0), raw(0x62, 10, 0, -4, 1)];
    insns.extend(ld_imm64(8, MAGIC));
    let start = insns.len() as i16;
    // Time passes, and the interpreter looks at its instructions.
    insns.extend([call(5), mov_reg(2, 10), add(2, -4)]);
    insns.extend(ld_map(1, &map));
    insns.push(call(1));
    let bad = |at: usize, end: usize| (end - at - 1) as i16;
    let null = insns.len();
    insns.push(raw(0x15, 0, 0, 0, 0));
    insns.push(raw(0x79, 1, 0, 0, 0));
    let other = insns.len();
    insns.push(raw(0x5d, 1, 8, 0, 0));
    insns.push(add(6, 1));
    let back = start - insns.len() as i16 - 1;
    insns.push(raw(0xa5, 6, 0, back, ROUNDS));
    insns.extend([mov(0, GOOD as i32), exit()]);
    let end = insns.len();
    insns.extend([mov(0, 66), exit()]);
    insns[null] = raw(0x15, 0, 0, bad(null, end), 0);
    insns[other] = raw(0x5d, 1, 8, bad(other, end), 0);
    load(bpf, &insns)
}

/// A program that sets `STARTED` of the value of `flags`, runs until `STOP` is set there, and returns
/// `GOOD`.
fn held(bpf: &Bpf, flags: &Map) -> Result<Prog, String> {
    let value = |dst| {
        [
            raw(0x18, dst, 2, 0, flags.as_fd().as_raw_fd()),
            raw(0, 0, 0, 0, 0),
        ]
    };
    let mut insns = value(1).to_vec();
    insns.extend([raw(0x62, 1, 0, STARTED as i16, 1), mov(1, LOOPS)]);
    // The callback: 7 slots after this one.
    insns.extend([raw(0x18, 2, 4, 0, 6), raw(0, 0, 0, 0, 0)]);
    insns.extend([mov(3, 0), mov(4, 0), call(181), mov(0, GOOD as i32), exit()]);
    insns.push(call(5));
    insns.extend(value(1));
    insns.extend([raw(0x61, 0, 1, STOP as i16, 0), raw(0x15, 0, 0, 1, 0)]);
    insns.extend([mov(0, 1), exit()]);
    load(bpf, &insns)
}

/// A program that tail-calls index `index` of `map`, known to the compiler or not.
fn caller(bpf: &Bpf, map: &Map, index: i32, known: bool) -> Result<Prog, String> {
    let mut insns = ld_map(2, map).to_vec();
    insns.push(match known {
        true => mov(3, index),
        false => raw(0x61, 3, 1, 8, 0),
    });
    if !known {
        insns.push(add(3, index));
    }
    insns.extend([call(12), mov(0, NONE as i32), exit()]);
    load(bpf, &insns)
}

fn put(map: &Map, index: u32, prog: &Prog) -> Result<(), String> {
    let fd = prog.as_fd().as_raw_fd().to_ne_bytes();
    let done = map.update(&index.to_ne_bytes(), &fd, 0);
    done.map_err(|e| format!("put: {e}"))
}

fn run(prog: &Prog, repeat: u32) -> Result<u32, String> {
    let input = TestRun {
        data_in: &[0; 64],
        repeat,
        ..TestRun::default()
    };
    prog.test_run(&input)
        .map(|r| r.retval)
        .map_err(|e| format!("run: {e}"))
}

/// Programs lose their last reference while they run, `rounds` times.
fn held_one_by_one(bpf: &Bpf, rounds: u32) -> Result<(), String> {
    let at = |what: &'static str| move |e: oxbpf::Errno| format!("{what}: {e}");
    let spec = MapSpec::new(MapType::PROG_ARRAY, 4, 4, SLOTS);
    let array = bpf.map_create(&spec).map_err(at("array"))?;
    let flags = MapSpec {
        flags: 1 << 10, // BPF_F_MMAPABLE
        ..MapSpec::new(MapType::ARRAY, 4, 8, 1)
    };
    let flags = bpf.map_create(&flags).map_err(at("flags"))?;
    let (both, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    let told =
        Mapping::new(flags.as_fd().as_raw_fd(), PAGE, both, shared, 0).map_err(at("mmap"))?;
    for round in 0..rounds {
        told.set(STARTED, 0);
        told.set(STOP, 0);
        put(&array, 1, &held(bpf, &flags)?)?;
        let entry = caller(bpf, &array, 1, round % 2 == 0)?;
        let result = std::thread::scope(|s| {
            let runner = s.spawn(|| run(&entry, 1));
            while told.byte(STARTED) == 0 && !runner.is_finished() {
                std::thread::yield_now();
            }
            let taken = array.delete(&1u32.to_ne_bytes()).map_err(at("delete"));
            // Time for whoever frees what is still in use.
            std::thread::sleep(Duration::from_millis(100));
            let early = runner.is_finished();
            told.set(STOP, 1);
            let result = runner.join().unwrap_or(Err("the runner died".into()));
            taken.and(match early {
                true => Err(format!("it did not wait to be told: {result:?}")),
                false => result,
            })
        })?;
        if result != GOOD {
            return Err(format!("the run returned {result}"));
        }
    }
    Ok(())
}

/// What was done.
#[derive(Default)]
struct Done {
    stop: AtomicBool,
    runs: AtomicU64,
    taken: AtomicU64,
    replaced: AtomicU64,
}

/// Runs `entry` until told to stop.
fn runner(done: &Done, entry: &Prog) -> Result<(), String> {
    while !done.stop.load(Relaxed) {
        match run(entry, 4)? {
            GOOD => done.taken.fetch_add(1, Relaxed),
            NONE => 0,
            other => return Err(format!("a run returned {other}")),
        };
        done.runs.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Replaces, deletes and closes until told to stop.
fn replacer(done: &Done, bpf: &Bpf, map: &Map) -> Result<(), String> {
    let mut round = 0u32;
    while !done.stop.load(Relaxed) {
        // The two that the runners go through.
        let index = 1 + round % 2;
        round = round.wrapping_add(1);
        // The descriptor goes at once, so the array has the last reference.
        put(map, index, &victim(bpf)?)?;
        std::thread::yield_now();
        if round % 3 == 0 {
            let _ = map.delete(&(1 + (round / 3) % 2).to_ne_bytes());
        }
        done.replaced.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Makes arrays with programs that use them, runs a chain there, and closes all in the middle of it.
fn rebuilder(done: &Done, bpf: &Bpf) -> Result<(), String> {
    while !done.stop.load(Relaxed) {
        let spec = MapSpec::new(MapType::PROG_ARRAY, 4, 4, SLOTS);
        let map = bpf.map_create(&spec).map_err(|e| format!("map: {e}"))?;
        let entry = caller(bpf, &map, 1, true)?;
        // A cycle, which ends at the limit if the rest is not there.
        put(&map, 1, &caller(bpf, &map, 2, false)?)?;
        put(&map, 2, &caller(bpf, &map, 3, true)?)?;
        put(&map, 3, &victim(bpf)?)?;
        std::thread::scope(|s| {
            let runner = s.spawn(|| run(&entry, 8));
            std::thread::yield_now();
            drop(map);
            match runner.join() {
                Ok(Ok(GOOD | NONE)) => Ok(()),
                Ok(other) => Err(format!("a run: {other:?}")),
                Err(_) => Err("a runner died".into()),
            }
        })?;
        done.replaced.fetch_add(4, Relaxed);
    }
    Ok(())
}

/// Everything at once.
fn storm(bpf: &Bpf) -> Result<(), String> {
    let spec = MapSpec::new(MapType::PROG_ARRAY, 4, 4, SLOTS);
    let map = bpf.map_create(&spec).map_err(|e| format!("map: {e}"))?;
    let direct = caller(bpf, &map, 1, true)?;
    let any = caller(bpf, &map, 2, false)?;
    let done = Done::default();
    let result = std::thread::scope(|s| {
        let workers = [
            s.spawn(|| runner(&done, &direct)),
            s.spawn(|| runner(&done, &any)),
            s.spawn(|| replacer(&done, bpf, &map)),
            s.spawn(|| rebuilder(&done, bpf)),
        ];
        let start = Instant::now();
        // A slow kernel gets more time for the least that has to happen.
        let enough = || done.taken.load(Relaxed) > 0 && done.replaced.load(Relaxed) > 3;
        let goes_on = || {
            let passed = start.elapsed().as_secs();
            passed < seconds() || (!enough() && passed < 20 * seconds())
        };
        while goes_on() && !workers.iter().any(|w| w.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        done.stop.store(true, Relaxed);
        let mut result = Ok(());
        for worker in workers {
            result = result.and(worker.join().unwrap_or(Err("a thread died".into())));
        }
        result
    });
    let [runs, taken, replaced] =
        [&done.runs, &done.taken, &done.replaced].map(|n| n.load(Relaxed));
    println!("# {runs} runs, {taken} through a program, {replaced} programs replaced");
    result?;
    match taken > 0 && replaced > 3 {
        true => Ok(()),
        false => Err("too little happened to say anything".into()),
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let bpf = Bpf::oxbpf().unwrap_or_else(|e| panic!("{}: {e}", oxbpf::DEVICE));
    s.test("a program runs on when its last reference goes", || {
        held_one_by_one(&bpf, 6)
    });
    s.test("chains run while their programs go", || storm(&bpf));
}
