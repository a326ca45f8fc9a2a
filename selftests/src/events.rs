// SPDX-License-Identifier: GPL-2.0

//! Perf events in maps and call chains: what programs write to events, read from counters, and see
//! of the stack, against the kernel's own bpf(2).

use crate::both::Both;
use crate::fd_array;
use crate::insn::{add, call, exit, ld_imm64, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use crate::trace;
use oxbpf::attr::Attr;
use oxbpf::cpu::stay;
use oxbpf::link::TRACE_KPROBE_MULTI;
use oxbpf::{cmd, Bpf, Link, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot, TestRun};
use std::fmt::Write;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// `PERF_COUNT_SW_*`
const CPU_CLOCK: u64 = 0;
const CONTEXT_SWITCHES: u64 = 3;
const BPF_OUTPUT: u64 = 10;
/// `BPF_F_CURRENT_CPU`
const CURRENT_CPU: u64 = 0xffff_ffff;
/// `PERF_RECORD_LOST`
const LOST: u32 = 2;
/// `BPF_F_PRESERVE_ELEMS`
const PRESERVE: u32 = 1 << 11;
/// Pages of an event's ring, behind the first.
const PAGES: usize = 8;
const PAGE: usize = 4096;

/// What is probed: two functions, so that oxbpf's probe is of the kind of bpf(2)'s, which says another
/// address for the place than a kprobe.
const PROBES: &[&str] = &["vfs_open", "vfs_rmdir"];

/// A software event of a CPU.
struct Event {
    fd: OwnedFd,
    ring: *mut u8,
}

impl Event {
    /// With `raw` records in a ring, if it is for output; `inherit`: children count too.
    fn open(config: u64, pid: i32, cpu: i32, inherit: bool) -> Result<Event, String> {
        let mut a = [0u8; 128];
        let mut put = |at: usize, v: u64| a[at..at + 8].copy_from_slice(&v.to_ne_bytes());
        // type PERF_TYPE_SOFTWARE and size; then config, period, sample_type PERF_SAMPLE_RAW
        put(0, 1 | (128 << 32));
        put(8, config);
        put(16, 1);
        put(24, 1 << 10);
        put(40, u64::from(inherit) << 1);
        // SAFETY: the kernel reads the attr, and makes an fd of its own.
        let fd = unsafe {
            let fd = libc::syscall(libc::SYS_perf_event_open, a.as_ptr(), pid, cpu, -1, 8);
            if fd < 0 {
                return Err(format!("event: {}", std::io::Error::last_os_error()));
            }
            OwnedFd::from_raw_fd(fd as i32)
        };
        let mut ring = ptr::null_mut();
        if config == BPF_OUTPUT {
            // SAFETY: a new mapping.
            ring = unsafe {
                libc::mmap(
                    ptr::null_mut(),
                    (PAGES + 1) * PAGE,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED,
                    fd.as_raw_fd(),
                    0,
                )
            };
            if ring == libc::MAP_FAILED {
                return Err("no ring".into());
            }
        }
        Ok(Event {
            fd,
            ring: ring.cast(),
        })
    }

    fn number(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// The records since the last time: type and raw bytes.
    fn records(&self) -> Vec<(u32, Vec<u8>)> {
        let mut all = Vec::new();
        // SAFETY: the ring is mapped; its positions are atomic words of the first page.
        let (head, tail) = unsafe {
            (
                &*self.ring.add(1024).cast::<AtomicU64>(),
                &*self.ring.add(1032).cast::<AtomicU64>(),
            )
        };
        let end = head.load(Ordering::Acquire);
        let mut at = tail.load(Ordering::Relaxed);
        let byte = |at: u64| {
            let off = PAGE + at as usize % (PAGES * PAGE);
            // SAFETY: within the ring.
            unsafe { self.ring.add(off).read_volatile() }
        };
        while at < end {
            let take = |off: u64, n: u64| (0..n).map(|i| byte(at + off + i)).collect::<Vec<u8>>();
            let ty = u32::from_ne_bytes(take(0, 4).try_into().unwrap_or_default());
            let size = u16::from_ne_bytes(take(6, 2).try_into().unwrap_or_default());
            // A record of lost ones begins with the event's number, which is nobody's business.
            let skip = if ty == LOST { 16 } else { 8 };
            all.push((ty, take(skip, u64::from(size).saturating_sub(skip))));
            at += u64::from(size.max(8));
        }
        tail.store(end, Ordering::Release);
        all
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.ring.is_null() {
            // SAFETY: mapped when it was opened.
            unsafe { libc::munmap(self.ring.cast(), (PAGES + 1) * PAGE) };
        }
    }
}

fn events_map(b: &Bpf, flags: u32) -> Result<Map, String> {
    let spec = MapSpec {
        flags,
        ..MapSpec::new(MapType::PERF_EVENT_ARRAY, 4, 4, 4)
    };
    b.map_create(&spec).map_err(|e| format!("map: {e}"))
}

fn put(map: &Map, index: u32, fd: i32) -> Result<(), oxbpf::Errno> {
    map.update(&index.to_ne_bytes(), &fd.to_ne_bytes(), 0)
}

/// Loads instructions; as a KPROBE program, one for many functions.
pub fn load(b: &Bpf, ty: ProgType, insns: &[Slot]) -> Result<Prog, String> {
    let spec = ProgSpec {
        expected_attach_type: match ty {
            ProgType::KPROBE => TRACE_KPROBE_MULTI,
            _ => 0,
        },
        log_level: 1,
        ..ProgSpec::new(ty, insns)
    };
    b.prog_load(&spec).map_err(|e| format!("load: {e}"))
}

/// Runs a program of packets on one, and gives what it returns.
pub fn run(prog: &Prog) -> Result<u32, String> {
    let input = TestRun {
        data_in: &(0..64).collect::<Vec<u8>>(),
        ..TestRun::default()
    };
    let done = prog.test_run(&input);
    done.map(|r| r.retval).map_err(|e| format!("run: {e}"))
}

/// Stores counting bytes below the frame pointer, 32 of them.
fn bytes() -> Vec<Slot> {
    let mut insns = Vec::new();
    for word in 0..4u64 {
        let value = u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|b| b + word as u8 * 8 + 1));
        insns.extend(ld_imm64(0, value));
        insns.push(raw(0x7b, 10, 0, -32 + word as i16 * 8, 0));
    }
    insns
}

/// `perf_event_output` of that many such bytes, with the context in R6.
fn put_out(map: &Map, flags: u64, size: i32) -> Vec<Slot> {
    let mut insns = bytes();
    insns.push(mov_reg(1, 6));
    insns.extend(ld_map(2, map));
    insns.extend(ld_imm64(3, flags));
    insns.extend([mov_reg(4, 10), add(4, -32), mov(5, size), call(25)]);
    insns
}

/// Returns what it does.
fn writer(b: &Bpf, ty: ProgType, map: &Map, flags: u64, size: i32) -> Result<Prog, String> {
    let parts = [vec![mov_reg(6, 1)], put_out(map, flags, size), vec![exit()]];
    load(b, ty, &parts.concat())
}

/// Commands on elements.
fn elements(b: &Bpf) -> Result<String, String> {
    let map = events_map(b, 0)?;
    let event = Event::open(BPF_OUTPUT, -1, 0, false)?;
    let other = Event::open(CPU_CLOCK, 0, -1, false)?;
    let inherited = Event::open(CPU_CLOCK, 0, -1, true)?;
    let fds = [
        ("event", event.number()),
        ("clock", other.number()),
        ("inherited", inherited.number()),
    ];
    Ok(fd_array::creation(b, MapType::PERF_EVENT_ARRAY) + &fd_array::commands(b, &map, &fds)?)
}

/// Records of packets' programs.
fn output(b: &Bpf, ty: ProgType) -> Result<String, String> {
    let _stay = stay()?;
    let map = events_map(b, 0)?;
    let event = Event::open(BPF_OUTPUT, -1, 0, false)?;
    let elsewhere = Event::open(BPF_OUTPUT, -1, 1, false)?;
    let clock = Event::open(CPU_CLOCK, 0, -1, false)?;
    for (index, event) in [&event, &elsewhere, &clock].into_iter().enumerate() {
        put(&map, index as u32, event.number()).map_err(|e| format!("put: {e}"))?;
    }
    let mut out = String::new();
    let mut all: Vec<(u64, i32)> = [0, 1, 3, 8, 13, 32].map(|size| (CURRENT_CPU, size)).into();
    all.extend([0, 1, 2, 3, 4, 77, CURRENT_CPU - 1].map(|index| (index, 8)));
    all.extend([1u64, 14, 20, 63, 64, 65, 1000, 0xf_ffff].map(|n| (CURRENT_CPU | (n << 32), 8)));
    all.extend([(CURRENT_CPU | (64 << 32), 0), (1 << 52, 8), (1 << 63, 8)]);
    for (flags, size) in all {
        let prog = writer(b, ty, &map, flags, size)?;
        let got = run(&prog)? as i32;
        let _ = writeln!(out, "{flags:x} {size}: {got} {:x?}", event.records());
    }
    if ty == ProgType::XDP {
        // Of a packet whose last part is in a page.
        for n in [3424u64, 3425, 5000, 5001] {
            let prog = writer(b, ty, &map, CURRENT_CPU | (n << 32), 8)?;
            let got = prog.test_run(&TestRun {
                data_in: &(0..5000u32).map(|i| (i * 7) as u8).collect::<Vec<u8>>(),
                ..TestRun::default()
            });
            let got = got.map_err(|e| format!("run: {e}"))?.retval as i32;
            let _ = writeln!(out, "{n}: {got} {:x?}", event.records());
        }
    }
    // More than the ring takes.
    let prog = writer(b, ty, &map, CURRENT_CPU | (64 << 32), 32)?;
    let mut lost = 0;
    for _ in 0..600 {
        lost += u32::from(run(&prog)? as i32 != 0);
    }
    let _ = writeln!(out, "{lost} lost, {} there", event.records().len());
    let _ = run(&prog)?;
    let _ = writeln!(out, "{:x?}", event.records());
    Ok(out)
}

/// Counters.
fn counters(b: &Bpf) -> Result<String, String> {
    let _stay = stay()?;
    let map = events_map(b, 0)?;
    let mine = Event::open(CPU_CLOCK, 0, -1, false)?;
    let elsewhere = Event::open(CONTEXT_SWITCHES, -1, 1, false)?;
    let here = Event::open(CONTEXT_SWITCHES, -1, 0, false)?;
    for (index, event) in [&mine, &elsewhere, &here].into_iter().enumerate() {
        put(&map, index as u32, event.number()).map_err(|e| format!("put: {e}"))?;
    }
    // One switch at least.
    std::thread::sleep(std::time::Duration::from_millis(5));
    let mut out = String::new();
    for flags in [0, 1, 2, 3, 4, CURRENT_CPU, 1 << 32] {
        let mut insns = ld_map(1, &map).to_vec();
        insns.extend(ld_imm64(2, flags));
        insns.extend([call(22), exit()]);
        let got = run(&load(b, ProgType::SCHED_CLS, &insns)?)? as i32;
        // Of a time in ns these are the low bits: all but an errno is one.
        let errno = (-4095..=0).contains(&got);
        let _ = writeln!(out, "read {flags:x}: {}", if errno { got } else { 1 });
        for size in [8, 24, 32] {
            // What it gives, and whether the words are 0.
            let mut insns = bytes();
            insns.extend(ld_map(1, &map));
            insns.extend(ld_imm64(2, flags));
            insns.extend([
                mov_reg(3, 10),
                add(3, -32),
                mov(4, size),
                call(55),
                mov_reg(6, 0),
            ]);
            insns.push(raw(0x67, 6, 0, 0, 8));
            for word in 0..4 {
                insns.push(raw(0x79, 0, 10, -32 + word * 8, 0));
                insns.extend([raw(0x15, 0, 0, 1, 0), raw(0x47, 6, 0, 0, 1 << word)]);
            }
            insns.extend([mov_reg(0, 6), exit()]);
            let got = run(&load(b, ProgType::SCHED_CLS, &insns)?)? as i32;
            let _ = writeln!(out, "value {flags:x} {size}: {got}");
        }
    }
    Ok(out)
}

/// Which events are there after a map file is closed.
fn closing(b: &Bpf) -> Result<String, String> {
    let _stay = stay()?;
    let mut out = String::new();
    for flags in [0, PRESERVE] {
        let map = events_map(b, flags)?;
        let id = map.info().map_err(|e| e.to_string())?.id;
        let event = Event::open(BPF_OUTPUT, -1, 0, false)?;
        let mut a = Attr::new(12);
        a.u32(0, id);
        let fd = b.call(cmd::MAP_GET_FD_BY_ID, a.bytes());
        let fd = fd.map_err(|e| format!("again: {e}"))?;
        // SAFETY: the command made it for us.
        let again = unsafe { OwnedFd::from_raw_fd(fd) };
        put(&map, 0, event.number()).map_err(|e| format!("put: {e}"))?;
        let mut a = Attr::new(32);
        let (key, value) = (1u32.to_ne_bytes(), event.number().to_ne_bytes());
        a.u32(0, again.as_raw_fd() as u32)
            .ptr(8, &key)
            .ptr(16, &value);
        b.call(cmd::MAP_UPDATE_ELEM, a.bytes())
            .map_err(|e| format!("put: {e}"))?;
        let progs = [
            writer(b, ProgType::SCHED_CLS, &map, 0, 8)?,
            writer(b, ProgType::SCHED_CLS, &map, 1, 8)?,
        ];
        let mut note = |what: &str| -> Result<(), String> {
            let got = [run(&progs[0])? as i32, run(&progs[1])? as i32];
            let _ = writeln!(out, "{what}: {got:?} {}", event.records().len());
            Ok(())
        };
        note("both open")?;
        let copy = again.try_clone().map_err(|e| e.to_string())?;
        drop(again);
        note("a copy is open")?;
        drop(copy);
        note("second closed")?;
        drop(map);
        note("all closed")?;
    }
    Ok(out)
}

/// A program that runs these instructions when this process is there, with its context in `R6`.
fn probe(b: &Bpf, ty: ProgType, body: &[Slot]) -> Result<Prog, String> {
    let pid = std::process::id() as i32;
    let mut insns = vec![mov_reg(6, 1), call(14), raw(0x77, 0, 0, 0, 32)];
    insns.push(raw(0x56, 0, 0, body.len() as i16, pid));
    insns.extend_from_slice(body);
    insns.extend([mov(0, 0), exit()]);
    load(b, ty, &insns)
}

fn hit() {
    drop(File::open("/dev/null"));
}

/// Where a program sees stacks.
#[derive(Clone, Copy)]
enum At {
    Function,
    Tracepoint(&'static str),
    RawTracepoint(&'static str),
    /// A breakpoint, whose event collects chains itself, or does not.
    Breakpoint(bool),
}

impl At {
    fn prog_type(self) -> ProgType {
        match self {
            At::Function => ProgType::KPROBE,
            At::Tracepoint(_) => ProgType::TRACEPOINT,
            At::RawTracepoint(_) => ProgType::RAW_TRACEPOINT,
            At::Breakpoint(_) => ProgType::PERF_EVENT,
        }
    }

    /// Attaches; what comes back keeps it there.
    fn attach(self, prog: &Prog) -> Result<(Link, Option<OwnedFd>), String> {
        match self {
            At::Function => prog.attach_kprobes(PROBES, 0).map(|link| (link, None)),
            At::Tracepoint(name) => {
                let event = trace::tracepoint(name)?;
                let link = prog.attach_perf(event.as_raw_fd(), 0);
                link.map(|link| (link, Some(event)))
            }
            At::RawTracepoint(name) => prog.attach_raw_tracepoint(name, 0).map(|link| (link, None)),
            At::Breakpoint(chains) => {
                let event = trace::breakpoint("__x64_sys_getpriority", chains)?;
                let link = prog.attach_perf(event.as_raw_fd(), 0);
                link.map(|link| (link, Some(event)))
            }
        }
        .map_err(|e| format!("attach: {e}"))
    }

    fn hit(self) {
        match self {
            At::Function => hit(),
            At::Tracepoint("signal/signal_generate") | At::RawTracepoint(_) => {
                // SAFETY: the signal is ignored by default.
                unsafe { libc::raise(libc::SIGURG) };
            }
            At::Tracepoint(_) | At::Breakpoint(_) => trace::call_getpriority(0),
        }
    }
}

/// Records of a probe.
fn probed(b: &Bpf, at: At) -> Result<String, String> {
    let _stay = stay()?;
    let map = events_map(b, 0)?;
    let event = Event::open(BPF_OUTPUT, -1, 0, false)?;
    put(&map, 0, event.number()).map_err(|e| format!("put: {e}"))?;
    let prog = probe(b, at.prog_type(), &put_out(&map, CURRENT_CPU, 24))?;
    let link = at.attach(&prog)?;
    at.hit();
    at.hit();
    drop(link);
    at.hit();
    Ok(format!("{:x?}", event.records()))
}

/// The chain in a room: what is behind the number and the length.
fn chain_of(room: &[u8]) -> Vec<u64> {
    let words = room.chunks_exact(8).skip(2);
    let words = words.map(|w| u64::from_ne_bytes(w.try_into().unwrap_or_default()));
    words.take_while(|w| *w != 0).collect()
}

/// Stacks that programs of both see at the same moment: from the map, and from the buffer.
fn stacks(both: &Both, at: At, user: bool, skip: u64) -> Result<(), String> {
    let _stay = stay()?;
    let flags = skip | (u64::from(user) << 8);
    let mut got = Vec::new();
    let mut kept = Vec::new();
    for b in [&both.theirs, &both.ours] {
        let spec = MapSpec::new(MapType::STACK_TRACE, 4, 8 * 64, 64);
        let stack = b.map_create(&spec).map_err(|e| format!("map: {e}"))?;
        let spec = MapSpec::new(MapType::ARRAY, 4, 8 * 66, 1);
        let room = b.map_create(&spec).map_err(|e| format!("map: {e}"))?;
        // room: the number, the length, the chain
        let mut before = vec![raw(0x62, 10, 0, -4, 0), mov_reg(2, 10), add(2, -4)];
        before.extend(ld_map(1, &room));
        before.extend([
            call(1),
            raw(0x55, 0, 0, 2, 0),
            mov(0, 0),
            exit(),
            mov_reg(7, 0),
        ]);
        before.push(mov_reg(1, 6));
        before.extend(ld_map(2, &stack));
        before.extend(ld_imm64(3, flags));
        before.extend([call(27), raw(0x7b, 7, 0, 0, 0)]);
        before.extend([mov_reg(1, 6), mov_reg(2, 7), add(2, 16), mov(3, 8 * 64)]);
        before.extend(ld_imm64(4, flags));
        before.extend([call(67), raw(0x7b, 7, 0, 8, 0)]);
        let prog = probe(b, at.prog_type(), &before)?;
        let link = at.attach(&prog)?;
        kept.push((stack, room, prog, link));
    }
    at.hit();
    for (stack, room, _, _) in &kept {
        let value = room.lookup(&[0; 4]).map_err(|e| format!("room: {e}"))?;
        let id = i64::from_ne_bytes(value[..8].try_into().unwrap_or_default());
        let key = (id as u32).to_ne_bytes();
        let chain = stack.lookup(&key);
        let next = stack.next_key(None);
        let taken = stack.take(&key);
        let gone = (stack.lookup(&key), stack.delete(&key), stack.next_key(None));
        got.push((id, value, chain, next, taken, gone));
    }
    let (theirs, ours) = (&got[0], &got[1]);
    if theirs.0 < 0 || theirs.2.is_err() {
        return Err(format!("in-tree found no stack: {theirs:x?}"));
    }
    let same = match (at, user) {
        // In-tree's begins in the helper.
        (At::RawTracepoint(_), false) => {
            let ours = chain_of(&ours.1);
            ours.len() >= 3 && chain_of(&theirs.1).ends_with(&ours)
        }
        _ => theirs == ours,
    };
    match same {
        true => Ok(()),
        false => Err(format!("in-tree: {theirs:x?}\noxbpf:   {ours:x?}")),
    }
}

/// What the two helpers answer to wrong flags and sizes, and the commands on a table of stacks.
fn stack_answers(b: &Bpf) -> Result<String, String> {
    let _stay = stay()?;
    let mut out = String::new();
    for (key, value, entries, flags) in [
        (4, 8, 1, 0),
        (4, 8, 0, 0),
        (8, 8, 1, 0),
        (4, 0, 1, 0),
        (4, 12, 1, 0),
        (4, 127 * 8, 3, 0),
        (4, 128 * 8, 3, 0),
        (4, 8, 1, 1),
        (4, 8, 1, 1 << 3),
        (4, 8, 1, 1 << 4),
        (4, 8, 1, 1 << 6),
        (4, 8, 1, 1 << 7),
        (4, 8, 1, 1 << 10),
        (4, 8, 0x8000_0001, 0),
    ] {
        let spec = MapSpec {
            flags,
            ..MapSpec::new(MapType::STACK_TRACE, key, value, entries)
        };
        let made = b.map_create(&spec).err();
        let _ = writeln!(out, "{key} {value} {entries} {flags:x}: {made:?}");
    }
    let spec = MapSpec::new(MapType::STACK_TRACE, 4, 64, 3);
    let stack = b.map_create(&spec).map_err(|e| format!("map: {e}"))?;
    for key in [0u32, 3, 4, u32::MAX] {
        let k = key.to_ne_bytes();
        let _ = writeln!(
            out,
            "{key} {:?} {:?} {:?} {:?} {:?}",
            stack.lookup(&k),
            stack.take(&k),
            stack.delete(&k),
            stack.update(&k, &[0; 64], 0),
            stack.next_key(Some(&k))
        );
    }
    let spec = MapSpec::new(MapType::ARRAY, 4, 8 * 12, 1);
    let room = b.map_create(&spec).map_err(|e| format!("map: {e}"))?;
    for (flags, size) in [
        (0u64, 64),
        (0, 0),
        (0, 12),
        (0xff, 64),
        (1 << 11, 32),
        (1 << 12, 64),
        (1 << 63, 64),
        (1 << 9, 64),
        (1 << 10, 64),
        (3 << 9, 64),
        ((1 << 8) | 0xff, 64),
    ] {
        let mut before = vec![raw(0x62, 10, 0, -4, 0), mov_reg(2, 10), add(2, -4)];
        before.extend(ld_map(1, &room));
        before.extend([
            call(1),
            raw(0x55, 0, 0, 2, 0),
            mov(0, 0),
            exit(),
            mov_reg(7, 0),
        ]);
        before.push(mov_reg(1, 6));
        before.extend(ld_map(2, &stack));
        before.extend(ld_imm64(3, flags));
        before.extend([call(27), raw(0x65, 0, 0, 1, 0), raw(0x7b, 7, 0, 0, 0)]);
        before.extend([mov_reg(1, 6), mov_reg(2, 7), add(2, 16), mov(3, size)]);
        before.extend(ld_imm64(4, flags));
        before.extend([call(67), raw(0x7b, 7, 0, 8, 0)]);
        let prog = probe(b, ProgType::KPROBE, &before)?;
        let _ = room.update(&[0; 4], &[0x11; 96], 0);
        let link = prog
            .attach_kprobes(PROBES, 0)
            .map_err(|e| format!("attach: {e}"))?;
        hit();
        drop(link);
        let value = room.lookup(&[0; 4]).map_err(|e| format!("room: {e}"))?;
        let id = i64::from_ne_bytes(value[..8].try_into().unwrap_or_default());
        let len = i64::from_ne_bytes(value[8..16].try_into().unwrap_or_default());
        let zeroes = value[16..].iter().filter(|b| **b == 0).count();
        let zeroes = if len < 0 { zeroes } else { 0 };
        let _ = writeln!(out, "{flags:x} {size}: {id} {len} {zeroes}");
    }
    Ok(out)
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    let compare = |f: fn(&Bpf) -> Result<String, String>| {
        crate::inner::different(&f(&both.theirs)?, &f(&both.ours)?)
    };
    s.test("commands on events", || compare(elements));
    s.test("records", || compare(|b| output(b, ProgType::SCHED_CLS)));
    s.test("records of XDP", || compare(|b| output(b, ProgType::XDP)));
    s.test("counters", || compare(counters));
    s.test("events go with their map's file", || compare(closing));
    s.test("records of a probe", || {
        compare(|b| probed(b, At::Function))
    });
    s.test("records of a breakpoint", || {
        compare(|b| probed(b, At::Breakpoint(false)))
    });
    for (chains, user, skip) in [
        (false, false, 0),
        (false, false, 2),
        (false, true, 0),
        (true, false, 0),
        (true, false, 2),
        (true, true, 0),
        (true, true, 1),
    ] {
        let name = format!("a stack at a breakpoint, its own {chains}, user {user}, skip {skip}");
        s.test(&name, || stacks(&both, At::Breakpoint(chains), user, skip));
    }
    for (user, skip) in [(false, 0), (false, 3), (true, 0)] {
        s.test(&format!("a stack, user {user}, skip {skip}"), || {
            stacks(&both, At::Function, user, skip)
        });
    }
    for name in ["syscalls/sys_enter_getpriority", "signal/signal_generate"] {
        for (user, skip) in [(false, 0), (true, 0)] {
            s.test(&format!("a stack at {name}, user {user}"), || {
                stacks(&both, At::Tracepoint(name), user, skip)
            });
        }
    }
    for user in [false, true] {
        let at = At::RawTracepoint("signal_generate");
        s.test(&format!("a stack at a raw tracepoint, user {user}"), || {
            stacks(&both, at, user, 0)
        });
    }
    s.test("answers about stacks", || compare(stack_answers));
}
