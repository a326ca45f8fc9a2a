// SPDX-License-Identifier: GPL-2.0

//! Tail calls, and the arrays of programs that they go through.

use crate::both::Both;
use crate::insn::{add, call, exit, ld_imm64, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::{cmd, Bpf, Errno, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot, TestRun};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// Helper number.
const TAIL_CALL: i32 = 12;

/// An answer as text, so that errors and results can be compared.
type Answer<T> = Result<T, String>;

fn errno(what: &str) -> impl Fn(Errno) -> String + '_ {
    move |e| format!("{what}: {e}")
}

fn array(bpf: &Bpf, entries: u32) -> Answer<Map> {
    let spec = MapSpec::new(MapType::PROG_ARRAY, 4, 4, entries);
    bpf.map_create(&spec).map_err(errno("map"))
}

fn load_as(bpf: &Bpf, ty: ProgType, attach: u32, insns: &[Slot]) -> Answer<Prog> {
    let spec = ProgSpec {
        expected_attach_type: attach,
        ..ProgSpec::new(ty, insns)
    };
    bpf.prog_load(&spec)
        .map_err(|e| format!("load: {}", e.errno))
}

fn load(bpf: &Bpf, insns: &[Slot]) -> Answer<Prog> {
    load_as(bpf, ProgType::SCHED_CLS, 0, insns)
}

fn run(prog: &Prog) -> Answer<u32> {
    let input = TestRun {
        data_in: &[0; 64],
        ..TestRun::default()
    };
    prog.test_run(&input)
        .map(|r| r.retval)
        .map_err(errno("run"))
}

fn put(map: &Map, index: u32, prog: &Prog) -> Answer<()> {
    let fd = prog.as_fd().as_raw_fd();
    map.update(&index.to_ne_bytes(), &fd.to_ne_bytes(), 0)
        .map_err(errno("update"))
}

/// Returns `value`.
fn returns(bpf: &Bpf, value: i32) -> Answer<Prog> {
    load(bpf, &[mov(0, value), exit()])
}

/// The tail call with its context in `R1`, at a constant index.
fn tail_call(map: &Map, index: i32) -> Vec<Slot> {
    let mut insns = ld_map(2, map).to_vec();
    insns.extend([mov(3, index), call(TAIL_CALL)]);
    insns
}

/// A tail call at an index that the compiler does not know: `mark` of the packet, plus `index`.
fn tail_call_any(map: &Map, index: u64) -> Vec<Slot> {
    let mut insns = vec![raw(0x61, 4, 1, 8, 0)];
    insns.extend(ld_imm64(3, index));
    insns.push(raw(0x0f, 3, 4, 0, 0));
    insns.extend(ld_map(2, map));
    insns.push(call(TAIL_CALL));
    insns
}

/// A program that makes the tail call and returns 2 if it comes back.
fn caller(bpf: &Bpf, mut insns: Vec<Slot>) -> Answer<Prog> {
    insns.extend([mov(0, 2), exit()]);
    load(bpf, &insns)
}

/// A slot's life as its callers see it.
fn slot_life(bpf: &Bpf, insns: impl Fn(&Map) -> Vec<Slot>) -> Answer<Vec<u32>> {
    let map = array(bpf, 4)?;
    let seven = returns(bpf, 7)?;
    put(&map, 1, &seven)?;
    let early = caller(bpf, insns(&map))?;
    map.delete(&1u32.to_ne_bytes()).map_err(errno("delete"))?;
    let late = caller(bpf, insns(&map))?;
    let mut seen = Vec::new();
    let mut look = || -> Answer<()> {
        seen.extend([run(&early)?, run(&late)?]);
        Ok(())
    };
    look()?;
    put(&map, 1, &seven)?;
    look()?;
    put(&map, 1, &returns(bpf, 8)?)?;
    look()?;
    put(&map, 2, &seven)?;
    map.delete(&1u32.to_ne_bytes()).map_err(errno("delete"))?;
    look()?;
    put(&map, 1, &returns(bpf, 9)?)?;
    look()?;
    // The last descriptor of the map goes, and the programs in it with it.
    drop(map);
    let start = Instant::now();
    while (run(&early)?, run(&late)?) != (2, 2) && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    look()?;
    Ok(seen)
}

/// How often a program runs that calls itself for ever: in the value of an array, which it counts
/// up.
fn limit(bpf: &Bpf, direct: bool) -> Answer<(u32, Vec<u8>)> {
    let map = array(bpf, 1)?;
    let spec = MapSpec::new(MapType::ARRAY, 4, 8, 1);
    let count = bpf.map_create(&spec).map_err(errno("count"))?;
    let mut insns = vec![
        mov_reg(6, 1),
        raw(0x62, 10, 0, -4, 0),
        mov_reg(2, 10),
        add(2, -4),
    ];
    insns.extend(ld_map(1, &count));
    insns.extend([
        call(1),
        raw(0x15, 0, 0, 3, 0),
        raw(0x79, 1, 0, 0, 0),
        add(1, 1),
    ]);
    insns.extend([raw(0x7b, 0, 1, 0, 0), mov_reg(1, 6)]);
    insns.extend(match direct {
        true => tail_call(&map, 0),
        false => tail_call_any(&map, 0),
    });
    insns.extend([mov(0, 5), exit()]);
    let prog = load(bpf, &insns)?;
    put(&map, 0, &prog)?;
    // Twice: the count starts again.
    run(&prog)?;
    let value = run(&prog)?;
    Ok((value, count.lookup(&[0; 4]).map_err(errno("count"))?))
}

/// Programs with registers and stack of different sizes go on in each other.
fn frames(bpf: &Bpf, direct: bool) -> Answer<u32> {
    let map = array(bpf, 8)?;
    let go = |index: i32| match direct {
        true => tail_call(&map, index),
        false => tail_call_any(&map, index as u64),
    };
    // A chain 0 -> 1 -> .. -> 5; what each keeps must not be the next one's.
    let mut progs = Vec::new();
    for i in 0..6i32 {
        let mut insns = vec![];
        if i % 2 == 0 {
            insns.extend((6..=9).take(1 + i as usize).map(|r| mov(r, 100 * i)));
        }
        if i % 3 != 2 {
            insns.push(raw(0x7a, 10, 0, -8 * (1 + 13 * i as i16 % 64), i));
        }
        insns.extend(go(i + 1));
        insns.extend([mov(0, 10 + i), exit()]);
        progs.push(load(bpf, &insns)?);
    }
    for (i, prog) in (0..).zip(&progs) {
        put(&map, i, prog)?;
    }
    run(&progs[0])
}

/// Indices that are not there.
fn out_of_range(bpf: &Bpf) -> Answer<Vec<u32>> {
    let map = array(bpf, 4)?;
    for i in 0..4 {
        put(&map, i, &returns(bpf, 20 + i as i32)?)?;
    }
    let mut seen = Vec::new();
    for index in [
        0u64,
        3,
        4,
        5,
        0xffff_ffff,
        1 << 32,
        (1 << 32) + 3,
        u64::MAX,
        1 << 31,
    ] {
        seen.push(run(&caller(bpf, tail_call_any(&map, index))?)?);
        let mut constant = ld_imm64(3, index).to_vec();
        constant.extend(ld_map(2, &map));
        constant.push(call(TAIL_CALL));
        seen.push(run(&caller(bpf, constant)?)?);
    }
    Ok(seen)
}

/// What updates, deletions and look-ups answer.
fn commands(bpf: &Bpf) -> Vec<String> {
    let all = || -> Answer<Vec<String>> {
        let map = array(bpf, 2)?;
        let prog = returns(bpf, 1)?;
        let id = prog.info().map_err(errno("info"))?.id.to_ne_bytes();
        let key = |i: u32| i.to_ne_bytes();
        let fd = |fd: i32| fd.to_ne_bytes();
        let mut seen = Vec::new();
        let mut say = |what: &str, r: oxbpf::Result<Vec<u8>>| {
            let answer = match r {
                Ok(value) if value == id => "its id".to_string(),
                Ok(value) => format!("{value:?}"),
                Err(e) => e.to_string(),
            };
            seen.push(format!("{what}: {answer}"));
        };
        let none = |r: oxbpf::Result<()>| r.map(|()| Vec::new());
        let good = prog.as_fd().as_raw_fd();
        let this = map.as_fd().as_raw_fd();
        say("empty", map.lookup(&key(0)));
        say("past the end", map.lookup(&key(2)));
        say("delete empty", none(map.delete(&key(0))));
        say("delete past the end", none(map.delete(&key(2))));
        for flags in [1, 2, 3, 4, 8, 1 << 32] {
            say("flags", none(map.update(&key(0), &fd(good), flags)));
            say(
                "flags past the end",
                none(map.update(&key(2), &fd(good), flags)),
            );
        }
        say("not open", none(map.update(&key(0), &fd(9999), 0)));
        say("minus one", none(map.update(&key(0), &fd(-1), 0)));
        say("a map", none(map.update(&key(0), &fd(this), 0)));
        say("a file", none(map.update(&key(0), &fd(1), 0)));
        say("put past the end", none(map.update(&key(2), &fd(good), 0)));
        say("put", none(map.update(&key(1), &fd(good), 0)));
        say("there", map.lookup(&key(1)));
        say("first", map.next_key(None));
        say("next", map.next_key(Some(&key(0))));
        say("last", map.next_key(Some(&key(1))));
        say("take", map.take(&key(1)));
        say("delete", none(map.delete(&key(1))));
        say("gone", map.lookup(&key(1)));
        let mut frozen = fd(this);
        let froze = bpf.call(cmd::MAP_FREEZE, &mut frozen).map(|_| Vec::new());
        say("freeze", froze);
        say("put frozen", none(map.update(&key(1), &fd(good), 0)));
        Ok(seen)
    };
    all().unwrap_or_else(|e| vec![e])
}

/// Who may be in an array, and who may use it.
fn owners(bpf: &Bpf) -> Vec<Answer<()>> {
    let (cls, act, kprobe) = (ProgType::SCHED_CLS, ProgType::SCHED_ACT, ProgType::KPROBE);
    let simple = [mov(0, 0), exit()];
    let mut seen = Vec::new();
    // The first that is put in decides.
    let mut put_both = |a: (ProgType, u32), b: (ProgType, u32)| {
        seen.push((|| {
            let map = array(bpf, 2)?;
            put(&map, 0, &load_as(bpf, a.0, a.1, &simple)?)?;
            // Though it is not in there any more.
            map.delete(&[0; 4]).map_err(errno("delete"))?;
            put(&map, 1, &load_as(bpf, b.0, b.1, &simple)?)
        })());
    };
    put_both((cls, 0), (cls, 0));
    put_both((cls, 0), (act, 0));
    put_both((kprobe, 0), (kprobe, 42));
    put_both((kprobe, 42), (kprobe, 42));
    put_both((cls, 0), (ProgType::SOCKET_FILTER, 0));
    // So does the first that uses it, be it that it only names it.
    for (user, other) in [(cls, cls), (cls, act), (kprobe, act)] {
        seen.push((|| {
            let map = array(bpf, 2)?;
            let mut insns = ld_map(2, &map).to_vec();
            insns.extend(simple);
            let _user = load_as(bpf, user, 0, &insns)?;
            put(&map, 0, &load_as(bpf, other, 0, &simple)?)
        })());
        seen.push((|| {
            let map = array(bpf, 2)?;
            put(&map, 0, &load_as(bpf, other, 0, &simple)?)?;
            let mut insns = tail_call(&map, 0);
            insns.extend(simple);
            load_as(bpf, user, 0, &insns).map(|_| ())
        })());
    }
    seen
}

/// Programs that keep each other go when nobody in user space has them.
fn cycle(bpf: &Bpf) -> Answer<()> {
    let map = array(bpf, 2)?;
    let one = caller(bpf, tail_call(&map, 1))?;
    let two = caller(bpf, tail_call_any(&map, 0))?;
    put(&map, 0, &one)?;
    put(&map, 1, &two)?;
    run(&one)?;
    let id = one.info().map_err(errno("info"))?.id;
    drop((one, two, map));
    let start = Instant::now();
    loop {
        match bpf.call(cmd::PROG_GET_FD_BY_ID, &mut id.to_ne_bytes()) {
            Err(Errno(libc::ENOENT)) => return Ok(()),
            Err(e) => return Err(format!("by id: {e}")),
            Ok(fd) => {
                // SAFETY: made just now, and nobody else has it.
                unsafe { libc::close(fd) };
            }
        }
        if start.elapsed() > Duration::from_secs(60) {
            return Err("the programs keep each other".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The module compiles programs.
fn jit_on() -> bool {
    std::fs::read_to_string("/sys/module/oxbpf/parameters/jit").is_ok_and(|w| w.trim() != "off")
}

/// `call` of a subprogram, `by` slots ahead.
fn call_sub(by: i32) -> Slot {
    raw(0x85, 0, 1, 0, by)
}

/// Tail calls in subprograms: in-tree wants BTF for them, so the results are stated here.
fn subprograms(bpf: &Bpf) -> Result<(), String> {
    let map = array(bpf, 4)?;
    // Main keeps R6 and stack over the call: 1000 + result, or 2000 + result if a tail call was not
    // made.
    let sub = |index: i32| -> Vec<Slot> {
        let mut insns = vec![mov_reg(6, 1), raw(0x7a, 10, 0, -16, 1000), mov(7, 3)];
        insns.extend([call_sub(4), raw(0x79, 1, 10, -16, 0), raw(0x0f, 0, 1, 0, 0)]);
        insns.extend([raw(0x0f, 0, 7, 0, 0), exit()]);
        // The subprogram.
        insns.extend([mov(8, 77), mov(9, 5), raw(0x7b, 10, 9, -8, 0)]);
        insns.extend(tail_call(&map, index));
        insns.extend([mov(0, 1000), exit()]);
        insns
    };
    let loaded = load(bpf, &sub(1));
    if !jit_on() {
        return match loaded {
            Err(e) if e.contains("EINVAL") => Ok(()),
            Err(e) => Err(e),
            Ok(_) => Err("accepted without a compiler".into()),
        };
    }
    let prog = loaded?;
    let expect = |what: &str, want: u32| match run(&prog)? {
        got if got == want => Ok(()),
        got => Err(format!("{what}: {got}, expected {want}")),
    };
    expect("nothing there", 2003)?;
    put(&map, 1, &returns(bpf, 7)?)?;
    expect("a number", 1010)?;
    // The called program has a frame of its own, and calls a subprogram that makes a tail call.
    put(&map, 1, &load(bpf, &sub(2))?)?;
    put(&map, 2, &returns(bpf, 4)?)?;
    expect("two levels", 2010)?;
    // Itself: 33 times, with a frame of each left behind. The innermost returns 2003.
    put(&map, 1, &prog)?;
    expect("limit", 2003 + 33 * 1003)?;
    Ok(())
}

/// The counter is one for the whole run, whatever subprograms make the calls: of two calls of a
/// subprogram that calls for ever, the second cannot.
fn one_counter(bpf: &Bpf) -> Result<(), String> {
    if !jit_on() {
        return Ok(());
    }
    let map = array(bpf, 4)?;
    // R0 = times that slot 1 was reached, by both calls.
    let mut insns = vec![
        mov_reg(6, 1),
        call_sub(5),
        mov_reg(7, 0),
        mov_reg(1, 6),
        call_sub(2),
    ];
    insns.extend([raw(0x0f, 0, 7, 0, 0), exit()]);
    insns.extend(tail_call(&map, 1));
    insns.extend([mov(0, 0), exit()]);
    let main = load(bpf, &insns)?;
    // Slot 1 goes on in slot 2, and that in slot 1, until it cannot: 1 or 100 says where it ended.
    let bounce = |index: i32, value: i32| -> Answer<Prog> {
        let mut insns = tail_call_any(&map, index as u64);
        insns.extend([mov(0, value), exit()]);
        load(bpf, &insns)
    };
    put(&map, 1, &bounce(2, 1)?)?;
    put(&map, 2, &bounce(1, 100)?)?;
    // 33 calls: the first to slot 1, the last to slot 1 again; then none is left for the second.
    match run(&main)? {
        1 => Ok(()),
        got => Err(format!("{got}, expected 1")),
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    s.test("a slot's life, constant index", || {
        both.same(|b| slot_life(b, |m| tail_call(m, 1)))
            .and_then(|r| r.map(|_| ()))
    });
    s.test("a slot's life, any index", || {
        both.same(|b| slot_life(b, |m| tail_call_any(m, 1)))
            .and_then(|r| r.map(|_| ()))
    });
    for (name, direct) in [("constant", true), ("any", false)] {
        s.test(&format!("limit, {name} index"), || {
            let seen = both.same(|b| limit(b, direct))??;
            // 34 runs of the program in each of two test runs.
            match seen {
                (5, count) if count == 68u64.to_ne_bytes() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        s.test(&format!("frames, {name} index"), || {
            match both.same(|b| frames(b, direct))?? {
                15 => Ok(()),
                other => Err(format!("{other}, expected 15")),
            }
        });
    }
    s.test("indices out of range", || {
        both.same(out_of_range).and_then(|r| r.map(|_| ()))
    });
    s.test("commands", || both.same(commands).map(|_| ()));
    s.test("owners", || both.same(owners).map(|_| ()));
    s.test("programs that keep each other", || both.same(cycle)?);
    s.test("in subprograms", || subprograms(&both.ours));
    s.test("one counter", || one_counter(&both.ours));
}
