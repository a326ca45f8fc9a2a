// SPDX-License-Identifier: GPL-2.0

//! Machine code: where it lies, what it is called, and what must not be in it.

use crate::both::Both;
use crate::insn::{add, call, exit, ld_imm64, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::{Bpf, Prog, ProgInfo, ProgSpec, ProgType, Slot, TestRun};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

const PARAMETERS: &str = "/sys/module/oxbpf/parameters";
const PAGE: u64 = 4096;
const TRAP: u8 = 0xcc;

fn load(bpf: &Bpf, name: &str, insns: &[Slot]) -> Result<Prog, String> {
    let spec = ProgSpec {
        name,
        log_level: 1,
        ..ProgSpec::new(ProgType::SOCKET_FILTER, insns)
    };
    bpf.prog_load(&spec).map_err(|e| e.to_string())
}

fn run(prog: &Prog) -> Result<u32, String> {
    let input = TestRun {
        data_in: &[0; 64],
        ..TestRun::default()
    };
    let result = prog.test_run(&input).map_err(|e| format!("run: {e}"))?;
    Ok(result.retval)
}

fn info(prog: &Prog) -> Result<ProgInfo, String> {
    prog.info().map_err(|e| format!("info: {e}"))
}

/// Sets parameter `harden` until it is dropped.
struct Harden;

impl Harden {
    fn set(level: u32) -> Result<Harden, String> {
        let path = format!("{PARAMETERS}/harden");
        fs::write(path, level.to_string()).map_err(|e| format!("harden: {e}"))?;
        Ok(Harden)
    }
}

impl Drop for Harden {
    fn drop(&mut self) {
        let _ = fs::write(format!("{PARAMETERS}/harden"), "0");
    }
}

/// Distinct numbers, and a program that uses them in several ways.
fn numbers() -> (Vec<u32>, Vec<Slot>) {
    let numbers: Vec<u32> = (1..8).map(|i| 0x6a3c_5b00 + i * 0x0101_0407).collect();
    let n = |i: usize| numbers[i] as i32;
    let mut insns = vec![
        mov(0, n(0)),
        raw(0x27, 0, 0, 0, n(1)),
        raw(0xa7, 0, 0, 0, n(2)),
        // if r0 == n goto +1
        raw(0x15, 0, 0, 1, n(3)),
        add(0, n(4)),
        raw(0x7a, 10, 0, -8, n(5)),
        raw(0x79, 1, 10, -8, 0),
        raw(0xaf, 0, 1, 0, 0),
    ];
    insns.extend(ld_imm64(2, (u64::from(numbers[6]) << 32) | 1));
    insns.extend([raw(0xaf, 0, 2, 0, 0), raw(0x77, 2, 0, 0, 32)]);
    insns.extend([raw(0x0f, 0, 2, 0, 0), exit()]);
    (numbers, insns)
}

fn contains(image: &[u8], number: u32) -> bool {
    image.windows(4).any(|w| w == number.to_le_bytes())
}

fn harden(both: &Both) -> Result<(), String> {
    let (numbers, insns) = numbers();
    let want = run(&load(&both.theirs, "harden", &insns)?)?;
    for (level, blinded) in [(0, false), (1, false), (2, true)] {
        let _set = Harden::set(level)?;
        let prog = load(&both.ours, "harden", &insns)?;
        let image = info(&prog)?.jited;
        let seen = numbers.iter().filter(|n| contains(&image, **n)).count();
        if image.is_empty() || (seen == 0) != blinded {
            let len = image.len();
            return Err(format!("harden={level}: {seen} numbers in {len} bytes"));
        }
        let got = run(&prog)?;
        if got != want {
            return Err(format!("harden={level}: {got:#x}, in-tree {want:#x}"));
        }
    }
    Ok(())
}

/// A program with a subprogram that needs a frame.
fn with_subprogram() -> Vec<Slot> {
    vec![
        mov(1, 3),
        // call +1
        raw(0x85, 0, 1, 0, 1),
        exit(),
        raw(0x7b, 10, 1, -8, 0),
        call(7),
        raw(0x79, 0, 10, -8, 0),
        exit(),
    ]
}

/// Names of the kernel's symbols that start with `prefix`, with their addresses.
fn kallsyms(prefix: &str) -> Vec<(u64, String)> {
    let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let addr = u64::from_str_radix(words.next()?, 16).ok()?;
        let name = words.nth(1)?;
        name.starts_with(prefix).then(|| (addr, name.to_string()))
    };
    text.lines().filter_map(line).collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn names(both: &Both) -> Result<(), String> {
    let prog = load(&both.ours, "named", &with_subprogram())?;
    let about = info(&prog)?;
    let name = format!("bpf_prog_{}_named", hex(&about.tag));
    let found = kallsyms(&name);
    if found != [(about.ksyms[0], name.clone())] {
        return Err(format!("{found:x?}, not {:x?} {name}", about.ksyms));
    }
    if about.ksyms.len() != 2 || about.func_lens.len() != 2 {
        return Err(format!("{:x?} {:?}", about.ksyms, about.func_lens));
    }
    let sub = kallsyms("bpf_prog_");
    let sub = sub.iter().find(|(addr, _)| *addr == about.ksyms[1]);
    if !sub.is_some_and(|(_, name)| name.ends_with("_F")) {
        return Err(format!("the subprogram: {sub:x?}"));
    }
    drop(prog);
    for _ in 0..600 {
        if kallsyms(&name).is_empty() {
            return Ok(());
        }
        sleep(Duration::from_millis(50));
    }
    Err("the name stays when the program goes".to_string())
}

/// The code is `func_lens` after each other, each function where `ksyms` says.
fn functions(both: &Both) -> Result<(), String> {
    let about = info(&load(&both.ours, "functions", &with_subprogram())?)?;
    let sum: u32 = about.func_lens.iter().sum();
    let follow = about.ksyms[0] + u64::from(about.func_lens[0]) == about.ksyms[1];
    if sum as usize == about.jited.len() && follow {
        Ok(())
    } else {
        Err(format!("{about:x?}"))
    }
}

/// `len` bytes of the kernel's memory at `addr`.
fn kernel_memory(addr: u64, len: usize) -> Result<Vec<u8>, String> {
    let core = File::open("/proc/kcore").map_err(|e| format!("kcore: {e}"))?;
    let read = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        let done = core.read_exact_at(&mut bytes, at);
        done.map(|()| bytes).map_err(|e| format!("kcore: {e}"))
    };
    let word = |bytes: &[u8], at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let header = read(0, 64)?;
    let table = word(&header, 32);
    let count = u16::from_le_bytes([header[56], header[57]]);
    for i in 0..u64::from(count) {
        let segment = read(table + i * 56, 56)?;
        let (offset, start, size) = (word(&segment, 8), word(&segment, 16), word(&segment, 40));
        if segment[0] == 1 && addr >= start && addr - start < size {
            return read(offset + (addr - start), len);
        }
    }
    Err(format!("kcore has no {addr:x}"))
}

/// Many small programs share pages; what was theirs is full of traps afterwards.
fn placement(both: &Both) -> Result<(), String> {
    let small = [mov(0, 7), exit()];
    let mut progs = Vec::new();
    for _ in 0..200 {
        progs.push(load(&both.ours, "small", &small)?);
    }
    let mut places = Vec::new();
    for prog in &progs {
        places.push(info(prog)?.ksyms[0]);
    }
    let pages: BTreeSet<u64> = places.iter().map(|p| p / PAGE).collect();
    if pages.len() > 8 {
        return Err(format!("200 programs on {} pages", pages.len()));
    }
    let image = info(&progs[0])?.jited;
    let seen = kernel_memory(places[0], image.len())?;
    if seen != image {
        return Err(format!("{seen:02x?} in memory, {image:02x?} by info"));
    }
    // The last keeps the area.
    let _keep = progs.pop();
    places.pop();
    drop(progs);
    for _ in 0..600 {
        let mut left = 0;
        for place in &places {
            let bytes = kernel_memory(*place, image.len())?;
            left += usize::from(bytes.iter().any(|b| *b != TRAP));
        }
        if left == 0 {
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
    Err("freed places hold something else than traps".to_string())
}

/// What the kernel says of pages that can be written and executed; `None` when it does not look.
fn wx_pages() -> Option<String> {
    let read = || fs::read_to_string("/sys/kernel/debug/check_wx_pages").ok();
    read().or_else(|| {
        let _ = std::process::Command::new("mount")
            .args(["-t", "debugfs", "none", "/sys/kernel/debug"])
            .status();
        read()
    })
}

fn no_wx_pages(both: &Both) -> Result<(), String> {
    let _prog = load(&both.ours, "wx", &with_subprogram())?;
    match wx_pages() {
        Some(text) if text.contains("SUCCESS") => Ok(()),
        other => Err(other.unwrap_or_default()),
    }
}

fn codegen() -> Result<(), String> {
    let text = fs::read_to_string(format!("{PARAMETERS}/codegen")).map_err(|e| e.to_string())?;
    let keys = ["entries=", "returns=", "indirect-jumps=", "bmi2=", "movbe="];
    match keys.iter().all(|key| text.contains(key)) {
        true => Ok(()),
        false => Err(text),
    }
}

/// What inlined helpers give is what calling them gives.
fn inlined_helpers(both: &Both) -> Result<(), String> {
    // The task is the caller's, and time does not go backwards.
    let task = both.same(|b| {
        let insns = [call(35), raw(0x77, 0, 0, 0, 6), exit()];
        run(&load_cls(b, &insns)?)
    })?;
    task?;
    let ticks = |b: &Bpf| {
        let insns = [call(118), mov_reg(0, 0), exit()];
        run(&load(b, "ticks", &insns)?)
    };
    let (before, ours, after) = (
        ticks(&both.theirs)?,
        ticks(&both.ours)?,
        ticks(&both.theirs)?,
    );
    match ours.wrapping_sub(before) <= after.wrapping_sub(before) {
        true => Ok(()),
        false => Err(format!("ticks: {before}, ours {ours}, {after}")),
    }
}

/// Socket filters may not ask for the task.
fn load_cls(bpf: &Bpf, insns: &[Slot]) -> Result<Prog, String> {
    let spec = ProgSpec {
        log_level: 1,
        ..ProgSpec::new(ProgType::SCHED_CLS, insns)
    };
    bpf.prog_load(&spec).map_err(|e| e.to_string())
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    s.test("blinded constants", || harden(&both));
    s.test("names in kallsyms", || names(&both));
    s.test("functions and their lengths", || functions(&both));
    // The debug kernel is built without these two.
    let (packed, wx) = (
        "packed images, traps where they were",
        "no page is writable and executable",
    );
    match Path::new("/proc/kcore").exists() {
        true => s.test(packed, || placement(&both)),
        false => s.skip(packed, "no /proc/kcore"),
    }
    match wx_pages() {
        Some(_) => s.test(wx, || no_wx_pages(&both)),
        None => s.skip(wx, "no check_wx_pages in debugfs"),
    }
    s.test("parameter codegen", codegen);
    s.test("inlined helpers", || inlined_helpers(&both));
}
