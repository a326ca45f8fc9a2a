// SPDX-License-Identifier: GPL-2.0

//! Tracepoints, perf events, cookies, and the helpers of tracing: as with the kernel's own bpf(2).

mod format;
mod helpers;

use crate::both::Both;
use crate::hooks::fdinfo_of;
use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::attr::{get_u32, get_u64, Attr};
use oxbpf::link::{Link, KPROBE_MULTI_RETURN, TRACE_KPROBE_MULTI};
use oxbpf::{cmd, Bpf, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Numbers of helpers.
const COOKIE: i32 = 174;
const FUNC_IP: i32 = 173;
/// Where on the stack counters are read to.
const COUNTER: i32 = -40;

fn load(b: &Bpf, ty: ProgType, attach: u32, insns: &[Slot]) -> Result<Prog, String> {
    let spec = ProgSpec {
        expected_attach_type: attach,
        log_level: 1,
        name: "trace",
        ..ProgSpec::new(ty, insns)
    };
    b.prog_load(&spec).map_err(|e| e.to_string())
}

fn text<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> String + '_ {
    move |e| format!("{what}: {e}")
}

/// What a program notes of an event.
#[derive(Clone, Copy)]
enum Note {
    /// The word at that byte of the context.
    Word(i16),
    /// The 32 bits there.
    Half(i16),
    /// What the helper says of the context.
    Helper(i32),
    /// What `perf_prog_read_value` says of the context and that many bytes of the stack.
    Counter(i32),
    /// The stack's word there.
    Stack(i16),
}

/// A program that adds to slot 0 of the map one for each event of this process, and notes in the
/// words behind it what the last was. It returns `result`.
fn noting(
    b: &Bpf,
    ty: ProgType,
    attach: u32,
    notes: &[Note],
    result: i32,
) -> Result<(Map, Prog), String> {
    let size = (notes.len() as u32 + 1) * 8;
    let map = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, size, 1))
        .map_err(text("map"))?;
    let mut insns = vec![mov_reg(6, 1), call(14), raw(0x77, 0, 0, 0, 32)];
    let ours = insns.len();
    insns.push(exit()); // patched below
    insns.extend([raw(0x62, 10, 0, -4, 0), mov_reg(2, 10), add(2, -4)]);
    insns.extend(ld_map(1, &map));
    insns.push(call(1));
    let found = insns.len();
    insns.push(exit()); // patched below
    insns.extend([mov_reg(7, 0), mov(1, 1), raw(0xdb, 7, 1, 0, 0)]);
    for (i, note) in (1i16..).zip(notes) {
        match *note {
            Note::Word(off) => insns.push(raw(0x79, 0, 6, off, 0)),
            Note::Half(off) => insns.push(raw(0x61, 0, 6, off, 0)),
            Note::Helper(id) => insns.extend([mov_reg(1, 6), call(id)]),
            Note::Counter(size) => insns.extend([
                mov_reg(1, 6),
                mov_reg(2, 10),
                add(2, COUNTER),
                mov(3, size),
                call(56),
            ]),
            Note::Stack(off) => insns.push(raw(0x79, 0, 10, off, 0)),
        }
        insns.push(raw(0x7b, 7, 0, i * 8, 0));
    }
    let end = insns.len();
    let to_end = |at: usize| (end - at - 1) as i16;
    insns[ours] = raw(0x56, 0, 0, to_end(ours), std::process::id() as i32);
    insns[found] = raw(0x15, 0, 0, to_end(found), 0);
    insns.extend([mov(0, result), exit()]);
    let prog = load(b, ty, attach, &insns)?;
    Ok((map, prog))
}

/// The words of the map's only value.
fn words(map: &Map) -> Result<Vec<u64>, String> {
    let value = map.lookup(&[0; 4]).map_err(text("lookup"))?;
    Ok((0..value.len() / 8)
        .map(|i| get_u64(&value, i * 8))
        .collect())
}

/// A system call that nothing else in this process makes.
pub fn call_getpriority(which: i32) {
    // SAFETY: no requirements.
    unsafe { libc::syscall(libc::SYS_getpriority, which, 0) };
}

/// `OBJ_GET_INFO_BY_FD` with room for `room` bytes of a name whose buffer is at byte `at`: the errno,
/// what the structure has but for ids and that pointer, and the name.
fn info(b: &Bpf, link: &Link, at: usize, room: u32) -> (i32, Vec<u8>, Vec<u8>) {
    let mut name = vec![0xaau8; 64];
    let mut info = [0; 64];
    if room != 0 {
        info[at..at + 8].copy_from_slice(&(name.as_mut_ptr() as u64).to_ne_bytes());
        info[at + 8..at + 12].copy_from_slice(&room.to_ne_bytes());
    }
    let errno = b.info(link.as_fd().as_raw_fd(), &mut info).err();
    info[at..at + 8].fill(0);
    info[4..12].fill(0);
    (errno.map_or(0, |e| e.0), info.to_vec(), name)
}

fn raw_tracepoints(s: &mut Suite, both: &Both) {
    let ty = ProgType::RAW_TRACEPOINT;
    s.test(
        "raw tracepoint sys_enter: counts, the number, the cookie",
        || {
            both.same(|b| {
                let notes = [Note::Word(8), Note::Helper(COOKIE)];
                let (map, prog) = noting(b, ty, 0, &notes, 0)?;
                let link = prog
                    .attach_raw_tracepoint("sys_enter", 0x1234_5678_9abc_def0)
                    .map_err(text("attach"))?;
                for _ in 0..1000 {
                    call_getpriority(0);
                }
                let seen = words(&map)?;
                let info = [0, 5, 10, 64].map(|room| info(b, &link, 16, room));
                let fdinfo = fdinfo_of(&link)?;
                drop(link);
                let before = words(&map)?[0];
                call_getpriority(0);
                // Others' calls of this process come before the last look at it.
                Ok::<_, String>((
                    seen[0] >= 1000,
                    seen[2],
                    info,
                    fdinfo,
                    words(&map)?[0] == before,
                ))
            })
            .and_then(|r| r)
            .and_then(|r| match r {
                (true, 0x1234_5678_9abc_def0, _, _, true) => Ok(()),
                other => Err(format!("{other:?}")),
            })
        },
    );
    s.test("arguments narrower than a word", || {
        // task_rename(task, comm), sched_process_exec(p, old_pid, bprm): a number of 32 bits;
        // sys_exit(regs, ret), and a negative result in full.
        both.same(|b| {
            let (map, prog) = noting(b, ty, 0, &[Note::Word(8)], 0)?;
            let link = prog
                .attach_raw_tracepoint("sys_exit", 0)
                .map_err(text("attach"))?;
            call_getpriority(77);
            let exit = words(&map)?;
            drop(link);
            // signal_generate(sig, info, task, group, result): int, bool, int
            let notes = [Note::Word(0), Note::Word(24), Note::Word(32)];
            let (map, prog) = noting(b, ty, 0, &notes, 0)?;
            let link = prog
                .attach_raw_tracepoint("signal_generate", 0)
                .map_err(text("attach"))?;
            // SAFETY: the signal is ignored by default.
            unsafe { libc::raise(libc::SIGURG) };
            let signal = words(&map)?;
            drop(link);
            Ok::<_, String>((exit[1], signal))
        })
        .and_then(|r| r)
        .and_then(|(exit, signal)| match (exit as i64, signal[1]) {
            (-22, 23) => Ok(()),
            _ => Err(format!("{exit:#x} {signal:?}")),
        })
    });
    for (what, name, off) in [
        ("no such tracepoint", "no_such_tracepoint", 0),
        ("an empty name", "", 0),
        ("one argument too many", "sys_enter", 16),
        ("the last argument", "sys_enter", 8),
        ("five arguments", "signal_generate", 32),
        ("six of five arguments", "signal_generate", 40),
    ] {
        s.test(&format!("raw tracepoint: {what}"), || {
            both.same(|b| {
                let (_map, prog) = noting(b, ty, 0, &[Note::Word(off)], 0)?;
                let answer = prog.attach_raw_tracepoint(name, 0).map(|_| ());
                Ok::<_, String>(answer.map_err(|e| e.0))
            })
            .and_then(|r| r.map(|_| ()))
        });
    }
    s.test("raw tracepoint: malformed commands", || {
        both.same(|b| {
            let (_map, prog) = noting(b, ty, 0, &[], 0)?;
            let kprobe = load(b, ProgType::KPROBE, 0, &[mov(0, 0), exit()])?;
            let name = c"sys_enter".as_ptr() as u64;
            let fd = |p: &Prog| p.as_fd().as_raw_fd() as u32;
            let mut answers = Vec::new();
            for (name, prog, tail) in [
                (8, fd(&prog), 0),
                (0, fd(&prog), 0),
                (name, fd(&kprobe), 0),
                (name, 12345, 0),
                (name, 0, 0),
                (name, fd(&prog), 1),
            ] {
                let mut a = Attr::new(32);
                a.u64(0, name).u32(8, prog).u64(24, tail);
                answers.push(b.call(cmd::RAW_TRACEPOINT_OPEN, a.bytes()).err());
            }
            Ok::<_, String>(answers)
        })
        .and_then(|r| r.map(|_| ()))
    });
    test_runs(s, both);
}

fn test_runs(s: &mut Suite, both: &Both) {
    // The sum of two arguments, its upper half in the result too.
    let sum = [
        raw(0x79, 0, 1, 0, 0),
        raw(0x79, 2, 1, 8, 0),
        raw(0x0f, 0, 2, 0, 0),
        exit(),
    ];
    let cpu = [call(8), exit()];
    let ty = ProgType::RAW_TRACEPOINT;
    let cases: &[(&str, &[Slot], usize, u32, u32)] = &[
        ("two words", &sum, 16, 0, 0),
        ("twelve words", &sum, 96, 0, 0),
        ("thirteen words", &sum, 104, 0, 0),
        ("one word of two", &sum, 8, 0, 0),
        ("one byte less", &sum, 15, 0, 0),
        ("no context", &cpu, 0, 1, 0),
        ("the second CPU", &cpu, 0, 1, 1),
        ("no such CPU", &cpu, 0, 1, 77),
        ("CPU -1", &cpu, 0, 1, u32::MAX),
        ("a CPU without the flag", &cpu, 0, 0, 1),
        ("an unknown flag", &cpu, 0, 3, 1),
    ];
    for (name, insns, size, flags, cpu) in cases {
        s.test(&format!("raw tracepoint test run: {name}"), || {
            both.same(|b| {
                let prog = load(b, ty, 0, insns)?;
                let ctx: Vec<u8> = (0..*size).map(|i| i as u8).collect();
                let mut a = Attr::new(80);
                a.u32(0, prog.as_fd().as_raw_fd() as u32)
                    .u32(40, *size as u32)
                    .ptr(48, &ctx)
                    .u32(64, *flags)
                    .u32(68, *cpu);
                let answer = b.call(cmd::PROG_TEST_RUN, a.bytes()).err();
                Ok::<_, String>((answer, a.get_u32(4)))
            })
            .and_then(|r| r.map(|_| ()))
        });
    }
    for (name, off, value) in [
        ("data_in", 16, 8),
        ("data_out", 24, 8),
        ("ctx_out", 56, 8),
        ("repeat", 32, 1),
        ("duration", 36, 1),
        ("batch_size", 72, 1),
    ] {
        s.test(&format!("raw tracepoint test run with {name}"), || {
            both.same(|b| {
                let prog = load(b, ty, 0, &[mov(0, 7), exit()])?;
                let mut a = Attr::new(80);
                a.u32(0, prog.as_fd().as_raw_fd() as u32).u32(off, value);
                Ok::<_, String>(b.call(cmd::PROG_TEST_RUN, a.bytes()).err())
            })
            .and_then(|r| r.map(|_| ()))
        });
    }
}

/// A perf event: the fields of `struct perf_event_attr` that are not 0, of this task.
fn perf_event(fields: &[(usize, u64)]) -> Result<OwnedFd, String> {
    let mut attr = [0u8; 128];
    attr[4..8].copy_from_slice(&128u32.to_ne_bytes());
    for (off, value) in fields {
        let width = if *off == 0 { 4 } else { 8 };
        attr[*off..*off + width].copy_from_slice(&value.to_ne_bytes()[..width]);
    }
    // SAFETY: the attribute has the size that it says.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, attr.as_ptr(), 0, -1, -1, 8) };
    if fd < 0 {
        return Err(format!("perf event: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: it was just opened.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// An event of this process at the start of that function; with `chains` it collects call chains.
pub fn breakpoint(symbol: &str, chains: bool) -> Result<OwnedFd, String> {
    let all = fs::read_to_string("/proc/kallsyms").map_err(text("kallsyms"))?;
    let line = all.lines().find(|l| l.split(' ').nth(2) == Some(symbol));
    let addr = line.and_then(|l| l.split(' ').next());
    let addr = addr.and_then(|a| u64::from_str_radix(a, 16).ok());
    let addr = addr.ok_or(format!("no {symbol}"))?;
    // PERF_TYPE_BREAKPOINT, every hit; PERF_SAMPLE_CALLCHAIN; HW_BREAKPOINT_X
    let sample = if chains { 1 << 5 } else { 0 };
    let fields = [
        (0, 5),
        (16, 1),
        (24, sample),
        (48, 4 << 32),
        (56, addr),
        (64, 8),
    ];
    perf_event(&fields)
}

fn tracefs(path: &str) -> Result<String, String> {
    let path = format!("/sys/kernel/tracing/{path}");
    fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))
}

/// `sample_type`: PERF_SAMPLE_TID, TIME, CPU, RAW
const SAMPLES: u64 = 2 | 4 | 128 | 1024;

/// An event of that tracepoint, that stores every hit.
pub fn tracepoint(name: &str) -> Result<OwnedFd, String> {
    let id = tracefs(&format!("events/{name}/id"))?;
    let id = id.trim().parse().map_err(|e| format!("{name}: {e}"))?;
    perf_event(&[(0, 2), (8, id), (16, 1), (24, SAMPLES)])
}

/// One of a kprobe, or of the function's return.
fn kprobe(symbol: &std::ffi::CStr, ret: u64) -> Result<OwnedFd, String> {
    let kind = fs::read_to_string("/sys/bus/event_source/devices/kprobe/type")
        .map_err(|e| e.to_string())?;
    let kind = kind.trim().parse().map_err(|e| format!("type: {e}"))?;
    let name = symbol.as_ptr() as u64;
    perf_event(&[(0, kind), (8, ret), (16, 1), (24, SAMPLES), (56, name)])
}

/// How many records the event stored: the ring that is mapped, and `f` in between.
fn stored<T>(event: &OwnedFd, f: impl FnOnce() -> T) -> Result<(usize, T), String> {
    const PAGE: usize = 4096;
    let len = PAGE * 9;
    // SAFETY: a new mapping.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            event.as_raw_fd(),
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(format!("mmap: {}", std::io::Error::last_os_error()));
    }
    let value = f();
    // SAFETY: `data_head` of `struct perf_event_mmap_page`.
    let head = unsafe { base.cast::<u8>().add(1024).cast::<u64>().read_volatile() } as usize;
    // SAFETY: the data behind the first page.
    let data = unsafe { std::slice::from_raw_parts(base.cast::<u8>().add(PAGE), PAGE * 8) };
    let (mut at, mut samples) = (0, 0);
    while at + 8 <= head.min(data.len()) {
        // struct perf_event_header: type, misc, size
        samples += usize::from(get_u32(data, at) == 9);
        at += usize::from(u16::from_ne_bytes([data[at + 6], data[at + 7]])).max(8);
    }
    // SAFETY: mapped above, and nobody has it any more.
    unsafe { libc::munmap(base, len) };
    Ok((samples, value))
}

fn perf(s: &mut Suite, both: &Both) {
    let tp = ProgType::TRACEPOINT;
    for (name, at) in [
        ("syscalls/sys_enter_getpriority", [16, 24]),
        ("syscalls/sys_exit_getpriority", [16, 16]),
    ] {
        s.test(
            &format!("tracepoint {name}: its record, the cookie"),
            || {
                both.same(|b| {
                    let notes = at.map(Note::Word);
                    let notes = [notes[0], notes[1], Note::Helper(COOKIE)];
                    let (map, prog) = noting(b, tp, 0, &notes, 0)?;
                    let event = tracepoint(name)?;
                    let link = prog
                        .attach_perf(event.as_raw_fd(), 77)
                        .map_err(text("attach"))?;
                    for _ in 0..100 {
                        call_getpriority(0);
                    }
                    let seen = words(&map)?;
                    let info = [0, 5, 64].map(|room| info(b, &link, 24, room));
                    let fdinfo = fdinfo_of(&link)?;
                    drop(link);
                    call_getpriority(0);
                    Ok::<_, String>((seen, info, fdinfo, words(&map)?[0]))
                })
                .and_then(|r| r)
                .and_then(|(seen, _, _, count)| match (seen[0], seen[3], count) {
                    (100, 77, 100) => Ok(()),
                    other => Err(format!("{other:?}")),
                })
            },
        );
    }
    s.test("tracepoint with a record in the buffer", || {
        both.same(|b| {
            // signal_generate: sig at 8, errno at 12, code at 16
            let notes = [Note::Half(8), Note::Half(12), Note::Half(16)];
            let (map, prog) = noting(b, tp, 0, &notes, 0)?;
            let event = tracepoint("signal/signal_generate")?;
            let link = prog
                .attach_perf(event.as_raw_fd(), 0)
                .map_err(text("attach"))?;
            // SAFETY: the signal is ignored by default.
            unsafe { libc::raise(libc::SIGURG) };
            let seen = words(&map)?;
            drop(link);
            Ok::<_, String>(seen)
        })
        .and_then(|r| r)
        .and_then(|seen| match seen[..2] {
            [1, 23] => Ok(()),
            _ => Err(format!("{seen:?}")),
        })
    });
    for (result, name) in [(0, "drops"), (1, "stores")] {
        for how in ["link", "ioctl"] {
            s.test(
                &format!("a result of {result} {name} the event, by {how}"),
                || {
                    both.same(|b| {
                        let (map, prog) = noting(b, tp, 0, &[], result)?;
                        let event = tracepoint("syscalls/sys_enter_getpriority")?;
                        let link = match how {
                            "link" => Some(
                                prog.attach_perf(event.as_raw_fd(), 0)
                                    .map_err(text("attach"))?,
                            ),
                            _ => {
                                prog.give_to_perf(event.as_raw_fd()).map_err(text("give"))?;
                                None
                            }
                        };
                        let again = prog.give_to_perf(event.as_raw_fd()).map_err(|e| e.0);
                        drop(prog);
                        let (samples, ()) = stored(&event, || {
                            for _ in 0..50 {
                                call_getpriority(0);
                            }
                        })?;
                        let count = words(&map)?[0];
                        drop((event, link));
                        call_getpriority(0);
                        Ok::<_, String>((samples, count, again, words(&map)?[0]))
                    })
                    .and_then(|r| r)
                    .and_then(|r| match r {
                        (n, 50, Err(libc::EEXIST), 50) if n == 50 * result as usize => Ok(()),
                        other => Err(format!("{other:?}")),
                    })
                },
            );
        }
    }
    for (ret, name) in [(0, "entry"), (1, "return")] {
        s.test(
            &format!("kprobe by perf, {name}: cookie, function, result"),
            || {
                both.same(|b| {
                    let notes = [Note::Helper(COOKIE), Note::Helper(FUNC_IP), Note::Word(80)];
                    let notes = if ret == 1 { &notes[..] } else { &notes[..2] };
                    let (map, prog) = noting(b, ProgType::KPROBE, 0, notes, 0)?;
                    let event = kprobe(c"vfs_write", ret)?;
                    let link = prog
                        .attach_perf(event.as_raw_fd(), 99)
                        .map_err(text("attach"))?;
                    let _ = fs::write("/dev/null", [0; 77]);
                    let seen = words(&map)?;
                    let info = info(b, &link, 24, 64);
                    let fdinfo = fdinfo_of(&link)?;
                    drop(link);
                    Ok::<_, String>((seen, info, fdinfo))
                })
                .and_then(|r| r)
                .and_then(|(seen, _, _)| {
                    match (seen[0], seen[1], seen[2], seen.get(3)) {
                        (1, 99, ip, None | Some(77)) if ip != 0 => Ok(()),
                        other => Err(format!("{other:x?}")),
                    }
                })
            },
        );
    }
    s.test("a counter's event, that its program looks at", || {
        // PERF_COUNT_SW_CONTEXT_SWITCHES of this task, every one; sample_period at 168
        both.same(|b| {
            let notes = [Note::Word(168), Note::Helper(COOKIE)];
            let (map, prog) = noting(b, ProgType::PERF_EVENT, 0, &notes, 0)?;
            let event = perf_event(&[(0, 1), (8, 3), (16, 1), (24, SAMPLES)])?;
            let link = prog
                .attach_perf(event.as_raw_fd(), 5)
                .map_err(text("attach"))?;
            // A switch inside of another event's handling is not seen.
            for _ in 0..5000 {
                std::thread::sleep(std::time::Duration::from_millis(2));
                if words(&map)?[0] >= 5 {
                    break;
                }
            }
            let seen = words(&map)?;
            let info = info(b, &link, 40, 0);
            let fdinfo = fdinfo_of(&link)?;
            drop(link);
            Ok::<_, String>((seen[0] >= 5, seen[1], seen[2], info, fdinfo))
        })
        .and_then(|r| r)
        .and_then(|r| match r {
            (true, 1, 5, _, _) => Ok(()),
            other => Err(format!("{other:?}")),
        })
    });
    s.test("a counter's event, that its program reads", || {
        both.same(|b| {
            let at = COUNTER as i16;
            let mut notes = vec![Note::Counter(24), Note::Stack(at)];
            notes.extend([Note::Stack(at + 8), Note::Stack(at + 16)]);
            notes.extend([Note::Counter(8), Note::Stack(at)]);
            notes.extend([Note::Counter(32), Note::Stack(at + 24)]);
            let (map, prog) = noting(b, ProgType::PERF_EVENT, 0, &notes, 0)?;
            let event = perf_event(&[(0, 1), (8, 3), (16, 1), (24, SAMPLES)])?;
            let link = prog
                .attach_perf(event.as_raw_fd(), 0)
                .map_err(text("attach"))?;
            for _ in 0..5000 {
                std::thread::sleep(std::time::Duration::from_millis(2));
                if words(&map)?[0] != 0 {
                    break;
                }
            }
            drop(link);
            let seen = words(&map)?;
            let counted = seen[2] >= seen[0] && seen[0] != 0 && seen[3] != 0 && seen[3] == seen[4];
            Ok::<_, String>((counted, seen[1], seen[5..].to_vec()))
        })
        .and_then(|r| r)
        .and_then(|r| match r {
            (true, 0, rest) if rest == [-22i64 as u64, 0, -22i64 as u64, 0] => Ok(()),
            other => Err(format!("{other:x?}")),
        })
    });
    for (what, ty, off, event) in [
        ("what the record has", tp, 56, 0),
        ("one word too many", tp, 64, 0),
        ("a kprobe's program at a tracepoint", ProgType::KPROBE, 0, 0),
        ("a tracepoint's program at a kprobe", tp, 8, 1),
        ("a tracepoint's program at a counter", tp, 8, 2),
        (
            "a counter's program at a tracepoint",
            ProgType::PERF_EVENT,
            0,
            0,
        ),
        ("something that is no event", tp, 8, 3),
    ] {
        s.test(&format!("perf: {what}"), || {
            both.same(|b| {
                let (_map, prog) = noting(b, ty, 0, &[Note::Word(off)], 0)?;
                let event = match event {
                    0 => tracepoint("syscalls/sys_enter_mmap")?,
                    1 => kprobe(c"vfs_write", 0)?,
                    2 => perf_event(&[(0, 1), (8, 3), (16, 1)])?,
                    _ => fs::File::open("/dev/null")
                        .map_err(|e| e.to_string())?
                        .into(),
                };
                let link = prog.attach_perf(event.as_raw_fd(), 0).map(|_| ());
                let given = prog.give_to_perf(event.as_raw_fd());
                // The event's own ioctl has no descriptor to be wrong about.
                let given = given.map_err(|e| {
                    if e.0 == libc::ENOTTY {
                        libc::EBADF
                    } else {
                        e.0
                    }
                });
                Ok::<_, String>((link.map_err(|e| e.0), given))
            })
            .and_then(|r| r.map(|_| ()))
        });
    }
    s.test("events come and go while they are hit", || {
        let (_map, prog) = noting(&both.ours, tp, 0, &[Note::Word(16)], 0)?;
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    call_getpriority(0);
                }
            });
            let mut result = Ok(());
            for round in 0..crate::ktap::volume(30) {
                result = (|| {
                    let event = tracepoint("syscalls/sys_enter_getpriority")?;
                    if round % 2 == 0 {
                        prog.give_to_perf(event.as_raw_fd()).map_err(text("give"))
                    } else {
                        let link = prog.attach_perf(event.as_raw_fd(), 0);
                        link.map(|_| ()).map_err(text("attach"))
                    }
                })();
                if result.is_err() {
                    break;
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            result
        })
    });
}

fn cookies(s: &mut Suite, both: &Both) {
    let work = || {
        let _ = fs::write("/dev/null", [0; 3]);
        drop(fs::File::open("/dev/null"));
    };
    for flags in [0, KPROBE_MULTI_RETURN] {
        for symbols in [&["vfs_write"][..], &["vfs_write", "vfs_open", "vfs_statx"]] {
            let n = symbols.len();
            s.test(&format!("cookies of {n} functions, flags {flags}"), || {
                both.same(|b| {
                    let mut all = Vec::new();
                    // Each event's cookie and function; only the last of the three is not hit.
                    for only in 0..2usize {
                        let given: Vec<u64> = (0..n as u64).map(|i| 100 + i).collect();
                        let notes = [Note::Helper(COOKIE), Note::Helper(FUNC_IP)];
                        let ty = ProgType::KPROBE;
                        let (map, prog) = noting(b, ty, TRACE_KPROBE_MULTI, &notes, 0)?;
                        let link = prog
                            .attach_kprobes_with(symbols, flags, &given)
                            .map_err(text("attach"))?;
                        match only {
                            0 => drop(fs::write("/dev/null", [0; 3])),
                            _ => work(),
                        }
                        let (mut addrs, mut told) = (vec![0u64; n], vec![0u64; n]);
                        let mut info = [0; 64];
                        info[16..24].copy_from_slice(&(addrs.as_mut_ptr() as u64).to_ne_bytes());
                        info[24..28].copy_from_slice(&(n as u32).to_ne_bytes());
                        info[40..48].copy_from_slice(&(told.as_mut_ptr() as u64).to_ne_bytes());
                        b.info(link.as_fd().as_raw_fd(), &mut info)
                            .map_err(text("info"))?;
                        let fdinfo = fdinfo_of(&link)?;
                        drop(link);
                        all.push((words(&map)?, addrs, told, fdinfo));
                    }
                    Ok::<_, String>(all)
                })
                .and_then(|r| r)
                .and_then(|all| match &all[0] {
                    (seen, addrs, told, _) if seen[0] > 0 => {
                        let at = addrs.iter().position(|a| *a == seen[2]);
                        match at.and_then(|at| told.get(at)) {
                            Some(cookie) if *cookie == seen[1] && *cookie >= 100 => Ok(()),
                            other => Err(format!("{other:?}: {all:x?}")),
                        }
                    }
                    _ => Err(format!("{all:x?}")),
                })
            });
        }
    }
    s.test("cookies that cannot be read", || {
        both.same(|b| {
            let ty = ProgType::KPROBE;
            let (_map, prog) = noting(b, ty, TRACE_KPROBE_MULTI, &[], 0)?;
            let symbol = [c"vfs_write".as_ptr() as u64];
            let mut a = Attr::new(64);
            a.u32(0, prog.as_fd().as_raw_fd() as u32)
                .u32(8, TRACE_KPROBE_MULTI)
                .u32(20, 1)
                .ptr(24, &symbol)
                .u64(40, 8);
            Ok::<_, String>(b.call(cmd::LINK_CREATE, a.bytes()).err())
        })
        .and_then(|r| r.map(|_| ()))
    });
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    // SAFETY: NUL-terminated strings, and no data.
    unsafe {
        libc::mount(
            c"trace".as_ptr(),
            c"/sys/kernel/tracing".as_ptr(),
            c"tracefs".as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    raw_tracepoints(s, &both);
    perf(s, &both);
    cookies(s, &both);
    helpers::suite(s, &both);
    format::suite(s, &both);
}
