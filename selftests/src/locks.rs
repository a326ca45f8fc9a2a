// SPDX-License-Identifier: GPL-2.0

//! Spin locks in values of maps: what commands do with them, and that they lock.

use crate::both::{no_fd, Both};
use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use crate::ktap::{volume, Suite};
use oxbpf::attr::Attr;
use oxbpf::{cmd, Bpf, Errno, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot, TestRun};
use oxbpf_fixtures::bpf::{load_types, lock_types};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// `BPF_F_LOCK`
const LOCK: u64 = 4;
/// `BPF_FUNC_map_update_elem`
const UPDATE: i32 = 2;
/// `BPF_FUNC_spin_lock`, and behind it the other.
const SPIN_LOCK: i32 = 93;
const SPIN_UNLOCK: i32 = 94;

/// A map with a lock at byte `lock` of its values.
fn map(b: &Bpf, ty: u32, size: u32, lock: u32, flags: u32) -> Result<Map, Errno> {
    let btf = load_types(b, &lock_types(size, lock))?;
    b.map_create(&MapSpec {
        flags,
        types: Some((btf.as_raw_fd(), 1, 3)),
        ..MapSpec::new(MapType(ty), 4, size, 2)
    })
}

/// A command on an element: the answer, and what is in the value's place afterwards.
fn elem(
    b: &Bpf,
    m: &Map,
    cmd: u32,
    key: u32,
    value: &[u8],
    flags: u64,
) -> (Result<i32, Errno>, Vec<u8>) {
    let (key, mut value) = (key.to_ne_bytes(), value.to_vec());
    let mut a = Attr::new(32);
    a.u32(0, m.as_fd().as_raw_fd() as u32)
        .ptr(8, &key)
        .u64(16, value.as_mut_ptr() as u64)
        .u64(24, flags);
    let answer = b.call(cmd, a.bytes());
    (answer, std::hint::black_box(value))
}

/// A batch of two elements: the answer, how many, the values.
fn batch(
    b: &Bpf,
    m: &Map,
    cmd: u32,
    values: &[u8],
    flags: u64,
) -> (Result<i32, Errno>, u32, Vec<u8>) {
    let (keys, mut values, mut at) = ([0u32, 1], values.to_vec(), [0u8; 8]);
    let mut a = Attr::new(56);
    a.u64(8, at.as_mut_ptr() as u64)
        .ptr(16, &keys)
        .u64(24, values.as_mut_ptr() as u64)
        .u32(32, 2)
        .u32(36, m.as_fd().as_raw_fd() as u32)
        .u64(40, flags);
    let answer = match b.call(cmd, a.bytes()) {
        // Whether there are buckets behind the last element depends on the hash.
        Err(Errno(libc::ENOENT)) => Ok(0),
        other => other,
    };
    (answer, a.get_u32(32), std::hint::black_box(values))
}

/// Everything that the commands on elements answer, with all flags.
fn commands(b: &Bpf, ty: u32, size: u32, lock: u32) -> Vec<String> {
    let m = match map(b, ty, size, lock, 0) {
        Ok(m) => m,
        Err(e) => return vec![format!("create: {e}")],
    };
    let value = |n: u8| vec![n; size as usize];
    let mut all = Vec::new();
    let mut n = 1;
    for flags in [
        0,
        LOCK,
        1,
        LOCK | 1,
        2,
        LOCK | 2,
        3,
        LOCK | 3,
        8,
        16,
        32,
        LOCK | (1 << 32),
    ] {
        for key in [0, 1, 2] {
            n += 1;
            let (put, _) = elem(b, &m, cmd::MAP_UPDATE_ELEM, key, &value(n), flags);
            let got = [0, LOCK, 1, LOCK | 8]
                .map(|flags| elem(b, &m, cmd::MAP_LOOKUP_ELEM, key, &value(0xee), flags));
            all.push(format!("{flags:#x} {key}: {put:?} {got:?}"));
        }
    }
    for flags in [LOCK | 1, LOCK, 0] {
        let got = elem(
            b,
            &m,
            cmd::MAP_LOOKUP_AND_DELETE_ELEM,
            0,
            &value(0xee),
            flags,
        );
        let _ = elem(b, &m, cmd::MAP_UPDATE_ELEM, 0, &value(9), LOCK);
        all.push(format!("take {flags}: {got:?}"));
    }
    let both = |n: u8| [value(n), value(n + 1)].concat();
    for flags in [0, LOCK, 1, LOCK | 8] {
        let put = batch(b, &m, cmd::MAP_UPDATE_BATCH, &both(0x40), flags);
        let (answer, count, mut got) = batch(b, &m, cmd::MAP_LOOKUP_BATCH, &both(0xee), flags);
        got.sort();
        all.push(format!("batch {flags}: {put:?} {answer:?} {count} {got:?}"));
    }
    for flags in [LOCK | 1, LOCK] {
        let _ = batch(b, &m, cmd::MAP_UPDATE_BATCH, &both(0x40), 0);
        let (answer, count, mut got) =
            batch(b, &m, cmd::MAP_LOOKUP_AND_DELETE_BATCH, &both(0xee), flags);
        got.sort();
        let _ = batch(b, &m, cmd::MAP_UPDATE_BATCH, &both(0x40), LOCK);
        let (gone, n, _) = batch(b, &m, cmd::MAP_DELETE_BATCH, &both(0), flags);
        all.push(format!(
            "take {flags}: {answer:?} {count} {got:?}, {gone:?} {n}"
        ));
    }
    let fd = m.as_fd().as_raw_fd();
    let frozen = no_fd(b.call(cmd::MAP_FREEZE, &mut fd.to_ne_bytes()));
    all.push(format!("freeze: {frozen:?}"));
    all
}

/// A classifier.
fn load(b: &Bpf, insns: &[Slot]) -> Result<Prog, String> {
    let spec = ProgSpec {
        license: "GPL",
        log_level: 1,
        log_size: 1 << 16,
        ..ProgSpec::new(ProgType::SCHED_CLS, insns)
    };
    b.prog_load(&spec)
        .map_err(|e| format!("load: {}\n{}", e.errno, e.log))
}

fn run(prog: &Prog, repeat: u32) -> Result<u32, String> {
    let input = TestRun {
        data_in: &[0; 64],
        repeat,
        ..TestRun::default()
    };
    prog.test_run(&input)
        .map(|done| done.retval)
        .map_err(|e| format!("run: {e}"))
}

/// What the helper answers for flags, and what the map holds then.
fn helper(b: &Bpf, ty: u32, flags: i32) -> Result<(u32, Vec<String>), String> {
    let m = map(b, ty, 24, 4, 0).map_err(|e| format!("create: {e}"))?;
    let mut insns = vec![
        raw(0x62, 10, 0, -4, 1),     // key
        raw(0x7a, 10, 0, -32, 0x11), // value
        raw(0x7a, 10, 0, -24, 0x22),
        raw(0x7a, 10, 0, -16, 0x33),
    ];
    insns.extend(ld_map(1, &m));
    insns.extend([mov_reg(2, 10), add(2, -4), mov_reg(3, 10), add(3, -32)]);
    insns.extend([mov(4, flags), call(UPDATE), exit()]);
    let prog = load(b, &insns)?;
    let first = run(&prog, 1)?;
    let second = run(&prog, 1)?;
    let values = [0, 1].map(|key| {
        let got = elem(b, &m, cmd::MAP_LOOKUP_ELEM, key, &[0xee; 24], LOCK);
        format!("{got:?}")
    });
    Ok((first ^ second.rotate_left(16), values.to_vec()))
}

/// Values of the maps below: a lock, then three numbers.
const SIZE: u32 = 32;

/// Takes a value's lock, adds one to its first two numbers by way of registers, with time to be
/// interrupted in between, counts in the third when they differed before, and gives the lock back.
fn increment(m: &Map) -> Vec<Slot> {
    let mut insns = vec![raw(0x62, 10, 0, -8, 0)];
    insns.extend(ld_map(1, m));
    insns.extend([
        mov_reg(2, 10),
        add(2, -8),
        call(1),
        raw(0x55, 0, 0, 2, 0), // if r0 != 0 goto +2
        mov(0, 1),
        exit(),
        mov_reg(6, 0),
        mov_reg(1, 6),
        call(SPIN_LOCK),
        raw(0x79, 7, 6, 8, 0),
        raw(0x79, 8, 6, 16, 0),
        mov(1, 20),
        add(1, -1),
        raw(0x55, 1, 0, -2, 0), // if r1 != 0 goto -2
        raw(0x1d, 7, 8, 3, 0),  // if r7 == r8 goto +3
        raw(0x79, 1, 6, 24, 0),
        add(1, 1),
        raw(0x7b, 6, 1, 24, 0),
        add(7, 1),
        raw(0x7b, 6, 7, 8, 0),
        mov(1, 20),
        add(1, -1),
        raw(0x55, 1, 0, -2, 0), // if r1 != 0 goto -2
        add(8, 1),
        raw(0x7b, 6, 8, 16, 0),
        mov_reg(1, 6),
        call(SPIN_UNLOCK),
        mov(0, 0),
        exit(),
    ]);
    insns
}

fn numbers(value: &[u8]) -> Vec<u64> {
    let words = value.chunks_exact(8).skip(1);
    words
        .map(|w| u64::from_ne_bytes(w.try_into().unwrap_or_default()))
        .collect()
}

/// Threads run the program, and what they add up must be all that they added. Meanwhile user space
/// looks at the value under its lock.
fn exclusion(b: &Bpf, ty: u32) -> Result<(), String> {
    const THREADS: u32 = 3;
    let rounds = volume(10_000) as u32;
    let m = map(b, ty, SIZE, 0, 0).map_err(|e| format!("create: {e}"))?;
    m.update(&[0; 4], &[0; SIZE as usize], 0)
        .map_err(|e| format!("fill: {e}"))?;
    let prog = load(b, &increment(&m))?;
    let done = AtomicBool::new(false);
    let look = || -> Result<Vec<u64>, String> {
        let (got, value) = elem(b, &m, cmd::MAP_LOOKUP_ELEM, 0, &[0; SIZE as usize], LOCK);
        got.map_err(|e| format!("look: {e}"))?;
        Ok(numbers(&value))
    };
    std::thread::scope(|s| {
        let runners: Vec<_> = (0..THREADS)
            .map(|_| s.spawn(|| run(&prog, rounds)))
            .collect();
        let looker = s.spawn(|| {
            while !done.load(Relaxed) {
                let seen = look()?;
                if seen[0] != seen[1] {
                    return Err(format!("half of a change: {seen:?}"));
                }
            }
            Ok(())
        });
        let results: Vec<_> = runners.into_iter().map(|r| r.join()).collect();
        done.store(true, Relaxed);
        let looked = looker.join().map_err(|_| "looker")?;
        for result in results {
            let got = result.map_err(|_| "runner")??;
            if got != 0 {
                return Err(format!("returned {got}"));
            }
        }
        looked
    })?;
    let want = u64::from(THREADS * rounds);
    match look()? {
        seen if seen == [want, want, 0] => Ok(()),
        seen => Err(format!("{seen:?} of {want}")),
    }
}

/// User space writes whole values under the lock while programs change them: none sees half of one.
fn writers(b: &Bpf, ty: u32) -> Result<(), String> {
    let rounds = volume(4_000);
    let m = map(b, ty, SIZE, 0, 0).map_err(|e| format!("create: {e}"))?;
    m.update(&[0; 4], &[0; SIZE as usize], 0)
        .map_err(|e| format!("fill: {e}"))?;
    let prog = load(b, &increment(&m))?;
    std::thread::scope(|s| {
        let runner = s.spawn(|| run(&prog, rounds as u32 * 4));
        for i in 0..rounds {
            // The third number, the count of faults, must survive.
            let (_, now) = elem(b, &m, cmd::MAP_LOOKUP_ELEM, 0, &[0; SIZE as usize], LOCK);
            let faults = numbers(&now)[2];
            let value = [0, i, i, faults].map(u64::to_ne_bytes).concat();
            let (put, _) = elem(b, &m, cmd::MAP_UPDATE_ELEM, 0, &value, LOCK | 2);
            put.map_err(|e| format!("update: {e}"))?;
            if faults != 0 {
                return Err(format!("half of a value: {now:?}"));
            }
        }
        runner.join().map_err(|_| "runner")?.map(drop)
    })?;
    let (_, now) = elem(b, &m, cmd::MAP_LOOKUP_ELEM, 0, &[0; SIZE as usize], LOCK);
    match numbers(&now) {
        seen if seen[0] == seen[1] && seen[2] == 0 => Ok(()),
        seen => Err(format!("{seen:?}")),
    }
}

/// A program takes a lock in a value whose entry others delete and put back all the time.
fn under_churn(b: &Bpf) -> Result<(), String> {
    let rounds = volume(10_000) as u32;
    let m = map(b, 1, SIZE, 0, 0).map_err(|e| format!("create: {e}"))?;
    let prog = load(b, &increment(&m))?;
    std::thread::scope(|s| {
        let runners: Vec<_> = (0..2).map(|_| s.spawn(|| run(&prog, rounds))).collect();
        for i in 0..rounds / 4 {
            let flags = if i % 2 == 0 { 0 } else { LOCK };
            let _ = m.update(&[0; 4], &[0; SIZE as usize], flags);
            let _ = m.update(&[1, 0, 0, 0], &[0; SIZE as usize], flags);
            let _ = m.delete(&[0; 4]);
            let _ = m.delete(&[1, 0, 0, 0]);
        }
        for runner in runners {
            runner.join().map_err(|_| "runner")??;
        }
        Ok::<(), String>(())
    })?;
    // No lock was lost or left.
    m.update(&[0; 4], &[0; SIZE as usize], LOCK)
        .map_err(|e| format!("{e}"))?;
    m.update(&[1, 0, 0, 0], &[0; SIZE as usize], LOCK)
        .map_err(|e| format!("{e}"))?;
    run(&prog, 10).map(drop)
}

/// What mmap answers for an array with a lock.
fn mapped(b: &Bpf) -> String {
    let m = match map(b, 2, 16, 0, 1 << 10) {
        Ok(m) => m,
        Err(e) => return format!("create: {e}"),
    };
    // SAFETY: a new mapping, which nobody uses.
    let at = unsafe {
        let fd = m.as_fd().as_raw_fd();
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ,
            libc::MAP_SHARED,
            fd,
            0,
        )
    };
    let error = std::io::Error::last_os_error();
    match at == libc::MAP_FAILED {
        true => format!("{:?}", error.raw_os_error()),
        false => {
            // SAFETY: made just now.
            unsafe { libc::munmap(at, 4096) };
            "mapped".into()
        }
    }
}

/// Which maps a map of maps with a lock in the template's values takes.
fn inner(b: &Bpf) -> Result<Vec<String>, String> {
    let template = map(b, 1, 16, 4, 0).map_err(|e| format!("create: {e}"))?;
    let outer = b
        .map_create(&MapSpec {
            inner: Some(template.as_fd().as_raw_fd()),
            ..MapSpec::new(MapType::ARRAY_OF_MAPS, 4, 4, 1)
        })
        .map_err(|e| format!("outer: {e}"))?;
    let without = b
        .map_create(&MapSpec::new(MapType::HASH, 4, 16, 2))
        .map_err(|e| format!("{e}"))?;
    let mut all = Vec::new();
    for lock in [4, 0, 8] {
        let m = map(b, 1, 16, lock, 0).map_err(|e| format!("create: {e}"))?;
        all.push(format!(
            "{lock}: {:?}",
            outer.update(&[0; 4], &m.as_fd().as_raw_fd().to_ne_bytes(), 0)
        ));
    }
    all.push(format!(
        "none: {:?}",
        outer.update(&[0; 4], &without.as_fd().as_raw_fd().to_ne_bytes(), 0)
    ));
    Ok(all)
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    for (ty, name) in [(1, "hash"), (2, "array")] {
        for (size, lock) in [(4, 0), (8, 0), (8, 4), (16, 12), (20, 8), (64, 16)] {
            s.test(
                &format!("{name}: commands, lock at {lock} of {size}"),
                || both.same(|b| commands(b, ty, size, lock)).map(drop),
            );
        }
        s.test(&format!("{name}: update by programs"), || {
            for flags in [0, 1, 2, 4, 5, 6, 7, 8] {
                both.same(|b| helper(b, ty, flags))
                    .map_err(|e| format!("{flags}: {e}"))??;
            }
            Ok(())
        });
        s.test(&format!("{name}: one at a time"), || {
            exclusion(&both.ours, ty)
        });
        s.test(&format!("{name}: values whole"), || writers(&both.ours, ty));
    }
    s.test("hash: entries that come and go", || under_churn(&both.ours));
    s.test("mmap", || both.same(mapped).map(drop));
    s.test("in maps of maps", || both.same(inner)?.map(drop));
}
